//! Backups out of the copies that were found, and into a catalog.

use std::collections::{BTreeMap, BTreeSet};

use super::gather::{Closed, Found, Gathered, Place, Refused};
use crate::catalog::{CatalogExt as _, Query};
use crate::id::MAX_DEVICE_NAME;
use crate::inventory::{Inventory, Selector};
use crate::run::{Backup, Copy, CopyStatus, Outcome, Quarantine};
use crate::sightings::Sighting;
use crate::{BackupId, Catalog, DestinationId, Device, Error, ErrorKind, Result, StorageRef, View};

/// Backups that are recorded in one step.
const BATCH: usize = 256;

/// What a catalog is rebuilt of.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Rebuilt {
    /// Every backup with its copies, oldest first.
    pub backups: Vec<Backup>,
    /// The devices, without logins. Where several have had a name, the last one to have it comes first.
    pub devices: Vec<Device>,
    /// What was not believed.
    pub refused: Vec<Refused>,
    /// So many copies are closed to every key at hand: told with what was refused, once for each epoch key.
    pub closed: usize,
    /// So many records of what was seen, pinned and accepted are.
    pub closed_records: usize,
    /// Copies of a backup of which the destination has another, better one.
    pub surplus: Vec<(DestinationId, StorageRef)>,
}

/// What was written to a catalog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Backups that it did not know.
    pub backups: usize,
    /// Copies that it did not know.
    pub copies: usize,
    /// Copies that it knew.
    pub known: usize,
    /// Devices that it did not know.
    pub devices: usize,
    /// Versions that it knew, and not that they are pinned.
    pub pinned: usize,
}

/// A device that comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Returned {
    /// As it is called from now on.
    pub device: Device,
    /// What it was called, where another device has that name by now.
    pub was: Option<String>,
}

/// A name like this one that nobody has.
fn distinct(name: &str, taken: &BTreeSet<String>) -> String {
    let fits = |end: &str| {
        let most = MAX_DEVICE_NAME - end.len();
        let cut = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|at| *at <= most).last();
        format!("{}{end}", name.get(..cut.unwrap_or(0)).unwrap_or_default())
    };
    let candidates = (2_u64..).map(|n| fits(&format!("-{n}")));
    candidates.into_iter().find(|name| !taken.contains(name)).unwrap_or_default()
}

impl Gathered {
    /// Puts together what belongs together.
    #[must_use]
    pub fn assemble(mut self) -> Rebuilt {
        // Who needs a key to write is believed before who does not.
        self.places.sort_by_key(|p| !p.sealed);
        let mut versions: BTreeMap<BackupId, Vec<(usize, Found)>> = BTreeMap::new();
        for (i, place) in self.places.iter_mut().enumerate() {
            for found in std::mem::take(&mut place.found) {
                versions.entry(found.backup).or_default().push((i, found));
            }
        }
        let closed = self.closed.iter().map(|c| c.copies).sum();
        let closed_records = self.closed.iter().map(|c| c.months.len()).sum();
        let (mut refused, surplus) = (self.refused, self.surplus);
        refused.extend(self.closed.iter().map(Closed::refused));
        let mut rebuilt = Rebuilt { refused, closed, closed_records, surplus, ..Rebuilt::default() };
        for (id, found) in versions {
            let sightings: Vec<Option<&Sighting>> =
                self.places.iter().map(|p| p.seen.get(&id).map(|(_, s)| s)).collect();
            let pinned = is_pinned(&self.places, id, self.unpinned.get(&id));
            let backup = backup(&self.places, found, &sightings, &mut rebuilt.refused);
            rebuilt.backups.extend(backup.map(|b| Backup { pinned, ..b }));
        }
        rebuilt.backups.sort_by_key(|b| (b.first_seen, b.id));
        let with_backups: BTreeSet<_> = rebuilt.backups.iter().map(|b| &b.device).collect();
        let devices = self.devices.into_iter().filter(|(id, _)| with_backups.contains(id));
        let named = &self.named;
        let device = |(id, (_, source)): (crate::DeviceId, (crate::Timestamp, crate::Source))| {
            let name = named.name_of(&id).map_or(source.device_name, str::to_owned);
            let mut device = Device::new(id, name, source.host, source.platform);
            (device.site, device.group, device.collector) = (source.site, source.group, source.collector);
            device
        };
        rebuilt.devices = devices.map(device).collect();
        rebuilt.devices.sort_by_cached_key(|d| (d.name.clone(), std::cmp::Reverse(named.known_at(&d.id))));
        rebuilt
    }
}

/// Whether a record says that it is pinned, and none that a person took the pin away since.
fn is_pinned(places: &[Place], id: BackupId, unpinned: Option<&crate::Timestamp>) -> bool {
    let counts = |at: &crate::Timestamp| unpinned.is_none_or(|taken_away| at > taken_away);
    places.iter().any(|p| {
        p.seen.get(&id).is_some_and(|(made_at, s)| s.pinned && counts(made_at))
            || p.pinned_aside.get(&id).is_some_and(counts)
    })
}

/// A backup of its copies. Those that claim to be another one's are refused.
fn backup(
    places: &[Place],
    found: Vec<(usize, Found)>,
    sightings: &[Option<&Sighting>],
    refused: &mut Vec<Refused>,
) -> Option<Backup> {
    let (_, first) = found.iter().min_by_key(|(place, f)| (*place, f.taken_at))?;
    let identity = |f: &Found| (f.device.clone(), f.artefact.clone(), f.kind, f.content);
    let whose = identity(first);
    let mut backup = Backup::new(
        first.backup,
        first.run,
        first.device.to_string().into(),
        first.artefact.as_ref(),
        first.content,
        first.taken_at,
    );
    backup.kind = first.kind;
    let mut original = None;
    for (i, f) in found {
        let Some(place) = places.get(i) else { continue };
        if identity(&f) != whose {
            let e = Error::new(ErrorKind::Conflict, "read manifest", "another backup has its identifier")
                .with("backup", f.backup);
            refused.push(Refused { destination: place.id.clone(), at: Some(f.at.to_string()), error: e });
            continue;
        }
        if backup.copies.is_empty() || f.taken_at < backup.first_seen {
            (backup.first_seen, backup.run) = (f.taken_at, f.run);
            backup.device_name = f.device_name.to_string();
            backup.extension = f.extension.to_string();
            (backup.suspect, backup.metadata) = (f.suspect, f.metadata);
            backup.quarantine = f.quarantined.then_some(Quarantine::Held);
        }
        if f.view == View::Original {
            original = Some(f.size);
        }
        backup.size = original.unwrap_or(backup.size.max(f.size));
        let sighting = sightings.get(i).copied().flatten();
        let mut copy = Copy::new(place.id.clone(), f.view, f.size, f.sha256, f.taken_at);
        copy.status = CopyStatus::Stored;
        copy.storage_ref = Some(f.at);
        copy.attempts = 1;
        copy.last_seen = sighting.map_or(f.taken_at, |s| s.here.unwrap_or(s.last_seen)).max(f.taken_at);
        backup.copies.push(copy);
    }
    let of_copies = sightings.iter().flatten();
    // A copy may be stored a moment after its content was seen: where a record tells, it counts.
    let seen = of_copies.clone().map(|s| s.last_seen).max();
    backup.last_seen = seen.or(backup.copies.iter().map(|c| c.last_seen).max())?.max(backup.first_seen);
    // The destination that was told last knows whether a person took it for good.
    let accepted = of_copies.clone().any(|s| !s.suspect);
    if accepted {
        backup.accept();
    }
    backup.copies.sort_by(|a, b| a.destination.cmp(&b.destination));
    Some(backup)
}

impl Rebuilt {
    /// The devices that an inventory of these does not have. One whose name another device has by now, here or there, comes
    /// back beside it: disabled, under a name of its own.
    #[must_use]
    pub fn returned(&self, known: &[Device]) -> Vec<Returned> {
        let ids: BTreeSet<_> = known.iter().map(|d| &d.id).collect();
        let mut taken: BTreeSet<String> = known.iter().chain(&self.devices).map(|d| d.name.clone()).collect();
        let mut held: BTreeSet<String> = known.iter().map(|d| d.name.clone()).collect();
        let mut returned = Vec::new();
        for device in self.devices.iter().filter(|d| !ids.contains(&d.id)) {
            if held.insert(device.name.clone()) {
                returned.push(Returned { device: device.clone(), was: None });
                continue;
            }
            let mut apart = device.clone();
            (apart.name, apart.enabled) = (distinct(&device.name, &taken), false);
            taken.insert(apart.name.clone());
            returned.push(Returned { device: apart, was: Some(device.name.clone()) });
        }
        returned
    }

    /// Writes all of it to a catalog and its inventory. What the catalog knows already stays as it is: copies that it
    /// lacks and pins are added, a validity that is longer counts.
    ///
    /// # Errors
    /// What they answer; what was written stays, and the same call goes on from there.
    pub async fn write(&self, catalog: &dyn Catalog, inventory: &dyn Inventory) -> Result<Written> {
        let mut written = Written::default();
        let fresh = catalog.newest(&Query::default()).await?.is_none();
        for batch in self.backups.chunks(BATCH) {
            let mut outcomes = Vec::with_capacity(batch.len());
            for backup in batch {
                let mut backup = backup.clone();
                if fresh {
                    written.backups += 1;
                } else {
                    let query = Query { id: Some(backup.id), ..Query::default() };
                    match catalog.newest(&query).await? {
                        None => written.backups += 1,
                        Some(known) => {
                            let before = backup.copies.len();
                            backup.copies.retain(|c| !has(&known, c));
                            written.known += before - backup.copies.len();
                            if backup.pinned && !known.pinned && catalog.pin(backup.id, true).await? {
                                written.pinned += 1;
                            }
                        }
                    }
                }
                written.copies += backup.copies.len();
                outcomes.push(Outcome::Backup(backup));
            }
            if let Some(first) = batch.first() {
                catalog.record(first.run, outcomes).await?;
            }
        }
        let all = Selector { disabled: true, ..Selector::default() };
        let known = inventory.devices(&all).await?;
        let new: Vec<Device> = self.returned(&known).into_iter().map(|r| r.device).collect();
        written.devices = new.len();
        inventory.put_devices(&new).await?;
        Ok(written)
    }
}

/// Whether a copy there is known, and not as one that is not good.
fn has(known: &Backup, copy: &Copy) -> bool {
    let same = |c: &Copy| {
        c.destination == copy.destination
            && c.view == copy.view
            && matches!(c.status, CopyStatus::Stored | CopyStatus::Extended | CopyStatus::Marked)
    };
    known.copies.iter().any(same)
}
