//! What the cases have in common.

use std::time::Duration;

use devicevault_core::catalog::{Page, Query, RunQuery};
use devicevault_core::run::{Backup, NewRun, Run, RunState, Trigger};
use devicevault_core::{BackupId, Catalog, Result, RunId, Timestamp};

use crate::clock::ManualClock;
use crate::conformance::case::{Checked, Stop, broken, ensure_eq};
use crate::conformance::place::Places;
use crate::samples;

/// What a case works with.
pub(super) struct Stage<'a> {
    pub(super) places: Places<'a, dyn Catalog>,
    pub(super) clock: Option<&'a ManualClock>,
    pub(super) seed: u64,
}

/// So many seconds after the beginning of the samples.
pub(super) fn at(seconds: u64) -> Timestamp {
    samples::BEGINNING + Duration::from_secs(seconds)
}

pub(super) fn new_run(device: &str, when: Timestamp) -> NewRun {
    NewRun::new(device.into(), device, Trigger::Schedule, when)
}

/// Begins a run of this device.
pub(super) async fn begin(catalog: &dyn Catalog, device: &str, when: Timestamp) -> Result<Run> {
    let start = new_run(device, when);
    let id = catalog.begin(&start).await?;
    Ok(Run::begun(id, start))
}

/// The run, over.
pub(super) fn ended(mut run: Run, state: RunState) -> Run {
    run.finished_at = Some(run.start.started_at + Duration::from_secs(1));
    run.state = state;
    run
}

pub(super) async fn run_of(catalog: &dyn Catalog, id: RunId) -> Result<Run, Stop> {
    let mut query = RunQuery::default();
    query.id = Some(id);
    let mut found = catalog.runs(&query, Page::first(2)).await?.items;
    match (found.pop(), found.is_empty()) {
        (Some(run), true) => Ok(run),
        (found, _) => broken(format!("of one run there is not one record: {found:?}")),
    }
}

pub(super) async fn backup_of(catalog: &dyn Catalog, id: BackupId) -> Result<Option<Backup>, Stop> {
    let mut query = Query::default();
    query.id = Some(id);
    let mut found = catalog.find(&query, Page::first(2)).await?.items;
    ensure_eq!(found.len().min(1), found.len(), "of one backup there are two records");
    Ok(found.pop().map(sorted))
}

/// The backup is kept as this, the order of its copies apart.
pub(super) async fn ensure_backup(catalog: &dyn Catalog, want: &Backup) -> Checked {
    ensure_eq!(backup_of(catalog, want.id).await?, Some(sorted(want.clone())), "the backup is not as it was recorded");
    Ok(())
}

/// With its copies in the order of their destinations: a catalog may give them in any.
pub(super) fn sorted(mut backup: Backup) -> Backup {
    backup.copies.sort_by(|a, b| a.destination.cmp(&b.destination));
    backup
}
