//! Whether a version is what was stored, and where exactly it is not.

use std::collections::HashSet;

use devicevault_core::storage::{Verdict, VerifyDepth};
use devicevault_core::{Digest, Error, ErrorKind, Manifest, Result};
use git2::{Commit, Oid, Repository};

use super::layout::Layout;
use super::message::{self, Trailer};
use super::objects;
use super::pack;
use super::path::Version;

/// The manifest of a version.
///
/// # Errors
/// `NotFound` when the repository has no such commit, or the commit did not store that path.
pub(super) fn manifest(repo: &Repository, at: &Version) -> Result<Manifest> {
    let commit = objects::commit(repo, at.commit)?;
    trailer(&commit, at)?.manifest().map_err(|e| e.with("commit", at.commit))
}

fn trailer<'c>(commit: &'c Commit<'_>, at: &Version) -> Result<Trailer<'c>> {
    let found = message::trailers(commit.message_raw_bytes()).into_iter().find(|t| t.path == at.path);
    found.ok_or_else(|| absent(at))
}

fn absent(at: &Version) -> Error {
    Error::new(ErrorKind::NotFound, "read backup", "the commit did not store this file")
        .with("commit", at.commit)
        .with("path", &at.path)
}

/// The blob of a version.
///
/// # Errors
/// `NotFound` when there is no such commit, or it stored no such file; `Corrupt` when the commit is there and what it
/// leads to is not.
pub(super) fn blob(repo: &Repository, at: &Version) -> Result<Oid> {
    let commit = objects::commit(repo, at.commit)?;
    trailer(&commit, at)?;
    let mut tree = objects::tree(repo, commit.tree_id())?;
    let mut parts = at.path.split('/').peekable();
    while let Some(part) = parts.next() {
        let item = tree.get(part).map(|i| (i.id, i.is_folder()));
        match (item, parts.peek().is_some()) {
            (Some((id, true)), true) => tree = objects::tree(repo, id)?,
            (Some((id, false)), false) => return Ok(id),
            _ => break,
        }
    }
    Err(absent(at))
}

/// The first of these objects on the way from a tree to a file.
pub(super) fn first_lost(repo: &Repository, tree: Oid, path: &str, lost: &HashSet<Oid>) -> Option<Oid> {
    let mut at = tree;
    for part in path.split('/') {
        if lost.contains(&at) {
            return Some(at);
        }
        at = objects::tree(repo, at).ok()?.get(part)?.id;
    }
    lost.contains(&at).then_some(at)
}

/// Compares a version with its manifest, and with what the catalog thinks of it. `repo` was opened for this: one that
/// was used before may answer from memory.
///
/// # Errors
/// What keeps it from being looked at; damage and absence are verdicts.
pub(super) fn verify(
    layout: &Layout,
    repo: &Repository,
    at: &Version,
    expect: Option<&Manifest>,
    depth: VerifyDepth,
) -> Result<Verdict> {
    match differences(repo, at, expect, depth) {
        Ok(found) if found.is_empty() => Ok(Verdict::Good(depth)),
        Ok(found) => Ok(Verdict::Damaged(found)),
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            let mut lines = vec![e.to_record().message];
            lines.extend(suspects(layout, &e)?);
            Ok(Verdict::Damaged(lines))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            // Not there, unless a pack that lists the commit can no longer be opened.
            let lines = holders(layout, at.commit)?;
            if lines.is_empty() { Ok(Verdict::Missing) } else { Ok(Verdict::Damaged(lines)) }
        }
        Err(e) => Err(e),
    }
}

fn differences(repo: &Repository, at: &Version, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let own = manifest(repo, at)?;
    for (what, m) in [("its manifest", Some(&own)), ("the catalog", expect)] {
        let Some(m) = m else { continue };
        if (m.run, &m.artefact, m.view) != (own.run, &own.artefact, own.view) {
            found.push(format!("{at}: the repository holds another backup than {what} says", at = at.to_ref()));
        } else if (m.size, m.sha256) != (own.size, own.sha256) {
            found.push(format!("{at}: its manifest and {what} differ in size or hash", at = at.to_ref()));
        }
    }
    let id = blob(repo, at)?;
    let size = if depth == VerifyDepth::Size {
        objects::blob_size(repo, id)?
    } else {
        let data = objects::blob(repo, id)?;
        let hash = Digest::of(&data);
        if hash != own.sha256 {
            found.push(format!("blob {id}: SHA-256 is {hash}, the manifest says {}", own.sha256));
        }
        data.len() as u64
    };
    if size != own.size {
        found.push(format!("blob {id}: {size} bytes, the manifest says {}", own.size));
    }
    Ok(found)
}

/// Which files the object that an error names is in.
fn suspects(layout: &Layout, e: &Error) -> Result<Vec<String>> {
    let named = e.context().filter(|(name, _)| matches!(*name, "commit" | "tree" | "blob" | "object"));
    let mut lines = Vec::new();
    for oid in named.filter_map(|(_, value)| Oid::from_str(value).ok()) {
        lines.extend(holders(layout, oid)?);
    }
    Ok(lines)
}

fn holders(layout: &Layout, oid: Oid) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for pack in pack::packs(layout)? {
        if pack::objects(&pack.path).is_ok_and(|ids| ids.binary_search(&oid).is_ok()) {
            let state = if pack::plausible(&pack) { "holds it" } else { "should hold it, and is not a whole pack" };
            lines.push(format!("{}: {state} ({oid})", pack.path.display()));
        }
    }
    for (id, path, _) in pack::loose(layout)? {
        if id == oid {
            lines.push(format!("{}: holds it ({oid})", path.display()));
        }
    }
    Ok(lines)
}
