//! Runs that begin, move on and end.

use std::time::Duration;

use devicevault_core::catalog::{Page, RunQuery};
use devicevault_core::run::{
    ArtefactResult, ArtefactStatus, CopyResult, CopyStatus, NewRun, Outcome, Run, RunState, Trigger,
};
use devicevault_core::{BackupId, Catalog, Digest, ErrorKind, ErrorRecord, Kind, Note, RunId, StorageRef, View};
use futures::future::try_join_all;

use super::stage::{self, Stage, at, ended, new_run, run_of};
use crate::conformance::case::{Checked, Stop, broken, ensure, ensure_eq, skip};

pub(super) async fn begin(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let mut start = new_run("sw1", at(10));
    start.queued_at = at(5);
    start.attempt = 3;
    start.task_identifier = "nightly \u{1f512} 'x' \"y\" %".to_owned();
    start.device_name = "core-sw1.zürich".to_owned();
    start.triggered_by = Trigger::Api;
    let id = catalog.begin(&start).await?;
    let run = run_of(&*catalog, id).await?;
    ensure_eq!(run.start, start, "the run is not as it began");
    ensure!(!run.state.is_final(), "the run is over at its beginning: {}", run.state);
    ensure_eq!(run.finished_at, None, "the run has an end at its beginning");
    Ok(())
}

pub(super) async fn begin_again(stage: &Stage<'_>) -> Checked {
    let start = new_run("sw1", at(0));
    let id = {
        let catalog = stage.places.main().await?;
        let id = catalog.begin(&start).await?;
        ensure_eq!(catalog.begin(&start).await?, id, "the same task has two runs");
        let other = catalog.begin(&new_run("sw1", at(0))).await?;
        ensure!(other != id, "two tasks have one run");
        id
    };
    let catalog = stage.places.main().await?;
    ensure_eq!(catalog.begin(&start).await?, id, "the same task has another run after a restart");
    ensure_eq!(all(&*catalog, &RunQuery::default()).await?.len(), 2, "the number of runs is wrong");
    // Over and begun again: the run stays over.
    let run = ended(Run::begun(id, start.clone()), RunState::Unchanged);
    catalog.record(id, vec![Outcome::End(run.clone())]).await?;
    ensure_eq!(catalog.begin(&start).await?, id, "the same task has another run after its end");
    ensure_eq!(run_of(&*catalog, id).await?, run, "beginning again undid the end");
    Ok(())
}

pub(super) async fn begin_at_once(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let start = new_run("sw1", at(0));
    let ids = try_join_all((0..16).map(|_| {
        let (catalog, start) = (catalog.clone(), start.clone());
        async move { tokio::spawn(async move { catalog.begin(&start).await }).await }
    }))
    .await
    .or_else(|e| broken(format!("a task did not end: {e}")))?;
    let ids = ids.into_iter().collect::<Result<std::collections::BTreeSet<RunId>, _>>()?;
    ensure_eq!(ids.len(), 1, "one task has several runs: {ids:?}");
    ensure_eq!(all(&*catalog, &RunQuery::default()).await?.len(), 1, "the number of runs is wrong");
    Ok(())
}

pub(super) async fn advance(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let run = begin_run(&*catalog, "sw1", 0).await?;
    for state in [RunState::Queued, RunState::Collecting, RunState::Storing] {
        catalog.advance(run.id, state).await?;
        let found = run_of(&*catalog, run.id).await?;
        ensure!(!found.state.is_final(), "a run that moves on is over: {}", found.state);
        ensure_eq!(found.start, run.start, "moving on changed how the run began");
    }
    let run = ended(run, RunState::Partial);
    catalog.record(run.id, vec![Outcome::End(run.clone())]).await?;
    // Whether this is an error is the catalog's own affair.
    let _ = catalog.advance(run.id, RunState::Collecting).await;
    ensure_eq!(run_of(&*catalog, run.id).await?, run, "a run that was over moved on");
    Ok(())
}

/// A run with everything in it.
fn full(mut run: Run) -> Run {
    let error = |text: &str| ErrorRecord {
        kind: ErrorKind::Timeout,
        message: text.to_owned(),
        hint: Some("look at the device; ask 'why' with \"quotes\"".to_owned()),
    };
    let mut stored = ArtefactResult::new("running-config", Kind::Text, true);
    stored.status = ArtefactStatus::Stored;
    stored.size = 5 << 32;
    stored.sha256 = Some(Digest::of(b"x"));
    stored.backup = Some(BackupId::generate());
    stored.first = true;
    stored.suspect = vec!["under half".to_owned()];
    let mut copy = CopyResult::new("main".into(), View::Redacted);
    copy.status = CopyStatus::Stored;
    copy.storage_ref = Some(StorageRef("main:sw1/x.txt@0".to_owned()));
    copy.attempts = 2;
    copy.duration = Duration::from_micros(1_234_567);
    stored.copies = vec![copy, CopyResult::new("outer".into(), View::Original)];
    let mut failed = ArtefactResult::new("inventory", Kind::Binary, false);
    failed.error = Some(error("read answer: \u{1b}[31m\nsecond line; DROP TABLE runs; --"));
    run.artefacts = vec![stored, failed];
    run.collected_at = Some(run.start.started_at + Duration::from_micros(1));
    run.size_before = 5 << 32;
    run.size_after = 1 << 40;
    run.error = Some(error("it was not to be"));
    run.log = vec![Note::info("logged in"), Note::warning("no log-out"), Note::suspect("zürich \u{1f512}")];
    run
}

pub(super) async fn end(stage: &Stage<'_>) -> Checked {
    let mut kept = Vec::new();
    {
        let catalog = stage.places.main().await?;
        let states =
            [RunState::Succeeded, RunState::Partial, RunState::Unchanged, RunState::Failed, RunState::Cancelled];
        for (i, state) in states.into_iter().enumerate() {
            let run = begin_run(&*catalog, "sw1", i as u64).await?;
            let run = ended(if i == 0 { run } else { full(run) }, state);
            catalog.record(run.id, vec![Outcome::End(run.clone())]).await?;
            ensure_eq!(run_of(&*catalog, run.id).await?, run, "the run is not as it ended");
            kept.push(run);
        }
    }
    let catalog = stage.places.main().await?;
    for run in kept {
        ensure_eq!(run_of(&*catalog, run.id).await?, run, "the run is not as it ended, after a restart");
    }
    Ok(())
}

pub(super) async fn end_again(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let run = begin_run(&*catalog, "sw1", 0).await?;
    let run = ended(full(run), RunState::Succeeded);
    for _ in 0..3 {
        catalog.record(run.id, vec![Outcome::End(run.clone())]).await?;
        ensure_eq!(
            all(&*catalog, &RunQuery::default()).await?,
            vec![run.clone()],
            "the runs are not the one that ended"
        );
    }
    Ok(())
}

pub(super) async fn find(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let mut runs = Vec::new();
    for i in 0..24_u64 {
        let mut start: NewRun = new_run(["sw1", "sw2", "SW1"][(i % 3) as usize], at(i));
        start.task_identifier = format!("job-{}", i % 4);
        let id = catalog.begin(&start).await?;
        let run = Run::begun(id, start);
        let state = [RunState::Succeeded, RunState::Failed][(i % 2) as usize];
        let run = ended(run, state);
        catalog.record(id, vec![Outcome::End(run.clone())]).await?;
        runs.push(run);
    }
    runs.reverse();
    let no_such = RunId::generate();
    for id in [None, Some(runs[3].id), Some(no_such)] {
        for device in [None, Some("sw1"), Some("sw"), Some("nobody")] {
            for state in [None, Some(RunState::Failed), Some(RunState::Cancelled)] {
                for job in [None, Some("job-1"), Some("job")] {
                    let mut query = RunQuery::default();
                    query.id = id;
                    query.device = device.map(Into::into);
                    query.state = state;
                    query.task_identifier = job.map(str::to_owned);
                    let meant = |r: &&Run| {
                        id.is_none_or(|id| id == r.id)
                            && device.is_none_or(|d| d == r.start.device.as_str())
                            && state.is_none_or(|s| s == r.state)
                            && job.is_none_or(|j| j == r.start.task_identifier)
                    };
                    let want: Vec<_> = runs.iter().filter(meant).map(|r| r.start.started_at).collect();
                    let got: Vec<_> = all(&*catalog, &query).await?.iter().map(|r| r.start.started_at).collect();
                    ensure_eq!(got, want, "the runs under {query:?} are not what the query says");
                }
            }
        }
    }
    Ok(())
}

pub(super) async fn interrupted(stage: &Stage<'_>) -> Checked {
    let ttl = Duration::from_secs(60);
    let (open, over, over_id) = {
        let catalog = stage.places.main().await?;
        let open = begin_run(&*catalog, "sw1", 0).await?;
        ensure!(catalog.lease(&"sw1".into(), ttl).await?.is_some(), "a device that nobody holds has no lease to give");
        let over = begin_run(&*catalog, "sw2", 0).await?;
        let over = ended(over, RunState::Unchanged);
        catalog.record(over.id, vec![Outcome::End(over.clone())]).await?;
        // Its holder lives: it is left alone.
        catalog.pending().await?;
        let found = run_of(&*catalog, open.id).await?;
        ensure!(!found.state.is_final(), "a run whose holder lives was closed as {}", found.state);
        (open.id, over.clone(), over.id)
    };
    if let Some(clock) = stage.clock {
        clock.advance(ttl * 2);
    }
    let catalog = stage.places.main().await?;
    catalog.pending().await?;
    let found = run_of(&*catalog, open).await?;
    if !found.state.is_final() && stage.clock.is_none() && catalog.lease(&"sw1".into(), ttl).await?.is_none() {
        return skip("it cannot tell that a holder has died before the lease has expired, and goes by no manual clock");
    }
    ensure_eq!(found.state, RunState::Failed, "a run whose holder died is not closed");
    ensure_eq!(
        found.error.as_ref().map(|e| e.kind),
        Some(ErrorKind::Cancelled),
        "the error of a run whose holder died is of another kind"
    );
    ensure!(catalog.lease(&"sw1".into(), ttl).await?.is_some(), "the device of a dead holder cannot be had");
    ensure_eq!(run_of(&*catalog, over_id).await?, over, "a run that was over was changed");
    Ok(())
}

async fn begin_run(catalog: &dyn Catalog, device: &str, seconds: u64) -> Result<Run, Stop> {
    Ok(stage::begin(catalog, device, at(seconds)).await?)
}

async fn all(catalog: &dyn Catalog, query: &RunQuery) -> Result<Vec<Run>, Stop> {
    Ok(catalog.runs(query, Page::first(1000)).await?.items)
}
