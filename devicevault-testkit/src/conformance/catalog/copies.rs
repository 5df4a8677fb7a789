//! Copies: merged, waiting, verified, marked, forgotten.

use devicevault_core::catalog::{CopyKey, Page, Query};
use devicevault_core::run::{Backup, CopyStatus, Outcome, Quarantine};
use devicevault_core::{BackupId, Catalog, DestinationId, ErrorKind, ErrorRecord, StorageRef};

use super::stage::{Stage, at, backup_of, begin, ensure_backup};
use crate::conformance::case::{Checked, Stop, ensure_eq};
use crate::samples;

/// Records a backup at these destinations.
async fn recorded(catalog: &dyn Catalog, seconds: u64, destinations: &[&str]) -> Result<Backup, Stop> {
    let run = begin(catalog, "sw1", at(seconds)).await?;
    let backup = samples::backup("sw1", "running-config", run.id, at(seconds), destinations);
    catalog.record(run.id, vec![Outcome::Backup(backup.clone())]).await?;
    Ok(backup)
}

fn refs(backup: &Backup, destination: &str) -> Vec<StorageRef> {
    let there = backup.copies.iter().filter(|c| c.destination.as_str() == destination);
    there.filter_map(|c| c.storage_ref.clone()).collect()
}

pub(super) async fn merged(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let mut backup = recorded(&*catalog, 0, &["main"]).await?;
    // Another run brings another copy, and says nothing of the first.
    let run = begin(&*catalog, "sw1", at(60)).await?;
    let mut report = backup.clone();
    let mut waiting = samples::copy("outer", "none yet", at(60));
    waiting.status = CopyStatus::Pending;
    waiting.storage_ref = None;
    report.copies = vec![waiting.clone()];
    backup.copies.push(waiting);
    for _ in 0..2 {
        catalog.record(run.id, vec![Outcome::Backup(report.clone())]).await?;
        ensure_backup(&*catalog, &backup).await?;
    }
    // It arrives: the copy that waited is stored.
    let stored = samples::copy("outer", "outer:1", at(90));
    report.copies = vec![stored.clone()];
    backup.copies.pop();
    backup.copies.push(stored);
    catalog.record(run.id, vec![Outcome::Backup(report.clone())]).await?;
    ensure_backup(&*catalog, &backup).await?;
    report.copies = Vec::new();
    catalog.record(run.id, vec![Outcome::Backup(report)]).await?;
    ensure_backup(&*catalog, &backup).await
}

pub(super) async fn pending(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    ensure_eq!(catalog.pending().await?, Vec::new(), "something waits in an empty catalog");
    let mut backup = recorded(&*catalog, 0, &["main"]).await?;
    for (destination, attempts) in [("outer", 3), ("third", 0)] {
        let mut copy = samples::copy(destination, "none yet", at(0));
        copy.status = CopyStatus::Pending;
        copy.storage_ref = None;
        copy.attempts = attempts;
        backup.copies.push(copy);
    }
    catalog.record(backup.run, vec![Outcome::Backup(backup.clone())]).await?;
    let waiting = async || -> Result<Vec<_>, Stop> {
        let mut found: Vec<_> = catalog.pending().await?;
        found.sort_by(|a, b| a.destination.cmp(&b.destination));
        Ok(found.into_iter().map(|p| (p.backup, p.run, p.destination.0, p.attempts)).collect())
    };
    let want = |destination: &str, attempts| (backup.id, backup.run, destination.to_owned(), attempts);
    ensure_eq!(waiting().await?, vec![want("outer", 3), want("third", 0)], "the copies that wait are wrong");
    for (destination, status) in [("outer", CopyStatus::Stored), ("third", CopyStatus::Failed)] {
        let mut report = backup.clone();
        let mut copy = samples::copy(destination, destination, at(60));
        copy.status = status;
        report.copies = vec![copy];
        catalog.record(backup.run, vec![Outcome::Backup(report)]).await?;
        let left = if destination == "outer" { vec![want("third", 0)] } else { Vec::new() };
        ensure_eq!(waiting().await?, left, "a copy that is {} waits still", status.as_str());
    }
    Ok(())
}

pub(super) async fn verified(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let mut backup = recorded(&*catalog, 0, &["main", "outer"]).await?;
    let key = CopyKey { backup: backup.id, destination: "main".into() };
    let error = ErrorRecord {
        kind: ErrorKind::Corrupt,
        message: "it has another hash".to_owned(),
        hint: Some("store it again".to_owned()),
    };
    catalog.verified(&key, Ok(at(100))).await?;
    backup.copies[0].verified_at = Some(at(100));
    ensure_backup(&*catalog, &backup).await?;
    catalog.verified(&key, Err(error.clone())).await?;
    backup.copies[0].status = CopyStatus::Damaged;
    backup.copies[0].error = Some(error);
    ensure_backup(&*catalog, &backup).await?;
    // It was mended.
    catalog.verified(&key, Ok(at(200))).await?;
    backup.copies[0].verified_at = Some(at(200));
    backup.copies[0].status = CopyStatus::Stored;
    backup.copies[0].error = None;
    ensure_backup(&*catalog, &backup).await?;
    // What is about to be deleted is not good again for being readable still.
    catalog.mark(&"main".into(), &refs(&backup, "main")).await?;
    catalog.verified(&key, Ok(at(300))).await?;
    let found = backup_of(&*catalog, backup.id).await?;
    let status = found.and_then(|b| b.copies.into_iter().find(|c| c.destination == key.destination)).map(|c| c.status);
    ensure_eq!(status, Some(CopyStatus::Marked), "a marked copy that was verified");
    Ok(())
}

pub(super) async fn mark(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let mut first = recorded(&*catalog, 0, &["main", "outer"]).await?;
    let second = recorded(&*catalog, 10, &["main", "outer"]).await?;
    let main = DestinationId::from("main");
    // The reference of a copy elsewhere, and one that nobody knows, mark nothing.
    let mut named = refs(&first, "main");
    named.extend(refs(&second, "outer"));
    named.push(StorageRef("nobody knows".to_owned()));
    for _ in 0..2 {
        catalog.mark(&main, &named).await?;
        first.copies[0].status = CopyStatus::Marked;
        ensure_backup(&*catalog, &first).await?;
        ensure_backup(&*catalog, &second).await?;
    }
    catalog.mark(&main, &[]).await?;
    ensure_backup(&*catalog, &first).await?;
    let latest = catalog.latest(&"sw1".into(), "running-config").await?.reference;
    ensure_eq!(latest.map(|b| b.id), Some(second.id), "the newest backup is another");
    Ok(())
}

pub(super) async fn forget(stage: &Stage<'_>) -> Checked {
    let (main, outer) = (DestinationId::from("main"), DestinationId::from("outer"));
    let (first, second) = {
        let catalog = stage.places.main().await?;
        let first = recorded(&*catalog, 0, &["main", "outer"]).await?;
        let mut second = recorded(&*catalog, 10, &["main", "outer"]).await?;
        let mut named = refs(&second, "main");
        named.push(StorageRef("nobody knows".to_owned()));
        catalog.mark(&main, &named).await?;
        for _ in 0..2 {
            catalog.forget(&main, &named).await?;
            second.copies.retain(|c| c.destination != main);
            ensure_backup(&*catalog, &first).await?;
            ensure_backup(&*catalog, &second).await?;
        }
        catalog.mark(&outer, &refs(&second, "outer")).await?;
        for _ in 0..2 {
            catalog.forget(&outer, &refs(&second, "outer")).await?;
            ensure_eq!(backup_of(&*catalog, second.id).await?, None, "a backup without copies is there still");
            ensure_backup(&*catalog, &first).await?;
        }
        let latest = catalog.latest(&"sw1".into(), "running-config").await?.reference;
        ensure_eq!(latest.map(|b| b.id), Some(first.id), "the newest backup is another");
        (first, second.id)
    };
    let catalog = stage.places.main().await?;
    ensure_backup(&*catalog, &first).await?;
    ensure_eq!(backup_of(&*catalog, second).await?, None, "a forgotten backup is back after a restart");
    Ok(())
}

pub(super) async fn pin(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let mut first = recorded(&*catalog, 0, &["main"]).await?;
    let second = recorded(&*catalog, 10, &["main"]).await?;
    match catalog.pin(first.id, true).await {
        // A catalog may leave it out.
        Err(e) if e.kind() == ErrorKind::Unsupported => return Ok(()),
        known => ensure_eq!(known?, true, "whether the backup is known"),
    }
    first.pinned = true;
    for _ in 0..2 {
        ensure_backup(&*catalog, &first).await?;
        ensure_backup(&*catalog, &second).await?;
        // Its run's record, once more, knows nothing of it.
        let mut again = first.clone();
        again.pinned = false;
        catalog.record(first.run, vec![Outcome::Backup(again)]).await?;
    }
    for _ in 0..2 {
        ensure_eq!(catalog.pin(first.id, false).await?, true, "whether the backup is known");
        first.pinned = false;
        ensure_backup(&*catalog, &first).await?;
    }
    let unknown = BackupId::generate();
    ensure_eq!(catalog.pin(unknown, true).await?, false, "whether a backup is known that is none");
    Ok(())
}

pub(super) async fn accept(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let first = recorded(&*catalog, 0, &["main"]).await?;
    let run = begin(&*catalog, "sw1", at(10)).await?;
    let mut second = samples::backup("sw1", "running-config", run.id, at(10), &["main"]);
    second.suspect = vec!["it is less than half as long as the last one".to_owned()];
    catalog.record(run.id, vec![Outcome::Backup(second.clone())]).await?;
    let latest = catalog.latest(&"sw1".into(), "running-config").await?;
    ensure_eq!(latest.reference.map(|b| b.id), Some(first.id), "the reference beside a suspect backup");
    match catalog.accept(second.id).await {
        // A catalog may leave it out.
        Err(e) if e.kind() == ErrorKind::Unsupported => return Ok(()),
        known => ensure_eq!(known?, true, "whether the backup is known"),
    }
    let report = second.clone();
    second.suspect.clear();
    for _ in 0..2 {
        ensure_backup(&*catalog, &second).await?;
        let latest = catalog.latest(&"sw1".into(), "running-config").await?;
        ensure_eq!(latest.reference.map(|b| b.id), Some(second.id), "the reference");
        ensure_eq!(latest.suspect.map(|b| b.id), None, "what is suspect");
        // Told once more, or accepted once more, it stays.
        catalog.record(run.id, vec![Outcome::Backup(report.clone())]).await?;
        ensure_eq!(catalog.accept(second.id).await?, true, "whether the backup is known");
    }
    ensure_eq!(catalog.accept(BackupId::generate()).await?, false, "whether a backup is known that is none");
    Ok(())
}

pub(super) async fn quarantine(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let first = recorded(&*catalog, 0, &["main"]).await?;
    let run = begin(&*catalog, "sw1", at(10)).await?;
    let mut held = samples::backup("sw1", "running-config", run.id, at(10), &["main"]);
    held.suspect = vec!["its first bytes are not those of gzip".to_owned()];
    held.quarantine = Some(Quarantine::Held);
    catalog.record(run.id, vec![Outcome::Backup(held.clone())]).await?;
    ensure_backup(&*catalog, &held).await?;
    let latest = catalog.latest(&"sw1".into(), "running-config").await?;
    ensure_eq!(latest.reference.map(|b| b.id), Some(first.id), "the reference beside one in quarantine");
    let mut query = Query::default();
    query.quarantined = true;
    let found = catalog.find(&query, Page::first(10)).await?.items;
    // A catalog that does not know the question answers with more.
    let found: Vec<_> = found.iter().filter(|b| b.is_quarantined()).map(|b| b.id).collect();
    ensure_eq!(found, vec![held.id], "what is in quarantine");
    match catalog.accept(held.id).await {
        Err(e) if e.kind() == ErrorKind::Unsupported => return Ok(()),
        known => ensure_eq!(known?, true, "whether the backup is known"),
    }
    held.accept();
    ensure_backup(&*catalog, &held).await?;
    let found = catalog.find(&query, Page::first(10)).await?.items;
    ensure_eq!(found.iter().filter(|b| b.is_quarantined()).count(), 0, "what is in quarantine still");
    Ok(())
}
