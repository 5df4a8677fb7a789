//! Magic numbers: what the first bytes of a file say that it is.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};

/// The bytes of a file that a magic number may look at.
const FARTHEST: usize = 64 << 10;
/// The longest magic number.
const LONGEST: usize = 256;

/// Magic numbers that have a name, most of them of file(1).
const NAMED: &[(&str, &[&str])] = &[
    ("7z", &["377abcaf271c"]),
    ("bzip2", &["425a68"]),
    ("cpio", &["303730373031", "303730373032", "303730373037"]),
    ("elf", &["7f454c46"]),
    ("gzip", &["1f8b"]),
    ("iso9660", &["32769:4344303031"]),
    ("lz4", &["04224d18"]),
    ("macho", &["feedface", "feedfacf", "cefaedfe", "cffaedfe"]),
    ("pdf", &["25504446"]),
    ("pe", &["4d5a"]),
    ("pem", &["2d2d2d2d2d424547494e20"]),
    ("rar", &["526172211a07"]),
    ("script", &["2321"]),
    ("sqlite", &["53514c69746520666f726d6174203300"]),
    ("squashfs", &["68737173", "73717368"]),
    ("tar", &["257:7573746172"]),
    ("ubi", &["55424923"]),
    ("uimage", &["27051956"]),
    ("xml", &["3c3f786d6c", "efbbbf3c3f786d6c"]),
    ("xz", &["fd377a585a00"]),
    ("zip", &["504b0304", "504b0506", "504b0708"]),
    ("zstd", &["28b52ffd"]),
];

/// What the first bytes of a file have to be: a name (`gzip`, `elf`, …), or hexadecimal digits, `??` for any byte, behind
/// an offset where they do not begin the file (`257:7573746172`).
///
/// ```
/// use devicevault_core::file_rules::Magic;
///
/// let gzip: Magic = "gzip".parse()?;
/// assert!(gzip.matches(b"\x1f\x8b\x08\x00"));
/// let own: Magic = "4: 42 4b ?? 01".parse()?;
/// assert!(own.matches(b"\0\0\0\0BK\x07\x01") && !own.matches(b"BK\x07\x01"));
/// assert_eq!(own.to_string(), "4:424b??01");
/// # Ok::<(), devicevault_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Magic {
    name: Option<&'static str>,
    /// Any of them.
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    offset: usize,
    /// `None`: any byte.
    bytes: Vec<Option<u8>>,
}

impl Magic {
    /// The names that may be used.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// Whether a file that begins so is of this type. A file that is shorter than what is looked at is not.
    #[must_use]
    pub fn matches(&self, head: &[u8]) -> bool {
        self.patterns.iter().any(|p| p.matches(head))
    }

    /// So many first bytes are enough to tell.
    #[must_use]
    pub fn needs(&self) -> usize {
        self.patterns.iter().map(|p| p.offset + p.bytes.len()).max().unwrap_or_default()
    }

    /// Reads a list, separated by commas.
    ///
    /// # Errors
    /// `Config` that quotes the entry that is none.
    pub fn list(text: &str) -> Result<Vec<Self>> {
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::parse).collect()
    }
}

impl Pattern {
    fn matches(&self, head: &[u8]) -> bool {
        let there = head.get(self.offset..self.offset + self.bytes.len());
        there.is_some_and(|there| there.iter().zip(&self.bytes).all(|(is, want)| want.is_none_or(|want| want == *is)))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let (offset, digits) = match text.split_once(':') {
            None => (0, text.as_str()),
            Some((offset, digits)) => {
                let offset = offset.parse().map_err(|_| "what stands before the colon is no offset in bytes")?;
                (offset, digits)
            }
        };
        let mut bytes = Vec::new();
        let mut rest = digits.chars();
        while let Some(first) = rest.next() {
            let Some(second) = rest.next() else { return Err("a byte has two hexadecimal digits".to_owned()) };
            bytes.push(match (first, second) {
                ('?', '?') => None,
                (a, b) => match (a.to_digit(16), b.to_digit(16)) {
                    // Two digits make at most 255.
                    (Some(a), Some(b)) => Some((a * 16 + b) as u8),
                    _ => return Err("it is neither a name nor hexadecimal digits, with ?? for any byte".to_owned()),
                },
            });
        }
        if bytes.len() > LONGEST || offset > FARTHEST {
            return Err(format!("it is longer than {LONGEST} bytes, or begins behind the first {FARTHEST}"));
        }
        if bytes.iter().all(Option::is_none) {
            return Err("it names no byte, so that every file would do".to_owned());
        }
        Ok(Self { offset, bytes })
    }
}

impl FromStr for Magic {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let wrong = |why: String| {
            let names: Vec<_> = Self::names().collect();
            Error::new(ErrorKind::Config, "read magic number", why).with("value", text.escape_debug()).hint(format!(
                "write hexadecimal digits such as 1f8b or 257:7573746172, or one of {}",
                names.join(", ")
            ))
        };
        if let Some((name, patterns)) = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            let patterns = patterns.iter().map(|p| Pattern::parse(p)).collect::<Result<_, _>>().map_err(wrong)?;
            return Ok(Self { name: Some(name), patterns });
        }
        Ok(Self { name: None, patterns: vec![Pattern::parse(text).map_err(wrong)?] })
    }
}

impl fmt::Display for Magic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.name {
            return f.write_str(name);
        }
        for pattern in &self.patterns {
            if pattern.offset > 0 {
                write!(f, "{}:", pattern.offset)?;
            }
            for byte in &pattern.bytes {
                match byte {
                    Some(byte) => write!(f, "{byte:02x}")?,
                    None => f.write_str("??")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_name_reads_and_none_could_be_hexadecimal() {
        for name in Magic::names() {
            let magic: Magic = name.parse().unwrap();
            assert_eq!(magic.to_string(), name);
            assert!(magic.needs() >= 2 && !magic.matches(b""));
            assert!(Pattern::parse(name).is_err(), "{name} could be meant as bytes");
        }
        let mut tar = vec![0; 257];
        assert!(!"tar".parse::<Magic>().unwrap().matches(&tar));
        tar.extend_from_slice(b"ustar");
        assert!("tar".parse::<Magic>().unwrap().matches(&tar));
        assert!("ZIP".parse::<Magic>().unwrap().matches(b"PK\x05\x06"));
    }

    #[test]
    fn what_is_no_magic_number_is_refused() {
        for bad in
            ["", "gz", "1f8", "x1", "????", "-1:00", "65537:00", "1:2:00", ":", "4:", &"00".repeat(257), "+1:00zz"]
        {
            assert!(bad.parse::<Magic>().is_err(), "{bad}");
        }
        assert_eq!(Magic::list("gzip, 504b0304,, 3:00").unwrap().len(), 3);
        assert!(Magic::list("gzip, nonsense").unwrap_err().to_string().contains("nonsense"));
        assert!(Magic::list(" ").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_matches_its_own_bytes(
            offset in 0usize..300, bytes in proptest::collection::vec(proptest::option::weighted(0.8, any::<u8>()), 1..20), before in any::<u8>()
        ) {
            prop_assume!(bytes.iter().any(Option::is_some));
            let magic = Magic { name: None, patterns: vec![Pattern { offset, bytes: bytes.clone() }] };
            let read: Magic = magic.to_string().parse().unwrap();
            prop_assert_eq!(&read, &magic);
            let mut file = vec![before; offset];
            file.extend(bytes.iter().map(|b| b.unwrap_or(before)));
            prop_assert!(read.matches(&file));
            // One byte fewer is another file, and so is one with another byte.
            prop_assert!(!read.matches(&file[..file.len() - 1]));
            let at = bytes.iter().position(Option::is_some).unwrap() + offset;
            file[at] ^= 1;
            prop_assert!(!read.matches(&file));
        }

        #[test]
        fn nothing_that_is_read_panics(text in "\\PC{0,40}", head in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(magic) = text.parse::<Magic>() {
                let _ = magic.matches(&head);
                prop_assert_eq!(magic.to_string().parse::<Magic>().unwrap(), magic);
            }
            let _ = Magic::list(&text);
        }
    }
}
