//! The files of a spool.
//!
//! ```text
//! <root>/parked/<line>/<id>/{body,item}   what waits; every process sees it
//! <root>/work/<process>/                  bodies of a process, held by its lock; gone with it
//! <root>/damaged/<id>/                    what was parked and does not open
//! ```
//!
//! Parking and removing are one rename each, so that what is parked is always whole. A line's name is a keyed hash: it
//! tells nobody which device it is of.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use devicevault_core::spool::{ParkId, ParkedLine};
use devicevault_core::{Error, ErrorKind, Result};
use uuid::Uuid;

use super::of_io;
use crate::regular;
use crate::seal::Key;

const LOCK: &str = "lock";
const BODY: &str = "body";
const ITEM: &str = "item";
const PARKED: &str = "parked";
const WORK: &str = "work";
const DAMAGED: &str = "damaged";
/// How often a rename is tried whose folder somebody else tidied away at that moment.
const TRIES: u32 = 16;

/// A spool's folders, and this process's own among them.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    own: PathBuf,
    _lock: File,
}

/// A place in the line.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) id: ParkId,
    path: PathBuf,
}

impl Place {
    pub(super) fn body(&self) -> PathBuf {
        self.path.join(BODY)
    }

    /// Bytes of the body's file; none where it is gone.
    pub(super) fn length(&self) -> u64 {
        fs::metadata(self.body()).map_or(0, |m| m.len())
    }

    /// The sealed item; `None` where it is gone: another process delivered it.
    pub(super) fn read_item(&self) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(ITEM);
        match regular::read(&path) {
            Ok(sealed) => Ok(Some(sealed)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(of_io("read parked backup", &path, e)),
        }
    }
}

impl Folder {
    /// Makes what is missing, a folder of this process's own included, and deletes what dead processes had not parked.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let work = root.join(WORK);
        for folder in [root, &root.join(PARKED), &work] {
            make_folder(folder, true)?;
        }
        let own = work.join(Uuid::now_v7().to_string());
        make_folder(&own, false)?;
        // Locked before it has its name: whoever finds a lock finds it held, or its process dead.
        let staged = own.join("lock.new");
        let failed = |e| of_io("lock spool", &staged, e);
        let lock = create(&staged).map_err(failed)?;
        lock.lock().map_err(failed)?;
        fs::rename(&staged, own.join(LOCK)).map_err(failed)?;
        for other in entries(&work)? {
            if other != own {
                clear(&other);
            }
        }
        Ok(Self { root: root.to_owned(), own, _lock: lock })
    }

    /// A file of a body that is not parked.
    pub(super) fn body(&self, id: Uuid) -> PathBuf {
        self.own.join(format!("{id}.{BODY}"))
    }

    /// Parks a body that is durable, with its sealed item: both appear at once.
    pub(super) fn park(&self, id: Uuid, line: &str, item: &[u8]) -> Result<()> {
        let staged = self.own.join(format!("{id}.parking"));
        self.stage(id, &staged, line, item).inspect_err(|_| {
            // Whatever is left of it takes no room that is not counted.
            let _ = fs::remove_dir_all(&staged);
        })
    }

    fn stage(&self, id: Uuid, staged: &Path, line: &str, item: &[u8]) -> Result<()> {
        let failed = |e| of_io("park backup", staged, e);
        make_folder(staged, false)?;
        fs::rename(self.body(id), staged.join(BODY)).map_err(failed)?;
        let mut file = create(&staged.join(ITEM)).map_err(failed)?;
        file.write_all(item).and_then(|()| file.sync_all()).map_err(failed)?;
        sync_folder(staged)?;
        let folder = self.root.join(PARKED).join(line);
        for last in (0..TRIES).rev() {
            match make_folder(&folder, true) {
                // It was there, and somebody tidied it away before it was looked at.
                Err(e) if e.kind() == ErrorKind::NotFound && last > 0 => continue,
                made => made?,
            }
            match fs::rename(staged, folder.join(id.to_string())) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::NotFound && last > 0 => {}
                Err(e) => return Err(failed(e)),
            }
        }
        // It is parked now; somebody may have delivered it and tidied its line away.
        match sync_folder(&folder) {
            Err(_) if !folder.exists() => Ok(()),
            done => done,
        }?;
        sync_folder(&self.root.join(PARKED))
    }

    /// All that is parked, oldest first.
    pub(super) fn parked(&self) -> Result<Vec<Place>> {
        let mut all = Vec::new();
        for line in entries(&self.root.join(PARKED))? {
            all.extend(places(&line)?);
        }
        all.sort_by_key(|p| p.id);
        Ok(all)
    }

    /// What is parked in a line, oldest first.
    pub(super) fn parked_in(&self, line: &str) -> Result<Vec<Place>> {
        let mut all = places(&self.root.join(PARKED).join(line))?;
        all.sort_by_key(|p| p.id);
        Ok(all)
    }

    /// The place of an item; `None` where it is not parked, or not any more.
    pub(super) fn find(&self, id: ParkId) -> Result<Option<Place>> {
        for line in entries(&self.root.join(PARKED))? {
            let path = line.join(id.0.to_string());
            if path.exists() {
                return Ok(Some(Place { id, path }));
            }
        }
        Ok(None)
    }

    /// Lets go of an item. Returns the length of its body's file; `None`: it was gone.
    pub(super) fn remove(&self, place: &Place) -> Result<Option<u64>> {
        let length = place.length();
        let gone = self.own.join(format!("{}.gone", place.id.0));
        match fs::rename(&place.path, &gone) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(of_io("remove parked backup", &place.path, e)),
        }
        fs::remove_dir_all(&gone).map_err(|e| of_io("remove parked backup", &gone, e))?;
        if let Some(line) = place.path.parent() {
            // Fails where something else waits in it.
            let _ = fs::remove_dir(line);
        }
        Ok(Some(length))
    }

    /// Puts aside what does not open, for whoever may want to look at it.
    pub(super) fn set_aside(&self, place: &Place) -> Result<PathBuf> {
        let damaged = self.root.join(DAMAGED);
        make_folder(&damaged, true)?;
        let path = damaged.join(place.id.0.to_string());
        match fs::rename(&place.path, &path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(of_io("set damaged backup aside", &place.path, e)),
            _ => Ok(path),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Empty but for the lock. Otherwise a body lives on, and what is left goes with the next process.
        let only_lock = fs::read_dir(&self.own).is_ok_and(|entries| entries.count() == 1);
        if only_lock {
            let _ = fs::remove_dir_all(&self.own);
        }
    }
}

/// The name of a line.
pub(super) fn line_name(line: &ParkedLine, key: &Key) -> String {
    let parts = [line.destination.as_str(), line.device.as_str(), &line.artefact];
    let lengths = parts.map(|p| (p.len() as u64).to_le_bytes());
    let mut all: Vec<&[u8]> = vec![b"devicevault spool line v1"];
    for (part, length) in parts.iter().zip(&lengths) {
        all.extend([&length[..], part.as_bytes()]);
    }
    let mut name = hex::encode(key.mac(&all));
    name.truncate(32);
    name
}

/// Deletes the folder of a dead process; a living one holds its lock, and is left alone.
fn clear(other: &Path) {
    // A folder without a lock file is of a process that died between the two, or is being made this moment.
    let Ok(lock) = regular::open(&other.join(LOCK)) else { return };
    if lock.try_lock().is_ok() {
        // Two that clear at once trip over each other: one of them gets it done.
        let _ = fs::remove_dir_all(other);
    }
}

fn places(line: &Path) -> Result<Vec<Place>> {
    let named = entries(line)?.into_iter().filter_map(|path| {
        let id = Uuid::parse_str(path.file_name()?.to_str()?).ok()?;
        Some(Place { id: ParkId(id), path })
    });
    Ok(named.collect())
}

/// What is in a folder; nothing where it is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| of_io("read spool", folder, e);
    match fs::read_dir(folder) {
        Ok(read) => read.map(|entry| Ok(entry.map_err(failed)?.path())).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(failed(e)),
    }
}

/// A new file that its owner alone can read.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| of_io("flush spool", folder, e))
}

/// Makes a folder that its owner alone can enter. One that is there and that others could enter is closed to them.
fn make_folder(path: &Path, there: bool) -> Result<()> {
    let failed = |e| of_io("make spool", path, e);
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if there && e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) if there && e.kind() == io::ErrorKind::NotFound => {
            return DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed);
        }
        done => return done.map_err(failed),
    }
    let kind = fs::symlink_metadata(path).map_err(failed)?;
    if kind.is_dir() {
        if kind.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "make spool", "something that is no folder has its place")
        .with("path", path.display())
        .hint("remove it"))
}
