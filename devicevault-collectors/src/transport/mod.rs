//! Transports: how bytes get to a device and back. They know nothing of prompts.

mod choice;
mod openssh;
mod recorded;
mod replay;
mod ssh;
mod tape;
mod telnet;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::{Note, Result, Target};

use crate::platform::Platform;

pub use choice::{Transport, Transports};
pub use openssh::{ASKPASS_VARIABLE, OpenSshDialer, OpenSshOptions, answer_from};
pub use recorded::RecordedDialer;
pub use replay::{Piece, Replay, ReplayDialer};
pub(crate) use ssh::core_error;
pub use ssh::{SshDialer, ssh_credentials};
pub use tape::{Moment, Tape, TapeDialer, Wire};
pub use telnet::{TELNET_PORT, TelnetDialer};

/// Reaches devices and logs in to them, as far as the protocol does that.
#[async_trait]
pub trait Dialer: Debug + Send + Sync {
    /// Opens a connection, keeping the bounds of the target.
    ///
    /// # Errors
    /// `Unreachable`, `Timeout`, `AuthRejected`, `HostKeyRejected`, `Unsupported`, `Unavailable`, `Config`.
    async fn dial(&self, target: &Target, platform: &Platform) -> Result<Box<dyn Link>>;
}

/// An open connection. Dropping it closes it.
#[async_trait]
pub trait Link: Debug + Send {
    /// Opens a terminal of this size.
    ///
    /// # Errors
    /// `Unsupported` when the device refuses.
    async fn shell(&mut self, columns: u32, rows: u32) -> Result<Box<dyn Terminal>>;

    /// Runs one command without a terminal.
    ///
    /// # Errors
    /// `Unsupported` when the device refuses, or the protocol knows nothing of the kind.
    async fn exec(&mut self, command: &str) -> Result<Box<dyn Running>>;

    /// What the device said of itself before the login.
    fn greeting(&self) -> Greeting {
        Greeting::default()
    }

    /// How long opening a channel may take to reach the device, where that is not done when the link is there.
    fn reach_time(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether the protocol has logged in. Otherwise the terminal asks for user name and password.
    fn is_logged_in(&self) -> bool {
        true
    }

    /// What is to be known of this connection in a run's log.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// Says good-bye, where the protocol does.
    async fn close(&mut self) {}
}

/// What a device says before and while it is logged in to, as far as the protocol tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Greeting {
    /// How its server names itself, such as `SSH-2.0-Cisco-1.25`.
    pub version: Option<String>,
    /// What it shows before the login.
    pub banner: Option<String>,
    /// The algorithms that were settled on, with what each is for.
    pub algorithms: Vec<(&'static str, String)>,
}

impl Greeting {
    /// With this version line.
    #[must_use]
    pub fn with_version(mut self, version: Option<String>) -> Self {
        self.version = version;
        self
    }

    /// With this banner.
    #[must_use]
    pub fn with_banner(mut self, banner: Option<String>) -> Self {
        self.banner = banner;
        self
    }
}

/// A terminal of a device.
#[async_trait]
pub trait Terminal: Debug + Send {
    /// The next bytes; `None` when the device closed the session. Cancel safe: a dropped future has taken nothing.
    ///
    /// # Errors
    /// `Incomplete` when the connection broke.
    async fn read(&mut self) -> Result<Option<Bytes>>;

    /// What has come already; `None` when that is nothing, also at the end.
    ///
    /// # Errors
    /// As [`read`](Terminal::read).
    fn read_now(&mut self) -> Result<Option<Bytes>>;

    /// Sends bytes.
    ///
    /// # Errors
    /// `Incomplete` when the connection broke.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// How many of the bytes so far came beside the session, as standard error.
    fn aside(&self) -> u64 {
        0
    }

    /// Whether a password was given beneath the terminal, and nobody knows yet whether it is accepted: to give it once more
    /// may be one refusal more.
    fn awaits_verdict(&self) -> bool {
        false
    }
}

/// A command that runs on a device.
#[async_trait]
pub trait Running: Debug + Send {
    /// The next bytes of its output; `None` when the device said that there is no more.
    ///
    /// # Errors
    /// `Incomplete` when the connection broke before that.
    async fn read(&mut self) -> Result<Option<Bytes>>;

    /// How it ended, once there is no more.
    fn end(&self) -> RunEnd;

    /// As of a [terminal](Terminal::awaits_verdict).
    fn awaits_verdict(&self) -> bool {
        false
    }
}

/// How a command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunEnd {
    /// Exit status, where the device told one.
    pub status: Option<u32>,
    /// Signal that ended it.
    pub signal: Option<String>,
    /// The beginning of what it wrote to standard error.
    pub errors: Vec<u8>,
}
