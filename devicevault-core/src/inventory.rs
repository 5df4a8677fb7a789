//! What is to be backed up, where to and with which login: devices, destinations, credentials and policies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{DestinationId, Device, DeviceId, Error, ErrorKind, LoginRef, Result, Timestamp, View};

/// Which devices are meant. Fields narrow; an empty selector means all that are enabled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Selector {
    /// By name; a name that is not there is an error of the caller to report. Disabled devices are taken too.
    pub names: BTreeSet<String>,
    /// At this site.
    pub site: Option<String>,
    /// In this group.
    pub group: Option<String>,
    /// With every one of these tags.
    pub tags: BTreeSet<String>,
    /// Of this platform.
    pub platform: Option<String>,
    /// Disabled ones too.
    pub disabled: bool,
}

impl Selector {
    /// Whether a device is meant.
    #[must_use]
    pub fn matches(&self, d: &Device) -> bool {
        (self.names.is_empty() || self.names.contains(&d.name))
            && (d.enabled || self.disabled || !self.names.is_empty())
            && self.site.as_ref().is_none_or(|s| d.site.as_ref() == Some(s))
            && self.group.as_ref().is_none_or(|g| d.group.as_ref() == Some(g))
            && self.tags.iter().all(|t| d.tags.contains(t))
            && self.platform.as_ref().is_none_or(|p| d.platform == *p)
    }
}

/// A configured destination: what kind it is and how it is set, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DestinationConfig {
    /// Identity.
    pub id: DestinationId,
    /// What people call it.
    pub name: String,
    /// Key of the backend: `plain`, `git`, …
    pub kind: String,
    /// Which view it keeps.
    pub view: View,
    /// The backend's settings.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Whether runs store there.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// When it was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Who added it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

fn yes() -> bool {
    true
}

impl DestinationConfig {
    /// An enabled destination; its identity is its name.
    pub fn new(name: impl Into<String>, kind: impl Into<String>, view: View) -> Self {
        let name = name.into();
        Self {
            id: DestinationId(name.clone()),
            name,
            kind: kind.into(),
            view,
            options: BTreeMap::new(),
            enabled: true,
            created_at: None,
            created_by: None,
        }
    }

    /// Sets an option.
    #[must_use]
    pub fn with_option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }
}

/// A login under a name, shared by devices: by reference, or with its secrets sealed beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Credential {
    /// Unique.
    pub name: String,
    /// How to log in. A secret that is [`Stored`](crate::SecretRef::Stored) is in [`sealed`](Credential::sealed).
    #[serde(default)]
    pub login: LoginRef,
    /// The stored secrets, sealed by whoever put them: opaque to the catalog.
    #[serde(default, skip_serializing)]
    pub sealed: Option<Vec<u8>>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Sites whose devices it is for, unless they name another.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sites: BTreeSet<String>,
    /// Whether it is for devices for which nothing else is named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// When it was added.
    pub created_at: Timestamp,
    /// When its secrets last changed.
    pub rotated_at: Timestamp,
}

impl Credential {
    /// A credential without secrets of its own.
    pub fn new(name: impl Into<String>, login: LoginRef, now: Timestamp) -> Self {
        let (sites, default) = (BTreeSet::new(), false);
        Self {
            name: name.into(),
            login,
            sealed: None,
            description: None,
            sites,
            default,
            created_at: now,
            rotated_at: now,
        }
    }
}

/// Which devices go where, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Policy {
    /// Unique.
    pub name: String,
    /// Which devices.
    pub devices: Selector,
    /// Which artefacts; empty means all.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub artefacts: BTreeSet<String>,
    /// Where to, by name; empty means every enabled destination.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub destinations: BTreeSet<String>,
    /// The credential of devices that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Accept that no destination keeps what a restore takes.
    pub without_original: bool,
    /// Keys and values of one's own, kept with every backup.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Whether it is in force.
    pub enabled: bool,
    /// Settings of features beyond these, such as `retention.keep_last`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

impl Default for Policy {
    /// Without a name; all enabled devices, all artefacts, every destination; in force.
    fn default() -> Self {
        Self {
            name: String::new(),
            devices: Selector::default(),
            artefacts: BTreeSet::new(),
            destinations: BTreeSet::new(),
            credential: None,
            without_original: false,
            metadata: BTreeMap::new(),
            enabled: true,
            options: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// All enabled devices, all artefacts, every destination; in force.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

fn unsupported<T>(what: &'static str) -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "use inventory", format!("this inventory keeps no {what}")))
}

/// Devices, destinations, credentials and policies, as people configured them.
///
/// # Contract
/// Names are unique; storing under a name that another id holds is
/// [`AlreadyExists`](crate::ErrorKind::AlreadyExists). A credential or a policy has no identity but its name: what is
/// stored under a name that is there replaces it. Lists come by name. Each call is one durable transaction. An
/// inventory that has no credentials or policies leaves their methods as they are, all of a kind; whether a credential
/// is in use is not its business.
#[async_trait]
pub trait Inventory: Debug + Send + Sync {
    /// The devices that are meant, by name.
    async fn devices(&self, selector: &Selector) -> Result<Vec<Device>>;
    /// Adds or changes devices, all or none.
    async fn put_devices(&self, devices: &[Device]) -> Result<()>;
    /// Removes a device; its runs and backups stay. `false`: there was none.
    async fn remove_device(&self, id: &DeviceId) -> Result<bool>;
    /// The destinations, by name.
    async fn destinations(&self) -> Result<Vec<DestinationConfig>>;
    /// Adds or changes a destination.
    async fn put_destination(&self, destination: &DestinationConfig) -> Result<()>;
    /// Removes a destination; what it holds stays. `false`: there was none.
    async fn remove_destination(&self, id: &DestinationId) -> Result<bool>;
    /// The credentials, by name.
    async fn credentials(&self) -> Result<Vec<Credential>> {
        unsupported("credentials")
    }
    /// Adds or changes a credential.
    async fn put_credential(&self, _credential: &Credential) -> Result<()> {
        unsupported("credentials")
    }
    /// Removes a credential. `false`: there was none.
    async fn remove_credential(&self, _name: &str) -> Result<bool> {
        unsupported("credentials")
    }
    /// The policies, by name.
    async fn policies(&self) -> Result<Vec<Policy>> {
        unsupported("policies")
    }
    /// Adds or changes a policy.
    async fn put_policy(&self, _policy: &Policy) -> Result<()> {
        unsupported("policies")
    }
    /// Removes a policy. `false`: there was none.
    async fn remove_policy(&self, _name: &str) -> Result<bool> {
        unsupported("policies")
    }
}
