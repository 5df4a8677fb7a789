//! The settings of a destination as options.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use devicevault_core::file_rules::FileRules;
use devicevault_core::quota::{self, QuotaLimits};
use devicevault_core::retention::Retention;
use devicevault_core::{Error, ErrorKind, Result, View, verification};

use crate::clear_secrets;
use crate::commands::device::fields::key_value;
use crate::wiring;

/// What can be set of a destination, whatever its kind.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct OptionArgs {
    /// Where it is, for kinds that are folders: the option `path`
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Where it is, for stores that a URL names, such as s3://bucket/prefix: the option `url`
    #[arg(long, value_name = "URL", conflicts_with = "path")]
    url: Option<String>,
    /// Who logs in at such a store; of S3 the access key id: the option `user`
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A stored credential that has user and password of such a store: the option `credential`
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// The password, or the secret of a key, is in this environment variable: the option `password_env`
    #[arg(long, value_name = "VAR", group = "password")]
    password_env: Option<String>,
    /// It is the first line of this file: the option `password_file`
    #[arg(long, value_name = "FILE", group = "password")]
    password_file: Option<PathBuf>,
    /// It is the first line that this command prints: the option `password_command`
    #[arg(long, value_name = "COMMAND", group = "password")]
    password_command: Option<String>,
    /// The private key, or the key file of a service account, is this file: the option `key_file`
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Whether what it keeps is encrypted: the option `seal`
    #[arg(long, value_name = "YES|NO", value_parser = ["yes", "no"])]
    seal: Option<String>,
    /// How what it keeps is compressed, such as zstd or none: the option `compression`
    #[arg(long, value_name = "CODEC")]
    compression: Option<String>,
    /// Any setting of its kind; may be given several times
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
}

impl OptionArgs {
    /// Sets what was given. A path inside the home is kept relative to it, so that the home can be moved.
    ///
    /// # Errors
    /// `Config` for a path that is none.
    pub(super) fn apply(&self, home: &Path, options: &mut BTreeMap<String, String>) -> Result<()> {
        if let Some(path) = &self.path {
            options.insert(wiring::PATH.to_owned(), beneath(home, path)?);
            options.remove(wiring::URL);
        }
        if self.url.is_some() {
            options.remove(wiring::PATH);
        }
        let password = ["password_env", "password_file", "password_command"];
        if self.password_env.is_some() || self.password_file.is_some() || self.password_command.is_some() {
            password.iter().for_each(|name| drop(options.remove(*name)));
        }
        for (name, file) in [("password_file", &self.password_file), ("key_file", &self.key_file)] {
            if let Some(file) = file {
                options.insert(name.to_owned(), beneath(home, file)?);
            }
        }
        let named = [
            ("seal", &self.seal),
            ("compression", &self.compression),
            (wiring::URL, &self.url),
            ("user", &self.user),
            (wiring::CREDENTIAL, &self.credential),
            ("password_env", &self.password_env),
            ("password_command", &self.password_command),
        ];
        for (name, value) in named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            options.insert(name.to_owned(), value.clone());
        }
        options.extend(self.options.iter().cloned());
        Ok(())
    }
}

/// A path as it is kept: relative to the home where it is inside.
///
/// # Errors
/// `Config` for a path that is none.
pub(crate) fn beneath(home: &Path, path: &Path) -> Result<String> {
    let wrong =
        |why: &str| Error::new(ErrorKind::Config, "read destination", why.to_owned()).with("path", path.display());
    let absolute = |p: &Path| std::path::absolute(p).map_err(|e| wrong("the path cannot be made absolute").because(e));
    let (path, home) = (absolute(path)?, absolute(home)?);
    let inside = path.strip_prefix(&home).ok().filter(|p| !p.as_os_str().is_empty());
    let text = inside.unwrap_or(&path).to_str().map(str::to_owned);
    text.ok_or_else(|| wrong("the path is not UTF-8"))
}

/// Which view a destination keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ViewArg {
    /// Complete: what a restore takes
    Original,
    /// Without volatile lines
    Clean,
    /// Without volatile lines and secrets
    Redacted,
}

impl From<ViewArg> for View {
    fn from(view: ViewArg) -> Self {
        match view {
            ViewArg::Original => Self::Original,
            ViewArg::Clean => Self::Clean,
            ViewArg::Redacted => Self::Redacted,
        }
    }
}

/// Checks the name of a destination: 1 to 64 of letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
///
/// # Errors
/// `Config`.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<()> {
    let good = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "check name", format!("this is no name for a {what}"))
        .with("name", name.escape_debug())
        .hint("use up to 64 letters, digits, dots, hyphens and underscores, a letter or digit first"))
}

/// Checks the settings that features of all kinds have: those with a dot in their name.
///
/// # Errors
/// `Config` that names the setting.
pub(crate) fn check_options(options: &BTreeMap<String, String>) -> Result<()> {
    clear_secrets::refuse_options(options)?;
    Retention::from_options(options)?;
    verification::on_write(options)?;
    QuotaLimits::from_options(options)?;
    wiring::space::check(options)?;
    let known = |name: &str| {
        name.starts_with("retention.")
            || [verification::ON_WRITE, wiring::space::KEEP].contains(&name)
            || quota::OPTIONS.contains(&name)
    };
    match options.keys().find(|name| name.contains('.') && !known(name)) {
        None => Ok(()),
        Some(name) => Err(Error::new(ErrorKind::Config, "check options", "nothing has such an option")
            .with("option", name.escape_debug())
            .hint("there are verify.on_write, space.keep, quota.bytes, quota.count, quota.device_bytes, quota.device_count and those of retention")),
    }
}

/// Checks the settings that features have of a policy: those of retention and of files.
///
/// # Errors
/// `Config` that names the setting.
pub(crate) fn check_policy_options(options: &BTreeMap<String, String>) -> Result<()> {
    clear_secrets::refuse_options(options)?;
    Retention::from_options(options)?;
    FileRules::from_options("the policy", options)?;
    let known = |name: &str| name.starts_with("retention.") || FileRules::is_option(name);
    match options.keys().find(|name| name.contains('.') && !known(name)) {
        None => Ok(()),
        Some(name) => Err(Error::new(ErrorKind::Config, "check options", "a policy has no such option")
            .with("option", name.escape_debug())
            .hint(
                "`devicevault retention show --help` names those of retention, the guide those of files: file_rules.…",
            )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_the_home_moves_with_it() {
        let home = Path::new("/srv/dv");
        assert_eq!(beneath(home, Path::new("/srv/dv/store")).unwrap(), "store");
        assert_eq!(beneath(home, Path::new("/mnt/x")).unwrap(), "/mnt/x");
        assert_eq!(beneath(home, Path::new("/srv/dv")).unwrap(), "/srv/dv");
        assert!(Path::new(&beneath(home, Path::new("here")).unwrap()).is_absolute());
    }

    #[test]
    fn names_are_words() {
        for good in ["store", "off-site.2", "9"] {
            check_name("destination", good).unwrap();
        }
        for bad in ["", "-x", ".x", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(check_name("destination", bad).is_err(), "{bad}");
        }
    }
}
