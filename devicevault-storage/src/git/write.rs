//! From a batch of entries to commits: objects, one pack, one move of the branch.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use devicevault_core::{Digest, Entry, Error, ErrorKind, Result, StorageRef, Timestamp};
use flate2::Compression;
use git2::{ObjectType, Oid, Repository};

use super::branch::{self, Moved};
use super::delta;
use super::fault;
use super::history;
use super::index::Index;
use super::layout::Layout;
use super::message;
use super::objects;
use super::options::{CommitPer, GitOptions};
use super::packfile::PackWriter;
use super::path::{TreePath, Version};
use super::tree::Tree;

/// How often a batch is built again because another program moved the branch meanwhile.
const REBASES: u32 = 5;

/// A store is in a hurry; a merge compresses better.
const COMPRESSION: u32 = 3;

/// An entry whose bytes are whole and hash to what its manifest says.
#[derive(Debug)]
pub(super) struct Checked {
    /// Its place in the batch.
    pub(super) slot: usize,
    pub(super) entry: Entry,
    pub(super) data: Bytes,
}

/// Where a batch goes.
pub(super) struct Target<'a> {
    pub(super) layout: &'a Layout,
    pub(super) options: &'a GitOptions,
    pub(super) repo: &'a Repository,
    pub(super) now: Timestamp,
}

/// What became of an entry, and its place in the batch.
pub(super) type Verdict = (usize, Result<StorageRef>);

impl Target<'_> {
    /// Stores a batch. The caller holds the writers' lock; `index` is brought up to date.
    ///
    /// # Errors
    /// What concerns the batch as a whole: then nothing of it is stored.
    pub(super) fn store(&self, index: &mut Index, batch: &[Checked]) -> Result<Vec<Verdict>> {
        let refname = self.options.refname();
        for _ in 0..REBASES {
            let tip = branch::tip(self.repo, &refname)?;
            history::catch_up(self.layout, self.repo, index, tip)?;
            let mut verdicts = Vec::new();
            let mut new = Vec::new();
            for one in batch {
                match self.stored_before(index, one)? {
                    Some(at) => verdicts.push((one.slot, Ok(at))),
                    None => new.push(one),
                }
            }
            let mut fresh = Fresh::default();
            let mut chain = Chain { target: self, fresh: &mut fresh, root: Folder::root(self.repo, tip)?, tip };
            chain.commit_all(&new, &mut verdicts)?;
            let Some(end) = chain.tip.filter(|end| Some(*end) != tip) else { return Ok(verdicts) };
            fresh.flush(self.layout)?;
            match branch::advance(self.layout, self.repo, &refname, tip, end)? {
                Moved::Elsewhere => continue,
                Moved::Done => {}
            }
            // The batch is stored: whatever ails the index now is mended when it is next needed.
            let path = self.layout.index(&self.options.branch);
            let up_to_date =
                history::catch_up(self.layout, self.repo, index, Some(end)).and_then(|()| index.save(&path));
            if let Err(e) = up_to_date {
                tracing::warn!(error = %e, "the index of the repository could not be written");
            }
            return Ok(verdicts);
        }
        Err(Error::new(ErrorKind::Conflict, "store backup", "other programs keep moving the branch")
            .with("branch", &self.options.branch)
            .retry_advice(devicevault_core::Retry::After(std::time::Duration::from_secs(1))))
    }

    fn stored_before(&self, index: &Index, one: &Checked) -> Result<Option<StorageRef>> {
        let id = one.entry.id();
        for commit in index.stored(&one.entry.manifest.source.device, &id) {
            let found = history::manifests(self.repo, &self.options.branch, commit)?;
            let same =
                |m: &devicevault_core::Manifest| m.run == id.run && m.artefact == id.artefact && m.view == id.view;
            if let Some((at, _)) = found.into_iter().find(|(_, m)| same(m)) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

/// Commits that follow one another, not yet on disk.
struct Chain<'a> {
    target: &'a Target<'a>,
    fresh: &'a mut Fresh,
    root: Folder,
    tip: Option<Oid>,
}

impl Chain<'_> {
    fn commit_all(&mut self, new: &[&Checked], verdicts: &mut Vec<Verdict>) -> Result<()> {
        // The same entry twice in a batch is one copy.
        let mut seen = BTreeMap::new();
        let mut group: Vec<(&Checked, TreePath)> = Vec::new();
        let mut refs: Vec<(usize, usize)> = Vec::new();
        for one in new {
            if let Some(first) = seen.get(&one.entry.id()) {
                refs.push((one.slot, *first));
                continue;
            }
            seen.insert(one.entry.id(), one.slot);
            let path = TreePath::of(&one.entry.manifest);
            let full = match self.target.options.commits {
                CommitPer::Artefact => !group.is_empty(),
                // A commit holds one version of a file.
                CommitPer::Batch => group.iter().any(|(_, p)| *p == path),
            };
            if full {
                self.commit(&group, verdicts)?;
                group.clear();
            }
            match self.put(one, &path)? {
                Ok(()) => group.push((one, path)),
                Err(e) => verdicts.push((one.slot, Err(e))),
            }
        }
        self.commit(&group, verdicts)?;
        for (slot, first) in refs {
            let verdict = verdicts.iter().find(|(s, _)| *s == first).map(|(_, v)| v.clone());
            verdicts.extend(verdict.map(|v| (slot, v)));
        }
        Ok(())
    }

    /// Puts a file into the tree. The inner error is this entry's alone.
    fn put(&mut self, one: &Checked, path: &TreePath) -> Result<Result<()>> {
        let parts: Vec<&str> = path.components().collect();
        let id = Oid::hash_object(ObjectType::Blob, &one.data).map_err(|e| fault::git("hash content", e))?;
        // A file that is there already in these bytes is not written again.
        let before = self.root.find(self.target.repo, &parts)?;
        if let Err(e) = self.root.set(self.target.repo, &parts, id) {
            return if e.kind() == ErrorKind::Conflict { Ok(Err(e.with("path", path.as_str()))) } else { Err(e) };
        }
        if before != Some(id) {
            self.fresh.add(ObjectType::Blob, one.data.clone())?;
        }
        Ok(Ok(()))
    }

    fn commit(&mut self, group: &[(&Checked, TreePath)], verdicts: &mut Vec<Verdict>) -> Result<()> {
        let Some((newest, _)) = group.iter().max_by_key(|(c, _)| c.entry.manifest.taken_at) else { return Ok(()) };
        let tree = self.root.write(self.fresh, "")?;
        let options = self.target.options;
        let entries: Vec<_> = group.iter().map(|(c, p)| (&c.entry, p)).collect();
        let who = format!("{} <{}>", options.author, options.email);
        let parent = self.tip.map(|p| format!("parent {p}\n")).unwrap_or_default();
        let taken = newest.entry.manifest.taken_at.as_second().max(0);
        let now = self.target.now.as_second().max(0);
        let message = message::write(&entries)?;
        let commit =
            format!("tree {tree}\n{parent}author {who} {taken} +0000\ncommitter {who} {now} +0000\n\n{message}");
        let id = self.fresh.add(ObjectType::Commit, commit)?;
        self.tip = Some(id);
        for (one, path) in group {
            verdicts.push((one.slot, Ok(Version::new(&options.branch, path.as_str(), id).to_ref())));
        }
        Ok(())
    }
}

/// Part of the tree that is being changed; folders are read when something in them is touched.
#[derive(Debug, Default)]
struct Folder {
    tree: Tree,
    inner: BTreeMap<String, Folder>,
    /// Its object, while that is true to it.
    id: Option<Oid>,
}

impl Folder {
    fn root(repo: &Repository, tip: Option<Oid>) -> Result<Self> {
        let Some(tip) = tip else { return Ok(Self::default()) };
        let commit = objects::commit(repo, tip).map_err(|e| objects::lost(e, "commit", tip))?;
        Self::load(repo, commit.tree_id())
    }

    fn load(repo: &Repository, id: Oid) -> Result<Self> {
        Ok(Self { tree: objects::tree(repo, id)?, inner: BTreeMap::new(), id: Some(id) })
    }

    /// The folder of this name, read or made.
    fn enter(&mut self, repo: &Repository, name: &str) -> Result<&mut Self> {
        if !self.inner.contains_key(name) {
            let folder = match self.tree.get(name) {
                Some(item) if item.is_folder() && !item.id.is_zero() => Self::load(repo, item.id)?,
                _ => Self::default(),
            };
            self.inner.insert(name.to_owned(), folder);
        }
        Ok(self.inner.entry(name.to_owned()).or_default())
    }

    fn find(&mut self, repo: &Repository, path: &[&str]) -> Result<Option<Oid>> {
        match path {
            [] => Ok(None),
            [file] => Ok(self.tree.get(file).filter(|i| i.is_blob()).map(|i| i.id)),
            [folder, rest @ ..] => match self.tree.get(folder) {
                Some(item) if item.is_folder() => self.enter(repo, folder)?.find(repo, rest),
                _ => Ok(None),
            },
        }
    }

    /// Sets a file; nothing is changed when it cannot be.
    fn set(&mut self, repo: &Repository, path: &[&str], id: Oid) -> Result<()> {
        match path {
            [] => Ok(()),
            [file] => {
                self.tree.set_file(file, id)?;
                self.id = None;
                Ok(())
            }
            [folder, rest @ ..] => {
                if self.tree.get(folder).is_none_or(|i| !i.is_folder()) {
                    // Claims the name, so that a file of that name is found out before anything is written.
                    self.tree.set_folder(folder, Oid::ZERO_SHA1)?;
                }
                self.enter(repo, folder)?.set(repo, rest, id)?;
                self.id = None;
                Ok(())
            }
        }
    }

    /// Writes what changed, from the leaves up.
    fn write(&mut self, fresh: &mut Fresh, path: &str) -> Result<Oid> {
        if let Some(id) = self.id {
            return Ok(id);
        }
        for (name, folder) in &mut self.inner {
            let id = folder.write(fresh, &format!("{path}{name}/"))?;
            self.tree.set_folder(name, id)?;
        }
        let id = fresh.add_tree(path, self.tree.to_bytes())?;
        self.id = Some(id);
        Ok(id)
    }
}

/// How many deltas may stand on one another in a pack of a batch: reading the last applies all of them.
const MAX_DEPTH: u32 = 32;

/// Objects that are not on disk yet.
#[derive(Debug, Default)]
struct Fresh {
    objects: Vec<Object>,
    known: HashSet<Oid>,
    /// The newest tree of each path, and how many deltas it stands on.
    trees: HashMap<String, (Oid, Vec<u8>, u32)>,
}

#[derive(Debug)]
struct Object {
    id: Oid,
    kind: ObjectType,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Whole(Bytes),
    Delta { base: Oid, bytes: Vec<u8> },
}

impl Fresh {
    fn add(&mut self, kind: ObjectType, data: impl Into<Bytes>) -> Result<Oid> {
        let data = data.into();
        let id = Oid::hash_object(kind, &data).map_err(|e| fault::git("hash object", e))?;
        if self.known.insert(id) {
            self.objects.push(Object { id, kind, content: Content::Whole(data) });
        }
        Ok(id)
    }

    /// Adds the tree of this path. From one commit to the next it differs by one line: so does what is written.
    fn add_tree(&mut self, path: &str, data: Vec<u8>) -> Result<Oid> {
        let kind = ObjectType::Tree;
        let id = Oid::hash_object(kind, &data).map_err(|e| fault::git("hash object", e))?;
        if !self.known.insert(id) {
            return Ok(id);
        }
        let base = self.trees.get(path).filter(|(_, _, depth)| *depth < MAX_DEPTH);
        let delta =
            base.and_then(|(base, old, depth)| Some((*base, delta::encode(old, &data, data.len() / 2)?, *depth)));
        let (content, depth) = match delta {
            Some((base, bytes, depth)) => (Content::Delta { base, bytes }, depth + 1),
            None => (Content::Whole(data.clone().into()), 0),
        };
        self.objects.push(Object { id, kind, content });
        self.trees.insert(path.to_owned(), (id, data, depth));
        Ok(id)
    }

    /// Writes all of them as one pack, flushed with its name.
    fn flush(&self, layout: &Layout) -> Result<()> {
        let mut pack = PackWriter::new(&layout.packs(), self.objects.len(), Compression::new(COMPRESSION))?;
        for object in &self.objects {
            match &object.content {
                Content::Whole(data) => pack.whole(object.id, object.kind, data)?,
                Content::Delta { base, bytes } => pack.delta(object.id, *base, bytes)?,
            }
        }
        pack.finish().map(drop)
    }
}

/// Reads a body and checks it against its manifest.
pub(super) async fn check(slot: usize, entry: Entry, body: &dyn devicevault_core::Body, max: u64) -> Result<Checked> {
    let m = &entry.manifest;
    let too_large = |size: u64| {
        Error::new(ErrorKind::TooLarge, "store backup", "a Git repository is no place for a body of this size")
            .with("artefact", &m.artefact)
            .with("size in bytes", size)
            .with("limit in bytes", max)
            .hint("keep large artefacts at a destination of another kind, such as `plain`")
    };
    if m.size > max || body.len() > max {
        return Err(too_large(m.size.max(body.len())));
    }
    let incomplete =
        |why: &str| Error::new(ErrorKind::Incomplete, "store backup", why.to_owned()).with("artefact", &m.artefact);
    let data = devicevault_core::body::read_to_vec(body.read(None), max).await?;
    if data.len() as u64 != m.size {
        return Err(incomplete("the body has another length than its manifest says")
            .with("length", data.len())
            .with("expected", m.size));
    }
    if Digest::of(&data) != m.sha256 {
        return Err(incomplete("the body has another hash than its manifest says"));
    }
    Ok(Checked { slot, entry, data: data.into() })
}
