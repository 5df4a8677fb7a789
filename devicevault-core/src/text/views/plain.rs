//! Runs of lines of which no rule has anything to say: most of a text. They pass as a whole.

use std::ops::Range;

use crate::text::TextRules;
use crate::text::general;
use crate::text::prefilter::begin_of_line;

/// Finds the lines of a chunk that are to be looked at one by one.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    rules: &'a TextRules,
    /// Whole lines.
    lines: &'a [u8],
    /// Where the next line begins of each kind, as of the last look; one that lies behind counts no more.
    by_rules: Next,
    by_shape: Next,
    no_text: Next,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    Unknown,
    At(usize),
    Never,
}

impl Next {
    fn from(self, at: usize, look: impl FnOnce() -> Option<usize>) -> Self {
        match self {
            Self::Unknown => look().map_or(Self::Never, Self::At),
            Self::At(line) if line < at => look().map_or(Self::Never, Self::At),
            Self::At(_) | Self::Never => self,
        }
    }

    fn before(self, end: usize) -> usize {
        match self {
            Self::At(line) => line.min(end),
            Self::Unknown | Self::Never => end,
        }
    }
}

impl<'a> Ahead<'a> {
    /// Looks at the whole lines of a chunk.
    pub(super) fn of(chunk: &'a [u8], rules: &'a TextRules) -> Self {
        let whole = memchr::memrchr(b'\n', chunk).map_or(0, |end| end + 1);
        let lines = chunk.get(..whole).unwrap_or_default();
        Self { rules, lines, by_rules: Next::Unknown, by_shape: Next::Unknown, no_text: Next::Unknown }
    }

    /// The plain lines from here, where a line begins, to the next one that is not plain.
    pub(super) fn plain(&mut self, at: usize) -> Range<usize> {
        let end = self.lines.len();
        if at >= end {
            return at..at;
        }
        let lines = self.lines;
        self.no_text = self.no_text.from(at, || {
            let found = memchr::memchr(0, lines.get(at..).unwrap_or_default())?;
            Some(begin_of_line(lines, at..at + found))
        });
        self.by_shape = self.by_shape.from(at, || general::next_concerned(lines, at));
        let rules = self.rules;
        self.by_rules = self.by_rules.from(at, || rules.next_concerned(lines, at));
        at..self.by_rules.before(self.by_shape.before(self.no_text.before(end)))
    }
}
