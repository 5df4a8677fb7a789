//! The catalog's file and the folder beside it: where they are, who may read them, what they look like.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use devicevault_core::{Error, ErrorKind, Result};

use crate::regular;

/// "DVct": what the catalog's file calls itself (SQLite's `application_id`, shown by file(1)).
pub(super) const APPLICATION_ID: i64 = 0x4456_6374;

/// The catalog's file, and what stands beside it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The file itself, by its one true name: the lock files beside it have to be the same for everybody.
    pub(super) catalog: PathBuf,
}

impl Place {
    /// Finds the file, through links; with `create`, makes the folders above it.
    pub(super) fn find(path: &Path, create: bool, operation: &'static str) -> Result<Self> {
        let told = |e| at_path(operation, path, e);
        match fs::canonicalize(path) {
            Ok(catalog) if catalog.is_dir() => {
                let e = Error::new(ErrorKind::Config, operation, "this is a folder; the catalog is a file in one");
                Err(e.with("catalog", path.display()))
            }
            Ok(catalog) => Ok(Self { catalog }),
            Err(e) if e.kind() == io::ErrorKind::NotFound && create => {
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                private_folder(folder).map_err(told)?;
                let no_name = || Error::new(ErrorKind::Config, operation, "the path names no file");
                let name = path.file_name().ok_or_else(|| no_name().with("catalog", path.display()))?;
                Ok(Self { catalog: fs::canonicalize(folder).map_err(told)?.join(name) })
            }
            Err(e) => Err(told(e)),
        }
    }

    /// The folder beside it: lock files, and the copies made before migrations.
    pub(super) fn folder(&self) -> PathBuf {
        self.beside(".d")
    }

    pub(super) fn instances(&self) -> PathBuf {
        self.folder().join("instances")
    }

    pub(super) fn copies(&self) -> PathBuf {
        self.folder().join("copies")
    }

    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.catalog.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

/// An error of the file system, in words.
pub(super) fn at_path(operation: &'static str, path: &Path, e: io::Error) -> Error {
    let (kind, message) = match e.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, "there is no catalog"),
        io::ErrorKind::PermissionDenied => {
            (ErrorKind::PermissionDenied, "the catalog's file or its folder cannot be read and written")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::PermissionDenied, "the file system of the catalog is mounted read-only")
        }
        io::ErrorKind::StorageFull => (ErrorKind::StorageFull, "there is no space left for the catalog"),
        io::ErrorKind::QuotaExceeded => (ErrorKind::QuotaExceeded, "there is no space left for the catalog"),
        _ => (ErrorKind::Unavailable, "the catalog's file or its folder cannot be used"),
    };
    let hint = match kind {
        ErrorKind::PermissionDenied if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            "mount it for writing, or copy the home to another disk: reading locks the catalog, too. What is stored can be \
             read without a catalog"
        }
        ErrorKind::NotFound => "create one, or check the path",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space on the file system of the catalog",
        _ => "let the user of this program own the file and its folder",
    };
    Error::new(kind, operation, message).with("catalog", path.display()).hint(hint).because(e)
}

/// Makes a folder, and those above it, for the owner alone; one that is there is left as it is.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes an empty file for the owner alone; one that is there is an error.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Opens a lock file, making it where it is not there.
pub(super) fn lock_file(path: &Path) -> io::Result<File> {
    match create_private(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            regular::open_with(OpenOptions::new().read(true).write(true), path)
        }
        made => made,
    }
}

/// Makes a rename or a new file durable. Windows does that by itself, and cannot open a folder.
pub(super) fn flush_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Whether others than the owner may read or write.
pub(super) fn is_private(path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    return Ok(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path)?.permissions()) & 0o077 == 0);
    #[cfg(not(unix))]
    fs::metadata(path).map(|_| true)
}

/// The smallest page of SQLite, and so its smallest file.
const SMALLEST: u64 = 512;

/// Refuses an empty file, which SQLite takes for a new database, and one that is almost empty.
///
/// This looks at the file's name alone. Nothing here opens the catalog's file: closing it again would let go of the
/// locks that SQLite holds on it for this process (<https://www.sqlite.org/howtocorrupt.html>, 2.2).
pub(super) fn refuse_empty(place: &Place, operation: &'static str) -> Result<()> {
    for path in ["", "-wal", "-shm", "-journal"].map(|suffix| place.beside(suffix)) {
        regular::check(&path).map_err(|e| at_path(operation, &path, e))?;
    }
    let path = &place.catalog;
    let message = match fs::metadata(path).map_err(|e| at_path(operation, path, e))?.len() {
        0 => "the file is empty; a catalog never is",
        len if len < SMALLEST => "the file is not an SQLite database",
        _ => return Ok(()),
    };
    let e = Error::new(ErrorKind::Corrupt, operation, message).with("catalog", path.display());
    Err(e.hint("check the path, restore the catalog from a copy, or rebuild it from the destinations"))
}
