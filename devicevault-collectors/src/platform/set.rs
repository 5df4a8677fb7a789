//! The platforms there are: those built in, and a user's, which go before them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use devicevault_core::{Error, ErrorKind, Result};

use super::{DetectRules, Platform, PlatformOutline, PlatformSource, builtin, check, outline};

/// Platforms by name and alias.
///
/// Those built in are compiled when they are first asked for; a user's are checked when they are loaded.
#[derive(Debug)]
pub struct PlatformSet {
    entries: Vec<Entry>,
    names: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    text: &'static str,
    platform: OnceLock<Result<Arc<Platform>>>,
}

/// Stands for a platform that is to be found out.
const AUTO: &str = "auto";
/// Larger files are no platform files.
const MOST: u64 = 1 << 20;

impl PlatformSet {
    /// Those that are built in.
    #[must_use]
    pub fn built_in() -> Self {
        let mut set = Self { entries: Vec::new(), names: BTreeMap::new() };
        for text in builtin::FILES {
            // A test reads every built-in file; a broken one is not listed.
            if let Some((name, aliases)) = check::names(text) {
                let entry = Entry { name: name.clone(), text, platform: OnceLock::new() };
                set.add(&name, &aliases, entry);
            }
        }
        set
    }

    /// This platform alone.
    #[must_use]
    pub fn of(platform: Arc<Platform>) -> Self {
        let mut set = Self { entries: Vec::new(), names: BTreeMap::new() };
        let (name, aliases) = (platform.name.clone(), platform.aliases.clone());
        set.add(&name, &aliases, Entry { name: name.clone(), text: "", platform: OnceLock::from(Ok(platform)) });
        set
    }

    /// Adds every `*.toml` of a folder. A platform of the same name, or a name that is an alias elsewhere, goes to the
    /// user's file.
    ///
    /// # Errors
    /// `Config` for a folder that cannot be read, a file that is wrong, or two files of one name.
    pub fn with_folder(mut self, folder: &Path) -> Result<Self> {
        let unreadable = |e: std::io::Error| {
            Error::new(ErrorKind::Config, "read platform folder", "it cannot be read")
                .with("folder", folder.display())
                .because(e)
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_none_or(|e| e != "toml") {
                continue;
            }
            // A pipe would be waited for without end.
            if !std::fs::metadata(&path).map_err(unreadable)?.is_file() {
                return Err(Error::new(ErrorKind::Config, "read platform folder", "it is no file")
                    .with("file", path.display())
                    .hint("take it away, or give it another ending"));
            }
            files.push(path);
        }
        files.sort();
        let mut own: BTreeMap<String, std::path::PathBuf> = BTreeMap::new();
        for path in files {
            let platform = Self::check_file(&path)?;
            for name in std::iter::once(&platform.name).chain(&platform.aliases) {
                if let Some(other) = own.insert(name.clone(), path.clone()).filter(|p| *p != path) {
                    return Err(Error::new(
                        ErrorKind::Config,
                        "read platform folder",
                        "two files have this name or alias",
                    )
                    .with("name", name)
                    .with("file", path.display())
                    .with("other file", other.display()));
                }
            }
            let entry = Entry { name: platform.name.clone(), text: "", platform: OnceLock::from(Ok(platform.clone())) };
            self.add(&platform.name, &platform.aliases, entry);
        }
        Ok(self)
    }

    /// Reads and checks one file.
    ///
    /// # Errors
    /// `Config` with file, key, line and column.
    pub fn check_file(path: &Path) -> Result<Arc<Platform>> {
        let unreadable = |why: &str| {
            Error::new(ErrorKind::Config, "read platform file", why.to_owned()).with("file", path.display())
        };
        let meta = std::fs::metadata(path).map_err(|e| unreadable("it cannot be read").because(e))?;
        if meta.len() > MOST {
            return Err(unreadable("it is larger than 1 MiB"));
        }
        let text = crate::reading::text(path, MOST).map_err(|e| unreadable("it cannot be read as text").because(e))?;
        Platform::parse(&text, &PlatformSource::File(path.to_owned()))
    }

    /// By name or alias.
    ///
    /// # Errors
    /// `Config` when there is none, with names that are near it.
    pub fn get(&self, name: &str) -> Result<Arc<Platform>> {
        let wanted = name.to_ascii_lowercase();
        let known = |name: &str| self.names.get(name).and_then(|i| self.entries.get(*i));
        // Names of other tools say by their ending how the device is reached.
        let bare = || ["_ssh", "_telnet", "_serial"].iter().find_map(|ending| wanted.strip_suffix(ending));
        match known(&wanted).or_else(|| bare().and_then(known)) {
            Some(entry) => entry.compiled(),
            None if wanted == AUTO => {
                let message = "it is not known yet which platform the device is of";
                Err(Error::new(ErrorKind::Unsupported, "recognise device", message).hint(
                    "`devicevault platform detect` shows what speaks for which; `device edit --platform` sets one",
                ))
            }
            None => Err(Error::new(ErrorKind::Config, "find platform", "there is no platform of this name")
                .with("platform", name.escape_debug())
                .hint(self.near(&wanted))),
        }
    }

    /// All of them, by name.
    pub fn list(&self) -> impl Iterator<Item = Result<Arc<Platform>>> {
        let own = self.names.iter().filter_map(|(name, i)| self.entries.get(*i).filter(|e| e.name == *name));
        own.map(Entry::compiled)
    }

    /// All of them, by name, as a list shows them: their rules are not compiled.
    pub fn outlines(&self) -> impl Iterator<Item = PlatformOutline> {
        let own = self.names.iter().filter_map(|(name, i)| self.entries.get(*i).filter(|e| e.name == *name));
        own.filter_map(|entry| match entry.platform.get() {
            Some(platform) => platform.as_ref().ok().map(|p| PlatformOutline::from(p.as_ref())),
            None => outline::of_text(entry.text),
        })
    }

    /// Names, titles and the signs of all that say how they are recognised.
    ///
    /// # Errors
    /// A file is wrong.
    pub(crate) fn signs(&self) -> Result<Vec<(String, String, DetectRules)>> {
        let mut all = Vec::new();
        for (name, index) in &self.names {
            let Some(entry) = self.entries.get(*index).filter(|e| e.name == *name) else { continue };
            let signs =
                if entry.text.is_empty() { check::signs(entry.compiled()?.text()) } else { check::signs(entry.text) };
            // A test reads every built-in file, a user's was checked when it was loaded.
            all.extend(signs.filter(|(_, _, rules)| !rules.is_empty()));
        }
        Ok(all)
    }

    fn add(&mut self, name: &str, aliases: &[String], entry: Entry) {
        let index = self.entries.len();
        self.entries.push(entry);
        if let Some(hidden) = self.names.insert(name.to_owned(), index)
            && self.entries.get(hidden).is_some_and(|e| e.name == name)
        {
            // The aliases of a platform that a user's file replaces lead to the user's file.
            self.names.values_mut().filter(|i| **i == hidden).for_each(|i| *i = index);
        }
        for alias in aliases {
            // An alias does not hide a platform that bears the name.
            let bearer = self.names.get(alias).and_then(|i| self.entries.get(*i)).is_some_and(|e| e.name == *alias);
            if !bearer {
                self.names.insert(alias.clone(), index);
            }
        }
    }

    fn near(&self, wanted: &str) -> String {
        let plain = |s: &str| s.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let wanted = plain(wanted);
        let near: Vec<_> = self
            .names
            .keys()
            .filter(|n| {
                let n = plain(n);
                wanted.len() > 1 && (n.contains(&wanted) || wanted.contains(&n))
            })
            .take(5)
            .map(String::as_str)
            .collect();
        if near.is_empty() {
            "`devicevault platform list` shows all".to_owned()
        } else {
            format!("did you mean {}? `devicevault platform list` shows all", near.join(", "))
        }
    }
}

impl Entry {
    fn compiled(&self) -> Result<Arc<Platform>> {
        self.platform.get_or_init(|| Platform::parse(self.text, &PlatformSource::BuiltIn)).clone()
    }
}
