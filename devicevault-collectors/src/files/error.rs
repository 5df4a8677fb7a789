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
        // Some devices have one channel in a connection, and say so at the second.
        let another =
            |e: &SshError| matches!(e, SshError::Closed { .. } | SshError::Refused { what: "a session channel" });
        let over = matches!(&e, ScpError::Ssh(e) if another(e));
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
    match e {
        SftpError::NotFound { .. } => of(ErrorKind::NotFound),
        SftpError::PermissionDenied { .. } => of(ErrorKind::PermissionDenied).hint(MAY_NOT),
        SftpError::NotAFile { .. } => of(ErrorKind::Config).hint("name a file, or a pattern such as FOLDER/*"),
        SftpError::Unsupported { .. } => of(ErrorKind::Unsupported),
        SftpError::Refused { .. } => of(ErrorKind::Refused),
        SftpError::Incomplete { .. } | SftpError::Lost { .. } => of(ErrorKind::Incomplete),
        SftpError::TooMany { .. } => of(ErrorKind::TooLarge).hint("use a narrower pattern"),
        SftpError::Pattern { .. } => of(ErrorKind::Config),
        SftpError::Ssh(e) => match *e {
            SshError::Refused { what: "SFTP" } => ssh_error(e).hint(NO_SFTP),
            _ => ssh_error(e),
        },
        _ => of(ErrorKind::Unsupported).hint(NO_SFTP),
    }
}

const MAY_NOT: &str = "let this login read the file, or use another one";
const NO_SFTP: &str = "see whether SFTP is enabled on the device, or use the collector scp";
const NO_SCP: &str = "see whether SCP is enabled on the device, or use the collector sftp";

fn scp_error(e: ScpError) -> Error {
    let of = |kind| Error::new(kind, FETCH, e.to_string());
    match e {
        ScpError::NotFound { .. } => of(ErrorKind::NotFound),
        ScpError::PermissionDenied { .. } => of(ErrorKind::PermissionDenied).hint(MAY_NOT),
        ScpError::NotAFile { .. } | ScpError::Path { .. } => of(ErrorKind::Config).hint("name a file"),
        ScpError::Refused { .. } => of(ErrorKind::Refused),
        ScpError::Incomplete { .. } => of(ErrorKind::Incomplete),
        ScpError::Ssh(e) => match *e {
            SshError::Refused { what: "to run scp" } => ssh_error(e).hint(NO_SCP),
            _ => ssh_error(e),
        },
        _ => of(ErrorKind::Unsupported).hint(NO_SCP),
    }
}

fn ssh_error(e: Arc<SshError>) -> Error {
    let text = e.to_string();
    // Nobody else was told of it; were it so, its text would do.
    Arc::try_unwrap(e).map_or_else(|_| Error::new(ErrorKind::Incomplete, FETCH, text), core_error)
}
