//! What libgit2 reads of a repository besides objects. It opens each by its name and waits: a pipe in the place of one would
//! hold up every command for ever. So each is looked at before libgit2 is let at the folder.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fs;
use std::io::{self, ErrorKind as Io};
use std::path::Path;

use devicevault_core::{Error, ErrorKind, Result};

use super::fault;
use crate::regular;

/// Right in the folder, where they are there.
const FILES: [&str; 8] = [
    "HEAD",
    "config",
    "config.worktree",
    "commondir",
    "packed-refs",
    "shallow",
    "objects/info/alternates",
    "objects/info/commit-graph",
];

/// Refuses a repository in which one of them is no regular file. Also of a folder that is none.
///
/// # Errors
/// `Conflict` that names it.
pub(super) fn check(dir: &Path) -> Result<()> {
    for name in FILES {
        file(&dir.join(name))?;
    }
    refs(&dir.join("refs"))?;
    packs(&dir.join("objects/pack"))
}

fn file(path: &Path) -> Result<()> {
    regular::check(path).map_err(|e| fault::io("open repository", path, e))
}

/// Refuses a folder with files in it in the place of a branch: then there are branches beneath its name, and it can be none.
/// One that is empty is what Git leaves behind of such branches.
pub(super) fn branch(dir: &Path, refname: &str) -> Result<()> {
    let path = dir.join(refname);
    if !path.is_dir() || is_bare_of_files(&path).map_err(|e| fault::io("open repository", &path, e))? {
        return Ok(());
    }
    let why = "there is a folder in the place of the branch";
    Err(Error::new(ErrorKind::Conflict, "open repository", why)
        .with("path", path.display())
        .hint("a branch cannot be called as the beginning of another's name: name another branch, or remove those"))
}

fn is_bare_of_files(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() || !is_bare_of_files(&entry.path())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every file below the references.
fn refs(folder: &Path) -> Result<()> {
    each(folder, &mut |path, is_folder| if is_folder { refs(path) } else { file(path) })
}

/// Packs and what stands beside them. Whatever else lies there, nobody opens.
fn packs(folder: &Path) -> Result<()> {
    each(folder, &mut |path, _| {
        let read = path.extension().is_some_and(|e| e == "pack" || e == "idx" || e == "rev");
        if read || path.file_name().is_some_and(|n| n == "multi-pack-index") { file(path) } else { Ok(()) }
    })
}

/// Shows each entry, and whether it is a folder, not by way of a link.
fn each(folder: &Path, look: &mut dyn FnMut(&Path, bool) -> Result<()>) -> Result<()> {
    let failed = |e| fault::io("open repository", folder, e);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        look(&entry.path(), is_folder)?;
    }
    Ok(())
}
