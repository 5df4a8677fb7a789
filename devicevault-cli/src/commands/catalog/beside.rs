//! The folder in a home where a catalog is made that is to take the place of another one.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use devicevault_core::{Error, ErrorKind, Result};
use tempfile::TempDir;

use crate::files;
use crate::instance::{CATALOG, KEY};

/// So many letters and digits end its name.
const RANDOM: usize = 12;

/// The folder, and the right to be the only one that has one. Both end with the process, but for a folder of one that was
/// killed: the next one takes it away.
#[derive(Debug)]
pub(super) struct Beside {
    folder: TempDir,
    _alone: File,
}

impl Beside {
    /// Makes it, on the home's own disk.
    ///
    /// # Errors
    /// `Conflict` while another command has one; it cannot be made.
    pub(super) fn make(home: &Path) -> Result<Self> {
        let Some(alone) = lock(home)? else {
            let why = "another command is making this home or its catalog anew at the moment";
            return Err(Error::new(ErrorKind::Conflict, "rebuild catalog", why)
                .with("home", home.display())
                .hint("nothing was changed; run this again when the other command has ended"));
        };
        remove_left(home);
        let folder = tempfile::Builder::new().prefix(&prefix()).rand_bytes(RANDOM).tempdir_in(home);
        let failed = |e| files::failed(&e, "rebuild catalog", "no folder can be made in the home", home);
        Ok(Self { folder: folder.map_err(failed)?, _alone: alone })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Takes away what killed commands left, unless one is at work. How many there were.
pub(crate) fn sweep(home: &Path) -> usize {
    match lock(home) {
        Ok(Some(_alone)) => remove_left(home),
        _ => 0,
    }
}

fn prefix() -> String {
    format!("{CATALOG}.new-")
}

/// The home's folder itself is locked, as by `init`: no file stays behind for it.
fn lock(home: &Path) -> Result<Option<File>> {
    let failed = |e| files::failed(&e, "lock home", "it cannot be locked", home);
    let folder = File::open(home).map_err(failed)?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Whether it is a folder of ours: called exactly so, with nothing in it but what is made there.
fn is_ours(folder: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let called = name(folder);
    let Some(rest) = called.strip_prefix(&prefix()) else { return false };
    let holds = |files: Vec<PathBuf>| files.iter().map(|f| name(f)).all(|f| f.starts_with(CATALOG) || f == KEY);
    rest.len() == RANDOM
        && rest.bytes().all(|b| b.is_ascii_alphanumeric())
        && folder.symlink_metadata().is_ok_and(|m| m.is_dir())
        && files::entries(folder).is_ok_and(holds)
}

/// Whoever calls it holds the lock, and has none itself.
fn remove_left(home: &Path) -> usize {
    let left: Vec<_> = files::entries(home).unwrap_or_default().into_iter().filter(|p| is_ours(p)).collect();
    let removed = left.iter().filter(|path| match std::fs::remove_dir_all(path) {
        Ok(()) => true,
        Err(e) => {
            tracing::warn!(path = %path.display(), error = %e, "what a command left that was killed cannot be removed");
            false
        }
    });
    removed.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_one_left_goes_and_what_a_living_one_has_stays() {
        let home = tempfile::tempdir().unwrap();
        let left = home.path().join(format!("{}killed012345", prefix()));
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join(CATALOG), "x").unwrap();
        std::fs::write(home.path().join(CATALOG), "x").unwrap();
        // What a person called alike, or put into one.
        let (theirs, also) =
            (home.path().join(format!("{}backup", prefix())), home.path().join(format!("{}killed543210", prefix())));
        for (folder, file) in [(&theirs, CATALOG), (&also, "notes.txt")] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join(file), "x").unwrap();
        }
        let living = Beside::make(home.path()).unwrap();
        assert!(!left.exists() && living.path().exists() && home.path().join(CATALOG).exists());
        assert_eq!(sweep(home.path()), 0);
        assert_eq!(Beside::make(home.path()).unwrap_err().kind(), ErrorKind::Conflict);
        assert!(living.path().exists());
        drop(living);
        std::fs::create_dir(&left).unwrap();
        assert_eq!(sweep(home.path()), 1);
        assert!(theirs.exists() && also.exists());
        assert_eq!(files::entries(home.path()).unwrap().len(), 3);
    }
}
