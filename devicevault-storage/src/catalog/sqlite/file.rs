//! The catalog's file and the folder beside it: where they are, who may read them, what they look like.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use devicevault_core::{Error, ErrorKind, Result};

/// "DVct": what the catalog's file calls itself (SQLite's `application_id`, shown by file(1)).
pub(super) const APPLICATION_ID: i64 = 0x4456_6374;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

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
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::PermissionDenied, "the catalog's file or its folder cannot be read and written")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::QuotaExceeded, "there is no space left for the catalog")
        }
        _ => (ErrorKind::Unavailable, "the catalog's file or its folder cannot be used"),
    };
    let hint = match kind {
        ErrorKind::NotFound => "create one, or check the path",
        ErrorKind::QuotaExceeded => "free some space on the file system of the catalog",
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
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => OpenOptions::new().read(true).write(true).open(path),
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

/// Refuses what is not a whole SQLite file, before SQLite touches it.
pub(super) fn inspect(place: &Place, operation: &'static str) -> Result<()> {
    let path = &place.catalog;
    let told = |e| at_path(operation, path, e);
    let mut head = Vec::new();
    let mut file = File::open(path).map_err(told)?;
    let len = file.metadata().map_err(told)?.len();
    file.by_ref().take(100).read_to_end(&mut head).map_err(told)?;
    let damaged = |message: &'static str| {
        let e = Error::new(ErrorKind::Corrupt, operation, message).with("catalog", path.display());
        Err(e.hint("check the path, restore the catalog from a copy, or rebuild it from the destinations"))
    };
    if head.is_empty() {
        return damaged("the file is empty; a catalog never is");
    }
    if !head.starts_with(MAGIC) {
        return damaged("the file is not an SQLite database");
    }
    let Some(header) = Header::read(&head) else { return damaged("the file ends within its first 100 bytes") };
    // What is in the write-ahead log may not have reached the file yet.
    let log = fs::metadata(place.beside("-wal")).map_or(0, |m| m.len());
    match header.length() {
        Some(whole) if log == 0 && len < whole => damaged("the file is shorter than it says: it was cut off"),
        _ => Ok(()),
    }
}

/// The fields of a database header (<https://www.sqlite.org/fileformat2.html#the_database_header>) that tell its length.
struct Header {
    page_size: u64,
    pages: u64,
    counts_match: bool,
}

impl Header {
    fn read(head: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let page_size = u16::from_be_bytes(head.get(16..18)?.try_into().ok()?);
        Some(Self {
            page_size: if page_size == 1 { 65536 } else { u64::from(page_size) },
            pages: u64::from(u32_at(28)?),
            counts_match: u32_at(24)? == u32_at(92)?,
        })
    }

    /// In bytes, where the header's page count is valid.
    fn length(&self) -> Option<u64> {
        (self.counts_match && self.pages > 0).then(|| self.page_size * self.pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_file_is_inspected_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), magic: bool) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("c.db");
            if magic {
                bytes.splice(0..0, MAGIC.iter().copied());
            }
            fs::write(&path, &bytes).unwrap();
            let found = inspect(&Place { catalog: path }, "open catalog");
            if !magic {
                prop_assert_eq!(found.unwrap_err().kind(), ErrorKind::Corrupt);
            }
        }
    }
}
