//! What a simulated device is, before it runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::personality::{CiscoIos, Frr, JuniperJunos, Linux, MikrotikRouteros, Personality};
use super::quirk::Quirk;
use super::{PASSWORD, USERNAME};

/// Where a jump host leads to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Forwards {
    /// Wherever it is asked to.
    AsAsked,
    /// There, whatever it is asked for.
    To(SocketAddr),
}

/// A device that is to be simulated.
#[derive(Debug, Clone)]
#[must_use]
pub struct SimDevice {
    pub(super) name: String,
    pub(super) personality: Arc<dyn Personality>,
    pub(super) seed: u64,
    pub(super) size: usize,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) authorized_keys: Vec<String>,
    pub(super) enable: Option<String>,
    pub(super) greeting: Option<String>,
    pub(super) ssh_banner: Option<String>,
    pub(super) volatile: bool,
    pub(super) quirks: Vec<Quirk>,
    pub(super) answers: BTreeMap<String, Bytes>,
    pub(super) forwards: Option<Forwards>,
}

impl SimDevice {
    fn new(name: impl Into<String>, personality: impl Personality + 'static) -> Self {
        Self {
            name: name.into(),
            personality: Arc::new(personality),
            seed: 1,
            size: 4 * 1024,
            username: USERNAME.to_owned(),
            password: PASSWORD.to_owned(),
            authorized_keys: Vec::new(),
            enable: None,
            greeting: None,
            ssh_banner: None,
            volatile: false,
            quirks: Vec::new(),
            answers: BTreeMap::new(),
            forwards: None,
        }
    }

    /// A switch of Cisco IOS manners, in a shell and by `exec`.
    pub fn cisco_ios(name: impl Into<String>) -> Self {
        Self::new(name, CiscoIos)
    }

    /// A router of Junos manners, in a shell and by `exec`.
    pub fn juniper_junos(name: impl Into<String>) -> Self {
        Self::new(name, JuniperJunos)
    }

    /// A router of RouterOS manners, in a shell and by `exec`.
    pub fn mikrotik_routeros(name: impl Into<String>) -> Self {
        Self::new(name, MikrotikRouteros)
    }

    /// A router of FRRouting's manners, in a shell alone.
    pub fn frr(name: impl Into<String>) -> Self {
        Self::new(name, Frr)
    }

    /// A small Linux machine, in a shell and by `exec`.
    pub fn linux(name: impl Into<String>) -> Self {
        Self::new(name, Linux)
    }

    /// A device of the platform that platform files know by this name; `None` where there is no such simulation.
    #[must_use]
    pub fn of_platform(platform: &str, name: impl Into<String>) -> Option<Self> {
        let make = match platform {
            "cisco_ios" => Self::cisco_ios,
            "juniper_junos" => Self::juniper_junos,
            "mikrotik_routeros" => Self::mikrotik_routeros,
            "frr" => Self::frr,
            "linux" => Self::linux,
            _ => return None,
        };
        Some(make(name.into()))
    }

    /// The configuration has about so many bytes: not fewer, beyond a smallest one of a thousand or two.
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// Seed of the configuration. Two devices of one seed have different configurations all the same.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Who may log in, with which password.
    pub fn login(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.username = username.into();
        self.password = password.into();
        self
    }

    /// A public key that may log in, as a line of `authorized_keys`.
    pub fn authorized_key(mut self, openssh: impl Into<String>) -> Self {
        self.authorized_keys.push(openssh.into());
        self
    }

    /// A session begins without privileges, and `enable` asks for this.
    pub fn enable_secret(mut self, secret: impl Into<String>) -> Self {
        self.enable = Some(secret.into());
        self
    }

    /// What stands before the first prompt, in place of the platform's own greeting.
    pub fn greeting(mut self, text: impl Into<String>) -> Self {
        self.greeting = Some(text.into());
        self
    }

    /// What SSH shows before the login (RFC 4252, section 5.4). Clients need not take more than about 30 KB.
    pub fn ssh_banner(mut self, text: impl Into<String>) -> Self {
        self.ssh_banner = Some(text.into());
        self
    }

    /// Times, counters and the clock's drift move on between two answers, as on a real device.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Is a jump host, which connects those who logged in to wherever they ask for.
    pub fn forwarding(mut self) -> Self {
        self.forwards = Some(Forwards::AsAsked);
        self
    }

    /// Is a jump host of a network of its own, in which every address is this server's.
    pub fn forwarding_to(mut self, server: SocketAddr) -> Self {
        self.forwards = Some(Forwards::To(server));
        self
    }

    /// Misbehaves so, too.
    pub fn quirk(mut self, quirk: Quirk) -> Self {
        self.quirks.push(quirk);
        self
    }

    /// Answers this command with these bytes, lines ended by LF.
    pub fn answering(mut self, command: impl Into<String>, answer: impl Into<Bytes>) -> Self {
        self.answers.insert(command.into(), answer.into());
        self
    }
}
