//! Where a catalog and a destination do not agree.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt as _;

use super::assemble::Rebuilt;
use super::gather::{Found, Gathered, Refused, look_at};
use super::plausible;
use crate::catalog::{CatalogExt as _, Query, RunQuery};
use crate::clock::Timestamp;
use crate::run::{Backup, Copy, CopyStatus};
use crate::storage::{Verdict, VerifyDepth};
use crate::verification::may_be_looked_at;
use crate::{BackupId, Catalog, DestinationId, ErrorRecord, Result, StorageBackend, StorageRef};

/// A copy that no record names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stray {
    /// Whose.
    pub device_name: String,
    /// What.
    pub artefact: String,
    /// The backup that its manifest names.
    pub backup: BackupId,
    /// Where it is.
    pub at: StorageRef,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Why it is not what was stored: it is adopted as damaged.
    pub damaged: Option<ErrorRecord>,
}

impl Stray {
    pub(super) fn of(found: Found) -> Self {
        Self {
            device_name: found.device_name.to_string(),
            artefact: found.artefact.to_string(),
            backup: found.backup,
            at: found.at,
            taken_at: found.taken_at,
            damaged: found.damaged,
        }
    }
}

/// What a comparison of a catalog with a destination found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Checked {
    /// Copies that the destination holds and the catalog names.
    pub agreed: usize,
    /// What the destination holds and no record names.
    pub strays: Vec<Stray>,
    /// What the destination holds of backups of which the catalog names another copy there: left over from before that
    /// one was stored.
    pub surplus: Vec<StorageRef>,
    /// What records name and the destination does not hold.
    pub missing: Vec<(Backup, Copy)>,
    /// What records name and the destination holds, and does not list: recovery without the catalog would not find it.
    pub unlisted: Vec<(Backup, Copy)>,
    /// What lies there and is not believed.
    pub refused: Vec<Refused>,
    /// What would make the strays known: [`Rebuilt::write`] adopts them.
    pub adoptable: Rebuilt,
}

/// Compares what a destination holds with what the catalog names there. Runs that go on meanwhile are allowed for. What
/// would be the latest of a device is [doubted](Rebuilt::doubted) where anybody can write, if the catalog has something of
/// the device in a `sealed` destination.
///
/// # Errors
/// What the catalog and the destination answer.
pub async fn check(
    catalog: &dyn Catalog,
    destination: &DestinationId,
    backend: &dyn StorageBackend,
    sealed: &BTreeSet<DestinationId>,
    now: Timestamp,
    tell: &(dyn Fn(usize) + Sync),
) -> Result<Checked> {
    let mut named: HashMap<BackupId, StorageRef> = HashMap::new();
    let query = Query { destination: Some(destination.clone()), ..Query::default() };
    let mut recorded = catalog.every(&query);
    while let Some(backup) = recorded.try_next().await? {
        let here = backup.copies.iter().find(|c| c.destination == *destination);
        let at = here.filter(|c| may_be_looked_at(c) || c.status == CopyStatus::Marked);
        named.extend(at.and_then(|c| Some((backup.id, c.storage_ref.clone()?))));
    }
    let mut gathered = Gathered::new();
    gathered.gather(destination, backend, now, tell).await?;
    gathered.refuse_all_closed()?;
    let mut checked = Checked::default();
    for place in &mut gathered.places {
        let mut strays = Vec::new();
        for found in std::mem::take(&mut place.found) {
            match named.remove(&found.backup) {
                Some(at) if at == found.at => checked.agreed += 1,
                // Its own one is the lesser of two, or was not listed.
                Some(at) => match gathered.surplus.iter().position(|(_, other)| *other == at) {
                    Some(lesser) => {
                        gathered.surplus.swap_remove(lesser);
                        checked.surplus.push(found.at.clone());
                        checked.agreed += 1;
                    }
                    None if is_called_so_too(backend, &at, &found.at).await => checked.agreed += 1,
                    None => {
                        checked.surplus.push(found.at.clone());
                        named.insert(found.backup, at);
                    }
                },
                None if is_known_by_now(catalog, destination, found.backup, found.run).await? => checked.agreed += 1,
                None => strays.push(found),
            }
        }
        look_at(backend, &mut strays).await?;
        checked.strays.extend(strays.iter().cloned().map(Stray::of));
        place.found = strays;
    }
    checked.surplus.extend(gathered.surplus.iter().map(|(_, at)| at.clone()));
    for id in named.into_keys() {
        match not_found(catalog, destination, backend, id).await? {
            Some((backup, copy, Is::Gone)) => checked.missing.push((backup, copy)),
            Some((backup, copy, Is::Unlisted)) => checked.unlisted.push((backup, copy)),
            None => {}
        }
    }
    for lacking in [&mut checked.missing, &mut checked.unlisted] {
        lacking.sort_by_key(|(b, _)| (b.first_seen, b.id));
    }
    if !checked.strays.is_empty() && !backend.capability().private_content {
        gathered.heed(catalog, sealed).await?;
    }
    checked.adoptable = gathered.assemble();
    checked.adoptable.heed_removed(catalog).await?;
    checked.refused = std::mem::take(&mut checked.adoptable.refused);
    Ok(checked)
}

/// Whether a copy that is listed under one reference is still found under another: a destination that sealed it anew
/// lists it as it is called now.
async fn is_called_so_too(backend: &dyn StorageBackend, at: &StorageRef, listed: &StorageRef) -> bool {
    match (backend.stat(at).await, backend.stat(listed).await) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Whether the catalog names it after all, or is about to.
async fn is_known_by_now(
    catalog: &dyn Catalog,
    destination: &DestinationId,
    backup: BackupId,
    run: crate::RunId,
) -> Result<bool> {
    let query = Query { id: Some(backup), ..Query::default() };
    let found = catalog.newest(&query).await?;
    if found.iter().flat_map(|b| &b.copies).any(|c| c.destination == *destination && may_be_looked_at(c)) {
        return Ok(true);
    }
    let query = RunQuery { id: Some(run), ..RunQuery::default() };
    Ok(catalog.newest_run(&query).await?.is_some_and(|r| !r.state.is_final()))
}

/// What became of a copy that was not listed.
enum Is {
    Gone,
    Unlisted,
}

/// A copy that was not listed, as it is now: it may have been deleted, or be there after all.
async fn not_found(
    catalog: &dyn Catalog,
    destination: &DestinationId,
    backend: &dyn StorageBackend,
    id: BackupId,
) -> Result<Option<(Backup, Copy, Is)>> {
    let query = Query { id: Some(id), ..Query::default() };
    let Some(backup) = catalog.newest(&query).await? else { return Ok(None) };
    let copy = backup.copies.iter().find(|c| c.destination == *destination && may_be_looked_at(c)).cloned();
    let Some((copy, at)) = copy.and_then(|c| c.storage_ref.clone().map(|at| (c, at))) else { return Ok(None) };
    match backend.verify(&at, None, VerifyDepth::Size).await {
        Ok(Verdict::Missing) => Ok(Some((backup, copy, Is::Gone))),
        Ok(verdict) if verdict.is_good() && is_believed(backend, &at).await => Ok(Some((backup, copy, Is::Unlisted))),
        // What is there and cannot be read was refused above.
        _ => Ok(None),
    }
}

/// Whether a listing that has this copy would be believed: what no key at hand opens, and what nobody of ours wrote, was
/// refused above.
async fn is_believed(backend: &dyn StorageBackend, at: &StorageRef) -> bool {
    backend.stat(at).await.is_ok_and(|manifest| plausible::check(&manifest).is_ok())
}
