//! How long versions were valid, kept at the destinations themselves.
//!
//! A manifest says when a version was taken. That it was seen again is known to the catalog alone, and so is that it was
//! pinned or accepted, and what its device is called since: beside its backups, each destination keeps a small record of
//! that, one for every month, written anew after every round. With it a catalog that was lost is rebuilt with its validity.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt as _;
use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::catalog::{CatalogExt as _, Query};
use crate::clock::Timestamp;
use crate::inventory::Selector;
use crate::run::Backup;
use crate::{BackupId, Catalog, DestinationId, DeviceId, Error, ErrorKind, Inventory, Result, StorageBackend};

/// The format that this release writes and reads.
pub const FORMAT: u32 = 1;
/// The longest record that is read, in bytes: that of a million versions.
pub const MAX_RECORD: u64 = 256 << 20;
/// The clock that a record is read by may be behind the one that it was written by by so much.
pub(crate) const SLACK: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// What was last seen in one month, of the versions at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sightings {
    /// Version of this format.
    pub format: u32,
    /// The oldest format version whose readers understand this one.
    pub readable_by: u32,
    /// The month, in UTC: `2026-11`.
    pub period: String,
    /// When this was written.
    pub made_at: Timestamp,
    /// Each version that was last seen in that month.
    pub seen: Vec<Sighting>,
    /// What the devices of these versions were called when this was written. One that was removed has no name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<DeviceId, String>,
    /// Versions whose pin a person took away, and when: a record from before that is still about does not bring it back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unpinned: BTreeMap<BackupId, Timestamp>,
    /// The destination set it aside when somebody wrote a later one who could not open it: what this one says was unknown
    /// to them.
    #[serde(skip)]
    pub set_aside: bool,
}

/// What the catalog knew of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The backup.
    pub backup: BackupId,
    /// When its content was last seen on the device.
    pub last_seen: Timestamp,
    /// When this destination last answered for it, where that is another time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<Timestamp>,
    /// Retention is to leave it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// It is suspect: one whose manifest says so and this does not was accepted by a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspect: bool,
}

impl Sightings {
    /// A record without sightings.
    #[must_use]
    pub fn new(period: impl Into<String>, made_at: Timestamp) -> Self {
        Self {
            format: FORMAT,
            readable_by: FORMAT,
            period: period.into(),
            made_at,
            seen: Vec::new(),
            names: BTreeMap::new(),
            unpinned: BTreeMap::new(),
            set_aside: false,
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `Unsupported` when this release cannot read it.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            readable_by: u32,
        }
        let broken = |e| Error::new(ErrorKind::Corrupt, "read sightings", "it is not a record of sightings").because(e);
        let head: Head = serde_json::from_slice(json).map_err(broken)?;
        if head.readable_by > FORMAT {
            return Err(Error::new(ErrorKind::Unsupported, "read sightings", "a newer release wrote them")
                .with("readable by", head.readable_by)
                .hint("upgrade this program"));
        }
        let record: Self = serde_json::from_slice(json).map_err(broken)?;
        check_period(&record.period)?;
        Ok(record)
    }

    /// The record as JSON in one line.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Serialising plain data into memory has no way to fail.
        let mut json = serde_json::to_vec(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

/// Checks that a text is a month: `2026-11`. It becomes the name of a file.
///
/// # Errors
/// `Corrupt`.
pub fn check_period(period: &str) -> Result<()> {
    let good = period.len() == 7
        && period.bytes().enumerate().all(|(i, b)| if i == 4 { b == b'-' } else { b.is_ascii_digit() });
    if good {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "read sightings", "they name no month")
        .with("period", period.chars().take(20).collect::<String>().escape_debug()))
}

/// The month of a time, in UTC.
#[must_use]
pub fn period_of(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m").to_string()
}

/// Where the month of a time begins, and where the next one does.
fn bounds(at: Timestamp) -> (Timestamp, Timestamp) {
    let bounds = || {
        let first = at.to_zoned(TimeZone::UTC).first_of_month()?.start_of_day()?;
        Ok::<_, jiff::Error>((first.timestamp(), first.checked_add(1.month())?.timestamp()))
    };
    // Only at the two ends of time is there no such month.
    bounds().unwrap_or((Timestamp::MIN, Timestamp::MAX))
}

/// Tells a destination what is known of the versions that were last seen in the month of `at`, and of those of the month
/// before where that record is older than the month. `false`: the destination keeps no such records.
///
/// Called after a round; a destination that cannot be told now is told by the next one. Without an effect on any backup.
///
/// # Errors
/// What the catalog, the inventory and the destination answer.
pub async fn note(
    catalog: &dyn Catalog,
    inventory: &dyn Inventory,
    destination: &DestinationId,
    backend: &dyn StorageBackend,
    at: Timestamp,
    now: Timestamp,
) -> Result<bool> {
    let (begin, _) = bounds(at);
    if !note_month((catalog, inventory), destination, backend, at, now, None).await? {
        return Ok(false);
    }
    let Ok(before) = begin.checked_sub(std::time::Duration::from_secs(1)) else { return Ok(true) };
    let open = match backend.sightings(&period_of(before)).await {
        Ok(Some(record)) => record.made_at < begin,
        Ok(None) => true,
        Err(e) if e.kind() == ErrorKind::Corrupt => true,
        Err(e) => return Err(e),
    };
    if open {
        note_month((catalog, inventory), destination, backend, before, now, None).await?;
    }
    Ok(true)
}

/// Tells a destination that a person took the pin of a version away.
///
/// # Errors
/// As [`note`].
pub async fn note_unpinned(
    catalog: &dyn Catalog,
    inventory: &dyn Inventory,
    destination: &DestinationId,
    backend: &dyn StorageBackend,
    backup: &Backup,
    now: Timestamp,
) -> Result<bool> {
    note_month((catalog, inventory), destination, backend, backup.last_seen, now, Some(backup.id)).await
}

/// Tells a destination of every month in which a version there was last seen: after versions came there in another way
/// than by a round. Returns how many records were written.
///
/// # Errors
/// As [`note`].
pub async fn note_all(
    catalog: &dyn Catalog,
    inventory: &dyn Inventory,
    destination: &DestinationId,
    backend: &dyn StorageBackend,
    now: Timestamp,
) -> Result<usize> {
    let names = names(inventory).await?;
    let mut months: BTreeMap<String, Sightings> = BTreeMap::new();
    let query = Query { destination: Some(destination.clone()), ..Query::default() };
    let mut found = catalog.every(&query);
    while let Some(backup) = found.try_next().await? {
        let period = period_of(backup.last_seen);
        months.entry(period.clone()).or_insert_with(|| Sightings::new(period, now)).add(&backup, destination, &names);
    }
    let mut written = 0;
    for mut record in months.into_values().filter(|record| !record.seen.is_empty()) {
        record.carry_on(backend).await?;
        written += usize::from(backend.note_sightings(&record).await?);
    }
    Ok(written)
}

async fn note_month(
    (catalog, inventory): (&dyn Catalog, &dyn Inventory),
    destination: &DestinationId,
    backend: &dyn StorageBackend,
    at: Timestamp,
    now: Timestamp,
    unpinned: Option<BackupId>,
) -> Result<bool> {
    let (begin, end) = bounds(at);
    let names = names(inventory).await?;
    let mut record = Sightings::new(period_of(at), now);
    let query = Query { destination: Some(destination.clone()), seen_since: Some(begin), ..Query::default() };
    let mut found = catalog.every(&query);
    while let Some(backup) = found.try_next().await? {
        // A catalog that does not know how to narrow by it finds more.
        if backup.last_seen >= begin && backup.last_seen < end {
            record.add(&backup, destination, &names);
        }
    }
    record.unpinned.extend(unpinned.map(|id| (id, now)));
    record.carry_on(backend).await?;
    backend.note_sightings(&record).await
}

/// What devices are called.
async fn names(inventory: &dyn Inventory) -> Result<BTreeMap<DeviceId, String>> {
    let all = Selector { disabled: true, ..Selector::default() };
    Ok(inventory.devices(&all).await?.into_iter().map(|d| (d.id, d.name)).collect())
}

impl Sightings {
    /// Adds a version, where the destination has it, and what its device is called.
    fn add(&mut self, backup: &Backup, at: &DestinationId, names: &BTreeMap<DeviceId, String>) {
        let Some(sighting) = sighting(backup, at) else { return };
        self.seen.push(sighting);
        if let Some(name) = names.get(&backup.device).filter(|_| !self.names.contains_key(&backup.device)) {
            self.names.insert(backup.device.clone(), name.clone());
        }
    }

    /// Takes over which pins were taken away, from the record that this one replaces.
    async fn carry_on(&mut self, backend: &dyn StorageBackend) -> Result<()> {
        let before = match backend.sightings(&self.period).await {
            Ok(before) => before.map(|record| record.unpinned).unwrap_or_default(),
            // It is set aside, or says nothing.
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::KeyUnavailable) => {
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let pinned: BTreeSet<_> = self.seen.iter().filter(|s| s.pinned).map(|s| s.backup).collect();
        for (backup, at) in before.into_iter().filter(|(backup, _)| !pinned.contains(backup)) {
            self.unpinned.entry(backup).or_insert(at);
        }
        Ok(())
    }
}

fn sighting(backup: &Backup, at: &DestinationId) -> Option<Sighting> {
    let copy = backup.copies.iter().find(|c| c.destination == *at && c.storage_ref.is_some())?;
    Some(Sighting {
        backup: backup.id,
        last_seen: backup.last_seen,
        here: (copy.last_seen != backup.last_seen).then_some(copy.last_seen),
        pinned: backup.pinned,
        suspect: !backup.suspect.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn months_have_names_and_bounds() {
        let at: Timestamp = "2026-12-31T23:59:59Z".parse().unwrap();
        let (begin, end) = bounds(at);
        assert_eq!(
            (begin.to_string().as_str(), end.to_string().as_str()),
            ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")
        );
        assert_eq!(period_of(at), "2026-12");
        check_period("2026-12").unwrap();
        for bad in ["", "2026-1", "2026/12", "../..", "2026-120", "２０２"] {
            assert!(check_period(bad).is_err(), "{bad}");
        }
        bounds(Timestamp::MAX);
        bounds(Timestamp::MIN);
    }

    #[test]
    fn records_of_before_there_were_names_are_read() {
        let before = br#"{"format":1,"readable_by":1,"period":"2026-11","made_at":"2026-11-21T09:00:00Z","seen":[]}"#;
        let record = Sightings::from_json(before).unwrap();
        assert!(record.names.is_empty() && record.unpinned.is_empty());
        assert_eq!(record.to_json().trim_ascii_end(), before);
    }

    #[test]
    fn what_is_for_newer_readers_is_refused() {
        let newer = br#"{"format": 9, "readable_by": 9}"#;
        assert_eq!(Sightings::from_json(newer).unwrap_err().kind(), ErrorKind::Unsupported);
        let elsewhere =
            br#"{"format":1,"readable_by":1,"period":"../../x","made_at":"2026-12-31T23:59:59Z","seen":[]}"#;
        assert_eq!(Sightings::from_json(elsewhere).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "[{}\\[\\]\":,a-z0-9 _-]{0,80}") {
            let _ = Sightings::from_json(&bytes);
            let _ = Sightings::from_json(text.as_bytes());
        }

        #[test]
        fn they_read_back(seconds in prop::collection::vec((0_i64..4_000_000_000, any::<bool>(), any::<bool>()), 0..20)) {
            let mut record = Sightings::new("2026-11", Timestamp::UNIX_EPOCH);
            for (second, pinned, suspect) in seconds {
                record.names.insert(DeviceId(second.to_string()), format!("sw {second}"));
                record.unpinned.extend(suspect.then(|| (BackupId::generate(), record.made_at)));
                let last_seen = Timestamp::from_second(second).unwrap();
                let here = pinned.then_some(last_seen);
                record.seen.push(Sighting { backup: BackupId::generate(), last_seen, here, pinned, suspect });
            }
            prop_assert_eq!(Sightings::from_json(&record.to_json()).unwrap(), record);
        }
    }
}
