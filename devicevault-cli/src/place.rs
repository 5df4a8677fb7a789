//! Where backups lie that a command is to read: a folder, or a store by its URL.

use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::View;
use devicevault_core::inventory::DestinationConfig;

use crate::commands::device::fields::key_value;
use crate::wiring;

/// A place of backups.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Folder(PathBuf),
    /// A store, as a destination would name it.
    Store(Box<DestinationConfig>),
}

impl Place {
    /// The place that a text names.
    pub(crate) fn new(from: &str, options: &[(String, String)]) -> Self {
        if !wiring::is_url(from) {
            return Self::Folder(PathBuf::from(from));
        }
        let options = options.iter().cloned();
        let config = DestinationConfig::new("store", wiring::PLAIN, View::Original).with_option(wiring::URL, from);
        Self::Store(Box::new(options.fold(config, |config, (name, value)| config.with_option(name, value))))
    }

    /// The folder, where it is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Store(_) => None,
        }
    }
}

/// Options of commands that read the home, or another place.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FromArgs {
    /// Look at a folder of backups, or at a store by its URL (s3://bucket/prefix), by its manifests
    #[arg(long, value_name = "DIR|URL")]
    from: Option<String>,
    /// An option of that store, as a destination has it (region=eu-central-1, user=KEY, password_env=VAR); may be given
    /// several times
    #[arg(long = "from-option", value_name = "NAME=VALUE", value_parser = key_value, requires = "from")]
    from_options: Vec<(String, String)>,
}

impl FromArgs {
    /// The place that was named; `None`: the home.
    pub(crate) fn place(&self) -> Option<Place> {
        self.from.as_deref().map(|from| Place::new(from, &self.from_options))
    }
}
