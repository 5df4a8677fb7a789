//! Errors of servers as those of object stores.

use devicevault_core::{Error, ErrorKind};

use crate::fault::symbolic_link;

/// The error of the trait for one of ours; it is told by [`crate::fault::of_store`] again.
pub(super) fn store_error(kind: &'static str, path: &str, e: Error) -> object_store::Error {
    let path = path.to_owned();
    match e.kind() {
        ErrorKind::NotFound => object_store::Error::NotFound { path, source: e.into() },
        ErrorKind::AlreadyExists => object_store::Error::AlreadyExists { path, source: e.into() },
        ErrorKind::PermissionDenied => object_store::Error::PermissionDenied { path, source: e.into() },
        ErrorKind::AuthRejected | ErrorKind::HostKeyRejected => {
            object_store::Error::Unauthenticated { path, source: e.into() }
        }
        _ => object_store::Error::Generic { store: kind, source: e.into() },
    }
}

/// A symbolic link where a folder or a file should be.
pub(super) fn link_in_the_way(operation: &'static str, path: &str) -> Error {
    crate::fault::of_io(operation, path, symbolic_link())
}

/// A file where a folder should be, or the other way round.
pub(super) fn not_a_folder(operation: &'static str, path: &str) -> Error {
    crate::fault::of_io(operation, path, std::io::ErrorKind::NotADirectory.into())
}

pub(super) fn not_there(operation: &'static str, path: &str) -> Error {
    crate::fault::of_io(operation, path, std::io::ErrorKind::NotFound.into())
}

pub(super) fn there_already(operation: &'static str, path: &str) -> Error {
    crate::fault::of_io(operation, path, std::io::ErrorKind::AlreadyExists.into())
}
