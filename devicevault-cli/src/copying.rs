//! Copying the backups of a destination to another.
//!
//! A copy is stored under the entry that its backup was taken as, so that storing it again is the same copy, and recorded
//! after it is durable: cut off at any moment, the next time goes on where it ended. While a device's versions are
//! copied, no run of it stores, so that they arrive in the order of their taking.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::body::StoredBody;
use devicevault_core::catalog::{Lease, Query};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::run::{Backup, Copy, CopyStatus, Outcome};
use devicevault_core::storage::StorageBackendExt as _;
use devicevault_core::{
    BackupId, Body, DeviceId, Digest, Entry, Error, ErrorKind, ErrorRecord, Kind, Manifest, Result, StorageBackend,
    Transform, View,
};
use futures::{StreamExt as _, stream};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::apart::{self, Apart};
use crate::instance::Instance;
use crate::ui::Ui;
use crate::ui::progress::counter;
use crate::{views, wiring};

/// Devices whose versions are copied at a time.
const DEVICES_AT_ONCE: usize = 8;
/// Versions that go in one batch.
const BATCH: usize = 64;
/// A text whose view is made is read into memory; no larger one is.
const MAX_TEXT: u64 = 256 << 20;
/// Views that are made for one batch hold no more bytes in memory, but for the one that goes over it.
const BATCH_BYTES: u64 = 16 << 20;
/// How long nobody else talks to a device whose versions are copied; taken anew with each batch.
pub(crate) const LEASE: Duration = Duration::from_secs(120);
/// How long a device that is being backed up is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(500);

/// What became of the versions.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Copied {
    pub(crate) copied: usize,
    /// They were there already.
    pub(crate) there: usize,
    /// Binaries, for a destination that does not keep originals.
    pub(crate) no_binaries: usize,
    /// Older than what an ordered destination has.
    pub(crate) too_old: usize,
    pub(crate) failed: Vec<Failed>,
    /// The same by reason, for people.
    #[serde(skip)]
    pub(crate) apart: Vec<Apart>,
}

impl Copied {
    fn fail(&mut self, backup: &Backup, at: &DestinationConfig, e: &Error) {
        apart::add(&mut self.apart, &at.name, e);
        self.failed.push(Failed {
            device: backup.device_name.clone(),
            artefact: backup.artefact.clone(),
            backup: backup.id,
            error: e.to_record(),
        });
    }
}

/// A version that could not be copied.
#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    pub(crate) device: String,
    pub(crate) artefact: String,
    pub(crate) backup: BackupId,
    pub(crate) error: ErrorRecord,
}

/// What is to be copied.
#[derive(Debug)]
pub(crate) struct Plan {
    from: (DestinationConfig, Arc<dyn StorageBackend>),
    to: (DestinationConfig, Arc<dyn StorageBackend>),
    /// Oldest first.
    work: BTreeMap<DeviceId, Vec<Backup>>,
    left: Copied,
}

fn is_good(c: &Copy) -> bool {
    matches!(c.status, CopyStatus::Stored | CopyStatus::Extended)
}

/// Looks at what is to be copied. No devices given: of all.
///
/// # Errors
/// A destination cannot be opened; `Config` where a view cannot be made from the other; what the catalog answers.
pub(crate) async fn plan(
    instance: &Instance,
    from: DestinationConfig,
    to: DestinationConfig,
    devices: &[DeviceId],
) -> Result<Plan> {
    if from.view != to.view && from.view != View::Original {
        return Err(Error::new(ErrorKind::Config, "copy backups", "its view cannot be made from the other's")
            .with("from", from.view)
            .with("to", to.view)
            .hint("copy from a destination that keeps originals"));
    }
    let source = instance.open_backend(&from, false).await?;
    let target = instance.open_backend(&to, false).await?;
    let mut query = Query::default();
    query.destination = Some(from.id.clone());
    let mut all = if devices.is_empty() { instance.find_all(&query, usize::MAX).await? } else { Vec::new() };
    for device in devices {
        query.device = Some(device.clone());
        all.extend(instance.find_all(&query, usize::MAX).await?);
    }
    all.sort_by_key(|b| (b.first_seen, b.id));
    let newest = newest_at(instance, &to, target.capability().ordered).await?;
    let mut plan = Plan { from: (from, source), to: (to, target), work: BTreeMap::new(), left: Copied::default() };
    let mut seen = BTreeSet::new();
    for backup in all.into_iter().filter(|b| seen.insert(b.id)) {
        plan.sort_in(backup, &newest);
    }
    Ok(plan)
}

type Newest = BTreeMap<(DeviceId, String), (devicevault_core::Timestamp, BackupId)>;

/// The newest version of each artefact at a destination where versions have to arrive in order.
async fn newest_at(instance: &Instance, to: &DestinationConfig, ordered: bool) -> Result<Newest> {
    let mut newest = Newest::new();
    if !ordered {
        return Ok(newest);
    }
    let mut query = Query::default();
    query.destination = Some(to.id.clone());
    for b in instance.find_all(&query, usize::MAX).await? {
        if b.copies.iter().any(|c| c.destination == to.id && c.view == to.view && is_good(c)) {
            let at = (b.first_seen, b.id);
            let entry = newest.entry((b.device, b.artefact)).or_insert(at);
            *entry = at.max(*entry);
        }
    }
    Ok(newest)
}

impl Plan {
    fn sort_in(&mut self, backup: Backup, newest: &Newest) {
        let (from, to) = (&self.from.0, &self.to.0);
        let view = if backup.kind == Kind::Binary { View::Original } else { to.view };
        let has = |d: &DestinationConfig, v: View| {
            backup.copies.iter().any(|c| c.destination == d.id && c.view == v && is_good(c))
        };
        let later = newest.get(&(backup.device.clone(), backup.artefact.clone()));
        if has(to, view) {
            self.left.there += 1;
        } else if backup.kind == Kind::Binary && !wiring::takes_binaries(to) {
            self.left.no_binaries += 1;
        } else if later.is_some_and(|at| *at > (backup.first_seen, backup.id)) {
            self.left.too_old += 1;
        } else if backup.copies.iter().any(|c| c.destination == from.id && is_good(c)) {
            self.work.entry(backup.device.clone()).or_default().push(backup);
        }
    }

    fn count(&self) -> usize {
        self.work.values().map(Vec::len).sum()
    }

    /// What carrying it out would do, if all went well.
    pub(crate) fn foretold(self) -> Copied {
        Copied { copied: self.count(), ..self.left }
    }

    /// Copies. What goes wrong with a version is told with it; the others go on.
    ///
    /// # Errors
    /// What the catalog answers.
    pub(crate) async fn carry_out(mut self, instance: &Instance, ui: &Ui) -> Result<Copied> {
        let bar = counter(ui, self.count(), "copies");
        let (work, mut done) = (std::mem::take(&mut self.work), std::mem::take(&mut self.left));
        let plan = &self;
        let each = work.into_iter().map(|(device, versions)| {
            let bar = bar.clone();
            async move { plan.device(instance, &device, versions, &bar).await }
        });
        let mut all = stream::iter(each).buffer_unordered(DEVICES_AT_ONCE);
        while let Some(one) = all.next().await {
            let one = one?;
            done.copied += one.copied;
            done.failed.extend(one.failed);
            apart::merge(&mut done.apart, one.apart);
        }
        bar.finish_and_clear();
        Ok(done)
    }

    async fn device(
        &self,
        instance: &Instance,
        device: &DeviceId,
        versions: Vec<Backup>,
        bar: &ProgressBar,
    ) -> Result<Copied> {
        let mut done = Copied::default();
        let mut versions = versions.into_iter().peekable();
        let mut lease = wait_for(instance, device).await?;
        while versions.peek().is_some() {
            lease = match instance.catalog.renew(&lease, LEASE).await? {
                Some(lease) => lease,
                None => wait_for(instance, device).await?,
            };
            let mut batch = Vec::new();
            let mut bytes = 0;
            while batch.len() < BATCH && bytes < BATCH_BYTES {
                let Some(backup) = versions.next() else { break };
                match self.entry(instance, &backup).await {
                    Ok((entry, body, copy)) => {
                        bytes += if self.from.0.view == self.to.0.view { 0 } else { copy.size };
                        batch.push((backup, entry, body, copy));
                    }
                    Err(e) => {
                        done.fail(&backup, &self.from.0, &e);
                        bar.inc(1);
                    }
                }
            }
            bar.inc(batch.len() as u64);
            self.store(instance, batch, &mut done).await?;
        }
        instance.catalog.release(&lease).await?;
        Ok(done)
    }

    /// Stores a batch, and records what was stored.
    async fn store(
        &self,
        instance: &Instance,
        batch: Vec<(Backup, Entry, Arc<dyn Body>, Copy)>,
        done: &mut Copied,
    ) -> Result<()> {
        let largest = self.to.1.capability().max_batch.max(1);
        let mut rest = batch.into_iter().peekable();
        while rest.peek().is_some() {
            let part: Vec<_> = rest.by_ref().take(largest).collect();
            let entries = part.iter().map(|(_, entry, body, _)| (entry.clone(), body.clone())).collect();
            let mut verdicts = self.to.1.store(entries).await.into_iter();
            for (mut backup, _, _, mut copy) in part {
                let silent = || Err(Error::new(ErrorKind::Internal, "copy backup", "the backend gave no verdict"));
                match verdicts.next().unwrap_or_else(silent) {
                    Ok(at) => {
                        copy.storage_ref = Some(at);
                        backup.copies = vec![copy];
                        instance.catalog.record(backup.run, vec![Outcome::Backup(backup)]).await?;
                        done.copied += 1;
                    }
                    Err(e) => done.fail(&backup, &self.to.0, &e.with("destination", &self.to.0.name)),
                }
            }
        }
        Ok(())
    }

    /// A version as it is to be stored there, and the record of it.
    async fn entry(&self, instance: &Instance, backup: &Backup) -> Result<(Entry, Arc<dyn Body>, Copy)> {
        let (from, source) = (&self.from.0, &self.from.1);
        let gone = || Error::new(ErrorKind::NotFound, "copy backup", "its record does not say where it is");
        let copy = backup.copies.iter().find(|c| c.destination == from.id && is_good(c)).ok_or_else(gone)?;
        let at = copy.storage_ref.as_ref().ok_or_else(gone)?;
        let mut manifest = source.stat(at).await?;
        if manifest.backup != backup.id {
            return Err(Error::new(ErrorKind::Corrupt, "copy backup", "another backup is in its place").with("at", at));
        }
        // What was done on the way into the one store is not done on the way into the other.
        manifest.transforms.retain(|t| !matches!(t, Transform::Compressed { .. } | Transform::Sealed { .. }));
        manifest.metadata.clone_from(&backup.metadata);
        let to = if backup.kind == Kind::Binary { View::Original } else { self.to.0.view };
        if copy.view != to && copy.view != View::Original {
            let why = format!("it is no original there, but the {} view: something was taken out of it", copy.view);
            return Err(Error::new(ErrorKind::Unsupported, "copy backup", why).with("backup", backup.id));
        }
        let body: Arc<dyn Body> = if copy.view == to {
            Arc::new(StoredBody::new(source.clone(), at.clone(), manifest.size))
        } else {
            let original = source.read_all(at, MAX_TEXT).await?;
            if Digest::of(&original) != manifest.sha256 {
                return Err(Error::new(ErrorKind::Corrupt, "copy backup", "its bytes are not what was stored"));
            }
            Arc::new(made(instance, &mut manifest, original.into(), to)?)
        };
        let now = instance.now();
        let mut stored = Copy::new(self.to.0.id.clone(), to, manifest.size, manifest.sha256, now);
        stored.status = CopyStatus::Stored;
        stored.attempts = 1;
        stored.last_seen = copy.last_seen;
        let mut entry = Entry::new(manifest);
        entry.summary = format!("{}: {} copied from {}", backup.device_name, backup.artefact, from.name);
        Ok((entry, body, stored))
    }
}

/// Another view of an original, and the manifest that goes with it.
fn made(instance: &Instance, manifest: &mut Manifest, original: Bytes, to: View) -> Result<Bytes> {
    let bytes = Bytes::from(views::make(&instance.collectors, &instance.key, manifest, original, to)?);
    manifest.view = to;
    manifest.size = bytes.len() as u64;
    manifest.sha256 = Digest::of(&bytes);
    manifest.transforms.push(Transform::Volatile);
    if to == View::Redacted {
        manifest.transforms.push(Transform::Masked);
    }
    Ok(bytes)
}

/// The right to store of a device, once no run has it.
pub(crate) async fn wait_for(instance: &Instance, device: &DeviceId) -> Result<Lease> {
    let waited = async {
        loop {
            if let Some(lease) = instance.catalog.lease(device, LEASE).await? {
                return Ok(lease);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Conflict, "copy backups", "a run holds the device").with("device", device))
    })
}
