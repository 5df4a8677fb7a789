//! Reading objects by their id.
//!
//! libgit2 compares what it reads with the id. Of a loose object that was cut off it never comes back: it waits for
//! more of a compressed stream that has ended. So a loose object is looked at before libgit2 is let at it.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::io::{ErrorKind as Io, Read as _};
use std::path::Path;

use devicevault_core::{Error, ErrorKind, Result};
use flate2::read::ZlibDecoder;
use git2::{Commit, Oid, Repository};

use super::fault;
use super::tree::Tree;
use crate::regular;

/// What helps where an object is lost.
pub(super) const MEND: &str = "`devicevault git mend` makes its history whole again out of other destinations";

/// No object that anybody put here is larger.
const MAX_LOOSE: u64 = 4 << 30;

/// Reads a commit.
///
/// # Errors
/// `NotFound`; `Corrupt`.
pub(super) fn commit(repo: &Repository, id: Oid) -> Result<Commit<'_>> {
    guard(repo, id)?;
    repo.find_commit(id).map_err(|e| fault::git("read commit", e).with("commit", id))
}

/// Reads a tree that a commit or another tree names.
///
/// # Errors
/// `Corrupt`, when it is not there too.
pub(super) fn tree(repo: &Repository, id: Oid) -> Result<Tree> {
    Tree::parse(&read(repo, "tree", id)?).map_err(|e| e.with("tree", id))
}

/// Reads a blob that a tree names.
///
/// # Errors
/// `Corrupt`, when it is not there too.
pub(super) fn blob(repo: &Repository, id: Oid) -> Result<Vec<u8>> {
    read(repo, "blob", id)
}

/// The length of a blob that a tree names.
///
/// # Errors
/// `Corrupt`, when it is not there too.
pub(super) fn blob_size(repo: &Repository, id: Oid) -> Result<u64> {
    guard(repo, id)?;
    let header = repo.odb().and_then(|odb| odb.read_header(id));
    header.map(|(size, _)| size as u64).map_err(|e| named(e, "blob", id))
}

fn read(repo: &Repository, what: &'static str, id: Oid) -> Result<Vec<u8>> {
    guard(repo, id)?;
    let odb = repo.odb().map_err(|e| fault::git("read object", e))?;
    let object = odb.read(id).map_err(|e| named(e, what, id))?;
    Ok(object.data().to_vec())
}

/// What something leads to is not "not there": it is lost.
fn named(e: git2::Error, what: &'static str, id: Oid) -> Error {
    lost(fault::git("read object", e), what, id)
}

/// The same for an error of ours.
pub(super) fn lost(e: Error, what: &'static str, id: Oid) -> Error {
    if e.kind() != ErrorKind::NotFound {
        return e.with(what, id);
    }
    Error::new(ErrorKind::Corrupt, "read object", "the repository lacks an object that it needs")
        .with(what, id)
        .hint(MEND)
        .because(e)
}

/// Refuses a loose object whose compressed stream does not end.
pub(super) fn guard(repo: &Repository, id: Oid) -> Result<()> {
    let name = id.to_string();
    let (folder, file) = name.split_at_checked(2).unwrap_or((&name, ""));
    whole(&repo.path().join("objects").join(folder).join(file), id)
}

/// As [`guard`], for every loose object: before libgit2 goes through history by itself.
pub(super) fn guard_all<'a>(loose: impl IntoIterator<Item = (Oid, &'a Path)>) -> Result<()> {
    loose.into_iter().try_for_each(|(id, path)| whole(path, id))
}

fn whole(path: &Path, id: Oid) -> Result<()> {
    let file = match regular::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => return Ok(()),
        Err(e) => return Err(fault::io("read object", path, e)),
    };
    let damaged = |why: &str| {
        Error::new(ErrorKind::Corrupt, "read object", why.to_owned()).with("path", path.display()).with("object", id)
    };
    // A decoder that reads nothing after the end of its stream ends well only where the stream does.
    let mut stream = ZlibDecoder::new(file).take(MAX_LOOSE);
    match std::io::copy(&mut stream, &mut std::io::sink()) {
        Ok(MAX_LOOSE) => Err(damaged("a loose object is larger than any can be")),
        Ok(_) => Ok(()),
        Err(e) => Err(damaged("a loose object is cut off or changed").because(e)),
    }
}
