//! What every command is given.

use std::path::Path;
use std::sync::Arc;

use devicevault_core::{Clock, Error, ErrorKind, Result};

use crate::app::Parts;
use crate::files;
use crate::instance::{Instance, KEY};
use crate::settings::Settings;
use crate::ui::Ui;
use crate::wiring::keys::GivenKeys;

/// The program's parts, its output and where its home is.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) parts: Parts,
    pub(crate) ui: Ui,
    /// What the process was started with.
    pub(crate) settings: Settings,
    /// Keys that were named besides those of the home.
    pub(crate) given_keys: GivenKeys,
}

impl Context {
    pub(crate) fn new(parts: Parts, ui: Ui, settings: Settings) -> Result<Self> {
        if let Some(dir) = settings.platforms_dir()
            && !dir.is_dir()
        {
            return Err(Error::new(ErrorKind::Config, "read platforms", "there is no such folder")
                .with("folder", dir.display()));
        }
        for (written, meant) in settings.mistyped() {
            let written = written.escape_debug();
            ui.warn(&format!("the variable {written} sets nothing: is {meant} meant?"));
        }
        let given_keys = settings.given_keys();
        for file in given_keys.files.iter().filter(|file| files::is_open(file)) {
            ui.warn(&format!(
                "others than its owner can read {}, which opens backups: chmod 600, and consider the key as known",
                file.display().to_string().escape_debug()
            ));
        }
        Ok(Self { parts, ui, settings, given_keys })
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// The home folder, whether it is there or not.
    ///
    /// # Errors
    /// `Config` where neither an option nor the environment tells it.
    pub(crate) fn home(&self) -> Result<&Path> {
        self.settings.home().ok_or_else(|| {
            Error::new(ErrorKind::Config, "find home", "neither DEVICEVAULT_HOME, XDG_DATA_HOME nor HOME is set")
                .hint("give --home DIR")
        })
    }

    /// The instance in the home folder.
    ///
    /// # Errors
    /// `Config` where there is none yet; `KeyUnavailable` where others can read the key of its masks.
    pub(crate) async fn instance(&self) -> Result<Instance> {
        let home = self.home()?;
        files::refuse_open_key(&home.join(KEY))?;
        Instance::open(self, home).await
    }

    /// Who runs the program, for the record.
    pub(crate) fn user(&self) -> String {
        let named = ["USER", "LOGNAME"].into_iter().find_map(|v| std::env::var(v).ok().filter(|n| !n.is_empty()));
        named.unwrap_or_else(|| "unknown".to_owned())
    }

    /// Another context with the same parts and output, at home in this folder.
    pub(crate) fn at_home_in(&self, home: &Path) -> Self {
        Self {
            parts: self.parts.clone(),
            ui: self.ui.clone(),
            settings: self.settings.at_home_in(home),
            given_keys: self.given_keys.clone(),
        }
    }
}
