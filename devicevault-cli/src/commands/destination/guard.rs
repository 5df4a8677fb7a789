//! What a change of destinations must not do unnoticed: leave nothing that a restore could take.

use std::collections::BTreeMap;

use devicevault_core::inventory::{DestinationConfig, Policy};
use devicevault_core::{DestinationId, Error, ErrorKind, Result, View};

use crate::instance::Instance;

/// Refuses a change after which nothing that a policy or the default stores keeps originals. `change` is told every
/// destination and answers what it would be; `None`: it would be gone.
///
/// # Errors
/// `Config`; what the inventory answers.
pub(crate) async fn refuse_without_original(
    instance: &Instance,
    change: impl Fn(DestinationConfig) -> Option<DestinationConfig>,
) -> Result<()> {
    let before = instance.inventory.destinations().await?;
    let after: Vec<_> = before.iter().cloned().filter_map(change).collect();
    let policies = instance.policies().await?;
    refuse_without((&before, &policies), (&after, &policies))
}

/// Destinations and policies.
type Setting<'a> = (&'a [DestinationConfig], &'a [Policy]);

/// Refuses to go from one setting to another after which something that is stored could not be restored.
///
/// # Errors
/// `Config`.
pub(crate) fn refuse_without(before: Setting<'_>, after: Setting<'_>) -> Result<()> {
    // What was so before is not this change's doing.
    let (was, is) = (without_original(before.0, before.1), without_original(after.0, after.1));
    let Some((whose, _)) = is.iter().find(|(whose, lacks)| **lacks && was.get(*whose) != Some(&true)) else {
        return Ok(());
    };
    let e = Error::new(
        ErrorKind::Config,
        "change destinations",
        "no enabled destination would keep originals: nothing could be restored",
    )
    .hint("add another destination with the view original first, or say that you accept this: --without-original");
    Err(if whose.is_empty() { e } else { e.with("policy", whose) })
}

/// For the default (no name) and each policy in force: whether nothing would keep originals.
fn without_original(destinations: &[DestinationConfig], policies: &[Policy]) -> BTreeMap<String, bool> {
    let keeps = |wanted: &dyn Fn(&DestinationConfig) -> bool| {
        destinations.iter().any(|d| d.enabled && d.view == View::Original && wanted(d))
    };
    let mut all = BTreeMap::from([(String::new(), !keeps(&|_| true))]);
    for p in policies.iter().filter(|p| p.enabled && !p.without_original) {
        let wanted = |d: &DestinationConfig| p.destinations.is_empty() || p.destinations.contains(&d.name);
        all.insert(p.name.clone(), !keeps(&wanted));
    }
    all
}

/// Refuses to take away a destination that policies name.
///
/// # Errors
/// `Conflict`; what the inventory answers.
pub(super) async fn refuse_named_by_policies(instance: &Instance, gone: &[&DestinationConfig]) -> Result<()> {
    for policy in instance.policies().await? {
        if let Some(d) = gone.iter().find(|d| policy.destinations.contains(&d.name)) {
            return Err(Error::new(ErrorKind::Conflict, "remove destination", "a policy names it")
                .with("destination", &d.name)
                .with("policy", &policy.name)
                .hint("change the policy first: `devicevault policy edit`"));
        }
    }
    Ok(())
}

/// How many copies wait for each destination, as the catalog has it.
///
/// # Errors
/// What the catalog answers.
pub(super) async fn waiting(instance: &Instance) -> Result<BTreeMap<DestinationId, usize>> {
    let mut counts = BTreeMap::new();
    for copy in instance.catalog.pending().await? {
        *counts.entry(copy.destination).or_default() += 1;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_needs_an_original_of_its_own() {
        let mut store = DestinationConfig::new("store", "any", View::Original);
        let git = DestinationConfig::new("git", "any", View::Redacted);
        let mut only_git = Policy::new("texts");
        only_git.destinations.insert("git".to_owned());
        let lacks = without_original(&[store.clone(), git.clone()], std::slice::from_ref(&only_git));
        assert_eq!((lacks[""], lacks["texts"]), (false, true));
        only_git.without_original = true;
        assert!(!without_original(&[store.clone(), git.clone()], &[only_git]).contains_key("texts"));
        store.enabled = false;
        let lacks = without_original(&[store, git], &[Policy::new("all")]);
        assert_eq!((lacks[""], lacks["all"]), (true, true));
    }
}
