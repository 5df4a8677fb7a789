//! Reading and moving the branch: the last step of every store, durable, and safe beside other programs.
//!
//! Git locks a ref by making `<ref>.lock`. A process that dies leaves that file, and every later commit is refused. So
//! that ours can be told from anybody else's, it is made with its content in one step: the new value is written and
//! flushed to a file of ours, and that file is *linked* to the lock's name. A lock that holds the value which our file
//! holds, while nobody has our own lock, is a dead process's and is taken away; any other is left alone.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::Path;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use git2::{ErrorCode, Oid, ReferenceType, Repository};

use super::fault;
use super::layout::{Layout, make_beneath, sync_folder, write_new};
use crate::regular;

/// How often another program's lock is looked at again before it is an error, and how long between.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The commit that a branch stands at; none before the first.
pub(super) fn tip(repo: &Repository, refname: &str) -> Result<Option<Oid>> {
    match repo.find_reference(refname) {
        Ok(r) if r.kind() == Some(ReferenceType::Direct) => Ok(r.target()),
        Ok(_) => Err(Error::new(ErrorKind::Config, "read branch", "the branch is an alias of another one")
            .with("branch", refname)
            .hint("name the branch that it stands for")),
        Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
        Err(e) => Err(fault::git("read branch", e).with("branch", refname)),
    }
}

/// How moving a branch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// It stands at the new commit, durably.
    Done,
    /// Somebody else moved it before: nothing was done.
    Elsewhere,
}

/// Moves a branch from `expected` to `new`. The caller holds the writers' lock.
pub(super) fn advance(
    layout: &Layout,
    repo: &Repository,
    refname: &str,
    expected: Option<Oid>,
    new: Oid,
) -> Result<Moved> {
    let operation = "move branch";
    let path = layout.dir().join(refname);
    let lock = layout.dir().join(format!("{refname}.lock"));
    let staged = layout.staged_ref();
    let folder = path.parent().unwrap_or(layout.dir());
    // Folders of a branch's name, one by one: where the repository is gone, none is made.
    let missing: Vec<_> = folder.ancestors().take_while(|f| *f != layout.dir()).collect();
    for one in missing.into_iter().rev() {
        make_beneath(one).map_err(|e| fault::io(operation, one, e))?;
    }
    clear_stale(&staged, &lock)?;
    write_new(&staged, format!("{new}\n").as_bytes()).map_err(|e| fault::io(operation, &staged, e))?;
    take(&staged, &lock)?;

    let outcome = match tip(repo, refname) {
        Ok(now) if now == expected => fs::rename(&lock, &path)
            .map_err(|e| fault::io(operation, &path, e))
            .and_then(|()| sync_folder(folder))
            .map(|()| Moved::Done),
        Ok(_) => Ok(Moved::Elsewhere),
        Err(e) => Err(e),
    };
    if !matches!(outcome, Ok(Moved::Done)) {
        let _ = fs::remove_file(&lock);
    }
    let _ = fs::remove_file(&staged);
    outcome
}

/// Takes a dead process's leavings away.
pub(super) fn clear_stale(staged: &Path, lock: &Path) -> Result<()> {
    let operation = "clear stale lock";
    let ours = match regular::read(staged) {
        Ok(content) => content,
        Err(e) if e.kind() == Io::NotFound => return Ok(()),
        Err(e) => return Err(fault::io(operation, staged, e)),
    };
    if !ours.is_empty() && regular::read(lock).is_ok_and(|held| held == ours) {
        tracing::warn!(lock = %lock.display(), "removing the lock of a process of ours that died");
        fs::remove_file(lock).map_err(|e| fault::io(operation, lock, e))?;
    }
    fs::remove_file(staged).map_err(|e| fault::io(operation, staged, e))
}

/// Makes Git's lock, with its content.
fn take(staged: &Path, lock: &Path) -> Result<()> {
    for _ in 0..LOCK_TRIES {
        match fs::hard_link(staged, lock) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == Io::AlreadyExists => std::thread::sleep(LOCK_PAUSE),
            Err(e) if lacks_links(&e) => {
                return take_without_links(staged, lock).map_err(|e| fault::io("lock branch", lock, e));
            }
            Err(e) => return Err(fault::io("lock branch", lock, e)),
        }
    }
    let _ = fs::remove_file(staged);
    Err(Error::new(ErrorKind::Conflict, "lock branch", "another program holds the branch")
        .with("lock", lock.display())
        .retry_advice(devicevault_core::Retry::After(Duration::from_secs(1)))
        .hint("wait for that program; if none is running, remove the lock file"))
}

/// On a file system without hard links a lock can be left empty for a moment; whoever dies in it leaves it to a person.
fn take_without_links(staged: &Path, lock: &Path) -> std::io::Result<()> {
    let content = fs::read(staged)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(lock)?;
    // From here on it is ours, and one that cannot be finished is in the way of every later commit.
    std::io::Write::write_all(&mut file, &content).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = fs::remove_file(lock);
    })
}

/// Whether a file system has no hard links, in the words of all those that have none. A disk that is full or broken would
/// not take the lock in another way either.
fn lacks_links(e: &std::io::Error) -> bool {
    matches!(e.kind(), Io::Unsupported | Io::PermissionDenied | Io::TooManyLinks | Io::InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (tempfile::TempDir, Layout, Repository, Oid) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(&dir.path().join("r.git"), "main").unwrap();
        let repo = layout.repository().unwrap();
        let tree = repo.treebuilder(None).unwrap().write().unwrap();
        let who = git2::Signature::new("a", "b", &git2::Time::new(0, 0)).unwrap();
        let commit = repo.commit(None, &who, &who, "x", &repo.find_tree(tree).unwrap(), &[]).unwrap();
        drop(who);
        (dir, layout, repo, commit)
    }

    #[test]
    fn a_branch_moves_only_from_where_it_is_thought_to_be() {
        let (_dir, layout, repo, commit) = repository();
        let name = "refs/heads/site/main";
        assert_eq!(advance(&layout, &repo, name, Some(commit), commit).unwrap(), Moved::Elsewhere);
        assert_eq!(tip(&repo, name).unwrap(), None);
        assert_eq!(advance(&layout, &repo, name, None, commit).unwrap(), Moved::Done);
        assert_eq!(tip(&repo, name).unwrap(), Some(commit));
        assert_eq!(advance(&layout, &repo, name, Some(commit), commit).unwrap(), Moved::Done);
        assert!(!layout.staged_ref().exists());
    }

    #[test]
    fn the_lock_of_a_dead_process_goes_and_anybody_elses_stays() {
        let (_dir, layout, repo, commit) = repository();
        let lock = layout.dir().join("refs/heads/main.lock");
        fs::write(layout.staged_ref(), format!("{commit}\n")).unwrap();
        fs::hard_link(layout.staged_ref(), &lock).unwrap();
        assert_eq!(advance(&layout, &repo, "refs/heads/main", None, commit).unwrap(), Moved::Done);

        fs::write(&lock, "").unwrap();
        let e = advance(&layout, &repo, "refs/heads/main", Some(commit), commit).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Conflict);
        assert!(lock.exists());
    }
}
