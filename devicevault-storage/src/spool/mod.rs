//! A spool on disk: where large bodies wait until they are stored, and what a destination could not take until it can.
//!
//! Everything in it is sealed under a key of the instance, in files of 0600 in folders of 0700. What is parked belongs to
//! no process: each that opens the spool sees it, and two that deliver at once do no harm, since storing is idempotent.
//! What is not parked goes with its process: it holds its folder by a lock, and the next one to open the spool deletes
//! the folders of dead ones.

mod body;
mod folder;
mod room;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::body::read_to_vec;
use devicevault_core::spool::{ParkId, Parked, ParkedLine, Spool, SpoolWriter};
use devicevault_core::{Body, Clock, Error, ErrorKind, Result, Timestamp};
use futures::{StreamExt as _, TryStreamExt as _};
use uuid::Uuid;

use crate::seal::{EpochId, Key, Keyring, SealOptions, Sealed, seal};
use crate::space::{Guard, Keep};
use body::SpoolBody;
use folder::{Folder, Place, line_name};
use room::Room;
use writer::Writer;

/// How a spool is bounded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SpoolOptions {
    /// Bytes of bodies that it may hold beside what is parked; a writer waits for more.
    pub capacity: u64,
    /// Bytes that may be parked. Beyond, parking is refused: a destination that is gone for good fills no disk, and
    /// holds nobody up.
    pub parked: u64,
    /// How long something stays parked before it is given up, with the next try to deliver it.
    pub keep: Duration,
    /// How much of its file system it leaves free, beside what the others bound: the catalog is there too. What would take
    /// from that is refused at once.
    pub free: Option<Keep>,
    /// Whether anything is parked at all: elsewhere what a destination cannot take is a failure.
    pub parks: bool,
}

impl Default for SpoolOptions {
    /// 16 GiB each, seven days.
    fn default() -> Self {
        let keep = Duration::from_secs(7 * 24 * 3600);
        Self { capacity: 16 << 30, parked: 16 << 30, keep, free: None, parks: true }
    }
}

impl SpoolOptions {
    /// Sets how many bytes of bodies it may hold.
    #[must_use]
    pub fn with_capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// Sets how many bytes may be parked.
    #[must_use]
    pub fn with_parked(mut self, bytes: u64) -> Self {
        self.parked = bytes;
        self
    }

    /// Sets how long something stays parked.
    #[must_use]
    pub fn with_keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// Sets how much it leaves free.
    #[must_use]
    pub fn with_free(mut self, free: Option<Keep>) -> Self {
        self.free = free;
        self
    }

    /// Sets whether anything is parked.
    #[must_use]
    pub fn with_parks(mut self, parks: bool) -> Self {
        self.parks = parks;
        self
    }
}

/// The id under which the spool's key stands in the headers of its files.
const SPOOL_KEY: EpochId = EpochId(Uuid::nil());

/// An item is a manifest and a few words.
const MAX_ITEM: u64 = 4 << 20;

/// A [`Spool`] in a folder. Clones share it.
#[derive(Debug, Clone)]
pub struct DiskSpool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Folder,
    key: Key,
    ring: Keyring,
    options: SpoolOptions,
    clock: Arc<dyn Clock>,
    room: Arc<Room>,
    parked: Arc<Room>,
    free: Option<Guard>,
}

impl DiskSpool {
    /// Opens the spool in `folder`, which is made where it is missing, and deletes what dead processes had not parked.
    ///
    /// # Errors
    /// What the file system answers.
    pub async fn open(
        folder: impl Into<PathBuf>,
        key: Key,
        options: SpoolOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let root = folder.into();
        let ring = Keyring::of_one(SPOOL_KEY, key.clone());
        let free = options.free.map(|keep| Guard::new(root.clone(), keep));
        let (folder, bytes) = blocking(move || {
            let folder = Folder::open(&root)?;
            let bytes = folder.parked()?.iter().map(Place::length).sum();
            Ok((folder, bytes))
        })
        .await?;
        let (room, parked) = (Room::new(options.capacity, 0), Room::new(options.parked, bytes));
        let (room, parked) = (Arc::new(room), Arc::new(parked));
        Ok(Self(Arc::new(Inner { folder, key, ring, options, clock, room, parked, free })))
    }

    /// Bytes that are spooled now, as far as this process knows.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.room.used() + self.0.parked.used()
    }
}

impl Inner {
    /// Refuses bytes that would take from what is to stay free.
    async fn leaves_free(&self, bytes: u64) -> Result<()> {
        let Some(guard) = &self.free else { return Ok(()) };
        let admitted = guard.admit_to("spool artefact", bytes).await;
        admitted.map_err(|e| e.hint("free some space, or lower spool.free in the configuration"))
    }

    async fn seal_item(&self, item: &Parked) -> Result<Vec<u8>> {
        let broken =
            |e| Error::new(ErrorKind::Internal, "park backup", "the item cannot be written as JSON").because(e);
        let json = Bytes::from(serde_json::to_vec(item).map_err(broken)?);
        let input = futures::stream::iter([Ok(json)]).boxed();
        let (_, sealed) = seal(input, SPOOL_KEY, &self.key, &SealOptions::default()).await?;
        read_to_vec(sealed, MAX_ITEM).await
    }

    /// What a place holds; `None` where that is gone or does not open.
    async fn item(self: &Arc<Self>, place: &Place) -> Result<Option<Parked>> {
        let at = place.clone();
        let Some(sealed) = blocking(move || at.read_item()).await? else { return Ok(None) };
        match self.open_item(sealed).await {
            Ok(item) => Ok(Some(item)),
            Err(e) => {
                let (this, at) = (self.clone(), place.clone());
                let aside = blocking(move || this.folder.set_aside(&at)).await?;
                tracing::error!(event = "parked_damaged", path = %aside.display(), error = %e.to_record().message);
                Ok(None)
            }
        }
    }

    async fn open_item(&self, sealed: Vec<u8>) -> Result<Parked> {
        let opened = Sealed::open(Arc::new(Bytes::from(sealed)), &self.ring).await?;
        let json = read_to_vec(opened.read(None), MAX_ITEM).await?;
        let broken = |e| Error::new(ErrorKind::Corrupt, "read parked backup", "it is not a parked item").because(e);
        serde_json::from_slice(&json).map_err(broken)
    }

    async fn items(self: &Arc<Self>, places: Vec<Place>) -> Result<Vec<(ParkId, Parked)>> {
        let mut items = Vec::with_capacity(places.len());
        for place in places {
            if let Some(item) = self.item(&place).await? {
                items.push((place.id, item));
            }
        }
        Ok(items)
    }

    async fn let_go(self: Arc<Self>, place: Place) -> Result<()> {
        blocking(move || {
            if let Some(length) = self.folder.remove(&place)? {
                self.parked.give_back(length);
            }
            Ok(())
        })
        .await
    }

    async fn find(self: &Arc<Self>, id: ParkId) -> Result<Option<Place>> {
        let this = self.clone();
        blocking(move || this.folder.find(id)).await
    }
}

#[async_trait]
impl Spool for DiskSpool {
    fn is_durable(&self) -> bool {
        self.0.options.parks
    }

    fn capacity(&self) -> Option<u64> {
        Some(self.0.options.capacity)
    }

    fn is_overdue(&self, item: &Parked) -> bool {
        let oldest = self.0.clock.now().checked_sub(self.0.options.keep).unwrap_or(Timestamp::MIN);
        item.entry.manifest.taken_at < oldest
    }

    async fn create(&self) -> Result<Box<dyn SpoolWriter>> {
        Ok(Box::new(Writer::new(self.0.clone(), Uuid::now_v7()).await?))
    }

    async fn park(&self, item: &Parked, body: Arc<dyn Body>) -> Result<ParkId> {
        let id = Uuid::now_v7();
        let mut writer = Writer::new(self.0.clone(), id).await?.for_parking();
        let mut bytes = body.read(None);
        while let Some(chunk) = bytes.try_next().await? {
            writer.append(&chunk).await?;
        }
        if writer.length() != body.len() {
            return Err(Error::new(ErrorKind::Incomplete, "park backup", "the body ended early"));
        }
        let sealed = self.0.seal_item(item).await?;
        writer.park(line_name(&item.line(), &self.0.key), sealed).await?;
        Ok(ParkId(id))
    }

    async fn pending(&self) -> Result<Vec<(ParkId, Parked)>> {
        let this = self.0.clone();
        let places = blocking(move || {
            let places = this.folder.parked()?;
            // What other processes parked and removed meanwhile counts too.
            this.parked.set(places.iter().map(Place::length).sum());
            Ok(places)
        })
        .await?;
        self.0.items(places).await
    }

    async fn pending_of(&self, line: &ParkedLine) -> Result<Vec<(ParkId, Parked)>> {
        let (this, name) = (self.0.clone(), line_name(line, &self.0.key));
        let places = blocking(move || this.folder.parked_in(&name)).await?;
        self.0.items(places).await
    }

    async fn open(&self, id: ParkId) -> Result<Arc<dyn Body>> {
        let missing =
            || Error::new(ErrorKind::NotFound, "open parked body", "nothing is parked under this id").with("id", id.0);
        let place = self.0.find(id).await?.ok_or_else(missing)?;
        match SpoolBody::open(place.body(), &self.0.ring).await {
            Ok(body) => Ok(Arc::new(body)),
            // Both go by one rename: a body that alone is gone was lost, and is waited for in vain.
            Err(e) if e.kind() == ErrorKind::NotFound && self.0.find(id).await?.is_some() => {
                Err(e.as_kind(ErrorKind::Corrupt))
            }
            Err(e) => Err(e),
        }
    }

    async fn remove(&self, id: ParkId) -> Result<()> {
        match self.0.find(id).await? {
            Some(place) => self.0.clone().let_go(place).await,
            None => Ok(()),
        }
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
