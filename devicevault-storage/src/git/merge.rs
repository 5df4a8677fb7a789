//! What others committed, and what was committed here: one tree of both.

use std::collections::{BTreeMap, BTreeSet};

use devicevault_core::{ErrorKind, Result};
use git2::{ErrorCode, Oid, Repository};

use super::branch::{self, Moved};
use super::fresh::Fresh;
use super::tree::{Item, Tree};
use super::write::Target;
use super::{fault, history, objects};

/// What became of another's commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged {
    /// They are ours already.
    Known,
    /// The branch goes on with them: nothing had been committed here.
    Followed,
    /// A commit has both.
    Joined,
    /// The branch was moved meanwhile.
    Elsewhere,
}

impl Target<'_> {
    /// Takes the commits up to `theirs` into the branch. The caller holds the writers' lock.
    ///
    /// A file that was changed here since both went apart is ours, any other theirs.
    pub(super) fn merge(&self, theirs: Oid) -> Result<Merged> {
        let refname = self.options.refname();
        let failed = |e| fault::git("merge what others pushed", e);
        let ours = branch::tip(self.repo, &refname)?;
        let moved = |done, end| {
            Ok(match branch::advance(self.layout, self.repo, &refname, ours, end)? {
                Moved::Done => done,
                Moved::Elsewhere => Merged::Elsewhere,
            })
        };
        let Some(tip) = ours else { return moved(Merged::Followed, theirs) };
        history::guard(self.layout)?;
        let base = match self.repo.merge_base(tip, theirs) {
            Ok(base) if base == theirs => return Ok(Merged::Known),
            Ok(base) if base == tip => return moved(Merged::Followed, theirs),
            Ok(base) => Some(base),
            // Two that never met, such as a new repository at a hosting service with a README in it.
            Err(e) if e.code() == ErrorCode::NotFound => None,
            Err(e) => return Err(failed(e)),
        };
        let tree =
            |commit| Ok(objects::commit(self.repo, commit).map_err(|e| objects::lost(e, "commit", commit))?.tree_id());
        let base = base.map(tree).transpose()?;
        let mut fresh = Fresh::default();
        let merged = join(self.repo, &mut fresh, base, Some(tree(tip)?), Some(tree(theirs)?))?;
        let merged = match merged {
            Some(merged) => merged,
            None => fresh.add_tree("", Vec::new())?,
        };
        let who = format!("{} <{}> {} +0000", self.options.author, self.options.email, self.now.as_second().max(0));
        let commit = format!(
            "tree {merged}\nparent {tip}\nparent {theirs}\nauthor {who}\ncommitter {who}\n\nMerge what others pushed to {}\n",
            self.options.branch
        );
        let end = fresh.add(git2::ObjectType::Commit, commit)?;
        fresh.flush(self.layout)?;
        moved(Merged::Joined, end)
    }
}

/// One tree of two that were one; `None` where nothing is in it.
fn join(
    repo: &Repository,
    fresh: &mut Fresh,
    base: Option<Oid>,
    ours: Option<Oid>,
    theirs: Option<Oid>,
) -> Result<Option<Oid>> {
    if base == ours {
        return Ok(theirs);
    }
    if base == theirs || ours == theirs {
        return Ok(ours);
    }
    let [base, ours, theirs] = [base, ours, theirs].map(|id| items(repo, id));
    let (base, ours, theirs) = (base?, ours?, theirs?);
    let names: BTreeSet<&Vec<u8>> = ours.keys().chain(theirs.keys()).collect();
    let mut joined = Vec::new();
    for name in names {
        let (b, o, t) = (base.get(name), ours.get(name), theirs.get(name));
        let folder = |i: Option<&Item>| i.filter(|i| i.is_folder()).map(|i| i.id);
        let item = if o == b {
            t.cloned()
        } else if t == b || o == t {
            o.cloned()
        } else if let (Some(o), Some(t)) = (o.filter(|i| i.is_folder()), t.filter(|i| i.is_folder())) {
            let id = join(repo, fresh, folder(b), Some(o.id), Some(t.id))?;
            id.map(|id| Item { id, ..o.clone() })
        } else {
            // Ours in the tree, theirs in history. What is a file here and a folder there is ours too.
            o.cloned()
        };
        joined.extend(item);
    }
    if joined.is_empty() {
        return Ok(None);
    }
    fresh.add(git2::ObjectType::Tree, Tree::of(joined).to_bytes()).map(Some)
}

fn items(repo: &Repository, id: Option<Oid>) -> Result<BTreeMap<Vec<u8>, Item>> {
    let Some(id) = id else { return Ok(BTreeMap::new()) };
    let tree = objects::tree(repo, id)?;
    Ok(tree.items().iter().map(|i| (i.name.clone(), i.clone())).collect())
}

/// Whether what was asked for is a commit that is here.
pub(super) fn has(repo: &Repository, commit: Oid) -> Result<bool> {
    match objects::commit(repo, commit) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}
