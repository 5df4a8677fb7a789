//! Where backups lie that a command is to read: a folder, or a store by its URL.

use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result, View};

use crate::commands::device::fields::key_value;
use crate::context::Context;
use crate::instance::Instance;
use crate::ui::Ui;
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

    /// Where a destination of this home is.
    ///
    /// # Errors
    /// `Config` where it is neither a folder nor a store.
    pub(crate) fn of_destination(config: &DestinationConfig, home: &Path) -> Result<Self> {
        if wiring::is_store(config) {
            let mut config = config.clone();
            for (_, file) in config.options.iter_mut().filter(|(name, _)| name.ends_with("_file")) {
                *file = home.join(&*file).to_string_lossy().into_owned();
            }
            return Ok(Self::Store(Box::new(config)));
        }
        let why = "it is no folder that can be looked at by itself";
        let none = || Error::new(ErrorKind::Config, "open destination", why).with("destination", &config.name);
        let path = config.options.get(wiring::PATH).ok_or_else(none)?;
        let accepted = config.options.get_key_value(wiring::ACCEPT_CLEAR);
        let options = accepted.map(|(name, value)| (name.clone(), value.clone())).into_iter().collect();
        Ok(Self::Folder { path: home.join(path), options })
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
    /// Look at a destination by its name, at a folder of backups, a Git repository of them, or a store by its URL
    /// (s3://bucket/prefix), by its manifests; a folder that is called as a destination is written ./NAME
    #[arg(long, value_name = "NAME|DIR|URL")]
    from: Option<String>,
    /// An option of that place, as a destination has it (accept_clear=yes; of a store region=eu-central-1, user=KEY,
    /// password_env=VAR); may be given several times
    #[arg(long = "from-option", value_name = "NAME=VALUE", value_parser = key_value, requires = "from")]
    from_options: Vec<(String, String)>,
}

impl FromArgs {
    /// The place that was named; `None`: the home.
    ///
    /// # Errors
    /// There is no such place, or an option that a destination does not have was given.
    pub(crate) async fn place(&self, context: &Context) -> Result<Option<Place>> {
        let Some(from) = self.from.as_deref() else { return Ok(None) };
        let place = Place::new(from, &self.from_options);
        // A home that is broken must not stand in the way of a folder.
        if is_path(from) || !context.home().is_ok_and(Instance::exists) {
            return Ok(Some(place));
        }
        let Ok(instance) = context.instance().await else { return Ok(Some(place)) };
        let all = instance.inventory.destinations().await?;
        match named(&all, from, &context.ui) {
            Some(config) => {
                refuse_options("open destination", config, &self.from_options)?;
                Place::of_destination(config, &instance.home).map(Some)
            }
            None => refuse_nothing("open folder of backups", &place, from, &all).map(|()| Some(place)),
        }
    }
}

/// Whether a text is the path of a folder or a URL, and no name of a destination.
fn is_path(from: &str) -> bool {
    wiring::is_url(from) || from.contains(std::path::is_separator)
}

/// The destination of the home that is meant by a text, which comes before a folder that is called so.
pub(crate) fn named<'a>(all: &'a [DestinationConfig], from: &str, ui: &Ui) -> Option<&'a DestinationConfig> {
    let config = all.iter().find(|d| d.name == from)?;
    if Path::new(from).is_dir() {
        ui.warn(&format!(
            "{from} is a destination of this home, and a folder here; the destination is meant: ./{from} is the folder"
        ));
    }
    Some(config)
}

/// Refuses options beside the name of a destination, which has its own; the same ones do no harm.
///
/// # Errors
/// `Config`.
pub(crate) fn refuse_options(
    doing: &'static str,
    config: &DestinationConfig,
    options: &[(String, String)],
) -> Result<()> {
    match options.iter().find(|(name, value)| config.options.get(name) != Some(value)) {
        Some((name, _)) => Err(options_of_destination(doing, &config.name, name)),
        None => Ok(()),
    }
}

/// Refuses a name that neither a destination nor a folder has.
///
/// # Errors
/// `NotFound`.
pub(crate) fn refuse_nothing(doing: &'static str, place: &Place, from: &str, all: &[DestinationConfig]) -> Result<()> {
    if place.folder().is_none_or(Path::is_dir) {
        return Ok(());
    }
    let names: Vec<_> = all.iter().map(|d| d.name.as_str()).collect();
    Err(Error::new(ErrorKind::NotFound, doing, "there is no such destination, and no such folder")
        .with("from", from.escape_debug())
        .hint(format!("the destinations are {}", names.join(", "))))
}
