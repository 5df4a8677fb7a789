//! Zstandard, RFC 8878.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use ::zstd::stream::raw::{self, CParameter, DParameter, Operation as _};
use ::zstd::zstd_safe::OutBuffer;
use devicevault_core::{Error, ErrorKind, Result};

use super::coder::{Coder, PIECE};
use super::damaged;

/// 218–258 MB/s on one core at a ratio near that of gzip -6, which does 15–20.
const LEVEL: i32 = 3;

/// The largest window that is accepted, as a power of two: 8 MiB, what RFC 8878 (section 3.1.1.1.2) recommends decoders
/// to support, and what the levels up to 19 use.
const MAX_WINDOW_LOG: u32 = 23;

struct Encoder {
    raw: raw::Encoder<'static>,
    scratch: Vec<u8>,
}

pub(super) fn encoder(size: Option<u64>) -> Result<Box<dyn Coder>> {
    let mut raw = raw::Encoder::new(LEVEL).map_err(defect)?;
    raw.set_parameter(CParameter::ChecksumFlag(true)).map_err(defect)?;
    raw.set_pledged_src_size(size).map_err(defect)?;
    Ok(Box::new(Encoder { raw, scratch: vec![0; PIECE] }))
}

impl Coder for Encoder {
    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<()> {
        while !input.is_empty() && out.len() < PIECE {
            let status = self.raw.run_on_buffers(input, &mut self.scratch).map_err(defect)?;
            take(input, status.bytes_read);
            out.extend_from_slice(self.scratch.get(..status.bytes_written).unwrap_or_default());
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        let mut buffer = OutBuffer::around(self.scratch.as_mut_slice());
        let left = self.raw.finish(&mut buffer, true).map_err(defect)?;
        out.extend_from_slice(buffer.as_slice());
        Ok(left == 0)
    }
}

struct Decoder {
    raw: raw::Decoder<'static>,
    scratch: Vec<u8>,
    /// The one frame has ended.
    ended: bool,
    /// The decoder may hold output that did not fit.
    more: bool,
}

pub(super) fn decoder() -> Result<Box<dyn Coder>> {
    let mut raw = raw::Decoder::new().map_err(defect)?;
    raw.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG)).map_err(defect)?;
    Ok(Box::new(Decoder { raw, scratch: vec![0; PIECE], ended: false, more: false }))
}

impl Decoder {
    fn run(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<()> {
        let status = self
            .raw
            .run_on_buffers(input, &mut self.scratch)
            .map_err(|e| damaged("the zstd data are damaged").because(e))?;
        take(input, status.bytes_read);
        out.extend_from_slice(self.scratch.get(..status.bytes_written).unwrap_or_default());
        self.ended = status.remaining == 0;
        self.more = !self.ended && status.bytes_written == self.scratch.len();
        Ok(())
    }
}

impl Coder for Decoder {
    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<()> {
        while !input.is_empty() && out.len() < PIECE {
            if self.ended {
                return Err(damaged("there are bytes behind the end of the zstd data"));
            }
            self.run(input, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        while self.more && out.len() < PIECE {
            self.run(&mut &[][..], out)?;
        }
        if self.more || self.ended {
            return Ok(!self.more);
        }
        Err(damaged("the zstd data end early"))
    }
}

fn take(input: &mut &[u8], n: usize) {
    *input = input.get(n..).unwrap_or_default();
}

fn defect(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "compress backup", "zstd refused to work").because(e)
}
