//! Why a file operation failed.

use bytes::Bytes;

use super::wire::{Malformed, Status};
use crate::SshError;
use crate::error::shown;

/// Why an SFTP operation failed. What the server sent is escaped.
///
/// `Ssh`, `Lost` and `Protocol` end the session: no later operation will succeed. After the others it goes on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SftpError {
    /// There is no such file or folder.
    #[error("there is no file {path}")]
    NotFound {
        /// The path that was asked for.
        path: String,
    },
    /// The login may not do that.
    #[error("the server denies access to {path}")]
    PermissionDenied {
        /// The path that was asked for.
        path: String,
    },
    /// It is a folder, a pipe or a device.
    #[error("{path} is not a file but {what}")]
    NotAFile {
        /// The path that was asked for.
        path: String,
        /// `a folder`, `a pipe, socket or device`.
        what: &'static str,
    },
    /// The server cannot do that.
    #[error("the server does not offer {what}")]
    Unsupported {
        /// An operation, or an extension by its name.
        what: &'static str,
    },
    /// The server refused for a reason of its own.
    #[error("the server refused {what} {path}: {}", reason(*code, said))]
    Refused {
        /// What was asked: `to open`, `to rename`, …
        what: &'static str,
        /// The path that was asked for.
        path: String,
        /// The protocol's status code.
        code: u32,
        /// The server's own words, escaped.
        said: String,
    },
    /// What came is not what was there: the file changed while it was read, or the server sent less than it said.
    #[error("{path} did not come whole: {why}")]
    Incomplete {
        /// The path that was asked for.
        path: String,
        /// In what way.
        why: String,
    },
    /// More entries than were asked for.
    #[error("{path} has more than {most} entries")]
    TooMany {
        /// Folder or pattern.
        path: String,
        /// The bound.
        most: usize,
    },
    /// A pattern that cannot be read.
    #[error("the pattern {pattern} cannot be read: {why}")]
    Pattern {
        /// As it was given, escaped.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The server does not keep to the protocol.
    #[error("the server does not speak SFTP: {why}")]
    Protocol {
        /// What it did.
        why: &'static str,
    },
    /// The session ended while an answer was awaited.
    #[error("the SFTP session was closed{}", said.as_ref().map(|s| format!(" by the server: {s}")).unwrap_or_default())]
    Lost {
        /// The server's parting words, escaped.
        said: Option<String>,
    },
    /// The session could not be opened.
    #[error(transparent)]
    Ssh(std::sync::Arc<SshError>),
}

impl From<SshError> for SftpError {
    fn from(e: SshError) -> Self {
        Self::Ssh(std::sync::Arc::new(e))
    }
}

impl From<Malformed> for SftpError {
    fn from(e: Malformed) -> Self {
        Self::Protocol { why: e.0 }
    }
}

impl SftpError {
    /// Whether the session is over.
    #[must_use]
    pub fn ends_session(&self) -> bool {
        matches!(self, Self::Ssh(_) | Self::Lost { .. } | Self::Protocol { .. })
    }

    pub(super) fn incomplete(path: &[u8], why: impl Into<String>) -> Self {
        Self::Incomplete { path: escaped(path), why: why.into() }
    }

    /// The error for a status that is not `OK`.
    pub(super) fn of(status: &Status, what: &'static str, path: &[u8]) -> Self {
        let path = escaped(path);
        match status.code {
            Status::NO_SUCH_FILE => Self::NotFound { path },
            Status::PERMISSION_DENIED => Self::PermissionDenied { path },
            Status::UNSUPPORTED => Self::Unsupported { what },
            code => Self::Refused { what, path, code, said: words(&status.said) },
        }
    }
}

/// A path as people may see it.
pub(super) fn escaped(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => path.escape_ascii().to_string(),
    }
}

fn words(said: &Bytes) -> String {
    shown(&String::from_utf8_lossy(said))
}

fn reason(code: u32, said: &str) -> String {
    if said.is_empty() { format!("status {code}") } else { format!("{said} (status {code})") }
}
