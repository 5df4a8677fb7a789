//! Lines by which a device says that something failed, told apart from what people wrote.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use regex::bytes::Regex;

use crate::Digest;
use crate::text::{ProseRule, SuspectRules};

/// What a [`FailureWatch`] looks for.
#[derive(Debug, Clone, Copy)]
pub struct FailureLines<'a> {
    failure: &'a [Regex],
    intrusions: &'a [Regex],
    prose: &'a [ProseRule],
}

impl<'a> FailureLines<'a> {
    /// Lines that no good text holds, but in what people wrote.
    #[must_use]
    pub fn new(failure: &'a [Regex], prose: &'a [ProseRule]) -> Self {
        Self { failure, intrusions: &[], prose }
    }
}

impl SuspectRules {
    /// What tells of a failure, among what is known of a text.
    #[must_use]
    pub fn failures(&self) -> FailureLines<'_> {
        FailureLines { failure: &self.failure, intrusions: &self.intrusions, prose: &self.prose }
    }
}

/// Looks for such lines in a text as it passes. What people wrote, such as a banner, may say anything; but only once its
/// end was seen it is known that they wrote it.
#[derive(Debug, Default)]
pub struct FailureWatch {
    lines: u64,
    found: Found,
    prose: Option<Prose>,
}

/// Of lines that say the same the first, and no more than [`MOST`] and one in all.
type Found = Vec<FoundFailure>;

/// More are not told apart: a device that hides its secrets says so in a line for each peer and server, and a text that is
/// mostly messages is none to be taken for good line by line.
pub(crate) const MOST: usize = 64;

/// A line that no good text holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundFailure {
    /// Counted from 1.
    pub line: u64,
    /// What the expression matches of it; the rest may be anything.
    pub matched: Vec<u8>,
    /// Of the whole line.
    pub whole: Digest,
}

/// What people wrote, while its end is awaited.
#[derive(Debug)]
struct Prose {
    until: Until,
    quoted: bool,
    /// Its first line.
    begun: u64,
    found: Found,
}

#[derive(Debug)]
enum Until {
    /// A line that holds this.
    Text(Vec<u8>),
    /// A line that matches.
    Line(Regex),
}

impl FailureWatch {
    /// A line without its line end. Tells whether it is a part of what people wrote.
    pub fn line(&mut self, line: &[u8], rules: FailureLines<'_>) -> bool {
        self.lines += 1;
        let at = self.lines;
        let note = |all: &mut Found, by: &[Regex]| {
            if all.len() > MOST {
                return;
            }
            let Some(matched) = by.iter().find_map(|r| r.find(line)) else { return };
            let whole = Digest::of(line);
            if all.iter().all(|f| f.line != at && f.whole != whole) {
                all.push(FoundFailure { line: at, matched: matched.as_bytes().to_vec(), whole });
            }
        };
        note(&mut self.found, rules.intrusions);
        if let Some(prose) = &mut self.prose {
            let quoted = prose.quoted;
            if prose.until.is_at(line) {
                self.prose = None;
            } else {
                note(&mut prose.found, rules.failure);
            }
            return !quoted;
        }
        if let Some((until, quoted)) = rules.prose.iter().find_map(|rule| Some((rule.begins(line)?, rule.quoted))) {
            self.prose = Some(Prose { until, quoted, begun: at, found: Vec::new() });
            return !quoted;
        }
        note(&mut self.found, rules.failure);
        false
    }

    /// A line on which no expression of the rules matches.
    pub(crate) fn plain(&mut self, line: &[u8]) {
        self.lines += 1;
        if self.prose.as_ref().is_some_and(|p| p.until.is_at(line)) {
            self.prose = None;
        }
    }

    /// Lines on which no expression of the rules matches, outside of what people wrote.
    pub(crate) fn plain_lines(&mut self, count: u64) {
        self.lines += count;
    }

    /// Whether lines are a part of what people wrote, of which the end is awaited.
    pub(crate) fn awaits_end(&self) -> bool {
        self.prose.is_some()
    }

    /// The lines that have passed.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// The line in which a value began that has no end.
    #[must_use]
    pub fn open_value(&self) -> Option<u64> {
        self.prose.as_ref().filter(|p| p.quoted).map(|p| p.begun)
    }

    /// All that say different things, in order. What began and never ended was no banner, or the text is cut off: what
    /// stands in it counts as well.
    #[must_use]
    pub fn finish(self) -> Vec<FoundFailure> {
        let mut all = self.found;
        all.extend(self.prose.into_iter().flat_map(|p| p.found));
        all.sort_by_key(|f| f.line);
        all
    }
}

impl Until {
    fn is_at(&self, line: &[u8]) -> bool {
        match self {
            Self::Text(text) => memchr::memmem::find(line, text).is_some(),
            Self::Line(end) => end.is_match(line),
        }
    }
}

impl ProseRule {
    /// What ends it, where it begins with this line and goes on in the next.
    fn begins(&self, line: &[u8]) -> Option<Until> {
        let begun = self.start.captures(line)?;
        let until = match (begun.name("until"), &self.end) {
            (Some(text), _) if !text.is_empty() => Until::Text(text.as_bytes().to_vec()),
            (_, Some(end)) => Until::Line(end.clone()),
            _ => return None,
        };
        let from = begun.get(0).map_or(line.len(), |all| all.end());
        let rest = line.get(from..).unwrap_or_default();
        (rest.is_empty() || !until.is_at(rest)).then_some(until)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn rules() -> SuspectRules {
        let of = |text: &str| Regex::new(text).unwrap();
        let banner = ProseRule::until_its_mark(of(r"^banner \w+ (?<until>\^C|\S)"));
        SuspectRules {
            failure: vec![of("^% ?[A-Z]")],
            intrusions: vec![of(r"^\d\d:\d\d: %")],
            prose: vec![
                banner,
                ProseRule::new(of("^note$"), of("^EOF$")),
                ProseRule::new(of("^say \""), of("\"")).quoted(),
            ],
            ..SuspectRules::default()
        }
    }

    fn first(text: &str) -> Option<u64> {
        let (mut watch, rules) = (FailureWatch::default(), rules());
        for line in text.lines() {
            watch.line(line.as_bytes(), rules.failures());
        }
        watch.finish().first().map(|f| f.line)
    }

    #[test]
    fn a_banner_may_quote_an_error_and_the_text_around_it_may_not() {
        assert_eq!(first("a\nbanner motd ^C\n% Error\n^C\nb"), None);
        assert_eq!(first("banner motd ^C% Error^C\n% Error"), Some(2));
        assert_eq!(first("banner motd #x\n% Error\ny#\n% Error"), Some(4));
        assert_eq!(first("note\n% Error\nEOF\nb"), None);
        assert_eq!(first("interface a\n description % Error\n"), None);
    }

    #[test]
    fn a_banner_that_never_ends_hides_nothing() {
        assert_eq!(first("banner motd ^C\n% Error\nend"), Some(2));
        assert_eq!(first("% Error\nbanner motd ^C\n% Error\nend"), Some(1));
    }

    #[test]
    fn what_comes_in_between_is_seen_in_a_banner_too() {
        assert_eq!(first("banner motd ^C\n10:11: %LINK\n^C\nb"), Some(2));
    }

    #[test]
    fn a_value_over_several_lines_hides_failures_and_no_more() {
        let quoted = "say \"a\n% Error\nb\"\n";
        assert_eq!(first(quoted), None);
        assert_eq!(first(&format!("{quoted}% Error")), Some(4));
        assert_eq!(first("say \"a\n% Error\n"), Some(2), "it has no end");
        let open = |text: &str| {
            let (mut watch, rules) = (FailureWatch::default(), rules());
            for line in text.lines() {
                watch.line(line.as_bytes(), rules.failures());
            }
            watch.open_value()
        };
        assert_eq!((open(quoted), open("a\nsay \"b\nc"), open("note\nb")), (None, Some(2), None));
        let (mut watch, rules) = (FailureWatch::default(), rules());
        assert!(!watch.line(b"say \"a", rules.failures()) && !watch.line(b"b", rules.failures()));
    }

    #[test]
    fn lines_that_say_the_same_are_told_once() {
        let (mut watch, rules) = (FailureWatch::default(), rules());
        for line in ["% Error", "% Bad", "% Error"].into_iter().chain((b'A'..=b'Z').map(|_| "10:11: %LINK")) {
            watch.line(line.as_bytes(), rules.failures());
        }
        assert_eq!(watch.finish().iter().map(|f| f.line).collect::<Vec<_>>(), [1, 2, 4]);
    }

    proptest::proptest! {
        #[test]
        fn outside_of_prose_each_failure_is_found(lines in proptest::collection::vec("(% Error|banner motd ~|~|b|note|EOF)", 0..12)) {
            // Each line by itself, in the order of a careful reader.
            let (mut wanted, mut held, mut until) = (None, None, "");
            for (line, at) in lines.iter().zip(1..) {
                match (until, line.as_str()) {
                    ("", "% Error") => wanted = wanted.or(Some(at)),
                    ("", "banner motd ~") => until = "~",
                    ("", "note") => until = "EOF",
                    ("~" | "EOF", "% Error") => held = held.or(Some(at)),
                    ("~", l) if l.contains('~') => (until, held) = ("", None),
                    ("EOF", "EOF") => (until, held) = ("", None),
                    _ => {}
                }
            }
            let wanted: Option<u64> = [wanted, held].into_iter().flatten().min();
            proptest::prop_assert_eq!(first(&lines.join("\n")), wanted);
        }
    }
}
