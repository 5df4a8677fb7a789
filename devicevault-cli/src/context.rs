//! What every command is given.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use devicevault_core::{Clock, Error, ErrorKind, Result};

use crate::app::Parts;
use crate::args::Global;
use crate::instance::Instance;
use crate::ui::Ui;
use crate::wiring::keys::GivenKeys;

/// The program's parts, its output and where its home is.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) parts: Parts,
    pub(crate) ui: Ui,
    home: Option<PathBuf>,
    pub(crate) platforms_dir: Option<PathBuf>,
    /// Keys that were named on the command line.
    pub(crate) given_keys: GivenKeys,
}

impl Context {
    pub(crate) fn new(parts: Parts, ui: Ui, global: &Global) -> Result<Self> {
        if let Some(dir) = &global.platforms_dir
            && !dir.is_dir()
        {
            return Err(Error::new(ErrorKind::Config, "read platforms", "there is no such folder")
                .with("folder", dir.display()));
        }
        let home = global.home.clone().or_else(default_home);
        Ok(Self { parts, ui, home, platforms_dir: global.platforms_dir.clone(), given_keys: global.given_keys() })
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// The home folder, whether it is there or not.
    ///
    /// # Errors
    /// `Config` where neither an option nor the environment tells it.
    pub(crate) fn home(&self) -> Result<&Path> {
        self.home.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Config, "find home", "neither DEVICEVAULT_HOME, XDG_DATA_HOME nor HOME is set")
                .hint("give --home DIR")
        })
    }

    /// The instance in the home folder.
    ///
    /// # Errors
    /// `Config` where there is none yet.
    pub(crate) async fn instance(&self) -> Result<Instance> {
        Instance::open(self, self.home()?).await
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
            home: Some(home.to_owned()),
            platforms_dir: self.platforms_dir.clone(),
            given_keys: self.given_keys.clone(),
        }
    }
}

/// `$XDG_DATA_HOME/devicevault`, else `~/.local/share/devicevault` (XDG Base Directory Specification: a relative path in
/// the variable does not count).
fn default_home() -> Option<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let data = data.or_else(|| {
        let home = std::env::var_os("HOME").filter(|h| !h.is_empty())?;
        Some(PathBuf::from(home).join(".local/share"))
    });
    Some(data?.join("devicevault"))
}
