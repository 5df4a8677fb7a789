//! A catalog out of manifests, some of which nobody should believe.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::catalog::{Page, Query};
use devicevault_core::rebuild::{Gathered, check, unrecorded};
use devicevault_core::run::Backup;
use devicevault_core::sightings::{note, note_all, period_of};
use devicevault_core::{
    Body, Catalog, DestinationId, Entry, Inventory, Manifest, StorageBackend, StorageBackendExt as _, Timestamp, View,
};
use devicevault_testkit::memory::{MemoryBackend, MemoryCatalog, MemoryInventory};
use devicevault_testkit::samples;

use crate::doubles::*;

fn now() -> Timestamp {
    clock().now()
}

async fn all(catalog: &dyn Catalog) -> Vec<Backup> {
    catalog.find(&Query::default(), Page::first(1000)).await.unwrap().items
}

async fn put(store: &MemoryBackend, manifest: Manifest, body: &'static [u8]) {
    store.store_one(Entry::new(manifest), Arc::new(Bytes::from_static(body)) as Arc<dyn Body>).await.unwrap();
}

fn good() -> Manifest {
    samples::manifest(&samples::device("sw1"), "running-config", b"good")
}

#[tokio::test]
async fn what_no_engine_writes_is_refused_and_named_and_keeps_nothing_else_back() {
    let store = MemoryBackend::new();
    put(&store, good(), b"good").await;
    type Spoil = fn(&mut Manifest);
    let hostile: [Spoil; 9] = [
        |m| m.source.device_name = "../../etc".to_owned(),
        |m| m.source.device_name = "x".repeat(300),
        |m| m.source.device_name = "\u{1b}[2J".to_owned(),
        |m| m.artefact = "a/b".to_owned(),
        |m| m.extension = "../x".to_owned(),
        |m| m.source.device = String::new().into(),
        |m| m.source.host = "a\nb".to_owned(),
        |m| m.source.site = Some("s".repeat(256)),
        |m| m.suspect = vec![String::new(); 65],
    ];
    for spoil in &hostile {
        let mut manifest = samples::manifest(&samples::device("sw2"), "running-config", b"evil");
        spoil(&mut manifest);
        put(&store, manifest, b"evil").await;
    }
    let mut gathered = Gathered::new();
    gathered.gather(&"main".into(), &store, now(), &|_| ()).await.unwrap();
    let rebuilt = gathered.assemble();
    assert_eq!((rebuilt.backups.len(), rebuilt.devices.len(), rebuilt.refused.len()), (1, 1, hostile.len()));
    assert!(rebuilt.refused.iter().all(|r| r.at.is_some() && r.destination.as_str() == "main"));
}

#[tokio::test]
async fn of_two_that_claim_one_backup_the_one_of_the_sealed_store_is_believed() {
    let (open, mine) = (MemoryBackend::new(), good());
    let mut forged = samples::manifest(&samples::device("other"), "running-config", b"evil");
    forged.backup = mine.backup;
    forged.taken_at = Timestamp::UNIX_EPOCH;
    put(&open, forged, b"evil").await;
    let sealed = MemoryBackend::new();
    put(&sealed, mine.clone(), b"good").await;
    let mut gathered = Gathered::new();
    gathered.gather(&"open".into(), &open, now(), &|_| ()).await.unwrap();
    gathered.gather(&"sealed".into(), &sealed, now(), &|_| ()).await.unwrap();
    let rebuilt = gathered.assemble();
    assert_eq!((rebuilt.backups.len(), rebuilt.refused.len()), (1, 1));
    assert_eq!(rebuilt.backups[0].copies.len(), 1);
}

#[tokio::test]
async fn what_was_seen_is_told_by_the_month_and_comes_back() {
    let house = house();
    let stores = [MemoryBackend::new(), MemoryBackend::new()];
    let names = ["main", "redacted"];
    let views = [View::Original, View::Redacted];
    let places: Vec<_> = (0..2).map(|i| destination(names[i], Arc::new(stores[i].clone()), views[i])).collect();
    let script = Script::new(vec![
        config("a\nend\n"),
        config("b\nend\n"),
        config("a\nend\n"),
        config("a\nend\n"),
        config("cut off"),
        config("a\nend\n"),
    ]);
    for _ in 0..6 {
        house.engine.back_up(&job(script.clone(), places.clone())).await.unwrap();
    }
    let before = all(&*house.catalog).await;
    assert_eq!(before.len(), 4);
    house.catalog.pin(before[2].id, true).await.unwrap();
    let before = all(&*house.catalog).await;
    for (name, store) in names.iter().zip(&stores) {
        assert!(note(&*house.catalog, &MemoryInventory::new(), &(*name).into(), store, now(), now()).await.unwrap());
        assert!(store.sightings(&period_of(now())).await.unwrap().is_some());
        assert_eq!(note_all(&*house.catalog, &MemoryInventory::new(), &(*name).into(), store, now()).await.unwrap(), 1);
    }
    for from in [vec![0, 1], vec![1, 0], vec![0]] {
        let (catalog, inventory) = (MemoryCatalog::new(), MemoryInventory::new());
        let mut gathered = Gathered::new();
        for i in &from {
            gathered.gather(&names[*i].into(), &stores[*i], now(), &|_| ()).await.unwrap();
        }
        let rebuilt = gathered.assemble();
        // Twice: the same is nothing new.
        let written = rebuilt.write(&catalog, &inventory).await.unwrap();
        assert_eq!((written.backups, written.copies, written.devices), (4, 4 * from.len(), 1));
        let again = rebuilt.write(&catalog, &inventory).await.unwrap();
        assert_eq!((again.backups, again.copies, again.known), (0, 0, 4 * from.len()));
        let plain = |all: &[Backup]| {
            let mut all = all.to_vec();
            for backup in &mut all {
                backup.copies.retain(|c| from.iter().any(|i| c.destination == DestinationId::from(names[*i])));
                backup.copies.sort_by(|a, b| a.destination.cmp(&b.destination));
                for copy in &mut backup.copies {
                    copy.stored_at = Timestamp::UNIX_EPOCH;
                }
            }
            all
        };
        assert_eq!(plain(&all(&catalog).await), plain(&before));
        assert_eq!(inventory.devices(&devicevault_core::inventory::Selector::default()).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_comparison_tells_strays_and_what_is_missing() {
    let house = house();
    let store = MemoryBackend::new();
    let places = vec![destination("main", Arc::new(store.clone()), View::Original)];
    let script = Script::new(vec![config("a\nend\n"), config("b\nend\n")]);
    for _ in 0..2 {
        house.engine.back_up(&job(script.clone(), places.clone())).await.unwrap();
    }
    let here: DestinationId = "main".into();
    let found = check(&*house.catalog, &here, &store, now(), &|_| ()).await.unwrap();
    assert_eq!((found.agreed, found.strays.len(), found.missing.len()), (2, 0, 0));
    let first = all(&*house.catalog).await[1].copies[0].storage_ref.clone().unwrap();
    store.delete_one(&first).await.unwrap();
    put(&store, good(), b"good").await;
    let found = check(&*house.catalog, &here, &store, now(), &|_| ()).await.unwrap();
    assert_eq!((found.agreed, found.strays.len(), found.missing.len()), (1, 1, 1));
    let inventory = MemoryInventory::new();
    assert_eq!(found.adoptable.write(&*house.catalog, &inventory).await.unwrap().backups, 1);
    let found = check(&*house.catalog, &here, &store, now(), &|_| ()).await.unwrap();
    assert_eq!((found.agreed, found.strays.len(), found.missing.len()), (2, 0, 1));
}

#[tokio::test]
async fn what_runs_stored_that_were_cut_off_is_found_and_believed_where_it_takes_a_key_to_write() {
    let (catalog, inventory) = (MemoryCatalog::new(), MemoryInventory::new());
    let (sealed, open) = (MemoryBackend::new().with_private_content(), MemoryBackend::new());
    let cut_off = good();
    put(&sealed, cut_off.clone(), b"good").await;
    put(&open, cut_off.clone(), b"good").await;
    // Of a run that nobody cut off; and one that claims to be of the run, where anybody can write.
    put(&sealed, samples::manifest(&samples::device("sw2"), "running-config", b"late"), b"late").await;
    let mut forged = samples::manifest(&samples::device("sw1"), "startup-config", b"evil");
    forged.run = cut_off.run;
    put(&open, forged.clone(), b"evil").await;

    let places: [(DestinationId, &dyn StorageBackend); 2] = [("sealed".into(), &sealed), ("open".into(), &open)];
    let runs = [(cut_off.run, cut_off.taken_at)].into();
    let found = unrecorded(&catalog, &places, &runs).await.unwrap();
    assert_eq!((found.adoptable.backups.len(), found.adoptable.devices.len(), found.others.len()), (1, 0, 1));
    assert_eq!((found.adoptable.backups[0].id, found.adoptable.backups[0].copies.len()), (cut_off.backup, 2));
    assert_eq!((found.others[0].0.as_str(), found.others[0].1.backup), ("open", forged.backup));
    assert_eq!(found.adoptable.write(&catalog, &inventory).await.unwrap().copies, 2);

    let again = unrecorded(&catalog, &places, &runs).await.unwrap();
    assert_eq!((again.adoptable.backups.len(), again.others.len()), (0, 1));
    assert!(unrecorded(&catalog, &places, &BTreeMap::new()).await.unwrap().others.is_empty());
    // Alone where anybody can write, a copy of a backup that is recorded is what it claims to be, or another one.
    let elsewhere = MemoryBackend::new();
    put(&elsewhere, cut_off.clone(), b"good").await;
    let mut other = samples::manifest(&samples::device("sw1"), "startup-config", b"evil");
    (other.run, other.backup) = (cut_off.run, cut_off.backup);
    let third = MemoryBackend::new();
    put(&third, other, b"evil").await;
    let places: [(DestinationId, &dyn StorageBackend); 2] =
        [("elsewhere".into(), &elsewhere), ("third".into(), &third)];
    let found = unrecorded(&catalog, &places, &runs).await.unwrap();
    assert_eq!((found.adoptable.backups.len(), found.others.len()), (1, 1));
    assert_eq!(found.adoptable.backups[0].copies[0].destination.as_str(), "elsewhere");
}
