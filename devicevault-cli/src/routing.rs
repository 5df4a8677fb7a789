//! Where a device's backups go: what the policies that select it say, taken together; without one, all artefacts to all
//! enabled destinations.

use std::collections::{BTreeMap, BTreeSet};

use devicevault_core::engine::Selection;
use devicevault_core::file_rules::FileRules;
use devicevault_core::inventory::{DestinationConfig, Policy};
use devicevault_core::{DestinationId, Device, Error, ErrorKind, Result, View};

/// Where one device's backups go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// Which artefacts go where. A destination that is not named gets nothing.
    pub(crate) takes: BTreeMap<DestinationId, Selection>,
    /// Keys and values of the policies'.
    pub(crate) metadata: BTreeMap<String, String>,
    /// A policy accepts that nothing keeps originals.
    pub(crate) without_original: bool,
    /// What binary artefacts have to be, as the policies and the device say.
    pub(crate) file_rules: Vec<FileRules>,
}

/// Which policies decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Deciding {
    /// None: all artefacts to all enabled destinations.
    #[default]
    Nothing,
    /// Those in force that select a device.
    InForce(Vec<Policy>),
    /// These and no others, in force or not.
    Named(Vec<Policy>),
}

impl Route {
    /// The route of a device.
    ///
    /// # Errors
    /// `Config` where its policies lead nowhere, or nowhere that keeps originals.
    pub(crate) fn of(
        device: &Device,
        deciding: &Deciding,
        destinations: &[DestinationConfig],
        wanted: &Selection,
    ) -> Result<Self> {
        let policies: Vec<&Policy> = match deciding {
            Deciding::Nothing => Vec::new(),
            Deciding::InForce(all) => all.iter().filter(|p| p.enabled && p.devices.matches(device)).collect(),
            Deciding::Named(all) => all.iter().filter(|p| p.devices.matches(device)).collect(),
        };
        let default = Policy::new("");
        let by_default = policies.is_empty();
        let policies = if by_default { vec![&default] } else { policies };
        let mut route = Self::default();
        for policy in &policies {
            route.add(policy, destinations, wanted);
            let rules = FileRules::from_options(format!("policy {}", policy.name), &policy.options)?;
            route.file_rules.extend(rules.map(|rules| rules.only_for(&policy.artefacts)));
        }
        route.file_rules.extend(FileRules::from_options(format!("device {}", device.name), &device.options)?);
        let kept = destinations.iter().any(|d| d.view == View::Original && route.takes.contains_key(&d.id));
        let refuse = |why: &str, hint: &str| {
            let e = Error::new(ErrorKind::Config, "plan backup", why.to_owned()).with("device", &device.name);
            let names: Vec<_> = policies.iter().map(|p| p.name.as_str()).collect();
            Err(if by_default { e } else { e.with("policies", names.join(", ")) }.hint(hint))
        };
        if route.takes.is_empty() {
            return refuse(
                "no enabled destination takes any of it",
                "`devicevault policy list` and `devicevault destination list` show what is set",
            );
        }
        if !kept && !route.without_original {
            return refuse(
                "no destination keeps the original, so nothing could be restored",
                "add a destination with the view original, or a policy with --without-original",
            );
        }
        Ok(route)
    }

    fn add(&mut self, policy: &Policy, destinations: &[DestinationConfig], wanted: &Selection) {
        let named = |d: &&DestinationConfig| policy.destinations.is_empty() || policy.destinations.contains(&d.name);
        let of_policy = of_names(&policy.artefacts);
        for destination in destinations.iter().filter(|d| d.enabled).filter(named) {
            let Some(takes) = both(&of_policy, wanted) else { continue };
            let so_far = self.takes.remove(&destination.id);
            self.takes.insert(destination.id.clone(), so_far.map_or_else(|| takes.clone(), |s| either(s, &takes)));
        }
        self.metadata.extend(policy.metadata.clone());
        self.without_original |= policy.without_original;
    }

    /// Which artefacts are to be collected at all.
    pub(crate) fn selection(&self) -> Selection {
        let all = self.takes.values().cloned().reduce(|a, b| either(a, &b));
        all.unwrap_or_else(|| Selection::Only(BTreeSet::new()))
    }
}

fn of_names(names: &BTreeSet<String>) -> Selection {
    if names.is_empty() { Selection::All } else { Selection::Only(names.clone()) }
}

/// What both mean; `None`: nothing.
fn both(a: &Selection, b: &Selection) -> Option<Selection> {
    match (a, b) {
        (Selection::All, other) | (other, Selection::All) => Some(other.clone()),
        (Selection::Only(a), Selection::Only(b)) => {
            let shared: BTreeSet<_> = a.intersection(b).cloned().collect();
            (!shared.is_empty()).then_some(Selection::Only(shared))
        }
    }
}

/// What one or the other means.
fn either(a: Selection, b: &Selection) -> Selection {
    match (a, b) {
        (Selection::Only(mut a), Selection::Only(b)) => {
            a.extend(b.iter().cloned());
            Selection::Only(a)
        }
        _ => Selection::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn destinations() -> Vec<DestinationConfig> {
        vec![
            DestinationConfig::new("store", "a", View::Original),
            DestinationConfig::new("git", "b", View::Redacted),
            DestinationConfig::new("off", "a", View::Original),
        ]
    }

    fn device(site: &str) -> Device {
        let mut d = Device::new("1", "sw1", "192.0.2.1", "cisco_ios");
        d.site = Some(site.to_owned());
        d
    }

    fn policy(name: &str, to: &[&str], artefacts: &[&str], site: Option<&str>) -> Policy {
        let mut p = Policy::new(name);
        p.destinations = to.iter().map(ToString::to_string).collect();
        p.artefacts = artefacts.iter().map(ToString::to_string).collect();
        p.devices.site = site.map(str::to_owned);
        p
    }

    fn names(takes: &[&str]) -> Selection {
        Selection::Only(takes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn policies_add_up_and_the_default_is_everything() {
        let all = destinations();
        let deciding = Deciding::InForce(vec![
            policy("texts", &["git"], &["running-config"], None),
            policy("zurich", &["store", "git"], &["inventory"], Some("zurich")),
        ]);
        let route = Route::of(&device("zurich"), &deciding, &all, &Selection::All).unwrap();
        assert_eq!(route.takes[&"git".into()], names(&["inventory", "running-config"]));
        assert_eq!(route.takes[&"store".into()], names(&["inventory"]));
        assert_eq!(route.takes.len(), 2);
        // Only texts, and nothing to restore from.
        let e = Route::of(&device("bern"), &deciding, &all, &Selection::All).unwrap_err();
        assert!(e.to_string().contains("keeps the original") && e.to_string().contains("texts"), "{e}");
        let none = Deciding::InForce(vec![policy("zurich", &["store"], &[], Some("zurich"))]);
        let route = Route::of(&device("bern"), &none, &all, &names(&["inventory"])).unwrap();
        assert_eq!(route.takes.len(), 3);
        assert_eq!(route.selection(), names(&["inventory"]));
        let e = Route::of(
            &device("x"),
            &Deciding::Named(vec![policy("p", &["nowhere"], &[], None)]),
            &all,
            &Selection::All,
        );
        assert!(e.unwrap_err().to_string().contains("no enabled destination"));
    }

    #[test]
    fn the_rules_of_every_policy_and_of_the_device_hold() {
        let all = destinations();
        let mut device = device("zurich");
        device.options.insert("file_rules.max_size".to_owned(), "10MB".to_owned());
        let mut states = policy("states", &["store"], &["state"], None);
        states.options.insert("file_rules.magic".to_owned(), "gzip".to_owned());
        let mut elsewhere = policy("elsewhere", &["store"], &[], Some("bern"));
        elsewhere.options.insert("file_rules.magic".to_owned(), "zip".to_owned());
        let deciding = Deciding::InForce(vec![states, elsewhere, policy("all", &[], &[], None)]);
        let route = Route::of(&device, &deciding, &all, &Selection::All).unwrap();
        let origins: Vec<_> = route.file_rules.iter().map(FileRules::origin).collect();
        assert_eq!(origins, ["policy states", "device sw1"]);
        assert!(route.file_rules[0].of("state").magic.is_some() && route.file_rules[0].of("firmware").magic.is_none());
        device.options.insert("file_rules.magic".to_owned(), "nonsense".to_owned());
        assert!(Route::of(&device, &deciding, &all, &Selection::All).is_err(), "a rule that cannot be read is no rule");
    }

    fn some_policy() -> impl Strategy<Value = Policy> {
        let to = proptest::sample::subsequence(vec!["store", "git", "off"], 0..=3);
        let artefacts = proptest::sample::subsequence(vec!["a", "b", "c"], 0..=3);
        (to, artefacts, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(to, artefacts, here, on, without)| {
            let mut p = policy("p", &to, &artefacts, Some(if here { "here" } else { "there" }));
            p.enabled = on;
            p.without_original = without;
            p
        })
    }

    proptest! {
        /// What a destination gets is what some policy in force that selects the device sends there, and nothing else.
        #[test]
        fn a_route_is_the_sum_of_its_policies(policies in proptest::collection::vec(some_policy(), 0..5), artefact in "[abcd]", enabled in any::<[bool; 3]>()) {
            let mut all = destinations();
            for (d, on) in all.iter_mut().zip(enabled) { d.enabled = on; }
            let device = device("here");
            let mine: Vec<_> = policies.iter().filter(|p| p.enabled && p.devices.site.as_deref() == Some("here")).collect();
            let sent = |d: &DestinationConfig| d.enabled && (mine.is_empty() || mine.iter().any(|p| {
                (p.destinations.is_empty() || p.destinations.contains(&d.name)) && (p.artefacts.is_empty() || p.artefacts.contains(&artefact))
            }));
            match Route::of(&device, &Deciding::InForce(policies.clone()), &all, &Selection::All) {
                Ok(route) => {
                    for d in &all {
                        prop_assert_eq!(route.takes.get(&d.id).is_some_and(|s| s.contains(&artefact)), sent(d));
                    }
                    prop_assert_eq!(route.selection().contains(&artefact), all.iter().any(sent));
                }
                Err(_) => prop_assert!(!all.iter().any(|d| d.view == View::Original && sent(d)) || !enabled[0] || artefact == "d" || !mine.is_empty()),
            }
        }
    }
}
