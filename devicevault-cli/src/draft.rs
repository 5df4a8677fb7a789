//! A file that is not there before it is whole: whatever happens, nothing of it is left behind.
//!
//! On Linux it has no name while it is written (`O_TMPFILE`, open(2)), so that the system takes it away with the process.
//! Where a file system cannot do that, it has a hidden name, which goes when the draft is dropped.

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use devicevault_core::{Digest, Error, ErrorKind, Result};
use sha2::Digest as _;

use crate::files;

const WRITE: &str = "write file";

/// A file in the making, for its owner alone.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    target: PathBuf,
    /// Its name meanwhile, where it has one.
    named: Option<PathBuf>,
    size: u64,
    hash: sha2::Sha256,
}

impl Draft {
    /// In the folder of the file that it is to become.
    ///
    /// # Errors
    /// The folder is not there or cannot be written; there is a file already, and it is not to be replaced.
    pub(crate) fn create(target: &Path, replace: bool) -> Result<Self> {
        let name = target.file_name().ok_or_else(|| {
            Error::new(ErrorKind::Config, WRITE, "this is no name of a file").with("file", target.display())
        })?;
        if target.as_os_str() == "-" {
            return Err(Error::new(ErrorKind::Config, WRITE, "`-` is no name of a file")
                .hint("`devicevault show --view original` writes to standard output"));
        }
        files::check_replaceable(target, WRITE)?;
        if !replace && target.symlink_metadata().is_ok() {
            return Err(taken(target));
        }
        let folder = folder_of(target);
        let (file, named) = match nameless(folder) {
            Ok(Some(file)) => (file, None),
            Ok(None) => {
                let named = folder.join(format!(".{}.{}.tmp", name.to_string_lossy(), uuid::Uuid::now_v7()));
                (files::create_private(&named)?, Some(named))
            }
            Err(e) => return Err(cannot(&e, target)),
        };
        Ok(Self { file, target: target.to_owned(), named, size: 0, hash: sha2::Sha256::new() })
    }

    /// The file that it is to become.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Appends.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| cannot(&e, &self.target))
    }

    /// Forgets what was written.
    pub(crate) fn begin_again(&mut self) -> Result<()> {
        (self.hash, self.size) = (sha2::Sha256::new(), 0);
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(|e| cannot(&e, &self.target))
    }

    /// What was written: how many bytes, and their hash.
    pub(crate) fn written(&self) -> (u64, Digest) {
        (self.size, Digest(self.hash.clone().finalize().into()))
    }

    /// Makes what was written durable.
    pub(crate) fn flush(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| cannot(&e, &self.target))
    }

    /// Gives it its name, in one step. A file that came there meanwhile stays, unless it is to be replaced; of a
    /// symbolic link the link is replaced, never what it leads to.
    pub(crate) fn publish(mut self, replace: bool) -> Result<PathBuf> {
        let told = |e: io::Error| match e.kind() {
            io::ErrorKind::AlreadyExists => taken(&self.target),
            _ => cannot(&e, &self.target),
        };
        if replace {
            let named = match self.named.clone() {
                Some(named) => named,
                None => {
                    let named = self.target.with_file_name(format!(".{}.tmp", uuid::Uuid::now_v7()));
                    link(&self.file, &named).map_err(told)?;
                    named
                }
            };
            let renamed = fs::rename(&named, &self.target);
            if renamed.is_err() {
                let _ = fs::remove_file(&named);
            }
            renamed.map_err(told)?;
        } else {
            match &self.named {
                None => link(&self.file, &self.target).map_err(told)?,
                Some(named) => fs::hard_link(named, &self.target).map_err(told)?,
            }
        }
        let flushed = File::open(folder_of(&self.target)).and_then(|f| f.sync_all());
        flushed.map_err(|e| cannot(&e, &self.target))?;
        Ok(std::mem::take(&mut self.target))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(named) = &self.named {
            // Renamed away, it is not there any more.
            let _ = fs::remove_file(named);
        }
    }
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn taken(target: &Path) -> Error {
    Error::new(ErrorKind::AlreadyExists, WRITE, "there is a file of this name already")
        .with("file", target.display())
        .hint("name another one, or give --force")
}

pub(crate) fn cannot(e: &io::Error, target: &Path) -> Error {
    files::failed(e, WRITE, "it cannot be written", target)
}

/// A file without a name; `None` where the file system has none.
#[cfg(target_os = "linux")]
fn nameless(folder: &Path) -> io::Result<Option<File>> {
    use rustix::fs::{CWD, Mode, OFlags};
    use rustix::io::Errno;
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(Some(file.into())),
        // open(2): kernels that do not know the flag, file systems that do not.
        Err(Errno::ISDIR | Errno::OPNOTSUPP | Errno::INVAL) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn nameless(_folder: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

/// Gives a file without a name one, by the way that open(2) describes for everybody.
#[cfg(target_os = "linux")]
fn link(file: &File, to: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD};
    use std::os::fd::AsRawFd as _;
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn link(_file: &File, _to: &Path) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let all = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        all.collect()
    }

    #[test]
    fn a_draft_is_nowhere_until_it_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.cfg");
        let mut draft = Draft::create(&target, false).unwrap();
        draft.write(b"wrong").unwrap();
        draft.begin_again().unwrap();
        draft.write(b"right").unwrap();
        assert_eq!(draft.written(), (5, Digest::of(b"right")));
        drop(draft);
        assert_eq!(names(folder.path()), Vec::<String>::new());
        let mut draft = Draft::create(&target, false).unwrap();
        draft.write(b"right").unwrap();
        draft.flush().unwrap();
        draft.publish(false).unwrap();
        assert_eq!(names(folder.path()), ["x.cfg"]);
        assert_eq!(fs::read(&target).unwrap(), b"right");
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&target).unwrap().permissions()) & 0o777,
            0o600
        );
    }

    #[test]
    fn what_came_meanwhile_stays_unless_it_is_to_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.cfg");
        for replace in [false, true] {
            let _ = fs::remove_file(&target);
            let mut draft = Draft::create(&target, replace).unwrap();
            draft.write(b"new").unwrap();
            fs::write(&target, b"old").unwrap();
            assert_eq!(draft.publish(replace).is_ok(), replace);
            assert_eq!(fs::read(&target).unwrap(), if replace { b"new" } else { b"old" });
            assert_eq!(names(folder.path()), ["x.cfg"]);
        }
        assert_eq!(Draft::create(&target, false).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(Draft::create(folder.path(), true).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }

    #[cfg(unix)]
    #[test]
    fn of_a_link_the_link_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (target, other) = (folder.path().join("x.cfg"), folder.path().join("other"));
        fs::write(&other, b"theirs").unwrap();
        for to in [other.clone(), folder.path().join("nowhere")] {
            let _ = fs::remove_file(&target);
            std::os::unix::fs::symlink(&to, &target).unwrap();
            assert_eq!(Draft::create(&target, false).unwrap_err().kind(), ErrorKind::AlreadyExists);
            let mut draft = Draft::create(&target, true).unwrap();
            draft.write(b"new").unwrap();
            draft.publish(true).unwrap();
            assert!(!target.symlink_metadata().unwrap().is_symlink());
        }
        assert_eq!(fs::read(&other).unwrap(), b"theirs");
        assert!(!folder.path().join("nowhere").exists());
    }
}
