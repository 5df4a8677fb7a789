//! Any sequence of changes leaves what the catalog in memory says it leaves.

use std::sync::Arc;

use devicevault_core::catalog::{CopyKey, Page, Query, RunQuery};
use devicevault_core::run::{Backup, CopyStatus, Outcome, RunState};
use devicevault_core::{
    BackupId, Catalog, DestinationId, Digest, ErrorKind, ErrorRecord, NoteLevel, RunId, StorageRef,
};
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::memory::MemoryCatalog;
use devicevault_testkit::samples;
use proptest::prelude::*;
use uuid::Uuid;

use super::{ended, new_run, place, second};

const DEVICES: [&str; 2] = ["core-rtr1", "core-rtr2"];
const ARTEFACTS: [&str; 2] = ["running-config", "inventory"];
const DESTINATIONS: [&str; 3] = ["archive", "git", "main"];

/// A change, in small numbers: the same few backups, references and times meet again and again.
#[derive(Debug, Clone)]
enum Step {
    Begin { task: u8 },
    Record(Vec<Told>),
    Verified { backup: u8, destination: u8, good: Option<u8> },
    Mark { destination: u8, at: Vec<u8> },
    Forget { destination: u8, at: Vec<u8> },
}

#[derive(Debug, Clone)]
enum Told {
    Backup { id: u8, seen: u8, suspect: bool, copies: Vec<(u8, u8, u8)> },
    Extended { id: u8, destinations: Vec<u8>, seen: u8 },
    End { task: u8, failed: bool },
}

fn told() -> impl Strategy<Value = Told> {
    let copies = proptest::collection::vec((0..3_u8, 0..5_u8, 0..4_u8), 0..4);
    prop_oneof![
        4 => (0..8_u8, 0..6_u8, prop::bool::weighted(0.3), copies)
            .prop_map(|(id, seen, suspect, copies)| Told::Backup { id, seen, suspect, copies }),
        2 => (0..8_u8, proptest::collection::vec(0..3_u8, 0..3), 0..12_u8)
            .prop_map(|(id, destinations, seen)| Told::Extended { id, destinations, seen }),
        1 => (0..4_u8, any::<bool>()).prop_map(|(task, failed)| Told::End { task, failed }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let refs = || proptest::collection::vec(0..12_u8, 0..4);
    prop_oneof![
        1 => (0..4_u8).prop_map(|task| Step::Begin { task }),
        5 => proptest::collection::vec(told(), 0..4).prop_map(Step::Record),
        1 => (0..8_u8, 0..3_u8, proptest::option::of(0..20_u8))
            .prop_map(|(backup, destination, good)| Step::Verified { backup, destination, good }),
        1 => (0..3_u8, refs()).prop_map(|(destination, at)| Step::Mark { destination, at }),
        1 => (0..3_u8, refs()).prop_map(|(destination, at)| Step::Forget { destination, at }),
    ]
}

fn pick<const N: usize>(from: [&'static str; N], n: u8) -> &'static str {
    from[usize::from(n) % N]
}

fn backup_id(n: u8) -> BackupId {
    BackupId(Uuid::from_u128(1 << 100 | u128::from(n)))
}

/// The same backup has the same device and artefact, whoever tells of it.
fn backup(id: u8, seen: u8, suspect: bool, copies: &[(u8, u8, u8)]) -> Backup {
    let (device, artefact) = (pick(DEVICES, id), pick(ARTEFACTS, id / 2));
    let run = RunId(Uuid::from_u128(u128::from(id % 3)));
    let mut backup =
        Backup::new(backup_id(id), run, device.into(), artefact, Digest::of(&[id]), second(i64::from(seen)));
    backup.suspect = if suspect { vec!["short".to_owned()] } else { Vec::new() };
    backup.metadata = [("seen".to_owned(), seen.to_string())].into();
    for (destination, status, at) in copies {
        let destination = pick(DESTINATIONS, *destination);
        if backup.copies.iter().any(|c| c.destination.0 == destination) {
            continue;
        }
        let mut copy = samples::copy(destination, &reference(id.wrapping_add(*at) % 12), second(i64::from(*at)));
        let states =
            [CopyStatus::Stored, CopyStatus::Pending, CopyStatus::Failed, CopyStatus::Stored, CopyStatus::Extended];
        copy.status = states[usize::from(*status) % states.len()];
        if matches!(copy.status, CopyStatus::Pending | CopyStatus::Failed) {
            copy.storage_ref = None;
        }
        copy.attempts = u32::from(*at);
        backup.copies.push(copy);
    }
    backup
}

fn reference(n: u8) -> String {
    format!("object-{n}")
}

fn refs(at: &[u8]) -> Vec<StorageRef> {
    at.iter().map(|n| StorageRef(reference(*n))).collect()
}

/// Makes one change; says how it was answered.
async fn make(
    catalog: &dyn Catalog,
    step: &Step,
    begun: &mut [Option<RunId>; 4],
    starts: &[devicevault_core::run::NewRun],
) -> Result<(), ErrorKind> {
    let answer = match step {
        Step::Begin { task } => {
            let task = usize::from(*task);
            catalog.begin(&starts[task]).await.map(|id| begun[task] = Some(id))
        }
        Step::Record(told) => {
            let mut run = RunId(Uuid::from_u128(99));
            let outcomes = told.iter().filter_map(|t| match t {
                Told::Backup { id, seen, suspect, copies } => {
                    Some(Outcome::Backup(backup(*id, *seen, *suspect, copies)))
                }
                Told::Extended { id, destinations, seen } => Some(Outcome::Extended {
                    backup: backup_id(*id),
                    destinations: destinations.iter().map(|d| pick(DESTINATIONS, *d).into()).collect(),
                    seen: second(i64::from(*seen)),
                }),
                Told::End { task, failed } => {
                    let task = usize::from(*task);
                    run = begun[task]?;
                    let state = if *failed { RunState::Failed } else { RunState::Succeeded };
                    let mut end = ended(run, starts[task].clone(), state);
                    end.finished_at = Some(second(500));
                    end.log = vec![devicevault_core::Note::info(format!("{:?}", NoteLevel::Info))];
                    Some(Outcome::End(end))
                }
            });
            let outcomes: Vec<_> = outcomes.collect();
            catalog.record(run, outcomes).await
        }
        Step::Verified { backup, destination, good } => {
            let key = CopyKey { backup: backup_id(*backup), destination: pick(DESTINATIONS, *destination).into() };
            let bad = ErrorRecord { kind: ErrorKind::Corrupt, message: "flipped".to_owned(), hint: None };
            catalog.verified(&key, good.map(|at| second(i64::from(at))).ok_or(bad)).await
        }
        Step::Mark { destination, at } => {
            catalog.mark(&DestinationId::from(pick(DESTINATIONS, *destination)), &refs(at)).await
        }
        Step::Forget { destination, at } => {
            catalog.forget(&DestinationId::from(pick(DESTINATIONS, *destination)), &refs(at)).await
        }
    };
    answer.map_err(|e| e.kind())
}

/// Copies are a set: their order is the catalog's own.
fn sorted(mut backups: Vec<Backup>) -> Vec<Backup> {
    for backup in &mut backups {
        backup.copies.sort_by(|a, b| a.destination.cmp(&b.destination));
    }
    backups
}

/// Everything that can be asked, in pages of three.
async fn everything(catalog: &dyn Catalog) -> Vec<String> {
    let mut told = Vec::new();
    for query in queries() {
        let mut page = Page::first(3);
        loop {
            let paged = catalog.find(&query, page).await.unwrap();
            told.push(format!("{query:?}: {:#?}", sorted(paged.items)));
            let Some(next) = paged.next else { break };
            page = Page::after(3, next);
        }
    }
    for device in DEVICES {
        for artefact in ARTEFACTS {
            let latest = catalog.latest(&device.into(), artefact).await.unwrap();
            let both = [latest.reference, latest.suspect].map(|b| sorted(b.into_iter().collect()));
            told.push(format!("latest of {device} {artefact}: {both:#?}"));
        }
    }
    let runs = catalog.runs(&RunQuery::default(), Page::first(100)).await.unwrap();
    let of_run = |r: &devicevault_core::run::Run| format!("{:?} {:?} {:?}", r.start, r.state, r.log);
    told.extend(runs.items.iter().map(of_run));
    let mut pending = catalog.pending().await.unwrap();
    pending.sort_by(|a, b| (a.backup, &a.destination).cmp(&(b.backup, &b.destination)));
    told.push(format!("{pending:#?}"));
    told
}

fn queries() -> Vec<Query> {
    let mut all = vec![Query::default()];
    let mut add = |change: &dyn Fn(&mut Query)| {
        let mut query = Query::default();
        change(&mut query);
        all.push(query);
    };
    for device in DEVICES {
        add(&|q| q.device = Some(device.into()));
        add(&|q| (q.device, q.artefact) = (Some(device.into()), Some(ARTEFACTS[0].to_owned())));
        add(&|q| (q.device, q.at) = (Some(device.into()), Some(second(3))));
        add(&|q| (q.device, q.destination) = (Some(device.into()), Some("git".into())));
    }
    for destination in DESTINATIONS {
        add(&|q| q.destination = Some(destination.into()));
        add(&|q| (q.destination, q.since, q.until) = (Some(destination.into()), Some(second(1)), Some(second(4))));
    }
    for n in 0..6 {
        add(&|q| q.at = Some(second(n)));
    }
    add(&|q| q.artefact = Some(ARTEFACTS[1].to_owned()));
    add(&|q| q.id = Some(backup_id(3)));
    add(&|q| q.run = Some(RunId(Uuid::from_u128(1))));
    add(&|q| (q.run, q.artefact) = (Some(RunId(Uuid::from_u128(2))), Some(ARTEFACTS[1].to_owned())));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_does_what_the_catalog_in_memory_does(steps in proptest::collection::vec(step(), 1..40), restart in 0..40_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_folder, path) = place();
            let clock = ManualClock::new();
            let options = SqliteOptions::default().with_clock(Arc::new(clock.clone()));
            let mut ours = SqliteCatalog::create(&path, options.clone()).await.unwrap();
            let mut model = MemoryCatalog::with_clock(Arc::new(clock.clone()));
            let starts: Vec<_> = (0..4).map(|n| new_run(DEVICES[n % 2], n as i64)).collect();
            let (mut our_runs, mut model_runs) = ([None; 4], [None; 4]);
            for (i, step) in steps.iter().enumerate() {
                if i == restart {
                    drop(ours);
                    ours = SqliteCatalog::open(&path, options.clone()).await.unwrap();
                    model = model.reopened();
                    model.pending().await.unwrap();
                }
                let (got, want) = (make(&ours, step, &mut our_runs, &starts).await, make(&model, step, &mut model_runs, &starts).await);
                prop_assert_eq!(got, want, "{:?}", step);
            }
            let (got, want) = (everything(&ours).await, everything(&model).await);
            for (got, want) in got.iter().zip(&want) {
                prop_assert!(got == want, "found {got}\nwanted {want}");
            }
            prop_assert_eq!(got.len(), want.len());
            prop_assert!(ours.check().await.unwrap().is_good());
            Ok(())
        })?;
    }
}
