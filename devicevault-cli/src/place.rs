//! Where backups lie that a command is to read: a folder, or a store by its URL.

use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result, View};

use crate::commands::device::fields::key_value;
use crate::wiring;

/// A place of backups.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Folder {
        path: PathBuf,
        options: Vec<(String, String)>,
    },
    /// A store, as a destination would name it.
    Store(Box<DestinationConfig>),
}

impl Place {
    /// The place that a text names.
    pub(crate) fn new(from: &str, options: &[(String, String)]) -> Self {
        if !wiring::is_url(from) {
            return Self::Folder { path: PathBuf::from(from), options: options.to_vec() };
        }
        let options = options.iter().cloned();
        let config = DestinationConfig::new("store", wiring::PLAIN, View::Original).with_option(wiring::URL, from);
        Self::Store(Box::new(options.fold(config, |config, (name, value)| config.with_option(name, value))))
    }

    /// Whether what is not sealed is read although the place holds sealed backups.
    ///
    /// # Errors
    /// `Config` where the option is neither yes nor no, or a folder is given another one.
    pub(crate) fn accepts_clear(&self) -> Result<bool> {
        let wrong = |name: &str, why: &str| {
            Err(Error::new(ErrorKind::Config, "open folder of backups", why.to_owned())
                .with("option", name.escape_debug()))
        };
        let value = match self {
            Self::Folder { options, .. } => {
                if let Some((other, _)) = options.iter().find(|(name, _)| name != wiring::ACCEPT_CLEAR) {
                    return wrong(other, "a folder has no such option");
                }
                options.last().map(|(_, value)| value.as_str())
            }
            Self::Store(config) => config.options.get(wiring::ACCEPT_CLEAR).map(String::as_str),
        };
        match value {
            None | Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(_) => wrong(wiring::ACCEPT_CLEAR, "it is neither yes nor no"),
        }
    }

    /// The folder, where it is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder { path, .. } => Some(path),
            Self::Store(_) => None,
        }
    }
}

/// The error for an option of a place that is a destination by its name, which has its own.
pub(crate) fn options_of_destination(doing: &'static str, destination: &str, option: &str) -> Error {
    Error::new(ErrorKind::Config, doing, "the place is a destination of this home, which has its own options")
        .with("destination", destination)
        .with("option", option.escape_debug())
        .hint(format!(
            "leave --from-option away; `devicevault destination edit {destination} --option NAME=VALUE` sets an option of it"
        ))
}

/// Options of commands that read the home, or another place.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FromArgs {
    /// Look at a folder of backups, a Git repository of them, or a store by its URL (s3://bucket/prefix), by its manifests
    #[arg(long, value_name = "DIR|URL")]
    from: Option<String>,
    /// An option of that place, as a destination has it (accept_clear=yes; of a store region=eu-central-1, user=KEY,
    /// password_env=VAR); may be given several times
    #[arg(long = "from-option", value_name = "NAME=VALUE", value_parser = key_value, requires = "from")]
    from_options: Vec<(String, String)>,
}

impl FromArgs {
    /// The place that was named; `None`: the home.
    pub(crate) fn place(&self) -> Option<Place> {
        self.from.as_deref().map(|from| Place::new(from, &self.from_options))
    }
}
