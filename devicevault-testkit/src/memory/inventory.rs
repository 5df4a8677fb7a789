//! Devices, destinations, credentials and policies in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use devicevault_core::inventory::{Credential, DestinationConfig, Policy, Selector};
use devicevault_core::{DestinationId, Device, DeviceId, Error, ErrorKind, Inventory, Result};

/// Keeps devices, destinations, credentials and policies in memory. Clones share what is kept.
#[derive(Debug, Clone, Default)]
pub struct MemoryInventory(Arc<Mutex<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    devices: BTreeMap<DeviceId, Device>,
    destinations: BTreeMap<DestinationId, DestinationConfig>,
    credentials: BTreeMap<String, Credential>,
    policies: BTreeMap<String, Policy>,
}

impl MemoryInventory {
    /// Nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn taken(what: &'static str, name: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, what, "another one has this name").with("name", name.escape_debug())
}

#[async_trait]
impl Inventory for MemoryInventory {
    async fn devices(&self, selector: &Selector) -> Result<Vec<Device>> {
        let mut found: Vec<_> = self.lists().devices.values().filter(|d| selector.matches(d)).cloned().collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn put_devices(&self, devices: &[Device]) -> Result<()> {
        let mut lists = self.lists();
        let mut after = lists.devices.clone();
        after.extend(devices.iter().map(|d| (d.id.clone(), d.clone())));
        let mut names = BTreeMap::new();
        for device in after.values() {
            if names.insert(&device.name, &device.id).is_some() {
                return Err(taken("store device", &device.name));
            }
        }
        lists.devices = after;
        Ok(())
    }

    async fn remove_device(&self, id: &DeviceId) -> Result<bool> {
        Ok(self.lists().devices.remove(id).is_some())
    }

    async fn destinations(&self) -> Result<Vec<DestinationConfig>> {
        let mut all: Vec<_> = self.lists().destinations.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    async fn put_destination(&self, destination: &DestinationConfig) -> Result<()> {
        let mut lists = self.lists();
        if lists.destinations.values().any(|d| d.name == destination.name && d.id != destination.id) {
            return Err(taken("store destination", &destination.name));
        }
        lists.destinations.insert(destination.id.clone(), destination.clone());
        Ok(())
    }

    async fn remove_destination(&self, id: &DestinationId) -> Result<bool> {
        Ok(self.lists().destinations.remove(id).is_some())
    }

    async fn credentials(&self) -> Result<Vec<Credential>> {
        Ok(self.lists().credentials.values().cloned().collect())
    }

    async fn put_credential(&self, credential: &Credential) -> Result<()> {
        self.lists().credentials.insert(credential.name.clone(), credential.clone());
        Ok(())
    }

    async fn remove_credential(&self, name: &str) -> Result<bool> {
        Ok(self.lists().credentials.remove(name).is_some())
    }

    async fn policies(&self) -> Result<Vec<Policy>> {
        Ok(self.lists().policies.values().cloned().collect())
    }

    async fn put_policy(&self, policy: &Policy) -> Result<()> {
        self.lists().policies.insert(policy.name.clone(), policy.clone());
        Ok(())
    }

    async fn remove_policy(&self, name: &str) -> Result<bool> {
        Ok(self.lists().policies.remove(name).is_some())
    }
}
