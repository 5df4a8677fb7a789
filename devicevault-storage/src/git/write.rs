//! From a batch of entries to commits: objects, one pack, one move of the branch.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use devicevault_core::{Digest, Entry, Error, ErrorKind, Manifest, Result, StorageRef, Timestamp};
use git2::{ObjectType, Oid, Repository};

use super::branch::{self, Moved};
use super::fault;
use super::folder::Folder;
use super::fresh::Fresh;
use super::history;
use super::index::{Index, Record, folder_key};
use super::layout::Layout;
use super::message;
use super::moves::{self, Elsewhere};
use super::objects;
use super::options::{CommitPer, GitOptions};
use super::own::Own;
use super::path::{TreePath, Version};
use super::verify;

/// How often a batch is built again because another program moved the branch meanwhile.
const REBASES: u32 = 5;

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
    pub(super) own: &'a Own,
    pub(super) now: Timestamp,
}

/// What became of an entry, and its place in the batch.
pub(super) type Verdict = (usize, Result<StorageRef>);

/// What storing a batch did.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) verdicts: Vec<Verdict>,
    /// Objects that were written again because those of the repository cannot be read.
    pub(super) damaged: usize,
}

impl Target<'_> {
    /// Stores a batch. The caller holds the writers' lock; `index` and `head` are brought up to date.
    ///
    /// # Errors
    /// What concerns the batch as a whole: then nothing of it is stored.
    pub(super) fn store(&self, index: &mut Index, head: &mut Head, batch: &[Checked]) -> Result<Stored> {
        let refname = self.options.refname();
        for _ in 0..REBASES {
            let tip = branch::tip(self.repo, &refname)?;
            history::catch_up(self.layout, index, tip)?;
            let mut verdicts = Vec::new();
            let mut new = Vec::new();
            let mut fresh = Fresh::default();
            for one in batch {
                match self.stored_before(index, one)? {
                    Some(at) => {
                        self.replace_damaged(&at, one, &mut fresh)?;
                        verdicts.push((one.slot, Ok(at)));
                    }
                    None => new.push(one),
                }
            }
            let mut chain = Chain {
                target: self,
                index,
                fresh: &mut fresh,
                root: head.take(tip).map_or_else(|| Folder::root(self.repo, tip), Ok)?,
                tip,
                records: Vec::new(),
                folders: HashMap::new(),
            };
            chain.commit_all(&new, &mut verdicts)?;
            let Chain { root, tip: end, records, folders, .. } = chain;
            let damaged = fresh.replaced();
            let Some(end) = end.filter(|end| Some(*end) != tip) else {
                if damaged > 0 {
                    fresh.flush(self.layout)?;
                }
                head.set(tip, root);
                return Ok(Stored { verdicts, damaged });
            };
            let at = (self.layout, self.options.branch.as_str());
            self.own.add(at, self.repo, index, folders.values().map(String::as_str))?;
            fresh.flush(self.layout)?;
            match branch::advance(self.layout, self.repo, &refname, tip, end)? {
                Moved::Elsewhere => continue,
                Moved::Done => {}
            }
            head.set(Some(end), root);
            for record in records {
                index.push(record);
            }
            // The batch is stored: what ails the index on disk is mended when it is next read.
            if let Err(e) = index.save(&self.layout.index(&self.options.branch)) {
                tracing::warn!(error = %e, "the index of the repository could not be written");
            }
            return Ok(Stored { verdicts, damaged });
        }
        Err(Error::new(ErrorKind::Conflict, "store backup", "other programs keep moving the branch")
            .with("branch", &self.options.branch)
            .retry_advice(devicevault_core::Retry::After(std::time::Duration::from_secs(1))))
    }

    fn stored_before(&self, index: &Index, one: &Checked) -> Result<Option<StorageRef>> {
        let id = one.entry.id();
        for commit in index.stored(&one.entry.manifest.source.device, &id) {
            let found = match history::manifests(self.repo, &self.options.branch, commit, &id.run.to_string()) {
                // What cannot be read any more is stored anew.
                Err(e) if e.kind() == ErrorKind::Corrupt => continue,
                found => found?,
            };
            let same =
                |m: &devicevault_core::Manifest| m.run == id.run && m.artefact == id.artefact && m.view == id.view;
            if let Some((at, _)) = found.into_iter().find(|(_, m)| same(m)) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

impl Target<'_> {
    /// Writes the file of an entry that was stored before again, where that of the repository cannot be read.
    fn replace_damaged(&self, at: &StorageRef, one: &Checked, fresh: &mut Fresh) -> Result<()> {
        let id = Oid::hash_object(ObjectType::Blob, &one.data).map_err(|e| fault::git("hash content", e))?;
        // What leads to the file may be damaged too: that is told by verification.
        if Version::parse(at).and_then(|at| verify::blob(self.repo, &at)).is_ok_and(|stored| stored == id) {
            self.rewrite_unreadable(id, one, fresh)?;
        }
        Ok(())
    }

    /// Writes a file again that is in the repository and cannot be read there.
    fn rewrite_unreadable(&self, id: Oid, one: &Checked, fresh: &mut Fresh) -> Result<()> {
        match objects::blob(self.repo, id) {
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                tracing::warn!(object = %id, error = %e, "a damaged object of the repository is replaced");
                fresh.replace(ObjectType::Blob, one.data.clone())
            }
            read => read.map(drop),
        }
    }
}

/// The tree that the branch stands at: the next batch changes it without reading it.
#[derive(Debug, Default)]
pub(super) struct Head(Option<(Option<Oid>, Folder)>);

impl Head {
    /// The tree of this commit, if that is the one.
    fn take(&mut self, tip: Option<Oid>) -> Option<Folder> {
        self.0.take().filter(|(at, _)| *at == tip).map(|(_, folder)| folder)
    }

    fn set(&mut self, tip: Option<Oid>, folder: Folder) {
        self.0 = Some((tip, folder));
    }
}

/// Commits that follow one another, not yet on disk.
struct Chain<'a> {
    target: &'a Target<'a>,
    index: &'a Index,
    fresh: &'a mut Fresh,
    root: Folder,
    tip: Option<Oid>,
    /// What the index has to know of them.
    records: Vec<Record>,
    /// Names of the folders in those.
    folders: HashMap<u32, String>,
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
            let path = self.free(TreePath::of(&one.entry.manifest))?;
            let full = match self.target.options.commits {
                CommitPer::Artefact => !group.is_empty(),
                // A commit holds one version of a file.
                CommitPer::Batch => group.iter().any(|(_, p)| *p == path),
            };
            let m = &one.entry.manifest;
            let placed = group.iter().rev().find(|(c, _)| c.entry.manifest.source.device == m.source.device);
            let moved = match placed {
                Some((_, p)) => p.folder() != path.folder(),
                None => {
                    self.stands_elsewhere(m, path.folder())?
                        || moves::holder(self.index, &self.records, m, path.folder()).is_some()
                }
            };
            if full || moved {
                self.commit(&group, verdicts)?;
                group.clear();
            }
            if moved {
                self.follow(one, &path)?;
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

    /// The path itself, or one beside it where something of another sort has a name on the way: a site or a device may have
    /// the name of a file, which somebody else may have put there.
    fn free(&mut self, mut path: TreePath) -> Result<TreePath> {
        while let Some(at) = self.root.in_the_way(self.target.repo, &path.components().collect::<Vec<_>>())? {
            path = path.beside(at);
        }
        Ok(path)
    }

    /// Puts a file into the tree. The inner error is this entry's alone.
    fn put(&mut self, one: &Checked, path: &TreePath) -> Result<Result<()>> {
        let parts: Vec<&str> = path.components().collect();
        let id = Oid::hash_object(ObjectType::Blob, &one.data).map_err(|e| fault::git("hash content", e))?;
        // A file that is there already in these bytes is not written again, where it can be read.
        let before = self.root.find(self.target.repo, &parts)?;
        if let Err(e) = self.root.set(self.target.repo, &parts, id) {
            return if e.kind() == ErrorKind::Conflict { Ok(Err(e.with("path", path.as_str()))) } else { Err(e) };
        }
        if before == Some(id) && !self.fresh.has(&id) {
            self.target.rewrite_unreadable(id, one, self.fresh)?;
        } else {
            self.fresh.add(ObjectType::Blob, one.data.clone())?;
        }
        Ok(Ok(()))
    }

    /// Takes the files of a device along that has another name or site than when it was last stored, or that were put aside.
    /// Those of another device that stand where it is going are put aside before.
    fn follow(&mut self, one: &Checked, path: &TreePath) -> Result<()> {
        let (m, to) = (&one.entry.manifest, path.folder());
        let from = self.left(m, to)?;
        if let Some(other) = moves::holder(self.index, &self.records, m, to) {
            let aside = moves::aside(to, other);
            let all = Elsewhere { folder: to.to_owned(), is_older: false };
            self.carry(to.rsplit('/').next().unwrap_or(to), &all, &aside)?;
            // Ours, as what others push does not go there either.
            self.folders.insert(folder_key(&aside), aside);
        }
        from.iter().try_for_each(|from| self.carry(&m.source.device_name, from, to))
    }

    /// Whether files of a device may stand in another folder than this.
    fn stands_elsewhere(&mut self, m: &Manifest, to: &str) -> Result<bool> {
        let Some(left) = moves::left_behind(self.index, &self.records, m) else { return Ok(false) };
        if left.is_taken || left.last.folder != folder_key(to) {
            return Ok(true);
        }
        // The device for which they were put aside may have been purged since.
        Ok(!self.files(&moves::aside(to, left.last.device))?.is_empty())
    }

    /// The folders besides this one that files of a device stand in, the newest last.
    fn left(&mut self, m: &Manifest, to: &str) -> Result<Vec<Elsewhere>> {
        let (repo, at) = (self.target.repo, (self.target.layout, self.target.options.branch.as_str()));
        let Some(left) = moves::left_behind(self.index, &self.records, m) else { return Ok(Vec::new()) };
        let own = self.target.own.folders(at, repo, self.index)?;
        let named = if left.last.folder == folder_key(to) {
            Some(to.to_owned())
        } else {
            match self.folders.get(&left.last.folder) {
                Some(known) => Some(known.clone()),
                None => moves::folder_of(repo, at.1, &left.last)?.filter(|from| own.has(from)),
            }
        };
        let Some(named) = named else { return Ok(Vec::new()) };
        let (mut all, is_here) = (Vec::new(), named == to);
        let aside = moves::aside(&named, left.last.device);
        let files = self.files(&aside)?;
        let is_own = own.has(&aside) || self.folders.contains_key(&folder_key(&aside));
        if !files.is_empty() && (is_own || moves::are_of(repo, at.1, self.index, &m.source.device, &files)?) {
            all.push(Elsewhere { folder: aside, is_older: is_here && !left.is_taken });
        }
        if !left.is_taken && !is_here && !self.files(&named)?.is_empty() {
            all.push(Elsewhere { folder: named, is_older: false });
        }
        Ok(all)
    }

    /// The files right in a folder, as the tree is now.
    fn files(&mut self, folder: &str) -> Result<Vec<(String, Oid)>> {
        self.root.files(self.target.repo, &folder.split('/').collect::<Vec<_>>())
    }

    /// Moves all files of a folder, in a commit of its own.
    fn carry(&mut self, device: &str, from: &Elsewhere, to: &str) -> Result<()> {
        match moves::carry_out(self.target.repo, &mut self.root, from, to) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // A name is taken by something of another sort: what is stored now is told so.
            Err(e) if e.kind() == ErrorKind::Conflict => return Ok(()),
            Err(e) => return Err(e),
        }
        let id = self.write_commit(self.target.now, &message::moved(device, &from.folder, to))?;
        self.records.push(Record::foreign(id));
        Ok(())
    }

    fn commit(&mut self, group: &[(&Checked, TreePath)], verdicts: &mut Vec<Verdict>) -> Result<()> {
        let Some((newest, _)) = group.iter().max_by_key(|(c, _)| c.entry.manifest.taken_at) else { return Ok(()) };
        let entries: Vec<_> = group.iter().map(|(c, p)| (&c.entry, p)).collect();
        let id = self.write_commit(newest.entry.manifest.taken_at, &message::write(&entries)?)?;
        for (one, path) in group {
            let record = Record::of(&one.entry.manifest, path.folder(), id);
            self.folders.entry(record.folder).or_insert_with(|| path.folder().to_owned());
            self.records.push(record);
            verdicts.push((one.slot, Ok(Version::new(&self.target.options.branch, path.as_str(), id).to_ref())));
        }
        Ok(())
    }

    /// Commits the tree as it is now.
    fn write_commit(&mut self, author_time: Timestamp, message: &str) -> Result<Oid> {
        let tree = self.root.write(self.fresh, "")?;
        let options = self.target.options;
        let who = format!("{} <{}>", options.author, options.email);
        let parent = self.tip.map(|p| format!("parent {p}\n")).unwrap_or_default();
        let (written, now) = (author_time.as_second().max(0), self.target.now.as_second().max(0));
        let commit =
            format!("tree {tree}\n{parent}author {who} {written} +0000\ncommitter {who} {now} +0000\n\n{message}");
        let id = self.fresh.add(ObjectType::Commit, commit)?;
        self.tip = Some(id);
        Ok(id)
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
