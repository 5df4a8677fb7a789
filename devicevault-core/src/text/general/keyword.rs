//! Values behind the names of secrets: `password 7 X`, `secret=X`, `"token": "X"`, `<psk>X</psk>`.
//!
//! The last net beneath a platform's own rules. It masks the value and leaves the words between it and the name, and in
//! doubt it masks.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::ops::Range;

use super::names::{Class, class, class_of_element};
use super::words::{is_algorithm, is_modifier, is_plain, makes_key_plain, takes_an_argument};

/// So many words may stand between a name and its value.
const WORDS_BETWEEN: usize = 8;
/// So far a tag of XML is read.
const LONGEST_TAG: usize = 256;
/// Text of XML that is taken as it stands.
const CDATA: &[u8] = b"<![CDATA[";
/// So far before a name a list may begin.
const LONGEST_LIST: usize = 1024;
/// What a PIN has at least, and what goes by a word that says many other things.
const SHORTEST: usize = 4;

/// What the lines around one say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    /// It speaks of SNMP, or stands below a line that does.
    pub(super) snmp: bool,
}

/// The values behind the stems of names that were found in a line, in their order.
pub(super) fn values(line: &[u8], stems: &[Range<usize>], context: Context) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut done = 0;
    for stem in stems {
        // Within a name that was looked at, or a value.
        if stem.start < done {
            continue;
        }
        let name = name_around(line, stem);
        done = name.end;
        if masked_at(line, name.start) {
            continue;
        }
        let class = if in_a_tag(line, name.start) { class_of_element } else { class };
        let Some(class) = class(part(line, &name)) else { continue };
        if class == Class::Snmpv3 && !context.snmp || in_a_list(line, name.start) {
            continue;
        }
        if let Some(value) = value(line, &name, class, context) {
            // What stands for a value may be the next name: `pw api-key: X`.
            let text = part(line, &value);
            let name = text.split(|b| matches!(b, b'"' | b'\'' | b':' | b'=')).next().unwrap_or_default();
            // No name has capitals and digits: that is a secret with such a word in it.
            let random = name.iter().any(u8::is_ascii_uppercase) && name.iter().any(u8::is_ascii_digit);
            if random || super::names::class(name).is_none() {
                done = value.end;
            }
            found.push(value);
        }
    }
    found
}

/// A range, and the words behind it as long as it ends in one that stands before a value.
pub(super) fn with_value(line: &[u8], mut of: Range<usize>) -> Range<usize> {
    let words = Words { line, class: Class::Secret, tie: Tie::Blank, snmp: false, pair: false };
    let mut last = of.clone();
    for _ in 0..WORDS_BETWEEN {
        let text = part(line, &last);
        let next = blanks(line, last.end);
        let before = stands_before_a_value(text) && next > last.end;
        let Some((word, _)) = words.word(next).filter(|(w, _)| before && !is_structure(part(line, w))) else { break };
        last = words.quoted(next).unwrap_or(word);
        of.end = last.end;
    }
    of
}

/// Nobody's secret is such a word, or it is no secret for long.
pub(super) fn stands_before_a_value(word: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] = [b"secret", b"password", b"community", b"read", b"write", b"key"];
    let lower = word.to_ascii_lowercase();
    (is_modifier(word) && !NAMES.contains(&lower.as_slice()))
        || is_type(word)
        || is_address(word)
        || matches!(lower.as_slice(), b"option" | b"fallback" | b"inbound" | b"outbound" | b"ckn" | b"tcp-md5")
}

fn part<'a>(line: &'a [u8], at: &Range<usize>) -> &'a [u8] {
    line.get(at.clone()).unwrap_or_default()
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn name_around(line: &[u8], stem: &Range<usize>) -> Range<usize> {
    // A stem may end in the blank or the sign behind the name.
    let last = part(line, stem).iter().rposition(|b| is_of_a_name(*b)).map_or(stem.end, |at| stem.start + at + 1);
    let before = line.get(..stem.start).unwrap_or_default().iter().rev().take_while(|b| is_of_a_name(**b)).count();
    let after = line.get(last..).unwrap_or_default().iter().take_while(|b| is_of_a_name(**b)).count();
    stem.start - before..last + after
}

/// The name is the word of a mask.
fn masked_at(line: &[u8], name: usize) -> bool {
    let mask = name.checked_sub(1).and_then(|at| line.get(at..)).unwrap_or_default();
    let end = mask.iter().take(24).position(|b| *b == b'>').map_or(0, |at| at + 1);
    super::is_mask(mask.get(..end).unwrap_or_default())
}

/// `permissions [ secret view ]` lists names.
fn in_a_list(line: &[u8], at: usize) -> bool {
    let before = line.get(at.saturating_sub(LONGEST_LIST)..at).unwrap_or_default();
    let open = memchr::memrchr(b'[', before);
    let shut = memchr::memrchr(b']', before);
    open.is_some_and(|open| shut.is_none_or(|shut| shut < open) && before.get(open + 1).is_some_and(|b| *b == b' '))
}

/// How a name and its value are tied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tie {
    /// By a blank.
    Blank,
    /// By `=` or `:`.
    Sign,
}

fn value(line: &[u8], name: &Range<usize>, class: Class, context: Context) -> Option<Range<usize>> {
    let (at, tie) = match tied(line, name)? {
        After::Element(value) => {
            let text = part(line, &value);
            let enough = match class {
                Class::Snmpv3 => false,
                Class::Weak => says_enough(text),
                Class::Faint => looks_made_up(text),
                Class::Secret | Class::Key | Class::Community => true,
            };
            return enough.then_some(value);
        }
        After::Value(at, tie) => (at, tie),
    };
    let class =
        if class == Class::Weak && tie == Tie::Blank && is_of_a_login(line, name) { Class::Secret } else { class };
    match class {
        Class::Faint => return None,
        Class::Weak if tie == Tie::Blank || in_prose(line, name.start) => return None,
        // `authentication-types=wpa2-psk name=x`: the name is a value itself.
        _ if tie == Tie::Blank && before(line, name.start).is_some_and(|b| matches!(b, b'=' | b',')) => return None,
        Class::Community if tie == Tie::Blank && !context.snmp => return None,
        Class::Key if tie == Tie::Blank && word_before(line, name.start).is_some_and(makes_key_plain) => return None,
        _ => {}
    }
    let text = part(line, name).to_ascii_lowercase();
    let pair = text.ends_with(b"credential") || text.ends_with(b"credentials");
    let value = Words { line, class, tie, snmp: context.snmp, pair }.value(at)?;
    let value = if text.ends_with(b"phrase") && word_before(line, name.start).is_none_or(<[u8]>::is_empty) {
        with_words_behind(line, value)
    } else {
        value
    };
    (class != Class::Weak || says_enough(part(line, &value))).then_some(value)
}

/// Whether `pass` is said of somebody: `user bob pass X`; by itself it lets packets through.
fn is_of_a_login(line: &[u8], name: &Range<usize>) -> bool {
    const WHO: [&[u8]; 4] = [b"user", b"username", b"login", b"account"];
    let before = line.get(..name.start).unwrap_or_default();
    let mut words = before.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).rev();
    part(line, name).eq_ignore_ascii_case(b"pass")
        && words.nth(1).is_some_and(|who| WHO.iter().any(|w| who.eq_ignore_ascii_case(w)))
}

/// A phrase that begins its line may be of several words: all, where nothing else than words follows.
fn with_words_behind(line: &[u8], value: Range<usize>) -> Range<usize> {
    let rest = line.get(value.end..).unwrap_or_default();
    let is_word = |w: &[u8]| w.iter().all(u8::is_ascii_alphabetic) && !is_modifier(w) && !is_plain(w, Class::Secret);
    let words = rest.first().is_some_and(u8::is_ascii_whitespace)
        && !rest.trim_ascii().is_empty()
        && rest.trim_ascii().split(|b| *b == b' ').all(|w| !w.is_empty() && is_word(w));
    if words { value.start..value.end + rest.trim_ascii_end().len() } else { value }
}

/// Whether what stands behind a name that says many other things may be a secret.
fn says_enough(value: &[u8]) -> bool {
    value.len() >= SHORTEST && !is_plain(value, Class::Weak) && !is_hidden(value)
}

/// Whether a text may be a secret by itself: no number, and no word nor several joined by signs.
fn looks_made_up(value: &[u8]) -> bool {
    const LONGEST_NUMBER: usize = 10;
    const LONGEST_WORD: usize = 24;
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let word = digits == 0 && value.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'-' | b'_' | b'.' | b','));
    let number = digits == value.len() && digits <= LONGEST_NUMBER;
    says_enough(value) && !number && !(word && value.len() <= LONGEST_WORD)
}

/// Whether what stands here is what somebody wrote of something: `description pin=4711`, `comment="pass: all"`.
fn in_prose(line: &[u8], at: usize) -> bool {
    const WORDS: [&str; 5] = ["descr", "description", "comment", "comments", "remark"];
    let start = at.saturating_sub(LONGEST_LIST);
    let before = line.get(start..at).unwrap_or_default().to_ascii_lowercase();
    let named = WORDS.iter().filter_map(|w| memchr::memmem::rfind(&before, w.as_bytes()).map(|from| (from, w.len())));
    let Some((from, len)) = named.max() else { return false };
    let whole = from.checked_sub(1).and_then(|b| before.get(b)).is_none_or(|b| !is_of_a_name(*b));
    let Some(rest) = before.get(from + len..).filter(|_| whole) else { return false };
    // `"comment": "`, `comment="`, `<descr>`, and a blank alone.
    let signs =
        rest.iter().take_while(|b| matches!(b, b'"' | b'\'' | b'\\' | b'=' | b':' | b'>' | b' ' | b'\t')).count();
    let Some((tie, text)) = rest.split_at_checked(signs).filter(|(tie, _)| !tie.is_empty()) else { return false };
    match tie.iter().rposition(|b| matches!(b, b'"' | b'\'')).and_then(|quote| tie.get(quote)) {
        Some(quote) => !text.contains(quote),
        None if tie.contains(&b'>') => memchr::memmem::find(text, b"</").is_none(),
        None => !tie.contains(&b'=') && !tie.contains(&b':'),
    }
}

enum After {
    Value(usize, Tie),
    Element(Range<usize>),
}

/// Where the value may begin.
fn tied(line: &[u8], name: &Range<usize>) -> Option<After> {
    let mut at = name.end;
    let next = *line.get(at)?;
    if in_a_tag(line, name.start) && (next == b'>' || next == b' ') {
        let rest = line.get(at..line.len().min(at + LONGEST_TAG))?;
        if let Some(end) = memchr::memchr(b'>', rest).filter(|_| !rest.starts_with(b" =")) {
            let closed = rest.get(..end)?.ends_with(b"/");
            let mut from = at + end + 1;
            let mut until = &b"<"[..];
            if line.get(from..)?.starts_with(CDATA) {
                (from, until) = (from + CDATA.len(), b"]]>");
            }
            let to = memchr::memmem::find(line.get(from..)?, until).map_or(line.len(), |n| from + n);
            return (!closed && from < to).then_some(After::Element(from..to));
        }
    }
    let mut quoted = false;
    while line.get(at).is_some_and(|b| matches!(b, b'"' | b'\'' | b'\\')) {
        at += 1;
        quoted = true;
    }
    let blank = blanks(line, at);
    let sign = line.get(blank..)?;
    let signs = sign.iter().take(2).take_while(|b| matches!(b, b'=' | b':' | b'>')).count();
    if signs > 0 && sign.first() != Some(&b'>') {
        return Some(After::Value(blanks(line, blank + signs), Tie::Sign));
    }
    // The name ended a quoted text, or something else follows than a blank.
    (blank > at && !quoted).then_some(After::Value(blank, Tie::Blank))
}

/// Whether a name that begins here is that of an element, perhaps behind its namespace.
fn in_a_tag(line: &[u8], at: usize) -> bool {
    let mut before = line.get(..at).unwrap_or_default().iter().rev();
    match before.next() {
        Some(b'<') => true,
        Some(b':') => before.take(64).any(|b| *b == b'<'),
        _ => false,
    }
}

fn before(line: &[u8], at: usize) -> Option<u8> {
    at.checked_sub(1).and_then(|at| line.get(at)).copied()
}

fn blanks(line: &[u8], at: usize) -> usize {
    at + line.get(at..).unwrap_or_default().iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

fn word_before(line: &[u8], at: usize) -> Option<&[u8]> {
    let before = line.get(..at)?.trim_ascii_end();
    let start = before.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
    before.get(start..)
}

/// The words behind a name.
struct Words<'a> {
    line: &'a [u8],
    class: Class,
    tie: Tie,
    snmp: bool,
    /// A user's name stands before the secret.
    pair: bool,
}

impl Words<'_> {
    fn value(&self, mut at: usize) -> Option<Range<usize>> {
        let mut algorithm = self.class != Class::Snmpv3;
        let mut numbered = false;
        for count in 0..WORDS_BETWEEN {
            if let Some(value) = self.quoted(at) {
                let secret = algorithm && !value.is_empty() && !is_key_file(part(self.line, &value));
                return secret.then_some(value);
            }
            let (word, next) = self.word(at)?;
            let text = part(self.line, &word);
            if is_structure(text) || super::is_mask(text) || is_hidden(text) || is_key_file(text) {
                return None;
            }
            let last =
                self.word(next).is_none_or(|(w, _)| is_structure(part(self.line, &w))) && self.quoted(next).is_none();
            let hexadecimal = text.starts_with(b"0x") || text.starts_with(b"0X");
            algorithm |= is_algorithm(text) || hexadecimal && self.snmp;
            // Behind a sign comes the value; only the mark of its encryption may stand before it.
            let plainly = self.tie == Tie::Sign && count == 0 && !text.eq_ignore_ascii_case(b"enc");
            if !last && !plainly {
                if takes_an_argument(text) && self.tie == Tie::Blank {
                    at = self.word(next).map(|(_, after)| after)?;
                    continue;
                }
                if self.class == Class::Snmpv3 && class(text) == Some(Class::Secret) {
                    return None;
                }
                // `-password -passcrypt X`
                if text.starts_with(b"-") && class(text) == Some(Class::Secret) {
                    at = next;
                    continue;
                }
                let number = text.iter().all(u8::is_ascii_digit);
                if is_modifier(text)
                    || is_type(text)
                    || is_address(text)
                    || number && (numbered || self.is_number_of(next))
                {
                    numbered = is_algorithm(text) || matches!(text, b"esp" | b"ah");
                    at = next;
                    continue;
                }
            }
            if is_plain(text, self.class) || !algorithm {
                return None;
            }
            // `wep-key 128 X`: how long a key is, or a password of digits alone with something behind it.
            if !last && !plainly && self.class == Class::Secret && (is_length(text) || self.is_pair(next)) {
                let behind = self.quoted(next).or_else(|| self.word(next).map(|(value, _)| value));
                return behind.map(|value| word.start..value.end);
            }
            // The number of a key is none; nor is a public one's kind.
            let id = self.class == Class::Key && text.iter().all(u8::is_ascii_digit) && text.len() < 11;
            return (!id && !word.is_empty()).then_some(word);
        }
        None
    }

    /// Whether the name is one of a user and a password, and one word is left for the latter: `credentials bob X`.
    fn is_pair(&self, next: usize) -> bool {
        self.pair && self.word(next).is_some_and(|(_, end)| self.line.get(end..).is_none_or(<[u8]>::is_empty))
    }

    /// A number before the way in which the value is written tells which one it is.
    fn is_number_of(&self, next: usize) -> bool {
        self.class == Class::Key
            || self.word(next).is_some_and(|(w, after)| {
                let text = part(self.line, &w);
                (is_modifier(text) || is_type(text)) && (self.word(after).is_some() || self.quoted(after).is_some())
            })
    }

    /// A quoted value, without its quotes, to the line's end where they are not closed.
    fn quoted(&self, at: usize) -> Option<Range<usize>> {
        let rest = self.line.get(at..)?;
        let (quote, escaped) = match rest {
            [b'\\', q @ (b'"' | b'\''), ..] => (*q, 1),
            [q @ (b'"' | b'\''), ..] => (*q, 0),
            _ => return None,
        };
        let from = at + 1 + escaped;
        let mut to = from;
        while let Some(byte) = self.line.get(to) {
            match byte {
                b'\\' if escaped == 1 && self.line.get(to + 1) == Some(&quote) => break,
                b'\\' => to += 1,
                b if *b == quote => break,
                _ => {}
            }
            to += 1;
        }
        Some(from..to.min(self.line.len()))
    }

    /// A word, without the signs that end statements and lists, and where the next one begins.
    fn word(&self, at: usize) -> Option<(Range<usize>, usize)> {
        let rest = self.line.get(at..)?;
        let len = rest.iter().position(|b| matches!(b, b' ' | b'\t' | b'\r')).unwrap_or(rest.len());
        if len == 0 {
            return None;
        }
        let mut word = rest.get(..len)?;
        if let Some(tag) = memchr::memmem::find(word, b"</") {
            word = word.get(..tag)?;
        }
        while let [kept @ .., b';' | b',' | b'"' | b'\'' | b'\\' | b')' | b']' | b'}'] = word {
            if kept.is_empty() {
                break;
            }
            word = kept;
        }
        Some((at..at + word.len(), blanks(self.line, at + len)))
    }
}

/// Signs alone, which open and close.
fn is_structure(word: &[u8]) -> bool {
    word.iter().all(|b| matches!(b, b'{' | b'}' | b'[' | b']' | b'(' | b')' | b';' | b',' | b'|' | b'>' | b'\\' | b'!'))
        || matches!(word.first(), Some(b'{' | b'[')) && !is_of_a_scheme(word)
        || word.starts_with(b"##")
}

/// A password of LDAP behind its scheme (RFC 3112): `{SSHA}X`.
fn is_of_a_scheme(word: &[u8]) -> bool {
    let Some((scheme, value)) = memchr::memchr(b'}', word).and_then(|end| word.split_at_checked(end + 1)) else {
        return false;
    };
    let name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !value.is_empty() && scheme.len() > 4 && scheme.get(1..scheme.len() - 1).is_some_and(|s| s.iter().all(name))
}

/// The name of a file that a key stands in.
fn is_key_file(word: &[u8]) -> bool {
    const ENDS: [&[u8]; 6] = [b".key", b".pem", b".crt", b".p12", b".pfx", b".jks"];
    let of_a_path = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_' | b':' | b'~');
    ENDS.iter().any(|end| word.ends_with(end)) && word.iter().all(of_a_path)
}

/// What the device hides by itself.
fn is_hidden(word: &[u8]) -> bool {
    word.iter().all(|b| matches!(b, b'*' | b'.' | b'-' | b'#'))
}

/// The number of a way to encrypt.
fn is_type(word: &[u8]) -> bool {
    matches!(word, [b'0'..=b'9'] | b"10" | b"14" | b"15" | b"8a" | b"8A" | [b'0', b'0'..=b'9'])
}

/// How long a key is, in bits.
fn is_length(word: &[u8]) -> bool {
    matches!(
        word,
        b"40"
            | b"56"
            | b"64"
            | b"104"
            | b"128"
            | b"152"
            | b"192"
            | b"256"
            | b"384"
            | b"512"
            | b"1024"
            | b"2048"
            | b"4096"
    )
}

fn is_address(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|w| {
        w.split(['/', '%']).next().unwrap_or_default().parse::<std::net::IpAddr>().is_ok()
            || w.len() > 8
                && w.split(':').count() == 2
                && w.split(':').next().unwrap_or_default().parse::<std::net::Ipv4Addr>().is_ok()
    })
}
