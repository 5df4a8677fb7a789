//! What errors of SSH and SFTP mean to a person whose backups are to go there.

use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Retry};
use devicevault_ssh::{HostKeyFault, SftpError, SshError};

/// The house's error for one of SFTP.
pub(super) fn of_sftp(operation: &'static str, e: SftpError) -> Error {
    let make = |kind, message: String| Error::new(kind, operation, message);
    match e {
        SftpError::NotFound { path } => make(ErrorKind::NotFound, "it is not there".to_owned()).with("path", path),
        SftpError::PermissionDenied { path } => {
            make(ErrorKind::PermissionDenied, "the server denies access".to_owned())
                .with("path", path)
                .hint("give the folder to the user that logs in there")
        }
        SftpError::NotAFile { path, what } => {
            make(ErrorKind::Conflict, format!("it is not a file but {what}")).with("path", path)
        }
        SftpError::Unsupported { what } => make(ErrorKind::Unsupported, format!("the server does not offer {what}")),
        SftpError::Refused { path, code, said, .. } => {
            let said = if said.is_empty() { "Failure".to_owned() } else { said };
            make(ErrorKind::Unavailable, format!("the server refused: {said} (status {code})")).with("path", path)
        }
        SftpError::Incomplete { path, why } => {
            make(ErrorKind::Incomplete, format!("the file did not come whole: {why}")).with("path", path)
        }
        SftpError::TooMany { path, most } => {
            make(ErrorKind::TooLarge, format!("the folder has more than {most} entries")).with("path", path)
        }
        SftpError::Lost { said } => {
            let said = said.map(|s| format!(" by the server: {s}")).unwrap_or_default();
            make(ErrorKind::Unavailable, format!("the connection was closed{said}"))
        }
        SftpError::Protocol { why } => make(ErrorKind::Unsupported, format!("the server does not speak SFTP: {why}"))
            .hint("check that the server's SFTP subsystem is on, and that nothing is printed at login"),
        SftpError::Ssh(e) => of_ssh(operation, &e),
        other => make(ErrorKind::Unavailable, other.to_string()),
    }
}

/// The house's error for one of SSH.
pub(super) fn of_ssh(operation: &'static str, e: &SshError) -> Error {
    let kind = match innermost(e) {
        SshError::Unreachable { .. } | SshError::NotForwarded { forbidden: false, .. } => ErrorKind::Unreachable,
        SshError::NotForwarded { .. } => ErrorKind::PermissionDenied,
        SshError::Timeout { .. } | SshError::PasswordUnanswered { .. } => ErrorKind::Timeout,
        SshError::AuthRejected { .. } | SshError::PasswordExpired { .. } => ErrorKind::AuthRejected,
        SshError::HostKeyRejected { .. } => ErrorKind::HostKeyRejected,
        SshError::Unsupported { .. } | SshError::Refused { .. } => ErrorKind::Unsupported,
        SshError::Closed { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Config,
    };
    let mut error = Error::new(kind, operation, e.to_string().replace("the device ", "the server "));
    if let SshError::Unreachable { source, .. } = innermost(e) {
        error = error.because(source.to_string());
    }
    match innermost(e) {
        SshError::Unsupported { profile: Some(profile), .. } => {
            error.hint(format!("set the option ssh_profile={profile} of this destination"))
        }
        SshError::Refused { what: "SFTP" } => error.hint("switch on the SFTP subsystem of the server's SSH service"),
        SshError::HostKeyRejected { fault: HostKeyFault::Unknown, .. } => error.hint(
            "compare the fingerprint with the server's own, then give it by the option host_key of this destination",
        ),
        _ => match e.hint_for("this destination's server") {
            Some(hint) => error.hint(hint.replace("the device", "the server")),
            None => error,
        },
    }
}

fn innermost(e: &SshError) -> &SshError {
    match e {
        SshError::AtHop { error, .. } | SshError::ByProxy { error, .. } | SshError::Shared { error } => {
            innermost(error)
        }
        other => other,
    }
}

/// No answer came in time.
pub(super) fn silent(operation: &'static str, after: Duration) -> Error {
    Error::new(ErrorKind::Timeout, operation, format!("the server did not answer within {} s", after.as_secs()))
}

/// The disk of the server is full, as far as its answers tell.
pub(super) fn disk_full(operation: &'static str) -> Error {
    Error::new(ErrorKind::StorageFull, operation, "the server's disk is full")
        .hint("free some space there, or move the destination")
        .retry_advice(Retry::After(Duration::from_secs(60)))
}
