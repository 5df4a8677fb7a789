//! Where the secrets of a line stand, and how they are replaced.

use std::borrow::Cow;
use std::ops::Range;

use regex::bytes::Regex;

use super::Headers;
use crate::text::general::Above;
use crate::text::{TextRules, general};

/// A part of a line that is masked; the flag is set where the device shows it differently each time.
pub(super) type Span = (usize, usize, bool);

/// Where the secrets of a line stand, sorted by their beginning.
pub(super) fn of_line(line: &[u8], rules: &TextRules, headers: &Headers, by_rules: bool) -> Vec<Span> {
    let joined = Joined::of(line, rules.continued.as_ref());
    let text: &[u8] = &joined.text;
    let mut spans: Vec<Span> = Vec::new();
    for rule in rules.secrets.iter().filter(|_| by_rules) {
        if rule.within.as_ref().is_some_and(|w| !headers.within(w)) {
            continue;
        }
        spans.extend(rule.find(text).into_iter().map(|r| (r.start, r.end, rule.resalted)));
    }
    let by_name = !rules.plain.iter().any(|p| p.is_match(text));
    spans
        .extend(general::secrets(text, by_name, || headers.within_snmp()).into_iter().map(|r| (r.start, r.end, false)));
    let above = Above { snmp: || headers.within_snmp(), matches: |r: &Regex| headers.within(r) };
    spans.retain(|(from, to, _)| !general::is_setting(text, &(*from..*to), &above));
    // What was masked before is no secret: a redacted text redacted again is the same.
    let masks = if spans.is_empty() { Vec::new() } else { general::masks(text) };
    spans.retain(|(from, to, _)| !general::was_masked(text, *from..*to, &masks));
    for span in &mut spans {
        (span.0, span.1) = joined.place(span.0..span.1);
    }
    spans.sort_unstable_by_key(|(from, to, _)| (*from, std::cmp::Reverse(*to)));
    spans
}

/// Replaces the spans, sorted by their beginning; of overlapping ones the first and longest stands for all it covers.
pub(super) fn replace(line: &[u8], spans: &[Span], mask: impl Fn(&[u8], bool) -> String) -> Vec<u8> {
    let mut merged: Vec<Span> = Vec::new();
    for &(from, to, resalted) in spans {
        match merged.last_mut() {
            Some(last) if from < last.1 => {
                last.1 = last.1.max(to);
                last.2 |= resalted;
            }
            _ => merged.push((from, to, resalted)),
        }
    }
    let mut out = Vec::with_capacity(line.len() + 24);
    let mut at = 0;
    for (from, to, resalted) in merged {
        out.extend_from_slice(line.get(at..from).unwrap_or_default());
        out.extend_from_slice(mask(line.get(from..to).unwrap_or_default(), resalted).as_bytes());
        at = to;
    }
    out.extend_from_slice(line.get(at..).unwrap_or_default());
    out
}

/// A line that the device went on with in the next ones, as one.
#[derive(Debug)]
pub(super) struct Joined<'a> {
    pub(super) text: Cow<'a, [u8]>,
    /// Where parts of the text begin in it and where in the line, in order; empty where nothing was joined.
    parts: Vec<(usize, usize)>,
}

impl<'a> Joined<'a> {
    pub(super) fn of(line: &'a [u8], continued: Option<&Regex>) -> Self {
        let Some(continued) = continued.filter(|_| memchr::memchr(b'\n', line).is_some()) else {
            return Self { text: Cow::Borrowed(line), parts: Vec::new() };
        };
        let (mut text, mut parts, mut at) = (Vec::with_capacity(line.len()), Vec::new(), 0);
        let mut lines = line.split(|b| *b == b'\n').peekable();
        while let Some(part) = lines.next() {
            // What the device put before the rest of the line is no part of it.
            let indent = if at == 0 { 0 } else { part.iter().take_while(|b| **b == b' ').count() };
            let goes_on = lines.peek().is_some();
            let end = continued.find_iter(part).last().filter(|_| goes_on).map_or(part.len(), |m| m.start());
            parts.push((text.len(), at + indent));
            text.extend_from_slice(part.get(indent..end).unwrap_or_default());
            at += part.len() + 1;
        }
        Self { text: Cow::Owned(text), parts }
    }

    /// Where a part of the text stands in the line.
    fn place(&self, of: Range<usize>) -> (usize, usize) {
        let one = |at: usize, last: bool| {
            let of = self.parts.iter().rev().find(|(text, _)| if last { *text < at } else { *text <= at });
            of.map_or(at, |(text, line)| line + (at - text))
        };
        (one(of.start, false), one(of.end, true))
    }
}
