//! Open repositories, lent out one user at a time.

use std::ffi::OsString;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use devicevault_core::{ErrorKind, Result};
use git2::Repository;

use super::layout::Layout;

/// How many stay open.
const KEEP: usize = 4;

/// How many objects are read by one before it is closed: libgit2 keeps every small object that a handle has seen, at
/// some 4 KiB for a commit.
const MAX_OBJECTS: usize = 1024;

/// For so long a handle tells what is stored, and not what was: where many are looked at one after the other, each of
/// them does not open the repository.
const RECENT: Duration = Duration::from_secs(2);

/// The packs of a repository: their names, sizes and times.
type Packs = Vec<(OsString, u64, Option<SystemTime>)>;

/// A repository that is open.
struct Open {
    repo: Repository,
    /// Objects that were read by it.
    seen: usize,
    /// When it was opened, and the packs that were there.
    opened: Option<(Duration, Packs)>,
}

/// A few handles, so that neither every read opens the repository nor one reader waits for another.
#[derive(Default)]
pub(super) struct Handles {
    free: Mutex<Vec<Open>>,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}

impl Handles {
    /// Runs `work`, which reads about so many objects, with a handle, and again with a fresh one when it failed in a way
    /// that a handle opened before a repack may explain: a pack that it knows is gone, and its contents are in a newer one.
    pub(super) fn with<T>(
        &self,
        layout: &Layout,
        objects: usize,
        work: impl Fn(&Repository) -> Result<T>,
    ) -> Result<T> {
        let lent = self.free().pop();
        if let Some(open) = lent {
            match work(&open.repo) {
                Ok(value) => {
                    self.give_back(Open { seen: open.seen + objects, ..open });
                    return Ok(value);
                }
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Unavailable) => {}
                Err(e) => return Err(e),
            }
        }
        let repo = layout.repository()?;
        let value = work(&repo)?;
        self.give_back(Open { repo, seen: objects, opened: None });
        Ok(value)
    }

    /// Runs `work`, which is to tell what is stored now, with a handle that was opened moments ago and whose packs are as
    /// they were then, or with a fresh one.
    pub(super) fn with_recent<T>(
        &self,
        layout: &Layout,
        objects: usize,
        now: Duration,
        work: impl FnOnce(&Repository) -> Result<T>,
    ) -> Result<T> {
        let there = packs(layout);
        let is_recent = |o: &Open| {
            let as_then = |packs: &Packs| Some(packs) == there.as_ref();
            o.opened.as_ref().is_some_and(|(at, packs)| now.saturating_sub(*at) < RECENT && as_then(packs))
        };
        let lent = {
            let mut free = self.free();
            free.iter().position(is_recent).map(|at| free.swap_remove(at))
        };
        let open = match lent {
            Some(open) => open,
            None => Open { repo: layout.repository()?, seen: 0, opened: there.map(|packs| (now, packs)) },
        };
        let value = work(&open.repo)?;
        self.give_back(Open { seen: open.seen + objects, ..open });
        Ok(value)
    }

    /// Closes all that are not in use.
    pub(super) fn close(&self) {
        self.free().clear();
    }

    fn give_back(&self, open: Open) {
        let mut free = self.free();
        if open.seen >= MAX_OBJECTS {
            return;
        }
        // Those that nobody may believe any more make room.
        if free.len() >= KEEP {
            let oldest =
                (0..free.len()).min_by_key(|at| free.get(*at).and_then(|o| o.opened.as_ref().map(|(at, _)| *at)));
            oldest.map(|at| free.swap_remove(at));
        }
        free.push(open);
    }

    fn free(&self) -> MutexGuard<'_, Vec<Open>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The packs that are there, in order; `None` where that cannot be told.
fn packs(layout: &Layout) -> Option<Packs> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(layout.packs()).ok()? {
        let entry = entry.ok()?;
        let found = entry.metadata().ok()?;
        all.push((entry.file_name(), found.len(), found.modified().ok()));
    }
    all.sort();
    Some(all)
}
