//! History once more, without what is to go: each commit on top of what became of the ones before it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use devicevault_core::{Digest, Manifest, Result, StorageRef, Transform, View};
use git2::{Commit, ObjectType, Oid, Repository};

use super::super::changes::{Change, Changes, differences};
use super::super::folder::Folder;
use super::super::fresh::Fresh;
use super::super::layout::Layout;
use super::super::message::{self, Edit};
use super::super::objects;
use super::super::path::Version;
use super::super::tree::Item;
use super::Purge;
use super::map::Successors;

/// Commits after which what is new goes to disk, and the repository is opened anew.
const PART: usize = 1000;

/// What became of history.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) successors: Successors,
    pub(super) removed: Vec<(StorageRef, Manifest)>,
    pub(super) rewritten: Vec<(StorageRef, Manifest)>,
    /// Files that are no backups, and were changed.
    pub(super) foreign: usize,
    /// Names that no file can have, or two have: commits that are made again are without them.
    pub(super) odd: BTreeSet<String>,
}

/// Goes through commits, oldest first. Unless it is a rehearsal, the new ones are on disk at its end.
pub(super) struct Replay<'a> {
    layout: &'a Layout,
    branch: &'a str,
    what: &'a Purge,
    rehearsal: bool,
    repo: Rc<Repository>,
    fresh: Fresh,
    done: usize,
    /// The newest new commit and its tree.
    head: Option<(Oid, Folder)>,
    /// Files that were looked at, and what they are now.
    blobs: HashMap<Oid, Option<Oid>>,
    out: Replayed,
}

/// What a commit changed, and what is to become of that.
struct Step {
    changes: Vec<Change>,
    edits: BTreeMap<String, Edit>,
    texts: HashMap<Oid, Oid>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(layout: &'a Layout, branch: &'a str, what: &'a Purge, rehearsal: bool) -> Result<Self> {
        Ok(Self {
            layout,
            branch,
            what,
            rehearsal,
            repo: Rc::new(layout.repository()?),
            fresh: Fresh::default(),
            done: 0,
            head: None,
            blobs: HashMap::new(),
            out: Replayed::default(),
        })
    }

    pub(super) fn run(mut self, commits: &[Oid]) -> Result<Replayed> {
        for oid in commits {
            if self.done == PART {
                self.flush()?;
            }
            self.done += 1;
            self.one(*oid)?;
        }
        self.flush()?;
        Ok(self.out)
    }

    fn flush(&mut self) -> Result<()> {
        if self.fresh.count() > 0 && !self.rehearsal {
            self.fresh.flush(self.layout)?;
        }
        (self.fresh, self.done) = (Fresh::default(), 0);
        self.repo = Rc::new(self.layout.repository()?);
        Ok(())
    }

    fn successor(&self, of: Oid) -> Option<Oid> {
        self.out.successors.get(&of).copied().unwrap_or(Some(of))
    }

    fn one(&mut self, oid: Oid) -> Result<()> {
        let repo = self.repo.clone();
        let commit = objects::commit(&repo, oid).map_err(|e| objects::lost(e, "commit", oid))?;
        let parents: Vec<Oid> = commit.parent_ids().collect();
        let before = parents.first().map(|p| tree_of(&repo, *p)).transpose()?;
        let Changes { files: changes, odd } = differences(&repo, before, Some(commit.tree_id()))?;

        let mut manifests = BTreeMap::new();
        for t in message::trailers(commit.message_raw_bytes()) {
            if let Ok(m) = t.manifest() {
                manifests.insert(t.path.to_owned(), m);
            }
        }
        let mut edits: BTreeMap<String, Edit> = BTreeMap::new();
        for (path, m) in &manifests {
            if (self.what.remove)(m) {
                self.out.removed.push((Version::new(self.branch, path, oid).to_ref(), m.clone()));
                edits.insert(path.clone(), Edit::Remove);
            }
        }
        let mut texts: HashMap<Oid, Oid> = HashMap::new();
        for change in &changes {
            let Some(item) = change.after.as_ref().filter(|i| i.is_blob()) else { continue };
            if edits.contains_key(&change.path) {
                continue;
            }
            let Some(new) = self.rewrite(item.id)? else { continue };
            texts.insert(item.id, new.0);
            match manifests.get(&change.path) {
                Some(m) => {
                    let m = rewritten(m, new.1);
                    edits.insert(change.path.clone(), Edit::Replace(Box::new(m.clone())));
                    self.out.rewritten.push((Version::new(self.branch, &change.path, oid).to_ref(), m));
                }
                None => self.out.foreign += 1,
            }
        }
        // A version whose file another commit brought has the same bytes.
        for (path, m) in &manifests {
            if edits.contains_key(path) || changes.iter().any(|c| c.path == *path) {
                continue;
            }
            let at = Version::new(self.branch, path, oid);
            let Ok(blob) = super::super::verify::blob(&repo, &at) else { continue };
            if let Some(new) = self.rewrite(blob)? {
                let m = rewritten(m, new.1);
                edits.insert(path.clone(), Edit::Replace(Box::new(m.clone())));
                self.out.rewritten.push((at.to_ref(), m));
            }
        }
        let told = self.what.in_message(commit.message_raw().unwrap_or_default());
        let same = edits.is_empty() && texts.is_empty() && told.is_none();
        if self.rehearsal || (same && parents.iter().all(|p| self.successor(*p) == Some(*p))) {
            return Ok(());
        }
        self.out.odd.extend(odd);
        self.again(&repo, &commit, &Step { changes, edits, texts })
    }

    /// What a file is to be, with its size and hash; `None`: what it is.
    fn rewrite(&mut self, id: Oid) -> Result<Option<(Oid, (u64, Digest))>> {
        let Some(rewrite) = &self.what.rewrite else { return Ok(None) };
        if self.blobs.get(&id).is_some_and(Option::is_none) {
            return Ok(None);
        }
        let data = objects::blob(&self.repo, id)?;
        let Some(new) = rewrite(&data) else {
            self.blobs.insert(id, None);
            return Ok(None);
        };
        let told = (new.len() as u64, Digest::of(&new));
        let new = self.fresh.add(ObjectType::Blob, new)?;
        self.blobs.insert(id, Some(new));
        Ok(Some((new, told)))
    }

    /// The same commit on top of what its parents became.
    fn again(&mut self, old: &Repository, commit: &Commit<'_>, step: &Step) -> Result<()> {
        let Step { changes, edits, texts } = step;
        let oid = commit.id();
        let parents: Vec<Oid> = commit.parent_ids().collect();
        let mut new_parents: Vec<Oid> = parents.iter().filter_map(|p| self.successor(*p)).collect();
        new_parents.dedup();
        let first = parents.first().and_then(|p| self.successor(*p));
        let mut root = match self.head.take() {
            Some((at, root)) if Some(at) == first => root,
            _ => {
                self.flush()?;
                Folder::root(&self.repo, first)?
            }
        };
        let base = root.write(&mut self.fresh, "")?;

        // What a file that moved is by now, looked up before anything is changed.
        let mut sources: HashMap<Oid, Option<Item>> = HashMap::new();
        for gone in changes.iter().filter(|c| c.after.is_none()) {
            if let Some(item) = &gone.before {
                let now = root.item(&self.repo, &parts(&gone.path))?;
                sources.insert(item.id, now);
            }
        }
        for change in changes {
            let path = parts(&change.path);
            let Some(item) = &change.after else {
                root.remove(&self.repo, &path)?;
                continue;
            };
            let new = match edits.get(&change.path) {
                Some(Edit::Remove) => continue,
                Some(Edit::Replace(_)) => Some(texts.get(&item.id).copied().unwrap_or(item.id)),
                None => match sources.get(&item.id) {
                    Some(now) => now.as_ref().map(|i| i.id),
                    None => self.of_others(old, &parents, &change.path, item)?,
                },
            };
            let new = new.map(|id| texts.get(&id).copied().unwrap_or(id));
            match new {
                Some(id) => root.set_item(&self.repo, &path, &item.mode, id)?,
                None => root.remove(&self.repo, &path)?,
            }
        }
        let tree = root.write(&mut self.fresh, "")?;
        let left = message::trailers(commit.message_raw_bytes()).len()
            - edits.values().filter(|e| matches!(e, Edit::Remove)).count();
        if tree == base && left == 0 && !changes.is_empty() && new_parents.len() < 2 {
            self.out.successors.insert(oid, first);
            if let Some(first) = first {
                self.head = Some((first, root));
            }
            return Ok(());
        }
        let message = message::edited(commit.message_raw().unwrap_or_default(), edits)?;
        let message = self.what.in_message(&message).unwrap_or(message);
        let new = self.fresh.add(ObjectType::Commit, header(commit, tree, &new_parents) + &message)?;
        self.out.successors.insert(oid, Some(new));
        self.head = Some((new, root));
        Ok(())
    }

    /// What a merge brought is what became of it where it came from.
    fn of_others(&mut self, old: &Repository, parents: &[Oid], path: &str, item: &Item) -> Result<Option<Oid>> {
        for parent in parents.iter().skip(1) {
            let was = Folder::root(old, Some(*parent))?.item(old, &parts(path))?;
            if was.is_some_and(|was| was.id == item.id) {
                let Some(now) = self.successor(*parent) else { return Ok(None) };
                if now == *parent {
                    return Ok(Some(item.id));
                }
                self.flush()?;
                return Ok(Folder::root(&self.repo, Some(now))?.item(&self.repo, &parts(path))?.map(|i| i.id));
            }
        }
        Ok(Some(item.id))
    }
}

/// What a manifest says once something was taken out of its file: that is no original any more, which a device would take
/// back, and is masked in part.
fn rewritten(m: &Manifest, (size, sha256): (u64, Digest)) -> Manifest {
    let mut m = m.clone();
    (m.size, m.sha256) = (size, sha256);
    if m.view == View::Original {
        m.view = View::Clean;
    }
    if !m.transforms.contains(&Transform::Masked) {
        m.transforms.push(Transform::Masked);
    }
    m
}

fn parts(path: &str) -> Vec<&str> {
    path.split('/').collect()
}

fn tree_of(repo: &Repository, commit: Oid) -> Result<Oid> {
    Ok(objects::commit(repo, commit).map_err(|e| objects::lost(e, "commit", commit))?.tree_id())
}

/// What stands before the message: as it was, but for tree and parents; a signature is of the old commit.
fn header(commit: &Commit<'_>, tree: Oid, parents: &[Oid]) -> String {
    let mut out = format!("tree {tree}\n");
    parents.iter().for_each(|p| out.push_str(&format!("parent {p}\n")));
    let mut skipping = false;
    for line in commit.raw_header().unwrap_or_default().lines() {
        skipping = if line.starts_with(' ') { skipping } else { line.starts_with("gpgsig") };
        if !skipping && !line.starts_with("tree ") && !line.starts_with("parent ") {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.push('\n');
    out
}
