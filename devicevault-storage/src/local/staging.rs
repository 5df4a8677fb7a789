//! Files that have no name yet: where they are written, and how those of dead processes are told from live ones.
//!
//! Each store writes in `.tmp/<id>/` and holds `.tmp/<id>.lock` locked (`flock(2)`) as long as it lives. The kernel
//! lets go of the lock when the process dies: whoever gets it may remove the folder.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use uuid::Uuid;

use super::root::{Root, sub_dir};

/// The folder of all staging areas, in the root.
pub(super) const STAGING: &str = ".tmp";

/// Files are for their owner alone.
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);

/// Where one store writes.
#[derive(Debug)]
pub(super) struct Area {
    parent: OwnedFd,
    dir: OwnedFd,
    name: String,
    next: AtomicU64,
    /// Held, not used.
    _lock: OwnedFd,
}

impl Area {
    pub(super) fn create(root: &Root) -> io::Result<Self> {
        let parent = root.make_dir(STAGING)?;
        loop {
            let name = Uuid::now_v7().simple().to_string();
            let lock = lock_name(&name);
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let fd = rustix::fs::openat(&parent, &lock, flags, FILE_MODE)?;
            match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                // Between our making it and our locking it, somebody took it for a dead one's.
                Err(Errno::WOULDBLOCK) => continue,
                // No locks on this file system: nobody else will get one either, and what we leave stays.
                Err(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {}
                Err(e) => return Err(e.into()),
            }
            if rustix::fs::fstat(&fd)?.st_nlink == 0 {
                continue;
            }
            rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o700))?;
            let dir = sub_dir(&parent, &name)?;
            return Ok(Self { parent, dir, name, next: AtomicU64::new(0), _lock: fd });
        }
    }

    /// Whether it is still where it was made: somebody may have removed `.tmp/`, or the whole folder.
    pub(super) fn is_there(&self) -> bool {
        rustix::fs::fstat(&self.dir).is_ok_and(|s| s.st_nlink > 0)
    }

    pub(super) fn dir(&self) -> &OwnedFd {
        &self.dir
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // The folder before its lock: a folder without a lock is nobody's.
        let _ = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
        let _ = rustix::fs::unlinkat(&self.parent, lock_name(&self.name), AtFlags::empty());
    }
}

fn lock_name(area: &str) -> String {
    format!("{area}.lock")
}

/// A file that is being written and has no name yet. Dropping it removes it.
#[derive(Debug)]
pub struct StagedWriter {
    file: File,
    at: u64,
    staged: StagedFile,
}

impl StagedWriter {
    pub(super) fn create(area: Arc<Area>) -> io::Result<Self> {
        let name = area.next.fetch_add(1, Ordering::Relaxed).to_string();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(rustix::fs::openat(&area.dir, &name, flags, FILE_MODE)?);
        Ok(Self { file, at: 0, staged: StagedFile { area, name, named: false } })
    }

    /// Appends bytes. Blocks.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Appends all that a file holds. Blocks.
    pub(super) fn fill(&mut self, from: &mut File) -> io::Result<()> {
        self.at += io::copy(from, &mut self.file)?;
        Ok(())
    }

    /// Writes at an offset; writers of different parts may do so at once. Blocks.
    pub(super) fn write_at(&self, chunks: &[Bytes], mut at: u64) -> io::Result<()> {
        for chunk in chunks {
            self.file.write_all_at(chunk, at)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Bytes appended so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.at
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// Flushes and closes it. Blocks.
    ///
    /// # Errors
    /// What the file system refuses; some report a full disk only now.
    pub fn finish(self) -> io::Result<StagedFile> {
        self.file.sync_all()?;
        Ok(self.staged)
    }
}

/// A file that is written and flushed, and has no name yet. Dropping it removes it.
#[derive(Debug)]
pub struct StagedFile {
    area: Arc<Area>,
    name: String,
    named: bool,
}

impl StagedFile {
    pub(super) fn dir(&self) -> &OwnedFd {
        self.area.dir()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// It went where it belongs: there is nothing to remove.
    pub(super) fn named(mut self) {
        self.named = true;
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.named {
            let _ = rustix::fs::unlinkat(&self.area.dir, &self.name, AtFlags::empty());
        }
    }
}

/// Removes the areas of dead processes; the number of bytes that they held.
pub(super) fn sweep(root: &Root) -> io::Result<u64> {
    let parent = match root.dir(STAGING) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut freed = 0;
    let names = names(&parent)?;
    for area in names.iter().filter_map(|n| n.strip_suffix(".lock")) {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Ok(lock) = rustix::fs::openat(&parent, lock_name(area), flags, Mode::empty()) else { continue };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        // Locked, and perhaps removed by its owner or another sweeper since we opened it: then its folder is gone too,
        // or is nobody's and found below next time.
        if rustix::fs::fstat(&lock)?.st_nlink == 0 {
            continue;
        }
        freed += remove_area(&parent, area)?;
        ignore_missing(rustix::fs::unlinkat(&parent, lock_name(area), AtFlags::empty()))?;
    }
    // The lock is made before the folder and removed after it, so a folder that had none is nobody's.
    for area in names.iter().filter(|n| Uuid::try_parse(n).is_ok() && !names.contains(&lock_name(n))) {
        if rustix::fs::statat(&parent, lock_name(area), AtFlags::SYMLINK_NOFOLLOW).is_err() {
            freed += remove_area(&parent, area)?;
        }
    }
    Ok(freed)
}

fn remove_area(parent: &OwnedFd, area: &str) -> io::Result<u64> {
    let dir = match sub_dir(parent, area) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut freed = 0;
    for name in names(&dir)? {
        if let Ok(stat) = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW)
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        {
            freed += u64::try_from(stat.st_size).unwrap_or(0);
        }
        ignore_missing(rustix::fs::unlinkat(&dir, &name, AtFlags::empty()))?;
    }
    ignore_missing(rustix::fs::unlinkat(parent, area, AtFlags::REMOVEDIR))?;
    Ok(freed)
}

fn ignore_missing(done: rustix::io::Result<()>) -> io::Result<()> {
    match done {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn names(dir: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        if let Ok(name) = entry?.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(root: &Root) -> usize {
        let tmp = root.path().join(STAGING);
        std::fs::read_dir(tmp).map_or(0, Iterator::count)
    }

    #[test]
    fn dropping_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let area = Arc::new(Area::create(&root).unwrap());
        let mut w = StagedWriter::create(area.clone()).unwrap();
        w.append(b"abc").unwrap();
        assert_eq!(w.len(), 3);
        let file = w.finish().unwrap();
        let half = StagedWriter::create(area.clone()).unwrap();
        assert_eq!(names(area.dir()).unwrap().len(), 2);
        drop((file, half));
        assert_eq!(names(area.dir()).unwrap().len(), 0);
        drop(area);
        assert_eq!(staged(&root), 0);
    }

    #[test]
    fn live_areas_stay_and_dead_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        assert_eq!(sweep(&root).unwrap(), 0);
        let area = Arc::new(Area::create(&root).unwrap());
        let mut live = StagedWriter::create(area.clone()).unwrap();
        live.append(b"live").unwrap();
        // What a killed process leaves: a lock file that nobody holds, and a folder.
        let dead = Uuid::now_v7().simple().to_string();
        let tmp = folder.path().join(STAGING);
        std::fs::write(tmp.join(lock_name(&dead)), "").unwrap();
        std::fs::create_dir(tmp.join(&dead)).unwrap();
        std::fs::write(tmp.join(&dead).join("0"), "12345").unwrap();
        let orphan = Uuid::now_v7().simple().to_string();
        std::fs::create_dir(tmp.join(&orphan)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tmp.join(&orphan).join("0")).unwrap();
        assert_eq!(sweep(&root).unwrap(), 5);
        assert_eq!(staged(&root), 2);
        assert_eq!(std::fs::read(tmp.join(&area.name).join("0")).unwrap(), b"live");
        assert!(std::path::Path::new("/etc/passwd").exists());
        assert!(area.is_there());
        std::fs::remove_dir_all(&tmp).unwrap();
        assert!(!area.is_there());
    }
}
