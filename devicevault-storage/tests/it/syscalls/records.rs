//! The catalog: what was recorded stays, and a record is whole.

use std::collections::BTreeSet;
use std::path::Path;

use devicevault_core::run::{Outcome, RunState};
use devicevault_core::{Catalog as _, Result, RunId};
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
use devicevault_testkit::samples;
use tempfile::TempDir;

use crate::catalog::{all_backups, ended, new_run, second};

/// What the catalog's files are called.
pub(super) const FILES: [&str; 4] = ["catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db-journal"];

async fn open(folder: &Path) -> Result<SqliteCatalog> {
    SqliteCatalog::create(folder.join(FILES[0]), SqliteOptions::default().with_readers(1)).await
}

/// A run with two backups, as long as what a page holds.
async fn record(catalog: &SqliteCatalog, n: i64) -> Result<RunId> {
    let start = new_run(&format!("sw{n}"), n);
    let run = catalog.begin(&start).await?;
    let mut outcomes: Vec<_> = ["running-config", "startup-config"]
        .map(|artefact| {
            let mut backup = samples::backup(&format!("sw{n}"), artefact, run, second(n), &["git", "main"]);
            backup.metadata = [("padding".to_owned(), "x".repeat(5_000))].into();
            Outcome::Backup(backup)
        })
        .into();
    outcomes.push(Outcome::End(ended(run, start, RunState::Succeeded)));
    catalog.record(run, outcomes).await?;
    Ok(run)
}

pub(super) async fn fresh() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open(folder.path()).await.unwrap();
    let before = record(&catalog, 9).await.unwrap();
    catalog.close().await;
    (folder, before.to_string())
}

pub(super) async fn act(folder: &Path) {
    let catalog = match open(folder).await {
        Ok(catalog) => catalog,
        Err(e) => return super::tell(Err::<&str, _>(e)),
    };
    for n in 0..3 {
        super::tell(record(&catalog, n).await);
    }
    catalog.close().await;
}

pub(super) async fn is_well(folder: &Path, confirmed: &BTreeSet<String>, when: &str) {
    let catalog = open(folder).await.unwrap_or_else(|e| panic!("{when}: {e:?}"));
    let health = catalog.check().await.unwrap_or_else(|e| panic!("{when}: {e:?}"));
    assert!(health.is_good(), "{when}: {health:?}");
    let more = record(&catalog, 4).await.unwrap_or_else(|e| panic!("{when}: {e:?}")).to_string();
    let backups = all_backups(&catalog).await;
    let of = |run: &str| backups.iter().filter(|b| b.run.to_string() == run).count();
    for run in confirmed.iter().chain([&more]) {
        assert_eq!(of(run), 2, "{when}: {run} was recorded and is lost");
    }
    for backup in &backups {
        assert_eq!(of(&backup.run.to_string()), 2, "{when}: a record is half");
    }
    catalog.close().await;
}
