//! Secrets that are found on every platform: by their shape, by the names before them, and in addresses.
//!
//! A platform's own rules know its language; these are the net beneath. One automaton over the literals that every such
//! secret has near it passes most lines in one go, and tells of the others which expressions are worth asking.

mod below;
mod key_blocks;
mod keyword;
mod names;
mod settings;
mod shapes;
mod userinfo;
mod words;

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, Input, MatchKind};
use regex::bytes::{Regex, RegexBuilder};

use super::prefilter::begin_of_line;
pub(super) use below::Below;
pub use key_blocks::{begins_secret_key, ends_secret_key};
use keyword::Context;
pub(super) use settings::{Above, is_setting};

/// What a literal announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// A part of the name of a secret.
    Stem,
    /// Of SNMP, where `auth` and `priv` announce secrets.
    Snmp,
    /// An address with a user in it.
    User,
    /// The frame of a key over several lines.
    Block,
    /// A shape: its place in the list.
    Shape(usize),
}

#[derive(Debug)]
struct Net {
    literals: AhoCorasick,
    signs: Vec<Sign>,
    shapes: Vec<Regex>,
    /// `auth` and `priv`.
    snmpv3: AhoCorasick,
}

static NET: LazyLock<Net> = LazyLock::new(Net::new);

impl Net {
    #[allow(clippy::expect_used, reason = "built-in expressions, all compiled by the first test that makes a view")]
    fn new() -> Self {
        let mut literals: Vec<&str> = Vec::new();
        let mut signs = Vec::new();
        for &stem in names::STEMS {
            literals.push(stem);
            signs.push(if stem == "snmp" || stem == "usm" { Sign::Snmp } else { Sign::Stem });
        }
        literals.push("@");
        signs.push(Sign::User);
        for literal in key_blocks::NEAR {
            literals.push(literal);
            signs.push(Sign::Block);
        }
        for (i, (near, _)) in shapes::SHAPES.iter().enumerate() {
            for literal in *near {
                literals.push(literal);
                signs.push(Sign::Shape(i));
            }
        }
        let automaton = |of: &[&str]| {
            // Every line of every text passes it: the few hundred KiB of a whole table are worth it.
            let built = AhoCorasickBuilder::new()
                .kind(Some(AhoCorasickKind::DFA))
                .match_kind(MatchKind::Standard)
                .ascii_case_insensitive(true)
                .build(of);
            built.expect("a small automaton")
        };
        let compile = |pattern: &str| RegexBuilder::new(pattern).unicode(false).build().expect("a built-in expression");
        Self {
            literals: automaton(&literals),
            snmpv3: automaton(&["auth", "priv"]),
            signs,
            shapes: shapes::SHAPES.iter().map(|(_, pattern)| compile(pattern)).collect(),
        }
    }
}

/// Whether a line ends in the first line of a private key that has no frame.
fn ends_in_bare_key(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let long = line.iter().rev().take_while(|b| is_base64(**b)).count() >= LEAST_OF_KEY;
    let found = NET.shapes.get(shapes::BARE_KEY).filter(|_| long).and_then(|shape| shape.captures(line));
    found.and_then(|f| f.get(1)).is_some_and(|key| key.end() == line.len())
}

/// A word of fewer letters may be one of a language.
const LEAST_OF_KEY: usize = 16;

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Whether a line may hold such a secret: a quick no for most.
pub(super) fn concerns(line: &[u8]) -> bool {
    NET.literals.is_match(line)
}

/// Where the next line begins, of those from `at` on, that may hold such a secret. `at` is where a line begins.
pub(super) fn next_concerned(lines: &[u8], at: usize) -> Option<usize> {
    // No literal holds a line end.
    let found = NET.literals.find(Input::new(lines).span(at..lines.len()))?;
    Some(begin_of_line(lines, at..found.start()))
}

/// Where the secrets of a line stand; they may overlap. `by_name`: also those that only a name announces. `below_snmp`
/// tells whether the line stands below one that speaks of SNMP.
pub(super) fn secrets(line: &[u8], by_name: bool, below_snmp: impl Fn() -> bool) -> Vec<Range<usize>> {
    let net = &*NET;
    let mut stems: Vec<Range<usize>> = Vec::new();
    let (mut asked, mut user, mut snmp) = (0_u64, false, false);
    for found in net.literals.find_overlapping_iter(line) {
        match net.signs.get(found.pattern().as_usize()) {
            Some(Sign::Stem) => stems.push(found.range()),
            Some(Sign::Snmp) => {
                stems.push(found.range());
                snmp = true;
            }
            Some(Sign::User) => user = true,
            Some(Sign::Shape(i)) => asked |= 1 << i,
            Some(Sign::Block) | None => {}
        }
    }
    let mut all = Vec::new();
    for shape in net.shapes.iter().enumerate().filter(|(i, _)| asked & (1 << i) != 0).map(|(_, r)| r) {
        for found in shape.captures_iter(line) {
            let ranges = found.iter().skip(1).flatten().map(|m| keyword::with_value(line, m.range()));
            all.extend(ranges.filter(|r| !is_mask(line.get(r.clone()).unwrap_or_default())));
        }
    }
    let passwords = if user { userinfo::passwords(line) } else { Vec::new() };
    all.extend(passwords.iter().filter(|r| !is_mask(line.get((*r).clone()).unwrap_or_default())).cloned());
    if by_name && !stems.is_empty() {
        if snmp {
            stems.extend(net.snmpv3.find_iter(line).map(|m| m.range()));
        }
        stems.sort_unstable_by_key(|r| (r.start, r.end));
        let context = Context { snmp: snmp || below_snmp() };
        all.extend(
            keyword::values(line, &stems, context)
                .into_iter()
                .filter(|r| !is_mask(line.get(r.clone()).unwrap_or_default()) && !is_address(line, r, &passwords)),
        );
    }
    all.retain(|r| !r.is_empty());
    all
}

/// The secrets of a line that are found without knowing its platform. `below_snmp`: the line stands below one that
/// speaks of SNMP. In the order of the line; ranges may overlap.
///
/// ```
/// use devicevault_core::text::secrets_of_line;
///
/// assert_eq!(secrets_of_line(b"username bob password 7 0822455D0A16", false), [24..36]);
/// assert!(secrets_of_line(b"service password-encryption", false).is_empty());
/// ```
#[must_use]
pub fn secrets_of_line(line: &[u8], below_snmp: bool) -> Vec<Range<usize>> {
    let mut found = if concerns(line) { secrets(line, true, || below_snmp) } else { Vec::new() };
    // By its shape, and by the name before it.
    found.sort_unstable_by_key(|r| (r.start, r.end));
    found.dedup();
    found
}

/// A range that is taken for a secret, and what it announces where it is no more than the word before one.
pub(super) fn with_value(line: &[u8], of: Range<usize>) -> Range<usize> {
    keyword::with_value(line, of)
}

/// A value that is the address of something, with a password in it: that one alone is the secret.
fn is_address(line: &[u8], value: &Range<usize>, passwords: &[Range<usize>]) -> bool {
    let inside = |p: &&Range<usize>| value.start < p.start && p.end <= value.end;
    let Some(password) = passwords.iter().find(inside) else { return false };
    line.get(value.start..password.start).is_some_and(|before| memchr::memmem::find(before, b"://").is_some())
}

/// What was masked before is no secret: a text may be looked through again.
pub(super) fn is_mask(value: &[u8]) -> bool {
    let Some(inner) = value.strip_prefix(b"<secret").and_then(|rest| rest.strip_suffix(b">")) else { return false };
    match inner {
        [] => true,
        [b':', digits @ ..] => digits.len() == 12 && digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

/// Where masks stand in a text.
pub(super) fn masks(text: &[u8]) -> Vec<Range<usize>> {
    const LONGEST: usize = 21;
    let begun = memchr::memmem::find_iter(text, b"<secret").filter_map(|at| {
        let rest = text.get(at..text.len().min(at + LONGEST))?;
        let end = at + memchr::memchr(b'>', rest)? + 1;
        text.get(at..end).is_some_and(is_mask).then_some(at..end)
    });
    begun.collect()
}

/// Whether a range begins within a mask, or holds masks and, beside them, nothing but quotes, the words that stand before a
/// value, and the address that a password was masked in.
pub(super) fn was_masked(text: &[u8], range: Range<usize>, masks: &[Range<usize>]) -> bool {
    if masks.iter().any(|m| m.start < range.start && range.start < m.end) {
        return true;
    }
    let mut within = masks.iter().filter(|m| m.start < range.end && range.start < m.end).peekable();
    if within.peek().is_none() {
        return false;
    }
    let says_nothing = |part: &[u8]| {
        let mut words = part.split(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'\\'));
        words.all(|word| word.is_empty() || keyword::stands_before_a_value(word))
    };
    let (mut at, mut in_address) = (range.start, false);
    let before = within.all(|mask| {
        let part = text.get(std::mem::replace(&mut at, mask.end)..mask.start).unwrap_or_default();
        in_address = part.ends_with(b":") && memchr::memmem::find(part, b"://").is_some();
        in_address || says_nothing(part)
    });
    let rest = text.get(at..range.end).unwrap_or_default();
    before && if in_address { rest.starts_with(b"@") } else { says_nothing(rest) }
}

#[cfg(test)]
mod tests;
