//! What has to change so that a home is as files say.

use devicevault_core::Device;
use devicevault_core::inventory::{Credential, DestinationConfig, Policy};
use serde::Serialize;

use super::read::{Located, Wanted};
use super::{Defined, Definitions, fields};

/// What happens to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Add,
    Change,
    Remove,
}

/// One change, as `apply --json` tells it. The names are stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) action: Action,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// Which fields, of a change.
    pub(crate) fields: Vec<String>,
}

/// Every change, of each kind.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) credentials: OfKind<Credential>,
    pub(crate) destinations: OfKind<DestinationConfig>,
    pub(crate) devices: OfKind<Device>,
    pub(crate) policies: OfKind<Policy>,
}

/// The changes of one kind.
#[derive(Debug)]
pub(crate) struct OfKind<T> {
    /// What is there, and what it is to be; without the first it is new.
    pub(crate) put: Vec<(Option<T>, T)>,
    pub(crate) remove: Vec<T>,
    /// What there is when all is done.
    pub(crate) after: Vec<T>,
}

impl Plan {
    /// What differs. Only with `prune` does what the files leave out go, and only of kinds that they speak of.
    pub(crate) fn of(wanted: &Wanted, there: &Definitions, prune: bool) -> Self {
        Self {
            credentials: kind(wanted.credentials.as_deref(), &there.credentials, |c| c.name.clone(), prune),
            destinations: kind(wanted.destinations.as_deref(), &there.destinations, |d| d.id.to_string(), prune),
            devices: kind(wanted.devices.as_deref(), &there.devices, |d| d.id.to_string(), prune),
            policies: kind(wanted.policies.as_deref(), &there.policies, |p| p.name.clone(), prune),
        }
    }

    /// In the order in which they are made.
    pub(crate) fn list(&self) -> Vec<Change> {
        let mut all = Vec::new();
        put(&self.credentials, &mut all);
        put(&self.destinations, &mut all);
        put(&self.devices, &mut all);
        put(&self.policies, &mut all);
        removed(&self.policies, &mut all);
        removed(&self.devices, &mut all);
        removed(&self.destinations, &mut all);
        removed(&self.credentials, &mut all);
        all
    }
}

fn kind<T: Defined>(
    wanted: Option<&[Located<T>]>,
    there: &[T],
    identity: impl Fn(&T) -> String,
    prune: bool,
) -> OfKind<T> {
    let Some(wanted) = wanted else {
        return OfKind { put: Vec::new(), remove: Vec::new(), after: there.to_vec() };
    };
    let mut put = Vec::new();
    for one in wanted {
        match there.iter().find(|t| identity(t) == identity(&one.value)) {
            Some(same) if *same == one.value => {}
            before => put.push((before.cloned(), one.value.clone())),
        }
    }
    let (stays, goes): (Vec<T>, Vec<T>) = there
        .iter()
        .filter(|t| !wanted.iter().any(|w| identity(&w.value) == identity(t)))
        .cloned()
        .partition(|_| !prune);
    let after = wanted.iter().map(|w| w.value.clone()).chain(stays).collect();
    OfKind { put, remove: goes, after }
}

fn put<T: Defined>(of: &OfKind<T>, all: &mut Vec<Change>) {
    for (before, after) in &of.put {
        let new = fields(after);
        let (action, changed) = match before {
            None => (Action::Add, Vec::new()),
            Some(before) => {
                let old = fields(before);
                let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
                let changed = names.into_iter().filter(|n| old.get(*n) != new.get(*n)).cloned().collect();
                (Action::Change, changed)
            }
        };
        all.push(Change { action, kind: T::KIND, name: after.name().to_owned(), fields: changed });
    }
}

fn removed<T: Defined>(of: &OfKind<T>, all: &mut Vec<Change>) {
    let gone = of.remove.iter().map(|t| Change {
        action: Action::Remove,
        kind: T::KIND,
        name: t.name().to_owned(),
        fields: Vec::new(),
    });
    all.extend(gone);
}
