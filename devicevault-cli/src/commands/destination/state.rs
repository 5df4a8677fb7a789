//! How a destination stands: its settings, its last backup, what waits for it.

use devicevault_core::catalog::{Page, Query};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::run::Backup;
use devicevault_core::{BackupId, Result, Timestamp};
use serde::Serialize;

use crate::instance::Instance;
use crate::pushing::{self, Standing};

/// A destination as lists and answers tell it. The names are stable.
#[derive(Debug, Serialize)]
pub(super) struct State {
    #[serde(flatten)]
    pub(super) config: DestinationConfig,
    /// Whether what it keeps cannot be read without a key; `null` where it cannot be asked.
    pub(super) sealed: Option<bool>,
    pub(super) last_backup: Option<LastBackup>,
    /// Copies that wait for it.
    pub(super) waiting: usize,
    /// Of a Git repository that is pushed to another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remote: Option<Standing>,
}

/// The newest version that was to be kept there.
#[derive(Debug, Serialize)]
pub(super) struct LastBackup {
    pub(super) backup: BackupId,
    pub(super) device: String,
    pub(super) artefact: String,
    pub(super) at: Timestamp,
    /// `stored`, `extended`, `pending`, `failed`, `damaged` or `marked`.
    pub(super) status: &'static str,
}

impl LastBackup {
    pub(super) fn of(config: &DestinationConfig, backup: &Backup) -> Option<Self> {
        let copy = backup.copies.iter().find(|c| c.destination == config.id)?;
        Some(Self {
            backup: backup.id,
            device: backup.device_name.clone(),
            artefact: backup.artefact.clone(),
            at: copy.last_seen,
            status: copy.status.as_str(),
        })
    }
}

/// All destinations, by name.
///
/// # Errors
/// What the inventory and the catalog answer.
pub(super) async fn all(instance: &Instance) -> Result<Vec<State>> {
    let waiting = super::guard::waiting(instance).await?;
    let mut states = Vec::new();
    for open in instance.destinations_where(|_| true).await? {
        let config = open.config;
        states.push(State {
            sealed: open.backend.as_ref().ok().map(|b| b.capability().private_content),
            last_backup: last_backups(instance, &config, 1).await?.iter().find_map(|b| LastBackup::of(&config, b)),
            waiting: waiting.get(&config.id).copied().unwrap_or_default(),
            remote: pushing::standing(instance, &config).await,
            config,
        });
    }
    Ok(states)
}

/// The newest versions with a copy there.
///
/// # Errors
/// What the catalog answers.
pub(super) async fn last_backups(instance: &Instance, config: &DestinationConfig, count: u32) -> Result<Vec<Backup>> {
    let mut query = Query::default();
    query.destination = Some(config.id.clone());
    Ok(instance.catalog.find(&query, Page::first(count)).await?.items)
}
