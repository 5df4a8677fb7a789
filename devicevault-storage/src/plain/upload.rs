//! Large content on its way into a store: several parts at a time, within bounds of memory.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as StoreError, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Content of at most this many bytes is put into a store in one request; longer content in parts of this size, the
/// smallest that S3 takes.
pub(super) const PART: u64 = 5 * MIB;

const MIB: u64 = 1024 * 1024;

/// No store takes more parts of one object than this and some (S3 and Google: 10,000).
const MAX_PARTS: u64 = 9_000;

/// MiB of parts that all uploads of a backend hold: those that are being made and those that are on their way.
const MIB_AT_ONCE: u32 = 6 * 5;

/// Content that is not longer is put without asking for room.
const SMALL: u64 = 64 * 1024;

/// Room for parts in memory, which all uploads of a backend share.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MIB_AT_ONCE as usize)))
    }
}

/// Room that is taken, until it is dropped.
pub(super) struct Taken(#[allow(dead_code, reason = "held, not looked at")] Option<OwnedSemaphorePermit>);

impl Room {
    /// Waits for room for a part of content that will have about so many bytes.
    pub(super) async fn take(&self, len: u64) -> Taken {
        if len <= SMALL {
            return Taken(None);
        }
        let mib = u32::try_from(part_size(len).min(len).div_ceil(MIB)).unwrap_or(u32::MAX).clamp(1, MIB_AT_ONCE);
        // The semaphore is never closed.
        Taken(self.0.clone().acquire_many_owned(mib).await.ok())
    }
}

/// How large the parts of content of about so many bytes are.
pub(super) fn part_size(len: u64) -> u64 {
    len.div_ceil(MAX_PARTS).div_ceil(MIB).saturating_mul(MIB).max(PART)
}

/// Bytes that wait to become a part; none is copied.
#[derive(Default)]
pub(super) struct Parts {
    chunks: VecDeque<Bytes>,
    len: u64,
}

impl Parts {
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.len += chunk.len() as u64;
        self.chunks.push_back(chunk);
    }

    /// The first so many bytes, once there are more than that: what is last may be shorter, and is never empty.
    pub(super) fn full(&mut self, size: u64) -> Option<PutPayload> {
        (self.len > size).then(|| self.first(size))
    }

    /// All that is left.
    pub(super) fn rest(mut self) -> PutPayload {
        self.first(self.len)
    }

    fn first(&mut self, size: u64) -> PutPayload {
        let (mut part, mut missing) = (Vec::new(), size);
        while missing > 0
            && let Some(mut chunk) = self.chunks.pop_front()
        {
            let len = chunk.len() as u64;
            if len > missing {
                // Shorter than the chunk, so that it fits a usize.
                let rest = chunk.split_off(missing as usize);
                self.chunks.push_front(rest);
            }
            missing -= chunk.len() as u64;
            part.push(chunk);
        }
        self.len -= size - missing;
        part.into_iter().collect()
    }
}

/// An upload that is under way. Until it is [complete](Self::complete) nothing of it is seen; one that is given up, or
/// dropped, is told to the store, so that nothing of it stays there.
pub(super) struct Upload {
    upload: Option<Box<dyn MultipartUpload>>,
    running: JoinSet<Result<(), StoreError>>,
    at: Path,
}

impl Upload {
    pub(super) async fn begin(store: &dyn ObjectStore, at: &Path) -> Result<Self, StoreError> {
        let upload = Some(store.put_multipart(at).await?);
        Ok(Self { upload, running: JoinSet::new(), at: at.clone() })
    }

    /// Sends a part in the background. An error is that of an earlier part.
    pub(super) fn send(&mut self, part: PutPayload, room: Taken) -> Result<(), StoreError> {
        while let Some(done) = self.running.try_join_next() {
            sent(done)?;
        }
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let sending = upload.put_part(part);
        self.running.spawn(async move {
            let done = sending.await;
            drop(room);
            done
        });
        Ok(())
    }

    /// Waits for all parts, and gives the object its name.
    pub(super) async fn complete(&mut self) -> Result<(), StoreError> {
        while let Some(done) = self.running.join_next().await {
            sent(done)?;
        }
        let Some(upload) = &mut self.upload else { return Ok(()) };
        upload.complete().await?;
        self.upload = None;
        Ok(())
    }

    /// Gives it up.
    pub(super) async fn abandon(mut self) {
        if let Some(upload) = self.upload.take() {
            let running = std::mem::take(&mut self.running);
            abandon(upload, running, self.at.clone()).await;
        }
    }
}

async fn abandon(mut upload: Box<dyn MultipartUpload>, mut running: JoinSet<Result<(), StoreError>>, at: Path) {
    // A part that arrives after the end would stay.
    running.shutdown().await;
    if let Err(e) = upload.abort().await {
        tracing::warn!(path = %at, error = %e, "parts of an upload that was given up may stay in the store");
    }
}

fn sent(done: Result<Result<(), StoreError>, tokio::task::JoinError>) -> Result<(), StoreError> {
    done.unwrap_or_else(|e| Err(StoreError::Generic { store: "upload", source: Box::new(e) }))
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) {
            let running = std::mem::take(&mut self.running);
            runtime.spawn(abandon(upload, running, self.at.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_fit_every_store() {
        assert_eq!(part_size(0), PART);
        assert_eq!(part_size(250 * MIB), PART);
        for len in [PART * MAX_PARTS, PART * MAX_PARTS + 1, 5 << 40, u64::MAX / 2] {
            assert!(len.div_ceil(part_size(len)) <= MAX_PARTS, "{len}");
        }
    }

    #[tokio::test]
    async fn room_is_bounded_and_never_stuck() {
        let room = Room::default();
        let all: Vec<_> = futures::future::join_all((0..6).map(|_| room.take(250 * MIB))).await;
        assert_eq!(room.0.available_permits(), 0);
        let _small = room.take(SMALL).await;
        assert!(futures::poll!(std::pin::pin!(room.take(SMALL + 1))).is_pending());
        drop(all);
        // Of parts that are larger than all the room there is one at a time.
        let huge = room.take(u64::MAX / 2).await;
        assert_eq!(room.0.available_permits(), 0);
        drop(huge);
        assert_eq!(room.0.available_permits(), MIB_AT_ONCE as usize);
    }

    proptest! {
        #[test]
        fn parts_are_of_one_size_and_nothing_is_lost(
            lens in proptest::collection::vec(0_usize..700, 0..30),
            size in 1_u64..500,
        ) {
            let (mut parts, mut given, mut got) = (Parts::default(), Vec::new(), Vec::new());
            for (i, len) in lens.into_iter().enumerate() {
                let chunk = vec![i as u8; len];
                given.extend_from_slice(&chunk);
                parts.push(chunk.into());
                while let Some(part) = parts.full(size) {
                    prop_assert_eq!(part.content_length() as u64, size);
                    got.extend(part.into_iter().flatten());
                }
            }
            let rest = parts.rest();
            prop_assert!(rest.content_length() as u64 <= size);
            prop_assert!(given.is_empty() || rest.content_length() > 0);
            got.extend(rest.into_iter().flatten());
            prop_assert_eq!(got, given);
        }
    }
}
