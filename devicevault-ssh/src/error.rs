//! What can go wrong between a socket and a channel.

use std::time::Duration;

use crate::Profile;

/// Result with [`SshError`].
pub type Result<T, E = SshError> = std::result::Result<T, E>;

/// Why there is no connection, or no longer one. No variant holds a secret; what the server sent is escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SshError {
    /// No TCP connection, or no address for the name.
    #[error("no connection to {endpoint}")]
    Unreachable {
        /// `host:port`.
        endpoint: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A step took longer than it may.
    #[error("{step}: no answer within {} s", after.as_secs_f32())]
    Timeout {
        /// What was being done.
        step: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The server did not accept what was offered. Each credential was offered once.
    #[error("{message}")]
    AuthRejected {
        /// What was tried and what the server says.
        message: String,
        /// The methods that the server goes on with.
        offered: Vec<String>,
    },
    /// The server's key is not one to trust.
    #[error("{fault} (offered: {offered}{})", recorded_text(recorded))]
    HostKeyRejected {
        /// `host:port`.
        endpoint: String,
        /// Why.
        fault: HostKeyFault,
        /// Fingerprints of the keys that are recorded or pinned for it.
        recorded: Vec<String>,
        /// Fingerprint of the key that the server offered.
        offered: String,
        /// Where keys are recorded.
        recorded_in: String,
    },
    /// Both sides speak SSH and share no algorithm.
    #[error("no common {what} (ours: {}; the server's: {})", ours.join(", "), theirs.join(", "))]
    Unsupported {
        /// Kind of algorithm: `key exchange`, `host key`, `cipher`, `MAC`, `compression`.
        what: &'static str,
        /// What this side offered.
        ours: Vec<String>,
        /// What the server offered.
        theirs: Vec<String>,
        /// The first profile that has an algorithm of every kind in common with the server.
        profile: Option<Profile>,
    },
    /// The server refused a request on an open connection.
    #[error("the server refused {what}")]
    Refused {
        /// Which: `a session channel`, `a shell`, `to run a command`.
        what: &'static str,
    },
    /// A setting or a key is not usable.
    #[error("{message}")]
    Config {
        /// Which, and why.
        message: String,
    },
    /// Recorded host keys cannot be read or written.
    #[error("the host keys in {place} cannot be {verb}")]
    HostKeyStore {
        /// The file or service.
        place: String,
        /// `read` or `written`.
        verb: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection ended.
    #[error("{step}: the connection was closed{}", says(said))]
    Closed {
        /// What was being done.
        step: &'static str,
        /// The server's parting words.
        said: Option<String>,
        /// What was found below.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// Why a host key is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostKeyFault {
    /// Strict checking, and nothing is recorded for this host.
    #[error("the host key is not known")]
    Unknown,
    /// Another key is recorded.
    #[error("the host key has changed")]
    Changed,
    /// The pinned fingerprint is another one.
    #[error("the host key is not the pinned one")]
    NotPinned,
    /// The key is recorded as revoked.
    #[error("the host key is revoked")]
    Revoked,
}

impl SshError {
    /// What a person can do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some("check address, port and that SSH is enabled on the device".to_owned()),
            Self::AuthRejected { .. } => Some("check user name and credential of this device".to_owned()),
            Self::HostKeyRejected { endpoint, fault, recorded_in, .. } => Some(match fault {
                HostKeyFault::Unknown => {
                    format!("compare the fingerprint with the device's own, then record its key in {recorded_in}")
                }
                HostKeyFault::Changed => format!(
                    "somebody may be in between; if the device was replaced or its key renewed, remove the entry of {endpoint} from {recorded_in}"
                ),
                HostKeyFault::NotPinned => {
                    "compare the fingerprint with the device's own, then pin the new one".to_owned()
                }
                HostKeyFault::Revoked => "the device needs a new host key".to_owned(),
            }),
            Self::Unsupported { profile: Some(p), .. } => Some(format!("set ssh.profile = \"{p}\" for this device")),
            Self::Unsupported { profile: None, .. } => {
                Some("no profile has an algorithm in common with this device".to_owned())
            }
            _ => None,
        }
    }

    /// A setting that is not usable, told in one sentence.
    pub fn config(message: impl Into<String>) -> Self {
        Self::Config { message: message.into() }
    }

    pub(crate) fn closed(step: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Closed { step, said: None, source: Some(source.into()) }
    }
}

fn recorded_text(recorded: &[String]) -> String {
    if recorded.is_empty() { String::new() } else { format!("; recorded: {}", recorded.join(", ")) }
}

fn says(said: &Option<String>) -> String {
    said.as_ref().map(|s| format!(" by the server: {s}")).unwrap_or_default()
}

/// Text of the server as people may see it: escaped, and not longer than a line or two.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let cut: String = text.trim().chars().take(MOST).collect();
    cut.escape_debug().to_string()
}
