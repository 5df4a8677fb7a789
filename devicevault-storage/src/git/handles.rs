//! Open repositories, lent out one user at a time.

use std::sync::{Mutex, PoisonError};

use devicevault_core::{ErrorKind, Result};
use git2::Repository;

use super::layout::Layout;

/// How many stay open.
const KEEP: usize = 4;

/// How many objects are read by one before it is closed: libgit2 keeps every small object that a handle has seen, at
/// some 4 KiB for a commit.
const MAX_OBJECTS: usize = 1024;

/// A few handles, so that neither every read opens the repository nor one reader waits for another.
#[derive(Default)]
pub(super) struct Handles {
    free: Mutex<Vec<(Repository, usize)>>,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}

impl Handles {
    /// Runs `work`, which reads about so many objects, with a handle, and again with a fresh one when it failed in a way that a handle opened before a
    /// repack may explain: a pack that it knows is gone, and its contents are in a newer one.
    pub(super) fn with<T>(
        &self,
        layout: &Layout,
        objects: usize,
        work: impl Fn(&Repository) -> Result<T>,
    ) -> Result<T> {
        let lent = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some((repo, seen)) = lent {
            match work(&repo) {
                Ok(value) => {
                    self.give_back(repo, seen + objects);
                    return Ok(value);
                }
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Unavailable) => {}
                Err(e) => return Err(e),
            }
        }
        let repo = layout.repository()?;
        let value = work(&repo)?;
        self.give_back(repo, objects);
        Ok(value)
    }

    /// Closes all that are not in use.
    pub(super) fn close(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn give_back(&self, repo: Repository, seen: usize) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEEP && seen < MAX_OBJECTS {
            free.push((repo, seen));
        }
    }
}
