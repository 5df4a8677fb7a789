//! Keys that are replaced while others use them.

use std::sync::Arc;

use devicevault_core::{ErrorKind, KeyProvider, StorageBackendExt as _, Timestamp};
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_storage::seal::keys::{Kek, KeyFolder, KeyPlaces, rewrap};
use devicevault_storage::seal::{EpochObject, Key, Keyring};

use super::watched::Watched;
use super::{config, kek};

fn new() -> Arc<dyn KeyProvider> {
    Arc::new(Kek::raw(Key::new([1; 32])))
}

/// A home with one epoch key, a destination, and a rotation of everything at both.
struct Rotation {
    home: KeyFolder,
    destination: Arc<Watched>,
    epoch: EpochObject,
}

impl Rotation {
    async fn new() -> Self {
        let home = KeyFolder::of_home(Watched::new());
        let epoch = Keyring::default().create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
        home.publish(&epoch).await.unwrap();
        Self { home, destination: Watched::new(), epoch }
    }

    /// As a program has it that begins now.
    fn ring(&self) -> Keyring {
        let ring = Keyring::of_home(vec![kek(), new()], self.home.clone());
        ring.add(self.epoch.clone());
        ring
    }

    fn keys(&self) -> KeyFolder {
        KeyFolder::of_destination(self.destination.clone())
    }

    async fn replace_key(&self) {
        self.replace(kek(), new()).await;
    }

    /// By a program that begins now.
    async fn replace(&self, old: Arc<dyn KeyProvider>, by: Arc<dyn KeyProvider>) {
        let ring = Keyring::of_home(vec![old.clone(), by.clone()], self.home.clone());
        for id in self.home.list().await.unwrap() {
            ring.add(self.home.load(id).await.unwrap().unwrap());
        }
        let destinations = vec![("one".to_owned(), self.keys())];
        let places = KeyPlaces { home: self.home.clone(), destinations };
        let done = rewrap(&ring, &places, &[by], &[old.kek().await.unwrap()]).await.unwrap();
        assert!(done.behind.is_empty(), "{done:?}");
    }

    async fn stores(&self, ring: Keyring, name: &str) {
        let backend = PlainBackend::over(self.destination.clone(), PlainOptions::default().with_sealing(ring));
        let (entry, body) = config(name, "hostname sw");
        backend.store_one(entry, body).await.unwrap();
    }
}

#[tokio::test]
async fn a_program_that_began_before_does_not_bring_the_old_wraps_back() {
    for is_there in [false, true] {
        let rotation = Rotation::new().await;
        if is_there {
            rotation.stores(rotation.ring(), "first").await;
        }
        let stale = rotation.ring();
        rotation.replace_key().await;
        rotation.stores(stale, "second").await;
        let there = rotation.keys().load(rotation.epoch.id).await.unwrap().unwrap();
        there.open(&[new()]).await.unwrap();
        there.open(&[kek()]).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_program_that_began_before_takes_rotations_of_its_own_home_for_nobody_elses() {
    let rotation = Rotation::new().await;
    rotation.stores(rotation.ring(), "first").await;
    let later = Keyring::default().create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
    rotation.home.publish(&later).await.unwrap();
    rotation.keys().publish(&later).await.unwrap();
    let running = rotation.ring();
    running.add(later);
    // Twice, both epoch keys; what opened them at first opens none of them now.
    let third: Arc<dyn KeyProvider> = Arc::new(Kek::raw(Key::new([3; 32])));
    rotation.replace_key().await;
    rotation.replace(new(), third.clone()).await;
    for refused in [running.refuse_taken_over(&rotation.keys()).await, running.refuse_replaced(&rotation.keys()).await]
    {
        refused.unwrap();
    }
    // Another home that really took it over is told.
    let stranger: Arc<dyn KeyProvider> = Arc::new(Kek::raw(Key::new([4; 32])));
    let mut theirs = rotation.keys().load(rotation.epoch.id).await.unwrap().unwrap();
    let key = theirs.open(&[third]).await.unwrap();
    theirs.add(&key, &*stranger).await.unwrap();
    rotation.keys().replace(&theirs).await.unwrap();
    assert_eq!(running.refuse_taken_over(&rotation.keys()).await.unwrap_err().kind(), ErrorKind::Conflict);
    running.refuse_replaced(&rotation.keys()).await.unwrap();
}

#[tokio::test]
async fn a_program_that_began_before_stores_beside_a_rotation_of_several_epoch_keys() {
    let rotation = Rotation::new().await;
    let running = rotation.ring();
    let later = running.create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
    rotation.home.publish(&later).await.unwrap();
    rotation.stores(rotation.ring(), "first").await;
    running.current().await.unwrap();
    rotation.replace_key().await;
    rotation.stores(running, "second").await;
}

#[tokio::test]
async fn an_epoch_key_that_only_a_destination_has_is_not_lost_with_the_old_key() {
    let rotation = Rotation::new().await;
    let other = Keyring::default().create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
    let expected = other.open(&[kek()]).await.unwrap();
    rotation.keys().publish(&other).await.unwrap();
    rotation.replace_key().await;
    let there = rotation.keys().load(other.id).await.unwrap().unwrap();
    assert_eq!(there.open(&[new()]).await.unwrap().expose(), expected.expose());
    there.open(&[kek()]).await.unwrap_err();
}

#[tokio::test]
async fn a_program_that_began_before_seals_under_the_epoch_key_that_was_made_since_where_it_opens() {
    let rotation = Rotation::new().await;
    let running = rotation.ring();
    rotation.stores(running.clone(), "first").await;
    let stranger: Arc<dyn KeyProvider> = Arc::new(Kek::raw(Key::new([2; 32])));
    for (provider, opens) in [(kek(), true), (stranger, false)] {
        let made = Keyring::default().create_epoch(&[provider], Timestamp::UNIX_EPOCH).await.unwrap();
        rotation.home.publish(&made).await.unwrap();
        rotation.stores(running.clone(), &format!("then-{opens}")).await;
        assert_eq!(rotation.keys().load(made.id).await.unwrap().is_some(), opens);
        assert_eq!(running.current().await.unwrap().0 == made.id, opens);
    }
}
