//! What a platform knows of its texts, compiled.
//!
//! All expressions are matched against one line without its line end, as bytes: a text need not be UTF-8.

use std::ops::Range;

use regex::bytes::Regex;

use super::{Prefilter, general};

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
    /// Lines in which no secret is looked for behind the names that secrets usually have: in them such a name says
    /// something else. What the rules and the shapes of secrets tell is masked all the same.
    pub plain: Vec<Regex>,
    /// The end of a line that goes on in the next one. What it matches and the blanks that begin the next line are no part
    /// of the text: secrets are looked for in what is put together so, and masked where they stand.
    pub continued: Option<Regex>,
    /// When the text is suspect.
    pub suspect: SuspectRules,
    prefilter: Option<Prefilter>,
}

impl TextRules {
    /// Sets one automaton that matches every line on which any rule's expression (of a block, its `start`; those of
    /// `suspect` too) matches. Most lines pass no rule at all, and it tells so in one pass instead of one per rule.
    ///
    /// It has to be compiled from the same expressions; flags other than `unicode` have to stand in them (`(?i)`). On a line
    /// that it does not match, no rule is asked, so a secret in it would not be masked. Without it, every rule is asked on
    /// every line.
    #[must_use]
    pub fn with_prefilter(mut self, any_rule: Prefilter) -> Self {
        self.prefilter = Some(any_rule);
        self
    }

    /// The expressions that a prefilter is compiled from.
    pub fn expressions(&self) -> impl Iterator<Item = &Regex> {
        let lines = self.volatile.iter().map(|r| &r.line);
        let blocks = self.volatile_blocks.iter().chain(&self.secret_blocks).map(|b| &b.start);
        let secrets = self.secrets.iter().map(|s| &s.line);
        lines.chain(blocks).chain(secrets).chain(self.suspect.expressions())
    }

    /// Whether any rule has something to say of a line that stands outside of every block.
    pub(crate) fn concern(&self, line: &[u8]) -> bool {
        let Some(set) = &self.prefilter else { return true };
        let concerned = set.is_match(line);
        debug_assert!(concerned || !self.expressions().any(|r| r.is_match(line)), "the prefilter misses a rule");
        concerned
    }

    /// Whether lines can pass without being looked at one by one: where one goes on in the next, they cannot.
    pub(crate) fn can_skip(&self) -> bool {
        self.prefilter.is_some() && self.continued.is_none()
    }

    /// Where the next line begins of which a rule may have something to say.
    pub(crate) fn next_concerned(&self, lines: &[u8], at: usize) -> Option<usize> {
        self.prefilter.as_ref().map_or(Some(at), |set| set.next_line(lines, at))
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

    /// Where it finds secrets in a line. An expression that takes the word before a secret for it (`cipher`, a type digit,
    /// an address) hides the next word too.
    #[must_use]
    pub fn find(&self, line: &[u8]) -> Vec<Range<usize>> {
        // Groups are dear, and most rules say nothing of most lines.
        if !self.line.is_match(line) {
            return Vec::new();
        }
        let named = self.line.capture_names().enumerate().filter(|(_, n)| n.is_some_and(|n| n.starts_with("secret")));
        let mut groups: Vec<usize> = named.map(|(i, _)| i).collect();
        if groups.is_empty() {
            groups.push(usize::from(self.line.captures_len() > 1));
        }
        let mut found = Vec::new();
        for captures in self.line.captures_iter(line) {
            let matches = groups.iter().filter_map(|i| captures.get(*i)).filter(|m| !m.is_empty());
            found.extend(matches.map(|m| general::with_value(line, m.range())));
        }
        found
    }
}

/// When a text may not be what the device holds.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SuspectRules {
    /// The last line that is not blank has to match; `None`: the platform has no end marker.
    pub end_marker: Option<Regex>,
    /// The end marker is due only where a line matched this: some texts are parts, and have no end of their own.
    pub end_marker_after: Option<Regex>,
    /// Each has to match a line: what every whole text has.
    pub required: Vec<Regex>,
    /// The line in which the device says how long the text after it is: its group `bytes`.
    pub stated_length: Option<Regex>,
    /// Lines that no good text holds: error messages of the device. Not looked for in `prose`.
    pub failure: Vec<Regex>,
    /// Lines that come in between, such as those of a log: no good text holds them anywhere.
    pub intrusions: Vec<Regex>,
    /// What people wrote, and where every line may say anything.
    pub prose: Vec<ProseRule>,
    /// What tells a text of few lines from a message that came in its place; `None`: nothing is told apart.
    pub shape: Option<ShapeRule>,
}

impl SuspectRules {
    fn expressions(&self) -> impl Iterator<Item = &Regex> {
        let lines = self.failure.iter().chain(&self.intrusions).chain(&self.required);
        let prose = self.prose.iter().map(|p| &p.start);
        lines.chain(prose).chain(&self.stated_length).chain(&self.end_marker_after)
    }
}

/// What people wrote, over several lines: a banner.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProseRule {
    /// Its first line. What its group `until` matches stands also in the last one.
    pub start: Regex,
    /// Its last line, where no group tells.
    pub end: Option<Regex>,
    /// Only lines of failure are people's in it; what every whole text has may stand there too.
    pub quoted: bool,
}

impl ProseRule {
    /// From a line to a line.
    #[must_use]
    pub fn new(start: Regex, end: Regex) -> Self {
        Self { start, end: Some(end), quoted: false }
    }

    /// From a line to the next that holds what the group `until` of this one matched.
    #[must_use]
    pub fn until_its_mark(start: Regex) -> Self {
        Self { start, end: None, quoted: false }
    }

    /// A value over several lines, in quotes or between the tags of an element. That it is one is known by signs that may
    /// deceive, so that it hides lines of failure and nothing else.
    #[must_use]
    pub fn quoted(mut self) -> Self {
        self.quoted = true;
        self
    }
}

/// What lines of a configuration look like, in whatever language it is written.
///
/// It is asked of texts of few lines alone, so that it may know less than all that a device can say.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShapeRule {
    /// A line of a configuration.
    pub line: Regex,
    /// What is said to a person, though it begins like a line of a configuration.
    pub said: Regex,
}

impl ShapeRule {
    /// Lines that match the first and not the second.
    #[must_use]
    pub fn new(line: Regex, said: Regex) -> Self {
        Self { line, said }
    }

    /// Whether it is a line of a configuration.
    #[must_use]
    pub fn is_match(&self, line: &[u8]) -> bool {
        self.line.is_match(line) && !self.said.is_match(line)
    }
}
