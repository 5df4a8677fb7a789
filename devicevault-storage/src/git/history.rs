//! From commits to records: what keeps an [`Index`] true to the branch.

use std::collections::HashSet;

use devicevault_core::{Error, ErrorKind, Manifest, Result, StorageRef};
use git2::{Oid, Repository, Sort};

use super::fault;
use super::index::{Index, Record};
use super::layout::Layout;
use super::message;
use super::objects;
use super::pack;
use super::path::Version;

/// Commits that are read before the repository is opened anew: libgit2 keeps every one that it has seen.
const REOPEN: usize = 1024;

/// Brings an index up to a branch's tip.
///
/// What was added since is read by walking back to the commit that the index ends at. Where that is not found (history
/// was rewritten), the whole is read again; a merge on the way is read without what is known. What came by the other side
/// of a merge is listed, and decides nothing here.
pub(super) fn catch_up(layout: &Layout, index: &mut Index, tip: Option<Oid>) -> Result<()> {
    let known = index.tip();
    let Some(tip) = tip else {
        if known.is_some() {
            index.clear();
        }
        return Ok(());
    };
    if known == Some(tip) {
        return Ok(());
    }
    let mut repo = layout.repository()?;
    let mut new = Vec::new();
    let mut at = Some(tip);
    let mut linear = true;
    let mut ours = None;
    while let Some(oid) = at.filter(|oid| Some(*oid) != known) {
        if new.len() % REOPEN == REOPEN - 1 {
            repo = layout.repository()?;
        }
        let commit = commit(&repo, oid)?;
        linear &= commit.parent_count() < 2;
        if !linear {
            break;
        }
        new.push(oid);
        at = commit.parent_id(0).ok();
    }
    if !linear || (at.is_none() && known.is_some()) {
        // What a merge brought comes after what is known, where that is part of it.
        let kept = known.filter(|known| !linear && repo.graph_descendant_of(tip, *known).unwrap_or(false));
        if kept.is_none() {
            tracing::info!("the branch was merged or rewritten: reading all of its history");
            index.clear();
        }
        new = walk(layout, &repo, tip, kept)?;
        ours = Some(first_parents(layout, &repo, tip, kept)?);
    }
    new.reverse();
    for part in new.chunks(REOPEN) {
        repo = layout.repository()?;
        for oid in part {
            push(&repo, index, *oid, ours.as_ref().is_none_or(|ours| ours.contains(oid)))?;
        }
    }
    Ok(())
}

/// Every commit that `known` does not lead to, newest first.
pub(super) fn walk(layout: &Layout, repo: &Repository, tip: Oid, known: Option<Oid>) -> Result<Vec<Oid>> {
    walk_by(layout, repo, (tip, known), false)
}

/// Those of them that were made on our side of merges: of one that is made here, it comes first.
pub(super) fn first_parents(layout: &Layout, repo: &Repository, tip: Oid, known: Option<Oid>) -> Result<HashSet<Oid>> {
    Ok(walk_by(layout, repo, (tip, known), true)?.into_iter().collect())
}

fn walk_by(
    layout: &Layout,
    repo: &Repository,
    (tip, known): (Oid, Option<Oid>),
    on_our_side: bool,
) -> Result<Vec<Oid>> {
    guard(layout)?;
    let walk = || {
        let mut walk = repo.revwalk()?;
        walk.set_sorting(Sort::TOPOLOGICAL)?;
        if on_our_side {
            walk.simplify_first_parent()?;
        }
        walk.push(tip)?;
        if let Some(known) = known {
            walk.hide(known)?;
        }
        walk.collect::<std::result::Result<Vec<_>, _>>()
    };
    walk().map_err(|e| {
        let e = fault::git("read history", e);
        if e.kind() != ErrorKind::NotFound {
            return e;
        }
        Error::new(ErrorKind::Corrupt, "read history", "the repository lacks a commit").hint(objects::MEND).because(e)
    })
}

/// Refuses damaged loose objects before libgit2 goes through history by itself.
pub(super) fn guard(layout: &Layout) -> Result<()> {
    let loose = pack::loose(layout)?;
    objects::guard_all(loose.iter().map(|(id, path, _)| (*id, path.as_path())))
}

fn push(repo: &Repository, index: &mut Index, oid: Oid, is_ours: bool) -> Result<()> {
    let commit = commit(repo, oid)?;
    let mut any = false;
    for trailer in message::trailers(commit.message_raw_bytes()) {
        // A manifest for newer readers only is not listed; it stays readable by a newer release.
        match trailer.manifest() {
            Ok(m) => {
                let (folder, _) = trailer.path.rsplit_once('/').unwrap_or_default();
                let record = Record::of(&m, folder, oid);
                index.push(if is_ours { record } else { record.merged_in() });
                any = true;
            }
            Err(e) => tracing::warn!(commit = %oid, error = %e, "a commit holds a manifest that cannot be read"),
        }
    }
    if !any {
        index.push(Record::foreign(oid));
    }
    Ok(())
}

/// A commit that the branch leads to.
fn commit(repo: &Repository, oid: Oid) -> Result<git2::Commit<'_>> {
    objects::commit(repo, oid).map_err(|e| objects::lost(e, "commit", oid))
}

/// Whether one of the commits that `known` does not lead to claims to have stored something in such a folder.
pub(super) fn claims(
    layout: &Layout,
    repo: &Repository,
    (tip, known): (Oid, Oid),
    is_one: impl Fn(&str) -> bool,
) -> Result<bool> {
    for oid in walk(layout, repo, tip, Some(known))? {
        let commit = commit(repo, oid)?;
        let claimed = message::trailers(commit.message_raw_bytes());
        if claimed.iter().filter_map(|t| t.path.rsplit_once('/')).any(|(folder, _)| is_one(folder)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The manifests of a commit in which this text stands, each with its reference. With a commit per batch there are
/// hundreds, of which few are wanted.
pub(super) fn manifests(
    repo: &Repository,
    branch: &str,
    oid: Oid,
    containing: &str,
) -> Result<Vec<(StorageRef, Manifest)>> {
    let commit = commit(repo, oid)?;
    message::trailers(commit.message_raw_bytes())
        .into_iter()
        .filter(|t| t.mentions(containing))
        .map(|t| Ok((Version::new(branch, t.path, oid).to_ref(), t.manifest()?)))
        .collect()
}
