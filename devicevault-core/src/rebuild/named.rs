//! Which device a name means, where only a destination can tell.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::sightings::{SLACK, Sightings};
use crate::{BackupId, DeviceId, Error, ErrorKind, Manifest, Result, StorageBackend, check_device_name};

/// What devices were called, and when they were last known to be called so: by their manifests, and by records of sightings,
/// which also know of a device that was renamed while its texts stayed as they were.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// By the newest manifest of each device, and which backup that is of.
    stored: BTreeMap<DeviceId, (Timestamp, String, Option<BackupId>)>,
    /// By the newest record of it.
    noted: BTreeMap<DeviceId, (Timestamp, String)>,
    /// When the first record was made that knows of a backup.
    known: HashMap<BackupId, Timestamp>,
    ever: BTreeMap<String, BTreeSet<DeviceId>>,
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meant {
    /// The device that was last known to be called so; others had the name before, or have it in another home.
    Now(DeviceId, BTreeSet<DeviceId>),
    /// The only device that was ever called so; it has another name since.
    Once(DeviceId, String),
    /// Several were called so, and none is any more.
    Several(BTreeSet<DeviceId>),
    /// No device was.
    Nobody,
}

impl Named {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes down that a device was called so at a time.
    pub fn hear(&mut self, device: &DeviceId, name: &str, at: Timestamp) {
        self.hear_stored(device, name, at, None);
    }

    /// Takes down what a manifest calls its device.
    pub fn hear_manifest(&mut self, m: &Manifest) {
        self.hear_stored(&m.source.device, &m.source.device_name, m.taken_at, Some(m.backup));
    }

    fn hear_stored(&mut self, device: &DeviceId, name: &str, at: Timestamp, backup: Option<BackupId>) {
        if self.stored.get(device).is_none_or(|(known, ..)| *known < at) {
            self.stored.insert(device.clone(), (at, name.to_owned(), backup));
        }
        self.was_called(device, name);
    }

    fn was_called(&mut self, device: &DeviceId, name: &str) {
        if !self.ever.get(name).is_some_and(|known| known.contains(device)) {
            self.ever.entry(name.to_owned()).or_default().insert(device.clone());
        }
    }

    /// Takes down what a record says. One that is dated after `now`, and what no device can be called, is passed over.
    pub fn hear_of(&mut self, record: &Sightings, now: Timestamp) {
        if record.made_at > now.checked_add(SLACK).unwrap_or(Timestamp::MAX) {
            return;
        }
        for (device, name) in record.names.iter().filter(|(_, name)| check_device_name(name).is_ok()) {
            if self.noted.get(device).is_none_or(|(known, _)| *known < record.made_at) {
                self.noted.insert(device.clone(), (record.made_at, name.clone()));
            }
            self.was_called(device, name);
        }
        for sighting in &record.seen {
            let first = self.known.entry(sighting.backup).or_insert(record.made_at);
            *first = (*first).min(record.made_at);
        }
    }

    /// Takes down what all records of a destination say; why some cannot be read.
    ///
    /// # Errors
    /// The destination cannot be asked.
    pub async fn hear_all(&mut self, backend: &dyn StorageBackend, now: Timestamp) -> Result<Vec<Error>> {
        let mut unread = Vec::new();
        for period in backend.sighting_periods().await? {
            match backend.sightings(&period).await {
                Ok(record) => record.iter().for_each(|record| self.hear_of(record, now)),
                Err(e)
                    if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::KeyUnavailable) =>
                {
                    unread.push(e.with("sightings of", period));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(unread)
    }

    /// What a device is called, as far as is known.
    #[must_use]
    pub fn name_of(&self, device: &DeviceId) -> Option<&str> {
        self.last(device).map(|(_, name)| name)
    }

    /// When it was last known to be called so.
    pub(super) fn known_at(&self, device: &DeviceId) -> Option<Timestamp> {
        self.last(device).map(|(at, _)| at)
    }

    /// The last word on a device. A record that was made when a backup was there already is later than its manifest,
    /// whatever the clock said at that: it may have been ahead.
    fn last(&self, device: &DeviceId) -> Option<(Timestamp, &str)> {
        let (stored, noted) = (self.stored.get(device), self.noted.get(device));
        let Some((made_at, name)) = noted else { return stored.map(|(at, name, _)| (*at, name.as_str())) };
        match stored {
            Some((at, stored, backup)) if at >= made_at => {
                let known = backup.and_then(|backup| self.known.get(&backup));
                Some(if known.is_some_and(|first| first <= made_at) { (*made_at, name) } else { (*at, stored) })
            }
            _ => Some((*made_at, name)),
        }
    }

    /// What a name means.
    #[must_use]
    pub fn meant(&self, name: &str) -> Meant {
        let Some(ever) = self.ever.get(name) else { return Meant::Nobody };
        let holds = |id: &&DeviceId| self.name_of(id) == Some(name);
        if let Some(now) = ever.iter().filter(holds).max_by_key(|id| self.known_at(id)) {
            return Meant::Now(now.clone(), ever.iter().filter(|id| *id != now).cloned().collect());
        }
        match ever.iter().next() {
            Some(once) if ever.len() == 1 => {
                Meant::Once(once.clone(), self.name_of(once).unwrap_or_default().to_owned())
            }
            _ => Meant::Several(ever.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn id(text: &str) -> DeviceId {
        DeviceId::from(text)
    }

    #[test]
    fn a_swap_is_known_by_the_later_word() {
        let mut named = Named::new();
        named.hear(&id("1"), "a", at(1));
        named.hear(&id("2"), "b", at(2));
        let mut record = Sightings::new("2026-11", at(5));
        record.names = [(id("1"), "b".to_owned()), (id("2"), "a".to_owned())].into();
        named.hear_of(&record, at(9));
        named.hear(&id("1"), "a", at(3));
        assert_eq!(named.meant("a"), Meant::Now(id("2"), [id("1")].into()));
        assert_eq!(named.meant("b"), Meant::Now(id("1"), [id("2")].into()));
    }

    #[test]
    fn a_record_that_knows_a_backup_is_later_than_its_manifest_whatever_the_clock_said() {
        let ahead = BackupId::generate();
        let mut record = Sightings::new("2026-11", at(5));
        record.names = [(id("1"), "b".to_owned())].into();
        let hear = |record: &Sightings| {
            let mut named = Named::new();
            named.hear_stored(&id("1"), "a", at(9), Some(ahead));
            named.hear_of(record, at(6));
            named.name_of(&id("1")).map(str::to_owned)
        };
        // Made before the backup was taken, as far as it tells.
        assert_eq!(hear(&record).as_deref(), Some("a"));
        let seen = serde_json::json!({ "backup": ahead, "last_seen": at(9) });
        record.seen = vec![serde_json::from_value(seen).unwrap()];
        assert_eq!(hear(&record).as_deref(), Some("b"));
    }

    #[test]
    fn an_old_name_is_found_where_one_device_alone_had_it() {
        let mut named = Named::new();
        named.hear(&id("1"), "a", at(1));
        named.hear(&id("1"), "c", at(2));
        assert_eq!(named.meant("a"), Meant::Once(id("1"), "c".to_owned()));
        named.hear(&id("2"), "a", at(3));
        assert_eq!(named.meant("a"), Meant::Now(id("2"), [id("1")].into()));
        named.hear(&id("2"), "d", at(4));
        assert_eq!(named.meant("a"), Meant::Several([id("1"), id("2")].into()));
        assert_eq!(named.meant("e"), Meant::Nobody);
    }

    #[test]
    fn what_is_dated_ahead_and_what_is_no_name_is_passed_over() {
        let mut named = Named::new();
        let mut record = Sightings::new("2026-11", at(5));
        record.names = [(id("1"), "a\nb".to_owned())].into();
        named.hear_of(&record, at(9));
        (record.made_at, record.names) = (Timestamp::MAX, [(id("1"), "a".to_owned())].into());
        named.hear_of(&record, at(9));
        assert_eq!(named.meant("a"), Meant::Nobody);
        assert_eq!(named.name_of(&id("1")), None);
    }

    proptest! {
        /// In whatever order it is heard, the last word counts, and no name means a device that never had it.
        #[test]
        fn the_order_does_not_matter(words in prop::collection::vec(("[12]", "[ab]"), 1..8)) {
            let words: Vec<_> = words.into_iter().zip(1..).collect();
            let (mut there, mut back) = (Named::new(), Named::new());
            words.iter().for_each(|((d, n), s)| there.hear(&id(d), n, at(*s)));
            words.iter().rev().for_each(|((d, n), s)| back.hear(&id(d), n, at(*s)));
            for name in ["a", "b"] {
                prop_assert_eq!(there.meant(name), back.meant(name));
                let Meant::Now(device, _) = there.meant(name) else { continue };
                let last = words.iter().rev().find(|((d, _), _)| id(d) == device);
                prop_assert_eq!(last.map(|((_, n), _)| n.as_str()), Some(name));
            }
        }
    }
}
