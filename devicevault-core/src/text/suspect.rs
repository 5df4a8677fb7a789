//! Whether a text may not be what the device holds.
//!
//! Reasons go where texts do not: into the catalog, manifests, commit messages and logs. So they quote nothing of a text
//! but what the platform's own expressions match; a line that was cut off may be the one with the secret.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use crate::Digest;
use crate::text::failure::{FoundFailure, MOST};
use crate::text::{FailureWatch, SuspectRules};

/// Watches the lines of a text as they pass.
#[derive(Debug, Default)]
pub struct SuspectCheck {
    watch: FailureWatch,
    last: Vec<u8>,
    /// Which of the required lines were seen.
    seen: Vec<bool>,
    /// A line was seen after which the end marker is due.
    due: bool,
    stated: Option<StatedLength>,
    /// Lines that are neither blank nor a comment, as long as none looks like a configuration's.
    said: u64,
    shaped: bool,
}

/// How long a device says that its text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatedLength {
    /// What it says, in bytes.
    pub stated: u64,
    /// What came after the line that says so, in bytes.
    pub arrived: u64,
}

impl StatedLength {
    /// Whether more than a tenth is missing. Devices count neither exactly nor all alike.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.arrived < self.stated - self.stated / 10
    }
}

const SHOWN: usize = 120;
/// A length is stated among the first so many lines, or in the text of somebody's.
const HEAD: u64 = 10;
/// A text of fewer lines may be a message in place of the text.
const FEW: u64 = 10;

impl SuspectCheck {
    /// Before the first line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A line that no rule matches.
    pub(crate) fn plain(&mut self, line: &[u8], rules: &SuspectRules) {
        self.watch.plain(line);
        self.pass(line, rules);
    }

    /// Whether each line is to be looked at, though no rule matches it.
    pub(crate) fn is_watching(&self, rules: &SuspectRules) -> bool {
        self.watch.awaits_end() || rules.shape.is_some() && !self.shaped && self.said < FEW
    }

    /// Lines that no rule matches, each with its line end, while none is to be looked at.
    pub(crate) fn plain_lines(&mut self, lines: &[u8], count: u64) {
        self.watch.plain_lines(count);
        if let Some(length) = &mut self.stated {
            length.arrived += lines.len() as u64;
        }
        let said = lines.trim_ascii_end().len();
        let (before, after) = lines.split_at(said);
        if !before.is_empty() {
            let begin = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
            let blank = memchr::memchr(b'\n', after).unwrap_or(after.len());
            self.last.clear();
            self.last.extend_from_slice(lines.get(begin..said + blank).unwrap_or_default());
        }
    }

    fn pass(&mut self, line: &[u8], rules: &SuspectRules) {
        if let Some(shape) = rules.shape.as_ref().filter(|_| !self.shaped && self.said < FEW) {
            // A comment tells nothing: headings of ours are comments too.
            let comment = matches!(line.trim_ascii_start().first(), None | Some(b'!' | b'#' | b';'));
            self.said += u64::from(!comment);
            self.shaped = shape.is_match(line);
        }
        if let Some(length) = &mut self.stated {
            length.arrived += line.len() as u64 + 1;
        }
        if !line.trim_ascii().is_empty() {
            self.last.clear();
            self.last.extend_from_slice(line);
        }
    }

    /// A line, without its line end.
    pub fn line(&mut self, line: &[u8], rules: &SuspectRules) {
        self.pass(line, rules);
        if self.watch.line(line, rules.failures()) {
            return;
        }
        self.due |= rules.end_marker_after.as_ref().is_some_and(|r| r.is_match(line));
        self.seen.resize(rules.required.len(), false);
        for (seen, required) in self.seen.iter_mut().zip(&rules.required) {
            *seen |= required.is_match(line);
        }
        if self.stated.is_none() && self.watch.lines() <= HEAD {
            self.stated = rules.stated_length.as_ref().and_then(|r| {
                let bytes = r.captures(line)?.name("bytes")?;
                let stated = std::str::from_utf8(bytes.as_bytes()).ok()?.parse().ok()?;
                Some(StatedLength { stated, arrived: 0 })
            });
        }
    }

    /// How long the device says that the text is, where it says so.
    #[must_use]
    pub fn stated_length(&self) -> Option<StatedLength> {
        self.stated
    }

    /// Why the text is suspect; nothing where it is not. `mark` makes of the digest of a line what tells it from others and
    /// tells nobody what it says: it is made under a key.
    #[must_use]
    pub fn finish(self, rules: &SuspectRules, mark: impl Fn(&Digest) -> String) -> Vec<String> {
        let mut why = Vec::new();
        let due = self.due || rules.end_marker_after.is_none();
        if let Some(marker) = &rules.end_marker
            && due
            && !marker.is_match(&self.last)
        {
            why.push(format!("the end marker is missing; the text ends at line {}", self.watch.lines()));
        }
        if rules.shape.is_some() && !self.shaped && self.said < FEW && self.watch.lines() > 0 {
            why.push(format!(
                "none of its {} lines looks like one of a configuration; it may be a message in its place",
                self.watch.lines()
            ));
        }
        let mut seen = self.seen.into_iter();
        for required in &rules.required {
            if !seen.next().unwrap_or(false) {
                // The platform's own expression, as its file has it.
                let expression: String = required.as_str().chars().filter(|c| !c.is_control()).take(SHOWN).collect();
                why.push(format!("it lacks a line that every whole text has: '{expression}'"));
            }
        }
        if let Some(begun) = self.watch.open_value() {
            why.push(format!("a value that begins in line {begun} has no end"));
        }
        let end = self.watch.lines();
        let mut messages = self.watch.finish();
        let more = messages.len() > MOST;
        messages.truncate(MOST);
        // What stands at the end may be why there is no more.
        let marked = |f: &FoundFailure| (f.line.saturating_add(LAST) <= end).then(|| mark(&f.whole));
        let named = messages.len().min(NAMED);
        let (named, rest) = messages.split_at(named);
        for found in named {
            let mark = marked(found).map(|mark| format!("{MARK}{mark}]")).unwrap_or_default();
            why.push(format!("{MESSAGE}'{}' in line {}{mark}", shown(&found.matched), found.line));
        }
        if !rest.is_empty() {
            let marks = rest.iter().map(marked).collect::<Option<Vec<_>>>().filter(|_| !more);
            let marks = marks.map(|marks| format!("{MARK}{}]", marks.join(" "))).unwrap_or_default();
            let least = if more { "more than " } else { "" };
            why.push(format!("{MORE}{least}{}{marks}", rest.len()));
        }
        why
    }
}

/// How a reason begins that tells of a message, or of those that are not named, and what stands before the marks of lines.
const MESSAGE: &str = "it holds a message of the device that is no part of it: ";
const MORE: &str = "it holds more messages of the device than are named here: ";
const MARK: &str = " [";
/// So many messages are named.
const NAMED: usize = 5;
/// A message in one of so many last lines has no mark.
const LAST: u64 = 3;

/// The marks of the lines that a reason to be suspect tells of, where all of them stand amid a text: what a person took for
/// good in one version is no reason in the next, wherever the very same lines stand.
#[must_use]
pub fn told_marks(reason: &str) -> Vec<&str> {
    let told = reason.strip_prefix(MESSAGE).or_else(|| reason.strip_prefix(MORE));
    let marks = told.and_then(|told| Some(told.strip_suffix(']')?.rsplit_once(MARK)?.1));
    marks.map(|marks| marks.split(' ').collect()).unwrap_or_default()
}

fn shown(line: &[u8]) -> String {
    let cut = line.get(..SHOWN).unwrap_or(line);
    cut.trim_ascii().escape_ascii().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use crate::text::ShapeRule;
    use regex::bytes::Regex;

    fn of(text: &str) -> Regex {
        Regex::new(text).unwrap()
    }

    fn judged(text: &str, rules: &SuspectRules) -> (Vec<String>, Option<StatedLength>) {
        let mut check = SuspectCheck::new();
        text.lines().for_each(|l| check.line(l.as_bytes(), rules));
        let length = check.stated_length();
        (check.finish(rules, |line| line.to_string().split_off(60)), length)
    }

    fn check(text: &str) -> Vec<String> {
        let (end_marker, failure) = (Some(of("^end$")), vec![of("^% Invalid input")]);
        let rules = SuspectRules { end_marker, failure, ..SuspectRules::default() };
        judged(text, &rules).0
    }

    #[test]
    fn a_whole_text_is_not_suspect_and_a_cut_or_failed_one_is() {
        assert!(check("hostname a\nend\n\n").is_empty());
        assert_eq!(check("hostname a\n").len(), 1);
        assert_eq!(check("").len(), 1);
        assert_eq!(check("% Invalid input detected\nend").len(), 1);
        assert_eq!(check("% Invalid input detected\n").len(), 2);
    }

    #[test]
    fn nothing_is_quoted_that_may_be_a_secret() {
        let why = check("a\n% Invalid input: community s3cret\nsnmp-server community s3cret");
        assert_eq!(why.len(), 2);
        assert!(why[0].ends_with("at line 3") && why[1].ends_with("'% Invalid input' in line 2"), "{why:?}");
    }

    #[test]
    fn a_message_is_the_same_wherever_the_very_line_stands_but_at_the_end() {
        let of = |text: &str| told_marks(&check(text)[0]).first().map(|mark| (*mark).to_owned());
        let one = of("% Invalid input\na\nb\nend");
        assert!(one.is_some());
        assert_eq!(one, of("a\nb\n% Invalid input\na\nb\nend"));
        assert_ne!(one, of("% Invalid input: other\na\nb\nend"), "another line of which the same is shown");
        for at_the_end in ["a\n% Invalid input\nb\nend", "a\n% Invalid input\nend", "a\nend\n% Invalid input"] {
            assert!(check(at_the_end).iter().all(|reason| told_marks(reason).is_empty()), "{at_the_end}");
        }
        assert_eq!(of("a"), None);
    }

    #[test]
    fn of_many_messages_some_are_named_and_that_there_are_more_is_told() {
        let rules = SuspectRules { failure: vec![of("^% .*")], ..SuspectRules::default() };
        let of = |n: usize, after: &str| (0..n).map(|i| format!("% {i}\n")).collect::<String>() + after;
        let many = |n: usize| judged(&of(n, "a\nb\nc\n"), &rules).0;
        assert_eq!((many(NAMED).len(), many(NAMED + 1).len(), many(500).len()), (NAMED, NAMED + 1, NAMED + 1));
        assert!(many(NAMED + 2)[NAMED].starts_with(&format!("{MORE}2 [")), "{:?}", many(NAMED + 2));
        assert_eq!(
            (told_marks(&many(NAMED + 2)[NAMED]).len(), told_marks(&many(MOST)[NAMED]).len()),
            (2, MOST - NAMED)
        );
        assert!(told_marks(&many(MOST + 1)[NAMED]).is_empty(), "those beyond the bound are not told apart");
        let at_the_end = judged(&of(NAMED + 2, ""), &rules).0;
        assert!(told_marks(&at_the_end[NAMED]).is_empty(), "{at_the_end:?}");
    }

    #[test]
    fn a_text_without_its_head_is_suspect() {
        let required = vec![of("^version"), of("^(?:hostname|switchname) ")];
        let rules = SuspectRules { required, ..SuspectRules::default() };
        assert!(judged("version 1\nhostname a\n", &rules).0.is_empty());
        assert_eq!(judged("hostname a\nend\n", &rules).0, ["it lacks a line that every whole text has: '^version'"]);
        assert_eq!(judged("", &rules).0.len(), 2);
        assert_eq!(judged(" version 1\n description hostname a\n", &rules).0.len(), 2);
    }

    #[test]
    fn a_few_lines_that_are_like_no_configuration_are_suspect() {
        let shape = Some(ShapeRule::new(of("^(?:hostname|vlan) "), of("not")));
        let rules = SuspectRules { shape, ..SuspectRules::default() };
        let suspect = |text: &str| !judged(text, &rules).0.is_empty();
        assert!(suspect("You may not.\n"));
        assert!(suspect("vlan is not ready\nplease wait\n"));
        assert!(suspect("! show running-config\n\n! show vlan\n"), "headings say nothing");
        assert!(suspect(&format!("{}Nothing.\n", "! a comment\n".repeat(50))));
        assert!(!suspect("vlan 1\n"));
        assert!(!suspect("Please wait\nhostname a\n"));
        assert!(!suspect(&"a line\n".repeat(10)), "that many lines are no message");
        assert!(suspect(&"a line\n".repeat(9)));
        assert!(!suspect(""), "its size tells");
        assert!(judged("You may not.\n", &SuspectRules::default()).0.is_empty());
    }

    #[test]
    fn an_end_may_be_due_only_after_a_beginning() {
        let (end_marker, end_marker_after) = (Some(of("^return$")), Some(of("^ version ")));
        let rules = SuspectRules { end_marker, end_marker_after, ..SuspectRules::default() };
        assert!(judged("interface 1\n", &rules).0.is_empty());
        assert!(judged(" version 7\nreturn\n", &rules).0.is_empty());
        assert_eq!(judged(" version 7\ninterface 1\n", &rules).0.len(), 1);
    }

    #[test]
    fn a_stated_length_is_compared_with_what_comes_after() {
        let stated_length = Some(of(r"^Current configuration : (?<bytes>\d+) bytes$"));
        let rules = SuspectRules { stated_length, ..SuspectRules::default() };
        let length = |text: &str| judged(text, &rules).1;
        assert_eq!(length("hostname a\n"), None);
        let found = length("Building\n\nCurrent configuration : 100 bytes\n!\nend\n").unwrap();
        assert_eq!((found.stated, found.arrived, found.is_short()), (100, 6, true));
        assert!(!StatedLength { stated: 100, arrived: 90 }.is_short());
        assert!(StatedLength { stated: 100, arrived: 89 }.is_short());
        assert!(!StatedLength { stated: 0, arrived: 0 }.is_short());
        assert!(StatedLength { stated: u64::MAX, arrived: 0 }.is_short());
        // In somebody's text, or more than a number can be.
        assert_eq!(length(&format!("{}Current configuration : 9 bytes\n", "!\n".repeat(10))), None);
        assert_eq!(length("Current configuration : 99999999999999999999999 bytes\n"), None);
    }
}
