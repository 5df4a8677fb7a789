//! Bodies as they arrive: small ones in memory, larger ones in the spool.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sha2::Digest as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::backlog::Share;
use crate::body::{Body, ByteStream};
use crate::spool::SpoolWriter;
use crate::{Digest, Result, Spool};

/// Memory is counted in pages of this many bytes.
const PAGE: usize = 4096;

/// The memory that small bodies share.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pages: Arc<Semaphore>,
    small: usize,
}

impl Memory {
    pub(super) fn new(bytes: usize, small: usize) -> Self {
        Self { pages: Arc::new(Semaphore::new(bytes.div_ceil(PAGE).min(Semaphore::MAX_PERMITS))), small }
    }
}

/// One view's bytes, hashed and counted as they come; kept only where somebody wants them.
#[derive(Debug)]
pub(super) struct ViewWriter {
    hash: sha2::Sha256,
    len: u64,
    keep: Option<Keep>,
}

#[derive(Debug)]
enum Keep {
    Memory { buffer: BytesMut, permits: Vec<OwnedSemaphorePermit>, room: usize },
    Spool(Box<dyn SpoolWriter>),
}

/// A view that is whole.
#[derive(Debug, Clone)]
pub(super) struct ViewBody {
    pub(super) size: u64,
    pub(super) sha256: Digest,
    pub(super) body: Option<Arc<dyn Body>>,
}

impl ViewWriter {
    pub(super) fn new(keep: bool) -> Self {
        let keep = keep.then(|| Keep::Memory { buffer: BytesMut::new(), permits: Vec::new(), room: 0 });
        Self { hash: sha2::Sha256::new(), len: 0, keep }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) async fn write(
        &mut self,
        chunk: Bytes,
        memory: &Memory,
        spool: &dyn Spool,
        share: &Share,
    ) -> Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.hash.update(&chunk);
        self.len += chunk.len() as u64;
        match &mut self.keep {
            None => Ok(()),
            Some(Keep::Spool(writer)) => share.write(writer.as_mut(), chunk).await,
            Some(Keep::Memory { buffer, permits, room }) => {
                let needed = buffer.len() + chunk.len();
                if needed <= memory.small && grow(needed, room, permits, memory) {
                    buffer.extend_from_slice(&chunk);
                    return Ok(());
                }
                let mut writer = spool.create().await?;
                share.write(writer.as_mut(), std::mem::take(buffer).freeze()).await?;
                share.write(writer.as_mut(), chunk).await?;
                self.keep = Some(Keep::Spool(writer));
                Ok(())
            }
        }
    }

    pub(super) async fn finish(self, share: &Share) -> Result<ViewBody> {
        let body: Option<Arc<dyn Body>> = match self.keep {
            None => None,
            Some(Keep::Spool(writer)) => Some(share.finish(writer).await?),
            Some(Keep::Memory { buffer, permits, .. }) => {
                Some(Arc::new(Held { bytes: buffer.freeze(), _permits: permits }))
            }
        };
        Ok(ViewBody { size: self.len, sha256: Digest(self.hash.finalize().into()), body })
    }
}

/// Takes memory up to `needed` bytes; `false`: there is none left.
fn grow(needed: usize, room: &mut usize, permits: &mut Vec<OwnedSemaphorePermit>, memory: &Memory) -> bool {
    if needed <= *room {
        return true;
    }
    // At least doubled, so that a text that comes in small chunks asks seldom.
    let pages = (needed - *room).max(*room).min(memory.small - *room).max(needed - *room).div_ceil(PAGE);
    let Ok(count) = u32::try_from(pages) else { return false };
    let Ok(permit) = memory.pages.clone().try_acquire_many_owned(count) else { return false };
    permits.push(permit);
    *room += pages * PAGE;
    true
}

/// A small body and the memory that it takes.
#[derive(Debug)]
struct Held {
    bytes: Bytes,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Body for Held {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        self.bytes.read(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;
    use crate::body::read_to_vec;
    use crate::engine::backlog::Backlog;
    use crate::spool::MemorySpool;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_wherever_it_is_kept(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..12), memory in 0usize..20_000, small in 0usize..20_000) {
            futures::executor::block_on(async {
                let (memory, spool) = (Memory::new(memory, small), MemorySpool::new(1 << 20));
                let share = Backlog::new(Arc::new(SystemClock), None).share();
                let mut writer = ViewWriter::new(true);
                for c in &chunks { writer.write(Bytes::from(c.clone()), &memory, &spool, &share).await.unwrap(); }
                let view = writer.finish(&share).await.unwrap();
                let all = chunks.concat();
                prop_assert_eq!(view.size, all.len() as u64);
                prop_assert_eq!(view.sha256, Digest::of(&all));
                prop_assert_eq!(read_to_vec(view.body.unwrap().read(None), 1 << 20).await.unwrap(), all);
                Ok(())
            })?;
        }
    }

    #[tokio::test]
    async fn memory_is_given_back() {
        let (memory, spool) = (Memory::new(8 * PAGE, 4 * PAGE), MemorySpool::new(1 << 20));
        let mut writer = ViewWriter::new(true);
        let share = Backlog::new(Arc::new(SystemClock), None).share();
        writer.write(vec![1; 3 * PAGE].into(), &memory, &spool, &share).await.unwrap();
        let view = writer.finish(&share).await.unwrap();
        assert_eq!(memory.pages.available_permits(), 5);
        drop(view);
        assert_eq!(memory.pages.available_permits(), 8);
    }
}
