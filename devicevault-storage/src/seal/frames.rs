//! The compressed payload: zstd frames of 1 MiB each, and the table that finds them.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use devicevault_core::{Error, ErrorKind, Result};
use zstd::bulk;
use zstd::zstd_safe::CParameter;

/// Bytes of plaintext in a frame.
pub(super) const BLOCK: usize = 1 << 20;
/// What a frame may add to bytes that do not compress.
const MAX_FRAME: u64 = (BLOCK + BLOCK / 128 + 1024) as u64;

const TABLE_MAGIC: u32 = 0x184D_2A5E;
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
/// Bytes of the footer: number of frames, descriptor, magic.
pub(super) const FOOTER: usize = 9;
/// Bytes before the entries: magic and size.
const HEAD: usize = 8;
const ENTRY: usize = 8;

/// Compresses blocks at one level. A context is a few MiB that are costly to set up: those that are done with serve
/// again, on whichever thread.
pub(super) struct Packer {
    level: i32,
    idle: Mutex<Vec<bulk::Compressor<'static>>>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Packer {
    pub(super) fn new(level: i32) -> Self {
        Self { level, idle: Mutex::default() }
    }

    /// Compresses one block into one frame with content size and checksum.
    pub(super) fn pack(&self, block: &[u8]) -> Result<Vec<u8>> {
        let refused = |e| Error::new(ErrorKind::Internal, "compress", "zstd refused").because(e);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut compressor = match idle {
            Some(compressor) => compressor,
            None => {
                let mut new = bulk::Compressor::new(self.level).map_err(refused)?;
                new.set_parameter(CParameter::ChecksumFlag(true)).map_err(refused)?;
                new
            }
        };
        let frame = compressor.compress(block).map_err(refused)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(compressor);
        Ok(frame)
    }
}

/// Decompresses one frame into exactly `size` bytes.
pub(super) fn decompress(frame: &[u8], size: usize) -> Result<Vec<u8>> {
    let damaged = || Error::new(ErrorKind::Corrupt, "open sealed object", "a compressed frame is damaged");
    let block = bulk::decompress(frame, size).map_err(|e| damaged().because(e))?;
    if block.len() == size { Ok(block) } else { Err(damaged()) }
}

/// Where the frames are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SeekTable {
    /// Compressed and decompressed length of each.
    frames: Vec<(u32, u32)>,
}

/// One frame: its place in the payload and in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) payload: u64,
    pub(super) compressed: u64,
    pub(super) content: u64,
    pub(super) size: u64,
}

impl SeekTable {
    pub(super) fn push(&mut self, compressed: usize, size: usize) -> Result<()> {
        let long = |_| Error::new(ErrorKind::Internal, "seal", "a frame is too long for the seek table");
        self.frames.push((u32::try_from(compressed).map_err(long)?, u32::try_from(size).map_err(long)?));
        Ok(())
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let many = |_| Error::new(ErrorKind::TooLarge, "seal", "the content has too many frames for a seek table");
        let size = u32::try_from(self.frames.len() * ENTRY + FOOTER).map_err(many)?;
        let count = u32::try_from(self.frames.len()).map_err(many)?;
        let mut out = Vec::with_capacity(HEAD + size as usize);
        out.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        for (compressed, content) in &self.frames {
            out.extend_from_slice(&compressed.to_le_bytes());
            out.extend_from_slice(&content.to_le_bytes());
        }
        out.extend_from_slice(&count.to_le_bytes());
        out.push(0);
        out.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
        Ok(out)
    }

    /// How many bytes at the end of a payload the table takes, from its last [`FOOTER`] bytes.
    pub(super) fn length(footer: &[u8], payload: u64) -> Result<u64> {
        let [a, b, c, d, descriptor, magic @ ..] = footer else { return Err(damaged("it has no footer")) };
        let count = u32::from_le_bytes([*a, *b, *c, *d]);
        if magic != FOOTER_MAGIC.to_le_bytes() || *descriptor != 0 {
            return Err(damaged("it has no footer"));
        }
        let length = (HEAD + FOOTER) as u64 + u64::from(count) * ENTRY as u64;
        if length > payload { Err(damaged("it is longer than the payload")) } else { Ok(length) }
    }

    /// Reads a table of a payload of `payload` bytes.
    pub(super) fn parse(table: &[u8], payload: u64) -> Result<Self> {
        let too_short = || damaged("it is too short");
        let footer = table.len().checked_sub(FOOTER).and_then(|at| table.get(at..)).ok_or_else(too_short)?;
        if Self::length(footer, payload)? != table.len() as u64 {
            return Err(too_short());
        }
        let entries = table.get(HEAD..table.len() - FOOTER).ok_or_else(too_short)?;
        let mut frames = Vec::with_capacity(entries.len() / ENTRY);
        let mut sum = 0_u64;
        for entry in entries.chunks_exact(ENTRY) {
            let [a, b, c, d, e, f, g, h] = entry else { return Err(too_short()) };
            let (compressed, content) = (u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h]));
            sum += u64::from(compressed);
            if content as usize > BLOCK || u64::from(compressed) > MAX_FRAME {
                return Err(damaged("a frame in it is longer than it may be"));
            }
            frames.push((compressed, content));
        }
        if sum + table.len() as u64 != payload {
            return Err(damaged("its frames are not as long as the payload"));
        }
        Ok(Self { frames })
    }

    /// Length of the stream.
    pub(super) fn content(&self) -> u64 {
        self.frames.iter().map(|(_, content)| u64::from(*content)).sum()
    }

    /// The frames that a range of the stream touches.
    pub(super) fn touched(&self, range: &std::ops::Range<u64>) -> Vec<Frame> {
        let (mut payload, mut content) = (0, 0);
        let mut out = Vec::new();
        for (compressed, size) in &self.frames {
            let frame = Frame { payload, compressed: u64::from(*compressed), content, size: u64::from(*size) };
            if frame.content < range.end && frame.content + frame.size > range.start {
                out.push(frame);
            }
            payload += frame.compressed;
            content += frame.size;
        }
        out
    }
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "open sealed object", format!("the seek table is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_table_reads_back(frames in proptest::collection::vec((0u32..1_000_000, 0u32..=1_048_576), 0..50)) {
            let table = SeekTable { frames };
            let bytes = table.to_bytes().unwrap();
            let payload = table.frames.iter().map(|(c, _)| u64::from(*c)).sum::<u64>() + bytes.len() as u64;
            prop_assert_eq!(SeekTable::length(&bytes[bytes.len() - FOOTER..], payload).unwrap(), bytes.len() as u64);
            prop_assert_eq!(SeekTable::parse(&bytes, payload).unwrap(), table);
        }

        #[test]
        fn hostile_tables_do_no_harm(bytes: Vec<u8>, payload: u64) {
            let _ = SeekTable::parse(&bytes, payload);
            let _ = SeekTable::length(&bytes, payload);
        }

        #[test]
        fn blocks_survive(block in proptest::collection::vec(0u8..4, 0..5000)) {
            prop_assert_eq!(&decompress(&Packer::new(3).pack(&block).unwrap(), block.len()).unwrap(), &block);
        }
    }
}
