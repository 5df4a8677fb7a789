//! Copies that are damaged or gone, and where their bytes come back from.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use devicevault_core::catalog::{CopyKey, Page, Query};
use devicevault_core::engine::{Destination, Repair};
use devicevault_core::layer::Layer;
use devicevault_core::run::{Backup, CopyStatus};
use devicevault_core::storage::VerifyDepth;
use devicevault_core::verification::{ReadBack, Sample, choose, verify_copy};
use devicevault_core::{
    Body, Catalog, DestinationId, Entry, Error, ErrorKind, Result, StorageBackend, StorageRef, View,
};
use devicevault_testkit::conformance::Damage;
use devicevault_testkit::faulty::{Fault, Faulty};
use devicevault_testkit::memory::MemoryBackend;

use crate::doubles::*;

/// Two stores of originals and one of redacted texts, with one backup at each.
struct Places {
    house: House,
    stores: [MemoryBackend; 3],
    places: Vec<Arc<Destination>>,
}

const NAMES: [&str; 3] = ["main", "offsite", "redacted"];

impl Places {
    async fn new() -> Self {
        let house = house();
        let stores = [MemoryBackend::new(), MemoryBackend::new(), MemoryBackend::new()];
        let views = [View::Original, View::Original, View::Redacted];
        let each = NAMES.iter().zip(&stores).zip(views);
        let places: Vec<_> = each.map(|((name, s), view)| destination(name, Arc::new(s.clone()), view)).collect();
        let script = Script::new(vec![config("! Time 1\nsnmp community s3cret\nend\n")]);
        house.engine.back_up(&job(script, places.clone())).await.unwrap();
        Self { house, stores, places }
    }

    async fn backup(&self) -> Backup {
        self.house.catalog.find(&Query::default(), Page::first(1)).await.unwrap().items.remove(0)
    }

    async fn at(&self, place: usize) -> StorageRef {
        let backup = self.backup().await;
        backup.copies.iter().find(|c| c.destination.as_str() == NAMES[place]).unwrap().storage_ref.clone().unwrap()
    }

    async fn damage(&self, place: usize, how: Damage) {
        assert!(self.stores[place].damage(&self.at(place).await, how));
    }

    async fn repair(&self, place: usize) -> Repair {
        let key = CopyKey { backup: self.backup().await.id, destination: NAMES[place].into() };
        self.house.engine.repair(&self.places, &key, None).await.unwrap()
    }

    async fn is_good(&self, place: usize) -> bool {
        let backup = self.backup().await;
        let copy = backup.copies.iter().find(|c| c.destination.as_str() == NAMES[place]).unwrap();
        let store: &dyn StorageBackend = &self.stores[place];
        let verdict = verify_copy(store, &backup, copy, VerifyDepth::Content).await.unwrap();
        assert_eq!(verdict.is_good(), copy.status == CopyStatus::Stored, "{verdict:?} {copy:?}");
        verdict.is_good()
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_copy_it_comes_back_from_the_other() {
    for how in [Damage::FlipBit, Damage::Truncate, Damage::Remove] {
        let it = Places::new().await;
        assert!(matches!(it.repair(0).await, Repair::Good));
        it.damage(0, how).await;
        let Repair::Stored { from, at } = it.repair(0).await else { panic!("{how:?}") };
        assert_eq!((from, at), (DestinationId::from("offsite"), it.at(0).await));
        assert!(it.is_good(0).await && it.is_good(1).await && it.stores[0].len() == 1, "{how:?}");
        assert!(it.backup().await.copies.iter().any(|c| c.verified_at.is_some()));
    }
}

#[tokio::test]
async fn nothing_is_repaired_out_of_what_is_damaged_itself() {
    let it = Places::new().await;
    it.damage(0, Damage::FlipBit).await;
    it.damage(1, Damage::FlipBit).await;
    let Repair::Failed(e) = it.repair(0).await else { panic!() };
    for told in ["offsite: it is damaged", "redacted: it keeps the redacted view"] {
        assert!(e.message().contains(told), "{e}");
    }
    assert!(!it.is_good(0).await && it.stores[0].len() == 1, "the damaged copy is left as it is");
}

#[tokio::test]
async fn a_view_is_made_of_an_original_where_it_comes_out_the_same() {
    let it = Places::new().await;
    let redacted = it.stores[2].contents().remove(0).1;
    it.damage(2, Damage::Remove).await;
    let key = CopyKey { backup: it.backup().await.id, destination: NAMES[2].into() };
    let engine = &it.house.engine;
    let other = engine.repair(&it.places, &key, Some(&|_, original, _| Ok(original))).await.unwrap();
    let Repair::Failed(e) = other else { panic!() };
    assert!(e.message().contains("not the one that was stored"), "{e}");
    let made = engine.repair(&it.places, &key, Some(&|_, _, _| Ok(redacted.clone()))).await.unwrap();
    assert!(matches!(made, Repair::Stored { .. }), "{made:?}");
    assert!(it.is_good(2).await);
}

#[tokio::test]
async fn a_repair_that_stops_at_any_call_is_finished_by_the_next() {
    let mut steps = 0;
    for (k, after) in (1..).flat_map(|k| [(k, false), (k, true)]) {
        let it = Places::new().await;
        it.damage(0, Damage::FlipBit).await;
        let faulty = Arc::new(Faulty::new(Arc::new(it.stores[0].clone())));
        let mut fault = Fault::failing_any(Error::new(ErrorKind::Unavailable, "test", "it is away")).at_call(k);
        if after {
            fault = fault.after_the_effect();
        }
        faulty.plan().add(fault);
        let mut places = it.places.clone();
        places[0] = Destination::new(
            NAMES[0],
            faulty.clone(),
            devicevault_core::engine::DestinationOptions::default()
                .with_retry(devicevault_core::engine::RetryPolicy::never()),
            clock(),
        );
        let key = CopyKey { backup: it.backup().await.id, destination: NAMES[0].into() };
        let first = it.house.engine.repair(&places, &key, None).await.unwrap();
        if faulty.plan().all_calls() < k {
            break;
        }
        steps = k;
        assert!(matches!(first, Repair::Failed(_)), "{k}: {first:?}");
        assert!(matches!(it.repair(0).await, Repair::Stored { .. } | Repair::Good), "{k}");
        assert!(it.is_good(0).await && it.stores[0].len() == 1, "{k}");
    }
    println!("a repair was stopped at each of its {steps} calls");
    assert!(steps >= 5, "{steps}");
}

/// Confirms what it has not kept as it was.
#[derive(Debug)]
struct Lying {
    inner: MemoryBackend,
    lies: AtomicUsize,
}

#[async_trait]
impl Layer for Lying {
    fn inner(&self) -> &dyn StorageBackend {
        &self.inner
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let stored = self.inner.store(batch).await;
        if self.lies.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            stored.iter().flatten().for_each(|at| assert!(self.inner.damage(at, Damage::FlipBit)));
        }
        stored
    }
}

#[tokio::test]
async fn what_does_not_read_back_is_not_stored() {
    let store = MemoryBackend::new();
    let lying = Arc::new(Lying { inner: store.clone(), lies: 1.into() });
    let place = destination("main", ReadBack::new(lying, VerifyDepth::Content), View::Original);
    let house = house();
    let run = house.engine.back_up(&job(Script::new(vec![config("hostname a\nend\n")]), vec![place])).await.unwrap();
    assert!(run.state.is_good(), "the second try was stored as it should be: {run:?}");
    assert_eq!((run.artefacts[0].copies[0].attempts, store.len()), (2, 1));
    assert_eq!(stored(&store)[0].1, "hostname a\nend\n");

    let store = MemoryBackend::new();
    let lying = Arc::new(Lying { inner: store.clone(), lies: 99.into() });
    let place = destination("main", ReadBack::new(lying, VerifyDepth::Content), View::Original);
    let run = house.engine.back_up(&job(Script::new(vec![config("hostname b\nend\n")]), vec![place])).await.unwrap();
    assert!(run.artefacts[0].copies[0].error.as_ref().unwrap().message.contains("does not read back"), "{run:?}");
    assert!(store.is_empty());
}

#[tokio::test]
async fn sampled_again_and_again_everything_is_looked_at_and_nothing_twice_before_that() {
    let it = Places::new().await;
    let config = ["a\nend\n", "b\nend\n", "c\nend\n", "d\nend\n", "e\nend\n", "f\nend\n"];
    for text in config {
        it.house
            .engine
            .back_up(&job(Script::new(vec![crate::doubles::config(text)]), it.places.clone()))
            .await
            .unwrap();
    }
    let all = 3 * (config.len() + 1);
    for sample in ["10%", "5", "1"] {
        let sample: Sample = sample.parse().unwrap();
        let mut seen = std::collections::HashMap::new();
        let mut looks = 0;
        while seen.len() < all {
            let chosen =
                choose(&*it.house.catalog, &[Query::default()], &|_, _| true, sample, clock().now()).await.unwrap();
            assert!((1..=8).contains(&chosen.len()), "{chosen:?}");
            looks += chosen.len();
            for key in chosen {
                let times = seen.entry(key.clone()).or_insert(0);
                *times += 1;
                assert!(*times <= 2, "{key:?} was looked at again and again before all others were");
                it.house.catalog.verified(&key, Ok(clock().now())).await.unwrap();
            }
        }
        assert!(looks <= all + 6, "{sample}: {looks} looks at {all} copies");
    }
}
