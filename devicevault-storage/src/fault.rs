//! What errors of file systems and object stores mean to a person.

mod answer;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Retry};

use answer::Answer;

/// A symbolic link stood where a folder or a file should be; it was not followed.
#[derive(Debug)]
pub(crate) struct SymbolicLink;

impl fmt::Display for SymbolicLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("symbolic links are not followed beneath a destination")
    }
}

impl StdError for SymbolicLink {}

/// The error for a symbolic link.
pub(crate) fn symbolic_link() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, SymbolicLink)
}

/// Whether a symbolic link is what stood in the way.
pub(crate) fn is_symbolic_link(e: &Error) -> bool {
    let mut cause = e.source();
    while let Some(c) = cause {
        let inner = c.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if c.is::<SymbolicLink>() || inner.is_some_and(<dyn StdError + Send + Sync>::is::<SymbolicLink>) {
            return true;
        }
        cause = c.source();
    }
    false
}

/// Whether a disk said that it cannot give what it was asked for, or a file system that what is there makes no sense.
pub(crate) fn is_bad_medium(e: &Error) -> bool {
    // EIO, EBADMSG, EUCLEAN of Linux.
    const BAD: [i32; 3] = [5, 74, 117];
    let mut cause = e.source();
    while let Some(c) = cause {
        let code = c.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if code.is_some_and(|code| BAD.contains(&code)) {
            return true;
        }
        cause = c.source();
    }
    false
}

/// The error of a file operation on `path`, as a person and a retry need it.
pub(crate) fn of_io(operation: impl Into<Cow<'static, str>>, path: impl fmt::Display, e: io::Error) -> Error {
    let make = |kind, message: &str| Error::new(kind, operation, message).with("path", path);
    let link = e.get_ref().is_some_and(<dyn StdError + Send + Sync>::is::<SymbolicLink>);
    let error = match e.kind() {
        io::ErrorKind::StorageFull => make(ErrorKind::StorageFull, "the disk is full")
            .hint("free some space, or move the destination")
            .retry_advice(Retry::After(Duration::from_secs(60))),
        io::ErrorKind::QuotaExceeded => make(ErrorKind::QuotaExceeded, "the user's disk quota is used up")
            .hint("free some space, or have the quota raised")
            .retry_advice(Retry::After(Duration::from_secs(60))),
        io::ErrorKind::ReadOnlyFilesystem => make(ErrorKind::PermissionDenied, "the file system is mounted read-only")
            .hint("mount it for writing; a file system that became read-only by itself has met a disk error"),
        io::ErrorKind::PermissionDenied if link => {
            make(ErrorKind::PermissionDenied, "a symbolic link stands in the way")
                .hint("remove the link, or name the real folder as the destination")
        }
        io::ErrorKind::PermissionDenied => make(ErrorKind::PermissionDenied, "the permissions of the folder forbid it")
            .hint("give the folder to the user that runs this program"),
        io::ErrorKind::NotFound => make(ErrorKind::NotFound, "it is not there"),
        io::ErrorKind::AlreadyExists => make(ErrorKind::AlreadyExists, "it is there already"),
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            make(ErrorKind::Conflict, "a file stands where a folder should be, or a folder where a file should be")
                .hint("move it out of the way")
        }
        io::ErrorKind::CrossesDevices => make(ErrorKind::Config, "a part of the folder lies on another file system")
            .hint("mount other file systems above the destination's folder, not beneath it"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
            make(ErrorKind::Config, "the path cannot be one of this destination")
        }
        io::ErrorKind::UnexpectedEof => make(ErrorKind::Corrupt, "the file ends early"),
        _ => make(ErrorKind::Unavailable, "the file system answered with an error"),
    };
    error.because(e)
}

/// The error of an object store, as a person and a retry need it.
pub(crate) fn of_store(operation: &'static str, path: impl fmt::Display, e: object_store::Error) -> Error {
    use object_store::Error as E;
    if let Some(own) = own_cause(&e) {
        return own;
    }
    // Over a network, what an object that is not there means depends on where it was looked for.
    let is_condition = matches!(e, E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. });
    if let Some(answer) = Answer::of(&e)
        && (!is_condition || answer.is_archived() || answer.is_kept())
    {
        return answer.told(operation).with("path", path);
    }
    #[cfg(feature = "cloud")]
    if let Some(kind) = network_cause(&e) {
        tracing::debug!(operation, error = %e, "a request to a store had no answer");
        return of_network(operation, kind).with("path", path).because(innermost(&e));
    }
    if let Some(io) = io_cause(&e) {
        return of_io(operation, path, io);
    }
    let (kind, message) = match &e {
        E::NotFound { .. } => (ErrorKind::NotFound, "it is not there"),
        E::AlreadyExists { .. } => (ErrorKind::AlreadyExists, "it is there already"),
        E::Precondition { .. } | E::NotModified { .. } => (ErrorKind::Conflict, "somebody else changed it"),
        E::PermissionDenied { .. } => (ErrorKind::PermissionDenied, "the credentials do not allow it"),
        E::Unauthenticated { .. } => (ErrorKind::AuthRejected, "the credentials were not accepted"),
        E::NotSupported { .. } | E::NotImplemented { .. } => (ErrorKind::Unsupported, "the store cannot do that"),
        E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => (ErrorKind::Config, "the store refuses the path"),
        _ => (ErrorKind::Unavailable, "the store answered with an error"),
    };
    Error::new(kind, operation, message).with("path", path).because(e)
}

/// Whether a policy of the store is what refused a write, as another writer would.
pub(crate) fn is_kept(e: &object_store::Error) -> bool {
    Answer::of(e).is_some_and(|answer| answer.is_kept())
}

/// Whether two writers met and neither has won yet.
pub(crate) fn is_undecided(e: &object_store::Error) -> bool {
    Answer::of(e).is_some_and(|answer| answer.is_undecided())
}

/// How a request failed that had no answer.
#[cfg(feature = "cloud")]
fn network_cause(e: &object_store::Error) -> Option<object_store::client::HttpErrorKind> {
    let mut cause = e.source();
    while let Some(c) = cause {
        if let Some(http) = c.downcast_ref::<object_store::client::HttpError>() {
            return Some(http.kind());
        }
        cause = c.source();
    }
    None
}

/// What it came to: each error around it says the same once more.
#[cfg(feature = "cloud")]
fn innermost(e: &object_store::Error) -> String {
    let mut cause: &dyn StdError = e;
    while let Some(c) = cause.source() {
        cause = c;
    }
    cause.to_string()
}

#[cfg(feature = "cloud")]
fn of_network(operation: &'static str, kind: object_store::client::HttpErrorKind) -> Error {
    use object_store::client::HttpErrorKind as H;
    match kind {
        H::Connect => Error::new(ErrorKind::Unreachable, operation, "no connection to the store could be made")
            .hint("check URL and endpoint; for a certificate of an authority of your own, set ca_file"),
        H::Timeout => Error::new(ErrorKind::Timeout, operation, "the store was silent for too long")
            .hint("a slow line may need more time: the option timeout"),
        H::Request | H::Interrupted | H::Decode | H::Unknown | _ => {
            Error::new(ErrorKind::Unavailable, operation, "the connection to the store broke off")
        }
    }
}

/// An error of ours that came through the trait of stores: it says all.
fn own_cause(e: &object_store::Error) -> Option<Error> {
    let mut cause = e.source();
    while let Some(c) = cause {
        if let Some(own) = c.downcast_ref::<Error>() {
            return Some(own.clone());
        }
        cause = c.source();
    }
    None
}

/// The error of the operating system behind an error of a store, where there is one.
fn io_cause(e: &object_store::Error) -> Option<io::Error> {
    let mut cause = e.source();
    while let Some(c) = cause {
        if let Some(io) = c.downcast_ref::<io::Error>() {
            return Some(the_same(io));
        }
        cause = c.source();
    }
    None
}

/// The same error of the operating system once more.
pub(crate) fn the_same(e: &io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None if e.get_ref().is_some_and(<dyn StdError + Send + Sync>::is::<SymbolicLink>) => symbolic_link(),
        None => io::Error::new(e.kind(), e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_say_what_to_do() {
        // ENOSPC, EROFS, EACCES, EDQUOT of Linux.
        for (code, kind, word) in [
            (28, ErrorKind::StorageFull, "full"),
            (30, ErrorKind::PermissionDenied, "read-only"),
            (13, ErrorKind::PermissionDenied, "permissions"),
            (122, ErrorKind::QuotaExceeded, "quota"),
        ] {
            let source: Box<dyn StdError + Send + Sync> = Box::new(io::Error::from_raw_os_error(code));
            let e = of_store("write object", "a/b", object_store::Error::Generic { store: "folder", source });
            assert_eq!(e.kind(), kind);
            assert!(e.message().contains(word) && e.hint_text().is_some(), "{e:?}");
        }
        for link in [symbolic_link(), the_same(&symbolic_link())] {
            let e = of_io("read object", "x", link);
            assert_eq!((e.kind(), e.message()), (ErrorKind::PermissionDenied, "a symbolic link stands in the way"));
        }
    }
}
