//! What is asked of the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::destination::Destination;
use super::retry::RetryPolicy;
use crate::file_rules::FileRules;
use crate::run::Trigger;
use crate::{Collector, DestinationId, Error, ErrorKind, Result, Target, View};

/// Which artefacts of a device are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Selection {
    /// All that the device has.
    #[default]
    All,
    /// Those of these names.
    Only(BTreeSet<String>),
}

impl Selection {
    /// Whether an artefact is meant.
    #[must_use]
    pub fn contains(&self, artefact: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(artefact),
        }
    }
}

/// One device to back up, where to, and why.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Job {
    /// The device with its secrets and bounds.
    pub target: Target,
    /// Who talks to it.
    pub collector: Arc<dyn Collector>,
    /// Where to.
    pub destinations: Vec<Arc<Destination>>,
    /// Which artefacts.
    pub selection: Selection,
    /// Which of them a destination takes that does not take them all.
    pub takes: BTreeMap<DestinationId, Selection>,
    /// What asked for it.
    pub triggered_by: Trigger,
    /// Name of the job that attempts share; drawn where absent.
    pub task_identifier: Option<String>,
    /// The user's own keys and values, kept with every backup.
    pub metadata: BTreeMap<String, String>,
    /// What binary artefacts have to be. All of these rules hold.
    pub file_rules: Vec<FileRules>,
    /// How often the device is tried.
    pub retry: RetryPolicy,
    /// Accept that no destination keeps what a restore takes.
    pub without_original: bool,
}

impl Job {
    /// All artefacts of a device, asked for by a person.
    #[must_use]
    pub fn new(target: Target, collector: Arc<dyn Collector>, destinations: Vec<Arc<Destination>>) -> Self {
        Self {
            target,
            collector,
            destinations,
            selection: Selection::All,
            takes: BTreeMap::new(),
            triggered_by: Trigger::Manual,
            task_identifier: None,
            metadata: BTreeMap::new(),
            file_rules: Vec::new(),
            retry: RetryPolicy::default(),
            without_original: false,
        }
    }

    /// Whether an artefact goes to a destination.
    pub(super) fn goes_to(&self, artefact: &str, destination: &DestinationId) -> bool {
        self.takes.get(destination).is_none_or(|selection| selection.contains(artefact))
    }

    /// Refuses what would not be a backup.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |why: &str, hint: &str| Err(Error::new(ErrorKind::Config, "plan backup", why).hint(hint));
        crate::check_device_name(&self.target.device.name)?;
        if self.destinations.is_empty() {
            return refuse("there is no destination to store at", "add a destination");
        }
        if !self.without_original && self.destinations.iter().all(|d| d.view() != View::Original) {
            return refuse(
                "no destination keeps the original, so nothing could be restored",
                "add a destination with view original, or say that you accept this",
            );
        }
        let ids: BTreeSet<_> = self.destinations.iter().map(|d| d.id()).collect();
        if ids.len() < self.destinations.len() {
            return refuse("a destination is named twice", "name each destination once");
        }
        Ok(())
    }
}
