//! Opening things beneath a folder without leaving it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::fault::symbolic_link;

/// Folders are for their owner alone.
const DIR_MODE: Mode = Mode::from_raw_mode(0o700);
const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The folder, held open: what is done goes to this very folder, whatever becomes of its name.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    path: PathBuf,
    /// The kernel has no `openat2(2)` (before Linux 5.6, or forbidden in a container): folders are opened one by one.
    one_by_one: AtomicBool,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, DIR_FLAGS, Mode::empty())?;
        Ok(Self { fd, path: path.to_owned(), one_by_one: AtomicBool::new(!cfg!(target_os = "linux")) })
    }

    #[cfg(test)]
    pub(super) fn open_one_by_one(path: &Path) -> io::Result<Self> {
        let root = Self::open(path)?;
        root.one_by_one.store(true, Ordering::Relaxed);
        Ok(root)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a folder beneath; `""` is the root itself.
    pub(super) fn dir(&self, at: &str) -> io::Result<OwnedFd> {
        check(at)?;
        if at.is_empty() {
            return Ok(rustix::fs::openat(&self.fd, ".", DIR_FLAGS, Mode::empty())?);
        }
        #[cfg(target_os = "linux")]
        if !self.one_by_one.load(Ordering::Relaxed) {
            match self.dir_at_once(at) {
                Err(Errno::NOSYS | Errno::PERM) => self.one_by_one.store(true, Ordering::Relaxed),
                Err(Errno::LOOP) => return Err(symbolic_link()),
                other => return Ok(other?),
            }
        }
        let mut dir = self.dir("")?;
        for part in at.split('/') {
            dir = sub_dir(&dir, part)?;
        }
        Ok(dir)
    }

    #[cfg(target_os = "linux")]
    fn dir_at_once(&self, at: &str) -> rustix::io::Result<OwnedFd> {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.fd, at, DIR_FLAGS, Mode::empty(), resolve) {
                // Something was renamed on the way; nothing is wrong.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Opens a folder beneath and makes what is missing of it.
    pub(super) fn make_dir(&self, at: &str) -> io::Result<OwnedFd> {
        match self.dir(at) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !at.is_empty() => {}
            other => return other,
        }
        let mut dir = self.dir("")?;
        for part in at.split('/') {
            match rustix::fs::mkdirat(&dir, part, DIR_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            dir = sub_dir(&dir, part)?;
        }
        Ok(dir)
    }

    /// Flushes a folder, so that its entries survive a power cut. `false`: the file system cannot do that.
    pub(super) fn flush_dir(&self, at: &str) -> io::Result<bool> {
        match rustix::fs::fsync(self.dir(at)?) {
            Ok(()) => Ok(true),
            // Some network file systems flush names by themselves and know no such call for folders.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    pub(super) fn free_space(&self) -> io::Result<u64> {
        let fs = rustix::fs::fstatvfs(&self.fd)?;
        Ok(fs.f_bavail.saturating_mul(fs.f_frsize))
    }
}

/// Splits a path into its folder and its last component.
pub(super) fn split(at: &str) -> (&str, &str) {
    at.rsplit_once('/').unwrap_or(("", at))
}

/// The folders above a folder, the root first.
pub(super) fn above(at: &str) -> impl Iterator<Item = &str> {
    let inner = at.match_indices('/').map(|(i, _)| at.get(..i).unwrap_or_default());
    (!at.is_empty()).then_some("").into_iter().chain(inner)
}

/// Opens a folder in a folder.
pub(super) fn sub_dir(dir: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::openat(dir, name, DIR_FLAGS | OFlags::NOFOLLOW, Mode::empty()) {
        // Linux calls a symbolic link that may not be followed "not a directory" when a directory is asked for.
        Err(Errno::NOTDIR | Errno::LOOP) if is_link(dir, name) => Err(symbolic_link()),
        other => Ok(other?),
    }
}

/// Opens a regular file in a folder for reading.
pub(super) fn open_file(dir: &OwnedFd, name: &str) -> io::Result<File> {
    // Without NONBLOCK, opening a named pipe that somebody planted would wait for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(symbolic_link()),
        other => other?,
    };
    let file = File::from(fd);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "it is not a regular file"))
    }
}

/// Whether there is a symbolic link of this name.
pub(super) fn is_link(dir: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink)
}

/// Refuses what could lead out, though no [`Path`](object_store::path::Path) should hold it.
fn check(at: &str) -> io::Result<()> {
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    if !at.is_empty() && at.split('/').any(bad) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path beneath the folder"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(path: &Path) -> [Root; 2] {
        [Root::open(path).unwrap(), Root::open_one_by_one(path).unwrap()]
    }

    #[test]
    fn nothing_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::fs::create_dir(outside.path().join("sub")).unwrap();
        std::fs::create_dir(inside.path().join("real")).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).unwrap();
        std::os::unix::fs::symlink("real", inside.path().join("inner")).unwrap();
        std::fs::write(inside.path().join("file"), "x").unwrap();
        for root in both(inside.path()) {
            for bad in ["..", "real/..", "real/../..", "/etc", "a//b", "a\0b", ".", "./real"] {
                assert_eq!(root.dir(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad}");
                assert_eq!(root.make_dir(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad}");
            }
            for link in ["link", "link/sub", "link/new", "inner", "inner/new"] {
                assert_eq!(root.dir(link).unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{link}");
                assert_eq!(root.make_dir(link).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            }
            assert_eq!(root.dir("file/x").unwrap_err().kind(), io::ErrorKind::NotADirectory);
            assert_eq!(root.dir("none").unwrap_err().kind(), io::ErrorKind::NotFound);
            assert!(root.dir("real").is_ok());
        }
        assert_eq!(std::fs::read_dir(outside.path().join("sub")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn folders_above() {
        assert_eq!(above("a/b/c").collect::<Vec<_>>(), ["", "a", "a/b"]);
        assert_eq!(above("a").collect::<Vec<_>>(), [""]);
        assert_eq!(above("").count(), 0);
        assert_eq!(split("a/b/c"), ("a/b", "c"));
        assert_eq!(split("c"), ("", "c"));
    }

    #[test]
    fn folders_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        for (i, which) in ["a", "b"].into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let root = &both(folder.path())[i];
            root.make_dir(&format!("{which}/sub/deep")).unwrap();
            let mode = std::fs::metadata(folder.path().join(which)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            assert!(root.flush_dir(which).unwrap());
            assert!(root.free_space().unwrap() > 0);
        }
    }
}
