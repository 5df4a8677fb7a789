//! What is to be backed up and where to: devices, destinations and policies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{DestinationId, Device, DeviceId, Result, View};

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
}

fn yes() -> bool {
    true
}

impl DestinationConfig {
    /// An enabled destination; its identity is its name.
    pub fn new(name: impl Into<String>, kind: impl Into<String>, view: View) -> Self {
        let name = name.into();
        Self { id: DestinationId(name.clone()), name, kind: kind.into(), view, options: BTreeMap::new(), enabled: true }
    }

    /// Sets an option.
    #[must_use]
    pub fn with_option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }
}

/// Devices and destinations, as people configured them.
///
/// # Contract
/// Names are unique; storing under a name that another id holds is
/// [`AlreadyExists`](crate::ErrorKind::AlreadyExists). Lists come by name. Each call is one durable transaction.
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
}
