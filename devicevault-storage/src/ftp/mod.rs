//! A folder of an FTP server, over TLS or in clear text.
//!
//! [`FtpStore`] keeps the promises of [`remote`](crate::remote) as far as the protocol lets it, and says where it does
//! not:
//!
//! - Nothing can be flushed: what the server confirmed may be lost by a power cut there within the next seconds.
//! - No step gives a name only where it is free. Writers of this program make a lock at the server meanwhile, a folder
//!   in `.tmp/`; other programs should not write to the folder.
//! - A symbolic link is told from what it leads to only in listings.
//! - A name is for the owner alone where the server knows `SITE UMASK`.
//!
//! A control connection carries one transfer at a time, so that a few are kept; one that died is replaced. Where the
//! server knows them, `MLSD` and `MLST` (RFC 3659) tell what is there; elsewhere `LIST`, whose answer is read in the forms
//! of Unix and Windows. Certificates are checked.

mod fault;
mod listing;
mod looks;
mod pool;
mod server;
mod session;
mod tls;

use std::fmt;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};

pub use server::{FtpFile, FtpServer};

use crate::remote::RemoteStore;

/// A folder of an FTP server that keeps objects.
pub type FtpStore = RemoteStore<FtpServer>;

/// How a connection is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FtpSecurity {
    /// Not at all: the password goes over the network as it is.
    ClearText,
    /// TLS that is asked for on the usual port (`AUTH TLS`, RFC 4217).
    Explicit,
    /// TLS from the first byte, on a port of its own.
    Implicit,
}

impl FtpSecurity {
    /// The port of such servers: 21, or 990.
    #[must_use]
    pub fn port(self) -> u16 {
        if self == Self::Implicit { 990 } else { 21 }
    }
}

/// Where the folder is, and how to get there.
#[derive(Clone)]
#[non_exhaustive]
pub struct FtpOptions {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Absolute (`/srv/backups`), or from the folder that the login begins in (`backups`).
    pub folder: String,
    /// Name of the login.
    pub username: String,
    password: String,
    /// How connections are kept private.
    pub security: FtpSecurity,
    /// Certificates of authorities (PEM) that alone are trusted; those of the system unless set.
    pub authorities: Option<Vec<u8>>,
    /// How many connections there may be at a time.
    pub connections: usize,
    /// Longest time without an answer.
    pub timeout: Duration,
}

impl FtpOptions {
    /// A folder of a server: TLS on the usual port, up to four connections, a minute for each answer.
    #[must_use]
    pub fn new(host: impl Into<String>, folder: impl Into<String>, username: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: FtpSecurity::Explicit.port(),
            folder: folder.into(),
            username: username.into(),
            password: String::new(),
            security: FtpSecurity::Explicit,
            authorities: None,
            connections: 4,
            timeout: Duration::from_secs(60),
        }
    }

    /// Sets the port.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = password.into();
        self
    }

    /// Sets how connections are kept private.
    #[must_use]
    pub fn with_security(mut self, security: FtpSecurity) -> Self {
        self.security = security;
        self
    }

    /// Trusts certificates of these authorities alone (PEM).
    #[must_use]
    pub fn with_authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
        self
    }

    /// Sets how many connections there may be at a time; at least two are, since copying takes two.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(2);
        self
    }

    /// Sets the longest time without an answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether these can be used.
    ///
    /// # Errors
    /// `Config` for a name or password that a command of the protocol cannot hold.
    pub fn check(&self) -> Result<()> {
        let holds = |text: &str| !text.chars().any(char::is_control);
        if holds(&self.folder) && holds(&self.username) && holds(&self.password) {
            return Ok(());
        }
        let why = "a control character stands in the folder, the user name or the password";
        Err(Error::new(ErrorKind::Config, "open destination", why).hint("FTP has no way to say that"))
    }
}

impl fmt::Debug for FtpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FtpOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("folder", &self.folder)
            .field("username", &self.username)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}
