//! The catalog in SQLite.

mod conformance;
mod faults;
mod measure;
mod model;
mod processes;
mod records;
mod succession;

use std::path::Path;

use devicevault_core::catalog::{Page, Query, RunQuery};
use devicevault_core::run::{Backup, NewRun, Run, RunState, Trigger};
use devicevault_core::{Catalog, Clock as _, DeviceId, RunId, SystemClock, Timestamp};
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
use devicevault_testkit::samples::BEGINNING;
use tempfile::TempDir;

/// A folder of its own, and a path for a catalog in it.
fn place() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    (folder, path)
}

async fn open(path: &Path) -> SqliteCatalog {
    SqliteCatalog::create(path, SqliteOptions::default()).await.unwrap()
}

/// So many seconds after the beginning of the samples.
pub(crate) fn second(n: i64) -> Timestamp {
    Timestamp::from_second(BEGINNING.as_second() + n).unwrap()
}

pub(crate) fn new_run(device: &str, n: i64) -> NewRun {
    NewRun::new(DeviceId::from(device), device, Trigger::Manual, second(n))
}

/// The end of a run that began.
pub(crate) fn ended(id: RunId, start: NewRun, state: RunState) -> Run {
    let mut run = Run::begun(id, start);
    run.state = state;
    run.finished_at = Some(SystemClock.now());
    run
}

pub(crate) async fn all_backups(catalog: &dyn Catalog) -> Vec<Backup> {
    let page = catalog.find(&Query::default(), Page::first(10_000)).await.unwrap();
    assert_eq!(page.next, None);
    page.items
}

async fn run_of(catalog: &dyn Catalog, id: RunId) -> Run {
    let mut query = RunQuery::default();
    query.id = Some(id);
    catalog.runs(&query, Page::first(1)).await.unwrap().items.pop().unwrap()
}
