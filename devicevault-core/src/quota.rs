//! Quotas: what a destination may hold, in all and of each device.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt as _;

use crate::body::Body;
use crate::catalog::{CatalogExt as _, Query};
use crate::layer::Layer;
use crate::statistics::{Amount, Statistics, StatisticsQuery, takes_room};
use crate::storage::{Entry, Health, StorageBackend, StorageRef};
use crate::{
    Catalog, Clock, DestinationId, DeviceId, Error, ErrorKind, Manifest, Result, Retry, parse_size, size_text,
};

/// What was added up counts for so long: other processes store there too.
const COUNTS_FOR: Duration = Duration::from_secs(60);
/// From this part of a quota on, in percent, it is told.
const WARN_AT: u128 = 80;

/// What a destination may hold. Bytes are those of content, before compression and encryption; nothing set, nothing is
/// bounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaLimits {
    /// `quota.bytes`: in all.
    pub bytes: Option<u64>,
    /// `quota.count`: copies in all.
    pub count: Option<u64>,
    /// `quota.device_bytes`: of each device.
    pub device_bytes: Option<u64>,
    /// `quota.device_count`: copies of each device.
    pub device_count: Option<u64>,
}

/// The options of a destination that set quotas.
pub const OPTIONS: [&str; 4] = ["quota.bytes", "quota.count", "quota.device_bytes", "quota.device_count"];

impl QuotaLimits {
    /// What a destination's options say.
    ///
    /// # Errors
    /// `Config` for what is no number, with the option's name.
    pub fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let read = |name: &'static str, bytes: bool| match options.get(name) {
            None => Ok(None),
            Some(text) => {
                let found = if bytes { parse_size(text) } else { text.trim().parse().ok() };
                found.filter(|n| *n > 0).map(Some).ok_or_else(|| {
                    Error::new(ErrorKind::Config, "read option", "it is no quota")
                        .with("option", name)
                        .with("value", text.escape_debug())
                        .hint(if bytes { "write 500000, 200 MB or 10 GiB" } else { "write a number of copies" })
                })
            }
        };
        let [bytes, count, device_bytes, device_count] = OPTIONS;
        Ok(Self {
            bytes: read(bytes, true)?,
            count: read(count, false)?,
            device_bytes: read(device_bytes, true)?,
            device_count: read(device_count, false)?,
        })
    }

    /// Which of them are used up already by what a destination holds, as text: nothing new of these is taken there.
    #[must_use]
    pub fn used_up(&self, there: &Statistics) -> Vec<String> {
        let mut all = Vec::new();
        let mut tell = |whose: &str, amount: Amount, bytes: Option<u64>, count: Option<u64>| {
            if let Some(limit) = bytes.filter(|limit| amount.content_bytes >= *limit) {
                all.push(format!("{whose} {} of {}", size_text(amount.content_bytes), size_text(limit)));
            }
            if let Some(limit) = count.filter(|limit| amount.copies >= *limit) {
                all.push(format!("{whose} {} of {limit} copies", amount.copies));
            }
        };
        tell("in all", there.total(), self.bytes, self.count);
        for tally in &there.tallies {
            tell(&tally.device_name, tally.amount, self.device_bytes, self.device_count);
        }
        all
    }

    /// Whether anything is bounded.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

/// A backend that refuses, as [`QuotaExceeded`](ErrorKind::QuotaExceeded), what would go over a quota; what is in the same
/// batch and fits is stored. Deleting, reading and verifying are as they were.
#[derive(Debug)]
pub struct Quota {
    inner: Arc<dyn StorageBackend>,
    limits: QuotaLimits,
    destination: DestinationId,
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    used: Mutex<HashMap<Option<DeviceId>, (Duration, Amount)>>,
    /// Whether there is one version of each artefact, of a device or in all.
    single: Mutex<HashMap<Option<DeviceId>, (Duration, bool)>>,
}

impl Quota {
    /// Bounds a backend. What is there is what the catalog knows of the destination.
    #[must_use]
    pub fn new(
        inner: Arc<dyn StorageBackend>,
        limits: QuotaLimits,
        destination: DestinationId,
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self { inner, limits, destination, catalog, clock, used: Mutex::default(), single: Mutex::default() })
    }

    /// What is there, of a device or in all.
    async fn used(&self, device: Option<&DeviceId>) -> Result<Amount> {
        let now = self.clock.monotonic();
        let known = self.used.lock().unwrap_or_else(PoisonError::into_inner).get(&device.cloned()).copied();
        if let Some((at, amount)) = known.filter(|(at, _)| now.saturating_sub(*at) < COUNTS_FOR) {
            let _ = at;
            return Ok(amount);
        }
        let query = StatisticsQuery {
            device: device.cloned(),
            destination: Some(self.destination.clone()),
            ..StatisticsQuery::default()
        };
        let amount = self.catalog.statistics(&query).await?.total();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of devices that nothing comes from any more are forgotten.
        used.retain(|_, (at, _)| now.saturating_sub(*at) < COUNTS_FOR);
        used.insert(device.cloned(), (now, amount));
        Ok(amount)
    }

    /// Whether what is there, of a device or in all, is one version of each artefact. Retention keeps the newest of each,
    /// and makes no room then.
    async fn is_single(&self, device: Option<&DeviceId>) -> Result<bool> {
        let now = self.clock.monotonic();
        let known = self.single.lock().unwrap_or_else(PoisonError::into_inner).get(&device.cloned()).copied();
        if let Some((_, single)) = known.filter(|(at, _)| now.saturating_sub(*at) < COUNTS_FOR) {
            return Ok(single);
        }
        let query = Query { device: device.cloned(), destination: Some(self.destination.clone()), ..Query::default() };
        let (mut artefacts, mut single) = (HashSet::new(), true);
        let mut found = self.catalog.every(&query);
        while let Some(backup) = found.try_next().await? {
            let is_here = backup.copies.iter().any(|c| c.destination == self.destination && takes_room(c));
            if is_here && !artefacts.insert((backup.device, backup.artefact)) {
                single = false;
                break;
            }
        }
        let mut known = self.single.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| now.saturating_sub(*at) < COUNTS_FOR);
        known.insert(device.cloned(), (now, single));
        Ok(single)
    }

    fn grown(&self, device: &DeviceId, by: Amount) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        for key in [None, Some(device.clone())] {
            if let Some((_, amount)) = used.get_mut(&key) {
                amount.add(by);
            }
        }
    }

    /// Refuses what would go over; `pending` came before in the same batch.
    async fn admit(&self, manifest: &Manifest, pending: &HashMap<Option<DeviceId>, Amount>) -> Result<()> {
        let device = &manifest.source.device;
        let scopes = [
            (None, "the destination", self.limits.bytes, self.limits.count),
            (Some(device), "the device", self.limits.device_bytes, self.limits.device_count),
        ];
        for (of, whose, bytes, count) in scopes {
            if bytes.is_none() && count.is_none() {
                continue;
            }
            let mut used = self.used(of).await?;
            used.add(pending.get(&of.cloned()).copied().unwrap_or_default());
            let (used, limit) = match (bytes, count) {
                (Some(limit), _) if used.content_bytes.saturating_add(manifest.size) > limit => {
                    (size_text(used.content_bytes), size_text(limit))
                }
                (_, Some(limit)) if used.copies + 1 > limit => {
                    (format!("{} copies", used.copies), format!("{limit} copies"))
                }
                _ => continue,
            };
            let hint = match self.is_single(of).await? {
                true => "raise the quota: retention makes no room, since it keeps the newest version of each artefact",
                false => "raise the quota, or apply retention",
            };
            return Err(Error::new(
                ErrorKind::QuotaExceeded,
                "store backup",
                format!("the quota of {whose} is used up"),
            )
            .with("destination", &self.destination)
            .with("device", &manifest.source.device_name)
            .with("quota", limit)
            .with("used", used)
            .hint(hint)
            .retry_advice(Retry::Never));
        }
        Ok(())
    }
}

/// Whether this much of a limit is told.
fn is_near(used: u64, limit: Option<u64>) -> Option<u128> {
    let part = u128::from(used) * 100 / u128::from(limit?.max(1));
    (part >= WARN_AT).then_some(part)
}

#[async_trait]
impl Layer for Quota {
    fn inner(&self) -> &dyn StorageBackend {
        &*self.inner
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let mut pending: HashMap<Option<DeviceId>, Amount> = HashMap::new();
        let mut admitted = Vec::new();
        let mut sizes = Vec::new();
        let mut verdicts = Vec::with_capacity(batch.len());
        for (entry, body) in batch {
            match self.admit(&entry.manifest, &pending).await {
                Ok(()) => {
                    let device = entry.manifest.source.device.clone();
                    let amount = Amount { copies: 1, content_bytes: entry.manifest.size };
                    pending.entry(None).or_default().add(amount);
                    pending.entry(Some(device.clone())).or_default().add(amount);
                    sizes.push((device, amount));
                    admitted.push((entry, body));
                    verdicts.push(None);
                }
                Err(e) => verdicts.push(Some(Err(e))),
            }
        }
        let stored = if admitted.is_empty() { Vec::new() } else { self.inner.store(admitted).await };
        for (verdict, (device, amount)) in stored.iter().zip(&sizes) {
            if verdict.is_ok() {
                self.grown(device, *amount);
            }
        }
        let mut stored = stored.into_iter();
        let silent = || Err(Error::new(ErrorKind::Internal, "store backup", "the backend gave no verdict"));
        verdicts.into_iter().map(|v| v.unwrap_or_else(|| stored.next().unwrap_or_else(silent))).collect()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        let deleted = self.inner.delete(refs).await;
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.single.lock().unwrap_or_else(PoisonError::into_inner).clear();
        deleted
    }

    /// With a probe that fails where four fifths of a quota are used.
    async fn check(&self) -> Result<Health> {
        let mut health = self.inner.check().await?;
        let query = StatisticsQuery { destination: Some(self.destination.clone()), ..StatisticsQuery::default() };
        let statistics = self.catalog.statistics(&query).await?;
        let total = statistics.total();
        let mut near = Vec::new();
        let mut tell = |whose: &str, amount: Amount, bytes, count| {
            let parts = [(is_near(amount.content_bytes, bytes), "bytes"), (is_near(amount.copies, count), "copies")];
            for (part, what) in parts {
                near.extend(part.map(|p| format!("{whose}: {p} % of the quota of {what} are used")));
            }
        };
        tell("in all", total, self.limits.bytes, self.limits.count);
        for tally in &statistics.tallies {
            tell(&tally.device_name, tally.amount, self.limits.device_bytes, self.limits.device_count);
        }
        let more = near.len().saturating_sub(3);
        near.truncate(3);
        if more > 0 {
            near.push(format!("and {more} more"));
        }
        let good = near.is_empty();
        let detail = if good { "less than four fifths are used".to_owned() } else { near.join("; ") };
        health.push("quota", good, detail);
        Ok(health)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read() {
        let options = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(QuotaLimits::from_options(&options("quota.count", "5")).unwrap().count, Some(5));
        for (name, value) in [("quota.count", "5 MB"), ("quota.bytes", "0"), ("quota.device_bytes", "much")] {
            assert_eq!(QuotaLimits::from_options(&options(name, value)).unwrap_err().kind(), ErrorKind::Config);
        }
        assert_eq!((is_near(79, Some(100)), is_near(80, Some(100)), is_near(80, None)), (None, Some(80), None));
    }
}
