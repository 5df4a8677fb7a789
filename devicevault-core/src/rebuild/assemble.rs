//! Backups out of the copies that were found, and into a catalog.

use std::collections::{BTreeMap, BTreeSet};

use super::believed::{Confirmed, UNCONFIRMED};
use super::gather::{Closed, Found, Gathered, Place, Refused};
use crate::catalog::{CatalogExt as _, Query};
use crate::id::MAX_DEVICE_NAME;
use crate::inventory::{Inventory, Selector};
use crate::run::{Backup, Copy, CopyStatus, Outcome, Quarantine};
use crate::sightings::Sighting;
use crate::{
    BackupId, Catalog, DestinationId, Device, DeviceId, Error, ErrorKind, Result, Source, StorageRef, Timestamp, View,
};

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
    /// Backups that only places have where anybody can write, and that would be the latest of a device that a sealed one
    /// knows: suspect, until a person accepts them.
    pub doubted: BTreeSet<BackupId>,
    /// Devices that only such places know, where there are sealed ones as well.
    pub unconfirmed: BTreeSet<DeviceId>,
    /// Devices that a catalog [has backups of](Rebuilt::heed_removed).
    pub recorded: BTreeSet<DeviceId>,
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
    /// Copies that claim to be a version which it knows as another text.
    pub refused: usize,
}

/// A device that comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Returned {
    /// As it is called from now on.
    pub device: Device,
    /// What it was called, where another device has that name by now.
    pub was: Option<String>,
    /// Whether somebody removed it: it is disabled.
    pub removed: bool,
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
        let confirmed = Confirmed::of(&self.places, self.recorded);
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
            let is_sealed = found.iter().any(|(i, _)| is_sealed(&self.places, *i));
            let pinned = is_pinned(&self.places, id, self.words.unpinned(id, is_sealed));
            let Some(mut backup) = backup(&self.places, found, &sightings, &mut rebuilt.refused) else { continue };
            backup.pinned = pinned;
            if !is_sealed && confirmed.doubts(&backup) {
                if self.latest.is_some_and(|latest| backup.first_seen > latest) {
                    rebuilt.refused.extend(ahead(&backup));
                    continue;
                }
                if let Some(name) = self.words.name_of(&backup.device) {
                    name.clone_into(&mut backup.device_name);
                }
                backup.suspect.push(UNCONFIRMED.to_owned());
                rebuilt.doubted.insert(id);
            }
            rebuilt.backups.push(backup);
        }
        rebuilt.backups.sort_by_key(|b| (b.first_seen, b.id));
        let with_backups: BTreeSet<_> = rebuilt.backups.iter().map(|b| &b.device).collect();
        let words = &self.words;
        let device = |(id, source): (&DeviceId, &Source)| {
            let name = words.name_of(id).unwrap_or(&source.device_name);
            let mut device = Device::new(id.clone(), name, source.host.as_str(), source.platform.as_str());
            (device.site, device.group) = (source.site.clone(), source.group.clone());
            device.collector.clone_from(&source.collector);
            device
        };
        rebuilt.devices = words.devices().filter(|(id, _)| with_backups.contains(id)).map(device).collect();
        rebuilt.devices.sort_by_cached_key(|d| (d.name.clone(), words.rank(&d.id)));
        if !confirmed.is_empty() {
            let unknown = rebuilt.devices.iter().filter(|d| !confirmed.knows(d.id.as_str()));
            rebuilt.unconfirmed = unknown.map(|d| d.id.clone()).collect();
        }
        rebuilt
    }
}

fn is_sealed(places: &[Place], at: usize) -> bool {
    places.get(at).is_some_and(|p| p.sealed)
}

/// The copies of a version that nobody confirms and that lies in the future: what is stored next would be dated behind it.
fn ahead(backup: &Backup) -> impl Iterator<Item = Refused> {
    let why = "it is dated ahead of now, and no sealed destination that knows the device has it";
    let error = Error::new(ErrorKind::Corrupt, "read manifest", why);
    backup.copies.iter().map(move |c| Refused {
        destination: c.destination.clone(),
        at: c.storage_ref.as_ref().map(ToString::to_string),
        error: error.clone(),
    })
}

/// Whether a record says that it is pinned, and none that a person took the pin away since.
fn is_pinned(places: &[Place], id: BackupId, unpinned: Option<Timestamp>) -> bool {
    let counts = |at: &Timestamp| unpinned.is_none_or(|taken_away| *at > taken_away);
    places.iter().any(|p| {
        p.seen.get(&id).is_some_and(|(made_at, s)| s.pinned && counts(made_at))
            || p.pinned_aside.get(&id).is_some_and(counts)
    })
}

/// A backup of its copies. Those that claim to be another one's are refused. Where a sealed place has one, it alone tells
/// what the backup is; others have a copy of it at most.
fn backup(
    places: &[Place],
    found: Vec<(usize, Found)>,
    sightings: &[Option<&Sighting>],
    refused: &mut Vec<Refused>,
) -> Option<Backup> {
    let (at, first) = found.iter().min_by_key(|(place, f)| (*place, f.since))?;
    let has_sealed = is_sealed(places, *at);
    let tells = |i: usize| !has_sealed || is_sealed(places, i);
    let text = found.iter().find(|(i, f)| tells(*i) && f.view == View::Original).map(|(_, f)| f.sha256);
    let identity = |f: &Found| (f.device.clone(), f.artefact.clone(), f.kind, f.content);
    let whose = identity(first);
    let mut backup = Backup::new(
        first.backup,
        first.run,
        first.device.to_string().into(),
        first.artefact.as_ref(),
        first.content,
        first.since,
    );
    backup.kind = first.kind;
    let mut original = None;
    for (i, f) in found {
        let Some(place) = places.get(i) else { continue };
        let why = if identity(&f) != whose {
            Some("another backup has its identifier")
        } else if tells(i) {
            None
        } else if f.disputed {
            Some("two texts claim to be this version, and whoever can write there can have made one")
        } else if f.view == View::Original && text.is_some_and(|text| text != f.sha256) {
            Some("it is another text than the one that is sealed elsewhere")
        } else {
            None
        };
        if let Some(why) = why {
            let e = Error::new(ErrorKind::Conflict, "read manifest", why).with("backup", f.backup);
            refused.push(Refused { destination: place.id.clone(), at: Some(f.at.to_string()), error: e });
            continue;
        }
        if tells(i) {
            if backup.copies.is_empty() || (f.since, f.run) < (backup.first_seen, backup.run) {
                (backup.first_seen, backup.run) = (f.since, f.run);
                backup.device_name = f.device_name.to_string();
                backup.extension = f.extension.to_string();
                (backup.suspect, backup.metadata) = (f.suspect, f.metadata);
                backup.quarantine = f.quarantined.then_some(Quarantine::Held);
            }
            if f.view == View::Original {
                original = Some(f.size);
            }
            backup.size = original.unwrap_or(backup.size.max(f.size));
        }
        let taken_at = if tells(i) { f.taken_at } else { backup.first_seen };
        let sighting = sightings.get(i).copied().flatten();
        let mut copy = Copy::new(place.id.clone(), f.view, f.size, f.sha256, taken_at);
        copy.status = if f.damaged.is_some() { CopyStatus::Damaged } else { CopyStatus::Stored };
        copy.error = f.damaged;
        copy.storage_ref = Some(f.at);
        copy.attempts = 1;
        copy.last_seen = sighting.map_or(taken_at, |s| s.here.unwrap_or(s.last_seen)).max(taken_at);
        backup.copies.push(copy);
    }
    let of_copies = || sightings.iter().enumerate().filter(|(i, _)| tells(*i)).filter_map(|(_, s)| *s);
    // A copy may be stored a moment after its content was seen: where a record tells, it counts.
    let seen = of_copies().map(|s| s.last_seen).max();
    backup.last_seen = seen.or(backup.copies.iter().map(|c| c.last_seen).max())?.max(backup.first_seen);
    // The destination that was told last knows whether a person took it for good.
    if of_copies().any(|s| !s.suspect) {
        backup.accept();
    }
    backup.copies.sort_by(|a, b| a.destination.cmp(&b.destination));
    Some(backup)
}

impl Rebuilt {
    /// Asks the catalog that is in force which of the devices it has backups of: one of these that its inventory lacks was
    /// removed by somebody.
    ///
    /// # Errors
    /// What the catalog answers.
    pub async fn heed_removed(&mut self, catalog: &dyn Catalog) -> Result<()> {
        for id in self.devices.iter().map(|d| &d.id) {
            let query = Query { device: Some(id.clone()), ..Query::default() };
            if catalog.newest(&query).await?.is_some() {
                self.recorded.insert(id.clone());
            }
        }
        Ok(())
    }

    /// The devices that an inventory of these does not have. One whose name another device has by now, here or there, comes
    /// back beside it: disabled, under a name of its own. Disabled is one that somebody removed as well: its address may be
    /// another device's by now.
    #[must_use]
    pub fn returned(&self, known: &[Device]) -> Vec<Returned> {
        let ids: BTreeSet<_> = known.iter().map(|d| &d.id).collect();
        let mut taken: BTreeSet<String> = known.iter().chain(&self.devices).map(|d| d.name.clone()).collect();
        let mut held: BTreeSet<String> = known.iter().map(|d| d.name.clone()).collect();
        let mut returned = Vec::new();
        for device in self.devices.iter().filter(|d| !ids.contains(&d.id)) {
            let removed = self.recorded.contains(&device.id);
            let mut back = device.clone();
            back.enabled &= !removed;
            if held.insert(device.name.clone()) {
                returned.push(Returned { device: back, was: None, removed });
                continue;
            }
            (back.name, back.enabled) = (distinct(&device.name, &taken), false);
            taken.insert(back.name.clone());
            returned.push(Returned { device: back, was: Some(device.name.clone()), removed });
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
        // Before their backups: a device with backups that the inventory lacks counts as removed.
        let all = Selector { disabled: true, ..Selector::default() };
        let known = inventory.devices(&all).await?;
        let new: Vec<Device> = self.returned(&known).into_iter().map(|r| r.device).collect();
        written.devices = new.len();
        inventory.put_devices(&new).await?;
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
                            let claimed = std::mem::take(&mut backup.copies);
                            let all = claimed.len();
                            backup.copies = claimed.into_iter().filter(|c| is_of(&known, &backup, c)).collect();
                            written.refused += all - backup.copies.len();
                            if backup.copies.is_empty() {
                                continue;
                            }
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

/// Whether it is a copy of the version that the catalog knows, and not of something else that has its identifier.
fn is_of(known: &Backup, claimed: &Backup, copy: &Copy) -> bool {
    let whose = |b: &Backup| (b.device.clone(), b.artefact.clone(), b.kind, b.content);
    let original = known.copies.iter().find(|c| c.view == View::Original && c.storage_ref.is_some());
    whose(known) == whose(claimed)
        && (copy.view != View::Original || original.is_none_or(|original| original.sha256 == copy.sha256))
}
