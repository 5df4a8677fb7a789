//! What is backed up: devices, and how to log in to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{DeviceId, Round, Turn};

/// One thing to back up: a router, a switch, a firewall, a small server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// Identity that outlives a change of name or address.
    pub id: DeviceId,
    /// What people call it; unique in an inventory. See [`check_device_name`](crate::check_device_name).
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port, where it is not the protocol's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Key of the collector that talks to it, such as `cli`.
    #[serde(default = "default_collector")]
    pub collector: String,
    /// Vendor operating system, such as `cisco_ios`.
    pub platform: String,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// What it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Free words to select by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// How to log in, by reference: never a secret itself.
    #[serde(default)]
    pub login: LoginRef,
    /// Jump hosts between here and the device, in the order in which they are passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jump: Vec<Hop>,
    /// Settings of the collector for this device, such as `ssh.profile`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Whether `--all` and schedules take it.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn default_collector() -> String {
    "cli".to_owned()
}

fn yes() -> bool {
    true
}

impl Device {
    /// A device with nothing but what it cannot do without; the rest is set on the fields.
    pub fn new(
        id: impl Into<DeviceId>,
        name: impl Into<String>,
        host: impl Into<String>,
        platform: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            host: host.into(),
            port: None,
            collector: default_collector(),
            platform: platform.into(),
            site: None,
            group: None,
            tags: BTreeSet::new(),
            login: LoginRef::default(),
            jump: Vec::new(),
            options: BTreeMap::new(),
            enabled: true,
        }
    }
}

/// A jump host: an SSH server that forwards a connection to the next one, or to the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Hop {
    /// Host name or address, as the hop before it knows it.
    pub host: String,
    /// Port, where it is not SSH's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How to log in. What names no secret and no credential falls back to the device's login; so does a user name
    /// that is not set.
    pub login: LoginRef,
    /// Settings of the connection to it, such as `ssh.profile` and `ssh.host_key`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

impl Hop {
    /// A jump host with nothing but its address.
    pub fn new(host: impl Into<String>, port: Option<u16>) -> Self {
        Self { host: host.into(), port, ..Self::default() }
    }
}

/// Where a secret is found when it is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SecretRef {
    /// An environment variable of this name.
    Env(String),
    /// The first line of this file.
    File(String),
    /// The first line that this command prints.
    Command(String),
    /// A secret in the catalog, of this name.
    Stored(String),
}

/// How to log in, without the secrets themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LoginRef {
    /// Name of a shared credential that fills what is not set here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// User name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// Private key (OpenSSH, PKCS#1, PKCS#8 or SEC1 text).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretRef>,
    /// Passphrase of the private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<SecretRef>,
    /// OpenSSH user certificate of the private key, or of a key that the agent holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SecretRef>,
    /// Whether the SSH agent's keys are offered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub agent: bool,
    /// Which of the agent's keys, by fingerprint (`SHA256:…`) or comment; empty means all of a few.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub agent_keys: BTreeSet<String>,
    /// User name that `enable` asks for, where it is not the login's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_username: Option<String>,
    /// Secret that `enable` asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable: Option<SecretRef>,
}

impl LoginRef {
    /// Whether anything is named that can be proved by: a secret, the agent, or a credential that may hold them.
    #[must_use]
    pub fn proves(&self) -> bool {
        self.credential.is_some() || self.password.is_some() || self.private_key.is_some() || self.agent
    }
}

/// How to log in, with the secrets: lives in memory for the length of a run, masked in `Debug`, not serialisable.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Login {
    /// User name.
    pub username: String,
    /// Password, also the answer to keyboard-interactive questions.
    pub password: Option<SecretString>,
    /// Private key as text.
    pub private_key: Option<SecretString>,
    /// Passphrase of the private key.
    pub passphrase: Option<SecretString>,
    /// OpenSSH user certificate as text.
    pub certificate: Option<SecretString>,
    /// The SSH agent to ask.
    pub agent: Option<AgentAccess>,
    /// User name that `enable` asks for, where it is not [`username`](Login::username).
    pub enable_username: Option<String>,
    /// Secret that `enable` asks for.
    pub enable: Option<SecretString>,
    /// How to log in to the jump hosts, in the order of [`Device::jump`].
    pub jump: Vec<Login>,
}

/// An SSH agent, and which of its keys may be offered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentAccess {
    /// Path of its socket.
    pub socket: PathBuf,
    /// Fingerprints or comments of keys; empty means all of a few.
    pub keys: BTreeSet<String>,
}

impl AgentAccess {
    /// The agent behind this socket, with the keys that are chosen.
    pub fn new(socket: impl Into<PathBuf>, keys: BTreeSet<String>) -> Self {
        Self { socket: socket.into(), keys }
    }
}

/// Bounds that a collector keeps while it talks to one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StepLimits {
    /// Longest time to a connection.
    pub connect: Duration,
    /// Longest time from the connection to the first prompt, authentication included.
    pub login: Duration,
    /// Longest silence while an answer is awaited.
    pub inactivity: Duration,
    /// Longest time for one command's whole answer.
    pub command: Duration,
}

impl Default for StepLimits {
    /// 15 s to connect, 30 s to log in, 30 s of silence, 10 minutes for an answer.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            login: Duration::from_secs(30),
            inactivity: Duration::from_secs(30),
            command: Duration::from_secs(600),
        }
    }
}

/// A device as a collector is given it: with its secrets and its bounds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Target {
    /// The device.
    pub device: Device,
    /// How to log in.
    pub login: Login,
    /// Bounds of the conversation.
    pub limits: StepLimits,
    /// What the collector tells of reaching the device.
    pub turn: Turn,
    /// Which conversations it is among.
    pub round: Round,
}

impl Target {
    /// A target with the default bounds, in a round of its own.
    #[must_use]
    pub fn new(device: Device, login: Login) -> Self {
        Self { device, login, limits: StepLimits::default(), turn: Turn::default(), round: Round::default() }
    }

    /// Sets the bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: StepLimits) -> Self {
        self.limits = limits;
        self
    }
}
