//! Each commit on top of what became of the ones before it: as it was where all of it can be read, else with what can be
//! had.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use devicevault_core::{Digest, Entry, Manifest, Result, StorageRef};
use git2::{ObjectType, Oid};

use super::super::fresh::Fresh;
use super::super::layout::Layout;
use super::super::message::{self, Edit, Trailer};
use super::super::options::GitOptions;
use super::super::path::{TreePath, Version};
use super::super::purge::Successors;
use super::super::tree::{Item, Tree};
use super::super::unpack::Objects;
use super::line::{self, Line};
use super::raw::Raw;

/// Commits after which what is new goes to disk.
const PART: usize = 1000;

const FILE: &[u8] = b"100644";
const FOLDER: &[u8] = b"40000";

/// A version that another destination has; its file is in the repository by now.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) path: TreePath,
    pub(super) entry: Entry,
    pub(super) blob: Oid,
}

/// What became of history.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) successors: Successors,
    /// Versions of commits that can be read, whose file cannot.
    pub(super) lost: Vec<(Version, Option<Manifest>)>,
    /// Files that are no versions of ours, and cannot be read.
    pub(super) foreign: BTreeSet<String>,
    /// Commits of which a folder was lost, and was made again just as it was.
    pub(super) restored: usize,
    /// Lost versions whose file can be read in a later commit, which has it no more: `commit:path`.
    pub(super) readable: BTreeMap<StorageRef, String>,
}

/// What is known of a history.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) line: &'a Line,
    pub(super) given: &'a HashMap<Oid, Vec<Given>>,
    /// The files of versions that lost commits stored, and nobody has.
    pub(super) gone: &'a HashMap<Oid, Vec<TreePath>>,
    /// When commits are made that take the place of lost ones, in seconds since 1970.
    pub(super) now: i64,
}

pub(super) struct Anew<'a> {
    layout: &'a Layout,
    options: &'a GitOptions,
    objects: &'a mut Objects,
    told: Told<'a>,
    rehearsal: bool,
    fresh: Fresh,
    /// Trees that were made, as long as a commit that is to come may look at them.
    made: HashMap<Oid, Bytes>,
    /// Whether all of a tree can be read, or a file.
    good: HashMap<Oid, bool>,
    /// The trees of commits as they are now.
    trees: HashMap<Oid, Oid>,
    /// How many commits to come stand on one, by what it was called.
    children: HashMap<Oid, usize>,
    /// Files of the repository by what they hold.
    contents: Option<HashMap<Digest, Oid>>,
    /// Files of lost versions, and the commits that stored those: until the next version, each is what it was before.
    withheld: BTreeMap<String, Oid>,
    done: Done,
}

impl<'a> Anew<'a> {
    pub(super) fn new(
        (layout, options): (&'a Layout, &'a GitOptions),
        objects: &'a mut Objects,
        told: Told<'a>,
        rehearsal: bool,
    ) -> Self {
        let mut children = HashMap::new();
        for parent in told.line.order.iter().filter_map(|id| told.line.parents.get(id)).flatten() {
            *children.entry(*parent).or_default() += 1;
        }
        Self {
            layout,
            options,
            objects,
            told,
            rehearsal,
            fresh: Fresh::default(),
            made: HashMap::new(),
            good: HashMap::new(),
            trees: HashMap::new(),
            contents: None,
            children,
            withheld: BTreeMap::new(),
            done: Done::default(),
        }
    }

    /// Unless it is a rehearsal, what is new is on disk at its end.
    pub(super) fn run(mut self) -> Result<Done> {
        for (n, id) in self.told.line.order.iter().enumerate() {
            match line::commit(self.objects, *id) {
                Some(raw) => self.again(*id, &raw)?,
                None => self.instead(*id)?,
            }
            for parent in self.told.line.parents.get(id).into_iter().flatten() {
                self.children.entry(*parent).and_modify(|left| *left = left.saturating_sub(1));
            }
            if n % PART == PART - 1 {
                self.flush()?;
                self.forget();
            }
        }
        self.flush()?;
        Ok(self.done)
    }

    /// Forgets the trees that no commit to come can ask for: a long history makes as many as it has commits.
    fn forget(&mut self) {
        let stood_on: Vec<Oid> = self.children.iter().filter(|(_, left)| **left > 0).map(|(id, _)| *id).collect();
        let mut waiting: Vec<Oid> =
            self.now_of(&stood_on).iter().filter_map(|id| self.trees.get(id).copied()).collect();
        let mut needed = HashSet::new();
        while let Some(id) = waiting.pop() {
            if !needed.insert(id) {
                continue;
            }
            if let Some(tree) = self.tree(id) {
                waiting.extend(tree.items().iter().filter(|item| item.is_folder()).map(|item| item.id));
            }
        }
        let before = self.made.len();
        self.made.retain(|id, _| needed.contains(id));
        if self.made.len() < before {
            // Whether something can be read is asked anew: it may have been in these alone.
            self.good.clear();
        }
    }

    fn flush(&mut self) -> Result<()> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.count() == 0 || self.rehearsal { Ok(()) } else { fresh.flush(self.layout) }
    }

    fn now_of(&self, parents: &[Oid]) -> Vec<Oid> {
        let mut now: Vec<Oid> =
            parents.iter().map(|p| self.done.successors.get(p).copied().flatten().unwrap_or(*p)).collect();
        now.dedup();
        now
    }

    /// A commit that can be read.
    fn again(&mut self, id: Oid, raw: &Raw) -> Result<()> {
        let parents = self.now_of(self.told.line.parents.get(&id).unwrap_or(&raw.parents));
        let before = parents.first().and_then(|p| self.trees.get(p).copied());
        let (mut tree, mut edits) = (raw.tree, BTreeMap::new());
        let trailers = message::trailers(&raw.message);
        if !self.is_good(raw.tree) {
            let wanted = self.wanted(&trailers)?;
            tree = self.rebuilt(raw.tree, before, "", &wanted)?;
            self.done.restored += usize::from(tree == raw.tree);
            for t in &trailers {
                let was = self.at(raw.tree, t.path).unwrap_or_else(|()| wanted.get(t.path).copied());
                if was.is_none() || self.at(tree, t.path) != Ok(was) {
                    edits.insert(t.path.to_owned(), Edit::Remove);
                    let version = Version::new(&self.options.branch, t.path, id);
                    self.done.lost.push((version, t.manifest().ok()));
                }
            }
        }
        for t in trailers.iter().filter(|t| !edits.contains_key(t.path)) {
            self.withheld.remove(t.path);
        }
        for (path, lost) in self.withheld.clone() {
            let was = before.and_then(|before| self.at(before, &path).ok().flatten());
            let now = self.at(tree, &path);
            if now != Ok(was) {
                if let Ok(Some(_)) = now {
                    let version = Version::new(&self.options.branch, &path, lost).to_ref();
                    self.done.readable.entry(version).or_insert_with(|| format!("{id}:{path}"));
                }
                tree = self.put(tree, "", &path, was)?;
            }
        }
        let now = if tree == raw.tree && parents == raw.parents && edits.is_empty() {
            id
        } else {
            let message = match std::str::from_utf8(&raw.message) {
                Ok(text) => message::edited(text, &edits)?.into_bytes(),
                Err(_) => raw.message.clone(),
            };
            let now = self.fresh.add(ObjectType::Commit, raw.again(tree, &parents, &message))?;
            self.done.successors.insert(id, Some(now));
            now
        };
        self.trees.insert(now, tree);
        Ok(())
    }

    /// What stands in the place of a commit that is lost: what it stored, as far as that was given.
    fn instead(&mut self, id: Oid) -> Result<()> {
        let parents = self.now_of(self.told.line.parents.get(&id).map_or(&[][..], Vec::as_slice));
        let before = parents.first().and_then(|p| self.trees.get(p).copied());
        let given = self.told.given.get(&id).map_or(&[][..], Vec::as_slice);
        let wanted: BTreeMap<String, Oid> = given.iter().map(|g| (g.path.as_str().to_owned(), g.blob)).collect();
        self.withheld.retain(|path, _| !wanted.contains_key(path));
        self.withheld.extend(self.told.gone.get(&id).into_iter().flatten().map(|path| (path.as_str().to_owned(), id)));
        let tree = match before.filter(|_| given.is_empty()) {
            Some(before) => before,
            None => self.rebuilt(Oid::ZERO_SHA1, before, "", &wanted)?,
        };
        let message = if given.is_empty() {
            format!("Commit {id} is lost, with what it stored\n")
        } else {
            message::write(&given.iter().map(|g| (&g.entry, &g.path)).collect::<Vec<_>>())?
        };
        let taken = given.iter().map(|g| g.entry.manifest.taken_at.as_second().max(0)).max().unwrap_or(self.told.now);
        let who = format!("{} <{}>", self.options.author, self.options.email);
        let lines: String = parents.iter().map(|p| format!("parent {p}\n")).collect();
        let now = self.told.now;
        let commit =
            format!("tree {tree}\n{lines}author {who} {taken} +0000\ncommitter {who} {now} +0000\n\n{message}");
        let now = self.fresh.add(ObjectType::Commit, commit)?;
        self.done.successors.insert(id, Some(now));
        self.trees.insert(now, tree);
        Ok(())
    }

    fn tree(&mut self, id: Oid) -> Option<Tree> {
        if let Some(made) = self.made.get(&id) {
            return Tree::parse(made).ok();
        }
        let (kind, data) = self.objects.read(id)?;
        (kind == ObjectType::Tree).then(|| Tree::parse(&data).ok()).flatten()
    }

    /// Whether all of a tree can be read.
    fn is_good(&mut self, tree: Oid) -> bool {
        if let Some(known) = self.good.get(&tree) {
            return *known;
        }
        let read = self.tree(tree);
        let good = read.is_some_and(|t| t.items().iter().all(|item| self.can_be_read(item)));
        self.good.insert(tree, good);
        good
    }

    fn can_be_read(&mut self, item: &Item) -> bool {
        if item.is_folder() {
            return self.is_good(item.id);
        }
        // A submodule is in another repository.
        !item.is_blob() || {
            let objects = &mut *self.objects;
            *self
                .good
                .entry(item.id)
                .or_insert_with(|| objects.read(item.id).is_some_and(|(k, _)| k == ObjectType::Blob))
        }
    }

    /// The file at a path; an error where the way to it cannot be read.
    fn at(&mut self, tree: Oid, path: &str) -> std::result::Result<Option<Oid>, ()> {
        let mut at = tree;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let item = self.tree(at).ok_or(())?.get(part).cloned();
            match item {
                Some(item) if item.is_folder() && parts.peek().is_some() => at = item.id,
                Some(item) if item.is_blob() && parts.peek().is_none() => return Ok(Some(item.id)),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The files of these versions, where the repository has what they hold.
    fn wanted(&mut self, trailers: &[Trailer<'_>]) -> Result<BTreeMap<String, Oid>> {
        let contents = match self.contents.take() {
            Some(known) => known,
            None => {
                let blob = |id: Oid, objects: &mut Objects| {
                    let (kind, data) = objects.read(id)?;
                    (kind == ObjectType::Blob).then(|| (Digest::of(&data), id))
                };
                self.objects.ids().into_iter().filter_map(|id| blob(id, self.objects)).collect()
            }
        };
        let found = |t: &Trailer<'_>| Some((t.path.to_owned(), *contents.get(&t.manifest().ok()?.sha256)?));
        let wanted = trailers.iter().filter_map(found).collect();
        self.contents = Some(contents);
        Ok(wanted)
    }

    /// What a folder is to be: what can be read of it, for the rest what it was before; and where nothing of it can be
    /// read, what it was before with what is wanted in it.
    fn rebuilt(&mut self, id: Oid, before: Option<Oid>, path: &str, wanted: &BTreeMap<String, Oid>) -> Result<Oid> {
        let mut was = before.and_then(|before| self.tree(before)).unwrap_or_default();
        let tree = match self.tree(id) {
            Some(tree) => {
                let mut kept = Vec::new();
                for item in tree.items() {
                    let before = was.items().iter().find(|b| b.name == item.name && b.is_folder() == item.is_folder());
                    let before = before.cloned();
                    if self.can_be_read(item) {
                        kept.push(item.clone());
                    } else if item.is_folder() {
                        let inner = format!("{path}{}/", String::from_utf8_lossy(&item.name));
                        let id = self.rebuilt(item.id, before.map(|b| b.id), &inner, wanted)?;
                        if self.tree(id).is_some_and(|t| !t.is_empty()) {
                            kept.push(Item { id, ..item.clone() });
                        }
                    } else {
                        self.note(path, item);
                        kept.extend(before);
                    }
                }
                Tree::of(kept)
            }
            None => {
                let mut folders = BTreeSet::new();
                for (rest, blob) in wanted.iter().filter_map(|(p, blob)| Some((p.strip_prefix(path)?, blob))) {
                    match rest.split_once('/') {
                        Some((folder, _)) => drop(folders.insert(folder)),
                        None => was.put(rest, FILE, *blob),
                    }
                }
                for folder in folders {
                    let before = was.get(folder).filter(|i| i.is_folder()).map(|i| i.id);
                    let id = self.rebuilt(Oid::ZERO_SHA1, before, &format!("{path}{folder}/"), wanted)?;
                    was.put(folder, FOLDER, id);
                }
                was
            }
        };
        self.write(path, &tree)
    }

    /// A tree with another file at a path beneath it, or none.
    fn put(&mut self, id: Oid, path: &str, rest: &str, blob: Option<Oid>) -> Result<Oid> {
        let mut tree = self.tree(id).unwrap_or_default();
        match (rest.split_once('/'), blob) {
            (None, Some(blob)) => tree.put(rest, FILE, blob),
            (None, None) => tree.remove(rest),
            (Some((folder, rest)), _) => {
                let inner = tree.get(folder).filter(|i| i.is_folder()).map_or(Oid::ZERO_SHA1, |i| i.id);
                let id = self.put(inner, &format!("{path}{folder}/"), rest, blob)?;
                if self.tree(id).is_some_and(|t| !t.is_empty()) {
                    tree.put(folder, FOLDER, id);
                } else {
                    tree.remove(folder);
                }
            }
        }
        self.write(path, &tree)
    }

    fn write(&mut self, path: &str, tree: &Tree) -> Result<Oid> {
        let bytes = tree.to_bytes();
        let id = self.fresh.add_tree(path, bytes.clone())?;
        self.made.insert(id, bytes.into());
        self.good.insert(id, true);
        Ok(id)
    }

    /// Notes a file that is no version of ours.
    fn note(&mut self, path: &str, item: &Item) {
        let full = format!("{path}{}", String::from_utf8_lossy(&item.name));
        self.done.foreign.insert(full);
    }
}
