//! What others committed, and what was committed here: one tree of both.

use std::collections::{BTreeMap, BTreeSet};

use devicevault_core::{ErrorKind, Result};
use git2::{ErrorCode, Oid, Repository};

use super::branch::{self, Moved};
use super::fresh::Fresh;
use super::own::Folders;
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
    /// What is in the folders of our devices is ours. Of the rest, a file that was changed here since both went apart is
    /// ours, any other theirs. Commits that claim to have stored something in those folders are never followed, also where
    /// they change nothing in them: on the other side of a merge it stays known that they are not from here.
    pub(super) fn merge(&self, theirs: Oid, own: &Folders) -> Result<Merged> {
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
            Ok(base) => Some(base),
            // Two that never met, such as a new repository at a hosting service with a README in it.
            Err(e) if e.code() == ErrorCode::NotFound => None,
            Err(e) => return Err(failed(e)),
        };
        let tree =
            |commit| Ok(objects::commit(self.repo, commit).map_err(|e| objects::lost(e, "commit", commit))?.tree_id());
        let follows = base == Some(tip);
        let base = base.map(tree).transpose()?;
        let mut join = Join { repo: self.repo, fresh: Fresh::default(), own };
        let merged = join.trees("", [base, Some(tree(tip)?), Some(tree(theirs)?)])?;
        let mut fresh = join.fresh;
        let merged = match merged {
            Some(merged)
                if follows
                    && merged == tree(theirs)?
                    && !history::claims(self.layout, self.repo, (theirs, tip), |folder| own.has(folder))? =>
            {
                return moved(Merged::Followed, theirs);
            }
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

/// Makes one tree of two that were one.
struct Join<'a> {
    repo: &'a Repository,
    fresh: Fresh,
    own: &'a Folders,
}

impl Join<'_> {
    /// One tree, at this path, of what it was, ours and theirs; `None` where nothing is in it.
    fn trees(&mut self, path: &str, [base, ours, theirs]: [Option<Oid>; 3]) -> Result<Option<Oid>> {
        if self.own.has(path) && ours.is_some() {
            return Ok(ours);
        }
        if ours == theirs || base == theirs {
            return Ok(ours);
        }
        if base == ours && !self.own.are_beneath(path) {
            return Ok(theirs);
        }
        let [base, ours, theirs] = [base, ours, theirs].map(|id| items(self.repo, id));
        let (base, ours, theirs) = (base?, ours?, theirs?);
        let names: BTreeSet<&Vec<u8>> = ours.keys().chain(theirs.keys()).collect();
        let mut joined = Vec::new();
        for name in names {
            let (b, o, t) = (base.get(name), ours.get(name), theirs.get(name));
            let inner = String::from_utf8_lossy(name);
            let inner = if path.is_empty() { inner.into_owned() } else { format!("{path}/{inner}") };
            let folder = |i: Option<&Item>| i.filter(|i| i.is_folder()).map(|i| i.id);
            let holds_ours = || self.own.has(&inner) || self.own.are_beneath(&inner);
            let item = if let Some(o) = o.filter(|o| o.is_folder() && (t.is_some_and(Item::is_folder) || holds_ours()))
            {
                let id = self.trees(&inner, [folder(b), Some(o.id), folder(t)])?;
                id.map(|id| Item { id, ..o.clone() })
            } else if o == b {
                t.cloned()
            } else {
                // Ours in the tree, theirs in history. What is a file here and a folder there is ours too.
                o.cloned()
            };
            joined.extend(item);
        }
        if joined.is_empty() {
            return Ok(None);
        }
        self.fresh.add(git2::ObjectType::Tree, Tree::of(joined).to_bytes()).map(Some)
    }
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
