//! The settings of a policy as options, and the checks that every way to make one goes through.

use clap::Args;
use devicevault_core::inventory::{Credential, DestinationConfig, Policy, Selector};
use devicevault_core::{Device, Error, ErrorKind, Result, View, check_artefact_name};

use crate::artefacts::Artefacts;
use crate::commands::destination::{check_name, check_policy_options};
use crate::commands::device::fields::key_value;
use crate::context::Context;
use crate::instance::{Instance, no_such};
use crate::selection::SelectorArgs;

/// What can be set of a policy.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct PolicyArgs {
    /// This device; may be given several times
    #[arg(long = "device", value_name = "NAME", help_heading = "Which devices")]
    devices: Vec<String>,
    #[command(flatten)]
    selector: SelectorArgs,
    /// Only this artefact; may be given several times [default: all]
    #[arg(long = "artefact", value_name = "NAME", help_heading = "What and where to")]
    artefacts: Vec<String>,
    /// To this destination; may be given several times [default: all that are enabled]
    #[arg(long = "to", value_name = "DESTINATION", help_heading = "What and where to")]
    destinations: Vec<String>,
    /// The shared login of devices that name none
    #[arg(long, value_name = "CREDENTIAL", help_heading = "What and where to")]
    credential: Option<String>,
    /// A key and value of your own, kept with every backup; may be given several times
    #[arg(long = "metadata", value_name = "KEY=VALUE", value_parser = key_value, help_heading = "What and where to")]
    metadata: Vec<(String, String)>,
    /// A setting, such as retention.last=10 or file_rules.magic=gzip; may be given several times
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = key_value, help_heading = "What and where to")]
    options: Vec<(String, String)>,
    /// Accept that no destination keeps originals
    #[arg(long, help_heading = "What and where to")]
    without_original: bool,
}

impl PolicyArgs {
    /// Sets what was given; a list that was given takes the place of the one before.
    pub(super) fn apply(&self, p: &mut Policy) {
        let replace = |list: &[String], set: &mut std::collections::BTreeSet<String>| {
            if !list.is_empty() {
                *set = list.iter().cloned().collect();
            }
        };
        replace(&self.devices, &mut p.devices.names);
        replace(&self.selector.tags, &mut p.devices.tags);
        replace(&self.artefacts, &mut p.artefacts);
        replace(&self.destinations, &mut p.destinations);
        let given = |value: &Option<String>, field: &mut Option<String>| {
            if value.is_some() {
                field.clone_from(value);
            }
        };
        given(&self.selector.site, &mut p.devices.site);
        given(&self.selector.group, &mut p.devices.group);
        given(&self.selector.platform, &mut p.devices.platform);
        given(&self.credential, &mut p.credential);
        p.metadata.extend(self.metadata.iter().cloned());
        p.options.extend(self.options.iter().cloned());
        p.without_original |= self.without_original;
    }
}

/// What a policy may name.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) destinations: &'a [DestinationConfig],
    pub(crate) credentials: &'a [Credential],
    pub(crate) devices: &'a [Device],
}

/// Checks a policy against what there is.
///
/// # Errors
/// `Config` or `NotFound` that names what is wrong.
pub(crate) fn check(p: &Policy, known: &Known<'_>) -> Result<()> {
    checked(p, known).map_err(|e| e.with("policy", p.name.escape_debug()))
}

fn checked(p: &Policy, known: &Known<'_>) -> Result<()> {
    check_name("policy", &p.name)?;
    p.artefacts.iter().try_for_each(|a| check_artefact_name(a))?;
    check_policy_options(&p.options)?;
    check_destinations(p, known.destinations)?;
    let missing = |what: &str, name: &str, all: Vec<&str>| Err(no_such(what, name, all.into_iter()));
    if let Some(name) = &p.credential
        && !known.credentials.iter().any(|c| c.name == *name)
    {
        return missing("credential", name, known.credentials.iter().map(|c| c.name.as_str()).collect());
    }
    for name in &p.devices.names {
        if !known.devices.iter().any(|d| d.name == *name) {
            return missing("device", name, known.devices.iter().map(|d| d.name.as_str()).collect());
        }
    }
    let keeps = |d: &DestinationConfig| {
        d.enabled && d.view == View::Original && (p.destinations.is_empty() || p.destinations.contains(&d.name))
    };
    if p.without_original || !p.enabled || known.destinations.iter().any(keeps) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        "check policy",
        "none of its destinations keeps originals: nothing could be restored",
    )
    .hint("add a destination with the view original, or say that you accept this: --without-original"))
}

/// Checks that a policy's destinations are there.
///
/// # Errors
/// `NotFound` that names those that are alike.
pub(crate) fn check_destinations(p: &Policy, destinations: &[DestinationConfig]) -> Result<()> {
    match p.destinations.iter().find(|name| !destinations.iter().any(|d| d.name == **name)) {
        None => Ok(()),
        Some(name) => {
            let e = no_such("destination", name, destinations.iter().map(|d| d.name.as_str()));
            Err(e.with("policy", p.name.escape_debug()))
        }
    }
}

/// Checks that the checkers of a policy's file rules are there.
///
/// # Errors
/// `NotFound` that names those that are alike.
pub(crate) fn check_rules(instance: &Instance, p: &Policy) -> Result<()> {
    instance.check_file_rules("the policy", &p.options).map_err(|e| e.with("policy", p.name.escape_debug()))
}

/// Checks a policy against an instance. What cannot be known yet is told.
///
/// # Errors
/// As [`check`]; an artefact that none of its devices has; what the inventory answers.
pub(super) async fn check_here(context: &Context, instance: &Instance, p: &Policy) -> Result<()> {
    let mut all = Selector::default();
    all.disabled = true;
    let devices = instance.inventory.devices(&all).await?;
    let destinations = instance.inventory.destinations().await?;
    let credentials = instance.inventory.credentials().await?;
    check_rules(instance, p)?;
    check(p, &Known { destinations: &destinations, credentials: &credentials, devices: &devices })?;
    let mut artefacts = Artefacts::of(instance);
    let doubt = artefacts.check_policy(p, &devices)?;
    doubt.into_iter().chain(artefacts.doubt_rules_of_policy(p, &devices)).for_each(|doubt| context.ui.warn(&doubt));
    Ok(())
}
