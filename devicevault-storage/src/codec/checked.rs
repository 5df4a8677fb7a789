//! A stream that must be what a manifest says.

use bytes::Bytes;
use devicevault_core::{ByteStream, Digest, Error, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

/// Hashed and handed on at a time.
const PIECE: usize = 256 * 1024;

/// Cuts chunks that are large, so that nobody works on one for long.
pub(crate) fn pieces(input: ByteStream<'static>) -> ByteStream<'static> {
    let cut = |mut chunk: Bytes| {
        std::iter::from_fn(move || {
            let len = chunk.len().min(PIECE);
            (len > 0).then(|| Ok(chunk.split_to(len)))
        })
    };
    input
        .map_ok(move |chunk| {
            futures::stream::iter(cut(chunk)).then(|piece| async {
                tokio::task::yield_now().await;
                piece
            })
        })
        .try_flatten()
        .boxed()
}

struct Checking<F> {
    input: ByteStream<'static>,
    hash: Sha256,
    seen: u64,
    held: Option<Bytes>,
    fault: F,
}

/// Passes a stream on when it has this length and hash, and ends in the error that `fault` makes otherwise.
///
/// The last chunk is held back until the hash is known: nobody reads to the expected length without having been told
/// that the content is right.
pub(crate) fn exactly<F>(input: ByteStream<'static>, size: u64, sha256: Digest, fault: F) -> ByteStream<'static>
where
    F: Fn(String) -> Error + Send + 'static,
{
    let start = Some(Checking { input, hash: Sha256::new(), seen: 0, held: None, fault });
    futures::stream::try_unfold(start, move |state| async move {
        let Some(mut c) = state else { return Ok(None) };
        loop {
            let Some(chunk) = c.input.next().await else { break };
            let chunk = chunk?;
            if chunk.is_empty() {
                continue;
            }
            c.seen = c.seen.saturating_add(chunk.len() as u64);
            if c.seen > size {
                return Err((c.fault)(format!("there are more than the {size} bytes that the manifest says")));
            }
            c.hash.update(&chunk);
            if let Some(before) = c.held.replace(chunk) {
                return Ok(Some((before, Some(c))));
            }
        }
        if c.seen != size {
            return Err((c.fault)(format!("there are {} bytes, the manifest says {size}", c.seen)));
        }
        let found = Digest(c.hash.clone().finalize().into());
        if found != sha256 {
            return Err((c.fault)(format!("the content hashes to {found}, the manifest says {sha256}")));
        }
        Result::Ok(c.held.take().map(|last| (last, None)))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use devicevault_core::ErrorKind;
    use devicevault_core::body::read_to_vec;
    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;

    fn fault(message: String) -> Error {
        Error::new(ErrorKind::Incomplete, "test", message)
    }

    proptest! {
        #[test]
        fn only_the_right_bytes_reach_the_expected_length(data: Vec<u8>, piece in 1usize..20, cut in 0usize..40, flip in 0usize..40) {
            let of = |d: &[u8]| futures::stream::iter(d.chunks(piece).map(|c| Ok(Bytes::copy_from_slice(c))).collect::<Vec<_>>()).boxed();
            let run = |d: &[u8]| {
                let mut s = exactly(of(d), data.len() as u64, Digest::of(&data), fault);
                block_on(async move {
                    let mut seen = 0;
                    while let Some(c) = s.next().await {
                        match c { Ok(c) => seen += c.len(), Err(_) => return (seen, false) }
                    }
                    (seen, true)
                })
            };
            prop_assert_eq!(run(&data), (data.len(), true));
            prop_assert!(!run(&[&data[..], b"x"].concat()).1);
            if cut < data.len() {
                prop_assert!(!run(&data[..cut]).1);
            }
            if flip < data.len() {
                let mut bad = data.clone();
                bad[flip] ^= 1;
                let (seen, good) = run(&bad);
                prop_assert!(!good && seen < data.len());
            }
        }
    }

    #[test]
    fn large_chunks_are_cut() {
        let all = Bytes::from(vec![7; 3 * PIECE + 1]);
        let cut: Vec<_> =
            block_on(pieces(futures::stream::iter([Ok(Bytes::new()), Ok(all.clone())]).boxed()).try_collect()).unwrap();
        assert_eq!(cut.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE, PIECE, PIECE, 1]);
        assert_eq!(cut.concat(), all);
    }

    #[test]
    fn empty_content_is_content() {
        let s = exactly(futures::stream::empty().boxed(), 0, Digest::of(b""), fault);
        assert_eq!(block_on(read_to_vec(s, 1)).unwrap(), b"");
    }
}
