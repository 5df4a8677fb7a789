//! Files that have to be regular ones: opened without waiting, and looked at before anything is read of them. A pipe in
//! the place of one would be waited for without end, whoever planted it there.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::path::Path;

/// What stands in the place of a file and is none.
#[derive(Debug)]
struct NoFile(&'static str);

impl fmt::Display for NoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is no file but {}", self.0)
    }
}

impl std::error::Error for NoFile {}

/// Opens a file to be read. Links are followed.
///
/// # Errors
/// What the system answers; for what is no regular file, one that [`is_no_file`] knows.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), path)
}

/// The same with options of one's own.
///
/// # Errors
/// As [`open`].
pub fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // It says nothing to a regular file.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    match options.open(path) {
        Ok(file) => refuse(file.metadata()?.file_type()).map(|()| file),
        // Of a socket, or a pipe that nobody reads, the system says less than its name does.
        Err(e) => Err(check(path).err().filter(is_no_file).unwrap_or(e)),
    }
}

/// What a file holds.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file.
///
/// # Errors
/// As [`open`]; `InvalidData` where it is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Refuses what is no regular file by its name: before somebody else opens it, who would wait. What is not there is left to
/// them.
///
/// # Errors
/// As [`open`].
pub fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) => refuse(there.file_type()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Whether a name is of what the program was handed open, `/dev/stdin` or `/dev/fd/3`: a pipe there is meant.
#[must_use]
pub fn is_handed_over(path: &Path) -> bool {
    ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|fd| path.starts_with(fd))
}

/// Whether an error says that something else has the place of a file.
#[must_use]
pub fn is_no_file(e: &io::Error) -> bool {
    e.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<NoFile>)
}

fn refuse(found: FileType) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, NoFile(named(found))))
}

#[cfg(unix)]
fn named(found: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    match () {
        () if found.is_dir() => "a folder",
        () if found.is_fifo() => "a pipe",
        () if found.is_socket() => "a socket",
        () => "a device",
    }
}

#[cfg(not(unix))]
fn named(found: FileType) -> &'static str {
    if found.is_dir() { "a folder" } else { "something else" }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_is_no_file_is_refused_at_once_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        std::os::unix::fs::symlink(path("pipe"), path("link")).unwrap();
        let _held = UnixListener::bind(path("socket")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        let all = [
            (path("pipe"), "a pipe"),
            (path("link"), "a pipe"),
            (path("socket"), "a socket"),
            (path("folder"), "a folder"),
            ("/dev/null".into(), "a device"),
        ];
        for (path, what) in &all {
            let write = open_with(OpenOptions::new().write(true), path).map(drop);
            for refused in [open(path).map(drop), check(path), read(path).map(drop), write] {
                let e = refused.unwrap_err();
                assert!(is_no_file(&e) && e.to_string().ends_with(what), "{}: {e}", path.display());
            }
        }
    }

    #[test]
    fn files_are_read_and_what_is_not_there_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!((read(&link).unwrap(), read_to_string(&file).unwrap()), (b"text".to_vec(), "text".to_owned()));
        check(&link).unwrap();
        let e = read(&file.join("beneath")).unwrap_err();
        assert!(!is_no_file(&e));
        assert_eq!(open(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        check(&folder.path().join("none")).unwrap();
    }
}
