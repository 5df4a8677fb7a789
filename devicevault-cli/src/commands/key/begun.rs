//! The rotation of data that a home has begun and not ended, so that the same command goes on with it.

use std::io;
use std::path::Path;

use devicevault_core::Result;
use devicevault_storage::regular;

use crate::files;

/// Name of the file in a home. It holds the id of the epoch key that everything is to be sealed under.
const FILE: &str = "data-rotation";

/// The epoch key of the rotation that was begun, where one was.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(home: &Path) -> Result<Option<String>> {
    let path = home.join(FILE);
    match regular::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(files::failed(&e, "read which rotation was begun", "it cannot be read", &path)),
    }
}

/// # Errors
/// The home cannot be written.
pub(super) fn note(home: &Path, epoch: &str) -> Result<()> {
    files::replace_private(&home.join(FILE), format!("{epoch}\n").as_bytes())
}

/// # Errors
/// The home cannot be written.
pub(super) fn forget(home: &Path) -> Result<()> {
    let path = home.join(FILE);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(files::failed(&e, "note that a rotation ended", "the note of it cannot be removed", &path))
        }
        _ => Ok(()),
    }
}
