//! Writing objects: one, or many in one durable step.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{PutMode, PutResult, Result};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::LocalStore;
use super::root::{above, is_link, open_file, split};
use super::staging::{Area, StagedFile, StagedWriter};
use super::store::{etag, failed, lost, not_implemented, refuse_reserved};
use crate::fault::{symbolic_link, the_same};

/// How many files and folders are flushed at once: journals take several into one commit.
const FLUSHES_AT_ONCE: usize = 8;

/// What an object is to hold.
#[derive(Debug)]
pub enum Content {
    /// These bytes, written when the object is placed.
    Bytes(Bytes),
    /// What was written into this file.
    Staged(StagedFile),
}

/// An object that is to be placed.
#[derive(Debug)]
pub struct Placement {
    /// Where.
    pub location: Path,
    /// What.
    pub content: Content,
    /// Whether it may replace what is there.
    pub replace: bool,
}

impl LocalStore {
    /// Begins a file that has no name yet, on the file system of the store.
    ///
    /// # Errors
    /// What the file system refuses.
    pub async fn stage(&self) -> Result<StagedWriter> {
        let store = self.clone();
        let made = tokio::task::spawn_blocking(move || StagedWriter::create(store.area()?)).await.map_err(lost)?;
        made.map_err(|e| failed("create staging file", "", e))
    }

    /// Places many objects in one durable step: writes all, flushes all, names all, flushes each folder once.
    ///
    /// The objects of one set belong together and are named in their order; one that fails stops its set, and those
    /// before it stay. A set whose folders cannot be flushed loses its last object again, if that was new: it is the one
    /// that makes the others count. A verdict per set, in order; `AlreadyExists` where an object that must not replace
    /// another met one.
    pub async fn put_many(&self, sets: Vec<Vec<Placement>>) -> Vec<Result<Vec<PutResult>>> {
        let count = sets.len();
        let store = self.clone();
        match tokio::task::spawn_blocking(move || store.put_many_now(sets)).await {
            Ok(verdicts) => verdicts,
            Err(e) => {
                let text = e.to_string();
                let mut first = Some(lost(e));
                let again = || failed("write objects", "", io::Error::other(text.clone()));
                (0..count).map(|_| Err(first.take().unwrap_or_else(again))).collect()
            }
        }
    }

    /// Which of these names are taken, by whatever it is. What cannot be looked at counts as taken.
    pub async fn taken(&self, locations: Vec<Path>) -> Vec<bool> {
        let (root, count) = (self.root.clone(), locations.len());
        let is_taken = move |location: &Path| {
            let (folder, name) = split(location.as_ref());
            let there = root.dir(folder).and_then(|dir| Ok(rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?));
            there.is_ok() || there.is_err_and(|e| e.kind() != io::ErrorKind::NotFound)
        };
        let work = move || locations.iter().map(is_taken).collect();
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| vec![true; count])
    }

    /// Makes sure that the name of an object that is there survives a power cut, whoever gave it.
    ///
    /// # Errors
    /// What the file system refuses.
    pub async fn settle(&self, location: &Path) -> Result<()> {
        let (root, location) = (self.root.clone(), location.clone());
        let work = move || {
            let folder = split(location.as_ref()).0;
            let flush = |at: &str| root.flush_dir(at).map_err(|e| failed("flush folder", at, e)).map(drop);
            above(folder).chain([folder]).try_for_each(flush)
        };
        tokio::task::spawn_blocking(work).await.map_err(lost)?
    }

    fn put_many_now(&self, sets: Vec<Vec<Placement>>) -> Vec<Result<Vec<PutResult>>> {
        let area = match self.area() {
            Ok(area) => area,
            Err(e) => {
                let again = || the_same(&e);
                return sets.iter().map(|_| Err(failed("create staging folder", "", again()))).collect();
            }
        };
        let written = in_parallel(sets, |set| {
            set.into_iter().map(|placement| Written::of(placement, &area)).collect::<Result<Vec<_>>>()
        });
        let mut folders = BTreeSet::new();
        let named: Vec<_> = written.into_iter().map(|set| self.name_set(set?, &mut folders)).collect();
        let flushed = self.flush_folders(folders);
        named.into_iter().map(|set| self.settled(set?, &flushed)).collect()
    }

    /// Gives the objects of a set their names, in order.
    fn name_set(&self, set: Vec<Written>, folders: &mut BTreeSet<String>) -> Result<Vec<Named>> {
        set.into_iter().map(|written| self.name(written, folders)).collect()
    }

    fn name(&self, mut w: Written, folders: &mut BTreeSet<String>) -> Result<Named> {
        let (folder, name) = split(w.location.as_ref());
        let mut tries = 0;
        loop {
            let done = self.root.make_dir(folder).and_then(|dir| {
                let folder_ino = rustix::fs::fstat(&dir)?.st_ino;
                give_name(&w.staged, &dir, name, w.replace)?;
                Ok(folder_ino)
            });
            match done {
                Ok(folder_ino) => {
                    folders.insert(folder.to_owned());
                    if !self.is_anchored(folder, folder_ino) {
                        folders.extend(above(folder).map(str::to_owned));
                    }
                    let named = Named {
                        folder: folder.to_owned(),
                        folder_ino,
                        location: w.location.clone(),
                        ino: w.ino,
                        new: !w.replace,
                        result: PutResult {
                            e_tag: Some(std::mem::take(&mut w.e_tag)),
                            version: None,
                            extensions: Default::default(),
                        },
                    };
                    w.staged.named();
                    return Ok(named);
                }
                // A deletion removed the folder, which had just become empty, under our hands.
                Err(e) if e.kind() == io::ErrorKind::NotFound && tries < 3 => tries += 1,
                Err(e) => return Err(failed("write object", w.location.as_ref(), e)),
            }
        }
    }

    /// Flushes folders; those that could not be.
    fn flush_folders(&self, folders: BTreeSet<String>) -> BTreeMap<String, io::Error> {
        let flushed = in_parallel(folders.into_iter().collect(), |folder: String| {
            let done = self.root.flush_dir(&folder);
            (folder, done)
        });
        flushed.into_iter().filter_map(|(folder, done)| Some((folder, done.err()?))).collect()
    }

    /// The verdict of a set, now that its folders were flushed or not.
    fn settled(&self, set: Vec<Named>, unflushed: &BTreeMap<String, io::Error>) -> Result<Vec<PutResult>> {
        for named in &set {
            let chain = above(&named.folder).chain([named.folder.as_str()]);
            for folder in chain {
                if let Some(e) = unflushed.get(folder) {
                    set.last().into_iter().for_each(|last| self.take_back(last));
                    return Err(failed("flush folder", folder, the_same(e)));
                }
            }
        }
        let mut anchored = self.anchored.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded: forgetting costs a few flushes more, nothing else.
        if anchored.len() > 100_000 {
            anchored.clear();
        }
        for named in &set {
            anchored.insert(named.folder.clone(), named.folder_ino);
        }
        Ok(set.into_iter().map(|n| n.result).collect())
    }

    /// Whether this very folder has been flushed into the folders above it, so that only its own entries need flushing.
    fn is_anchored(&self, folder: &str, ino: u64) -> bool {
        self.anchored.lock().unwrap_or_else(PoisonError::into_inner).get(folder) == Some(&ino)
    }

    /// Removes an object that was placed as new, if it is still that.
    fn take_back(&self, named: &Named) {
        let (folder, name) = split(named.location.as_ref());
        if named.new
            && let Ok(dir) = self.root.dir(folder)
            && rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| s.st_ino == named.ino)
        {
            let _ = rustix::fs::unlinkat(&dir, name, AtFlags::empty());
        }
    }
}

/// Written and flushed, not yet named.
struct Written {
    location: Path,
    staged: StagedFile,
    replace: bool,
    ino: u64,
    e_tag: String,
}

impl Written {
    fn of(placement: Placement, area: &Arc<Area>) -> Result<Self> {
        let Placement { location, content, replace } = placement;
        refuse_reserved(&location)?;
        let write = || {
            let staged = match content {
                Content::Staged(staged) => staged,
                Content::Bytes(bytes) => {
                    let mut writer = StagedWriter::create(area.clone())?;
                    writer.append(&bytes)?;
                    writer.finish()?
                }
            };
            let meta = open_file(staged.dir(), staged.name())?.metadata()?;
            Ok((staged, meta))
        };
        let (staged, meta) = write().map_err(|e| failed("write object", location.as_ref(), e))?;
        Ok(Self { location, staged, replace, ino: meta.ino(), e_tag: etag(&meta) })
    }
}

/// Named, its folder not yet flushed.
struct Named {
    folder: String,
    folder_ino: u64,
    location: Path,
    ino: u64,
    new: bool,
    result: PutResult,
}

/// What object_store's modes mean here.
pub(super) fn replaces(mode: &PutMode) -> Result<bool> {
    match mode {
        PutMode::Overwrite => Ok(true),
        PutMode::Create => Ok(false),
        PutMode::Update(_) => Err(not_implemented("put with PutMode::Update")),
    }
}

/// Moves a file from the staging area to its name.
fn give_name(staged: &StagedFile, dir: &OwnedFd, name: &str, replace: bool) -> io::Result<()> {
    if replace {
        refuse_replacing(dir, name)?;
        return Ok(rustix::fs::renameat(staged.dir(), staged.name(), dir, name)?);
    }
    move_new(staged.dir(), staged.name(), dir, name)
}

/// A rename replaces whatever has the name; a symbolic link there is not ours to replace.
pub(super) fn refuse_replacing(dir: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(s) => match FileType::from_raw_mode(s.st_mode) {
            FileType::RegularFile => Ok(()),
            FileType::Symlink => Err(symbolic_link()),
            _ => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        },
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Moves a file to a name that must be free.
pub(super) fn move_new(from: &OwnedFd, old: &str, to: &OwnedFd, new: &str) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    match rustix::fs::renameat_with(from, old, to, new, rustix::fs::RenameFlags::NOREPLACE) {
        // NFS, among others, cannot: it can link.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => return link_checked(other, to, new),
    }
    link_new(from, old, to, new)
}

/// The same in two steps. A crash between them leaves a second name in the staging area, which the next sweep removes.
fn link_new(from: &OwnedFd, old: &str, to: &OwnedFd, new: &str) -> io::Result<()> {
    link_checked(rustix::fs::linkat(from, old, to, new, AtFlags::empty()), to, new)?;
    Ok(rustix::fs::unlinkat(from, old, AtFlags::empty())?)
}

/// Tells a symbolic link in the way from an object in the way.
fn link_checked(done: rustix::io::Result<()>, to: &OwnedFd, new: &str) -> io::Result<()> {
    match done {
        Err(Errno::EXIST) if is_link(to, new) => Err(symbolic_link()),
        other => Ok(other?),
    }
}

/// Does something to each, several at a time, and keeps the order.
fn in_parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if items.len() < 4 {
        return items.into_iter().map(work).collect();
    }
    let per_thread = items.len().div_ceil(FLUSHES_AT_ONCE);
    let mut items = items.into_iter();
    let mut parts: Vec<Vec<T>> = Vec::new();
    loop {
        let part: Vec<T> = items.by_ref().take(per_thread).collect();
        if part.is_empty() {
            break;
        }
        parts.push(part);
    }
    std::thread::scope(|scope| {
        let running: Vec<_> =
            parts.into_iter().map(|part| scope.spawn(|| part.into_iter().map(&work).collect::<Vec<R>>())).collect();
        let join = |t: std::thread::ScopedJoinHandle<'_, Vec<R>>| match t.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        running.into_iter().flat_map(join).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_way_of_moving_replaces_anything() {
        type Move = fn(&OwnedFd, &str, &OwnedFd, &str) -> io::Result<()>;
        for move_it in [move_new as Move, link_new] {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            let dir: OwnedFd = std::fs::File::open(folder.path()).unwrap().into();
            std::fs::write(path("a"), "a").unwrap();
            std::fs::write(path("b"), "b").unwrap();
            std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
            assert_eq!(move_it(&dir, "a", &dir, "b").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(move_it(&dir, "a", &dir, "link").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            assert_eq!(move_it(&dir, "none", &dir, "c").unwrap_err().kind(), io::ErrorKind::NotFound);
            move_it(&dir, "a", &dir, "c").unwrap();
            assert_eq!(std::fs::read(path("c")).unwrap(), b"a");
            assert!(!path("a").exists());
        }
    }

    #[test]
    fn many_are_done_in_their_order() {
        for count in [0, 1, 3, 4, 7, 8, 9, 100] {
            let doubled = in_parallel((0..count).collect(), |i| i * 2);
            assert_eq!(doubled, (0..count).map(|i| i * 2).collect::<Vec<_>>());
        }
    }
}
