//! Which retention holds for a device at a destination.

use std::collections::HashMap;

use devicevault_core::inventory::{DestinationConfig, Policy, Selector};
use devicevault_core::retention::Retention;
use devicevault_core::{Device, DeviceId, ErrorKind, Result};

use crate::instance::Instance;

/// Where a retention comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Destination,
    Policies(Vec<String>),
    Default,
}

/// Everything that says how long something is kept.
///
/// What a destination says of itself counts; else what the policies in force say that send the device there, together;
/// else the default.
#[derive(Debug)]
pub(super) struct Rules {
    devices: HashMap<DeviceId, Device>,
    policies: Vec<(Policy, Option<Retention>)>,
}

impl Rules {
    /// Those of an instance.
    ///
    /// # Errors
    /// What the inventory answers; `Config` for a rule that cannot be read, with the policy's name.
    pub(super) async fn of(instance: &Instance) -> Result<Self> {
        let mut all = Selector::default();
        all.disabled = true;
        let devices = instance.inventory.devices(&all).await?.into_iter().map(|d| (d.id.clone(), d)).collect();
        let policies = match instance.inventory.policies().await {
            Err(e) if e.kind() == ErrorKind::Unsupported => Vec::new(),
            other => other?,
        };
        let mut read = Vec::new();
        for policy in policies.into_iter().filter(|p| p.enabled) {
            let wanted = Retention::from_options(&policy.options).map_err(|e| e.with("policy", &policy.name))?;
            read.push((policy, wanted));
        }
        Ok(Self { devices, policies: read })
    }

    /// What a destination says of itself.
    ///
    /// # Errors
    /// `Config`, with its name.
    pub(super) fn at(&self, destination: &DestinationConfig) -> Result<DestinationRules<'_>> {
        let own =
            Retention::from_options(&destination.options).map_err(|e| e.with("destination", &destination.name))?;
        Ok(DestinationRules { rules: self, name: destination.name.clone(), own })
    }
}

/// The rules of one destination.
#[derive(Debug)]
pub(super) struct DestinationRules<'a> {
    rules: &'a Rules,
    name: String,
    own: Option<Retention>,
}

impl DestinationRules<'_> {
    /// What holds for a device's artefact, and why.
    pub(super) fn of(&self, device: &DeviceId, artefact: &str) -> (Retention, Origin) {
        if let Some(own) = self.own {
            return (own, Origin::Destination);
        }
        let Some(device) = self.rules.devices.get(device) else { return (Retention::default(), Origin::Default) };
        let sends = |p: &&(Policy, Option<Retention>)| {
            let policy = &p.0;
            policy.devices.matches(device)
                && (policy.destinations.is_empty() || policy.destinations.contains(&self.name))
                && (policy.artefacts.is_empty() || policy.artefacts.contains(artefact))
        };
        let mut names = Vec::new();
        let mut all: Option<Retention> = None;
        for (policy, wanted) in self.rules.policies.iter().filter(sends) {
            // A policy that says nothing keeps what is kept by default.
            let wanted = wanted.unwrap_or_default();
            names.push(policy.name.clone());
            all = Some(all.map_or(wanted, |so_far| so_far.with_all_of(wanted)));
        }
        match all {
            Some(wanted) => (wanted, Origin::Policies(names)),
            None => (Retention::default(), Origin::Default),
        }
    }
}
