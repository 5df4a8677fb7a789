//! A branch that names a commit which the repository does not hold: as in a copy that was made while something was stored,
//! where the branch was read after the packs. It is put back to the newest commit that is whole.

use std::collections::{HashMap, HashSet};

use devicevault_core::{Error, ErrorKind, Result, Timestamp};
use git2::{ObjectType, Oid, Repository};

use super::index::Index;
use super::layout::Layout;
use super::{branch, fault, history, message, objects, purge};

/// A branch that leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    /// What it names.
    pub(super) named: Oid,
    /// The newest commit of it that is whole, and when it was made; `None` where there is none.
    pub(super) back: Option<(Oid, Timestamp)>,
}

impl Lost {
    /// What it stands for, for people. `would` says that it is only told.
    pub(super) fn told(&self, branch: &str, would: bool) -> String {
        let is = if would { "would be" } else { "is" };
        let named = self.named;
        let to = match &self.back {
            Some((commit, at)) => format!("it {is} put back to {commit} of {at}"),
            None => format!("no commit of it is whole, and it {is} begun anew"),
        };
        format!(
            "the branch {branch} names commit {named}, which the repository does not hold, as in a copy that was made while \
             something was stored: {to}; what was stored after that is not here: `devicevault verify --repair`, before the \
             next backup, takes it from another destination"
        )
    }
}

/// Whether the branch names a commit that is not there, and what can be done about it.
///
/// # Errors
/// What the repository answers. A commit that is there and damaged is not for this to tell.
pub(super) fn look(layout: &Layout, branch: &str, index: &Index) -> Result<Option<Lost>> {
    let repo = layout.repository()?;
    let Some(named) = branch::tip(&repo, &format!("refs/heads/{branch}"))? else { return Ok(None) };
    match objects::commit(&repo, named) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        _ => return Ok(None),
    }
    history::guard(layout)?;
    let purged = purge::successors(layout, &repo, branch).unwrap_or_default();
    let known: HashMap<Oid, usize> = index.records().iter().enumerate().map(|(n, r)| (r.commit, n)).collect();
    let mut all = Vec::new();
    for id in commits(&repo)?.into_iter().filter(|id| !purged.contains_key(id)) {
        let commit = repo.find_commit(id).map_err(|e| fault::git("read commit", e))?;
        let is_ours = !message::trailers(commit.message_raw_bytes()).is_empty();
        all.push((
            commit.time().seconds(),
            known.get(&id).copied(),
            id,
            is_ours,
            commit.parent_ids().collect::<Vec<_>>(),
        ));
    }
    all.sort_unstable_by_key(|&(at, place, id, ..)| (at, place, id));
    // Other branches may have commits of ours too: where it is known what this one had, what comes after that is meant.
    let mut meant: HashSet<Oid> = known.keys().copied().collect();
    for (_, place, id, is_ours, parents) in &all {
        if place.is_some() || parents.iter().any(|p| meant.contains(p)) || known.is_empty() && *is_ours {
            meant.insert(*id);
        }
    }
    all.retain(|(_, _, id, ..)| meant.contains(id));
    let back = all.into_iter().rev().find(|(_, _, id, ..)| is_whole(&repo, *id));
    let back = back.map(|(at, _, id, ..)| (id, Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH)));
    Ok(Some(Lost { named, back }))
}

/// Puts it back. The caller holds the writers' lock.
///
/// # Errors
/// `Conflict` where somebody moved it meanwhile; the file system refuses.
pub(super) fn put_back(layout: &Layout, branch: &str, lost: &Lost) -> Result<()> {
    let (repo, refname) = (layout.repository()?, format!("refs/heads/{branch}"));
    let moved = || Error::new(ErrorKind::Conflict, "put branch back", "somebody else moved it meanwhile");
    match lost.back {
        Some((commit, _)) => match branch::advance(layout, &repo, &refname, Some(lost.named), commit)? {
            branch::Moved::Done => Ok(()),
            branch::Moved::Elsewhere => Err(moved().with("branch", branch)),
        },
        None => {
            let mut reference = repo.find_reference(&refname).map_err(|e| fault::git("read branch", e))?;
            if reference.target() != Some(lost.named) {
                return Err(moved().with("branch", branch));
            }
            reference.delete().map_err(|e| fault::git("remove branch", e))
        }
    }
}

/// Every commit that the repository holds.
fn commits(repo: &Repository) -> Result<Vec<Oid>> {
    let failed = |e| fault::git("list objects", e);
    let odb = repo.odb().map_err(failed)?;
    let (mut all, mut found) = (Vec::new(), Vec::new());
    odb.foreach(|id| {
        all.push(*id);
        true
    })
    .map_err(failed)?;
    for id in all {
        if odb.read_header(id).is_ok_and(|(_, kind)| kind == ObjectType::Commit) {
            found.push(id);
        }
    }
    Ok(found)
}

/// Whether a commit, everything that it shows, and the commits before it are there.
fn is_whole(repo: &Repository, commit: Oid) -> bool {
    let (mut waiting, mut seen) = (vec![commit], HashSet::new());
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Ok(found) = repo.find_commit(id) else { return false };
        waiting.extend(found.parent_ids());
    }
    let Ok(odb) = repo.odb() else { return false };
    let Ok(tree) = repo.find_commit(commit).and_then(|c| c.tree()) else { return false };
    let mut whole = true;
    let walked = tree.walk(git2::TreeWalkMode::PreOrder, |_, entry| {
        whole &= odb.exists(entry.id());
        if whole { git2::TreeWalkResult::Ok } else { git2::TreeWalkResult::Abort }
    });
    walked.is_ok() && whole
}
