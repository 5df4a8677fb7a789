//! A catalog out of manifests, some of which nobody should believe.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::catalog::{Page, Query};
use devicevault_core::rebuild::{Gathered, Rebuilt, check, unrecorded};
use devicevault_core::run::{Backup, CopyStatus};
use devicevault_core::sightings::{Sighting, Sightings, note, note_all, period_of};
use devicevault_core::storage::{Capability, Health, ListFilter, Usage, UsageFilter, Verdict, VerifyDepth};
use devicevault_core::{
    Body, ByteStream, Catalog, DestinationId, Entry, Error, ErrorKind, Inventory, Manifest, Result, StorageBackend,
    StorageBackendExt as _, StorageRef, Timestamp, View,
};
use devicevault_testkit::conformance::Damage;
use devicevault_testkit::faulty::{Fault, Faulty, Operation};
use devicevault_testkit::memory::{MemoryBackend, MemoryCatalog, MemoryInventory};
use devicevault_testkit::samples;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

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
async fn a_destination_that_came_late_tells_since_when_its_versions_are_valid() {
    let house = house();
    let [early, late] = [MemoryBackend::new(), MemoryBackend::new()];
    let places = [("early", &early), ("late", &late)]
        .map(|(name, store)| destination(name, Arc::new(store.clone()), View::Original));
    let script = Script::new(vec![config("a\nend\n"), config("a\nend\n"), config("a\nend\n")]);
    for at in [&places[..1], &places[..1], &places[..]] {
        house.engine.back_up(&job(script.clone(), at.to_vec())).await.unwrap();
    }
    let before = all(&*house.catalog).await;
    let [known] = before.as_slice() else { panic!("{before:?}") };
    assert!(stored(&early).iter().all(|(m, _)| m.known_since.is_none() && m.first_seen() == m.taken_at));
    let (manifest, _) = stored(&late).remove(0);
    assert_eq!(manifest.known_since, Some(known.first_seen));
    assert!(manifest.taken_at > known.first_seen);

    for from in
        [vec![("late", &late)], vec![("early", &early), ("late", &late)], vec![("late", &late), ("early", &early)]]
    {
        let mut gathered = Gathered::new();
        for (name, store) in &from {
            gathered.gather(&(*name).into(), *store, now(), &|_| ()).await.unwrap();
        }
        let rebuilt = gathered.assemble();
        let [backup] = rebuilt.backups.as_slice() else { panic!("{:?}", rebuilt.backups) };
        assert_eq!((backup.first_seen, backup.content), (known.first_seen, known.content));
        assert_eq!(backup.run == known.run, from.len() == 2, "only the first copy names the first run");
        assert!(backup.last_seen >= manifest.taken_at);
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
    let found = check(&*house.catalog, &here, &store, &BTreeSet::new(), now(), &|_| ()).await.unwrap();
    assert_eq!((found.agreed, found.strays.len(), found.missing.len()), (2, 0, 0));
    let first = all(&*house.catalog).await[1].copies[0].storage_ref.clone().unwrap();
    store.delete_one(&first).await.unwrap();
    put(&store, good(), b"good").await;
    let found = check(&*house.catalog, &here, &store, &BTreeSet::new(), now(), &|_| ()).await.unwrap();
    assert_eq!((found.agreed, found.strays.len(), found.missing.len()), (1, 1, 1));
    let inventory = MemoryInventory::new();
    assert_eq!(found.adoptable.write(&*house.catalog, &inventory).await.unwrap().backups, 1);
    let found = check(&*house.catalog, &here, &store, &BTreeSet::new(), now(), &|_| ()).await.unwrap();
    assert_eq!((found.agreed, found.strays.len(), found.missing.len()), (2, 0, 1));
}

/// Where a listing names what was cut off since, or is gone.
#[tokio::test]
async fn a_copy_that_is_not_what_was_stored_comes_back_as_damaged() {
    for how in [Damage::Truncate, Damage::Remove] {
        let (sealed, open) = (MemoryBackend::new().with_private_content(), MemoryBackend::new());
        let mine = good();
        for store in [&sealed, &open] {
            put(store, mine.clone(), b"good").await;
        }
        let at = open.list(ListFilter::default()).try_collect::<Vec<_>>().await.unwrap()[0].0.clone();
        assert!(open.damage(&at, how));
        let is_known_as_damaged = async |catalog: &MemoryCatalog| {
            let found = all(catalog).await;
            let copy = found.iter().flat_map(|b| &b.copies).find(|c| c.destination.as_str() == "open").unwrap();
            copy.status == CopyStatus::Damaged && copy.error.is_some()
        };
        let (here, none, inventory) = ("open".into(), BTreeSet::new(), MemoryInventory::new());
        let catalog = MemoryCatalog::new();
        let found = check(&catalog, &here, &open, &none, now(), &|_| ()).await.unwrap();
        assert!(found.strays.len() == 1 && found.strays[0].damaged.is_some(), "{found:?}");
        found.adoptable.write(&catalog, &inventory).await.unwrap();
        assert!(is_known_as_damaged(&catalog).await, "{how:?}");
        let found = check(&catalog, &here, &open, &none, now(), &|_| ()).await.unwrap();
        assert_eq!((found.agreed, found.strays.len()), (1, 0));

        let catalog = MemoryCatalog::new();
        let mut gathered = Gathered::new();
        for (name, store) in [("open", &open), ("sealed", &sealed)] {
            gathered.gather(&name.into(), store, now(), &|_| ()).await.unwrap();
            gathered.look(&name.into(), store).await.unwrap();
        }
        gathered.assemble().write(&catalog, &inventory).await.unwrap();
        assert!(is_known_as_damaged(&catalog).await, "{how:?}");

        let catalog = MemoryCatalog::new();
        let places = [(here, &open as &dyn StorageBackend), ("sealed".into(), &sealed)];
        let found = unrecorded(&catalog, &places, &[(mine.run, mine.taken_at)].into()).await.unwrap();
        found.adoptable.write(&catalog, &inventory).await.unwrap();
        assert!(is_known_as_damaged(&catalog).await, "{how:?}");
    }
}

#[tokio::test]
async fn a_copy_that_may_not_be_looked_at_is_named_and_keeps_nothing_else_back() {
    let (store, here) = (MemoryBackend::new(), DestinationId::from("main"));
    for (device, text) in [("sw1", b"1"), ("sw2", b"2"), ("sw3", b"3")] {
        put(&store, taken(device, now(), text), text).await;
    }
    let rebuilt = async |fault: Fault| {
        let faulty = Faulty::new(Arc::new(store.clone()));
        faulty.plan().add(fault);
        let mut gathered = Gathered::new();
        gathered.gather(&here, &faulty, now(), &|_| ()).await.unwrap();
        gathered.look(&here, &faulty).await.map(|()| gathered.assemble())
    };
    let failing = |kind| Fault::failing(Operation::Verify, Error::new(kind, "look at backup", "not today"));
    for kind in [ErrorKind::PermissionDenied, ErrorKind::NotFound, ErrorKind::Unsupported] {
        let back = rebuilt(failing(kind)).await.unwrap();
        assert_eq!(back.backups.len(), 3);
        let bad = back.backups.iter().flat_map(|b| &b.copies).filter(|c| c.status == CopyStatus::Damaged);
        let why: Vec<_> = bad.map(|c| c.error.clone().unwrap().message).collect();
        assert!(why.len() == 1 && why[0].contains("could not be looked at: not today"), "{why:?}");
        // That nothing may be looked at says nothing of the copies, nor does a place that goes away.
        assert_eq!(rebuilt(failing(kind).for_ever()).await.unwrap_err().kind(), kind);
    }
    for kind in [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::AuthRejected] {
        assert_eq!(rebuilt(failing(kind).at_call(2)).await.unwrap_err().kind(), kind);
    }
}

/// A store whose listing lacks one copy that it holds.
#[derive(Debug)]
struct Hiding(MemoryBackend, StorageRef);

#[async_trait]
impl StorageBackend for Hiding {
    fn capability(&self) -> Capability {
        self.0.capability()
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        self.0.store(batch).await
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        self.0.read(at, range).await
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        self.0.stat(at).await
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        let hidden = self.1.clone();
        self.0.list(filter).try_filter(move |(at, _)| std::future::ready(*at != hidden)).boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        self.0.delete(refs).await
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        self.0.verify(at, expect, depth).await
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        self.0.usage(filter).await
    }

    async fn check(&self) -> Result<Health> {
        self.0.check().await
    }
}

#[tokio::test]
async fn a_copy_that_is_there_and_not_listed_is_told() {
    let house = house();
    let store = MemoryBackend::new();
    let places = vec![destination("main", Arc::new(store.clone()), View::Original)];
    let script = Script::new(vec![config("a\nend\n"), config("b\nend\n")]);
    for _ in 0..2 {
        house.engine.back_up(&job(script.clone(), places.clone())).await.unwrap();
    }
    let (here, first): (DestinationId, _) = ("main".into(), all(&*house.catalog).await[1].clone());
    let hiding = Hiding(store.clone(), first.copies[0].storage_ref.clone().unwrap());
    let found = check(&*house.catalog, &here, &hiding, &BTreeSet::new(), now(), &|_| ()).await.unwrap();
    assert_eq!((found.agreed, found.strays.len(), found.missing.len()), (1, 0, 0));
    assert_eq!(found.unlisted.iter().map(|(b, _)| b.id).collect::<Vec<_>>(), [first.id]);
    store.delete_one(&hiding.1).await.unwrap();
    let found = check(&*house.catalog, &here, &hiding, &BTreeSet::new(), now(), &|_| ()).await.unwrap();
    assert_eq!((found.agreed, found.missing.len(), found.unlisted.len()), (1, 1, 0));
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

/// So many seconds before now, or after it.
fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).unwrap()
}

fn taken(device: &str, at: Timestamp, text: &'static [u8]) -> Manifest {
    let mut manifest = samples::manifest(&samples::device(device), "running-config", text);
    manifest.taken_at = at;
    manifest
}

async fn rebuilt_of(sealed: &MemoryBackend, open: &MemoryBackend) -> Rebuilt {
    let mut gathered = Gathered::new();
    gathered.gather(&"open".into(), open, now(), &|_| ()).await.unwrap();
    gathered.gather(&"sealed".into(), sealed, now(), &|_| ()).await.unwrap();
    gathered.assemble()
}

#[tokio::test]
async fn of_a_device_that_a_sealed_store_knows_the_others_decide_nothing() {
    let (sealed, open) = (MemoryBackend::new().with_private_content(), MemoryBackend::new());
    let mine = taken("sw1", ago(7200), b"good");
    put(&sealed, mine.clone(), b"good").await;
    let past = taken("sw1", ago(9000), b"let go elsewhere");
    put(&open, past.clone(), b"let go elsewhere").await;
    // Newer, of another artefact, and dated ahead.
    let mut forged = taken("sw1", ago(3600), b"evil");
    forged.source.host = "203.0.113.66".to_owned();
    forged.source.device_name = "sw2".to_owned();
    put(&open, forged.clone(), b"evil").await;
    let mut other = taken("sw1", ago(9000), b"evil too");
    other.artefact = "startup-config".to_owned();
    put(&open, other.clone(), b"evil too").await;
    put(&open, taken("sw1", ago(-400_000), b"ahead"), b"ahead").await;
    // One that has the name, and that nobody else knows.
    let mut stranger = taken("sw9", ago(60), b"who");
    stranger.source.device_name = "sw1".to_owned();
    put(&open, stranger.clone(), b"who").await;

    let rebuilt = rebuilt_of(&sealed, &open).await;
    assert_eq!(rebuilt.refused.len(), 1, "{:?}", rebuilt.refused);
    assert!(rebuilt.refused[0].error.message().contains("ahead of now"));
    assert_eq!(rebuilt.doubted, [forged.backup, other.backup].into());
    for backup in &rebuilt.backups {
        assert_eq!(backup.suspect.is_empty(), !rebuilt.doubted.contains(&backup.id), "{backup:?}");
        assert_eq!(backup.device_name, "sw1", "{backup:?}");
    }
    let of = |id: &str| rebuilt.devices.iter().find(|d| d.id.as_str() == id).unwrap();
    assert_eq!((of("sw1").name.as_str(), of("sw1").host.as_str()), ("sw1", "192.0.2.1"));
    assert_eq!(rebuilt.unconfirmed, ["sw9".into()].into());
    let returned = rebuilt.returned(&[]);
    assert_eq!((returned[0].device.id.as_str(), returned[0].was.as_deref()), ("sw1", None));
    assert_eq!((returned[1].device.name.as_str(), returned[1].device.enabled), ("sw1-2", false));

    let (catalog, inventory) = (MemoryCatalog::new(), MemoryInventory::new());
    rebuilt.write(&catalog, &inventory).await.unwrap();
    let latest = catalog.latest(&"sw1".into(), "running-config").await.unwrap();
    assert_eq!(latest.reference.map(|b| b.id), Some(mine.backup));

    // Where nobody seals, nobody is believed before another.
    let alone = rebuilt_of(&MemoryBackend::new().with_private_content(), &open).await;
    assert!(alone.doubted.is_empty() && alone.unconfirmed.is_empty() && alone.refused.is_empty());
    assert_eq!(alone.backups.len(), 5);
    assert!(alone.backups.iter().all(|b| b.suspect.is_empty()));
}

#[tokio::test]
async fn of_a_version_that_a_sealed_store_holds_the_others_have_a_copy_at_most() {
    let (sealed, open) = (MemoryBackend::new().with_private_content(), MemoryBackend::new());
    let mut mine = taken("sw1", ago(7200), b"good");
    mine.suspect = vec!["short".to_owned()];
    mine.quarantined = true;
    put(&sealed, mine.clone(), b"good").await;
    // As it is, but dated back, under another name, and good.
    let mut copy = mine.clone();
    (copy.taken_at, copy.quarantined) = (Timestamp::UNIX_EPOCH, false);
    copy.suspect.clear();
    copy.source.device_name = "sw2".to_owned();
    put(&open, copy, b"good").await;
    let rebuilt = rebuilt_of(&sealed, &open).await;
    let found = &rebuilt.backups[0];
    assert_eq!((found.first_seen, found.device_name.as_str(), found.copies.len()), (mine.taken_at, "sw1", 2));
    assert!(found.is_quarantined() && rebuilt.refused.is_empty());

    // Another text as its original; and two of which one may be ours.
    for redacted in [false, true] {
        let (sealed, open) = (MemoryBackend::new().with_private_content(), MemoryBackend::new());
        put(&sealed, mine.clone(), b"good").await;
        for text in if redacted { [&b"evil"[..], b"masked"] } else { [&b"evil"[..], b"evil"] } {
            let mut forged = samples::manifest(&samples::device("sw1"), "running-config", text);
            (forged.backup, forged.content, forged.taken_at) = (mine.backup, mine.content, ago(3600));
            forged.view = if redacted { View::Redacted } else { View::Original };
            put(&open, forged, text).await;
        }
        let rebuilt = rebuilt_of(&sealed, &open).await;
        assert_eq!((rebuilt.backups.len(), rebuilt.refused.len()), (1, 1), "{:?}", rebuilt.refused);
        assert_eq!(rebuilt.backups[0].copies.len(), 1);
        assert_eq!(rebuilt.backups[0].copies[0].sha256, mine.sha256);
    }
}

#[tokio::test]
async fn records_in_the_clear_name_no_device_and_let_go_no_pin_of_a_sealed_store() {
    let (sealed, open) = (MemoryBackend::new().with_private_content(), MemoryBackend::new());
    let mut all = [taken("sw1", ago(7200), b"one"), taken("sw2", ago(7200), b"two")];
    all[0].suspect = vec!["short".to_owned()];
    let bodies: [&'static [u8]; 2] = [b"one", b"two"];
    for (manifest, body) in all.iter().zip(bodies) {
        put(&sealed, manifest.clone(), body).await;
        put(&open, manifest.clone(), body).await;
    }
    let period = period_of(now());
    let mut ours = Sightings::new(period.clone(), ago(3600));
    let mut theirs = Sightings::new(period, ago(-3600));
    for (i, manifest) in all.iter().enumerate() {
        let (backup, last_seen) = (manifest.backup, ago(3600));
        ours.seen.push(Sighting { backup, last_seen, here: None, pinned: true, suspect: i == 0 });
        theirs.seen.push(Sighting { backup, last_seen, here: None, pinned: false, suspect: false });
        theirs.unpinned.insert(backup, ago(-3600));
        theirs.names.insert(format!("sw{}", i + 1).into(), format!("sw{}", 2 - i));
    }
    sealed.note_sightings(&ours).await.unwrap();
    open.note_sightings(&theirs).await.unwrap();
    let rebuilt = rebuilt_of(&sealed, &open).await;
    assert!(rebuilt.backups.iter().all(|b| b.pinned && b.copies.len() == 2), "{:?}", rebuilt.backups);
    let short = rebuilt.backups.iter().find(|b| b.id == all[0].backup).unwrap();
    assert!(!short.suspect.is_empty());
    assert!(rebuilt.devices.iter().all(|d| d.name == d.id.as_str()), "{:?}", rebuilt.devices);
    // Of what no sealed store has, they are all that is known.
    let alone = rebuilt_of(&MemoryBackend::new().with_private_content(), &open).await;
    assert!(alone.devices.iter().all(|d| d.name != d.id.as_str()));
    assert!(alone.backups.iter().all(|b| !b.pinned && b.suspect.is_empty()));
}

#[tokio::test]
async fn a_catalog_with_something_sealed_doubts_what_others_have_newer() {
    let (catalog, inventory) = (MemoryCatalog::new(), MemoryInventory::new());
    let (sealed, open) = (MemoryBackend::new().with_private_content(), MemoryBackend::new());
    let mine = taken("sw1", ago(7200), b"good");
    put(&sealed, mine.clone(), b"good").await;
    rebuilt_of(&sealed, &open).await.write(&catalog, &inventory).await.unwrap();
    let forged = taken("sw1", ago(3600), b"evil");
    put(&open, forged.clone(), b"evil").await;
    let mut other = taken("sw2", ago(3600), b"evil");
    other.backup = mine.backup;
    put(&open, other, b"evil").await;
    let place: DestinationId = "open".into();
    for (known, doubted) in [(BTreeSet::new(), 0), (BTreeSet::from(["sealed".into()]), 1)] {
        let found = check(&catalog, &place, &open, &known, now(), &|_| ()).await.unwrap();
        assert_eq!((found.strays.len(), found.adoptable.doubted.len()), (2, doubted));
        let mut gathered = Gathered::new();
        gathered.heed(&catalog, &known).await.unwrap();
        gathered.gather(&place, &open, now(), &|_| ()).await.unwrap();
        assert_eq!(gathered.assemble().doubted.len(), doubted);
        if doubted > 0 {
            let written = found.adoptable.write(&catalog, &inventory).await.unwrap();
            assert_eq!((written.copies, written.refused), (1, 1));
        }
    }
    let latest = catalog.latest(&"sw1".into(), "running-config").await.unwrap();
    assert_eq!(latest.reference.map(|b| b.id), Some(mine.backup));
    assert_eq!(latest.suspect.map(|b| b.id), Some(forged.backup));
}
