//! Telnet, for what has nothing else: in clear text, logged in to by prompts.
//!
//! RFC 854 (protocol), 855 (options), 856 (binary), 857 (echo), 858 (suppress go ahead), 1073 (window size), 1091
//! (terminal type); negotiation as in RFC 1143.

mod codec;
mod protocol;
mod terminal;

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, Note, Result, Target};
use devicevault_ssh::{Endpoint, Tunnel};

use self::terminal::TelnetTerminal;
use super::ssh::{SshDialer, core_error};
use super::{Dialer, Link, Running, Terminal};
use crate::platform::Platform;

/// The port of Telnet (RFC 854).
pub const TELNET_PORT: u16 = 23;

/// Dials over Telnet; over jump hosts or by a proxy command where the device says so, which are reached over SSH.
#[derive(Debug, Clone)]
pub struct TelnetDialer {
    ssh: SshDialer,
}

impl TelnetDialer {
    /// Passes jump hosts as this one does.
    #[must_use]
    pub fn new(ssh: SshDialer) -> Self {
        Self { ssh }
    }
}

#[async_trait]
impl Dialer for TelnetDialer {
    async fn dial(&self, target: &Target, _: &Platform) -> Result<Box<dyn Link>> {
        let device = &target.device;
        let server = Endpoint::new(device.host.as_str(), device.port.unwrap_or(TELNET_PORT));
        let stream = self.ssh.open(target, &server).await.map_err(|e| core_error(e).with("address", &server))?;
        Ok(Box::new(TelnetLink { stream: Some(stream) }))
    }
}

#[derive(Debug)]
struct TelnetLink {
    stream: Option<Tunnel>,
}

#[async_trait]
impl Link for TelnetLink {
    async fn shell(&mut self, columns: u32, rows: u32) -> Result<Box<dyn Terminal>> {
        let once = || Error::new(ErrorKind::Unsupported, "open shell", "a Telnet connection is one terminal");
        let stream = self.stream.take().ok_or_else(once)?;
        Ok(Box::new(TelnetTerminal::new(stream, columns, rows)))
    }

    async fn exec(&mut self, _: &str) -> Result<Box<dyn Running>> {
        Err(Error::new(ErrorKind::Unsupported, "run command", "Telnet knows no commands without a terminal")
            .hint("this platform is asked without one: it needs SSH"))
    }

    fn is_logged_in(&self) -> bool {
        false
    }

    fn notes(&self) -> Vec<Note> {
        vec![Note::warning("Telnet: user name, password and all that was read went over the network in clear text")]
    }
}
