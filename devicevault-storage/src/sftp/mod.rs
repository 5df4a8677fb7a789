//! A folder of an SSH server.
//!
//! [`SftpStore`] keeps the promises of [`remote`](crate::remote). OpenSSH's server offers all that they ask for: it
//! flushes (`fsync@openssh.com`), gives names by hard links, which fail where a name is taken
//! (`hardlink@openssh.com`), and replaces files in one step (`posix-rename@openssh.com`). Other servers offer less, and
//! [`Features`] tells what that means.
//!
//! One connection serves everything; many requests are in flight on it, so that a long way costs little. It is kept
//! alive, and replaced when it died. A login or a host key that was refused is not tried again.

mod fault;
mod link;
mod server;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use devicevault_ssh::{Credentials, Endpoint, HostKeyStore, Options, Route};

pub use server::SftpServer;

#[cfg(doc)]
use crate::remote::Features;
use crate::remote::RemoteStore;

/// A folder of an SSH server that keeps objects.
pub type SftpStore = RemoteStore<SftpServer>;

/// Where the folder is, and how to get there.
#[derive(Clone)]
#[non_exhaustive]
pub struct SftpOptions {
    /// The server.
    pub endpoint: Endpoint,
    /// Absolute (`/srv/backups`), or from the folder that the login begins in (`backups`).
    pub folder: String,
    /// User name and secrets.
    pub credentials: Credentials,
    /// Algorithms, host key policy, time limits of connecting.
    pub ssh: Options,
    /// Jump hosts.
    pub route: Route,
    /// Where host keys are recorded.
    pub host_keys: Arc<dyn HostKeyStore>,
    /// The user name, for people.
    pub username: String,
    /// Longest time without an answer.
    pub timeout: Duration,
}

impl SftpOptions {
    /// A folder of a server. Questions after half a minute of silence whether it is there, a minute for each answer, a
    /// window of 16 MiB, no jump host.
    #[must_use]
    pub fn new(
        endpoint: Endpoint,
        folder: impl Into<String>,
        username: impl Into<String>,
        host_keys: Arc<dyn HostKeyStore>,
    ) -> Self {
        let username = username.into();
        Self {
            endpoint,
            folder: folder.into(),
            credentials: Credentials::new(&username),
            ssh: Options::default().with_window(16 << 20).with_keepalive(Some(Duration::from_secs(30))),
            route: Route::direct(),
            host_keys,
            username,
            timeout: Duration::from_secs(60),
        }
    }

    /// Sets what the login is offered.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Changes how the connection is made.
    #[must_use]
    pub fn with_ssh(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        self.ssh = change(self.ssh);
        self
    }

    /// Sets the way to the server.
    #[must_use]
    pub fn with_route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// Sets the longest time without an answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl fmt::Debug for SftpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpOptions")
            .field("endpoint", &self.endpoint)
            .field("folder", &self.folder)
            .field("credentials", &self.credentials)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
