//! Merging packs, so that what is alike shares what it has in common, and reading stays fast.
//!
//! Every store adds one pack. Merging writes one pack of everything in some of them, flushed, and takes those away:
//! a reader that still has one open reads on in it, and looks again when a pack that it knows is gone. Nothing is left
//! out of a merge except what no branch or tag leads to and nobody wrote in the last two weeks, as `git gc` does.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind as Io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use devicevault_core::{Error, ErrorKind, Result};
use git2::{ObjectType, Oid, Repository, Sort};

use super::fault;
use super::layout::Layout;
use super::objects;
use super::pack::{self, Pack};
use super::tree::Tree;
use super::write::pack_name;

/// Packs of like size are merged by a store when there are this many, so that an object is rewritten once per factor
/// of this size, and a repository has at most a few times this many packs.
const FANOUT: u64 = 32;

/// A pack of more objects than this is merged by nobody but `git gc`: it takes memory for each of them.
const MAX_OBJECTS: u64 = 2_000_000;

/// `maintain` leaves a pack alone that holds this many times what all smaller ones do together.
const DOMINANT: u64 = 8;

/// How long what nothing leads to is kept: another program may be about to name it.
const GRACE: Duration = Duration::from_secs(14 * 24 * 3600);

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) packs: usize,
    pub(super) loose: usize,
    pub(super) objects: usize,
    pub(super) pruned: usize,
    pub(super) before: u64,
    pub(super) after: u64,
}

/// What a merge takes in.
#[derive(Debug, Default)]
pub(super) struct Selection {
    packs: Vec<Pack>,
    loose: Vec<(Oid, PathBuf, u64)>,
    /// It is everything that the repository has, so that it can be told what nothing leads to.
    whole: bool,
}

impl Selection {
    /// The packs of one size class that have become too many; empty while there are none.
    pub(super) fn too_many(layout: &Layout) -> Result<Self> {
        let mut classes: HashMap<u32, Vec<Pack>> = HashMap::new();
        for pack in mergeable(layout)? {
            classes.entry(pack.objects.max(1).ilog(FANOUT)).or_default().push(pack);
        }
        let packs = classes.into_values().find(|class| class.len() as u64 >= FANOUT).unwrap_or_default();
        let total: u64 = packs.iter().map(|p| p.objects).sum();
        Ok(if total > MAX_OBJECTS { Self::default() } else { Self { packs, ..Self::default() } })
    }

    /// All packs and loose objects, but for packs beside which the rest is little.
    pub(super) fn everything(layout: &Layout) -> Result<Self> {
        let all = pack::packs(layout)?.len();
        let mut packs = mergeable(layout)?;
        packs.sort_by_key(|p| p.objects);
        let mut sum = 0;
        let mut take = packs.len();
        for (i, pack) in packs.iter().enumerate() {
            if i > 0 && pack.objects > MAX_OBJECTS / 20 && pack.objects >= sum * DOMINANT {
                take = i;
                break;
            }
            sum += pack.objects;
        }
        packs.truncate(take);
        let whole = packs.len() == all;
        Ok(Self { packs, loose: pack::loose(layout)?, whole })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packs.len() < 2 && self.loose.is_empty()
    }
}

fn mergeable(layout: &Layout) -> Result<Vec<Pack>> {
    Ok(pack::packs(layout)?.into_iter().filter(|p| !p.kept && p.objects <= MAX_OBJECTS).collect())
}

/// Merges. The caller holds the repack lock. `now` is the wall clock's; `go_on` is asked now and then.
///
/// # Errors
/// `Timeout` when `go_on` said no. Whatever the error, nothing is lost: old packs go only when the new one is whole.
pub(super) fn merge(
    layout: &Layout,
    repo: &Repository,
    selection: &Selection,
    now: SystemTime,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Merged> {
    // A damaged object is left where it is, and with it the packs: verification names it.
    objects::guard_all(selection.loose.iter().map(|(id, path, _)| (*id, path.as_path())))?;
    let old = |t: Option<SystemTime>| t.and_then(|t| now.duration_since(t).ok()).is_some_and(|age| age > GRACE);
    let mut ids: HashSet<Oid> = HashSet::new();
    let mut young: HashSet<Oid> = HashSet::new();
    for p in &selection.packs {
        let objects = pack::objects(&p.path)?;
        if !old(p.modified) {
            young.extend(&objects);
        }
        ids.extend(objects);
    }
    for (id, path, _) in &selection.loose {
        ids.insert(*id);
        if !old(fs::metadata(path).and_then(|m| m.modified()).ok()) {
            young.insert(*id);
        }
    }
    let order = Order::of(repo, &ids, go_on)?;
    let dead: HashSet<Oid> = if selection.whole && ids.len() > young.len() {
        match reachable(layout, repo) {
            Ok(Some(live)) => {
                let named = order.of_commits(&live);
                ids.iter().filter(|id| !young.contains(id) && !named.contains(id)).copied().collect()
            }
            Ok(None) => HashSet::new(),
            Err(e) => {
                tracing::warn!(error = %e, "what nothing leads to is kept: the history could not be walked");
                HashSet::new()
            }
        }
    } else {
        HashSet::new()
    };

    let new = write(layout, repo, order.newest_first().filter(|(id, _)| !dead.contains(id)), go_on)?;
    let written: HashSet<Oid> = match &new {
        Some(path) => pack::objects(path)?.into_iter().collect(),
        None => HashSet::new(),
    };
    if let Some(missing) = ids.iter().find(|id| !written.contains(id) && !dead.contains(id)) {
        return Err(
            Error::new(ErrorKind::Internal, "merge packs", "the new pack lacks an object").with("object", missing)
        );
    }
    let before = selection.packs.iter().map(|p| p.size).sum::<u64>()
        + selection.loose.iter().map(|(_, _, size)| size).sum::<u64>();
    for p in selection.packs.iter().filter(|p| Some(&p.path) != new.as_ref()) {
        remove_pack(layout, p)?;
    }
    for (_, path, _) in &selection.loose {
        remove(path)?;
    }
    let after = pack::packs(layout)?.iter().find(|p| Some(&p.path) == new.as_ref()).map_or(0, |p| p.size);
    Ok(Merged {
        packs: selection.packs.len(),
        loose: selection.loose.len(),
        objects: written.len(),
        pruned: dead.len(),
        before,
        after,
    })
}

/// Writes a pack of these objects; none for none.
fn write<'a>(
    layout: &Layout,
    repo: &Repository,
    objects: impl Iterator<Item = (Oid, &'a str)>,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Option<PathBuf>> {
    let failed = |e| fault::git("merge packs", e).with("path", layout.packs().display());
    let mut builder = repo.packbuilder().map_err(failed)?;
    builder.set_threads(std::thread::available_parallelism().map_or(1, |n| n.get().min(4) as u32));
    builder.set_progress_callback(|_, _, _| go_on()).map_err(failed)?;
    for (id, name) in objects {
        builder.insert_object(id, Some(name)).map_err(failed)?;
    }
    if builder.object_count() == 0 {
        return Ok(None);
    }
    builder.write(&layout.packs(), 0o444).map_err(failed)?;
    let name = builder.name().map_err(failed)?.map(|name| layout.packs().join(format!("pack-{name}.pack")));
    name.map(Some).ok_or_else(|| Error::new(ErrorKind::Internal, "merge packs", "the new pack has no name"))
}

/// Objects in the order in which a pack should have them, with what tells which are alike.
#[derive(Debug, Default)]
struct Order {
    /// Oldest first: a commit, then what it brought.
    commits: Vec<(Oid, Vec<Oid>)>,
    names: HashMap<Oid, String>,
    rest: Vec<Oid>,
}

impl Order {
    fn of(repo: &Repository, ids: &HashSet<Oid>, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Self> {
        let operation = "merge packs";
        let odb = repo.odb().map_err(|e| fault::git(operation, e))?;
        let mut commits = Vec::new();
        for id in ids {
            let (_, kind) = odb.read_header(*id).map_err(|e| fault::git(operation, e).with("object", id))?;
            if kind == ObjectType::Commit {
                let commit = repo.find_commit(*id).map_err(|e| fault::git(operation, e).with("commit", id))?;
                commits.push((commit.time().seconds(), *id, commit.tree_id(), commit.parent_id(0).ok()));
            }
        }
        commits.sort_unstable_by_key(|(time, id, _, _)| (*time, *id));
        let mut order = Self::default();
        let mut trees = Trees { repo, last: HashMap::new() };
        for (i, (_, id, tree, parent)) in commits.iter().enumerate() {
            if i % 256 == 0 && !go_on() {
                return Err(Error::new(ErrorKind::Timeout, operation, "the time for it is used up"));
            }
            // A parent that is not here (a shallow clone) is no fault: then all of the tree is new.
            let base = parent.and_then(|p| repo.find_commit(p).ok()).map(|p| p.tree_id());
            let mut found = Vec::new();
            trees.brought(*tree, base, "", &mut found)?;
            if let Some(path) = found.last().map(|(_, path)| path.clone()) {
                order.names.entry(*id).or_insert_with(|| pack_name(&path));
            }
            let mut brought = Vec::new();
            for (oid, path) in found {
                order.names.entry(oid).or_insert_with(|| pack_name(&path));
                brought.push(oid);
            }
            order.commits.push((*id, brought));
        }
        let placed: HashSet<Oid> =
            order.commits.iter().flat_map(|(c, b)| std::iter::once(*c).chain(b.iter().copied())).collect();
        order.rest = ids.iter().filter(|id| !placed.contains(id)).copied().collect();
        // What a commit brought may be in a pack that is not merged.
        for (_, brought) in &mut order.commits {
            brought.retain(|id| ids.contains(id));
        }
        Ok(order)
    }

    fn newest_first(&self) -> impl Iterator<Item = (Oid, &str)> {
        let named = |id: Oid| (id, self.names.get(&id).map_or("", String::as_str));
        let commits = self.commits.iter().rev().map(|(c, _)| *c);
        let brought = self.commits.iter().rev().flat_map(|(_, b)| b.iter().copied());
        commits.chain(brought).chain(self.rest.iter().copied()).map(named)
    }

    /// Everything that these commits need.
    fn of_commits(&self, live: &HashSet<Oid>) -> HashSet<Oid> {
        let mut named: HashSet<Oid> = live.clone();
        for (_, brought) in self.commits.iter().filter(|(c, _)| live.contains(c)) {
            named.extend(brought);
        }
        named
    }
}

/// Reads trees, and keeps the last one of each path: the next commit's base.
struct Trees<'a> {
    repo: &'a Repository,
    last: HashMap<String, (Oid, std::rc::Rc<Tree>)>,
}

impl Trees<'_> {
    fn read(&mut self, id: Oid, path: &str) -> Result<std::rc::Rc<Tree>> {
        if let Some((known, tree)) = self.last.get(path)
            && *known == id
        {
            return Ok(tree.clone());
        }
        let tree = std::rc::Rc::new(objects::tree(self.repo, id)?);
        self.last.insert(path.to_owned(), (id, tree.clone()));
        Ok(tree)
    }

    /// The objects in `tree` that `base` has not, with their paths; files last.
    fn brought(&mut self, tree: Oid, base: Option<Oid>, path: &str, out: &mut Vec<(Oid, String)>) -> Result<()> {
        if base == Some(tree) {
            return Ok(());
        }
        let old = base.map(|b| self.read(b, path)).transpose()?;
        let new = self.read(tree, path)?;
        out.push((tree, path.to_owned()));
        let known: HashMap<&[u8], (Oid, bool)> =
            old.iter().flat_map(|t| t.items()).map(|i| (i.name.as_slice(), (i.id, i.is_folder()))).collect();
        for item in new.items() {
            let before = known.get(item.name.as_slice()).copied();
            if before.is_some_and(|(id, _)| id == item.id) {
                continue;
            }
            let inner = format!("{path}{}", String::from_utf8_lossy(&item.name));
            if item.is_folder() {
                let base = before.filter(|(_, folder)| *folder).map(|(id, _)| id);
                self.brought(item.id, base, &format!("{inner}/"), out)?;
            } else if item.is_blob() {
                out.push((item.id, inner));
            }
        }
        Ok(())
    }
}

/// The commits that branches and tags lead to; `None` where something else may lead to an object too.
fn reachable(layout: &Layout, repo: &Repository) -> Result<Option<HashSet<Oid>>> {
    let operation = "walk history";
    let failed = |e| fault::git(operation, e);
    let others = ["logs", "worktrees", "shallow", "FETCH_HEAD", "MERGE_HEAD", "ORIG_HEAD"];
    if others.iter().any(|name| layout.dir().join(name).exists()) {
        return Ok(None);
    }
    let mut walk = repo.revwalk().map_err(failed)?;
    walk.set_sorting(Sort::NONE).map_err(failed)?;
    for reference in repo.references().map_err(failed)? {
        let reference = reference.map_err(failed)?;
        match reference.peel_to_commit() {
            // An annotated tag is an object of its own, which no commit brought.
            Ok(commit) if reference.target().is_none_or(|t| t == commit.id()) => {
                walk.push(commit.id()).map_err(failed)?;
            }
            _ => return Ok(None),
        }
    }
    walk.collect::<std::result::Result<_, _>>().map(Some).map_err(failed)
}

/// Removes what a killed process left half, once it is certain that nobody is writing it.
pub(super) fn clear_leftovers(layout: &Layout, now: SystemTime) -> Result<(usize, u64)> {
    let mut freed = (0, 0);
    for (path, size, modified) in pack::leftovers(layout)? {
        // Another program that uses libgit2 may be writing: an hour is more than it takes.
        let age = modified.and_then(|t| now.duration_since(t).ok());
        if age.is_some_and(|age| age > Duration::from_secs(3600)) {
            remove(&path)?;
            freed = (freed.0 + 1, freed.1 + size);
        }
    }
    Ok(freed)
}

/// The index goes first: a pack without one is not looked for, an index without its pack is an error to some.
fn remove_pack(layout: &Layout, pack: &Pack) -> Result<()> {
    // It lists this pack too, and is made anew by who uses it.
    remove(&layout.packs().join("multi-pack-index"))?;
    for extension in ["idx", "rev", "bitmap", "pack"] {
        remove(&pack.path.with_extension(extension))?;
    }
    Ok(())
}

fn remove(path: &std::path::Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != Io::NotFound => Err(fault::io("remove file", path, e)),
        _ => Ok(()),
    }
}
