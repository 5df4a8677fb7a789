//! What was seen when, what is the newest, and what is found.

use devicevault_core::catalog::{Page, Query};
use devicevault_core::run::{Backup, Outcome};
use devicevault_core::{BackupId, Catalog, DeviceId, Timestamp};

use super::stage::{Stage, at, begin, ensure_backup};
use crate::conformance::case::{Checked, Stop, ensure_eq};
use crate::samples;

pub(super) async fn extended(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let run = begin(&*catalog, "sw1", at(0)).await?;
    let mut backup = samples::backup("sw1", "running-config", run.id, at(0), &["main", "outer"]);
    let bystander = samples::backup("sw1", "inventory", run.id, at(0), &["main"]);
    catalog.record(run.id, vec![Outcome::Backup(backup.clone()), Outcome::Backup(bystander.clone())]).await?;
    let again = begin(&*catalog, "sw1", at(60)).await?;
    let seen = Outcome::Extended { backup: backup.id, destinations: vec!["main".into()], seen: at(60) };
    for _ in 0..2 {
        catalog.record(again.id, vec![seen.clone()]).await?;
        backup.last_seen = at(60);
        backup.copies[0].last_seen = at(60);
        ensure_backup(&*catalog, &backup).await?;
        ensure_backup(&*catalog, &bystander).await?;
    }
    // Relied upon at both, and at one that has no copy.
    let destinations = vec!["main".into(), "outer".into(), "elsewhere".into()];
    let seen = Outcome::Extended { backup: backup.id, destinations, seen: at(120) };
    catalog.record(again.id, vec![seen]).await?;
    backup.last_seen = at(120);
    backup.copies.iter_mut().for_each(|c| c.last_seen = at(120));
    ensure_backup(&*catalog, &backup).await
}

pub(super) async fn extended_backwards(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let run = begin(&*catalog, "sw1", at(0)).await?;
    let mut backup = samples::backup("sw1", "running-config", run.id, at(100), &["main"]);
    let first = Outcome::Backup(backup.clone());
    let seen = |when| Outcome::Extended { backup: backup.id, destinations: vec!["main".into()], seen: at(when) };
    let order = [first.clone(), seen(200), seen(150), seen(50), seen(0), first];
    backup.last_seen = at(200);
    backup.copies[0].last_seen = at(200);
    for (i, outcome) in order.into_iter().enumerate() {
        catalog.record(run.id, vec![outcome]).await?;
        if i > 0 {
            ensure_backup(&*catalog, &backup).await?;
        }
    }
    Ok(())
}

/// Records a backup of the `running-config` of `sw1`, and returns its id.
async fn one(catalog: &dyn Catalog, when: u64, suspect: bool) -> Result<BackupId, Stop> {
    let run = begin(catalog, "sw1", at(when)).await?;
    let mut backup = samples::backup("sw1", "running-config", run.id, at(when), &["main"]);
    if suspect {
        backup.suspect = vec!["the end marker is missing".to_owned()];
    }
    catalog.record(run.id, vec![Outcome::Backup(backup.clone())]).await?;
    Ok(backup.id)
}

async fn ensure_latest(catalog: &dyn Catalog, reference: Option<BackupId>, suspect: Option<BackupId>) -> Checked {
    let latest = catalog.latest(&"sw1".into(), "running-config").await?;
    let found = (latest.reference.as_ref().map(|b| b.id), latest.suspect.as_ref().map(|b| b.id));
    ensure_eq!(found, (reference, suspect), "the newest good and the newest suspect backup are others");
    for backup in [latest.reference, latest.suspect].into_iter().flatten() {
        ensure_backup(catalog, &backup).await?;
        ensure_eq!(backup.copies.len(), 1, "the newest backup comes without its copies");
    }
    Ok(())
}

pub(super) async fn latest(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    ensure_latest(&*catalog, None, None).await?;
    let first = one(&*catalog, 10, false).await?;
    ensure_latest(&*catalog, Some(first), None).await?;
    let second = one(&*catalog, 20, false).await?;
    ensure_latest(&*catalog, Some(second), None).await?;
    // Recorded late: it is no newer for that.
    one(&*catalog, 15, false).await?;
    ensure_latest(&*catalog, Some(second), None).await?;
    // Seen again: it is the same version still.
    let run = begin(&*catalog, "sw1", at(30)).await?;
    let seen = Outcome::Extended { backup: first, destinations: vec!["main".into()], seen: at(30) };
    catalog.record(run.id, vec![seen]).await?;
    ensure_latest(&*catalog, Some(second), None).await?;
    // Of other artefacts and devices.
    for (device, artefact) in [("sw1", "inventory"), ("sw2", "running-config"), ("SW1", "running-config")] {
        let other = samples::backup(device, artefact, run.id, at(99), &["main"]);
        catalog.record(run.id, vec![Outcome::Backup(other.clone())]).await?;
        ensure_latest(&*catalog, Some(second), None).await?;
        let found = catalog.latest(&device.into(), artefact).await?.reference.map(|b| b.id);
        ensure_eq!(found, Some(other.id), "the newest {artefact} of {device} is another");
    }
    Ok(())
}

pub(super) async fn latest_suspect(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let first = one(&*catalog, 10, true).await?;
    ensure_latest(&*catalog, None, Some(first)).await?;
    let good = one(&*catalog, 20, false).await?;
    ensure_latest(&*catalog, Some(good), None).await?;
    one(&*catalog, 30, true).await?;
    let newest = one(&*catalog, 40, true).await?;
    ensure_latest(&*catalog, Some(good), Some(newest)).await?;
    one(&*catalog, 35, false).await.map(|_| ())?;
    let latest = catalog.latest(&"sw1".into(), "running-config").await?;
    ensure_eq!(latest.suspect.map(|b| b.id), Some(newest), "the newest suspect backup is another");
    let better = one(&*catalog, 50, false).await?;
    ensure_latest(&*catalog, Some(better), None).await
}

type Narrowing = Box<dyn Fn(&mut Query)>;

pub(super) async fn find(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let mut all: Vec<Backup> = Vec::new();
    let (mut runs, devices) = (Vec::new(), ["sw1", "SW1", "sw"]);
    for i in 0..36_u64 {
        let device = devices[(i % 3) as usize];
        let run = begin(&*catalog, device, at(i)).await?;
        let artefact = ["running-config", "inventory"][(i % 2) as usize];
        let destinations: &[&str] = [&["main"][..], &["outer"], &["main", "outer"], &["main2"]][(i % 4) as usize];
        let backup = samples::backup(device, artefact, run.id, at(i), destinations);
        catalog.record(run.id, vec![Outcome::Backup(backup.clone())]).await?;
        runs.push(run.id);
        all.push(backup);
    }
    all.reverse();
    let mut queries = vec![Query::default()];
    // Each of them alone, and every pair of them.
    let narrowings: Vec<Narrowing> = vec![
        Box::new(|q| q.device = Some("sw1".into())),
        Box::new(|q| q.device = Some("s_1".into())),
        Box::new(|q| q.artefact = Some("inventory".to_owned())),
        Box::new(|q| q.artefact = Some("inv%".to_owned())),
        Box::new({
            let run = runs[7];
            move |q| q.run = Some(run)
        }),
        Box::new(|q| q.destination = Some("main".into())),
        Box::new(|q| q.destination = Some("nowhere".into())),
        Box::new(|q| q.since = Some(at(20))),
        Box::new(|q| q.until = Some(at(20))),
        Box::new({
            let id = all[9].id;
            move |q| q.id = Some(id)
        }),
    ];
    for (i, first) in narrowings.iter().enumerate() {
        for second in &narrowings[i..] {
            let mut query = Query::default();
            first(&mut query);
            second(&mut query);
            queries.push(query);
        }
    }
    for query in queries {
        let want: Vec<_> = all.iter().filter(|b| meant(b, &query)).map(|b| b.id).collect();
        let got: Vec<_> = catalog.find(&query, Page::first(1000)).await?.items.iter().map(|b| b.id).collect();
        ensure_eq!(got, want, "the backups under {query:?} are not what the query says");
    }
    Ok(())
}

fn meant(b: &Backup, q: &Query) -> bool {
    let fits = |want: Option<&DeviceId>| want.is_none_or(|d| *d == b.device);
    fits(q.device.as_ref())
        && q.id.is_none_or(|id| id == b.id)
        && q.artefact.as_ref().is_none_or(|a| *a == b.artefact)
        && q.run.is_none_or(|r| r == b.run)
        && q.destination.as_ref().is_none_or(|d| b.copies.iter().any(|c| c.destination == *d))
        && q.since.is_none_or(|t| b.first_seen >= t)
        && q.until.is_none_or(|t| b.first_seen < t)
}

pub(super) async fn find_at(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let mut ids = Vec::new();
    for when in [10, 20, 30] {
        ids.push(one(&*catalog, when, false).await?);
    }
    let run = begin(&*catalog, "sw2", at(15)).await?;
    let other = samples::backup("sw2", "running-config", run.id, at(15), &["main"]);
    catalog.record(run.id, vec![Outcome::Backup(other.clone())]).await?;
    let valid = async |device: Option<&str>, when: Timestamp| -> Result<Vec<BackupId>, Stop> {
        let mut query = Query::default();
        query.device = device.map(Into::into);
        query.at = Some(when);
        Ok(catalog.find(&query, Page::first(10)).await?.items.iter().map(|b| b.id).collect())
    };
    for (when, want) in
        [(9, None), (10, Some(0)), (19, Some(0)), (20, Some(1)), (29, Some(1)), (30, Some(2)), (999, Some(2))]
    {
        let want: Vec<_> = want.map(|i: usize| ids[i]).into_iter().collect();
        ensure_eq!(valid(Some("sw1"), at(when)).await?, want, "valid after {when} seconds");
    }
    ensure_eq!(valid(None, at(25)).await?, vec![ids[1], other.id], "valid of all devices");
    Ok(())
}
