//! A part of a content, as an argument says it: the byte ranges of HTTP (RFC 9110, section 14.1.2).

use std::ops::Range;
use std::str::FromStr;

use devicevault_core::{Error, ErrorKind, Result};

/// Bytes counted from 0, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteRange {
    /// `A-B`
    Between(u64, u64),
    /// `A-`
    From(u64),
    /// `-N`
    Last(u64),
}

impl FromStr for ByteRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write 0-99, 100- or -100".to_owned();
        // `u64::from_str` takes a plus sign.
        let number = |s: &str| {
            let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| s.parse::<u64>().ok()).flatten().ok_or_else(wrong)
        };
        match text.split_once('-').ok_or_else(wrong)? {
            ("", last) => match number(last)? {
                0 => Err("of the last 0 bytes there are none".to_owned()),
                n => Ok(Self::Last(n)),
            },
            (from, "") => Ok(Self::From(number(from)?)),
            (from, to) => match (number(from)?, number(to)?) {
                (from, to) if from <= to => Ok(Self::Between(from, to)),
                _ => Err("it ends before it begins".to_owned()),
            },
        }
    }
}

impl ByteRange {
    /// The bytes that this means of a content of so many, the end not included. What is beyond the end is left out.
    ///
    /// # Errors
    /// `Config` where it begins behind the end.
    pub(crate) fn within(self, size: u64) -> Result<Range<u64>> {
        let range = match self {
            Self::Between(from, to) => from..to.saturating_add(1).min(size),
            Self::From(from) => from..size,
            Self::Last(n) => size.saturating_sub(n)..size,
        };
        if range.start < size {
            return Ok(range);
        }
        Err(Error::new(ErrorKind::Config, "read range", "it begins behind the end").with("size", size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_those_of_http() {
        let of = |text: &str, size| text.parse::<ByteRange>().unwrap().within(size).ok();
        assert_eq!(of("0-0", 10), Some(0..1));
        assert_eq!(of("2-4", 10), Some(2..5));
        assert_eq!(of("2-", 10), Some(2..10));
        assert_eq!(of("-3", 10), Some(7..10));
        assert_eq!(of("-30", 10), Some(0..10));
        assert_eq!(of("9-18446744073709551615", 10), Some(9..10));
        for none in ["10-", "10-12"] {
            assert_eq!(of(none, 10), None);
        }
        assert_eq!(of("0-", 0), None);
        for wrong in ["", "-", "5", "5-4", "-0", "+1-2", "1-+2", "a-b", "1-2-3", "1 - 2", "18446744073709551616-"] {
            assert!(wrong.parse::<ByteRange>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_within_or_refused(text in "[-+0-9a]{0,24}", size: u64) {
            if let Ok(range) = text.parse::<ByteRange>()
                && let Ok(part) = range.within(size)
            {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }
    }
}
