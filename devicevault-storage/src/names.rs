//! Names of devices, sites and artefacts as components of a path.
//!
//! A name comes from a person, an inventory or a device, and may hold anything. [`component`] turns it into one path
//! component that is safe on every file system and object store in use: readable ASCII stays, the rest is
//! percent-encoded (RFC 3986, section 2.1).
//!
//! # What is promised
//! - The result is one normal component: never empty, `.`, `..` or hidden, no separator, no control character, not a
//!   device name of Windows (`CON`, `nul.txt`), no dot or blank at its end, no hyphen at its beginning, all ASCII.
//! - It is at most [`MAX_COMPONENT`] bytes long. What is longer is cut and ends in `~` and 128 bits of its SHA-256.
//! - Different names give different components: the encoding can be reversed, and `~` appears nowhere else.
//! - Case is kept, for the sake of the reader. On a file system that folds case, `Core` and `core` share a folder; file
//!   names within it carry an identity of their own (see [`plain`](crate)), so that they never share a file.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The longest component that is made, in bytes. File systems allow 255: there is room for suffixes.
pub const MAX_COMPONENT: usize = 200;

/// Length of `~` and the hash behind it.
const HASH_SUFFIX: usize = 1 + 32;

/// Turns any text into one safe component of a path; see the [module](self) for what is promised.
///
/// ```
/// use devicevault_storage::names::component;
///
/// assert_eq!(component("sw1.example.net"), "sw1.example.net");
/// assert_eq!(component("../../etc/x"), "%2E.%2F..%2Fetc%2Fx");
/// assert_eq!(component("NUL"), "%4EUL");
/// ```
#[must_use]
pub fn component(name: &str) -> String {
    if name.is_empty() {
        return "~empty".to_owned();
    }
    guard(name, is_plain)
}

/// Makes a component out of components and plain text: what is encoded stays as it is.
#[cfg(feature = "plain")]
pub(crate) fn joined(parts: &str) -> String {
    guard(parts, |byte| is_plain(byte) || matches!(byte, b'%' | b'~'))
}

/// Encodes what is not to be kept, and what would make the whole unsafe; cuts what is too long.
fn guard(name: &str, keep: impl Fn(u8) -> bool) -> String {
    let reserved = is_reserved(name);
    let last = name.len().saturating_sub(1);
    let mut out = String::with_capacity(name.len());
    for (i, byte) in name.bytes().enumerate() {
        let first_unsafe = i == 0 && (reserved || matches!(byte, b'.' | b'-' | b' '));
        let last_unsafe = i == last && matches!(byte, b'.' | b' ');
        if keep(byte) && !first_unsafe && !last_unsafe {
            out.push(char::from(byte));
        } else {
            // Writing into a string has no way to fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    fit(out)
}

/// Cuts a component that is too long, and lets a hash of the whole stand for the rest. The text is safe already.
fn fit(safe: String) -> String {
    if safe.len() <= MAX_COMPONENT {
        return safe;
    }
    let mut keep = MAX_COMPONENT - HASH_SUFFIX;
    // An escape is not cut in half.
    let bytes = safe.as_bytes();
    while keep > 0 && bytes.get(keep.saturating_sub(2)..keep).is_some_and(|tail| tail.contains(&b'%')) {
        keep -= 1;
    }
    format!("{}{}", safe.get(..keep).unwrap_or_default(), hash_suffix(&safe))
}

/// `~` and 128 bits of the SHA-256 of a text.
pub(crate) fn hash_suffix(text: &str) -> String {
    let hash = hex::encode(Sha256::digest(text.as_bytes()));
    format!("~{}", hash.get(..HASH_SUFFIX - 1).unwrap_or_default())
}

/// Bytes that stand for themselves. `%` and `~` mean something here; the others are left out because a shell, a URL or
/// some file system gives them a meaning.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.+=@, ()".contains(&byte)
}

/// Whether Windows takes the name for a device, with or without an extension ("Naming Files, Paths, and Namespaces").
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" => true,
        other => {
            let digit = other.strip_prefix("COM").or_else(|| other.strip_prefix("LPT"));
            digit.is_some_and(|d| d.len() == 1 && d.bytes().all(|b| b.is_ascii_digit()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    /// The way back, for names that were not cut.
    fn decode(safe: &str) -> Option<String> {
        let mut out = Vec::new();
        let mut bytes = safe.bytes();
        while let Some(b) = bytes.next() {
            if b == b'%' {
                let hex = [bytes.next()?, bytes.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
            } else {
                out.push(b);
            }
        }
        String::from_utf8(out).ok()
    }

    fn check(name: &str) -> Result<(), TestCaseError> {
        let safe = component(name);
        let parts: Vec<_> = Path::new(&safe).components().collect();
        prop_assert!(matches!(parts.as_slice(), [Component::Normal(_)]), "{safe:?}");
        prop_assert!(safe.len() <= MAX_COMPONENT);
        prop_assert!(safe.bytes().all(|b| (0x20..0x7f).contains(&b) && !b"/\\:*?\"<>|".contains(&b)), "{safe:?}");
        prop_assert!(!safe.starts_with(['.', '-', ' ']) && !safe.ends_with(['.', ' ']), "{safe:?}");
        prop_assert!(!is_reserved(&safe), "{safe:?}");
        if !safe.contains('~') {
            prop_assert_eq!(decode(&safe), Some(name.to_owned()));
        } else if !name.is_empty() {
            prop_assert!(name.len() * 3 > MAX_COMPONENT);
            let tail = safe.rsplit('~').next().unwrap();
            prop_assert!(tail.len() == 32 && tail.bytes().all(|b| b.is_ascii_hexdigit()));
            prop_assert_eq!(safe.matches('~').count(), 1);
        }
        Ok(())
    }

    #[test]
    fn hostile_and_odd_names() {
        let long = "é".repeat(150);
        for name in [
            "",
            ".",
            "..",
            "...",
            "a/b",
            "a\\b",
            "\0",
            "a\0b",
            "CON",
            "con",
            "Aux.txt",
            "com1",
            "COM0.log",
            "lpt9 .x",
            "CONSOLE",
            " a ",
            "a.",
            "-rf",
            "~",
            "~empty",
            "%",
            "%2E",
            "Zürich 3",
            ".hidden",
            "a\nb",
            "🦀",
            long.as_str(),
            " ",
            ". .",
        ] {
            check(name).unwrap();
        }
        assert_eq!(component("core-rtr1"), "core-rtr1");
        assert_eq!(component("Zürich 3"), "Z%C3%BCrich 3");
        assert_eq!(component("CONSOLE"), "CONSOLE");
    }

    #[test]
    fn long_names_stay_apart() {
        let a = component(&format!("{}1", "x".repeat(300)));
        let b = component(&format!("{}2", "x".repeat(300)));
        assert_ne!(a, b);
        assert_eq!(a.len(), MAX_COMPONENT);
        assert_eq!(component(&"x".repeat(MAX_COMPONENT)), "x".repeat(MAX_COMPONENT));
        let cut = component(&"%".repeat(100));
        assert!(decode(cut.split('~').next().unwrap()).is_some(), "{cut}");
    }

    proptest! {
        #[test]
        fn any_name_is_one_safe_component(name in prop_oneof![".*", "[.\\- a-cA-C/%~]{0,12}", "(?s).{150,400}"]) {
            check(&name)?;
        }

        #[test]
        fn different_names_stay_different(a in "[.\\- aA/%~2E]{0,6}|.{60,320}", b in "[.\\- aA/%~2E]{0,6}|.{60,320}") {
            prop_assert_eq!(a == b, component(&a) == component(&b));
        }
    }
}
