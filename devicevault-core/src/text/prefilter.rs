//! Where in a text any of many expressions has something to say.

use std::ops::Range;

use regex_automata::meta;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};
use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look};

use crate::{Error, ErrorKind, Result};

/// All expressions about single lines as one automaton, which finds the next line that any of them matches.
///
/// It passes over many lines in one search. Each expression means what it means of one line by itself: `^` and `$` are
/// the line's ends, and nothing matches a line end.
///
/// ```
/// use devicevault_core::text::Prefilter;
///
/// let filter = Prefilter::new(["^snmp-server community", "(?i)password[^:]*$"], false)?;
/// assert!(filter.is_match(b"snmp-server community x RO"));
/// assert_eq!(filter.next_line(b"a\nmy Password\nb\n", 0), Some(2));
/// assert_eq!(filter.next_line(b"a\nmy Password\nb\n", 14), None);
/// # Ok::<(), devicevault_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Prefilter(meta::Regex);

/// Bytes that the automaton may take, and, per thread, the part of it that is made as texts need it.
const SIZE: usize = 64 << 20;

impl Prefilter {
    /// Of expressions of the crate `regex`, with its flag `unicode` as they were compiled with. Other flags have to stand in
    /// the expressions themselves, as in `(?i)password`.
    ///
    /// # Errors
    /// `Config` for what is no expression, and where all together are too large.
    pub fn new<S: AsRef<str>>(expressions: impl IntoIterator<Item = S>, unicode: bool) -> Result<Self> {
        let refused = |why: &str| Error::new(ErrorKind::Config, "compile expressions", why.to_owned());
        let syntax = syntax::Config::new().unicode(unicode).utf8(false);
        let parsed = expressions.into_iter().map(|expression| {
            let parsed = syntax::parse_with(expression.as_ref(), &syntax);
            parsed.map(|hir| within_a_line(&hir)).map_err(|e| refused("one cannot be read").because(e))
        });
        let config = meta::Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .utf8_empty(false)
            .which_captures(WhichCaptures::Implicit)
            .nfa_size_limit(Some(SIZE))
            .hybrid_cache_capacity(SIZE);
        let built = meta::Builder::new().configure(config).build_many_from_hir(&parsed.collect::<Result<Vec<_>>>()?);
        built.map(Self).map_err(|e| refused("they are too large to be matched together").because(e))
    }

    /// Whether any of them matches a line.
    #[must_use]
    pub fn is_match(&self, line: &[u8]) -> bool {
        self.0.is_match(line)
    }

    /// Where the first line begins, of those from `at` on, that any of them matches. `at` is where a line begins.
    #[must_use]
    pub fn next_line(&self, text: &[u8], at: usize) -> Option<usize> {
        // No match goes over a line's end: where it ends tells the line, too, and is found sooner than where it begins.
        let end = self.0.search_half(&Input::new(text).range(at.min(text.len())..))?.offset();
        // Behind the last line end there is no line.
        let is_behind = end == text.len() && text.last().is_none_or(|b| *b == b'\n');
        (!is_behind).then(|| begin_of_line(text, at..end))
    }
}

/// Where the line begins that goes on behind a part of a text, which begins with a line.
pub(super) fn begin_of_line(text: &[u8], before: Range<usize>) -> usize {
    let part = text.get(before.clone()).unwrap_or_default();
    memchr::memrchr(b'\n', part).map_or(before.start, |end| before.start + end + 1)
}

/// The same expression of a line in a text of many: no part of it matches a line end.
fn within_a_line(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Literal(literal) if literal.0.contains(&b'\n') => Hir::fail(),
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            class.difference(&ClassUnicode::new([ClassUnicodeRange::new('\n', '\n')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Class(Class::Bytes(class)) => {
            let mut class = class.clone();
            class.difference(&ClassBytes::new([ClassBytesRange::new(b'\n', b'\n')]));
            Hir::class(Class::Bytes(class))
        }
        HirKind::Look(Look::Start) => Hir::look(Look::StartLF),
        HirKind::Look(Look::End) => Hir::look(Look::EndLF),
        HirKind::Repetition(repetition) => Hir::repetition(repetition.with(within_a_line(&repetition.sub))),
        // Nobody asks for groups here.
        HirKind::Capture(capture) => within_a_line(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(within_a_line).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(within_a_line).collect()),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Look(_) => hir.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::bytes::{Regex, RegexBuilder};

    use super::*;

    const EXPRESSIONS: [&str; 12] = [
        "^ab",
        "b$",
        r"\Aa b\z",
        r"a\s+b",
        "c[^a]*c",
        r"(?i)\bkey\b",
        r"x(?<secret>\S+)?y",
        "^$",
        r"^\s+$",
        r"a\nb|é.",
        "(?s)d.d",
        "(?m)^e$",
    ];

    fn compiled(unicode: bool) -> (Vec<Regex>, Vec<Prefilter>) {
        let one = |e: &&str| RegexBuilder::new(e).unicode(unicode).build().unwrap();
        (
            EXPRESSIONS.iter().map(one).collect(),
            EXPRESSIONS.iter().map(|e| Prefilter::new([e], unicode).unwrap()).collect(),
        )
    }

    fn lines_found(filter: &Prefilter, text: &[u8]) -> Vec<usize> {
        let (mut at, mut found) = (0, Vec::new());
        while let Some(line) = filter.next_line(text, at) {
            found.push(line);
            let Some(end) = memchr::memchr(b'\n', &text[line..]) else { break };
            at = line + end + 1;
        }
        found
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let refused = Prefilter::new(["a", "("], false).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config);
        assert!(Prefilter::new([r"(?:\w{1000}){1000}"], true).is_err());
    }

    #[test]
    fn nothing_and_no_expressions_find_nothing() {
        let none = Prefilter::new(std::iter::empty::<&str>(), false).unwrap();
        assert_eq!((none.next_line(b"a\n\n", 0), none.is_match(b"")), (None, false));
        let empty = Prefilter::new(["^$"], false).unwrap();
        assert_eq!(
            (empty.next_line(b"", 0), empty.next_line(b"a\n", 0), empty.next_line(b"a\n\nb\n", 0)),
            (None, None, Some(2))
        );
    }

    proptest! {
        #[test]
        fn the_lines_found_are_those_that_match_by_themselves(
            text in "[abcdexyk ey\n\r\t\u{e9}]{0,60}", broken in proptest::collection::vec(any::<u8>(), 0..4), unicode in any::<bool>(),
        ) {
            let text = [text.as_bytes(), &broken, b"\n"].concat();
            let (each, filters) = compiled(unicode);
            for (one, filter) in each.iter().zip(&filters) {
                let (mut at, mut want) = (0, Vec::new());
                for line in text.split_inclusive(|b| *b == b'\n') {
                    let by_itself = line.strip_suffix(b"\n").unwrap_or(line);
                    prop_assert_eq!(one.is_match(by_itself), filter.is_match(by_itself), "{} of {:?}", one, by_itself);
                    if one.is_match(by_itself) {
                        want.push(at);
                    }
                    at += line.len();
                }
                prop_assert_eq!(lines_found(filter, &text), want, "{} of {:?}", one, text);
            }
            let all = Prefilter::new(EXPRESSIONS, unicode).unwrap();
            let mut any: Vec<usize> = filters.iter().flat_map(|f| lines_found(f, &text)).collect();
            any.sort_unstable();
            any.dedup();
            prop_assert_eq!(lines_found(&all, &text), any);
        }
    }
}
