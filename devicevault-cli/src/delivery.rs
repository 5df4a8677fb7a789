//! Delivering what waits in the spool, without asking a device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use devicevault_core::spool::Parked;
use devicevault_core::{BackupId, DestinationId, Engine, Error, Result, Spool};
use futures::future::join_all;

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
    pub(crate) failed: Vec<(Parked, Error)>,
    /// Why nothing could be delivered.
    pub(crate) error: Option<Error>,
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
            failed: done.failed,
            error: ready.error.clone().filter(|_| done.waiting > 0),
        })
    });
    let all: Result<Vec<_>> = join_all(each).await.into_iter().collect();
    Ok(all?.into_iter().filter(|d| d.delivered + d.waiting + d.failed.len() > 0).collect())
}

/// Opens and tests those destinations that something waits for, and delivers to them. What waits for one that is
/// switched off or was removed stays and is told.
///
/// # Errors
/// What the inventory, the spool and the catalog answer.
pub(crate) async fn deliver_what_waits(
    context: &Context,
    instance: &Instance,
    engine: &Engine,
    spool: &Arc<dyn Spool>,
) -> Result<Vec<Delivered>> {
    let mut waiting: BTreeMap<DestinationId, usize> = BTreeMap::new();
    for (_, item) in spool.pending().await? {
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
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Which copies wait in the spool.
///
/// # Errors
/// What the spool answers.
pub(crate) async fn waiting(spool: &Arc<dyn Spool>) -> Result<BTreeSet<(BackupId, DestinationId)>> {
    let all = spool.pending().await?;
    Ok(all.into_iter().map(|(_, item)| (item.entry.manifest.backup, item.destination)).collect())
}
