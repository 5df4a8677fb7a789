//! Bodies that misbehave as they are told.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::body::ByteStream;
use devicevault_core::{Body, Error, ErrorKind};
use futures::stream::StreamExt as _;

/// A body in memory that is read in pieces, and fails, ends early or tells a wrong length where told to.
///
/// ```
/// use devicevault_core::{Body, body::read_to_vec};
/// use devicevault_testkit::bodies::ScriptedBody;
///
/// # futures::executor::block_on(async {
/// let body = ScriptedBody::new("hostname a").in_pieces_of(3);
/// assert_eq!(read_to_vec(body.read(None), 100).await.unwrap(), b"hostname a");
/// assert!(read_to_vec(body.failing_at(4).read(None), 100).await.is_err());
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct ScriptedBody {
    content: Bytes,
    piece: usize,
    fails_at: Option<u64>,
    ends_at: Option<u64>,
    claims: Option<u64>,
    yields: bool,
}

impl ScriptedBody {
    /// Well-behaved, in one piece.
    pub fn new(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self { piece: content.len().max(1), content, fails_at: None, ends_at: None, claims: None, yields: false }
    }

    /// Yields pieces of so many bytes (at least one).
    #[must_use]
    pub fn in_pieces_of(mut self, bytes: usize) -> Self {
        self.piece = bytes.max(1);
        self
    }

    /// Ends in an `Unavailable` error once so many bytes were read.
    #[must_use]
    pub fn failing_at(mut self, offset: u64) -> Self {
        self.fails_at = Some(offset);
        self
    }

    /// Ends after so many bytes without an error, against the contract of [`Body`].
    #[must_use]
    pub fn ending_at(mut self, offset: u64) -> Self {
        self.ends_at = Some(offset);
        self
    }

    /// Tells this length, whatever it is.
    #[must_use]
    pub fn claiming(mut self, len: u64) -> Self {
        self.claims = Some(len);
        self
    }

    /// Lets other tasks run before each piece, so that its reader has many points to be cancelled at.
    #[must_use]
    pub fn yielding(mut self) -> Self {
        self.yields = true;
        self
    }

    /// As a trait object.
    #[must_use]
    pub fn shared(self) -> Arc<dyn Body> {
        Arc::new(self)
    }
}

impl Body for ScriptedBody {
    fn len(&self) -> u64 {
        self.claims.unwrap_or(self.content.len() as u64)
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        let len = self.content.len() as u64;
        let range = range.unwrap_or(0..len);
        let end = range.end.min(len).min(self.ends_at.unwrap_or(len));
        let (this, start) = (self.clone(), range.start.min(end));
        futures::stream::unfold(Some(start), move |at| {
            let this = this.clone();
            async move {
                let at = at?;
                if this.yields {
                    tokio::task::yield_now().await;
                }
                let fail = this.fails_at;
                if fail.is_some_and(|f| at >= f) {
                    let why = format!("the body was told to fail after {at} bytes");
                    return Some((Err(Error::new(ErrorKind::Unavailable, "read body", why)), None));
                }
                if at >= end {
                    return None;
                }
                let to = (at + this.piece as u64).min(end).min(fail.unwrap_or(end));
                // Both lie within a buffer in memory, so they fit a usize.
                Some((Ok(this.content.slice(at as usize..to as usize)), Some(to)))
            }
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devicevault_core::body::read_to_vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_is_exact_however_the_body_is_cut(content: Vec<u8>, piece in 0usize..40, a in 0u64..150, b in 0u64..150) {
            let body = ScriptedBody::new(content.clone()).in_pieces_of(piece);
            let got = futures::executor::block_on(read_to_vec(body.read(Some(a..b)), u64::MAX)).unwrap();
            let want: Vec<u8> = content.iter().copied().enumerate()
                .filter(|(i, _)| (*i as u64) >= a && (*i as u64) < b).map(|(_, x)| x).collect();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn a_failing_body_yields_what_is_before_its_fault_and_then_the_fault(len in 0usize..100, piece in 1usize..40, at in 0u64..120) {
            let body = ScriptedBody::new(vec![7; len]).in_pieces_of(piece).failing_at(at);
            let items: Vec<_> = futures::executor::block_on(body.read(None).collect());
            let bytes: usize = items.iter().flatten().map(Bytes::len).sum();
            let failed = items.last().is_some_and(Result::is_err);
            prop_assert_eq!(bytes as u64, at.min(len as u64));
            prop_assert_eq!(failed, at <= len as u64);
            prop_assert_eq!(items.iter().filter(|i| i.is_err()).count(), usize::from(failed));
        }
    }
}
