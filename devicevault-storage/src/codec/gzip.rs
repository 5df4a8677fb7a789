//! gzip, RFC 1952.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::io::Write as _;

use devicevault_core::{Error, ErrorKind, Result};
use flate2::write::{GzDecoder, GzEncoder};

use super::coder::{Coder, PIECE};
use super::damaged;

struct Encoder(GzEncoder<Vec<u8>>);

pub(super) fn encoder() -> Result<Box<dyn Coder>> {
    Ok(Box::new(Encoder(GzEncoder::new(Vec::new(), flate2::Compression::default()))))
}

impl Coder for Encoder {
    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<()> {
        while !input.is_empty() && out.len() < PIECE {
            let taken = self.0.write(input).map_err(defect)?;
            *input = input.get(taken..).unwrap_or_default();
            out.append(self.0.get_mut());
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        self.0.try_finish().map_err(defect)?;
        out.append(self.0.get_mut());
        Ok(true)
    }
}

struct Decoder(GzDecoder<Vec<u8>>);

pub(super) fn decoder() -> Result<Box<dyn Coder>> {
    Ok(Box::new(Decoder(GzDecoder::new(Vec::new()))))
}

impl Coder for Decoder {
    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<()> {
        // One call of `write` gives at most the decoder's own buffer of 32 KiB.
        while !input.is_empty() && out.len() < PIECE {
            let taken = self.0.write(input).map_err(broken)?;
            if taken == 0 {
                return Err(damaged("there are bytes behind the end of the gzip data"));
            }
            *input = input.get(taken..).unwrap_or_default();
            out.append(self.0.get_mut());
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        self.0.try_finish().map_err(broken)?;
        out.append(self.0.get_mut());
        Ok(true)
    }
}

fn broken(e: std::io::Error) -> Error {
    damaged("the gzip data are damaged or end early").because(e)
}

fn defect(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "compress backup", "gzip refused to work").because(e)
}
