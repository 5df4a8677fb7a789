//! One line of a known_hosts file (`sshd(8)`, "SSH_KNOWN_HOSTS FILE FORMAT").
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{KeyInit, Mac};

/// What a line says; keys are decoded when a host matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) hosts: Hosts,
    pub(crate) meaning: Meaning,
    /// `algorithm base64`.
    pub(crate) key: String,
}

/// What the key of a line is to its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// One that they prove themselves by.
    Key,
    /// One that is never to be trusted again.
    Revoked,
    /// One that signs their certificates.
    Authority,
}

/// For which hosts a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// One name, to be compared as it is.
    Exact(String),
    /// Several names, with wildcards or negations.
    Patterns(Vec<String>),
    /// A name that is not shown: HMAC-SHA1 of it under the salt.
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl Line {
    /// `None` for a comment, a blank line, and what is none of the form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // Editors of some systems begin a file by a byte order mark.
        let mut words = text.trim_start_matches('\u{feff}').split_ascii_whitespace();
        let mut first = words.next().filter(|w| !w.starts_with('#'))?;
        let marker = first.starts_with('@').then_some(first);
        if marker.is_some() {
            first = words.next()?;
        }
        let meaning = match marker {
            None => Meaning::Key,
            Some("@revoked") => Meaning::Revoked,
            Some("@cert-authority") => Meaning::Authority,
            Some(_) => return None,
        };
        let key = format!("{} {}", words.next()?, words.next()?);
        Some(Self { hosts: Hosts::parse(first)?, meaning, key })
    }
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        if let Some(hashed) = text.strip_prefix("|1|") {
            let (salt, hash) = hashed.split_once('|')?;
            return Some(Self::Hashed { salt: STANDARD.decode(salt).ok()?, hash: STANDARD.decode(hash).ok()? });
        }
        let text = text.to_ascii_lowercase();
        if text.contains([',', '*', '?', '!']) {
            return Some(Self::Patterns(text.split(',').filter(|p| !p.is_empty()).map(str::to_owned).collect()));
        }
        Some(Self::Exact(text))
    }

    /// Whether the line has this very name, and not by a wildcard.
    pub(crate) fn names(&self, name: &str) -> bool {
        match self {
            Self::Patterns(patterns) => patterns.iter().any(|p| p == name) && self.matches(name),
            other => other.matches(name),
        }
    }

    /// A name that both have, and not by a wildcard. Of two that hide their names nothing is known.
    pub(crate) fn in_common<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let of = |one: &'a Self, two: &Self| one.plain().find(|name| two.names(name));
        of(self, other).or_else(|| of(other, self))
    }

    /// The names that are written out.
    fn plain(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::Exact(host) => (Some(host), [].as_slice()),
            Self::Patterns(patterns) => (None, patterns.as_slice()),
            Self::Hashed { .. } => (None, [].as_slice()),
        };
        one.into_iter().chain(several).map(String::as_str).filter(|name| !name.contains(['*', '?', '!']))
    }

    /// Whether the line is for this name, in the form that [`name_in_file`](super::known_hosts) gives it.
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(host) => host == name,
            Self::Patterns(patterns) => {
                let negated = |p: &&String| p.starts_with('!');
                !patterns
                    .iter()
                    .filter(negated)
                    .any(|p| wildcard(p.trim_start_matches('!').as_bytes(), name.as_bytes()))
                    && patterns.iter().filter(|p| !negated(p)).any(|p| wildcard(p.as_bytes(), name.as_bytes()))
            }
            Self::Hashed { salt, hash } => {
                let Ok(mut mac) = hmac::Hmac::<sha1::Sha1>::new_from_slice(salt) else { return false };
                mac.update(name.as_bytes());
                mac.verify_slice(hash).is_ok()
            }
        }
    }
}

/// `*` is any run of characters, `?` any one. Linear in the product of the lengths, for hostile patterns too.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(a), Some(b)) if *a == b'?' || a == b => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read_as_openssh_writes_them() {
        let matches = |text: &str, name: &str| Line::parse(text).is_some_and(|l| l.hosts.matches(name));
        assert!(matches("r1 ssh-ed25519 AAAA comment", "r1"));
        assert!(matches("[r1]:2222 ssh-ed25519 AAAA", "[r1]:2222"));
        assert!(matches("R1,192.0.2.1 ssh-ed25519 AAAA", "192.0.2.1"));
        assert!(matches("*.example.net,!bad.example.net ssh-rsa AAAA", "r1.example.net"));
        assert!(!matches("*.example.net,!bad.example.net ssh-rsa AAAA", "bad.example.net"));
        // `ssh-keygen -H` made this one of "r1".
        let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(b"01234567890123456789").unwrap();
        mac.update(b"r1");
        let hash = STANDARD.encode(mac.finalize().into_bytes());
        let line = format!("|1|{}|{hash} ssh-ed25519 AAAA", STANDARD.encode(b"01234567890123456789"));
        assert!(matches(&line, "r1") && !matches(&line, "r2"));
        assert!(matches("\u{feff}r1 ssh-ed25519 AAAA", "r1"));
        for nothing in [
            "",
            "\u{feff}# mine",
            "# r1 ssh-rsa AAAA",
            "r1",
            "r1 ssh-rsa",
            "@other r1 ssh-rsa AAAA",
            "|1|x|y ssh-rsa A",
        ] {
            assert_eq!(Line::parse(nothing), None, "{nothing}");
        }
        assert_eq!(Line::parse("@revoked r1 ssh-rsa AAAA").unwrap().meaning, Meaning::Revoked);
        assert_eq!(Line::parse("@cert-authority * ssh-rsa AAAA").unwrap().meaning, Meaning::Authority);
    }

    proptest! {
        #[test]
        fn any_line_is_survived(text in ".*", name in ".*") {
            if let Some(line) = Line::parse(&text) {
                let _ = line.hosts.matches(&name);
            }
        }

        #[test]
        fn wildcards_agree_with_a_naive_matcher(pattern in "[ab*?]{0,7}", text in "[ab]{0,7}") {
            fn naive(p: &[u8], t: &[u8]) -> bool {
                match (p.first(), t.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => naive(&p[1..], t) || (!t.is_empty() && naive(p, &t[1..])),
                    (Some(b'?'), Some(_)) => naive(&p[1..], &t[1..]),
                    (Some(a), Some(b)) if a == b => naive(&p[1..], &t[1..]),
                    _ => false,
                }
            }
            prop_assert_eq!(wildcard(pattern.as_bytes(), text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
