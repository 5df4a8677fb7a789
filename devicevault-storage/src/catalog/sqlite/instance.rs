//! Which open catalogs live: each holds a lock on a file of its own, which the system lets go when its process ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::file::{create_private, private_folder};
use crate::regular;

/// This open catalog among those that have the same file open. Its lock file goes with it.
#[derive(Debug)]
pub(super) struct Instance {
    id: Uuid,
    folder: PathBuf,
    /// Held locked, never read.
    _file: File,
}

impl Instance {
    /// Makes and locks a file of a new name in the folder.
    ///
    /// It gets its name only after it is locked: whoever finds a name that nobody has locked knows that its owner is
    /// dead. A file that somebody tidied away before it was locked is made again.
    pub(super) fn register(folder: &Path) -> io::Result<Self> {
        private_folder(folder)?;
        loop {
            let id = Uuid::now_v7();
            let unnamed = folder.join(format!("{id}.new"));
            let file = create_private(&unnamed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) => return Err(e),
            }
            match fs::rename(&unnamed, lock_file(folder, id)) {
                Ok(()) => return Ok(Self { id, folder: folder.to_owned(), _file: file }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// Whether nobody holds the file of this name locked. In doubt it lives.
    pub(super) fn is_dead(&self, other: Uuid) -> bool {
        is_free(&lock_file(&self.folder, other)).unwrap_or(false)
    }

    /// Whether no other one lives. Who asks keeps others from opening the catalog.
    pub(super) fn is_alone(&self) -> io::Result<bool> {
        for path in self.others()? {
            if !is_free(&path)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the files of those that died.
    pub(super) fn tidy(&self) -> io::Result<()> {
        for path in self.others()? {
            if is_free(&path)? {
                match fs::remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The files of others, living and dead.
    fn others(&self) -> io::Result<Vec<PathBuf>> {
        let own = lock_file(&self.folder, self.id);
        let all = fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let is_other = |p: &PathBuf| *p != own && p.extension().is_some_and(|e| e == "lock" || e == "new");
        Ok(all.into_iter().filter(is_other).collect())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Left behind, it is found unlocked and tidied away by the next catalog that opens.
        let _ = fs::remove_file(lock_file(&self.folder, self.id));
    }
}

fn lock_file(folder: &Path, id: Uuid) -> PathBuf {
    folder.join(format!("{id}.lock"))
}

/// Whether the file is not there or not locked. Those who ask share their lock, so that they do not take one another
/// for its owner.
fn is_free(path: &Path) -> io::Result<bool> {
    let file = match regular::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn an_instance_lives_as_long_as_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let a = Instance::register(folder.path()).unwrap();
        let b = Instance::register(folder.path()).unwrap();
        assert!(!a.is_dead(b.id()) && !b.is_dead(a.id()) && !a.is_alone().unwrap());
        let id = b.id();
        drop(b);
        assert!(a.is_alone().unwrap());
        assert!(a.is_dead(id));
        assert!(a.is_dead(Uuid::nil()), "one that was never there is dead");
        assert_eq!(names(folder.path()), 1);
    }

    #[test]
    fn files_of_the_dead_are_tidied_away_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let a = Instance::register(folder.path()).unwrap();
        let b = Instance::register(folder.path()).unwrap();
        for left in ["0190b5b1-c000-7000-8000-000000000001.lock", "0190b5b1-c000-7000-8000-000000000002.new", "other"] {
            File::create(folder.path().join(left)).unwrap();
        }
        a.tidy().unwrap();
        assert!(!a.is_dead(b.id()));
        assert_eq!(names(folder.path()), 3, "a, b, and what is not ours");
    }

    #[test]
    fn many_that_register_while_others_tidy_all_live() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut all = Vec::new();
                        for _ in 0..20 {
                            let instance = Instance::register(folder.path()).unwrap();
                            instance.tidy().unwrap();
                            all.push(instance);
                        }
                        all
                    })
                })
                .collect();
            let all: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
            let first = all.first().unwrap();
            assert!(all.iter().skip(1).all(|other| !first.is_dead(other.id())));
            assert_eq!(names(folder.path()), 160);
        });
    }
}
