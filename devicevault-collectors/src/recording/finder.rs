//! Finding secrets line by line, by a platform's rules.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use devicevault_core::text::{BlockRule, SecretRule, TextRules, secrets_of_line};

/// What of a line is secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SecretPart {
    Nothing,
    /// These texts in it.
    Values(Vec<Vec<u8>>),
    /// All of it.
    Line,
}

/// Looks at one line after the other.
#[derive(Debug)]
pub(super) struct SecretFinder<'a> {
    rules: &'a TextRules,
    block: Option<&'a BlockRule>,
    /// The lines that the next one may stand below, with their indentation.
    above: Vec<(usize, Vec<u8>)>,
}

impl<'a> SecretFinder<'a> {
    pub(super) fn new(rules: &'a TextRules) -> Self {
        Self { rules, block: None, above: Vec::new() }
    }

    pub(super) fn line(&mut self, line: &[u8]) -> SecretPart {
        if let Some(block) = self.block {
            if !block.end.is_match(line) {
                return SecretPart::Line;
            }
            self.block = None;
            if !block.keep_end {
                return SecretPart::Line;
            }
            // What ends one block may begin the next.
            if !self.rules.secret_blocks.iter().any(|b| b.start.is_match(line)) {
                return SecretPart::Nothing;
            }
        }
        let starts = self.rules.secret_blocks.iter().find_map(|b| Some((b, b.start.captures(line)?)));
        if let Some((block, found)) = starts {
            let kept = found.name("keep").map_or(line.len(), |k| k.end());
            let hidden = line.get(kept..).unwrap_or_default().to_vec();
            if hidden.is_empty() || !block.end.is_match(line) {
                self.block = Some(block);
            }
            return values(vec![hidden]);
        }
        let indent = line.iter().take_while(|b| b.is_ascii_whitespace()).count();
        while self.above.last().is_some_and(|(i, _)| *i >= indent) {
            self.above.pop();
        }
        let secrets = self.rules.secrets.iter().filter(|r| self.concerns(r)).flat_map(|r| found(r, line)).collect();
        if !line.trim_ascii().is_empty() {
            self.above.push((indent, line.to_vec()));
        }
        values(secrets)
    }

    fn concerns(&self, rule: &SecretRule) -> bool {
        rule.within.as_ref().is_none_or(|header| self.above.iter().any(|(_, line)| header.is_match(line)))
    }
}

/// Where a secret stands in a line. One of few letters is a word there: as a part of others it is none.
pub(super) fn places(line: &[u8], secret: &[u8]) -> Vec<usize> {
    const SHORT: usize = 4;
    let all: Vec<usize> = memchr::memmem::find_iter(line, secret).collect();
    let in_word = |at: Option<usize>| at.and_then(|at| line.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let is_word = |at: &usize| !in_word(at.checked_sub(1)) && !in_word(at.checked_add(secret.len()));
    let words: Vec<usize> = all.iter().copied().filter(is_word).collect();
    if secret.len() < SHORT && !words.is_empty() { words } else { all }
}

/// What may be shown of one line that stands alone: what is secret in it is `<secret>`.
pub(crate) fn without_secrets(line: &[u8], rules: Option<&TextRules>) -> Vec<u8> {
    const MASK: &[u8] = b"<secret>";
    let mut values = match rules.map(|r| SecretFinder::new(r).line(line)) {
        Some(SecretPart::Line) => return MASK.to_vec(),
        Some(SecretPart::Values(values)) => values,
        _ => Vec::new(),
    };
    values.extend(secrets_of_line(line, false).into_iter().filter_map(|r| line.get(r)).map(<[u8]>::to_vec));
    values.sort_by_key(|v| std::cmp::Reverse(v.len()));
    let mut out = line.to_vec();
    for value in values.iter().filter(|v| !v.is_empty() && !MASK.windows(v.len()).any(|w| w == v.as_slice())) {
        let (mut masked, mut at) = (Vec::new(), 0);
        for place in places(&out, value) {
            masked.extend_from_slice(out.get(at..place).unwrap_or_default());
            masked.extend_from_slice(MASK);
            at = place + value.len();
        }
        masked.extend_from_slice(out.get(at..).unwrap_or_default());
        out = masked;
    }
    out
}

fn values(mut all: Vec<Vec<u8>>) -> SecretPart {
    all.retain(|v| !v.is_empty());
    if all.is_empty() { SecretPart::Nothing } else { SecretPart::Values(all) }
}

fn found(rule: &SecretRule, line: &[u8]) -> Vec<Vec<u8>> {
    rule.find(line).into_iter().filter_map(|r| line.get(r)).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use regex::bytes::Regex;

    #[test]
    fn a_short_secret_is_a_word() {
        assert_eq!(places(b"community c security-name c", b"c"), [10, 26]);
        assert_eq!(places(b"key=abc", b"ab"), [4], "where it is no word it is found all the same");
        assert_eq!(places(b"longer, no-longer", b"longer"), [0, 11]);
        assert_eq!(places(b"none", b"x"), [0_usize; 0]);
    }

    #[test]
    fn a_line_alone_is_shown_without_its_secrets() {
        let mut rules = TextRules::default();
        rules.secrets.push(SecretRule::new(Regex::new("^word (?<secret>.*)$").unwrap()));
        let shown = |line: &str| String::from_utf8(without_secrets(line.as_bytes(), Some(&rules))).unwrap();
        assert_eq!(shown("word hunter2 and more"), "word <secret>");
        assert_eq!(shown("set url https://u:hunter2@192.0.2.1/"), "set url https://u:<secret>@192.0.2.1/");
        assert_eq!(shown("password 7 0822455D0A16"), "password 7 <secret>");
        assert_eq!(shown("hostname sw1"), "hostname sw1");
    }

    #[test]
    fn lines_blocks_and_headers_are_minded() {
        let rule = |r: &str| SecretRule::new(Regex::new(r).unwrap());
        let mut rules = TextRules::default();
        rules.secrets.push(rule(r"^ *key (?<secret>\S+)").within(Regex::new("^radius").unwrap()));
        rules.secrets.push(rule(r"^password (\S+)"));
        rules.secret_blocks.push(BlockRule::new(Regex::new("^begin").unwrap(), Regex::new("^end").unwrap()));
        let mut finder = SecretFinder::new(&rules);
        let one = |v: &str| SecretPart::Values(vec![v.as_bytes().to_vec()]);
        for (line, part) in [
            ("key a", SecretPart::Nothing),
            ("radius x", SecretPart::Nothing),
            (" key b", one("b")),
            ("password c", one("c")),
            ("begin", SecretPart::Nothing),
            ("password", SecretPart::Line),
            ("end", SecretPart::Nothing),
            ("key d", SecretPart::Nothing),
        ] {
            assert_eq!(finder.line(line.as_bytes()), part, "{line}");
        }
    }
}
