//! The three views of a text, made in one pass over its lines.

mod headers;
mod line_ends;
mod plain;
mod spans;

use bytes::BytesMut;

use crate::text::general::{self, Below, begins_secret_key, ends_secret_key};
use crate::text::mask::RESALTED;
use crate::text::{BlockRule, InstanceKey, LineRule, StatedLength, SuspectCheck, TextRules};
use crate::{DeviceId, Error, ErrorKind, Result};

use headers::Headers;
pub use line_ends::LineEnds;
use plain::Ahead;

/// Makes `clean` and `redacted` from the lines of `original`.
///
/// ```
/// use std::sync::Arc;
/// use bytes::BytesMut;
/// use devicevault_core::text::{InstanceKey, LineRule, SecretRule, TextRules, ViewMaker};
/// use regex::bytes::Regex;
///
/// let mut rules = TextRules::default();
/// rules.volatile.push(LineRule::drop(Regex::new("^! Time:")?));
/// rules.secrets.push(SecretRule::new(Regex::new("^snmp-server community (?<secret>.+?) RO$")?));
/// let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
/// let mut maker = ViewMaker::new(Arc::new(rules), InstanceKey::new([1; 32]), "sw1".into(), 1 << 20);
/// maker.push(b"! Time: 10:11\nsnmp-server community c0mm RO\n", &mut clean, &mut redacted)?;
/// let suspect = maker.finish(&mut clean, &mut redacted);
/// assert_eq!(&clean[..], b"snmp-server community c0mm RO\n");
/// assert!(redacted.starts_with(b"snmp-server community <secret:"));
/// assert!(redacted.ends_with(b"> RO\n") && suspect.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ViewMaker {
    rules: std::sync::Arc<TextRules>,
    key: InstanceKey,
    device: DeviceId,
    line: Vec<u8>,
    /// Where the last line of the device begins in `line`, which may hold several that it goes on with.
    begun: usize,
    max_line: usize,
    number: u64,
    volatile_block: Option<usize>,
    secret_block: Option<Masking>,
    /// What stands above, of which this line may be more.
    below: Option<Below>,
    headers: Headers,
    check: SuspectCheck,
}

/// A block that is being masked: nothing of it is shown before its end is known.
#[derive(Debug)]
struct Masking {
    rule: Option<usize>,
    hidden: Vec<u8>,
    /// The number of its first line.
    begun: u64,
}

impl ViewMaker {
    /// For one text of a device. A line longer than `max_line` bytes is refused.
    #[must_use]
    pub fn new(rules: std::sync::Arc<TextRules>, key: InstanceKey, device: DeviceId, max_line: usize) -> Self {
        Self {
            rules,
            key,
            device,
            line: Vec::new(),
            begun: 0,
            max_line,
            number: 0,
            volatile_block: None,
            secret_block: None,
            below: None,
            headers: Headers::default(),
            check: SuspectCheck::new(),
        }
    }

    /// A chunk of the text, line ends normalised; appends to both views what is certain.
    ///
    /// # Errors
    /// `TooLarge` for a line beyond the bound.
    pub fn push(&mut self, chunk: &[u8], clean: &mut BytesMut, redacted: &mut BytesMut) -> Result<()> {
        // Once for all lines: texts of one platform share their rules, and so the counter of who has them.
        let rules = self.rules.clone();
        let mut ahead = Some(Ahead::of(chunk, &rules)).filter(|_| rules.can_skip() && chunk.len() <= self.max_line);
        let mut at = 0;
        while let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some(ahead) = ahead.as_mut().filter(|_| self.is_outside(&rules)) {
                let plain = ahead.plain(at);
                if !plain.is_empty() {
                    at = plain.end;
                    self.pass(chunk.get(plain).unwrap_or_default(), clean, redacted);
                    continue;
                }
            }
            let part = rest.split_inclusive(|b| *b == b'\n').next().unwrap_or(rest);
            at += part.len();
            if self.line.len() + part.len() > self.max_line {
                return Err(Error::new(ErrorKind::TooLarge, "read text", "a line is longer than it may be")
                    .with("line", self.number + 1)
                    .with("limit in bytes", self.max_line));
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") && !self.goes_on() {
                let line = std::mem::take(&mut self.line);
                self.one(&line, &rules, clean, redacted);
                self.line = line;
                self.line.clear();
                self.begun = 0;
            }
        }
        Ok(())
    }

    /// Whether the next line begins here and stands in nothing that began above it, so that it passes where it is plain.
    fn is_outside(&self, rules: &TextRules) -> bool {
        self.line.is_empty()
            && self.volatile_block.is_none()
            && self.secret_block.is_none()
            && self.below.is_none()
            && !self.check.is_watching(&rules.suspect)
    }

    /// Plain lines, each with its line end.
    fn pass(&mut self, lines: &[u8], clean: &mut BytesMut, redacted: &mut BytesMut) {
        let count = memchr::memchr_iter(b'\n', lines).count() as u64;
        self.number += count;
        self.check.plain_lines(lines, count);
        self.headers.lines(lines);
        clean.extend_from_slice(lines);
        redacted.extend_from_slice(lines);
    }

    /// Whether a line is held back that ended, because the device goes on with it in the next.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.line.ends_with(b"\n")
    }

    /// Whether the next line stands within a block that is secret.
    #[must_use]
    pub fn hides(&self) -> bool {
        self.secret_block.is_some()
    }

    fn goes_on(&mut self) -> bool {
        let Some(continued) = &self.rules.continued else { return false };
        let last = self.line.get(self.begun..).unwrap_or_default();
        let goes_on = continued.is_match(last.strip_suffix(b"\n").unwrap_or(last));
        self.begun = self.line.len();
        goes_on
    }

    /// How long the device says that the text is, where it says so, and what has come of it.
    #[must_use]
    pub fn stated_length(&self) -> Option<StatedLength> {
        let mut length = self.check.stated_length()?;
        length.arrived += self.line.len() as u64;
        Some(length)
    }

    /// The end of the text. Returns why it is suspect.
    pub fn finish(mut self, clean: &mut BytesMut, redacted: &mut BytesMut) -> Vec<String> {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            let rules = self.rules.clone();
            self.one(&line, &rules, clean, redacted);
        }
        let open = self.secret_block.take();
        if let Some(open) = &open {
            // The end never came: everything since the start stays masked, and is compared as it is.
            self.close(open, redacted);
            if open.rule.and_then(|i| self.rules.secret_blocks.get(i)).is_some_and(|r| r.resalted) {
                emit(clean, &open.hidden, b"");
            }
        }
        let mut why = self.check.finish(&self.rules.suspect, |line| self.key.mark(&self.device, &line.0));
        why.extend(open.map(|open| format!("a secret that begins in line {} has no end", open.begun)));
        why
    }

    /// One line, its line end included where it has one.
    fn one(&mut self, raw: &[u8], rules: &TextRules, clean: &mut BytesMut, redacted: &mut BytesMut) {
        self.number += 1;
        let first = self.number;
        let (line, end) = match raw.strip_suffix(b"\n") {
            Some(line) => (line, &b"\n"[..]),
            None => (raw, &b""[..]),
        };
        let joined = memchr::memchr(b'\n', line).map(|_| spans::Joined::of(line, rules.continued.as_ref()));
        let whole: &[u8] = joined.as_ref().map_or(line, |j| &j.text);
        let by_rules = rules.concern(whole);
        let is_plain = !by_rules && !general::concerns(whole) && !is_no_text(whole);
        let is_plain = is_plain && self.below.is_none();
        if self.volatile_block.is_none() && self.secret_block.is_none() && is_plain {
            self.check.plain(line, &rules.suspect);
            self.headers.line(line);
            emit(clean, line, end);
            emit(redacted, line, end);
            return;
        }
        for part in line.split(|b| *b == b'\n') {
            self.check.line(part, &rules.suspect);
        }
        self.number += memchr::memchr_iter(b'\n', line).count() as u64;
        if self.in_volatile_block(line, rules) {
            return;
        }
        let Some(line) = volatile(&rules.volatile, line, first) else { return };
        let line: &[u8] = &line;
        self.headers.line(line);

        // Re-salted secrets are a constant in `clean` too; inside a re-salted block only its frame is left.
        let before = self.secret_block.is_some();
        let shown = self.redact(line, end, rules, by_rules, redacted);
        match shown {
            Shown::Same => emit(clean, line, end),
            Shown::Resalted(text) => emit(clean, &text, end),
            Shown::BlockResalted { first } => {
                if !before {
                    emit(clean, &first, end);
                }
            }
        }
    }

    fn in_volatile_block(&mut self, line: &[u8], rules: &TextRules) -> bool {
        if self.volatile_block.is_none() {
            self.volatile_block = rules.volatile_blocks.iter().position(|b| b.start.is_match(line));
            let Some(i) = self.volatile_block else { return false };
            if rules.volatile_blocks.get(i).is_some_and(|b| b.end.is_match(line)) {
                self.volatile_block = None;
            }
            return true;
        }
        if self.volatile_block.and_then(|i| rules.volatile_blocks.get(i)).is_none_or(|b| b.end.is_match(line)) {
            self.volatile_block = None;
        }
        true
    }

    /// Writes the redacted form of a line, and says what the clean form is.
    fn redact(&mut self, line: &[u8], end: &[u8], rules: &TextRules, by_rules: bool, redacted: &mut BytesMut) -> Shown {
        if let Some(mut open) = self.secret_block.take() {
            let rule = open.rule.and_then(|i| rules.secret_blocks.get(i));
            let resalted = rule.is_some_and(|r| r.resalted);
            if !rule.map_or_else(|| ends_secret_key(line), |r| r.end.is_match(line)) {
                open.hidden.extend_from_slice(line);
                open.hidden.push(b'\n');
                self.secret_block = Some(open);
                return if resalted { Shown::BlockResalted { first: Vec::new() } } else { Shown::Same };
            }
            let keep_end = rule.is_none_or(|r| r.keep_end);
            if !keep_end {
                open.hidden.extend_from_slice(line);
            }
            self.close(&open, redacted);
            if resalted {
                if keep_end {
                    emit(redacted, &self.scanned(&self.mask_line(line, by_rules).0), end);
                }
                return Shown::BlockResalted { first: Vec::new() };
            }
            if !keep_end {
                return Shown::Same;
            }
        }
        let below = self.below.take();
        if let Some(value) = below.and_then(|name| name.value(line)) {
            self.below = below;
            let shown = spans::replace(line, &[(value.start, value.end, false)], |secret, _| match secret {
                secret if secret.is_empty() || general::is_mask(secret) => String::from_utf8_lossy(secret).into_owned(),
                secret => self.key.mask(&self.device, secret),
            });
            emit(redacted, &shown, end);
            return Shown::Same;
        }
        if is_no_text(line) {
            emit(redacted, self.key.mask(&self.device, line).as_bytes(), end);
            return Shown::Same;
        }
        // What ends one block may begin the next.
        if let Some(i) = rules.secret_blocks.iter().position(|b| b.start.is_match(line)) {
            return self.open_block(i, line, end, by_rules, redacted);
        }
        if begins_secret_key(line) && !ends_secret_key(line) {
            emit(redacted, &self.scanned(line), end);
            self.secret_block = Some(Masking { rule: None, hidden: Vec::new(), begun: self.number });
            return Shown::Same;
        }
        self.below = Below::of(line);
        self.redact_line(line, end, by_rules, redacted)
    }

    fn redact_line(&self, line: &[u8], end: &[u8], by_rules: bool, redacted: &mut BytesMut) -> Shown {
        let (masked, plain) = self.mask_line(line, by_rules);
        emit(redacted, &self.scanned(&masked), end);
        plain.map_or(Shown::Same, Shown::Resalted)
    }

    fn open_block(&mut self, i: usize, line: &[u8], end: &[u8], by_rules: bool, redacted: &mut BytesMut) -> Shown {
        let rules = &*self.rules.clone();
        let Some(rule) = rules.secret_blocks.get(i) else { return Shown::Same };
        let (kept, hidden) = block_head(rule, line);
        let one_line = rule.end.is_match(line) && !hidden.is_empty();
        let mask = self.block_mask(rule.resalted, hidden);
        let mut first = kept.to_vec();
        if one_line {
            first.extend_from_slice(mask.as_bytes());
            emit(redacted, &self.scanned(&first), end);
            return if rule.resalted { Shown::BlockResalted { first } } else { Shown::Same };
        }
        // What is left of the first line is shown at once; the mask of the whole block follows at its end.
        redacted.extend_from_slice(&self.scanned(&self.mask_line(kept, by_rules).0));
        if hidden.is_empty() {
            redacted.extend_from_slice(b"\n");
        }
        let mut start = hidden.to_vec();
        if !start.is_empty() {
            start.push(b'\n');
        }
        self.secret_block = Some(Masking { rule: Some(i), hidden: start, begun: self.number });
        if rule.resalted {
            if hidden.is_empty() {
                first.push(b'\n');
            }
            first.extend_from_slice(RESALTED.as_bytes());
            return Shown::BlockResalted { first };
        }
        Shown::Same
    }

    fn close(&self, open: &Masking, redacted: &mut BytesMut) {
        let resalted = open.rule.and_then(|i| self.rules.secret_blocks.get(i)).is_some_and(|r| r.resalted);
        emit(redacted, self.block_mask(resalted, &open.hidden).as_bytes(), b"\n");
    }

    /// What stands for a block; for one that was masked before, its mask.
    fn block_mask(&self, resalted: bool, hidden: &[u8]) -> String {
        match std::str::from_utf8(hidden.trim_ascii()) {
            Ok(mask) if general::is_mask(mask.as_bytes()) => mask.to_owned(),
            _ if resalted => RESALTED.to_owned(),
            _ => self.key.mask(&self.device, hidden),
        }
    }

    /// The line with its secrets masked; and, where a re-salted one is among them, with only those masked.
    fn mask_line(&self, line: &[u8], by_rules: bool) -> (Vec<u8>, Option<Vec<u8>>) {
        let spans = spans::of_line(line, &self.rules, &self.headers, by_rules);
        if spans.is_empty() {
            return (line.to_vec(), None);
        }
        // Where the device breaks a value changes with what stands before it.
        let masked = spans::replace(line, &spans, |secret, resalted| {
            if resalted {
                return RESALTED.to_owned();
            }
            let whole = spans::Joined::of(secret, self.rules.continued.as_ref());
            self.key.mask(&self.device, &whole.text)
        });
        let resalted: Vec<_> = spans.into_iter().filter(|(_, _, resalted)| *resalted).collect();
        let plain = (!resalted.is_empty()).then(|| spans::replace(line, &resalted, |_, _| RESALTED.to_owned()));
        (masked, plain)
    }

    /// What is to be shown, looked through once more: what still has the shape of a secret is masked.
    fn scanned(&self, shown: &[u8]) -> Vec<u8> {
        let mut left: Vec<_> =
            general::secrets(shown, false, || false).into_iter().map(|r| (r.start, r.end, false)).collect();
        left.sort_unstable_by_key(|(from, to, _)| (*from, std::cmp::Reverse(*to)));
        spans::replace(shown, &left, |secret, _| self.key.mask(&self.device, secret))
    }
}

/// What `clean` shows of a line.
enum Shown {
    Same,
    Resalted(Vec<u8>),
    BlockResalted { first: Vec<u8> },
}

/// Nothing can be told of a line with NULs, as every line of UTF-16 has them: it is masked whole.
fn is_no_text(line: &[u8]) -> bool {
    memchr::memchr(0, line).is_some()
}

fn emit(out: &mut BytesMut, line: &[u8], end: &[u8]) {
    out.extend_from_slice(line);
    out.extend_from_slice(end);
}

fn volatile<'a>(rules: &[LineRule], line: &'a [u8], number: u64) -> Option<std::borrow::Cow<'a, [u8]>> {
    let mut line = std::borrow::Cow::Borrowed(line);
    for rule in rules {
        if rule.head.is_some_and(|head| number > head) || !rule.line.is_match(&line) {
            continue;
        }
        match &rule.replace {
            None => return None,
            Some(by) => line = std::borrow::Cow::Owned(rule.line.replace_all(&line, by.as_bytes()).into_owned()),
        }
    }
    Some(line)
}

/// The part of a block's first line that stays, and the part that is hidden.
fn block_head<'a>(rule: &BlockRule, line: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    match rule.start.captures(line).and_then(|c| c.name("keep")) {
        Some(keep) => line.split_at(keep.end()),
        None => (line, &[]),
    }
}

#[cfg(test)]
mod tests;
