//! Streaming compression: what happens to bytes between a body and a store, and on the way back.
//!
//! A step of the way is a coder: it takes bytes, gives bytes, and holds no more than its window. [`Compression`] is
//! the first of them; steps are chained by feeding the stream of one to the next.
//!
//! Every step works in pieces of at most 64 KiB and lets other tasks run between them. Memory is bounded by the
//! coder's window (8 MiB at most when decoding), never by the content. Decoding has a bound on what comes out, so that
//! a small hostile object cannot become a large one.

mod checked;
mod coder;
mod gzip;
mod zstd;

use std::fmt;
use std::str::FromStr;

use devicevault_core::{ByteStream, Error, ErrorKind, Result, Transform};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

pub(crate) use checked::{exactly, pieces};
use coder::transform;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// Zstandard (RFC 8878), level 3, one frame with a checksum.
    #[default]
    Zstd,
    /// gzip (RFC 1952), for where others must read it.
    Gzip,
}

impl Compression {
    /// `none`, `zstd` or `gzip`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What is appended to a file name: `.zst`, `.gz` or nothing.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// What a manifest says of it.
    #[must_use]
    pub fn transform(self) -> Option<Transform> {
        (self != Self::None).then(|| Transform::Compressed { codec: self.as_str().to_owned() })
    }

    /// Compresses a stream. `size` is its length, where it is known: it is written into the frame and bounds the
    /// memory that a reader needs.
    #[must_use]
    pub fn encode(self, input: ByteStream<'static>, size: Option<u64>) -> ByteStream<'static> {
        let coder = match self {
            Self::None => return input,
            Self::Zstd => zstd::encoder(size),
            Self::Gzip => gzip::encoder(),
        };
        start(coder, input)
    }

    /// Decompresses a stream into at most `max` bytes.
    ///
    /// The stream ends in [`ErrorKind::Corrupt`] when the bytes are damaged, end early, go on behind their end, or
    /// open to more than `max`.
    #[must_use]
    pub fn decode(self, input: ByteStream<'static>, max: u64) -> ByteStream<'static> {
        let opened = match self {
            Self::None => input,
            Self::Zstd => start(zstd::decoder(), input),
            Self::Gzip => start(gzip::decoder(), input),
        };
        bounded(opened, max)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "none" => Ok(Self::None),
            "zstd" => Ok(Self::Zstd),
            "gzip" => Ok(Self::Gzip),
            _ => Err(Error::new(ErrorKind::Config, "read compression", "a compression is none, zstd or gzip")
                .with("value", s.escape_debug())),
        }
    }
}

/// A coder on a stream, or the error that kept it from beginning.
fn start(coder: Result<Box<dyn coder::Coder>>, input: ByteStream<'static>) -> ByteStream<'static> {
    match coder {
        Ok(coder) => transform(input, coder),
        Err(e) => futures::stream::iter([Err(e)]).boxed(),
    }
}

fn bounded(input: ByteStream<'static>, max: u64) -> ByteStream<'static> {
    input
        .scan((0_u64, false), move |(seen, over), chunk| {
            if *over {
                return std::future::ready(None);
            }
            let passed = chunk.and_then(|bytes| {
                *seen = seen.saturating_add(bytes.len() as u64);
                if *seen <= max { Ok(bytes) } else { Err(damaged(format!("it opens to more than {max} bytes"))) }
            });
            *over = passed.is_err();
            std::future::ready(Some(passed))
        })
        .boxed()
}

fn damaged(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, "decompress backup", message)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use devicevault_core::body::read_to_vec;
    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;

    const ALL: [Compression; 3] = [Compression::None, Compression::Zstd, Compression::Gzip];

    fn pieces(data: &[u8], size: usize) -> ByteStream<'static> {
        let chunks: Vec<Result<Bytes>> = data.chunks(size.max(1)).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        futures::stream::iter(chunks).boxed()
    }

    fn encode(how: Compression, data: &[u8], piece: usize) -> Vec<u8> {
        block_on(read_to_vec(how.encode(pieces(data, piece), Some(data.len() as u64)), u64::MAX)).unwrap()
    }

    fn decode(how: Compression, data: &[u8], piece: usize, max: u64) -> Result<Vec<u8>> {
        block_on(read_to_vec(how.decode(pieces(data, piece), max), u64::MAX))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_goes_in_comes_out(data in proptest::collection::vec(0u8..7, 0..300_000), a in 1usize..200_000, b in 1usize..70_000) {
            for how in ALL {
                let packed = encode(how, &data, a);
                prop_assert_eq!(&decode(how, &packed, b, data.len() as u64).unwrap(), &data);
                if !data.is_empty() {
                    prop_assert_eq!(decode(how, &packed, b, data.len() as u64 - 1).unwrap_err().kind(), ErrorKind::Corrupt);
                }
            }
        }

        #[test]
        fn any_bytes_decode_or_are_refused(data in proptest::collection::vec(any::<u8>(), 0..2_000), piece in 1usize..64) {
            for (how, magic) in [(Compression::Zstd, &b"\x28\xb5\x2f\xfd"[..]), (Compression::Gzip, b"\x1f\x8b\x08\x00")] {
                let _ = decode(how, &data, piece, 10_000);
                let _ = decode(how, &[magic, &data].concat(), piece, 10_000);
            }
        }
    }

    #[test]
    fn cut_flipped_and_lengthened_streams_are_damaged() {
        let data = b"interface Loopback0\n ip address 192.0.2.1 255.255.255.255\n".repeat(9);
        for how in [Compression::Zstd, Compression::Gzip] {
            let packed = encode(how, &data, 100);
            for len in 0..packed.len() {
                assert_eq!(
                    decode(how, &packed[..len], 50, 1 << 20).unwrap_err().kind(),
                    ErrorKind::Corrupt,
                    "{how} {len}"
                );
            }
            for trailing in [&b"x"[..], &packed] {
                let longer = [packed.as_slice(), trailing].concat();
                assert_eq!(decode(how, &longer, 50, 1 << 20).unwrap_err().kind(), ErrorKind::Corrupt, "{how}");
            }
            for i in 0..packed.len() {
                let mut bad = packed.clone();
                bad[i] ^= 0x20;
                // The header of gzip holds bytes without meaning for the content (time, system).
                if let Ok(same) = decode(how, &bad, 50, 1 << 20) {
                    assert_eq!(same, data, "{how} {i}");
                }
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_unfolds() {
        for how in [Compression::Zstd, Compression::Gzip] {
            let bomb = block_on(read_to_vec(
                how.encode(
                    futures::stream::iter((0..640).map(|_| Ok(Bytes::from_static(&[0; 65_536])))).boxed(),
                    Some(640 * 65_536),
                ),
                u64::MAX,
            ))
            .unwrap();
            let mut out = how.decode(pieces(&bomb, usize::MAX), 1_000_000);
            let mut seen = 0;
            let error = loop {
                match block_on(out.next()).unwrap() {
                    Ok(bytes) => {
                        assert!(bytes.len() <= 512 * 1024, "{how}: pieces stay small");
                        seen += bytes.len();
                    }
                    Err(e) => break e,
                }
            };
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(seen <= 1_000_000);
            assert!(block_on(out.next()).is_none(), "the first error ends it");
        }
    }

    #[test]
    fn a_huge_window_is_refused() {
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        for _ in 0..300 {
            std::io::Write::write_all(&mut encoder, &[7; 65_536]).unwrap();
        }
        let packed = encoder.finish().unwrap();
        assert_eq!(decode(Compression::Zstd, &packed, 1000, 1 << 30).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn errors_of_the_source_pass_through() {
        let fail = || Error::new(ErrorKind::Timeout, "read", "slow");
        for how in ALL {
            let input = futures::stream::iter([Ok(Bytes::from_static(b"abc")), Err(fail())]).boxed();
            assert_eq!(block_on(read_to_vec(how.encode(input, None), 100)).unwrap_err().kind(), ErrorKind::Timeout);
            let input = futures::stream::iter([Err(fail())]).boxed();
            assert_eq!(block_on(read_to_vec(how.decode(input, 100), 100)).unwrap_err().kind(), ErrorKind::Timeout);
        }
    }

    #[test]
    fn names_read_back() {
        for how in ALL {
            assert_eq!(how.as_str().parse::<Compression>().unwrap(), how);
        }
        assert!("lzma".parse::<Compression>().is_err());
    }
}
