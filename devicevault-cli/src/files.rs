//! The few files of an instance that are not the catalog's: private folders, and the instance key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use devicevault_core::text::InstanceKey;
use devicevault_core::{Error, ErrorKind, Result};
use devicevault_storage::regular;
use rand::TryRng as _;

/// Makes a folder that only its owner can enter, with those above it. One that is there stays as it is.
///
/// # Errors
/// It cannot be made, or something else has its name.
pub(crate) fn make_private_folder(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|e| failed(&e, "make folder", "it cannot be made", path))
}

/// Makes an empty file that only its owner can read. One that is there stays as it is.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make_private_file(path: &Path) -> Result<()> {
    match private().open(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed(&e, "make file", "it cannot be written", path))
        }
        _ => Ok(()),
    }
}

/// Whether others than its owner can read a file, as far as its permissions tell. Of what is no file, nothing is said.
pub(crate) fn is_open(path: &Path) -> bool {
    #[cfg(unix)]
    let is_open = |meta: &fs::Metadata| std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o077 != 0;
    #[cfg(not(unix))]
    let is_open = |_: &fs::Metadata| false;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && is_open(&meta))
}

/// Refuses the key of an instance that others can read.
///
/// # Errors
/// `KeyUnavailable`.
pub(crate) fn refuse_open_key(path: &Path) -> Result<()> {
    if !is_open(path) {
        return Ok(());
    }
    let why = "others than its owner can read it";
    Err(Error::new(ErrorKind::KeyUnavailable, "read instance key", why)
        .with("file", path.display())
        .hint("chmod 600; who has it can test guesses of what masks stand for, and read what waits in the spool"))
}

/// Reads the key of an instance.
///
/// # Errors
/// `KeyUnavailable`.
pub(crate) fn load_key(path: &Path) -> Result<InstanceKey> {
    let wrong = |why: &str| {
        Error::new(ErrorKind::KeyUnavailable, "read instance key", why)
            .with("file", path.display())
            .hint("put it back from your own backup of the home; where there is none, docs/guide/keys.md says how to begin anew")
    };
    let text = regular::read_to_string(path).map_err(|e| match regular::is_no_file(&e) {
        true => failed(&e, "read instance key", "it cannot be read", path),
        false => wrong("the file cannot be read").because(e),
    })?;
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|_| wrong("it is not 64 hexadecimal digits"))?;
    Ok(InstanceKey::new(key))
}

/// Reads the key of an instance, or makes one where there is none. Of two that make one at once, one wins and both
/// have its key: the file appears whole.
///
/// # Errors
/// The key cannot be read or written.
pub(crate) fn load_or_make_key(path: &Path) -> Result<InstanceKey> {
    if path.exists() {
        return load_key(path);
    }
    let cannot = |e: io::Error| failed(&e, "write instance key", "it cannot be written", path);
    let key = random_bytes()?;
    let draft = path.with_extension(format!("{}.tmp", uuid::Uuid::now_v7()));
    let mut file = private().open(&draft).map_err(cannot)?;
    let written = file
        .write_all(format!("{}\n", hex::encode(key)).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| publish(&draft, path));
    let _ = fs::remove_file(&draft);
    written.map_err(cannot)?;
    load_key(path)
}

/// Random bytes of the system.
///
/// # Errors
/// It gives none.
pub(crate) fn random_bytes() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|e| Error::new(ErrorKind::Internal, "make key", "the system gives no random bytes").because(e))?;
    Ok(bytes)
}

/// Gives a draft its name, unless somebody else was first.
fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        // A file system without links.
        Err(_) => fs::rename(draft, path)?,
    }
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Refuses to put a file in the place of what is none: a device, a pipe, a socket, or a link to one.
///
/// # Errors
/// `AlreadyExists`.
pub(crate) fn check_replaceable(path: &Path, operation: &'static str) -> Result<()> {
    match path.metadata() {
        Ok(there) if !there.is_file() => {
            let what = if there.is_dir() { "there is a folder of this name" } else { "what is there is no file" };
            Err(Error::new(ErrorKind::AlreadyExists, operation, what)
                .with("file", path.display())
                .hint("name a file, which is written anew and never into what is there"))
        }
        _ => Ok(()),
    }
}

/// A new file that only its owner can read.
///
/// # Errors
/// `AlreadyExists`, or it cannot be made.
pub(crate) fn create_private(path: &Path) -> Result<File> {
    private().open(path).map_err(|e| failed(&e, "make file", "it cannot be written", path))
}

/// A file that only its owner can read, to be written and read again, in this folder. It has no name, and is gone when
/// nobody holds it.
///
/// # Errors
/// It cannot be made.
pub(crate) fn create_nameless(folder: &Path) -> Result<File> {
    let path = folder.join(format!(".{}.tmp", uuid::Uuid::now_v7()));
    let made = private().read(true).open(&path).and_then(|file| fs::remove_file(&path).map(|()| file));
    made.map_err(|e| failed(&e, "make file", "it cannot be written", &path))
}

/// Writes a new file that only its owner can read, durably.
///
/// # Errors
/// `AlreadyExists`, or it cannot be written.
pub(crate) fn write_new_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = |e: io::Error| failed(&e, "write file", "it cannot be written", path);
    let mut file = create_private(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| sync_folder_of(path));
    written.map_err(|e| {
        // The error that is told is why there is no file.
        let _ = fs::remove_file(path);
        cannot(e)
    })
}

/// Puts a file that only its owner can read in place of whatever has its name, durably and in one step.
///
/// # Errors
/// It cannot be written.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension(format!("{}.tmp", uuid::Uuid::now_v7()));
    write_new_private(&draft, bytes)?;
    fs::rename(&draft, path).and_then(|()| sync_folder_of(path)).map_err(|e| {
        let _ = fs::remove_file(&draft);
        failed(&e, "write file", "it cannot be replaced", path)
    })
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The error for a path that the operating system refused.
pub(crate) fn failed(e: &io::Error, operation: &'static str, why: &str, path: &Path) -> Error {
    if regular::is_no_file(e) {
        return Error::new(ErrorKind::Conflict, operation, format!("{why}: {e}"))
            .with("path", path.display())
            .hint("see who put it there, and remove it");
    }
    let kind = match e.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        io::ErrorKind::StorageFull => ErrorKind::StorageFull,
        io::ErrorKind::QuotaExceeded => ErrorKind::QuotaExceeded,
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => ErrorKind::AlreadyExists,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, operation, why).with("path", path.display()).because(io::Error::new(e.kind(), e.to_string()))
}

/// The entries of a folder by name; none where it is not there.
///
/// # Errors
/// It cannot be read.
pub(crate) fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let read = match fs::read_dir(path) {
        Ok(read) => read,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(&e, "read folder", "it cannot be read", path)),
    };
    let mut all = Vec::new();
    for entry in read {
        all.push(entry.map_err(|e| failed(&e, "read folder", "it cannot be read", path))?.path());
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance.key");
        let made = load_or_make_key(&path).unwrap();
        assert_eq!(load_or_make_key(&path).unwrap(), made);
        assert_eq!(load_key(&path).unwrap(), made);
        assert_eq!(entries(dir.path()).unwrap(), std::slice::from_ref(&path));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn many_at_once_have_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance.key");
        let draft = dir.path().join("draft");
        let first = load_or_make_key(&path).unwrap();
        // Another process was slower: its draft does not take the place of the key.
        fs::write(&draft, "00".repeat(32)).unwrap();
        publish(&draft, &path).unwrap();
        assert_eq!(load_key(&path).unwrap(), first);
    }

    #[test]
    fn a_key_that_is_none_is_told_without_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance.key");
        fs::write(&path, "hunter2").unwrap();
        let e = load_key(&path).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::KeyUnavailable);
        assert!(!format!("{e:?}").contains("hunter2"));
    }
}
