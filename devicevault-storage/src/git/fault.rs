//! What libgit2 and the file system say, as errors of ours.

use std::io;
use std::path::Path;

use devicevault_core::{Error, ErrorKind};
use git2::{ErrorClass, ErrorCode};

use crate::regular;

/// An error of libgit2 while doing `operation`.
pub(super) fn git(operation: &'static str, e: git2::Error) -> Error {
    let (kind, why) = match (e.code(), e.class()) {
        // Of any class: what a disk does not read is missing, or no configuration, to libgit2.
        _ if e.message().contains("Input/output error") => (ErrorKind::Unavailable, "the disk failed"),
        (ErrorCode::NotFound, _) => (ErrorKind::NotFound, "the repository does not hold it"),
        (ErrorCode::Locked, _) => (ErrorKind::Conflict, "another program holds a lock in the repository"),
        (ErrorCode::Owner, _) => (ErrorKind::PermissionDenied, "the repository belongs to another user"),
        (_, ErrorClass::Os | ErrorClass::Filesystem) => system_kind(e.message()),
        (_, ErrorClass::Config) => (ErrorKind::Config, "the configuration of Git cannot be read"),
        (ErrorCode::User, _) => (ErrorKind::Timeout, "the time for it is used up"),
        _ => (ErrorKind::Corrupt, "an object of the repository cannot be read"),
    };
    let error = Error::new(kind, operation, why);
    let error = match kind {
        ErrorKind::PermissionDenied => error.hint("give the folder to the user that DeviceVault runs as"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            error.hint("free some space, or move the repository to a larger disk")
        }
        _ => error,
    };
    error.because(e)
}

/// libgit2 hands the system's own text on, and nothing else that tells the causes apart.
fn system_kind(text: &str) -> (ErrorKind, &'static str) {
    if text.contains("No space left") {
        (ErrorKind::StorageFull, "the disk is full")
    } else if text.contains("quota exceeded") {
        (ErrorKind::QuotaExceeded, "the user's disk quota is used up")
    } else if text.contains("Permission denied") || text.contains("Read-only") {
        (ErrorKind::PermissionDenied, "the folder cannot be written")
    } else {
        (ErrorKind::Unavailable, "the file system refused")
    }
}

/// An error of the file system at `path` while doing `operation`.
pub(super) fn io(operation: &'static str, path: &Path, e: io::Error) -> Error {
    if regular::is_no_file(&e) {
        // In the words themselves: where many copies cannot be looked at, they are told without what is beside them.
        let why = format!("{}: {e}", path.display());
        return Error::new(ErrorKind::Conflict, operation, why).hint("see who put it there, and remove it");
    }
    let (kind, why) = match e.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, "a file or folder is not there"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::PermissionDenied, "the folder cannot be written")
        }
        io::ErrorKind::StorageFull => (ErrorKind::StorageFull, "the disk is full"),
        io::ErrorKind::QuotaExceeded => (ErrorKind::QuotaExceeded, "the user's disk quota is used up"),
        _ => (ErrorKind::Unavailable, "the file system refused"),
    };
    Error::new(kind, operation, why).with("path", path.display()).because(e)
}

/// The thread that did the work is gone.
pub(super) fn panicked(e: tokio::task::JoinError) -> Error {
    if e.is_cancelled() {
        return Error::new(ErrorKind::Cancelled, "use repository", "the runtime is shutting down").because(e);
    }
    Error::new(ErrorKind::Internal, "use repository", "the work ended in a panic").because(e)
}
