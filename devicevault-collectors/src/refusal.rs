//! Telling a refused command from its output.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use bytes::{Bytes, BytesMut};
use regex::bytes::Regex;

use crate::escape::shown;

/// Holds the beginning of an answer back until it is too long for a refusal.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    failure: &'a [Regex],
    held: Option<BytesMut>,
}

/// No device says no at greater length.
const LONGEST_REFUSAL: usize = 2048;

impl<'a> Gate<'a> {
    pub(crate) fn new(failure: &'a [Regex]) -> Self {
        Self { failure, held: Some(BytesMut::new()) }
    }

    /// A piece of the answer; gives what may be handed on.
    pub(crate) fn push(&mut self, piece: Bytes) -> Option<Bytes> {
        let Some(held) = &mut self.held else { return Some(piece) };
        if held.is_empty() && piece.len() > LONGEST_REFUSAL {
            self.held = None;
            return Some(piece);
        }
        held.extend_from_slice(&piece);
        if held.len() <= LONGEST_REFUSAL {
            return None;
        }
        self.held.take().map(BytesMut::freeze)
    }

    /// The end of the answer: what is left of it, or the line by which the device refused.
    pub(crate) fn finish(self) -> Result<Option<Bytes>, String> {
        let Some(held) = self.held else { return Ok(None) };
        for line in held.as_ref().split(|b: &u8| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.failure.iter().any(|f| f.is_match(line)) {
                return Err(shown(line, 200));
            }
        }
        Ok((!held.is_empty()).then(|| held.freeze()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;

    fn run(pieces: &[&str]) -> (String, Result<Option<Bytes>, String>) {
        let failure = [Regex::new("^% Invalid").unwrap()];
        let mut gate = Gate::new(&failure);
        let mut through = String::new();
        for piece in pieces {
            if let Some(bytes) = gate.push(Bytes::copy_from_slice(piece.as_bytes())) {
                through.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        }
        (through, gate.finish())
    }

    #[test]
    fn a_short_answer_is_looked_at_and_a_long_one_passes() {
        assert_eq!(run(&["   ^\r\n% Inv", "alid input\r\n\r\n"]).1.unwrap_err(), "% Invalid input");
        assert_eq!(run(&["hostname a\n"]).1.unwrap().unwrap(), "hostname a\n");
        assert_eq!(run(&[]).1.unwrap(), None);
        let long = "x".repeat(LONGEST_REFUSAL + 1);
        assert_eq!(run(&["a", &long, "\n% Invalid"]).0, format!("a{long}\n% Invalid"));
    }
}
