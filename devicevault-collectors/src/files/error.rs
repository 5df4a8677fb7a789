//! The house's errors for those of file transfers.

use std::sync::Arc;

use devicevault_core::{Error, ErrorKind};
use devicevault_ssh::{ScpError, SftpError, SshError};

use crate::transport::core_error;

/// Where a fault leaves the conversation.
#[derive(Debug)]
pub(super) enum Fault {
    /// This file failed; others may be had.
    File(Error),
    /// There is no more to be had from this connection.
    Session(Error),
    /// Whoever takes the bytes wants no more.
    Sink(Error),
}

const FETCH: &str = "fetch file";

impl Fault {
    /// Of a file, by SFTP.
    pub(super) fn of_sftp(e: SftpError, place: &str) -> Self {
        let over = e.ends_session();
        let error = sftp_error(e).with("file", place.escape_debug());
        if over { Self::Session(error) } else { Self::File(error) }
    }

    /// Of a file, by SCP, where each has a channel of its own.
    pub(super) fn of_scp(e: ScpError, place: &str) -> Self {
        let over = matches!(&e, ScpError::Ssh(e) if matches!(**e, SshError::Closed { .. }));
        let error = scp_error(e).with("file", place.escape_debug());
        if over { Self::Session(error) } else { Self::File(error) }
    }

    pub(super) fn too_large(place: &str, bytes: Option<u64>, most: u64) -> Self {
        let size = bytes.map_or("it is larger".to_owned(), |b| format!("it has {b} bytes, more"));
        Self::File(
            Error::new(ErrorKind::TooLarge, FETCH, format!("{size} than the {most} that are allowed"))
                .with("file", place.escape_debug())
                .hint("raise max_size of this file"),
        )
    }
}

/// The house's error for one of SFTP.
pub(super) fn sftp_error(e: SftpError) -> Error {
    let of = |kind| Error::new(kind, FETCH, e.to_string());
    match &e {
        SftpError::NotFound { .. } => of(ErrorKind::NotFound),
        SftpError::PermissionDenied { .. } => {
            of(ErrorKind::PermissionDenied).hint("let this login read the file, or use another one")
        }
        SftpError::NotAFile { .. } => of(ErrorKind::Config).hint("name a file, or a pattern such as FOLDER/*"),
        SftpError::Unsupported { .. } => of(ErrorKind::Unsupported),
        SftpError::Refused { .. } => of(ErrorKind::Refused),
        SftpError::Incomplete { .. } => of(ErrorKind::Incomplete),
        SftpError::TooMany { .. } => of(ErrorKind::TooLarge).hint("use a narrower pattern"),
        SftpError::Pattern { .. } => of(ErrorKind::Config),
        SftpError::Lost { .. } => of(ErrorKind::Incomplete),
        SftpError::Ssh(e) if matches!(**e, SshError::Refused { what: "SFTP" }) => {
            of(ErrorKind::Unsupported).hint("the collector scp needs no SFTP")
        }
        SftpError::Ssh(e) => ssh_error(e.clone()),
        _ => of(ErrorKind::Unsupported).hint("the collector scp needs no SFTP"),
    }
}

fn scp_error(e: ScpError) -> Error {
    let of = |kind| Error::new(kind, FETCH, e.to_string());
    match &e {
        ScpError::NotFound { .. } => of(ErrorKind::NotFound),
        ScpError::PermissionDenied { .. } => {
            of(ErrorKind::PermissionDenied).hint("let this login read the file, or use another one")
        }
        ScpError::NotAFile { .. } | ScpError::Path { .. } => of(ErrorKind::Config).hint("name a file"),
        ScpError::Refused { .. } => of(ErrorKind::Refused),
        ScpError::Incomplete { .. } => of(ErrorKind::Incomplete),
        ScpError::Ssh(e) => ssh_error(e.clone()),
        _ => of(ErrorKind::Unsupported).hint("see whether SCP is enabled on the device, or use the collector sftp"),
    }
}

fn ssh_error(e: Arc<SshError>) -> Error {
    let text = e.to_string();
    match Arc::try_unwrap(e) {
        Ok(e) => core_error(e),
        // Somebody else was told of it too.
        Err(_) => Error::new(ErrorKind::Incomplete, FETCH, text),
    }
}
