//! How long versions were valid, kept at the destinations themselves.
//!
//! A manifest says when a version was taken. That it was seen again is known to the catalog alone, and so is that it was
//! pinned or accepted: beside its backups, each destination keeps a small record of that, one for every month, written
//! anew after every round. With it a catalog that was lost is rebuilt with its validity.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use futures::TryStreamExt as _;
use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::catalog::{CatalogExt as _, Query};
use crate::clock::Timestamp;
use crate::{BackupId, Catalog, DestinationId, Error, ErrorKind, Result, StorageBackend};

/// The format that this release writes and reads.
pub const FORMAT: u32 = 1;
/// The longest record that is read, in bytes: that of a million versions.
pub const MAX_RECORD: u64 = 256 << 20;

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
        Self { format: FORMAT, readable_by: FORMAT, period: period.into(), made_at, seen: Vec::new(), set_aside: false }
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
/// What the catalog and the destination answer.
pub async fn note(
    catalog: &dyn Catalog,
    destination: &DestinationId,
    backend: &dyn StorageBackend,
    at: Timestamp,
    now: Timestamp,
) -> Result<bool> {
    let (begin, _) = bounds(at);
    if !note_month(catalog, destination, backend, at, now).await? {
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
        note_month(catalog, destination, backend, before, now).await?;
    }
    Ok(true)
}

/// Tells a destination of every month in which a version there was last seen: after versions came there in another way
/// than by a round. Returns how many records were written.
///
/// # Errors
/// As [`note`].
pub async fn note_all(
    catalog: &dyn Catalog,
    destination: &DestinationId,
    backend: &dyn StorageBackend,
    now: Timestamp,
) -> Result<usize> {
    let mut months = std::collections::BTreeMap::new();
    let query = Query { destination: Some(destination.clone()), ..Query::default() };
    let mut found = catalog.every(&query);
    while let Some(backup) = found.try_next().await? {
        if let Some(sighting) = sighting(&backup, destination) {
            months.entry(period_of(backup.last_seen)).or_insert_with(Vec::new).push(sighting);
        }
    }
    let mut written = 0;
    for (period, seen) in months {
        let record = Sightings { seen, ..Sightings::new(period, now) };
        written += usize::from(backend.note_sightings(&record).await?);
    }
    Ok(written)
}

async fn note_month(
    catalog: &dyn Catalog,
    destination: &DestinationId,
    backend: &dyn StorageBackend,
    at: Timestamp,
    now: Timestamp,
) -> Result<bool> {
    let (begin, end) = bounds(at);
    let mut record = Sightings::new(period_of(at), now);
    let query = Query { destination: Some(destination.clone()), seen_since: Some(begin), ..Query::default() };
    let mut found = catalog.every(&query);
    while let Some(backup) = found.try_next().await? {
        // A catalog that does not know how to narrow by it finds more.
        let is_in_month = backup.last_seen >= begin && backup.last_seen < end;
        record.seen.extend(sighting(&backup, destination).filter(|_| is_in_month));
    }
    backend.note_sightings(&record).await
}

fn sighting(backup: &crate::run::Backup, at: &DestinationId) -> Option<Sighting> {
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
                let last_seen = Timestamp::from_second(second).unwrap();
                let here = pinned.then_some(last_seen);
                record.seen.push(Sighting { backup: BackupId::generate(), last_seen, here, pinned, suspect });
            }
            prop_assert_eq!(Sightings::from_json(&record.to_json()).unwrap(), record);
        }
    }
}
