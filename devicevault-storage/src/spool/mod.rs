//! A spool on disk: where large bodies wait until they are stored, and what a destination could not take until it can.
//!
//! Everything in it is sealed under a key of the instance, in files of 0600 in folders of 0700. Each process has a folder of
//! its own, which it holds by a lock; what a dead process parked is taken over by the next one, what it had not parked
//! is deleted. The bytes of all processes count towards each one's bound as they are found when it starts.

mod body;
mod folder;
mod room;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::spool::{ParkId, Parked, ParkedLine, Spool, SpoolWriter};
use devicevault_core::{Body, Clock, Error, ErrorKind, Result};
use futures::TryStreamExt as _;
use uuid::Uuid;

use crate::seal::{EpochId, Key, Keyring};
use body::SpoolBody;
use folder::Folder;
use room::Room;
use writer::Writer;

/// How a spool is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolOptions {
    /// Bytes that it may hold; a writer waits for more.
    pub capacity: u64,
    /// How long something stays parked before it is given up.
    pub keep: Duration,
}

impl Default for SpoolOptions {
    /// 16 GiB, seven days.
    fn default() -> Self {
        Self { capacity: 16 << 30, keep: Duration::from_secs(7 * 24 * 3600) }
    }
}

impl SpoolOptions {
    /// Sets how many bytes it may hold.
    #[must_use]
    pub fn with_capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// Sets how long something stays parked.
    #[must_use]
    pub fn with_keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }
}

/// The id under which the spool's key stands in the headers of its files.
const SPOOL_KEY: EpochId = EpochId(Uuid::nil());

/// A [`Spool`] in a folder. Clones share it.
#[derive(Debug, Clone)]
pub struct DiskSpool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Folder,
    key: Key,
    ring: Keyring,
    room: Room,
    parked: Mutex<BTreeMap<ParkId, Parked>>,
}

impl DiskSpool {
    /// Opens the spool in `folder`, which is made where it is missing, and takes over what dead processes parked.
    /// What was parked longer than the options keep it is deleted.
    ///
    /// # Errors
    /// What the file system answers; `Corrupt` when a parked item does not open under this key.
    pub async fn open(folder: impl Into<PathBuf>, key: Key, options: SpoolOptions, clock: &dyn Clock) -> Result<Self> {
        let (root, now) = (folder.into(), clock.now());
        let ring = Keyring::of_one(SPOOL_KEY, key.clone());
        let (folder, found) = blocking(move || Folder::open(&root)).await?;
        let mut parked = BTreeMap::new();
        let mut bytes = 0;
        for id in found {
            let (item, length) = folder.read_item(id, &ring).await?;
            let oldest = now.checked_sub(options.keep).unwrap_or(devicevault_core::Timestamp::MIN);
            if item.entry.manifest.taken_at < oldest {
                tracing::warn!(event = "parked_expired", device = %item.entry.manifest.source.device_name,
                    storage_backend = %item.destination, artefact = %item.entry.manifest.artefact);
                folder.remove(id).await?;
                continue;
            }
            bytes += length;
            parked.insert(id, item);
        }
        let room = Room::new(options.capacity, bytes);
        Ok(Self(Arc::new(Inner { folder, key, ring, room, parked: Mutex::new(parked) })))
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, BTreeMap<ParkId, Parked>> {
        self.0.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are spooled now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.room.used()
    }
}

#[async_trait]
impl Spool for DiskSpool {
    fn is_durable(&self) -> bool {
        true
    }

    async fn pending_of(&self, line: &ParkedLine) -> Result<Vec<(ParkId, Parked)>> {
        let parked = self.parked();
        let of_line = parked.iter().filter(|(_, item)| item.destination == line.destination && item.line() == *line);
        Ok(of_line.map(|(id, item)| (*id, item.clone())).collect())
    }

    async fn create(&self) -> Result<Box<dyn SpoolWriter>> {
        Ok(Box::new(Writer::new(self.0.clone(), Uuid::now_v7()).await?))
    }

    async fn park(&self, item: &Parked, body: Arc<dyn Body>) -> Result<ParkId> {
        let id = Uuid::now_v7();
        let mut writer = Writer::new(self.0.clone(), id).await?;
        let mut bytes = body.read(None);
        while let Some(chunk) = bytes.try_next().await? {
            writer.append(&chunk).await?;
        }
        let length = writer.park(item).await?;
        if length != body.len() {
            return Err(Error::new(ErrorKind::Incomplete, "park backup", "the body ended early"));
        }
        self.parked().insert(ParkId(id), item.clone());
        Ok(ParkId(id))
    }

    async fn pending(&self) -> Result<Vec<(ParkId, Parked)>> {
        // Ids are ordered by the time of their making.
        Ok(self.parked().iter().map(|(id, item)| (*id, item.clone())).collect())
    }

    async fn open(&self, id: ParkId) -> Result<Arc<dyn Body>> {
        let missing =
            || Error::new(ErrorKind::NotFound, "open parked body", "nothing is parked under this id").with("id", id.0);
        if !self.parked().contains_key(&id) {
            return Err(missing());
        }
        let file = self.0.folder.body(id.0);
        Ok(Arc::new(SpoolBody::open(file, &self.0.ring).await?))
    }

    async fn remove(&self, id: ParkId) -> Result<()> {
        if self.parked().remove(&id).is_none() {
            return Ok(());
        }
        let length = self.0.folder.remove(id).await?;
        self.0.room.give_back(length);
        Ok(())
    }
}

/// Runs what waits for a disk beside the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let died = |e| Error::new(ErrorKind::Internal, "use spool", "the worker thread ended").because(e);
    tokio::task::spawn_blocking(work).await.map_err(died)?
}

fn of_io(operation: &'static str, path: &std::path::Path, e: std::io::Error) -> Error {
    crate::fault::of_io(operation, path.display(), e)
}
