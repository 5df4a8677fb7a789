//! Devices, destinations, policies and credentials as files that can be kept in Git: written by `export`, read by `apply`.
//!
//! A file holds lists of tables named after what they are, `[[device]]`, `[[destination]]`, `[[policy]]`, `[[credential]]`,
//! in TOML, or the same in JSON. Secrets are not in them: logins name the place of a secret.

mod changes;
mod read;
mod write;

use devicevault_core::inventory::{Credential, DestinationConfig, Policy, Selector};
use devicevault_core::{Device, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Map;

use crate::instance::Instance;

pub(crate) use changes::{Action, Change, Plan};
pub(crate) use read::{Wanted, read};
pub(crate) use write::{Format, write};

/// What an inventory holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Definitions {
    pub(crate) credentials: Vec<Credential>,
    pub(crate) destinations: Vec<DestinationConfig>,
    pub(crate) devices: Vec<Device>,
    pub(crate) policies: Vec<Policy>,
}

impl Definitions {
    /// All that an instance has, by name.
    ///
    /// # Errors
    /// What the inventory answers.
    pub(crate) async fn of(instance: &Instance) -> Result<Self> {
        let mut all = Selector::default();
        all.disabled = true;
        let credentials = match instance.inventory.credentials().await {
            Err(e) if e.kind() == ErrorKind::Unsupported => Vec::new(),
            done => done?,
        };
        Ok(Self {
            credentials,
            destinations: instance.inventory.destinations().await?,
            devices: instance.inventory.devices(&all).await?,
            policies: instance.policies().await?,
        })
    }
}

/// Something that files define.
pub(crate) trait Defined: Clone + PartialEq + Serialize + DeserializeOwned {
    /// What its list is called in a file.
    const KIND: &'static str;
    /// What files leave out: the home's own record of it.
    const HIDDEN: &'static [&'static str];

    /// What it is called.
    fn name(&self) -> &str;

    /// Takes over from the one that is there what files leave out.
    fn keep(&mut self, _before: &Self) {}
}

impl Defined for Device {
    const KIND: &'static str = "device";
    const HIDDEN: &'static [&'static str] = &[];

    fn name(&self) -> &str {
        &self.name
    }
}

impl Defined for DestinationConfig {
    const KIND: &'static str = "destination";
    const HIDDEN: &'static [&'static str] = &["created_at", "created_by"];

    fn name(&self) -> &str {
        &self.name
    }

    fn keep(&mut self, before: &Self) {
        self.created_at = before.created_at;
        self.created_by.clone_from(&before.created_by);
    }
}

impl Defined for Policy {
    const KIND: &'static str = "policy";
    const HIDDEN: &'static [&'static str] = &[];

    fn name(&self) -> &str {
        &self.name
    }
}

impl Defined for Credential {
    const KIND: &'static str = "credential";
    const HIDDEN: &'static [&'static str] = &["created_at", "rotated_at", "sealed"];

    fn name(&self) -> &str {
        &self.name
    }

    fn keep(&mut self, before: &Self) {
        self.created_at = before.created_at;
        self.rotated_at = before.rotated_at;
        self.sealed.clone_from(&before.sealed);
    }
}

/// What a file says of it: its fields, but those that files leave out and those that say nothing.
fn fields<T: Defined>(value: &T) -> Map<String, serde_json::Value> {
    // Plain data always serialises, to an object.
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::to_value(value) else { return Map::new() };
    T::HIDDEN.iter().for_each(|name| drop(fields.remove(*name)));
    fields.retain(|_, v| !prune(v));
    fields
}

/// Takes out what says nothing; whether nothing is left.
fn prune(value: &mut serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(all) => all.is_empty(),
        serde_json::Value::Object(map) => {
            map.retain(|_, v| !prune(v));
            map.is_empty()
        }
        _ => false,
    }
}
