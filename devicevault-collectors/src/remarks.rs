//! What follows from a line of an answer and does not stand in it: that a text is one context's of several.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use crate::platform::Remark;

/// Of a longer line no more is looked at.
const LONGEST: usize = 512;

/// Looks for such lines in answers as they pass; each is told once.
#[derive(Debug)]
pub(crate) struct Remarks<'a> {
    left: Vec<&'a Remark>,
    line: Vec<u8>,
}

impl<'a> Remarks<'a> {
    pub(crate) fn new(all: &'a [Remark]) -> Self {
        Self { left: all.iter().collect(), line: Vec::new() }
    }

    /// The next bytes of an answer; what is to be said of them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<&'a str> {
        let mut said = Vec::new();
        if self.left.is_empty() {
            return said;
        }
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                said.extend(self.end());
            }
        }
        said
    }

    /// The line has ended, or the answer has.
    pub(crate) fn end(&mut self) -> Vec<&'a str> {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii_end();
        let met: Vec<_> = self.left.extract_if(.., |remark| remark.line.is_match(line)).collect();
        met.into_iter().map(|remark| remark.says.as_str()).collect()
    }
}
