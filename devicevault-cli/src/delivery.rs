//! Delivering what waits in the spool, without asking a device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use devicevault_core::catalog::{CatalogExt as _, PendingCopy, Query};
use devicevault_core::run::{Copy, CopyStatus};
use devicevault_core::spool::Parked;
use devicevault_core::{BackupId, DestinationId, Engine, Error, ErrorRecord, Result, Spool};
use futures::future::join_all;
use serde::Serialize;

use crate::context::Context;
use crate::destinations::{Ready, test_all};
use crate::instance::Instance;

/// What became of what waited for one destination.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// What it is called; its identity where it was removed.
    pub(crate) name: String,
    /// Copies that reached it.
    pub(crate) delivered: usize,
    /// Copies that wait still.
    pub(crate) waiting: usize,
    /// Copies that were given up, and why.
    pub(crate) failed: Vec<GivenUp>,
    /// Why nothing could be delivered.
    pub(crate) error: Option<Error>,
}

/// A copy that was given up.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct GivenUp {
    pub(crate) device: String,
    pub(crate) artefact: String,
    pub(crate) backup: String,
    pub(crate) error: ErrorRecord,
}

impl GivenUp {
    fn of_parked((item, e): &(Parked, Error)) -> Self {
        let m = &item.entry.manifest;
        Self {
            device: m.source.device_name.clone(),
            artefact: m.artefact.clone(),
            backup: m.backup.to_string(),
            error: e.to_record(),
        }
    }
}

/// What the catalog believes to wait and the spool has no longer: what waited for too long, or is damaged. The next
/// delivery gives it up; [`given_up`] tells what became of it.
///
/// # Errors
/// What the catalog and the spool answer.
pub(crate) async fn gone(instance: &Instance, spool: &Arc<dyn Spool>) -> Result<Vec<PendingCopy>> {
    // In this order: what is delivered by another process meanwhile is recorded before it leaves the spool.
    let believed = instance.catalog.pending().await?;
    let here = waiting(spool).await?;
    Ok(believed.into_iter().filter(|c| !here.contains(&(c.backup, c.destination.clone()))).collect())
}

/// Those of them that were given up, by destination.
///
/// # Errors
/// What the catalog and the inventory answer.
pub(crate) async fn given_up(instance: &Instance, gone: Vec<PendingCopy>) -> Result<Vec<Delivered>> {
    let mut each: BTreeMap<DestinationId, Vec<GivenUp>> = BTreeMap::new();
    for copy in gone {
        let mut query = Query::default();
        query.id = Some(copy.backup);
        let Some(backup) = instance.catalog.newest(&query).await? else { continue };
        let failed = |c: &&Copy| c.destination == copy.destination && c.status == CopyStatus::Failed;
        let Some(error) = backup.copies.iter().find(failed).and_then(|c| c.error.clone()) else { continue };
        let (device, artefact) = (backup.device_name, backup.artefact);
        let one = GivenUp { device, artefact, backup: backup.id.to_string(), error };
        each.entry(copy.destination).or_default().push(one);
    }
    let names = instance.destination_configs().await?;
    let all = each.into_iter().map(|(id, failed)| Delivered {
        name: names.get(&id).map_or_else(|| id.to_string(), |d| d.name.clone()),
        delivered: 0,
        waiting: 0,
        failed,
        error: None,
    });
    Ok(all.collect())
}

/// Takes what was given up into what became of each destination.
pub(crate) fn add(all: &mut Vec<Delivered>, more: Vec<Delivered>) {
    for one in more {
        match all.iter_mut().find(|d| d.name == one.name) {
            Some(same) => same.failed.extend(one.failed),
            None => all.push(one),
        }
    }
}

/// Delivers to destinations that are at hand; those that are not ready keep what waits for them.
///
/// # Errors
/// What the spool and the catalog answer.
pub(crate) async fn deliver(engine: &Engine, destinations: &[Ready]) -> Result<Vec<Delivered>> {
    let each = destinations.iter().map(|ready| async move {
        let done = engine.deliver(std::slice::from_ref(&ready.destination)).await?;
        Ok(Delivered {
            name: ready.config.name.clone(),
            delivered: done.delivered,
            waiting: done.waiting,
            failed: done.failed.iter().map(GivenUp::of_parked).collect(),
            error: ready.error.clone().filter(|_| done.waiting > 0),
        })
    });
    let all: Result<Vec<_>> = join_all(each).await.into_iter().collect();
    Ok(all?.into_iter().filter(|d| d.delivered + d.waiting + d.failed.len() > 0).collect())
}

/// Opens and tests those destinations that something waits for, and delivers to them. What waits for one that is
/// switched off or was removed stays and is told. Those that were `silent` a while ago are not waited for once more: what is
/// theirs waits for the next round.
///
/// # Errors
/// What the inventory, the spool and the catalog answer.
pub(crate) async fn deliver_what_waits(
    context: &Context,
    instance: &Instance,
    engine: &Engine,
    spool: &Arc<dyn Spool>,
    silent: &BTreeSet<DestinationId>,
) -> Result<Vec<Delivered>> {
    let_go(instance, spool).await?;
    let gone = gone(instance, spool).await?;
    let mut waiting: BTreeMap<DestinationId, usize> = BTreeMap::new();
    for (_, item) in spool.pending().await?.into_iter().filter(|(_, item)| !silent.contains(&item.destination)) {
        *waiting.entry(item.destination).or_default() += 1;
    }
    let open = instance.destinations_where(|d| d.enabled && waiting.contains_key(&d.id)).await?;
    let ready = test_all(context, open).await;
    // Asked for even where nothing waits: what the catalog believes to wait and is gone is found by the way.
    let mut all = if ready.is_empty() {
        engine.deliver(&[]).await?;
        Vec::new()
    } else {
        deliver(engine, &ready).await?
    };
    let names = instance.destination_configs().await?;
    for (id, count) in waiting.into_iter().filter(|(id, _)| !ready.iter().any(|r| r.config.id == *id)) {
        let known = names.get(&id);
        let why = if known.is_some() { "it is switched off" } else { "it was removed" };
        all.push(Delivered {
            name: known.map_or_else(|| id.to_string(), |d| d.name.clone()),
            delivered: 0,
            waiting: count,
            failed: Vec::new(),
            error: Some(Error::new(devicevault_core::ErrorKind::NotFound, "deliver", why)),
        });
    }
    add(&mut all, given_up(instance, gone).await?);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Lets go of what waited for long enough for destinations that are switched off or were removed: nobody tries those, and
/// what is not in the spool any more is told as given up.
async fn let_go(instance: &Instance, spool: &Arc<dyn Spool>) -> Result<()> {
    let overdue: Vec<_> = spool.pending().await?.into_iter().filter(|(_, item)| spool.is_overdue(item)).collect();
    if overdue.is_empty() {
        return Ok(());
    }
    let known = instance.destination_configs().await?;
    let is_tried = |id: &DestinationId| known.get(id).is_some_and(|d| d.enabled);
    for (id, item) in overdue.into_iter().filter(|(_, item)| !is_tried(&item.destination)) {
        let m = &item.entry.manifest;
        tracing::warn!(event = "parked_expired", device = %m.source.device_name, storage_backend = %item.destination,
            artefact = %m.artefact);
        spool.remove(id).await?;
    }
    Ok(())
}

/// Which copies wait in the spool.
///
/// # Errors
/// What the spool answers.
pub(crate) async fn waiting(spool: &Arc<dyn Spool>) -> Result<BTreeSet<(BackupId, DestinationId)>> {
    let all = spool.pending().await?;
    Ok(all.into_iter().map(|(_, item)| (item.entry.manifest.backup, item.destination)).collect())
}
