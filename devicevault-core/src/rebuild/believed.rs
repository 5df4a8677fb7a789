//! Whose word counts where several places tell of the same.
//!
//! What a sealed place tells took a key to write. Elsewhere whoever can write can claim anything of anything, with the
//! identifiers of what is there: a commit that was pushed to a remote, a file in a folder. Nothing in it tells it from what
//! was stored by us. So of what a sealed place knows, others are heard only where it does no harm.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt as _;

use super::gather::Place;
use super::named::Named;
use crate::catalog::{CatalogExt as _, Query};
use crate::clock::Timestamp;
use crate::run::Backup;
use crate::sightings::Sightings;
use crate::{BackupId, Catalog, DestinationId, DeviceId, Manifest, Result, Source};

/// Why a version is suspect that no sealed place has.
pub(super) const UNCONFIRMED: &str = "no sealed destination has it, and what they have of the device is older: whoever can \
     write where it lies can have made it";

/// What was told of devices and pins.
#[derive(Debug, Default)]
pub(super) struct Word {
    /// The newest manifest's word on each device.
    pub(super) devices: BTreeMap<DeviceId, (Timestamp, Source)>,
    /// What they are called.
    pub(super) named: Named,
    /// When a person last took the pin of a version away.
    pub(super) unpinned: BTreeMap<BackupId, Timestamp>,
}

impl Word {
    pub(super) fn hear(&mut self, m: &Manifest) {
        self.named.hear_manifest(m);
        if self.devices.get(&m.source.device).is_none_or(|(at, _)| *at < m.taken_at) {
            self.devices.insert(m.source.device.clone(), (m.taken_at, m.source.clone()));
        }
    }

    /// What is dated after `latest` is passed over.
    pub(super) fn hear_of(&mut self, record: &Sightings, now: Timestamp, latest: Timestamp) {
        self.named.hear_of(record, now);
        for (backup, at) in record.unpinned.iter().filter(|(_, at)| **at <= latest) {
            let last = self.unpinned.entry(*backup).or_insert(*at);
            *last = (*at).max(*last);
        }
    }
}

/// What sealed places told, and what others did.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) sealed: Word,
    pub(super) others: Word,
}

impl Words {
    pub(super) fn of(&mut self, sealed: bool) -> &mut Word {
        if sealed { &mut self.sealed } else { &mut self.others }
    }

    /// Each device, as whoever is believed describes it.
    pub(super) fn devices(&self) -> impl Iterator<Item = (&DeviceId, &Source)> {
        let others = self.others.devices.iter().filter(|(id, _)| !self.sealed.devices.contains_key(id));
        self.sealed.devices.iter().chain(others).map(|(id, (_, source))| (id, source))
    }

    /// What a device is called, as far as is known.
    pub(super) fn name_of(&self, device: &DeviceId) -> Option<&str> {
        self.sealed.named.name_of(device).or_else(|| self.others.named.name_of(device))
    }

    /// Orders devices of one name: the one that it is believed of comes first.
    pub(super) fn rank(&self, device: &DeviceId) -> impl Ord + use<> {
        use std::cmp::Reverse;
        let known = self.sealed.devices.contains_key(device);
        let word = if known { &self.sealed } else { &self.others };
        (Reverse(known), Reverse(word.named.known_at(device)))
    }

    /// When a person last took the pin of a version away. Of one that lies in a sealed place, others cannot say so.
    pub(super) fn unpinned(&self, backup: BackupId, is_sealed: bool) -> Option<Timestamp> {
        let others = if is_sealed { None } else { self.others.unpinned.get(&backup) };
        self.sealed.unpinned.get(&backup).max(others).copied()
    }
}

/// What a catalog recorded, which is believed as sealed places are.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) backups: HashSet<BackupId>,
    /// Of what lies in its sealed destinations: by device and artefact, the newest.
    newest: HashMap<DeviceId, HashMap<String, Timestamp>>,
}

impl Recorded {
    pub(super) async fn of(catalog: &dyn Catalog, sealed: &BTreeSet<DestinationId>) -> Result<Self> {
        let mut recorded = Self::default();
        let query = Query::default();
        let mut all = catalog.every(&query);
        while let Some(backup) = all.try_next().await? {
            recorded.backups.insert(backup.id);
            if backup.copies.iter().any(|c| sealed.contains(&c.destination)) {
                let of_device = recorded.newest.entry(backup.device).or_default();
                // Newest first.
                of_device.entry(backup.artefact).or_insert(backup.first_seen);
            }
        }
        drop(all);
        Ok(recorded)
    }
}

/// What sealed places know.
#[derive(Debug)]
pub(super) struct Confirmed {
    newest: HashMap<Arc<str>, HashMap<Arc<str>, Timestamp>>,
    recorded: HashSet<BackupId>,
}

impl Confirmed {
    pub(super) fn of(places: &[Place], recorded: Recorded) -> Self {
        let mut newest: HashMap<Arc<str>, HashMap<Arc<str>, Timestamp>> = HashMap::new();
        let mut know = |device: Arc<str>, artefact: Arc<str>, at: Timestamp| {
            let known = newest.entry(device).or_default().entry(artefact).or_insert(at);
            *known = at.max(*known);
        };
        for f in places.iter().filter(|p| p.sealed).flat_map(|p| &p.found) {
            know(f.device.clone(), f.artefact.clone(), f.taken_at);
        }
        for (device, artefacts) in recorded.newest {
            let device: Arc<str> = device.0.into();
            artefacts.into_iter().for_each(|(artefact, at)| know(device.clone(), artefact.into(), at));
        }
        Self { newest, recorded: recorded.backups }
    }

    /// Whether a sealed place has something of the device.
    pub(super) fn knows(&self, device: &str) -> bool {
        self.newest.contains_key(device)
    }

    /// Whether nothing was sealed at all, so that nobody is believed before another.
    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// Whether a version that no sealed place has would stand before all that these have of the artefact. Of the past, a
    /// place that keeps for longer may well be the only one to know.
    pub(super) fn doubts(&self, backup: &Backup) -> bool {
        let artefacts = self.newest.get(backup.device.as_str()).filter(|_| !self.recorded.contains(&backup.id));
        artefacts.is_some_and(|all| all.get(backup.artefact.as_str()).is_none_or(|newest| backup.first_seen >= *newest))
    }
}
