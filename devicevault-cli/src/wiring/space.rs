//! Free space that a destination in a folder leaves to others.

use std::path::PathBuf;
use std::sync::Arc;

use devicevault_core::{Error, ErrorKind, Result, StorageBackend};

use crate::app::BackendSettings;

/// The option that says how much is to stay free: `5%` or `10 GiB`.
pub(crate) const KEEP: &str = "space.keep";

/// How much is to stay free, and where.
#[derive(Debug)]
pub(crate) struct Space(Option<(PathBuf, Keep)>);

#[cfg(unix)]
use devicevault_storage::space::{FreeSpace, Keep};

/// Elsewhere nothing asks for free space.
#[cfg(not(unix))]
#[derive(Debug)]
enum Keep {}

/// Reads the option.
///
/// # Errors
/// `Config` for what says nothing of space, and for a destination that is no folder.
pub(crate) fn check(options: &std::collections::BTreeMap<String, String>) -> Result<()> {
    #[cfg(unix)]
    if let Some(text) = options.get(KEEP) {
        text.parse::<Keep>().map_err(|e| e.with("option", KEEP))?;
    }
    #[cfg(not(unix))]
    if options.contains_key(KEEP) {
        return Err(Error::new(ErrorKind::Unsupported, "read option", "this system is not asked for free space"));
    }
    Ok(())
}

/// What a destination's settings say.
///
/// # Errors
/// As [`check`].
pub(crate) fn of(settings: &BackendSettings) -> Result<Space> {
    check(&settings.config.options)?;
    let Some(text) = settings.config.options.get(KEEP) else { return Ok(Space(None)) };
    let path = settings.path().map_err(|_| {
        Error::new(ErrorKind::Config, "open destination", "space is kept free in folders alone")
            .with("option", KEEP)
            .with("destination", &settings.config.name)
    })?;
    #[cfg(unix)]
    return Ok(Space(Some((path, text.parse()?))));
    #[cfg(not(unix))]
    {
        let _ = (path, text);
        Ok(Space(None))
    }
}

impl Space {
    /// The backend that leaves it free.
    pub(crate) fn around(self, backend: Arc<dyn StorageBackend>) -> Arc<dyn StorageBackend> {
        match self.0 {
            None => backend,
            #[cfg(unix)]
            Some((path, keep)) => FreeSpace::new(backend, path, keep),
            #[cfg(not(unix))]
            Some(_) => backend,
        }
    }
}
