//! How much two binary contents have in common.
//!
//! Both are cut where their own bytes say so (FastCDC, Xia et al., USENIX ATC 2016), so that what was moved, or stands
//! behind something that was put in, is found again. Both are read as streams; what is kept is a hash for each chunk.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use fastcdc::v2020::FastCDC;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use crate::body::ByteStream;
use crate::{Digest, Result};

/// The mean length of a chunk of small contents.
const MEAN: u64 = 16 << 10;
/// Of large ones so many chunks are made, about.
const CHUNKS: u64 = 64 << 10;
/// The longest mean, which bounds the memory that a chunk takes while it is cut.
const LONGEST_MEAN: u64 = 1 << 20;

/// What two contents share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Likeness {
    /// Length of the older one, in bytes.
    pub old: u64,
    /// Length of the newer one, in bytes.
    pub new: u64,
    /// Bytes of the newer one in chunks that the older one has too.
    pub common: u64,
}

impl Likeness {
    /// The part of the newer content that the older one has too, from 0 to 1; of nothing, all.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.new == 0 { 1.0 } else { self.common as f64 / self.new as f64 }
    }
}

/// Compares two contents. `expected` is the length of the longer one as far as it is known: it chooses how fine the
/// chunks are, so that contents of any length are compared in some megabytes of memory.
///
/// # Errors
/// What the streams end in.
///
/// ```
/// # use bytes::Bytes;
/// # use devicevault_core::{Body as _, likeness::likeness};
/// # futures::executor::block_on(async {
/// let old = Bytes::from(vec![7; 200_000]);
/// let found = likeness(old.read(None), old.read(None), 200_000).await?;
/// assert_eq!((found.common, found.share()), (200_000, 1.0));
/// # devicevault_core::Result::<()>::Ok(()) }).unwrap();
/// ```
pub async fn likeness(old: ByteStream<'_>, new: ByteStream<'_>, expected: u64) -> Result<Likeness> {
    let mean = (expected / CHUNKS).next_power_of_two().clamp(MEAN, LONGEST_MEAN);
    let mut known: HashSet<Digest> = HashSet::new();
    let mut chunks = Chunks::new(old, mean);
    let mut found = Likeness { old: 0, new: 0, common: 0 };
    while let Some(chunk) = chunks.next().await? {
        found.old += chunk.len() as u64;
        known.insert(Digest::of(&chunk));
    }
    let mut chunks = Chunks::new(new, mean);
    while let Some(chunk) = chunks.next().await? {
        found.new += chunk.len() as u64;
        if known.contains(&Digest::of(&chunk)) {
            found.common += chunk.len() as u64;
        }
    }
    Ok(found)
}

/// A stream, cut by its content.
struct Chunks<'a> {
    stream: ByteStream<'a>,
    buffer: BytesMut,
    ended: bool,
    mean: usize,
}

impl<'a> Chunks<'a> {
    fn new(stream: ByteStream<'a>, mean: u64) -> Self {
        // At most LONGEST_MEAN, so it fits.
        Self { stream: stream.fuse().boxed(), buffer: BytesMut::new(), ended: false, mean: mean as usize }
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        let (shortest, longest) = (self.mean / 4, self.mean * 4);
        // Where a chunk ends does not depend on what comes after its longest.
        while !self.ended && self.buffer.len() < longest {
            match self.stream.try_next().await? {
                Some(more) => self.buffer.extend_from_slice(&more),
                None => self.ended = true,
            }
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let (_, end) = FastCDC::new(&self.buffer, shortest, self.mean, longest).cut(0, self.buffer.len());
        Ok(Some(self.buffer.split_to(end.clamp(1, self.buffer.len())).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body as _, Error, ErrorKind};
    use futures::executor::block_on;
    use proptest::prelude::*;

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = vec![0; len];
        random.fill(&mut bytes);
        bytes
    }

    /// In pieces of any length.
    fn stream(bytes: &[u8], piece: usize) -> ByteStream<'static> {
        let pieces: Vec<_> = bytes.chunks(piece.max(1)).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        futures::stream::iter(pieces).boxed()
    }

    fn of(old: &[u8], new: &[u8]) -> Likeness {
        block_on(likeness(stream(old, 70_001), stream(new, 1000), old.len().max(new.len()) as u64)).unwrap()
    }

    #[test]
    fn what_was_put_in_at_the_beginning_leaves_the_rest_in_common() {
        let old = noise(2 << 20, 1);
        let new = [&noise(1000, 2)[..], &old].concat();
        let found = of(&old, &new);
        assert_eq!((found.old, found.new), (old.len() as u64, new.len() as u64));
        assert!(found.share() > 0.9, "{found:?}");
    }

    #[test]
    fn strangers_have_nothing_in_common_and_equals_all() {
        let (a, b) = (noise(1 << 20, 3), noise(1 << 20, 4));
        assert_eq!(of(&a, &b).common, 0);
        assert_eq!(of(&a, &a).share(), 1.0);
        assert_eq!(of(&a, &[]).share(), 1.0);
        assert_eq!(of(&[], &a).share(), 0.0);
    }

    #[test]
    fn an_error_of_a_stream_is_the_answer() {
        let broken = Error::new(ErrorKind::Corrupt, "read backup", "a segment is damaged");
        let old = futures::stream::iter([Ok(Bytes::from_static(b"abc")), Err(broken)]).boxed();
        let e = block_on(likeness(old, Bytes::new().read(None), 3)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn chunks_are_the_content_however_it_arrives(len in 0usize..600_000, seed: u64, piece in 1usize..100_000) {
            let bytes = noise(len, seed);
            let cut = |piece| {
                let mut chunks = Chunks::new(stream(&bytes, piece), MEAN);
                let mut all = Vec::new();
                while let Some(chunk) = block_on(chunks.next()).unwrap() {
                    all.push(chunk);
                }
                all
            };
            let one = cut(piece);
            prop_assert_eq!(one.concat(), bytes.clone());
            prop_assert!(one.iter().all(|c| !c.is_empty() && c.len() as u64 <= 4 * MEAN));
            prop_assert_eq!(one, cut(len + 1));
        }
    }
}
