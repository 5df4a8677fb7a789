//! Which artefacts devices have, as their collectors tell without asking them: what is asked for by a name that none of
//! them has would be a backup of nothing that ends well.

use std::collections::{BTreeMap, BTreeSet};

use devicevault_core::engine::Selection;
use devicevault_core::file_rules::FileRules;
use devicevault_core::inventory::Policy;
use devicevault_core::{Device, Error, ErrorKind, Login, Result, Target};

use crate::instance::Instance;

/// Devices that differ in nothing but name and address have the same artefacts.
type Alike = (String, String, BTreeMap<String, String>);

/// The names of devices' artefacts, each kind of device looked at once.
#[derive(Debug)]
pub(crate) struct Artefacts<'a> {
    instance: &'a Instance,
    known: BTreeMap<Alike, Option<BTreeSet<String>>>,
}

impl<'a> Artefacts<'a> {
    pub(crate) fn of(instance: &'a Instance) -> Self {
        Self { instance, known: BTreeMap::new() }
    }

    /// Those of a device; `None` where its collector cannot tell beforehand.
    pub(crate) fn names(&mut self, device: &Device) -> Option<&BTreeSet<String>> {
        let alike = (device.collector.clone(), device.platform.clone(), device.options.clone());
        let instance = self.instance;
        let look = || {
            let collector = instance.collectors.get(&device.collector).ok()?;
            let all = collector.artefacts(&Target::new(device.clone(), Login::default())).ok()?;
            Some(all.into_iter().map(|a| a.name).collect())
        };
        self.known.entry(alike).or_insert_with(look).as_ref()
    }

    /// Those of several devices together, and whether that is all: some cannot tell.
    fn of_all<'d>(&mut self, devices: impl Iterator<Item = &'d Device>) -> (BTreeSet<String>, bool) {
        let (mut known, mut all) = (BTreeSet::new(), true);
        for device in devices {
            match self.names(device) {
                Some(names) => known.extend(names.iter().cloned()),
                None => all = false,
            }
        }
        (known, all)
    }

    /// Refuses a selection with a name that none of the devices has. What a collector cannot tell of a device beforehand
    /// is not held against a name.
    ///
    /// # Errors
    /// `Config` that names what there is.
    pub(crate) fn refuse_unknown(&mut self, devices: &[Device], selection: &Selection) -> Result<()> {
        let Selection::Only(names) = selection else { return Ok(()) };
        let (known, all) = self.of_all(devices.iter());
        let unknown = missing(names, &known);
        if unknown.is_empty() || devices.is_empty() || !all {
            return Ok(());
        }
        Err(no_such(&unknown, &known, "none of these devices has an artefact of this name"))
    }

    /// Refuses a device of which nothing is asked for that it has: it would be told as unchanged, and was never looked at.
    ///
    /// # Errors
    /// `Config` that names what it has.
    pub(crate) fn refuse_nothing(&mut self, device: &Device, selection: &Selection) -> Result<()> {
        let Some(known) = self.names(device) else { return Ok(()) };
        if known.iter().any(|name| selection.contains(name)) {
            return Ok(());
        }
        let (why, asked) = match selection {
            Selection::Only(names) => ("it has none of the artefacts that are asked for", names.clone()),
            Selection::All => ("its collector has no artefact of it", BTreeSet::new()),
        };
        let unknown: Vec<_> = asked.iter().map(|n| n.escape_debug().to_string()).collect();
        Err(no_such(&unknown, known, why).with("device", &device.name))
    }

    /// Whether a device has none of the artefacts that are asked for, though others have some of them: it is left out. What
    /// nobody has, which `unknown` names, is a slip.
    pub(crate) fn leaves_out(&mut self, device: &Device, selection: &Selection, unknown: &BTreeSet<String>) -> bool {
        match selection {
            Selection::Only(names) => {
                self.refuse_nothing(device, selection).is_err() && names.iter().any(|n| !unknown.contains(n))
            }
            Selection::All => false,
        }
    }

    /// The artefacts of a policy that none of the devices which it selects has, where that can be told.
    pub(crate) fn unknown_of(&mut self, policy: &Policy, devices: &[Device]) -> BTreeSet<String> {
        let (known, all) = self.of_all(selected(policy, devices).into_iter());
        let unknown = policy.artefacts.iter().filter(|n| !known.contains(*n));
        if all { unknown.cloned().collect() } else { BTreeSet::new() }
    }

    /// Refuses a policy with an artefact that none of the devices which it selects has. Returns what is to be said where
    /// that cannot be known yet, since it selects none or some whose artefacts nobody can tell, and of devices that have
    /// nothing that it asks for.
    ///
    /// # Errors
    /// `Config` that names what there is.
    pub(crate) fn check_policy(&mut self, policy: &Policy, devices: &[Device]) -> Result<Option<String>> {
        /// So many devices are named.
        const NAMED: usize = 5;
        let selected = selected(policy, devices);
        let (known, all) = self.of_all(selected.iter().copied());
        let unknown = missing(&policy.artefacts, &known);
        if unknown.is_empty() {
            let asked = Selection::Only(policy.artefacts.clone());
            let without = |d: &&&Device| !policy.artefacts.is_empty() && self.refuse_nothing(d, &asked).is_err();
            let without: Vec<&str> = selected.iter().filter(without).map(|d| d.name.as_str()).collect();
            let (Some(_), names) = (without.first(), without.iter().take(NAMED).copied().collect::<Vec<_>>()) else {
                return Ok(None);
            };
            let more = without.len() - names.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Ok(Some(format!(
                "policy {}: {}{more} {} no such artefact as it asks for: it backs up nothing of {}",
                policy.name.escape_debug(),
                names.join(", "),
                if without.len() == 1 { "has" } else { "have" },
                if without.len() == 1 { "it" } else { "them" },
            )));
        }
        if selected.is_empty() || !all {
            let who = if selected.is_empty() { "it selects no device yet" } else { "not every device can tell" };
            return Ok(Some(format!(
                "policy {}: {who}: whether there is an artefact {} was not checked",
                policy.name.escape_debug(),
                unknown.join(", ")
            )));
        }
        let e = no_such(&unknown, &known, "none of the devices that it selects has an artefact of this name");
        Err(e.with("policy", policy.name.escape_debug()))
    }
}

impl Artefacts<'_> {
    /// What is to be said of file rules of a device for artefacts that it does not have, as far as can be told.
    pub(crate) fn doubt_rules(&mut self, device: &Device) -> Option<String> {
        let whose = format!("device {}", device.name.escape_debug());
        self.doubt_rules_of(&whose, &device.options, &[device])
    }

    /// The same of a policy, for artefacts that none of the devices has which it selects.
    pub(crate) fn doubt_rules_of_policy(&mut self, policy: &Policy, devices: &[Device]) -> Option<String> {
        let whose = format!("policy {}", policy.name.escape_debug());
        self.doubt_rules_of(&whose, &policy.options, &selected(policy, devices))
    }

    fn doubt_rules_of(
        &mut self,
        whose: &str,
        options: &BTreeMap<String, String>,
        devices: &[&Device],
    ) -> Option<String> {
        let rules = FileRules::from_options(whose, options).ok()??;
        let (known, all) = self.of_all(devices.iter().copied());
        let unknown = missing(&rules.artefacts().map(str::to_owned).collect(), &known);
        if unknown.is_empty() || devices.is_empty() || !all {
            return None;
        }
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        Some(format!(
            "{whose}: there are file rules for {}, and no such artefact; there is: {}",
            unknown.join(", "),
            known.join(", ")
        ))
    }
}

/// What is disabled today may be enabled tomorrow.
fn selected<'d>(policy: &Policy, devices: &'d [Device]) -> Vec<&'d Device> {
    let mut selector = policy.devices.clone();
    selector.disabled = true;
    devices.iter().filter(|d| selector.matches(d)).collect()
}

fn missing(names: &BTreeSet<String>, known: &BTreeSet<String>) -> Vec<String> {
    names.iter().filter(|n| !known.contains(*n)).map(|n| n.escape_debug().to_string()).collect()
}

fn no_such(unknown: &[String], known: &BTreeSet<String>, why: &str) -> Error {
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let e = Error::new(ErrorKind::Config, "select artefacts", why.to_owned());
    let e = if unknown.is_empty() { e } else { e.with("artefact", unknown.join(", ")) };
    if known.is_empty() { e } else { e.hint(format!("there is: {}", known.join(", "))) }
}
