//! Why a copy failed.

use std::sync::Arc;

use crate::SshError;
use crate::error::shown;

/// Why a copy by SCP failed. What the other side sent is escaped.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ScpError {
    /// There is no such file.
    #[error("there is no file {path}: {said}")]
    NotFound {
        /// The path that was asked for.
        path: String,
        /// The other side's own words.
        said: String,
    },
    /// The login may not do that.
    #[error("the device denies access to {path}: {said}")]
    PermissionDenied {
        /// The path that was asked for.
        path: String,
        /// The other side's own words.
        said: String,
    },
    /// It is a folder, or something else without content.
    #[error("{path} is not a file: {said}")]
    NotAFile {
        /// The path that was asked for.
        path: String,
        /// The other side's own words.
        said: String,
    },
    /// The other side refused for a reason of its own.
    #[error("the device refused {path}: {said}")]
    Refused {
        /// The path that was asked for.
        path: String,
        /// The other side's own words.
        said: String,
    },
    /// There is no SCP at the other side.
    #[error("the device runs no scp: {said}")]
    Unsupported {
        /// The other side's own words, or its exit status.
        said: String,
    },
    /// A path that cannot be asked for.
    #[error("{path}: {why}")]
    Path {
        /// As it was given, escaped.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Less came, or was written, than was announced; or the source told of a fault after the content.
    #[error("{path} did not come whole: {why}")]
    Incomplete {
        /// The path that was asked for.
        path: String,
        /// In what way.
        why: String,
    },
    /// The other side does not keep to the protocol.
    #[error("the device does not speak SCP: {why}{}", quoted(said))]
    Protocol {
        /// What it did.
        why: &'static str,
        /// The beginning of what it sent.
        said: String,
    },
    /// The connection broke, or the channel could not be opened.
    #[error(transparent)]
    Ssh(Arc<SshError>),
}

impl From<SshError> for ScpError {
    fn from(e: SshError) -> Self {
        Self::Ssh(Arc::new(e))
    }
}

impl ScpError {
    /// The error for a text by which the other side said no. There are no codes: the texts are those of C libraries
    /// and of what devices are known to say.
    pub(super) fn refusal(path: &str, text: &[u8]) -> Self {
        let said = shown(&String::from_utf8_lossy(text));
        let path = path.escape_debug().to_string();
        let low = said.to_ascii_lowercase();
        let any = |words: &[&str]| words.iter().any(|w| low.contains(w));
        if any(&["no such file", "not found", "does not exist", "doesn't exist"]) {
            Self::NotFound { path, said }
        } else if any(&["permission denied", "access denied", "not authorized", "privilege"]) {
            Self::PermissionDenied { path, said }
        } else if any(&["not a regular file", "is a directory", "not a plain file"]) {
            Self::NotAFile { path, said }
        } else {
            Self::Refused { path, said: if said.is_empty() { "it does not say why".to_owned() } else { said } }
        }
    }

    pub(super) fn incomplete(path: &str, why: impl Into<String>) -> Self {
        Self::Incomplete { path: path.escape_debug().to_string(), why: why.into() }
    }

    pub(super) fn protocol(why: &'static str, sent: &[u8]) -> Self {
        Self::Protocol { why, said: shown(&String::from_utf8_lossy(sent)) }
    }
}

fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ('{said}')") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart() {
        let of = |text: &str| ScpError::refusal("a", text.as_bytes());
        assert!(matches!(of("scp: a: No such file or directory"), ScpError::NotFound { .. }));
        assert!(matches!(of("scp: a: Permission denied"), ScpError::PermissionDenied { .. }));
        assert!(matches!(of("scp: a: not a regular file"), ScpError::NotAFile { .. }));
        assert!(matches!(of("%Error opening flash:a"), ScpError::Refused { .. }));
        assert!(of("").to_string().contains("does not say why"));
        assert!(!of("a\x1b[2J").to_string().contains('\x1b'));
    }
}
