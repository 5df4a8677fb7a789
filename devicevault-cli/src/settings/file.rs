//! `devicevault.toml` as it is written.

use std::collections::BTreeMap;
use std::path::Path;

use devicevault_core::file_rules::FileRules;
use devicevault_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::value::{Count, Free, Length, Paths, Place, Size};
use crate::document::Document;
use crate::logs::{LogFormat, LogLevel};

/// All that it may say; nothing has to be said.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Written {
    pub(super) home: Option<Place>,
    pub(super) platforms_dir: Option<Place>,
    pub(super) keys: Keys,
    pub(super) log: Log,
    pub(super) backup: Backup,
    pub(super) limits: Limits,
    pub(super) spool: Spool,
    pub(super) checkers: BTreeMap<String, Checker>,
    pub(super) file_rules: BTreeMap<String, String>,
}

/// A program that looks at files.
#[derive(Debug, Deserialize)]
pub(super) struct Checker {
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) timeout: Option<Length>,
}

/// Where keys are found besides those of the home.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Keys {
    pub(super) kek_files: Option<Paths>,
    pub(super) passphrase_file: Option<Place>,
}

/// The log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Log {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<LogLevel>,
    pub(super) file: Option<Place>,
}

/// What `backup` does unless told otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Backup {
    pub(super) sessions: Option<Count>,
    pub(super) sessions_per_site: Option<Count>,
    pub(super) timeout: Option<Length>,
    pub(super) deadline: Option<Length>,
    pub(super) retries: Option<Count>,
}

/// Bounds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Limits {
    pub(super) memory: Option<Size>,
    pub(super) max_text: Option<Size>,
    pub(super) max_binary: Option<Size>,
}

/// What waits for destinations.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spool {
    pub(super) capacity: Option<Size>,
    pub(super) parked: Option<Size>,
    pub(super) keep: Option<Length>,
    pub(super) free: Option<Free>,
}

impl Written {
    /// Reads a file. Relative paths in it begin at its folder.
    ///
    /// # Errors
    /// It cannot be read; `Config` with line and column.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let document = Document::read(path)?;
        let mut written: Self = document.get(&document.root)?;
        for zero in ["sessions", "sessions_per_site"] {
            let node = document.root.get("backup").and_then(|b| b.get(zero));
            let count = if zero == "sessions" { written.backup.sessions } else { written.backup.sessions_per_site };
            if let (Some(Count(0)), Some(node)) = (count, node) {
                let e = Error::new(ErrorKind::Config, "read file", "it has to be one or more");
                return Err(document.locate(node, e));
            }
        }
        for (name, checker) in &written.checkers {
            if let Err(e) = check_checker(name, checker) {
                let node = document.root.get("checkers").and_then(|all| all.get(name));
                return Err(node.map_or(e.clone(), |node| document.locate(node, e)));
            }
        }
        for (key, value) in &written.file_rules {
            let alone = BTreeMap::from([(format!("file_rules.{key}"), value.clone())]);
            if let Err(e) = FileRules::from_options("the configuration", &alone) {
                let node = document.root.get("file_rules").and_then(|all| all.get(key));
                return Err(node.map_or(e.clone(), |node| document.locate(node, e)));
            }
        }
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        let places =
            [&mut written.home, &mut written.platforms_dir, &mut written.keys.passphrase_file, &mut written.log.file];
        places.into_iter().flatten().for_each(|place| place.0 = base.join(&place.0));
        written.keys.kek_files.iter_mut().flat_map(|p| &mut p.0).for_each(|p| *p = base.join(&*p));
        Ok(written)
    }
}

fn check_checker(name: &str, checker: &Checker) -> Result<()> {
    let refuse = |why: &str| {
        let e = Error::new(ErrorKind::Config, "read file", why.to_owned()).with("checker", name.escape_debug());
        Err(e.hint("write command = [\"clamdscan\", \"--no-summary\", \"-\"]: no shell reads it"))
    };
    devicevault_core::check_artefact_name(name)
        .or_else(|_| refuse("a checker's name is 1 to 64 of a-z, 0-9, dot, hyphen and underscore"))?;
    match checker.command.first().map(String::as_str) {
        None | Some("") => refuse("its command is empty"),
        Some(program) if program.contains('/') && !program.starts_with('/') => {
            refuse("its program is named by a relative path: write it whole, or a name that PATH knows")
        }
        Some(_) if checker.command.iter().any(|part| part.contains('\0')) => refuse("its command holds a NUL"),
        Some(_) => Ok(()),
    }
}
