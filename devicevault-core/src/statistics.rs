//! How much is stored, added up.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use crate::catalog::{CatalogExt as _, Query, RunQuery};
use crate::clock::Timestamp;
use crate::run::{Backup, Copy, CopyStatus};
use crate::{Catalog, DestinationId, DeviceId, Result, RunId};

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;

/// What is to be added up. Empty fields do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatisticsQuery {
    /// Only of this device.
    pub device: Option<DeviceId>,
    /// Only what was taken of devices that had this name then: a name that is given away again is that of several.
    pub device_name: Option<String>,
    /// Only at this destination.
    pub destination: Option<DestinationId>,
    /// Also what came on each day since then.
    pub days_since: Option<Timestamp>,
    /// Also what runs collected.
    pub runs: bool,
}

/// Copies and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Copies.
    pub copies: u64,
    /// Bytes of their views, before compression and encryption.
    pub content_bytes: u64,
}

impl Amount {
    /// Adds.
    pub fn add(&mut self, other: Amount) {
        self.copies += other.copies;
        self.content_bytes += other.content_bytes;
    }
}

/// What one destination holds of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The device.
    pub device: DeviceId,
    /// What it was called, one of the names if there were several.
    pub device_name: String,
    /// The destination.
    pub destination: DestinationId,
    /// How much.
    #[serde(flatten)]
    pub amount: Amount,
}

/// What runs collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Runs that are over.
    pub runs: u64,
    /// Bytes that devices sent.
    pub bytes: u64,
    /// Bytes of what was new among that: of the versions themselves, however many copies they have. Versions that no run
    /// collected, such as imported ones, are not among them.
    pub new_bytes: u64,
}

/// What was added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// By device and destination.
    pub tallies: Vec<Tally>,
    /// What was stored on each day since 1970, in UTC, at each destination.
    pub days: BTreeMap<(i64, DestinationId), Amount>,
    /// What runs collected.
    pub collected: Option<Collected>,
}

impl Statistics {
    /// All of it together.
    #[must_use]
    pub fn total(&self) -> Amount {
        let mut sum = Amount::default();
        self.tallies.iter().for_each(|t| sum.add(t.amount));
        sum
    }
}

/// Whether a copy takes room at its destination.
#[must_use]
pub fn takes_room(copy: &Copy) -> bool {
    matches!(copy.status, CopyStatus::Stored | CopyStatus::Extended | CopyStatus::Damaged | CopyStatus::Marked)
}

/// Adds up with nothing but what every catalog can: each backup is looked at. Catalogs that know a shorter way take it.
///
/// # Errors
/// What the catalog answers.
pub async fn by_looking_at_all(catalog: &(impl Catalog + ?Sized), wanted: &StatisticsQuery) -> Result<Statistics> {
    let mut tallies: BTreeMap<(DeviceId, DestinationId), Tally> = BTreeMap::new();
    let mut statistics = Statistics::default();
    let mut collected = Collected::default();
    let mut new: HashMap<RunId, u64> = HashMap::new();
    let query = Query { device: wanted.device.clone(), destination: wanted.destination.clone(), ..Query::default() };
    let of_that_name = |name: &String| wanted.device_name.as_ref().is_none_or(|n| n == name);
    let mut found = catalog.every(&query);
    while let Some(backup) = found.try_next().await? {
        if !of_that_name(&backup.device_name) {
            continue;
        }
        *new.entry(backup.run).or_default() += backup.size;
        for copy in backup.copies.iter().filter(|c| takes_room(c)) {
            if wanted.destination.as_ref().is_some_and(|d| *d != copy.destination) {
                continue;
            }
            add(&backup, copy, wanted, &mut tallies, &mut statistics);
        }
    }
    statistics.tallies = tallies.into_values().collect();
    if wanted.runs {
        let query = RunQuery { device: wanted.device.clone(), ..RunQuery::default() };
        let mut runs = catalog.every_run(&query);
        while let Some(run) = runs.try_next().await? {
            collected.new_bytes += new.remove(&run.id).unwrap_or(0);
            if run.state.is_final() && of_that_name(&run.start.device_name) {
                collected.runs += 1;
                collected.bytes += run.size_before;
            }
        }
        statistics.collected = Some(collected);
    }
    Ok(statistics)
}

fn add(
    backup: &Backup,
    copy: &Copy,
    wanted: &StatisticsQuery,
    tallies: &mut BTreeMap<(DeviceId, DestinationId), Tally>,
    statistics: &mut Statistics,
) {
    let amount = Amount { copies: 1, content_bytes: copy.size };
    let tally = tallies.entry((backup.device.clone(), copy.destination.clone())).or_insert_with(|| Tally {
        device: backup.device.clone(),
        device_name: backup.device_name.clone(),
        destination: copy.destination.clone(),
        amount: Amount::default(),
    });
    tally.device_name = tally.device_name.clone().max(backup.device_name.clone());
    tally.amount.add(amount);
    if wanted.days_since.is_some_and(|since| copy.stored_at >= since) {
        let day = copy.stored_at.as_microsecond().div_euclid(DAY);
        statistics.days.entry((day, copy.destination.clone())).or_default().add(amount);
    }
}
