//! Which copies are meant.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use devicevault_core::catalog::Query;
use devicevault_core::inventory::{Policy, Selector};
use devicevault_core::run::{Backup, Copy};
use devicevault_core::{DestinationId, DeviceId, Error, ErrorKind, Result};

use crate::instance::Instance;
use crate::selection::SelectorArgs;

/// Options that narrow what is looked at.
#[derive(Debug, Args)]
pub(super) struct ScopeArgs {
    /// Only of this device; may be given several times
    #[arg(long = "device", value_name = "NAME")]
    pub(super) devices: Vec<String>,
    /// Of all devices; this is what happens without --device
    #[arg(long, conflicts_with = "devices")]
    all: bool,
    /// Only at this destination; may be given several times
    #[arg(long = "destination", value_name = "NAME")]
    destinations: Vec<String>,
    /// Only what this policy sends, where it sends it; may be given several times
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<String>,
    #[command(flatten)]
    selector: SelectorArgs,
}

/// What is looked at.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Empty: all.
    devices: BTreeSet<DeviceId>,
    /// Empty: all.
    destinations: BTreeSet<DestinationId>,
    /// What the policies send: a copy is meant by one of them. Empty: all.
    policies: Vec<OfPolicy>,
    /// Those that the home has: what a destination holds that was removed cannot be looked at.
    known: BTreeSet<DestinationId>,
}

#[derive(Debug)]
struct OfPolicy {
    devices: BTreeSet<DeviceId>,
    artefacts: BTreeSet<String>,
    destinations: BTreeSet<DestinationId>,
}

impl ScopeArgs {
    /// Whether everything is meant.
    pub(super) fn is_everything(&self) -> bool {
        self.devices.is_empty() && self.destinations.is_empty() && self.policies.is_empty() && !self.selects()
    }

    /// Whether more is asked for than a folder can tell.
    pub(super) fn needs_catalog(&self) -> bool {
        !self.destinations.is_empty() || !self.policies.is_empty() || self.selects()
    }

    fn selects(&self) -> bool {
        let s = &self.selector;
        s.site.is_some() || s.group.is_some() || s.platform.is_some() || !s.tags.is_empty()
    }

    /// What that is.
    ///
    /// # Errors
    /// `NotFound` for a name that nothing has, `Config` where no device is meant.
    pub(super) async fn scope(&self, instance: &Instance) -> Result<Scope> {
        let mut scope = Scope::default();
        let all = instance.inventory.devices(&everything()).await?;
        if self.selects() {
            let mut selector = self.selector.selector();
            selector.disabled = true;
            scope.devices = all.iter().filter(|d| selector.matches(d)).map(|d| d.id.clone()).collect();
            if scope.devices.is_empty() {
                return Err(nobody("no device fits"));
            }
        }
        if !self.devices.is_empty() {
            let mut named = BTreeSet::new();
            for name in &self.devices {
                named.insert(instance.device_id(name).await?);
            }
            if self.selects() {
                named.retain(|id| scope.devices.contains(id));
                if named.is_empty() {
                    return Err(nobody("no device that was named fits the other options"));
                }
            }
            scope.devices = named;
        }
        for name in &self.destinations {
            scope.destinations.insert(instance.destination(name).await?.id);
        }
        let places: BTreeMap<_, _> =
            instance.inventory.destinations().await?.into_iter().map(|d| (d.name, d.id)).collect();
        scope.known = places.values().cloned().collect();
        for name in &self.policies {
            let policy = instance.policy(name).await?;
            scope.policies.push(of_policy(&policy, &all, &places));
        }
        Ok(scope)
    }
}

fn nobody(why: &str) -> Error {
    Error::new(ErrorKind::Config, "verify backups", why).hint("`devicevault device list` shows all")
}

fn everything() -> Selector {
    let mut all = Selector::default();
    all.disabled = true;
    all
}

fn of_policy(
    policy: &Policy,
    devices: &[devicevault_core::Device],
    places: &BTreeMap<String, DestinationId>,
) -> OfPolicy {
    let named = |name: &&String| policy.destinations.is_empty() || policy.destinations.contains(*name);
    OfPolicy {
        devices: devices.iter().filter(|d| policy.devices.matches(d)).map(|d| d.id.clone()).collect(),
        artefacts: policy.artefacts.clone(),
        destinations: places.iter().filter(|(name, _)| named(name)).map(|(_, id)| id.clone()).collect(),
    }
}

impl Scope {
    /// What to ask the catalog for; what it finds is to be filtered by [`means`](Scope::means).
    pub(super) fn queries(&self) -> Vec<Query> {
        let mut query = Query::default();
        if self.destinations.len() == 1 {
            query.destination = self.destinations.first().cloned();
        }
        if self.devices.is_empty() {
            return vec![query];
        }
        let each = self.devices.iter().map(|device| {
            let mut query = query.clone();
            query.device = Some(device.clone());
            query
        });
        each.collect()
    }

    /// Whether a copy is at a destination that the home has no more.
    pub(super) fn is_elsewhere(&self, copy: &Copy) -> bool {
        !self.known.contains(&copy.destination)
    }

    /// Whether anything at a destination may be meant.
    pub(super) fn is_of(&self, destination: &DestinationId) -> bool {
        (self.destinations.is_empty() || self.destinations.contains(destination))
            && (self.policies.is_empty() || self.policies.iter().any(|p| p.destinations.contains(destination)))
    }

    /// Whether a copy is meant, wherever it is.
    pub(super) fn means(&self, backup: &Backup, copy: &Copy) -> bool {
        let sent = |p: &OfPolicy| {
            p.devices.contains(&backup.device)
                && p.destinations.contains(&copy.destination)
                && (p.artefacts.is_empty() || p.artefacts.contains(&backup.artefact))
        };
        (self.devices.is_empty() || self.devices.contains(&backup.device))
            && (self.destinations.is_empty() || self.destinations.contains(&copy.destination))
            && (self.policies.is_empty() || self.policies.iter().any(sent))
    }
}

/// The error for a narrowing that a folder cannot be asked for.
pub(super) fn only_in_a_home() -> Error {
    Error::new(ErrorKind::Config, "verify backups", "a folder of backups knows no destinations, policies and sites")
        .hint("narrow it by --device")
}
