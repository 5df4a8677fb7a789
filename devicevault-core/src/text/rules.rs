//! What a platform knows of its texts, compiled.
//!
//! All expressions are matched against one line without its line end, as bytes: a text need not be UTF-8.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexSet, RegexSetBuilder};

/// How the views of a text are made, and when it is suspect. The default has no rules of its own.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TextRules {
    /// Lines that change by themselves: left out of `clean`, or changed in it.
    pub volatile: Vec<LineRule>,
    /// Runs of lines that change by themselves: left out of `clean`.
    pub volatile_blocks: Vec<BlockRule>,
    /// Secrets within a line: masked in `redacted`.
    pub secrets: Vec<SecretRule>,
    /// Secrets over several lines: masked in `redacted`.
    pub secret_blocks: Vec<BlockRule>,
    /// When the text is suspect.
    pub suspect: SuspectRules,
    prefilter: OnceLock<Option<RegexSet>>,
}

/// Bound of the automaton that looks for all rules at once, in bytes.
const PREFILTER_SIZE: usize = 64 << 20;

impl TextRules {
    /// Whether any rule has something to say of a line that stands outside of every block. Most lines pass no rule at
    /// all, and one automaton for all of them tells so in one pass. Compiled at first use; the rules do not change after.
    pub(crate) fn concern(&self, line: &[u8]) -> bool {
        // Without the automaton every rule is asked in turn.
        self.prefilter.get_or_init(|| self.compile()).as_ref().is_none_or(|set| set.is_match(line))
    }

    fn compile(&self) -> Option<RegexSet> {
        let lines = self.volatile.iter().map(|r| &r.line);
        let blocks = self.volatile_blocks.iter().chain(&self.secret_blocks).map(|b| &b.start);
        let secrets = self.secrets.iter().map(|s| &s.line);
        let all = lines.chain(blocks).chain(secrets).chain(&self.suspect.failure).map(Regex::as_str);
        let all = all.chain(std::iter::once("PRIVATE KEY-----"));
        let mut builder = RegexSetBuilder::new(all);
        builder.size_limit(PREFILTER_SIZE).dfa_size_limit(PREFILTER_SIZE).unicode(true).build().ok()
    }
}

/// A line that is volatile.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LineRule {
    /// Which lines.
    pub line: Regex,
    /// `None`: the line is left out. Otherwise every match is replaced by this (`$1`, `${name}` for groups).
    pub replace: Option<String>,
    /// Only among the first so many lines of the text.
    pub head: Option<u64>,
}

impl LineRule {
    /// Leaves such lines out.
    #[must_use]
    pub fn drop(line: Regex) -> Self {
        Self { line, replace: None, head: None }
    }

    /// Replaces what matches.
    pub fn replace(line: Regex, by: impl Into<String>) -> Self {
        Self { line, replace: Some(by.into()), head: None }
    }

    /// Only among the first so many lines.
    #[must_use]
    pub fn in_head(mut self, lines: u64) -> Self {
        self.head = Some(lines);
        self
    }
}

/// A run of lines, from one that matches `start` to one that matches `end`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BlockRule {
    /// First line. A group named `keep` in it is what a mask leaves of that line; without one the whole line stays.
    pub start: Regex,
    /// Last line. It may be the first line itself.
    pub end: Regex,
    /// Whether a mask leaves the last line.
    pub keep_end: bool,
    /// The text differs at every display though nothing changed: a constant in `clean` too.
    pub resalted: bool,
}

impl BlockRule {
    /// From `start` to `end`; a mask leaves both lines.
    #[must_use]
    pub fn new(start: Regex, end: Regex) -> Self {
        Self { start, end, keep_end: true, resalted: false }
    }

    /// Whether a mask leaves the last line.
    #[must_use]
    pub fn keep_end(mut self, keep: bool) -> Self {
        self.keep_end = keep;
        self
    }

    /// The text differs at every display.
    #[must_use]
    pub fn resalted(mut self, yes: bool) -> Self {
        self.resalted = yes;
        self
    }
}

/// A secret within a line.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SecretRule {
    /// Every group named `secret` (or `secret2`, `secret3`, …) of every match is masked;
    /// without such a group, the first group; without any group, the whole match.
    pub line: Regex,
    /// Only in lines below (indented deeper than) a line that matches this, up to any depth.
    pub within: Option<Regex>,
    /// The text differs at every display though nothing changed: a constant in `clean` too.
    pub resalted: bool,
}

impl SecretRule {
    /// A stable secret.
    #[must_use]
    pub fn new(line: Regex) -> Self {
        Self { line, within: None, resalted: false }
    }

    /// Only below such a line.
    #[must_use]
    pub fn within(mut self, header: Regex) -> Self {
        self.within = Some(header);
        self
    }

    /// The text differs at every display.
    #[must_use]
    pub fn resalted(mut self, yes: bool) -> Self {
        self.resalted = yes;
        self
    }
}

/// When a text may not be what the device holds.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SuspectRules {
    /// The last line that is not blank has to match; `None`: the platform has no end marker.
    pub end_marker: Option<Regex>,
    /// Lines that no good text holds: error messages of the device.
    pub failure: Vec<Regex>,
}
