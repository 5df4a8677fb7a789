//! Open repositories, lent out one user at a time.

use std::sync::{Mutex, PoisonError};

use devicevault_core::{ErrorKind, Result};
use git2::Repository;

use super::layout::Layout;

/// How many stay open.
const KEEP: usize = 4;

/// How often one is used before it is closed: libgit2 keeps every small object that a handle has seen.
const MAX_USES: u32 = 4096;

/// A few handles, so that neither every read opens the repository nor one reader waits for another.
#[derive(Default)]
pub(super) struct Handles {
    free: Mutex<Vec<(Repository, u32)>>,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}

impl Handles {
    /// Runs `work` with a handle, and again with a fresh one when it failed in a way that a handle opened before a
    /// repack may explain: a pack that it knows is gone, and its contents are in a newer one.
    pub(super) fn with<T>(&self, layout: &Layout, work: impl Fn(&Repository) -> Result<T>) -> Result<T> {
        let lent = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some((repo, uses)) = lent {
            match work(&repo) {
                Ok(value) => {
                    self.give_back(repo, uses + 1);
                    return Ok(value);
                }
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Unavailable) => {}
                Err(e) => return Err(e),
            }
        }
        let repo = layout.repository()?;
        let value = work(&repo)?;
        self.give_back(repo, 1);
        Ok(value)
    }

    /// Closes all that are not in use.
    pub(super) fn close(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn give_back(&self, repo: Repository, uses: u32) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEEP && uses < MAX_USES {
            free.push((repo, uses));
        }
    }
}
