//! Values that stand in the lines below the names of secrets, as YAML has them: `password: |`; and the lines of a private
//! key without a frame below its first.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::ops::Range;

use super::names::{Class, class};
use super::{LEAST_OF_KEY, ends_in_bare_key, is_base64};

/// What has more of it in the lines below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum Below {
    /// A name whose value stands in lines that begin further right.
    Name {
        indent: usize,
        /// The value is any text that stands there; otherwise one word.
        literal: bool,
    },
    /// The first line of a private key.
    Key,
}

impl Below {
    /// Of a line that is a name with nothing but the sign of a value behind it, or ends in the beginning of a key.
    pub(in crate::text) fn of(line: &[u8]) -> Option<Self> {
        if ends_in_bare_key(line) {
            return Some(Self::Key);
        }
        let text = line.trim_ascii_end();
        let (name, literal) = match text.strip_suffix(b":") {
            Some(name) => (name, false),
            None => {
                let colon = memchr::memrchr(b':', text)?;
                let (name, sign) = text.split_at_checked(colon)?;
                // `|`, `>-`, `|2+` (YAML 1.2, 8.1.1).
                let sign = sign.get(1..)?.trim_ascii_start();
                let rest = sign.strip_prefix(b"|").or_else(|| sign.strip_prefix(b">"))?;
                let is_of_it = |b: &u8| matches!(b, b'+' | b'-') || b.is_ascii_digit();
                (rest.len() <= 2 && rest.iter().all(is_of_it)).then_some((name, true))?
            }
        };
        let indent = indent(line);
        let mut name = name.trim_ascii();
        while let Some(entry) = name.strip_prefix(b"- ") {
            name = entry.trim_ascii_start();
        }
        let quote = |b: &u8| matches!(b, b'"' | b'\'');
        let name = match name {
            [first, name @ .., last] if quote(first) && first == last => name,
            name => name,
        };
        let is_name =
            !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        (is_name && class(name) == Some(Class::Secret)).then_some(Self::Name { indent, literal })
    }

    /// What of a line below is the value; `None`: it ended before. An empty line within it is nothing of it.
    pub(in crate::text) fn value(&self, line: &[u8]) -> Option<Range<usize>> {
        let (from, to) = (indent(line), line.trim_ascii_end().len());
        let Self::Name { indent, literal } = self else {
            let text = line.get(from..to)?;
            let is_more = text.len() >= LEAST_OF_KEY || text.ends_with(b"=");
            return (is_more && text.iter().all(|b| is_base64(*b))).then_some(from..to);
        };
        if from >= to {
            return literal.then_some(to..to);
        }
        let text = line.get(from..to)?;
        let is_word = || {
            !matches!(text, [b'-' | b'#' | b'{' | b'[' | b'<' | b'}' | b'|', ..])
                && !text.iter().any(|b| b.is_ascii_whitespace() || *b == b':' || *b == b'=')
        };
        (from > *indent && (*literal || is_word())).then_some(from..to)
    }
}

fn indent(line: &[u8]) -> usize {
    line.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_whose_value_stands_below_are_told_from_others() {
        for line in ["secret:", "  password: |", "- \"api_token\": >-", "  - private_key: |2+ ", "'db-password':"] {
            assert!(Below::of(line.as_bytes()).is_some(), "{line}");
        }
        for line in [
            "password: x",
            "name: |",
            "the password:",
            "secret: | x",
            "secret",
            "",
            ":",
            "key:",
            "pass:",
            "ssh_key: |",
            "secret {",
        ] {
            assert_eq!(Below::of(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_key_without_a_frame_goes_on_as_long_as_it_looks_like_one() {
        let key = Below::of(b"  MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj").unwrap();
        assert_eq!(key, Below::Key);
        for (line, value) in [
            ("  MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3S", Some(2..34)),
            ("dfw==", Some(0..5)),
            ("exit", None),
            ("", None),
            ("a-b c", None),
        ] {
            assert_eq!(key.value(line.as_bytes()), value, "{line}");
        }
        for other in ["MIIDXTCCAkWgAwIBAgIJAJC1HiIAZAiIMA0GCSqGSIb3", "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"] {
            assert_eq!(Below::of(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_value_is_what_stands_further_right() {
        let literal = Below::of(b"  password: |").unwrap();
        assert_eq!(literal.value(b"    two words: x "), Some(4..16));
        assert_eq!(literal.value(b""), Some(0..0));
        assert_eq!(literal.value(b"  user: x"), None);
        let plain = Below::of(b"secret:").unwrap();
        assert_eq!(plain.value(b"  S3cret"), Some(2..8));
        for line in ["", "  name: x", "  - x", "  two words", "name", "  x=y", "  {"] {
            assert_eq!(plain.value(line.as_bytes()), None, "{line}");
        }
    }
}
