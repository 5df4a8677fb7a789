//! Finding secrets line by line, by a platform's rules.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use devicevault_core::text::{BlockRule, SecretRule, TextRules};

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
            return if block.keep_end { SecretPart::Nothing } else { SecretPart::Line };
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

fn values(mut all: Vec<Vec<u8>>) -> SecretPart {
    all.retain(|v| !v.is_empty());
    if all.is_empty() { SecretPart::Nothing } else { SecretPart::Values(all) }
}

/// The groups named `secret…`; without one, the first group; without any, the whole match.
fn found(rule: &SecretRule, line: &[u8]) -> Vec<Vec<u8>> {
    let named: Vec<&str> = rule.line.capture_names().flatten().filter(|n| n.starts_with("secret")).collect();
    let of_one = |c: regex::bytes::Captures<'_>| -> Vec<Vec<u8>> {
        if named.is_empty() {
            let whole = if rule.line.captures_len() > 1 { c.get(1) } else { c.get(0) };
            return whole.map(|m| m.as_bytes().to_vec()).into_iter().collect();
        }
        named.iter().filter_map(|n| c.name(n)).map(|m| m.as_bytes().to_vec()).collect()
    };
    rule.line.captures_iter(line).flat_map(of_one).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use regex::bytes::Regex;

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
