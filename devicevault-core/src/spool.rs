//! Where bytes wait between the device and its destinations.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::body::{Body, ByteStream};
use crate::{DestinationId, DeviceId, Entry, Error, ErrorKind, Result};

/// Names a parked item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParkId(pub Uuid);

/// What waits for a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Where it is to go.
    pub destination: DestinationId,
    /// What is to be stored.
    pub entry: Entry,
    /// How often it was tried.
    pub attempts: u32,
}

/// Versions of one artefact of one device on their way to one destination: they arrive in the order of their taking.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParkedLine {
    /// Where to.
    pub destination: DestinationId,
    /// The device.
    pub device: DeviceId,
    /// The artefact.
    pub artefact: String,
}

impl Parked {
    /// Which line it waits in.
    #[must_use]
    pub fn line(&self) -> ParkedLine {
        ParkedLine {
            destination: self.destination.clone(),
            device: self.entry.manifest.source.device.clone(),
            artefact: self.entry.manifest.artefact.clone(),
        }
    }
}

/// Holds bodies that are too large for memory, and what a destination could not take at once.
///
/// # Contract
/// - Bounded: [`SpoolWriter::write`] waits while it is full; collection waits with it.
/// - A body lives as long as a handle to it; what is not parked is gone with the last one.
/// - What [`park`](Spool::park) returned from survives a restart, where the spool is durable.
#[async_trait]
pub trait Spool: Debug + Send + Sync {
    /// Whether what is parked survives the process. The engine parks only where it does: elsewhere a destination that was
    /// down is caught up by the next run.
    fn is_durable(&self) -> bool {
        false
    }
    /// Bytes of bodies that it may hold beside what is parked; `None` where it does not say.
    fn capacity(&self) -> Option<u64> {
        None
    }
    /// Begins a body.
    async fn create(&self) -> Result<Box<dyn SpoolWriter>>;
    /// Keeps an item and its body until it is removed.
    async fn park(&self, item: &Parked, body: Arc<dyn Body>) -> Result<ParkId>;
    /// What is parked, oldest first.
    async fn pending(&self) -> Result<Vec<(ParkId, Parked)>>;
    /// What is parked of one artefact of a device for a destination, oldest first.
    async fn pending_of(&self, line: &ParkedLine) -> Result<Vec<(ParkId, Parked)>> {
        Ok(self.pending().await?.into_iter().filter(|(_, item)| item.line() == *line).collect())
    }
    /// Whether an item was parked for as long as it is kept. It is there still: whoever delivers it tries once more, and lets
    /// go of it where its destination does not take it then.
    fn is_overdue(&self, _item: &Parked) -> bool {
        false
    }
    /// The body of a parked item.
    async fn open(&self, id: ParkId) -> Result<Arc<dyn Body>>;
    /// Lets go of a parked item; missing is `Ok`.
    async fn remove(&self, id: ParkId) -> Result<()>;
}

/// A body that is being written. Dropping it discards what was written.
#[async_trait]
pub trait SpoolWriter: Debug + Send {
    /// Appends; waits while the spool is full.
    async fn write(&mut self, chunk: Bytes) -> Result<()>;
    /// The body is whole.
    async fn finish(self: Box<Self>) -> Result<Arc<dyn Body>>;
}

const UNIT: usize = 4096;

/// A spool in memory, bounded in bytes; what is parked does not survive the process.
#[derive(Debug, Clone)]
pub struct MemorySpool {
    room: Arc<Semaphore>,
    capacity: usize,
    parked: Arc<Mutex<ParkedBodies>>,
}

type ParkedBodies = BTreeMap<ParkId, (Parked, Arc<dyn Body>)>;

impl MemorySpool {
    /// Holds about `capacity` bytes (rounded up to 4 KiB).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let units = capacity.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(units)), capacity: units, parked: Arc::default() }
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, ParkedBodies> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Spool for MemorySpool {
    fn capacity(&self) -> Option<u64> {
        Some((self.capacity * UNIT) as u64)
    }

    async fn create(&self) -> Result<Box<dyn SpoolWriter>> {
        Ok(Box::new(MemoryWriter { spool: self.clone(), chunks: Vec::new(), permits: Vec::new(), len: 0, room: 0 }))
    }

    async fn park(&self, item: &Parked, body: Arc<dyn Body>) -> Result<ParkId> {
        let id = ParkId(Uuid::now_v7());
        self.parked().insert(id, (item.clone(), body));
        Ok(id)
    }

    async fn pending(&self) -> Result<Vec<(ParkId, Parked)>> {
        Ok(self.parked().iter().map(|(id, (item, _))| (*id, item.clone())).collect())
    }

    async fn open(&self, id: ParkId) -> Result<Arc<dyn Body>> {
        let missing = || Error::new(ErrorKind::NotFound, "open parked body", "nothing is parked under this id");
        self.parked().get(&id).map(|(_, body)| body.clone()).ok_or_else(missing)
    }

    async fn remove(&self, id: ParkId) -> Result<()> {
        self.parked().remove(&id);
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryWriter {
    spool: MemorySpool,
    chunks: Vec<Bytes>,
    permits: Vec<OwnedSemaphorePermit>,
    len: u64,
    room: u64,
}

#[async_trait]
impl SpoolWriter for MemoryWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let missing = (self.len + chunk.len() as u64).saturating_sub(self.room);
        if missing > 0 {
            let units = usize::try_from(missing).unwrap_or(usize::MAX).div_ceil(UNIT);
            if self.permits.iter().map(OwnedSemaphorePermit::num_permits).sum::<usize>() + units > self.spool.capacity {
                return Err(Error::new(ErrorKind::TooLarge, "spool artefact", "it is larger than the spool")
                    .with("spool bytes", self.spool.capacity * UNIT)
                    .hint("raise the spool's capacity"));
            }
            let closed = |e| Error::new(ErrorKind::Internal, "spool artefact", "the spool is closed").because(e);
            let units32 = u32::try_from(units).unwrap_or(u32::MAX);
            self.permits.push(self.spool.room.clone().acquire_many_owned(units32).await.map_err(closed)?);
            self.room += (units * UNIT) as u64;
        }
        self.len += chunk.len() as u64;
        self.chunks.push(chunk);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Arc<dyn Body>> {
        Ok(Arc::new(MemoryBody { chunks: self.chunks.into(), len: self.len, _permits: self.permits }))
    }
}

#[derive(Debug)]
struct MemoryBody {
    chunks: Arc<[Bytes]>,
    len: u64,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Body for MemoryBody {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        let (from, to) = range.map_or((0, self.len), |r| (r.start, r.end.min(self.len)));
        let chunks = self.chunks.clone();
        let mut at = 0_u64;
        let parts = (0..chunks.len()).filter_map(move |i| {
            let chunk = chunks.get(i)?;
            let (begin, end) = (at, at + chunk.len() as u64);
            at = end;
            let (a, b) = (from.max(begin), to.min(end));
            (a < b).then(|| Ok(chunk.slice((a - begin) as usize..(b - begin) as usize)))
        });
        futures::stream::iter(parts).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::read_to_vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_over_chunks_are_exact(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..9), a in 0u64..90, b in 0u64..90) {
            futures::executor::block_on(async {
                let spool = MemorySpool::new(1 << 20);
                let mut w = spool.create().await.unwrap();
                for c in &chunks { w.write(Bytes::from(c.clone())).await.unwrap(); }
                let body = w.finish().await.unwrap();
                let all: Vec<u8> = chunks.concat();
                prop_assert_eq!(body.len(), all.len() as u64);
                let want: Vec<u8> = all.iter().copied().enumerate().filter(|(i, _)| (*i as u64) >= a && (*i as u64) < b).map(|(_, x)| x).collect();
                prop_assert_eq!(read_to_vec(body.read(Some(a..b)), 1000).await.unwrap(), want);
                Ok(())
            })?;
        }
    }

    #[tokio::test]
    async fn a_full_spool_waits_and_goes_on_when_a_body_is_dropped() {
        let spool = MemorySpool::new(2 * UNIT);
        let mut first = spool.create().await.unwrap();
        first.write(vec![0; 2 * UNIT].into()).await.unwrap();
        let body = first.finish().await.unwrap();
        let mut second = spool.create().await.unwrap();
        let mut waits = Box::pin(second.write(Bytes::from_static(b"x")));
        assert!(futures::poll!(&mut waits).is_pending());
        drop(body);
        waits.await.unwrap();
        let mut third = spool.create().await.unwrap();
        assert_eq!(third.write(vec![0; 3 * UNIT].into()).await.unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
