//! Secrets of a recording, replaced by made-up ones of the same shape: the rules of a platform go on matching, and what
//! they cover is worth nothing.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};

use devicevault_core::text::{TextRules, begins_secret_key, ends_secret_key, secrets_of_line};
use devicevault_core::{Error, ErrorKind, Login, Result};
use regex::bytes::{Regex, RegexBuilder};

use super::finder::{SecretFinder, SecretPart, places};
use super::{ENABLE, PASSWORD, Parts, Recording, USERNAME};
use crate::escape::shown;
use crate::platform::Platform;
use crate::session::shown_text;

/// What is taken for a secret where nobody knows the platform's language, beside what
/// [`secrets_of_line`] finds: the group of each expression.
const GENERIC: [&str; 4] = [
    r"(?i)\bsnmp-server host \S+ (?:(?:traps?|informs?|vrf \S+|version \S+(?: (?:auth|noauth|priv))?) )*(\S+)",
    r"<(?:[\w-]*(?:hash|prv))>([^<]+)<",
    r"(?i)\b(?:auth|authentication) (?:md5|sha\S*) (\S+)",
    r"(?i)\bpriv(?:acy)? (?:des|3des|aes\S*) (?:\d+ )?(\S+)",
];

/// What may be a secret, where nothing tells for sure.
const SUSPICIOUS: [&str; 3] = [
    r"(?i)\bkey(?:\s*[=:]\s*|\s+)(\S{8,})",
    r"\b((?:[0-9a-fA-F]{2}){16,})\b",
    r"(?:^|[\s=:'\x22])([A-Za-z0-9+/]{40,}={0,2})(?:$|[\s;,'\x22])",
];

/// What stands for a part of the login.
const PLACEHOLDERS: [&str; 4] = [USERNAME, PASSWORD, ENABLE, "<passphrase>"];

/// Replaces secrets. The same secret is replaced by the same, within one disguise.
#[derive(Debug)]
pub struct Disguise {
    key: RandomState,
    generic: Vec<Regex>,
    suspicious: Vec<Regex>,
    /// What was made up: it looks like a secret and is none.
    made_up: BTreeSet<Vec<u8>>,
    /// How many times something was replaced.
    replaced: usize,
}

/// A line that may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspicion {
    /// What was typed before it came.
    pub after: String,
    /// The line, escaped.
    pub line: String,
}

impl Disguise {
    /// A new one: what it makes up is different from every other's.
    ///
    /// # Errors
    /// `Internal` when a built-in expression is wrong.
    pub fn new() -> Result<Self> {
        let compile = |list: &[&str]| {
            let built = list.iter().map(|p| RegexBuilder::new(p).unicode(false).build());
            built.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| {
                Error::new(ErrorKind::Internal, "compile expressions", "a built-in expression is wrong").because(e)
            })
        };
        let (generic, suspicious) = (compile(&GENERIC)?, compile(&SUSPICIOUS)?);
        Ok(Self { key: RandomState::new(), generic, suspicious, made_up: BTreeSet::new(), replaced: 0 })
    }

    /// Replaces what the platform's rules and the general ones take for a secret, in everything that came.
    pub fn apply(&mut self, recording: &mut Recording, platform: Option<&Platform>) {
        let Recording { opening, steps, .. } = recording;
        for text in std::iter::once(opening).chain(steps.iter_mut().map(|s| &mut s.receive)) {
            *text = self.text(text, platform);
        }
    }

    /// How many secrets are different, and at how many places they were replaced.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.made_up.len(), self.replaced)
    }

    /// Replaces them in bytes of whatever way, with the parts of the login that stand in them named.
    #[must_use]
    pub fn bytes(&mut self, bytes: &[u8], platform: Option<&Platform>, login: &Login) -> Vec<u8> {
        let parts = Parts::of(login);
        let text = String::from_utf8_lossy(bytes);
        let named = parts.named(&text);
        // What was typed and is a part of the login is named as a whole.
        if *text != *named && named.starts_with('<') {
            return named.into_bytes();
        }
        self.text(&parts.without_bytes(bytes), platform)
    }

    /// Lines that may still hold a secret.
    #[must_use]
    pub fn suspicions(&self, recording: &Recording) -> Vec<Suspicion> {
        let opening = std::iter::once(("", &recording.opening));
        let mut found = Vec::new();
        for (after, text) in opening.chain(recording.steps.iter().map(|s| (s.line(), &s.receive))) {
            for line in text.split(|b| *b == b'\n') {
                let suspect = |r: &Regex| {
                    let secrets = r.captures_iter(line).filter_map(|c| c.get(1));
                    secrets.into_iter().any(|s| !self.is_made_up(s.as_bytes()))
                };
                if self.suspicious.iter().any(suspect) {
                    found.push(Suspicion { after: after.to_owned(), line: shown(line, 120) });
                }
            }
        }
        found
    }

    /// Whether what looks like a secret is a made-up one, with what stands beside it or without.
    fn is_made_up(&self, value: &[u8]) -> bool {
        const TELLING: usize = 6;
        let holds = |of: &[u8], part: &[u8]| part.len() >= TELLING && memchr::memmem::find(of, part).is_some();
        self.made_up.iter().any(|m| m == value || holds(m, value) || holds(value, m))
    }

    fn text(&mut self, raw: &[u8], platform: Option<&Platform>) -> Vec<u8> {
        let rules = platform.and_then(Platform::text_rules);
        let continued = rules.and_then(|r| r.continued.as_ref());
        let mut out = Vec::with_capacity(raw.len());
        let mut finder = Finder::new(rules);
        let mut held = Vec::new();
        for line in raw.split_inclusive(|b| *b == b'\n') {
            held.extend_from_slice(line);
            if line.ends_with(b"\n") && continued.is_some_and(|c| c.is_match(&shown_text(line.trim_ascii_end()))) {
                continue;
            }
            let secrets = finder.secrets(&held, continued, &self.generic);
            out.extend(self.replaced(&held, secrets));
            held.clear();
        }
        let secrets = finder.secrets(&held, continued, &self.generic);
        out.extend(self.replaced(&held, secrets));
        out
    }

    /// The line with its secrets replaced. One that is not found in it as it stands (it was redrawn, or wrapped) costs
    /// every letter and digit of the line.
    fn replaced(&mut self, line: &[u8], mut secrets: Vec<Vec<u8>>) -> Vec<u8> {
        let mut line = line.to_vec();
        // The longest first: one may be a part of another.
        secrets.retain(|s| !s.is_empty());
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        secrets.dedup();
        let mut done: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            if PLACEHOLDERS.iter().any(|p| p.as_bytes() == secret) {
                continue;
            }
            let places = places(&line, &secret);
            if places.is_empty() && done.iter().any(|d| memchr::memmem::find(d, &secret).is_some()) {
                continue;
            }
            self.replaced += 1;
            let by = self.made_up_for(&secret);
            for at in &places {
                if let Some(place) = line.get_mut(*at..at + secret.len()) {
                    place.copy_from_slice(&by);
                }
            }
            if places.is_empty() {
                let all = self.made_up_for(&line);
                line = all;
            }
            done.push(secret);
        }
        line
    }

    /// Another text of the same shape: digits for digits, hexadecimal letters for such, other letters for letters.
    fn made_up_for(&mut self, secret: &[u8]) -> Vec<u8> {
        // `$9$` and the like name the way in which it was hashed.
        let named = match secret.strip_prefix(b"$").and_then(|rest| rest.iter().position(|b| *b == b'$')) {
            Some(end) if end < 8 => end + 2,
            _ => 0,
        };
        let one = |(i, byte): (usize, &u8)| {
            if i < named {
                return *byte;
            }
            let random = self.key.hash_one((secret, i));
            let pick = |from: u8, count: u64| from + u8::try_from(random % count).unwrap_or_default();
            match byte {
                b'0'..=b'9' => pick(b'0', 10),
                b'a'..=b'f' => pick(b'a', 6),
                b'g'..=b'z' => pick(b'g', 20),
                b'A'..=b'F' => pick(b'A', 6),
                b'G'..=b'Z' => pick(b'G', 20),
                0x80.. => b'x',
                other => *other,
            }
        };
        let by: Vec<u8> = secret.iter().enumerate().map(one).collect();
        self.made_up.insert(by.clone());
        by
    }
}

/// Finds the secrets of one line after the other.
struct Finder<'a> {
    rules: Option<SecretFinder<'a>>,
    in_key: bool,
    /// Where a line that speaks of SNMP is indented, while others stand below it.
    snmp: Option<usize>,
}

impl<'a> Finder<'a> {
    fn new(rules: Option<&'a TextRules>) -> Self {
        Self { rules: rules.map(SecretFinder::new), in_key: false, snmp: None }
    }

    /// Of a line, with those that it goes on in.
    fn secrets(&mut self, raw: &[u8], continued: Option<&Regex>, generic: &[Regex]) -> Vec<Vec<u8>> {
        let text = raw.strip_suffix(b"\n").unwrap_or(raw);
        let mut secrets: Vec<Vec<u8>> = Vec::new();
        if begins_secret_key(text) && !ends_secret_key(text) {
            self.in_key = true;
        } else if self.in_key {
            self.in_key = !ends_secret_key(text);
            if self.in_key {
                secrets.push(text.trim_ascii().to_vec());
            }
        }
        let seen = joined(text, continued);
        if let Some(rules) = &mut self.rules {
            match rules.line(&seen) {
                SecretPart::Nothing => {}
                SecretPart::Values(values) => secrets.extend(values),
                SecretPart::Line => secrets.push(seen.trim_ascii().to_vec()),
            }
        }
        let below = self.below_snmp(&seen);
        secrets.extend(secrets_of_line(&seen, below).into_iter().filter_map(|r| seen.get(r)).map(<[u8]>::to_vec));
        for expression in generic {
            secrets.extend(expression.captures_iter(&seen).filter_map(|c| c.get(1)).map(|m| m.as_bytes().to_vec()));
        }
        secrets
    }

    fn below_snmp(&mut self, line: &[u8]) -> bool {
        let indent = line.iter().take_while(|b| b.is_ascii_whitespace()).count();
        if self.snmp.is_some_and(|at| indent <= at && indent < line.len()) {
            self.snmp = None;
        }
        let below = self.snmp.is_some();
        if !below && line.windows(4).any(|w| w.eq_ignore_ascii_case(b"snmp")) {
            self.snmp = Some(indent);
        }
        below
    }
}

/// What a terminal shows of a line, and of those that it goes on in, as one.
fn joined(text: &[u8], continued: Option<&Regex>) -> Vec<u8> {
    let mut lines = text.split(|b| *b == b'\n');
    let mut all = shown_text(lines.next().unwrap_or_default());
    for line in lines {
        let end = all.trim_ascii_end().len();
        let end = continued.and_then(|c| c.find_iter(all.get(..end)?).last()).map_or(end, |m| m.start());
        all.truncate(end);
        all.extend_from_slice(shown_text(line).trim_ascii_start());
    }
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;

    fn disguised(text: &str) -> (String, Vec<Suspicion>) {
        let mut recording = Recording { opening: text.as_bytes().to_vec(), ..Recording::default() };
        let mut disguise = Disguise::new().unwrap();
        disguise.apply(&mut recording, None);
        let left = disguise.suspicions(&recording);
        (String::from_utf8(recording.opening).unwrap(), left)
    }

    #[test]
    fn secrets_go_and_their_shape_stays() {
        let secrets = [
            "enable secret 9 $9$nhEmQVczB7dqsO$X.HsgL6x1il0RxkOSSvyQYwucySCt7qFm4v7pqCxkKM",
            "username bob password 7 070C285F4D06",
            "snmp-server community s3cr3t RO",
            " pre-shared-key \"long and secret\"",
            "set password ENC SH2y7fKdNpQ5Tg==",
            "ip ftp url ftp://joe:hunter2@192.0.2.1/x",
        ];
        let text = secrets.join("\r\n");
        let (out, left) = disguised(&text);
        for secret in ["nhEmQVczB7dqsO", "070C285F4D06", "s3cr3t", "long and secret", "SH2y7fKdNpQ5Tg", "hunter2"] {
            assert!(!out.contains(secret), "{secret}: {out}");
        }
        assert_eq!(out.len(), text.len());
        assert!(out.contains("username bob password 7 ") && out.contains("enable secret 9 $9$"), "{out}");
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn the_same_secret_is_replaced_by_the_same_and_other_text_stays() {
        let (out, _) = disguised("password alpha99x\nhostname alpha\nsecret alpha99x\n");
        let values: Vec<_> = out.lines().filter_map(|l| l.split_once(' ')).map(|(_, v)| v).collect();
        assert_eq!(values[0], values[2]);
        assert_ne!(values[0], "alpha99x");
        assert_eq!(values[1], "alpha");
    }

    #[test]
    fn a_secret_that_the_device_breaks_over_lines_is_found() {
        let ros = crate::PlatformSet::built_in().get("mikrotik_routeros").unwrap();
        let mut disguise = Disguise::new().unwrap();
        let text =
            b"/ppp secret\r\nadd name=u pass\\\r\n    word=hunter2wrap\r\nadd secret=\"hunt\\\r\n    er2wrap\"\r\n";
        let out = String::from_utf8(disguise.text(text, Some(&ros))).unwrap();
        assert!(!out.contains("hunter2wrap") && !out.contains("er2wrap") && out.len() == text.len(), "{out}");
        assert_eq!(disguise.counts().1, 2);
    }

    #[test]
    fn what_may_be_a_secret_is_told() {
        let (_, left) = disguised("tunnel key 0123456789abcdef0123456789abcdef\nhostname a\n");
        assert_eq!(left.len(), 1);
        assert!(left[0].line.contains("tunnel key"));
    }
}
