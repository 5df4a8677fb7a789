//! Bytes on their way: streams, and bodies that can be read again.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::{Error, ErrorKind, Result, StorageBackend, StorageRef};

/// Chunks of bytes in order; the first error ends it.
pub type ByteStream<'a> = BoxStream<'a, Result<Bytes>>;

/// The content of one view of one artefact: known in length and readable more than once,
/// so that several destinations and retries can each take it.
///
/// # Contract
/// - [`read`](Body::read) yields exactly the bytes of the range, or ends in an error; never fewer without one.
/// - A range beyond the end is cut to the length. Readers are independent of one another.
/// - Dropping a reader ends it; dropping the last handle lets go of whatever holds the bytes.
pub trait Body: Debug + Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads all of it, or a range.
    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static>;
}

impl Body for Bytes {
    fn len(&self) -> u64 {
        Bytes::len(self) as u64
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        let len = Bytes::len(self) as u64;
        let (from, to) = range.map_or((0, len), |r| (r.start.min(len), r.end.clamp(r.start.min(len), len)));
        // Both ends are at most the length of a buffer in memory, so they fit a usize.
        let part = self.slice(from as usize..to as usize);
        futures::stream::iter((!part.is_empty()).then_some(Ok(part))).boxed()
    }
}

/// A copy at a destination as a body: read where it is, each time anew.
#[derive(Debug, Clone)]
pub struct StoredBody {
    backend: Arc<dyn StorageBackend>,
    at: StorageRef,
    length: u64,
}

impl StoredBody {
    /// The copy that the backend reads by this reference, of this many bytes.
    #[must_use]
    pub fn new(backend: Arc<dyn StorageBackend>, at: StorageRef, length: u64) -> Self {
        Self { backend, at, length }
    }
}

impl Body for StoredBody {
    fn len(&self) -> u64 {
        self.length
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        let (backend, at) = (self.backend.clone(), self.at.clone());
        stream::once(async move { backend.read(&at, range).await }).try_flatten().boxed()
    }
}

/// Reads a stream to its end, refusing more than `max` bytes.
///
/// # Errors
/// The stream's own, or [`ErrorKind::TooLarge`].
pub async fn read_to_vec(mut stream: ByteStream<'_>, max: u64) -> Result<Vec<u8>> {
    let mut out = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if out.len() as u64 + chunk.len() as u64 > max {
            return Err(Error::new(ErrorKind::TooLarge, "read content", format!("it is longer than {max} bytes")));
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_of_bytes_is_cut_to_its_length(data: Vec<u8>, a in 0u64..200, b in 0u64..200) {
            let body = Bytes::from(data.clone());
            let got = futures::executor::block_on(read_to_vec(body.read(Some(a..b)), u64::MAX)).unwrap();
            let want: Vec<u8> = data.iter().copied().enumerate()
                .filter(|(i, _)| (*i as u64) >= a && (*i as u64) < b).map(|(_, x)| x).collect();
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn reading_to_a_vec_is_bounded() {
        let body = Bytes::from_static(b"12345");
        assert!(futures::executor::block_on(read_to_vec(body.read(None), 4)).is_err());
        assert_eq!(futures::executor::block_on(read_to_vec(body.read(None), 5)).unwrap(), b"12345");
    }
}
