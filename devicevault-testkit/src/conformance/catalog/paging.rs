//! Pages neither repeat nor skip.

use std::collections::BTreeSet;
use std::time::Duration;

use devicevault_core::catalog::{CatalogExt as _, Page, Paged, Query, RunQuery};
use devicevault_core::run::Outcome;
use devicevault_core::{BackupId, Catalog, ErrorKind, Timestamp};
use futures::TryStreamExt as _;

use super::stage::{Stage, at, begin};
use crate::conformance::case::{Checked, Stop, ensure, ensure_eq, ensure_kind};
use crate::samples;

type Placed<I> = (Timestamp, I);

/// Records so many backups with few different times, so that many share one.
async fn record_some(catalog: &dyn Catalog, rng: &mut fastrand::Rng, count: usize) -> Result<Vec<BackupId>, Stop> {
    let run = begin(catalog, "sw1", at(0)).await?;
    let mut ids = Vec::new();
    let mut outcomes = Vec::new();
    for _ in 0..count {
        let device = ["sw1", "sw2", "sw3"][rng.usize(0..3)];
        let seen = at(0) + Duration::from_micros(rng.u64(0..6));
        let destinations: &[&str] = if rng.bool() { &["main"] } else { &["outer", "main"] };
        let backup = samples::backup(device, "running-config", run.id, seen, destinations);
        ids.push(backup.id);
        outcomes.push(Outcome::Backup(backup));
    }
    catalog.record(run.id, outcomes).await?;
    Ok(ids)
}

/// Reads all pages of so many; `between` runs before each further one.
async fn read_all<T>(limit: u32, mut page: impl AsyncFnMut(Page) -> Result<Paged<T>, Stop>) -> Result<Vec<T>, Stop> {
    let mut all = Vec::new();
    let mut which = Page::first(limit);
    loop {
        let Paged { items, next } = page(which).await?;
        ensure!(items.len() <= limit as usize, "a page of {limit} has {} items", items.len());
        ensure!(!(items.is_empty() && next.is_some()), "an empty page has a next one");
        all.extend(items);
        match next {
            Some(cursor) => which = Page::after(limit, cursor),
            None => return Ok(all),
        }
        ensure!(all.len() < 100_000, "the pages do not end");
    }
}

/// Newest first, ties in one order by id, nothing twice.
fn ensure_order<I: Ord + Copy + std::fmt::Debug>(found: &[Placed<I>]) -> Checked {
    ensure_eq!(found.iter().map(|f| f.1).collect::<BTreeSet<_>>().len(), found.len(), "something is there twice");
    let pairs = || found.windows(2).filter_map(|w| Some((w.first()?, w.last()?)));
    ensure!(pairs().all(|(a, b)| a.0 >= b.0), "they do not come newest first");
    let mut ties = pairs().filter(|(a, b)| a.0 == b.0).map(|(a, b)| a.1 < b.1).collect::<BTreeSet<bool>>();
    let first = ties.pop_first();
    ensure!(ties.is_empty(), "those of one time come in no order (first {first:?})");
    Ok(())
}

pub(super) async fn pages(stage: &Stage<'_>) -> Checked {
    let mut rng = fastrand::Rng::with_seed(stage.seed);
    for count in [0, 1, 2, 50, 301, 501] {
        let catalog = stage.places.open(&format!("of-{count}")).await?;
        let mut ids = record_some(&*catalog, &mut rng, count).await?;
        ids.sort();
        let mut by_device = Query::default();
        by_device.device = Some("sw1".into());
        let mut by_destination = Query::default();
        by_destination.destination = Some("outer".into());
        for query in [Query::default(), by_device, by_destination] {
            let whole: Vec<_> = catalog.every(&query).map_ok(|b| placed(&b)).try_collect().await?;
            ensure_order(&whole)?;
            let newest = catalog.newest(&query).await?;
            ensure_eq!(newest.as_ref().map(placed).as_ref(), whole.first(), "the newest under {query:?}");
            for limit in [1, 2, 7, 50, 300, 301].into_iter().filter(|l| count as u32 / l <= 301) {
                let paged = read_all(limit, async |p| Ok(catalog.find(&query, p).await?)).await?;
                let paged: Vec<_> = paged.iter().map(placed).collect();
                ensure_eq!(paged, whole, "pages of {limit} are not the whole, under {query:?}");
            }
            if query == Query::default() {
                let mut found: Vec<_> = whole.into_iter().map(|(_, id)| id).collect();
                found.sort();
                ensure_eq!(found, ids, "the whole is not what was recorded");
            }
        }
    }
    Ok(())
}

fn placed(b: &devicevault_core::run::Backup) -> Placed<BackupId> {
    (b.first_seen, b.id)
}

pub(super) async fn while_recording(stage: &Stage<'_>) -> Checked {
    let mut rng = fastrand::Rng::with_seed(stage.seed);
    let catalog = stage.places.main().await?;
    let before: BTreeSet<_> = record_some(&*catalog, &mut rng, 60).await?.into_iter().collect();
    let found = read_all(7, async |p| {
        let page = catalog.find(&Query::default(), p).await?;
        record_some(&*catalog, &mut rng, 5).await?;
        Ok(page)
    })
    .await?;
    let found: Vec<_> = found.iter().map(placed).collect();
    ensure_order(&found)?;
    let missed = before.iter().filter(|id| !found.iter().any(|(_, f)| f == *id)).count();
    ensure_eq!(missed, 0, "of 60 that were there from the beginning, some were skipped");
    Ok(())
}

pub(super) async fn runs(stage: &Stage<'_>) -> Checked {
    let mut rng = fastrand::Rng::with_seed(stage.seed);
    let catalog = stage.places.main().await?;
    let mut ids = BTreeSet::new();
    for _ in 0..61 {
        let device = ["sw1", "sw2"][rng.usize(0..2)];
        ids.insert(begin(&*catalog, device, at(rng.u64(0..5))).await?.id);
    }
    let mut by_device = RunQuery::default();
    by_device.device = Some("sw2".into());
    for query in [RunQuery::default(), by_device] {
        let whole: Vec<_> = catalog.every_run(&query).map_ok(|r| (r.start.started_at, r.id)).try_collect().await?;
        ensure_order(&whole)?;
        let newest = catalog.newest_run(&query).await?.map(|r| (r.start.started_at, r.id));
        ensure_eq!(newest.as_ref(), whole.first(), "the newest under {query:?}");
        for limit in [1, 7, 61] {
            let paged = read_all(limit, async |p| Ok(catalog.runs(&query, p).await?)).await?;
            let paged: Vec<_> = paged.iter().map(|r| (r.start.started_at, r.id)).collect();
            ensure_eq!(paged, whole, "pages of {limit} are not the whole, under {query:?}");
        }
        if query == RunQuery::default() {
            ensure_eq!(
                whole.into_iter().map(|(_, id)| id).collect::<BTreeSet<_>>(),
                ids,
                "the whole is not what began"
            );
        }
    }
    Ok(())
}

pub(super) async fn cursor(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    record_some(&*catalog, &mut fastrand::Rng::with_seed(stage.seed), 3).await?;
    for text in ["", "x", "1", "-1", "1/2", "\0", "'; DROP TABLE backups; --", &"9".repeat(5000)] {
        let page = || Page::after(10, text.to_owned());
        let shown: String = text.escape_debug().take(40).collect();
        ensure_kind(
            catalog.find(&Query::default(), page()).await,
            ErrorKind::Config,
            &format!("the cursor '{shown}'"),
        )?;
        ensure_kind(
            catalog.runs(&RunQuery::default(), page()).await,
            ErrorKind::Config,
            &format!("the cursor '{shown}'"),
        )?;
    }
    Ok(())
}
