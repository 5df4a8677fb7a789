//! Options of stores as text, read by type.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};

/// Reads options by name and type; every error names the option.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions<'a>(&'a BTreeMap<String, String>);

impl<'a> StoreOptions<'a> {
    /// Over options by name.
    #[must_use]
    pub fn new(options: &'a BTreeMap<String, String>) -> Self {
        Self(options)
    }

    /// A text; `None` where it is not set.
    ///
    /// # Errors
    /// `Config` where it is empty.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.0.get(name).map(String::as_str) {
            Some("") => Err(wrong(name, "an option is empty")),
            value => Ok(value),
        }
    }

    /// `yes` or `no`; no where it is not set.
    ///
    /// # Errors
    /// `Config` for anything else.
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.text(name)? {
            Some("yes") => Ok(true),
            Some("no") | None => Ok(false),
            Some(_) => Err(wrong(name, "an option is neither yes nor no")),
        }
    }

    /// A time in seconds, from 1 to a day.
    ///
    /// # Errors
    /// `Config` for anything else.
    pub fn seconds(&self, name: &str) -> Result<Option<Duration>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.parse() {
            Ok(seconds @ 1..=86_400) => Ok(Some(Duration::from_secs(seconds))),
            _ => Err(wrong(name, "an option is no number of seconds").hint("it is a whole number from 1 to 86400")),
        }
    }

    /// One of some words.
    ///
    /// # Errors
    /// `Config` that lists them.
    pub fn one_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                Err(wrong(name, "an option has no such value").hint(format!("it is one of: {}", known.join(", "))))
            }
        }
    }
}

/// An error of an option. Its value is not repeated: it may be a secret in a wrong place.
fn wrong(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Config, "open store", why.to_owned()).with("option", name.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_by_type() {
        let of = |value: &str| BTreeMap::from([("x".to_owned(), value.to_owned())]);
        assert!(StoreOptions::new(&of("yes")).flag("x").unwrap());
        assert!(!StoreOptions::new(&of("yes")).flag("y").unwrap());
        assert_eq!(StoreOptions::new(&of("86400")).seconds("x").unwrap(), Some(Duration::from_secs(86_400)));
        for bad in ["", "0", "86401", "-1", "1.5", "ten", "99999999999999999999"] {
            assert_eq!(StoreOptions::new(&of(bad)).seconds("x").unwrap_err().kind(), ErrorKind::Config, "{bad}");
        }
        let words = [("path", 1), ("virtual", 2)];
        assert_eq!(StoreOptions::new(&of("virtual")).one_of("x", &words).unwrap(), Some(2));
        let e = StoreOptions::new(&of("hunter2")).one_of("x", &words).unwrap_err();
        assert!(e.hint_text().unwrap().contains("path, virtual") && !format!("{e:?}").contains("hunter2"));
        assert!(StoreOptions::new(&of("hunter2")).flag("x").is_err());
    }
}
