//! What runs stored that were cut off before they could record it.

use std::collections::{BTreeMap, BTreeSet};

use super::assemble::Rebuilt;
use super::check::Stray;
use super::gather::{Found, Gathered, look_at};
use crate::catalog::{CatalogExt as _, Query};
use crate::clock::Timestamp;
use crate::run::Backup;
use crate::verification::may_be_looked_at;
use crate::{BackupId, Catalog, DestinationId, Result, RunId, StorageBackend};

/// What was found of runs that were cut off.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Unrecorded {
    /// What can be believed without asking anybody: backups that a sealed destination holds, where nobody without a key can
    /// have written, and their other copies. [`Rebuilt::write`] records it; it holds no devices.
    pub adoptable: Rebuilt,
    /// What only destinations hold that do not seal: somebody has to look at it.
    pub others: Vec<(DestinationId, Stray)>,
}

/// Looks for what these runs, which are over, stored at these destinations and no record names. Each run with when it began.
///
/// # Errors
/// What the catalog and the destinations answer.
pub async fn unrecorded(
    catalog: &dyn Catalog,
    places: &[(DestinationId, &dyn StorageBackend)],
    runs: &BTreeMap<RunId, Timestamp>,
) -> Result<Unrecorded> {
    let mut gathered = Gathered::new();
    for (id, backend) in places {
        gathered.gather_of(id, *backend, runs).await?;
    }
    let mut known: BTreeMap<BackupId, Option<Backup>> = BTreeMap::new();
    for id in gathered.places.iter().flat_map(|p| &p.found).map(|f| f.backup).collect::<BTreeSet<_>>() {
        let query = Query { id: Some(id), ..Query::default() };
        known.insert(id, catalog.newest(&query).await?);
    }
    let record = |f: &Found| known.get(&f.backup).and_then(Option::as_ref);
    let is_recorded = |f: &Found, at: &DestinationId| {
        record(f).is_some_and(|b| b.copies.iter().any(|c| c.destination == *at && may_be_looked_at(c)))
    };
    for (place, (_, backend)) in gathered.places.iter_mut().zip(places) {
        place.found.retain(|f| !is_recorded(f, &place.id));
        look_at(*backend, &mut place.found).await?;
    }
    let sealed = gathered.places.iter().filter(|p| p.sealed).flat_map(|p| &p.found);
    let sealed: BTreeSet<BackupId> = sealed.map(|f| f.backup).collect();
    let is_of = |f: &Found, b: &Backup| {
        (f.device.as_ref(), f.artefact.as_ref(), f.kind, f.content)
            == (b.device.as_str(), b.artefact.as_str(), b.kind, b.content)
    };
    let mut others = Vec::new();
    for place in gathered.places.iter_mut().filter(|p| !p.sealed) {
        for found in std::mem::take(&mut place.found) {
            if sealed.contains(&found.backup) || record(&found).is_some_and(|b| is_of(&found, b)) {
                place.found.push(found);
            } else {
                others.push((place.id.clone(), Stray::of(found)));
            }
        }
    }
    gathered.recorded.backups = known.iter().filter(|(_, b)| b.is_some()).map(|(id, _)| *id).collect();
    let mut adoptable = gathered.assemble();
    adoptable.devices.clear();
    Ok(Unrecorded { adoptable, others })
}
