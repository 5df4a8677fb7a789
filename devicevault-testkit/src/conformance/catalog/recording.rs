//! What a run did, all of it or nothing.

use std::time::Duration;

use devicevault_core::catalog::{Page, Query};
use devicevault_core::run::{Backup, Copy, CopyStatus, Outcome, RunState};
use devicevault_core::{BackupId, Catalog, Digest, Error, ErrorKind, ErrorRecord, Kind, RunId, StorageRef, View};
use futures::future::try_join_all;

use super::stage::{Stage, at, backup_of, begin, ended, ensure_backup, run_of, sorted};
use crate::cancel::cancel_after;
use crate::conformance::case::{Checked, Stop, broken, ensure, ensure_eq};
use crate::samples;

/// A backup with everything in it.
fn full(run: RunId, seconds: u64) -> Backup {
    let seen = at(seconds) + Duration::from_micros(1);
    let mut backup = samples::backup("sw1", "running-config", run, seen, &["main"]);
    backup.device_name = "core-sw1 'zürich' \u{1f512}".to_owned();
    backup.kind = Kind::Binary;
    backup.extension = "conf".to_owned();
    backup.size = 5 << 32;
    backup.last_seen = seen + Duration::from_secs(3600);
    backup.suspect = vec!["under half".to_owned(), "'; DROP TABLE backups; --".to_owned()];
    backup.pinned = true;
    backup.metadata =
        [("ticket", "CHG-1"), ("", "x"), ("a\nb", "c\td")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    for (destination, status) in [
        ("extended", CopyStatus::Extended),
        ("pending", CopyStatus::Pending),
        ("failed", CopyStatus::Failed),
        ("damaged", CopyStatus::Damaged),
        ("marked", CopyStatus::Marked),
    ] {
        let mut copy = Copy::new(destination.into(), View::Redacted, 1 << 40, Digest::of(b"view"), seen);
        copy.status = status;
        copy.attempts = 7;
        copy.last_seen = seen + Duration::from_secs(60);
        if status != CopyStatus::Pending {
            copy.storage_ref = Some(StorageRef(format!("{destination}:sw1/ü.txt@1")));
            copy.verified_at = Some(seen + Duration::from_secs(90));
            copy.error =
                Some(ErrorRecord { kind: ErrorKind::Corrupt, message: "it has\nanother hash".to_owned(), hint: None });
        }
        backup.copies.push(copy);
    }
    backup
}

pub(super) async fn backup(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let run = begin(&*catalog, "sw1", at(0)).await?;
    let mut bare = samples::backup("sw1", "inventory", run.id, at(0), &["main"]);
    bare.size = 0;
    for backup in [full(run.id, 10), bare] {
        ensure_eq!(backup_of(&*catalog, backup.id).await?, None, "a backup is there before it was recorded");
        catalog.record(run.id, vec![Outcome::Backup(backup.clone())]).await?;
        ensure_backup(&*catalog, &backup).await?;
    }
    Ok(())
}

pub(super) async fn backup_again(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let run = begin(&*catalog, "sw1", at(0)).await?;
    let backup = full(run.id, 10);
    let end = ended(run.clone(), RunState::Succeeded);
    for _ in 0..3 {
        let outcomes = vec![Outcome::Backup(backup.clone()), Outcome::End(end.clone())];
        catalog.record(run.id, outcomes).await?;
        ensure_backup(&*catalog, &backup).await?;
        ensure_eq!(run_of(&*catalog, run.id).await?, end, "the run is not as it ended");
        ensure_eq!(backups_of(&*catalog, run.id).await?.len(), 1, "recording again made a second backup");
    }
    Ok(())
}

pub(super) async fn atomic_error(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let run = begin(&*catalog, "sw1", at(0)).await?;
    let backup = samples::backup("sw1", "running-config", run.id, at(0), &["main"]);
    let other = begin(&*catalog, "sw2", at(0)).await?;
    let seen_again = Outcome::Extended { backup: BackupId::generate(), destinations: Vec::new(), seen: at(1) };
    // Neither can be recorded: a backup that is not there cannot be seen again, and this is the end of another run.
    for impossible in [seen_again, Outcome::End(ended(other.clone(), RunState::Succeeded))] {
        let outcomes = vec![
            Outcome::Backup(backup.clone()),
            impossible.clone(),
            Outcome::End(ended(run.clone(), RunState::Succeeded)),
        ];
        let recorded = catalog.record(run.id, outcomes).await;
        ensure!(recorded.is_err(), "this was recorded: {impossible:?}");
        ensure_eq!(backup_of(&*catalog, backup.id).await?, None, "a backup is there, though its record failed");
        ensure!(!run_of(&*catalog, run.id).await?.state.is_final(), "the run is over, though its record failed");
        ensure!(!run_of(&*catalog, other.id).await?.state.is_final(), "another run is over, though its record failed");
    }
    Ok(())
}

pub(super) async fn atomic_cancel(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let mut polls = 0;
    loop {
        let run = begin(&*catalog, "sw1", at(0)).await?;
        let outcomes = three(run.id, 1);
        let done = cancel_after(polls, catalog.record(run.id, outcomes.clone())).await;
        let found = backups_of(&*catalog, run.id).await?.len();
        ensure!(found == 0 || found == 3, "after {polls} polls {found} of 3 backups are recorded");
        catalog.record(run.id, outcomes).await?;
        ensure_eq!(backups_of(&*catalog, run.id).await?.len(), 3, "recorded again after {polls} polls");
        if let Some(recorded) = done {
            return Ok(recorded?);
        }
        polls += 1;
        ensure!(polls < 10_000, "recording takes more than {polls} polls");
    }
}

pub(super) async fn atomic_read(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(begin(&*catalog, "sw1", at(0)).await?.id);
    }
    let writer = tokio::spawn({
        let (catalog, runs) = (catalog.clone(), runs.clone());
        async move {
            for run in runs {
                catalog.record(run, three(run, 2)).await?;
            }
            Ok::<(), Error>(())
        }
    });
    while !writer.is_finished() {
        for run in &runs {
            let found = backups_of(&*catalog, *run).await?;
            ensure!(found.is_empty() || found.len() == 3, "{} of the 3 backups of a run are there", found.len());
            ensure!(found.iter().all(|b| b.copies.len() == 2), "a backup is there without its copies");
        }
        tokio::task::yield_now().await;
    }
    match writer.await {
        Ok(done) => Ok(done?),
        Err(e) => broken(format!("a task did not end: {e}")),
    }
}

/// Three backups of a run at two destinations.
fn three(run: RunId, seconds: u64) -> Vec<Outcome> {
    let of = |artefact: &str| samples::backup("sw1", artefact, run, at(seconds), &["main", "outer"]);
    ["running-config", "startup-config", "inventory"].map(|a| Outcome::Backup(of(a))).into()
}

pub(super) async fn many_outcomes(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let run = begin(&*catalog, "sw1", at(0)).await?;
    catalog.record(run.id, Vec::new()).await?;
    let backups: Vec<_> =
        (0..500).map(|i| samples::backup("sw1", &format!("file-{i}"), run.id, at(i), &["main", "outer"])).collect();
    let mut outcomes: Vec<_> = backups.iter().cloned().map(Outcome::Backup).collect();
    outcomes.push(Outcome::End(ended(run.clone(), RunState::Succeeded)));
    catalog.record(run.id, outcomes).await?;
    let mut found = backups_of(&*catalog, run.id).await?;
    found.reverse();
    ensure_eq!(found, backups, "the backups are not those that were recorded");
    Ok(())
}

pub(super) async fn at_once(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let tasks = (0..12_u64).map(|i| {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            let device = format!("sw{i}");
            for round in 0..5 {
                let run = begin(&*catalog, &device, at(round)).await?;
                let backup = samples::backup(&device, "running-config", run.id, at(round), &["main"]);
                let outcomes = vec![Outcome::Backup(backup), Outcome::End(ended(run.clone(), RunState::Succeeded))];
                catalog.record(run.id, outcomes).await?;
            }
            Ok::<(), Error>(())
        })
    });
    for done in try_join_all(tasks).await.or_else(|e| broken(format!("a task did not end: {e}")))? {
        done?;
    }
    let found = catalog.find(&Query::default(), Page::first(1000)).await?.items.len();
    ensure_eq!(found, 60, "the number of backups is wrong");
    Ok(())
}

pub(super) async fn reopen(stage: &Stage<'_>) -> Checked {
    let (backup, run) = {
        let catalog = stage.places.main().await?;
        let run = begin(&*catalog, "sw1", at(0)).await?;
        let backup = full(run.id, 10);
        let run = ended(run, RunState::Partial);
        catalog.record(run.id, vec![Outcome::Backup(backup.clone()), Outcome::End(run.clone())]).await?;
        (backup, run)
    };
    for _ in 0..2 {
        let catalog = stage.places.main().await?;
        ensure_backup(&*catalog, &backup).await?;
        ensure_eq!(run_of(&*catalog, run.id).await?, run, "the run is not as it ended");
        let waiting: Vec<_> = catalog.pending().await?.into_iter().map(|p| (p.backup, p.destination)).collect();
        ensure_eq!(waiting, vec![(backup.id, "pending".into())], "the copies that wait are wrong");
    }
    Ok(())
}

async fn backups_of(catalog: &dyn Catalog, run: RunId) -> Result<Vec<Backup>, Stop> {
    let mut query = Query::default();
    query.run = Some(run);
    Ok(catalog.find(&query, Page::first(1000)).await?.items.into_iter().map(sorted).collect())
}
