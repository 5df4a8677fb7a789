//! What a destination could not take waits in the spool, and is stored later without asking the device again.
//!
//! Versions of one artefact reach a destination in the order of their taking: whatever is new waits behind what is parked
//! already, so that an old version never arrives last and passes for the present one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, StreamExt};

use super::Inner;
use super::destination::{Destination, Stored};
use crate::catalog::{CatalogExt as _, PendingCopy, Query};
use crate::run::{Backup, Copy, CopyStatus, Outcome, Quarantine};
use crate::spool::{ParkId, Parked, ParkedLine};
use crate::{Body, Entry, Error, ErrorKind, Manifest, Result, Retry, StorageRef};

/// What [`Engine::deliver`](super::Engine::deliver) did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Delivery {
    /// Copies that reached their destination.
    pub delivered: usize,
    /// Copies that still wait.
    pub waiting: usize,
    /// Copies that were given up, with the error that cannot pass, or that is of the last try of what waited too long.
    pub failed: Vec<(Parked, Error)>,
    /// Copies of whatever destination that the catalog believed to wait and that the spool has no longer: they waited too
    /// long for one that nobody can try, or their bytes were damaged. They are recorded as failed; the next run stores what is missing.
    pub lost: usize,
}

/// One at a time may store in a line of versions.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<ParkedLine, Arc<tokio::sync::Mutex<()>>>>);

impl Lines {
    pub(super) async fn enter(&self, line: &ParkedLine) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Lines that nobody stands in are forgotten, so that the map stays as small as what goes on.
            if lines.len() > 4096 {
                lines.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            lines.entry(line.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// How storing ended, and whether what failed is parked.
pub(super) struct Way {
    pub(super) stored: Stored,
    pub(super) parked: bool,
}

/// Lines that are delivered at the same time.
const ABREAST: usize = 256;

/// Whether an entry may be stored some other day: by itself, or once somebody has mended the destination (a share that is
/// mounted again, a password, a full disk). What is wrong with the entry stays wrong.
fn may_pass(e: &Error) -> bool {
    e.retry() != Retry::Never
        || matches!(
            e.kind(),
            ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::AuthRejected
                | ErrorKind::HostKeyRejected
                | ErrorKind::KeyUnavailable
                | ErrorKind::QuotaExceeded
                | ErrorKind::StorageFull
                | ErrorKind::Conflict
                | ErrorKind::Config
                | ErrorKind::Cancelled
        )
}

/// Stores an entry, behind what is parked of its line; parks it where the destination fails for now. `is_new`: nobody can
/// have heard of the backup before.
pub(super) async fn store(
    engine: &Inner,
    destination: &Arc<Destination>,
    entry: Entry,
    body: Arc<dyn Body>,
    is_new: bool,
) -> Way {
    if !engine.spool.is_durable() {
        return Way { stored: destination.store(entry, body).await, parked: false };
    }
    let item = Parked { destination: destination.id().clone(), entry, attempts: 0 };
    let line = item.line();
    let _turn = engine.lines.enter(&line).await;
    let this = item.entry.manifest.backup;
    // Most have nothing to clear: what that would need is not held while this one is stored.
    let stored = match Box::pin(clear(engine, destination, &line)).await {
        Err(e) => Stored { result: Err(e), attempts: 0 },
        Ok(cleared) => match (cleared.blocked, cleared.stored.into_iter().find(|(m, _)| m.backup == this)) {
            (Some(error), _) => {
                let stored = Stored { result: Err(error), attempts: 0 };
                // The same backup waits already: this run only came by.
                if cleared.waiting.iter().any(|p| p.entry.manifest.backup == this) {
                    return Way { stored, parked: true };
                }
                stored
            }
            (None, Some((_, at))) => Stored { result: Ok(at), attempts: 1 },
            (None, None) if is_new => destination.store(item.entry.clone(), body.clone()).await,
            (None, None) => match arrived(engine, &item).await {
                Ok(Some(at)) => Stored { result: Ok(at), attempts: 0 },
                Ok(None) => destination.store(item.entry.clone(), body.clone()).await,
                Err(e) => Stored { result: Err(e), attempts: 0 },
            },
        },
    };
    let waits = stored.result.as_ref().err().is_some_and(may_pass);
    if !waits {
        return Way { stored, parked: false };
    }
    let item = Parked { attempts: stored.attempts, ..item };
    match engine.spool.park(&item, body).await {
        Ok(_) => Way { stored, parked: true },
        Err(e) => {
            tracing::error!(event = "park_failed", storage_backend = %item.destination, error = %e.to_record().message);
            let Stored { result, attempts } = stored;
            let result = result.map_err(|failed| does_not_wait(failed, &e));
            Way { stored: Stored { result, attempts }, parked: false }
        }
    }
}

/// What a destination could not take, and the spool neither: the second is why it is lost, and what can be mended at once.
fn does_not_wait(failed: Error, spool: &Error) -> Error {
    let failed = failed.with("it does not wait, since", spool.to_record().message);
    match spool.hint_text() {
        Some(hint) => failed.hint(hint.to_owned()),
        None => failed,
    }
}

/// Where a backup that was known before is at its destination by now: what waited may have been delivered, by this process
/// or another, after the run was told that it is missing there.
async fn arrived(engine: &Inner, item: &Parked) -> Result<Option<StorageRef>> {
    let m = &item.entry.manifest;
    let query = Query { id: Some(m.backup), ..Query::default() };
    let Some(backup) = engine.catalog.newest(&query).await? else { return Ok(None) };
    let good = |c: &Copy| {
        c.destination == item.destination
            && c.view == m.view
            && matches!(c.status, CopyStatus::Stored | CopyStatus::Extended)
    };
    Ok(backup.copies.into_iter().find(good).and_then(|c| c.storage_ref))
}

/// How far a line was cleared.
#[derive(Default)]
struct Cleared {
    /// What was stored just now.
    stored: Vec<(Manifest, StorageRef)>,
    /// What was given up, since its error cannot pass.
    failed: Vec<(Parked, Error)>,
    /// Why the rest still waits.
    blocked: Option<Error>,
    waiting: Vec<Parked>,
}

/// Stores what waits in a line, oldest first, up to the first that the destination cannot take now. The caller has its turn.
async fn clear(engine: &Inner, destination: &Arc<Destination>, line: &ParkedLine) -> Result<Cleared> {
    let mut cleared = Cleared::default();
    for (id, item) in engine.spool.pending_of(line).await? {
        if cleared.blocked.is_some() {
            cleared.waiting.push(item);
            continue;
        }
        let last_try = engine.spool.is_overdue(&item);
        let Some(verdict) = one(engine, destination, id, &item, last_try).await? else { continue };
        match verdict {
            Ok(at) => cleared.stored.push((item.entry.manifest, at)),
            Err(error) if may_pass(&error) && !last_try => {
                cleared.blocked = Some(error);
                cleared.waiting.push(item);
            }
            // What can never be stored, or was waited for long enough, must not hold up what comes after it.
            Err(error) => cleared.failed.push((item, error)),
        }
    }
    Ok(cleared)
}

/// Stores one parked item and records it; on its last try, that it was given up, too. The outer result is ours, the inner one
/// the destination's; nothing where another process delivered it in between.
async fn one(
    engine: &Inner,
    destination: &Arc<Destination>,
    id: ParkId,
    item: &Parked,
    last_try: bool,
) -> Result<Option<Result<StorageRef>>> {
    let stored = match engine.spool.open(id).await {
        Ok(body) => destination.store(item.entry.clone(), body).await,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        // Bytes that are damaged must not hold up what comes after them.
        Err(e) if e.kind() == ErrorKind::Corrupt => Stored { result: Err(e), attempts: 0 },
        Err(e) => return Err(e),
    };
    let verdict = match stored.result {
        Ok(at) => Ok(at),
        Err(e) if may_pass(&e) && !last_try => return Ok(Some(Err(e))),
        Err(e) if may_pass(&e) => Err(e.with("given up", "it waited longer than is kept, and was tried once more")),
        Err(e) => Err(e),
    };
    let now = engine.clock.now();
    let manifest = &item.entry.manifest;
    let copy = Copy {
        destination: item.destination.clone(),
        view: manifest.view,
        status: if verdict.is_ok() { CopyStatus::Stored } else { CopyStatus::Failed },
        storage_ref: verdict.as_ref().ok().cloned(),
        size: manifest.size,
        sha256: manifest.sha256,
        attempts: item.attempts + stored.attempts,
        stored_at: now,
        last_seen: manifest.taken_at,
        verified_at: None,
        error: verdict.as_ref().err().map(Error::to_record),
    };
    let backup = Backup { copies: vec![copy], ..known(engine, manifest).await? };
    engine.catalog.record(manifest.run, vec![Outcome::Backup(backup)]).await?;
    engine.spool.remove(id).await?;
    tracing::info!(event = "parked_delivered", task_id = %manifest.task_id, task_identifier = %manifest.task_identifier,
        device = %manifest.source.device_name, storage_backend = %item.destination, artefact = %manifest.artefact,
        good = verdict.is_ok());
    Ok(Some(verdict))
}

/// The catalog's record of a backup; made from the manifest where a crash came before it.
async fn known(engine: &Inner, m: &Manifest) -> Result<Backup> {
    let query = Query { id: Some(m.backup), ..Query::default() };
    if let Some(known) = engine.catalog.newest(&query).await? {
        return Ok(known);
    }
    Ok(Backup {
        id: m.backup,
        run: m.run,
        device: m.source.device.clone(),
        device_name: m.source.device_name.clone(),
        artefact: m.artefact.clone(),
        kind: m.kind,
        extension: m.extension.clone(),
        size: m.size,
        content: m.content,
        first_seen: m.taken_at,
        last_seen: m.taken_at,
        suspect: m.suspect.clone(),
        quarantine: m.quarantined.then_some(Quarantine::Held),
        pinned: false,
        metadata: m.metadata.clone(),
        copies: Vec::new(),
    })
}

/// Stores all that is parked for some destinations.
pub(super) async fn deliver(engine: &Inner, destinations: &[Arc<Destination>]) -> Result<Delivery> {
    let mut lines: BTreeMap<ParkedLine, Arc<Destination>> = BTreeMap::new();
    // In this order: what is delivered meanwhile is recorded before it leaves the spool, so that nothing that is asked
    // for again below can have been on its way.
    let believed = engine.catalog.pending().await?;
    let parked = engine.spool.pending().await?;
    let mut delivery = Delivery { lost: give_up_lost(engine, believed, &parked).await?, ..Delivery::default() };
    for (_, item) in parked {
        if let Some(destination) = destinations.iter().find(|d| *d.id() == item.destination) {
            lines.insert(item.line(), destination.clone());
        }
    }
    let mut work = stream::iter(lines)
        .map(|(line, destination)| async move {
            let _turn = engine.lines.enter(&line).await;
            clear(engine, &destination, &line).await
        })
        .buffer_unordered(ABREAST);
    while let Some(cleared) = work.next().await {
        let cleared = cleared?;
        delivery.delivered += cleared.stored.len();
        delivery.waiting += cleared.waiting.len();
        delivery.failed.extend(cleared.failed);
    }
    Ok(delivery)
}

/// Records as failed what the catalog believes to wait and the spool does not have. Returns how much that is.
async fn give_up_lost(engine: &Inner, believed: Vec<PendingCopy>, parked: &[(ParkId, Parked)]) -> Result<usize> {
    if !engine.spool.is_durable() {
        return Ok(0);
    }
    let has: BTreeSet<_> = parked.iter().map(|(_, p)| (p.entry.manifest.backup, &p.destination)).collect();
    let mut lost = 0;
    for waits in believed.into_iter().filter(|c| !has.contains(&(c.backup, &c.destination))) {
        let query = Query { id: Some(waits.backup), ..Query::default() };
        let Some(backup) = engine.catalog.newest(&query).await? else { continue };
        let waiting = |c: &&Copy| c.destination == waits.destination && c.status == CopyStatus::Pending;
        let Some(mut copy) = backup.copies.iter().find(waiting).cloned() else { continue };
        let e = Error::new(
            ErrorKind::Incomplete,
            "store backup",
            "it is not in the spool any more: it waited longer than is kept, or was damaged there",
        )
        .with("destination", &waits.destination);
        tracing::warn!(event = "parked_lost", device = %backup.device_name, storage_backend = %waits.destination,
            artefact = %backup.artefact);
        copy.status = CopyStatus::Failed;
        copy.error = Some(e.to_record());
        engine.catalog.record(waits.run, vec![Outcome::Backup(Backup { copies: vec![copy], ..backup })]).await?;
        lost += 1;
    }
    Ok(lost)
}
