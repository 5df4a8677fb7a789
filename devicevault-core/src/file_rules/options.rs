//! What one place says of files: a policy, a device, the configuration.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use super::Magic;
use crate::{Error, ErrorKind, Result, check_artefact_name, parse_size};

/// What options of file rules begin with.
const PREFIX: &str = "file_rules.";
/// A list has at most so many entries.
const MOST: usize = 64;
const KEYS: [&str; 8] =
    ["extensions", "forbidden_extensions", "magic", "forbidden_magic", "min_size", "max_size", "checker", "on_breach"];

/// What becomes of a file that breaks a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnBreach {
    /// It is stored, marked, and kept apart.
    #[default]
    Quarantine,
    /// It is not stored; the artefact failed.
    Refuse,
}

/// The rules of one place for one artefact. What is `None` or empty demands nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileRule {
    /// One of these extensions.
    pub extensions: Option<BTreeSet<String>>,
    /// None of these.
    pub forbidden_extensions: Option<BTreeSet<String>>,
    /// One of these magic numbers.
    pub magic: Option<Vec<Magic>>,
    /// None of these.
    pub forbidden_magic: Option<Vec<Magic>>,
    /// At least so many bytes.
    pub min_size: Option<u64>,
    /// At most so many.
    pub max_size: Option<u64>,
    /// The checker of this name passes it; an empty name is none.
    pub checker: Option<String>,
    /// What becomes of a file that breaks one of these.
    pub on_breach: Option<OnBreach>,
}

/// What one place says of files: rules for all binary artefacts, and others for some of them, which take the place of
/// the general ones key by key.
///
/// ```
/// use devicevault_core::file_rules::FileRules;
///
/// let options = [("file_rules.max_size", "200MB"), ("file_rules.state.magic", "gzip"), ("retention.last", "5")];
/// let options = options.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
/// let rules = FileRules::from_options("policy core", &options)?.expect("there are some");
/// assert_eq!(rules.of("state").max_size, Some(200_000_000));
/// assert!(rules.of("state").magic.is_some() && rules.of("firmware").magic.is_none());
/// # Ok::<(), devicevault_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRules {
    origin: String,
    only: BTreeSet<String>,
    general: FileRule,
    artefacts: BTreeMap<String, FileRule>,
}

impl FileRules {
    /// Reads the options that begin with `file_rules.`; `None`: there are none of them. `origin` says whose they are,
    /// for people.
    ///
    /// | option | value |
    /// |---|---|
    /// | `file_rules.KEY` | for every binary artefact |
    /// | `file_rules.ARTEFACT.KEY` | for this one, instead of that |
    ///
    /// | key | value |
    /// |---|---|
    /// | `extensions`, `forbidden_extensions` | extensions without the dot, separated by commas |
    /// | `magic`, `forbidden_magic` | [magic numbers](Magic), separated by commas |
    /// | `min_size`, `max_size` | a [size](parse_size) |
    /// | `checker` | name of a checker |
    /// | `on_breach` | `quarantine` (default) or `refuse` |
    ///
    /// # Errors
    /// `Config` that names the option.
    pub fn from_options(origin: impl Into<String>, options: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let mut rules = Self { origin: origin.into(), ..Self::default() };
        let mut any = false;
        for (option, value) in options {
            let Some(rest) = option.strip_prefix(PREFIX) else { continue };
            any = true;
            rules
                .set(rest, value)
                .map_err(|e| e.with("option", option.escape_debug()).with("value", value.escape_debug()))?;
        }
        if !any {
            return Ok(None);
        }
        for name in rules.artefacts.keys().map(String::as_str).chain([""]) {
            let rule = rules.of(name);
            if let (Some(min), Some(max)) = (rule.min_size, rule.max_size)
                && min > max
            {
                return Err(refused("max_size is smaller than min_size").with("min_size", min).with("max_size", max));
            }
        }
        Ok(Some(rules))
    }

    /// Whether an option is one of these.
    #[must_use]
    pub fn is_option(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    /// The same for these artefacts alone; for all where none is named.
    #[must_use]
    pub fn only_for(mut self, artefacts: &BTreeSet<String>) -> Self {
        self.only.clone_from(artefacts);
        self
    }

    /// Whose rules these are.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What they mean for an artefact.
    #[must_use]
    pub fn of(&self, artefact: &str) -> FileRule {
        if !self.only.is_empty() && !self.only.contains(artefact) {
            return FileRule::default();
        }
        match self.artefacts.get(artefact) {
            Some(special) => special.clone().or(&self.general),
            None => self.general.clone(),
        }
    }

    /// The artefacts that have rules of their own.
    pub fn artefacts(&self) -> impl Iterator<Item = &str> {
        self.artefacts.keys().map(String::as_str)
    }

    /// The checkers that are named.
    pub fn checkers(&self) -> impl Iterator<Item = &str> {
        let all = std::iter::once(&self.general).chain(self.artefacts.values());
        all.filter_map(|rule| rule.checker.as_deref()).filter(|name| !name.is_empty())
    }

    fn set(&mut self, rest: &str, value: &str) -> Result<()> {
        let (artefact, key) = rest.rsplit_once('.').map_or((None, rest), |(artefact, key)| (Some(artefact), key));
        let rule = match artefact {
            None => &mut self.general,
            Some(name) => {
                check_artefact_name(name)?;
                self.artefacts.entry(name.to_owned()).or_default()
            }
        };
        let size = || parse_size(value).ok_or_else(|| refused("it is a size, such as 512, 64KiB or 300MB"));
        match key {
            "extensions" => rule.extensions = Some(extensions(value)?),
            "forbidden_extensions" => rule.forbidden_extensions = Some(extensions(value)?),
            "magic" => rule.magic = Some(bounded(Magic::list(value)?)?),
            "forbidden_magic" => rule.forbidden_magic = Some(bounded(Magic::list(value)?)?),
            "min_size" => rule.min_size = Some(size()?),
            "max_size" => rule.max_size = Some(size()?),
            "checker" => rule.checker = Some(value.trim().to_owned()),
            "on_breach" => {
                rule.on_breach = Some(match value.trim() {
                    "quarantine" => OnBreach::Quarantine,
                    "refuse" => OnBreach::Refuse,
                    _ => return Err(refused("it is quarantine or refuse")),
                });
            }
            _ => {
                return Err(refused("there is no such file rule").hint(format!(
                    "rules are {}; those of one artefact are file_rules.ARTEFACT.RULE",
                    KEYS.join(", ")
                )));
            }
        }
        Ok(())
    }
}

impl FileRule {
    /// What becomes of a file that breaks it.
    #[must_use]
    pub fn on_breach(&self) -> OnBreach {
        self.on_breach.unwrap_or_default()
    }

    /// This, and what another says where this says nothing.
    fn or(self, other: &Self) -> Self {
        Self {
            extensions: self.extensions.or_else(|| other.extensions.clone()),
            forbidden_extensions: self.forbidden_extensions.or_else(|| other.forbidden_extensions.clone()),
            magic: self.magic.or_else(|| other.magic.clone()),
            forbidden_magic: self.forbidden_magic.or_else(|| other.forbidden_magic.clone()),
            min_size: self.min_size.or(other.min_size),
            max_size: self.max_size.or(other.max_size),
            checker: self.checker.or_else(|| other.checker.clone()),
            on_breach: self.on_breach.or(other.on_breach),
        }
    }
}

fn refused(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "read file rules", why)
}

fn bounded<T>(list: Vec<T>) -> Result<Vec<T>> {
    if list.len() > MOST { Err(refused(format!("a list has at most {MOST} entries"))) } else { Ok(list) }
}

fn extensions(list: &str) -> Result<BTreeSet<String>> {
    let entries = list.split(',').map(str::trim).filter(|e| !e.is_empty()).map(|entry| {
        let extension = entry.strip_prefix('.').unwrap_or(entry);
        if (1..=16).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Ok(extension.to_ascii_lowercase());
        }
        let e = refused("an extension is 1 to 16 letters and digits").with("extension", entry.escape_debug());
        Err(if extension.contains('.') { e.hint("of a double one, name the last: gz of tar.gz") } else { e })
    });
    bounded(entries.collect::<Result<Vec<_>>>()?).map(|all| all.into_iter().collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(options: &[(&str, &str)]) -> Result<Option<FileRules>> {
        FileRules::from_options("x", &options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn an_artefacts_own_rules_take_the_place_of_the_general_ones() {
        assert_eq!(read(&[("files.state", "/x")]).unwrap(), None);
        let rules = read(&[
            ("file_rules.extensions", ".TGZ, zip"),
            ("file_rules.magic", "gzip"),
            ("file_rules.on_breach", "refuse"),
            ("file_rules.state.v2.magic", ""),
            ("file_rules.state.v2.checker", "clamav"),
        ]);
        let rules = rules.unwrap().unwrap();
        let (special, other) = (rules.of("state.v2"), rules.of("state"));
        assert_eq!(other.extensions.clone().unwrap().into_iter().collect::<Vec<_>>(), ["tgz", "zip"]);
        assert_eq!((special.magic.unwrap().len(), other.magic.unwrap().len()), (0, 1));
        assert_eq!((special.on_breach.unwrap(), special.extensions), (OnBreach::Refuse, other.extensions));
        assert_eq!(rules.checkers().collect::<Vec<_>>(), ["clamav"]);
        assert_eq!(rules.artefacts().collect::<Vec<_>>(), ["state.v2"]);
        let only = rules.only_for(&BTreeSet::from(["firmware".to_owned()]));
        assert_eq!(only.of("state"), FileRule::default());
        assert!(only.of("firmware").magic.is_some());
    }

    #[test]
    fn nonsense_is_refused_with_its_option() {
        for (key, value) in [
            ("file_rules.", "1"),
            ("file_rules.magik", "gzip"),
            ("file_rules.magic", "nonsense"),
            ("file_rules.Bad Name.magic", "gzip"),
            ("file_rules..magic", "gzip"),
            ("file_rules.extensions", "tar.gz"),
            ("file_rules.extensions", "a/b"),
            ("file_rules.min_size", "much"),
            ("file_rules.on_breach", "ignore"),
            ("file_rules.magic", &vec!["00"; 65].join(",")),
        ] {
            let e = read(&[(key, value)]).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config, "{key}={value}");
            assert!(format!("{e:?}").contains(key), "{e:?}");
        }
        // Only together they cannot be kept.
        assert!(read(&[("file_rules.min_size", "2KB"), ("file_rules.a.max_size", "1KB")]).is_err());
        assert!(read(&[("file_rules.min_size", "1KB"), ("file_rules.a.max_size", "1KB")]).is_ok());
    }

    proptest! {
        #[test]
        fn any_option_is_read_or_refused(key in "file_rules[.][a-z._]{0,24}", own in 0usize..8, value in "\\PC{0,30}") {
            let _ = read(&[(&key, &value)]);
            let known = KEYS.get(own).copied().unwrap_or_default();
            if let Ok(rules) = read(&[(&format!("file_rules.{known}"), &value), (&format!("file_rules.a.{known}"), &value)]) {
                let rules = rules.unwrap();
                prop_assert_eq!(rules.of("a"), rules.of("b"));
            }
        }
    }
}
