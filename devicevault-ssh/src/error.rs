//! What can go wrong between a socket and a channel.

use std::sync::Arc;
use std::time::Duration;

use crate::Profile;

/// Result with [`SshError`].
pub type Result<T, E = SshError> = std::result::Result<T, E>;

/// What was found below an error.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why there is no connection, or no longer one. No variant holds a secret; what the server sent is escaped.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SshError {
    /// No TCP connection, or no address for the name.
    #[error("no connection to {endpoint}")]
    Unreachable {
        /// `host:port`.
        endpoint: String,
        /// What the system says.
        #[source]
        source: Arc<std::io::Error>,
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
    /// The password is the right one, and another has to be set before anybody may log in by it.
    #[error("the password has to be changed first: {said}")]
    PasswordExpired {
        /// How the server asks for that.
        said: String,
    },
    /// The password was given, and the server said neither yes nor no. To give it again may be one refusal more.
    #[error("the device did not say within {} s whether it accepts the password", after.as_secs_f32())]
    PasswordUnanswered {
        /// How long the login took until then.
        after: Duration,
    },
    /// The server's key is not one to trust.
    #[error("{fault} (offered: {offered}{})", recorded_text(recorded))]
    HostKeyRejected {
        /// `host:port`, and `@host:port` for each jump host that leads there.
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
    /// A jump host did not open a connection to the next server.
    #[error("no connection to {to}: {reason}")]
    NotForwarded {
        /// `host:port` of the next server.
        to: String,
        /// What the jump host says.
        reason: String,
        /// Whether the jump host forbids it, rather than failed at it.
        forbidden: bool,
    },
    /// Something failed at a jump host on the way.
    #[error("jump host {hop}: {error}")]
    AtHop {
        /// `host:port` of the jump host.
        hop: String,
        /// What.
        error: Box<SshError>,
    },
    /// What another login at the same jump host came to: this one was not tried.
    #[error("{error} (this is what another login there came to, and it was not tried again)")]
    Shared {
        /// What.
        error: Box<SshError>,
    },
    /// A connection by a proxy command failed.
    #[error("{error}{}", proxy_says(program, said))]
    ByProxy {
        /// The command's first word.
        program: String,
        /// The last lines that it wrote to standard error.
        said: Option<String>,
        /// What failed.
        error: Box<SshError>,
    },
    /// The SSH agent cannot be asked.
    #[error("the SSH agent {message}")]
    Agent {
        /// Why.
        message: String,
        /// What was found below.
        #[source]
        source: Option<Cause>,
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
        source: Arc<std::io::Error>,
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
        source: Option<Cause>,
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
    /// Another key is recorded for this address, and none for it behind these jump hosts.
    #[error("the host key is not the one that is recorded for this address")]
    OfAddress,
    /// The pinned fingerprint is another one.
    #[error("the host key is not the pinned one")]
    NotPinned,
    /// The key is recorded as revoked.
    #[error("the host key is revoked")]
    Revoked,
    /// The server shows a certificate of a recorded authority that does not hold.
    #[error("the host certificate is not valid: {0}")]
    Certificate(&'static str),
}

impl SshError {
    /// What a person can do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.hint_for("this device")
    }

    /// The same about another server than a device: `this destination`.
    #[must_use]
    pub fn hint_for(&self, whom: &str) -> Option<String> {
        match self {
            Self::AtHop { error, .. } => error.hint_for("this jump host"),
            Self::ByProxy { error, .. } | Self::Shared { error } => error.hint_for(whom),
            Self::NotForwarded { forbidden: true, .. } => {
                Some("let the jump host's SSH server forward TCP connections for this login".to_owned())
            }
            Self::NotForwarded { .. } => Some("check the address as the jump host knows it".to_owned()),
            Self::Agent { .. } => Some("start the agent and add the key with ssh-add, or use a key file".to_owned()),
            Self::Unreachable { .. } => Some(format!("check address, port and that SSH is enabled on {whom}")),
            Self::AuthRejected { .. } => Some(format!("check user name and credential of {whom}")),
            Self::PasswordExpired { .. } => {
                Some(format!("log in by hand, set a new password, and update the credential of {whom}"))
            }
            Self::PasswordUnanswered { .. } => Some(format!(
                "check the credential of {whom}, and give its login more time where an AAA server behind it is slow"
            )),
            Self::HostKeyRejected { endpoint, fault, recorded_in, offered, .. } => Some(match fault {
                HostKeyFault::Unknown => {
                    format!("compare the fingerprint with the device's own, then record its key in {recorded_in}")
                }
                HostKeyFault::Changed => format!(
                    "somebody may be in between; if the device was replaced or its key renewed, forget the old one: `devicevault device host-key forget --address {endpoint}`, or remove its entry from {recorded_in}"
                ),
                HostKeyFault::OfAddress => format!(
                    "the recorded key may be of another device that has this address behind another jump host: back that one up first, or compare the fingerprint and pin it for {whom} (--host-key {offered}); if the device was replaced or its key renewed, forget the old one: `devicevault device host-key forget --address {}`",
                    endpoint.split('@').next().unwrap_or_default()
                ),
                HostKeyFault::NotPinned => {
                    "compare the fingerprint with the device's own, then pin the new one".to_owned()
                }
                HostKeyFault::Revoked => format!("{whom} needs a new host key"),
                HostKeyFault::Certificate(_) => {
                    format!("{whom} needs a certificate for the name that it is reached by")
                }
            }),
            Self::Unsupported { profile: Some(p), .. } => {
                Some(format!("set ssh.profile = \"{p}\" for {whom} (--ssh-profile {p})"))
            }
            Self::Unsupported { profile: None, .. } => {
                Some(format!("no profile has an algorithm in common with {whom}"))
            }
            _ => None,
        }
    }

    /// A setting that is not usable, told in one sentence.
    pub fn config(message: impl Into<String>) -> Self {
        Self::Config { message: message.into() }
    }

    pub(crate) fn closed(step: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Closed { step, said: None, source: Some(source.into().into()) }
    }

    /// Whether the server was answered, or answered, in a way that is the same the next time: by the credential or by the
    /// host key.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::AtHop { error, .. } | Self::ByProxy { error, .. } | Self::Shared { error } => error.is_refusal(),
            Self::AuthRejected { .. }
            | Self::PasswordExpired { .. }
            | Self::PasswordUnanswered { .. }
            | Self::HostKeyRejected { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn shared(self) -> Self {
        Self::Shared { error: Box::new(self) }
    }
}

fn proxy_says(program: &str, said: &Option<String>) -> String {
    said.as_ref().map(|s| format!("; the proxy command {program} says: {s}")).unwrap_or_default()
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
