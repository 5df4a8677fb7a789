//! Which copies of a run wait still: what a run recorded is history, and the catalog knows what became of it.

use devicevault_core::catalog::{CatalogExt as _, Query};
use devicevault_core::run::{Copy, CopyStatus, Run};
use devicevault_core::{BackupId, DestinationId, ErrorRecord, Result};
use serde::Serialize;

use crate::instance::Instance;

/// A copy that waits for its destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Waiting {
    pub(crate) artefact: String,
    pub(crate) backup: BackupId,
    pub(crate) destination: DestinationId,
    pub(crate) attempts: u32,
}

/// A copy that waited for its destination, and never got there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct GivenUp {
    pub(crate) artefact: String,
    pub(crate) backup: BackupId,
    pub(crate) destination: DestinationId,
    pub(crate) error: Option<ErrorRecord>,
}

/// A run with what waits of it.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    #[serde(flatten)]
    pub(crate) run: Run,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) given_up: Vec<GivenUp>,
}

impl Told {
    /// Asks the catalog for those copies that waited when the run ended.
    ///
    /// # Errors
    /// What the catalog answers.
    pub(crate) async fn of(instance: &Instance, run: Run) -> Result<Self> {
        let (mut waiting, mut given_up) = (Vec::new(), Vec::new());
        for a in &run.artefacts {
            let waited = a.copies.iter().any(|c| c.status == CopyStatus::Pending);
            let Some(backup) = a.backup.filter(|_| waited) else { continue };
            let mut query = Query::default();
            query.id = Some(backup);
            if let Some(found) = instance.catalog.newest(&query).await? {
                let waited = |c: &&Copy| {
                    c.status == CopyStatus::Failed
                        && a.copies.iter().any(|w| w.status == CopyStatus::Pending && w.destination == c.destination)
                };
                given_up.extend(found.copies.iter().filter(waited).map(|c| GivenUp {
                    artefact: found.artefact.clone(),
                    backup,
                    destination: c.destination.clone(),
                    error: c.error.clone(),
                }));
                let pending = found.copies.into_iter().filter(|c| c.status == CopyStatus::Pending);
                waiting.extend(pending.map(|c| Waiting {
                    artefact: found.artefact.clone(),
                    backup,
                    destination: c.destination,
                    attempts: c.attempts,
                }));
            }
        }
        Ok(Self { run, waiting, given_up })
    }
}

/// For whom something waits; empty where nothing does.
pub(crate) fn note(waiting: &[Waiting]) -> String {
    let mut places: Vec<_> = waiting.iter().map(|w| w.destination.as_str()).collect();
    places.sort_unstable();
    places.dedup();
    if places.is_empty() { String::new() } else { format!("waits for {}", places.join(", ")) }
}
