//! What can go wrong in the database, and what it is called outside.

use std::path::Path;

use devicevault_core::{Error, ErrorKind};

// Primary result codes (https://www.sqlite.org/rescode.html).
const SQLITE_PERM: i32 = 3;
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_READONLY: i32 = 8;
const SQLITE_IOERR: i32 = 10;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_TOOBIG: i32 = 18;
const SQLITE_CONSTRAINT: i32 = 19;
const SQLITE_MISMATCH: i32 = 20;
const SQLITE_AUTH: i32 = 23;
const SQLITE_RANGE: i32 = 25;
const SQLITE_NOTADB: i32 = 26;
const SQLITE_IOERR_SHMSIZE: i32 = SQLITE_IOERR | (19 << 8);

/// A fault inside the catalog: the database's, or one that was understood where it arose.
#[derive(Debug)]
pub(in crate::catalog) enum Fault {
    Sql(sqlx::Error),
    Told(Error),
}

impl From<sqlx::Error> for Fault {
    fn from(e: sqlx::Error) -> Self {
        Self::Sql(e)
    }
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        Self::Told(e)
    }
}

impl Fault {
    fn code(&self) -> Option<i32> {
        let Self::Sql(sqlx::Error::Database(e)) = self else { return None };
        e.code()?.parse().ok()
    }

    /// The database's result code without what extends it.
    fn primary(&self) -> Option<i32> {
        self.code().map(|code| code & 0xff)
    }

    /// Whether it concerns one statement alone, so that what stands beside it in the transaction is untouched.
    /// After any other fault SQLite may have rolled the whole transaction back.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Told(_) => true,
            Self::Sql(sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed) => false,
            Self::Sql(sqlx::Error::Database(_)) => {
                let local = [SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH, SQLITE_RANGE];
                self.primary().is_some_and(|code| local.contains(&code))
            }
            Self::Sql(_) => true,
        }
    }

    /// Tells a violated uniqueness in the words of who knows what was to be unique.
    pub(in crate::catalog) fn or_unique(self, told: impl FnOnce() -> Error) -> Self {
        match &self {
            Self::Sql(sqlx::Error::Database(e)) if e.is_unique_violation() => Self::Told(told()),
            _ => self,
        }
    }

    /// The error that a caller sees.
    pub(in crate::catalog) fn tell(self, operation: &'static str, catalog: &Path) -> Error {
        let (kind, message, hint) = match &self {
            Self::Told(e) => return e.clone().with("catalog", catalog.display()),
            Self::Sql(e) => words(self.code(), e),
        };
        let e = Error::new(kind, operation, message).with("catalog", catalog.display());
        let e = if hint.is_empty() { e } else { e.hint(hint) };
        match self {
            Self::Sql(sqlx::Error::Database(source)) => e.because(source.into_error()),
            Self::Sql(source) => e.because(source),
            Self::Told(told) => told,
        }
    }
}

fn words(code: Option<i32>, e: &sqlx::Error) -> (ErrorKind, &'static str, &'static str) {
    const SPACE: &str = "free some space on the file system of the catalog";
    const DAMAGED: &str = "check the path, restore the catalog from a copy, or rebuild it from the destinations";
    if code == Some(SQLITE_IOERR_SHMSIZE) {
        return (ErrorKind::StorageFull, "there is no space left for the catalog", SPACE);
    }
    match (code.map(|c| c & 0xff), e) {
        (Some(SQLITE_BUSY | SQLITE_LOCKED), _) => {
            (ErrorKind::Unavailable, "another process is writing the catalog", "try again")
        }
        (Some(SQLITE_FULL), _) => (ErrorKind::StorageFull, "there is no space left for the catalog", SPACE),
        // SQLite makes the one of the other.
        (Some(SQLITE_CORRUPT), _) => {
            (ErrorKind::Corrupt, "the catalog's file is damaged, or its disk does not read it", DAMAGED)
        }
        (Some(SQLITE_NOTADB), _) => (ErrorKind::Corrupt, "the file is not an SQLite database", DAMAGED),
        (Some(SQLITE_READONLY | SQLITE_PERM | SQLITE_AUTH), _) => (
            ErrorKind::PermissionDenied,
            "the catalog's file or its folder cannot be written",
            "let the user of this program own the file and its folder",
        ),
        (Some(SQLITE_CANTOPEN), _) => (
            ErrorKind::PermissionDenied,
            "the catalog's file cannot be opened",
            "let the user of this program own the file and its folder",
        ),
        (Some(SQLITE_IOERR), _) => {
            (ErrorKind::Unavailable, "the disk of the catalog failed", "look at the system's log")
        }
        (Some(SQLITE_TOOBIG), _) => (ErrorKind::TooLarge, "a record is larger than the catalog can hold", ""),
        (Some(SQLITE_CONSTRAINT), _) => (ErrorKind::Conflict, "a record contradicts what the catalog holds", ""),
        (_, sqlx::Error::PoolTimedOut) => {
            (ErrorKind::Unavailable, "the catalog is answering as many questions as it can", "try again")
        }
        (_, sqlx::Error::PoolClosed) => (ErrorKind::Unavailable, "the catalog was closed", ""),
        (_, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
            (ErrorKind::Corrupt, "a record in the catalog does not read back", DAMAGED)
        }
        _ => (ErrorKind::Internal, "the database refused a statement", ""),
    }
}
