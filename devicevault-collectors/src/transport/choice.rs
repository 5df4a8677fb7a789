//! Which transport a device is reached by.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use devicevault_core::{Device, Error, ErrorKind, Result, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::openssh::OpenSshDialer;
use super::ssh::SshDialer;
use super::telnet::TelnetDialer;
use super::{Dialer, Link};
use crate::options;
use crate::platform::Platform;

/// A way to reach a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Transport {
    /// SSH, by this program itself.
    #[default]
    Ssh,
    /// Telnet, in clear text.
    Telnet,
    /// SSH by the system's `ssh` program.
    OpenSsh,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ssh, Self::Telnet, Self::OpenSsh];

    /// Its name in options and platform files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Telnet => "telnet",
            Self::OpenSsh => "openssh",
        }
    }

    /// The transport of a device: what it says itself, else what its platform prefers, else SSH.
    ///
    /// # Errors
    /// `Config` for one that is not there.
    pub fn of(device: &Device, platform: &Platform) -> Result<Self> {
        match options::get(&device.options, options::TRANSPORT) {
            Some(name) => name.parse().map_err(|e: Error| e.with("device", &device.name)),
            None => Ok(platform.transport.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Transport {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = Self::ALL;
        all.into_iter().find(|t| t.as_str() == name).ok_or_else(|| {
            Error::new(ErrorKind::Config, "read device options", "there is no such transport")
                .with("transport", name.escape_debug())
                .hint(format!("it is {}", all.map(Self::as_str).join(", ")))
        })
    }
}

/// Dials by the transport that a device asks for.
#[derive(Debug, Clone)]
pub struct Transports {
    ssh: SshDialer,
    telnet: TelnetDialer,
    openssh: Option<OpenSshDialer>,
}

impl Transports {
    /// All transports, with jump hosts, host keys and profiles as this one has them.
    #[must_use]
    pub fn new(ssh: SshDialer) -> Self {
        Self { telnet: TelnetDialer::new(ssh.clone()), ssh, openssh: None }
    }

    /// And the system's `ssh`.
    #[must_use]
    pub fn with_openssh(mut self, openssh: OpenSshDialer) -> Self {
        self.openssh = Some(openssh);
        self
    }
}

#[async_trait]
impl Dialer for Transports {
    async fn dial(&self, target: &Target, platform: &Platform) -> Result<Box<dyn Link>> {
        match Transport::of(&target.device, platform)? {
            Transport::Ssh => self.ssh.dial(target, platform).await,
            Transport::Telnet => self.telnet.dial(target, platform).await,
            Transport::OpenSsh => match &self.openssh {
                Some(openssh) => openssh.dial(target, platform).await,
                None => Err(Error::new(ErrorKind::Config, "connect", "the transport openssh is not set up here")),
            },
        }
    }
}
