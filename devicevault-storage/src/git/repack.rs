//! Merging packs, so that what is alike shares what it has in common, and reading stays fast.
//!
//! Every store adds one pack. Merging writes one pack of everything in some of them, reads it through, and only then
//! takes those away: a reader that still has one open reads on in it, and looks again when a pack that it knows is gone.
//! Nothing is left out of a merge except what no branch or tag leads to and nobody wrote in the last two weeks, as
//! `git gc` does.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use devicevault_core::{Error, ErrorKind, Result};
use flate2::Compression;
use git2::{ObjectType, Odb, Oid, Repository, Sort};

use super::fault;
use super::kinship::Kinship;
use super::layout::{Layout, make_beneath, sync_folder};
use super::line::Line;
use super::objects;
use super::pack::{self, Pack};
use super::packfile::PackWriter;
use crate::regular;

/// Packs of like size are merged by a store when there are this many, so that an object is rewritten once per factor
/// of this size, and a repository has at most a few times this many packs.
const FANOUT: u64 = 32;

/// A pack of more objects than this is merged by nobody but `git gc`: it takes memory for each of them.
const MAX_OBJECTS: u64 = 4_000_000;

/// `maintain` leaves a pack alone that holds this many times what all smaller ones do together.
const DOMINANT: u64 = 8;

/// How long what nothing leads to is kept: another program may be about to name it.
const GRACE: Duration = Duration::from_secs(14 * 24 * 3600);

/// Bytes that are read before the packs are opened anew: libgit2 keeps up to 16 MiB of what it unpacked for every pack
/// that somebody has open.
const REOPEN: usize = 8 << 20;

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
    /// What nothing leads to goes, however young it is.
    purging: bool,
}

impl Selection {
    /// The packs of one size class that have become too many; empty while there are none.
    pub(super) fn too_many(layout: &Layout) -> Result<Self> {
        let packs = mergeable(layout)?;
        let class = |p: &Pack| p.objects.max(1).ilog(FANOUT);
        let classes: HashSet<u32> = packs.iter().map(class).collect();
        let of = |c: u32| packs.iter().filter(|p| class(p) == c).cloned().collect::<Vec<_>>();
        let full = classes.into_iter().map(of).find(|packs| packs.len() as u64 >= FANOUT).unwrap_or_default();
        let total: u64 = full.iter().map(|p| p.objects).sum();
        Ok(if total > MAX_OBJECTS { Self::default() } else { Self { packs: full, ..Self::default() } })
    }

    /// All packs and loose objects, but for packs beside which the rest is little.
    pub(super) fn everything(layout: &Layout) -> Result<Self> {
        let all = pack::packs(layout)?.len();
        let mut packs = mergeable(layout)?;
        packs.sort_by_key(|p| p.objects);
        let mut sum = 0;
        let mut take = packs.len();
        for (i, pack) in packs.iter().enumerate() {
            if i > 0 && pack.objects > MAX_OBJECTS / 40 && pack.objects >= sum * DOMINANT {
                take = i;
                break;
            }
            sum += pack.objects;
        }
        packs.truncate(take);
        let whole = packs.len() == all;
        Ok(Self { packs, loose: pack::loose(layout)?, whole, purging: false })
    }

    /// All packs and loose objects, whatever their size; what nothing leads to goes.
    ///
    /// # Errors
    /// `Conflict` where a pack is to be left alone, or is too large.
    pub(super) fn whole(layout: &Layout) -> Result<Self> {
        let packs = mergeable(layout)?;
        if packs.len() != pack::packs(layout)?.len() {
            return Err(Error::new(ErrorKind::Conflict, "merge packs", "Git was told to keep a pack as it is")
                .with("path", layout.packs().display())
                .hint("remove its .keep file, then `git gc --prune=now`"));
        }
        Ok(Self { packs, loose: pack::loose(layout)?, whole: true, purging: true })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packs.len() < 2 && self.loose.is_empty()
    }

    /// What merging it would do; nothing where there is nothing to merge.
    pub(super) fn foretold(&self) -> Option<String> {
        let what = || {
            let (packs, loose) = (self.packs.len(), self.loose.len());
            format!("would merge {packs} packs and {loose} loose objects, {} bytes, into one pack", self.size())
        };
        (!self.is_empty()).then(what)
    }

    /// The objects, and those among them that were written lately.
    fn objects(&self, now: SystemTime) -> Result<(HashSet<Oid>, HashSet<Oid>)> {
        let old = |t: Option<SystemTime>| {
            self.purging || t.and_then(|t| now.duration_since(t).ok()).is_some_and(|age| age > GRACE)
        };
        let (mut all, mut young) = (HashSet::new(), HashSet::new());
        for pack in &self.packs {
            let ids = pack::objects(&pack.path)?;
            if !old(pack.modified) {
                young.extend(&ids);
            }
            all.extend(ids);
        }
        for (id, path, _) in &self.loose {
            all.insert(*id);
            if !old(fs::metadata(path).and_then(|m| m.modified()).ok()) {
                young.insert(*id);
            }
        }
        Ok((all, young))
    }

    fn size(&self) -> u64 {
        self.packs.iter().map(|p| p.size).sum::<u64>() + self.loose.iter().map(|(_, _, size)| size).sum::<u64>()
    }
}

fn mergeable(layout: &Layout) -> Result<Vec<Pack>> {
    Ok(pack::packs(layout)?.into_iter().filter(|p| !p.kept && p.objects <= MAX_OBJECTS).collect())
}

/// Whether there is time left.
pub(super) type GoOn<'a> = &'a (dyn Fn() -> bool + Sync);

fn in_time(go_on: GoOn<'_>) -> Result<()> {
    let stop = || Error::new(ErrorKind::Timeout, "merge packs", "the time for it is used up");
    if go_on() { Ok(()) } else { Err(stop()) }
}

/// Merges. The caller holds the repack lock. `now` is the wall clock's; `go_on` is asked now and then.
///
/// # Errors
/// `Timeout` when `go_on` said no. Whatever the error, nothing is lost: old packs go only when the new one was read.
pub(super) fn merge(layout: &Layout, selection: &Selection, now: SystemTime, go_on: GoOn<'_>) -> Result<Merged> {
    // A damaged object is left where it is, and with it the packs: verification names it.
    objects::guard_all(selection.loose.iter().map(|(id, path, _)| (*id, path.as_path())))?;
    let (all, young) = selection.objects(now)?;
    let live = if selection.whole && all.len() > young.len() { live(layout) } else { None };
    let none = HashSet::new();
    let kinship = Kinship::of(&mut Reader::new(layout)?, &all, live.as_ref().unwrap_or(&none), &|| in_time(go_on))?;
    let dead: HashSet<Oid> = match live {
        Some(_) => all.iter().filter(|id| !young.contains(id) && !kinship.needs(id)).copied().collect(),
        None => HashSet::new(),
    };
    let before = selection.size();
    let kept = all.len() - dead.len();
    let new = if kept == 0 { None } else { Some(write(layout, kinship, &dead, kept, go_on)?) };
    for pack in selection.packs.iter().filter(|p| Some(&p.path) != new.as_ref()) {
        remove_pack(layout, pack)?;
    }
    for (_, path, _) in &selection.loose {
        remove(path)?;
    }
    let after = pack::packs(layout)?.iter().find(|p| Some(&p.path) == new.as_ref()).map_or(0, |p| p.size);
    Ok(Merged {
        packs: selection.packs.len(),
        loose: selection.loose.len(),
        objects: kept,
        pruned: dead.len(),
        before,
        after,
    })
}

/// Writes the pack aside, reads every object of it, and puts it in its place.
fn write(layout: &Layout, kinship: Kinship, dead: &HashSet<Oid>, count: usize, go_on: GoOn<'_>) -> Result<PathBuf> {
    let staging = layout.staging();
    let packs = staging.join("pack");
    clear(&staging)?;
    make_beneath(&staging).map_err(|e| fault::io("merge packs", &staging, e))?;
    let mut reader = Reader::new(layout)?;
    let mut writer = PackWriter::new(&packs, count, Compression::default())?;
    let mut order = Vec::with_capacity(count);
    let mut line = Line::default();
    for family in kinship.families() {
        line = Line::after(line);
        for id in family.into_iter().filter(|id| !dead.contains(id)) {
            in_time(go_on)?;
            let (kind, data) = reader.read(id)?;
            match line.base(kind, &data) {
                Some((base, delta)) => writer.delta(id, base, &delta)?,
                None => writer.whole(id, kind, &data)?,
            }
            line.push(id, kind, data.into());
            order.push(id);
        }
    }
    let staged = writer.finish()?;
    read_through(&staging, &order, go_on)?;
    put_in_place(layout, &staged)
}

/// Makes a pack that was written aside one of the repository's.
pub(super) fn put_in_place(layout: &Layout, staged: &Path) -> Result<PathBuf> {
    let new = layout.packs().join(staged.file_name().unwrap_or_default());
    for extension in ["pack", "idx"] {
        let (from, to) = (staged.with_extension(extension), new.with_extension(extension));
        fs::rename(&from, &to).map_err(|e| fault::io("place pack", &to, e))?;
    }
    sync_folder(&layout.packs())?;
    Ok(new)
}

/// Reads every object of a pack that stands alone: libgit2 compares each with its id.
pub(super) fn read_through(staging: &Path, ids: &[Oid], go_on: GoOn<'_>) -> Result<()> {
    let failed = |e| fault::git("read merged pack", e).with("path", staging.display());
    let path = staging.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Config, "read merged pack", "the path is not UTF-8").with("path", staging.display())
    })?;
    let open = || {
        let odb = Odb::new()?;
        odb.add_disk_alternate(path)?;
        Ok(odb)
    };
    let mut odb = open().map_err(failed)?;
    let mut bytes = 0;
    for id in ids {
        in_time(go_on)?;
        if bytes > REOPEN {
            // First the old one goes: a pack that somebody has open stays open, with all that is kept of it.
            drop(std::mem::replace(&mut odb, Odb::new().map_err(failed)?));
            odb = open().map_err(failed)?;
            bytes = 0;
        }
        bytes += odb.read(*id).map_err(|e| failed(e).with("object", id))?.len();
    }
    Ok(())
}

pub(super) fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != Io::NotFound => Err(fault::io("merge packs", folder, e)),
        _ => Ok(()),
    }
}

/// Reads objects, and lets go of what libgit2 keeps of them now and then.
pub(super) struct Reader<'a> {
    layout: &'a Layout,
    odb: Odb<'static>,
    bytes: usize,
}

impl<'a> Reader<'a> {
    fn new(layout: &'a Layout) -> Result<Self> {
        Ok(Self { layout, odb: apart(layout)?, bytes: 0 })
    }

    pub(super) fn read(&mut self, id: Oid) -> Result<(ObjectType, Vec<u8>)> {
        if self.bytes > REOPEN {
            self.odb = Odb::new().map_err(|e| fault::git("merge packs", e))?;
            *self = Self::new(self.layout)?;
        }
        let object = self.odb.read(id).map_err(|e| fault::git("merge packs", e).with("object", id))?;
        self.bytes += object.len();
        Ok((object.kind(), object.data().to_vec()))
    }

    pub(super) fn kind(&self, id: Oid) -> Result<ObjectType> {
        let header = self.odb.read_header(id);
        header.map(|(_, kind)| kind).map_err(|e| fault::git("merge packs", e).with("object", id))
    }
}

/// The objects of a repository, by a path that nobody else opens them by: libgit2 has each pack open once for all who call it
/// by the same name, and while one of them has, it lets go of nothing that it unpacked for another.
fn apart(layout: &Layout) -> Result<Odb<'static>> {
    let failed = |e| fault::git("merge packs", e).with("path", layout.dir().display());
    let objects = layout.objects();
    let others = regular::read_to_string(&objects.join("info/alternates")).unwrap_or_default();
    let others = others.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(|l| objects.join(l));
    let odb = Odb::new().map_err(failed)?;
    for path in std::iter::once(objects.join(".")).chain(others) {
        let path = path.to_str().ok_or_else(|| {
            Error::new(ErrorKind::Config, "merge packs", "the path is not UTF-8").with("path", path.display())
        })?;
        odb.add_disk_alternate(path).map_err(failed)?;
    }
    Ok(odb)
}

/// The commits that something leads to; `None` where that cannot be told, so that everything is kept.
fn live(layout: &Layout) -> Option<HashSet<Oid>> {
    layout.repository().and_then(|repo| reachable(layout, &repo)).unwrap_or_else(|e| {
        tracing::warn!(error = %e, "what nothing leads to is kept: the history could not be walked");
        None
    })
}

/// The commits that branches and tags lead to; `None` where something else may lead to an object too.
fn reachable(layout: &Layout, repo: &Repository) -> Result<Option<HashSet<Oid>>> {
    let failed = |e| fault::git("walk history", e);
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

/// Files, and their bytes.
type Counted = (u64, u64);

/// What a killed process left half: all of it, and beside it what is so old that nobody is writing it.
pub(super) fn left_half(layout: &Layout, now: SystemTime) -> Result<(Counted, Counted)> {
    let (mut all, mut old) = ((0, 0), (0, 0));
    for (_, size, modified) in pack::leftovers(layout)? {
        all = (all.0 + 1, all.1 + size);
        if is_old(modified, now) {
            old = (old.0 + 1, old.1 + size);
        }
    }
    Ok((all, old))
}

/// Removes what a killed process left half, once it is certain that nobody is writing it.
pub(super) fn clear_leftovers(layout: &Layout, now: SystemTime) -> Result<()> {
    for (path, _, modified) in pack::leftovers(layout)? {
        if is_old(modified, now) {
            remove(&path)?;
        }
    }
    clear(&layout.staging())
}

/// Another program may be writing: an hour is more than it takes.
fn is_old(modified: Option<SystemTime>, now: SystemTime) -> bool {
    modified.and_then(|t| now.duration_since(t).ok()).is_some_and(|age| age > Duration::from_secs(3600))
}

/// The index goes first: a pack without one is not looked for, an index without its pack is an error to some.
pub(super) fn remove_pack(layout: &Layout, pack: &Pack) -> Result<()> {
    // It lists this pack too, and is made anew by who uses it.
    remove(&layout.packs().join("multi-pack-index"))?;
    for extension in ["idx", "rev", "bitmap", "pack"] {
        remove(&pack.path.with_extension(extension))?;
    }
    Ok(())
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != Io::NotFound => Err(fault::io("remove file", path, e)),
        _ => Ok(()),
    }
}
