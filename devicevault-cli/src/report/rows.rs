//! The objects of `backup --json`.

use std::collections::BTreeMap;

use devicevault_core::catalog::{CatalogExt as _, Query};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::run::{ArtefactResult, ArtefactStatus, Backup, CopyResult, CopyStatus, RunState};
use devicevault_core::{DestinationId, Device, ErrorKind, ErrorRecord, Result, StorageRef, View};
use serde::Serialize;

use crate::instance::Instance;
use crate::round::{DeviceOutcome, RoundOutcome};
use crate::wiring;

/// One artefact of one device, as `backup --json` tells it. A device that failed before any artefact has one of these
/// with `artefact` null. The names are stable.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    device: String,
    artefact: Option<String>,
    kind: Option<String>,
    /// `stored`, `waiting` (new, and at no destination yet), `unchanged`, `suspect`, `quarantined`, `failed`, `cancelled`, or
    /// `left_out`: it has none of what is asked for.
    status: &'static str,
    size: Option<u64>,
    sha256: Option<String>,
    /// The file that holds it, where a destination keeps originals as files.
    path: Option<String>,
    error: Option<String>,
    error_kind: Option<String>,
    hint: Option<String>,
    suspect: Vec<String>,
    host: String,
    platform: String,
    run: Option<String>,
    task_id: Option<String>,
    run_state: &'static str,
    attempt: Option<u32>,
    backup: Option<String>,
    duration_ms: Option<u64>,
    copies: Vec<CopyRow>,
}

/// One copy of it.
#[derive(Debug, Serialize)]
struct CopyRow {
    destination: String,
    view: View,
    status: &'static str,
    storage_ref: Option<String>,
    /// It waits for its destination, and is delivered without asking the device.
    waiting: bool,
    error: Option<String>,
}

/// Every object of a round.
///
/// # Errors
/// The catalog cannot be asked.
pub(super) async fn of(instance: &Instance, round: &RoundOutcome) -> Result<Vec<Row>> {
    let destinations = instance.destination_configs().await?;
    let mut rows = Vec::new();
    for device in &round.left_out {
        let mut row = empty_row(device, "left_out");
        row.run_state = "left_out";
        row.error = Some("it has none of the artefacts that are asked for".to_owned());
        rows.push(row);
    }
    for outcome in &round.devices {
        rows.extend(rows_of(instance, &destinations, outcome, round).await?);
    }
    Ok(rows)
}

async fn rows_of(
    instance: &Instance,
    destinations: &BTreeMap<DestinationId, DestinationConfig>,
    outcome: &DeviceOutcome,
    round: &RoundOutcome,
) -> Result<Vec<Row>> {
    let run = match &outcome.run {
        Ok(run) => run,
        Err(e) => {
            let mut row = empty_row(&outcome.device, "failed");
            if e.kind() == ErrorKind::Cancelled {
                row.status = "cancelled";
                row.run_state = "cancelled";
            }
            row.tell(Some(&e.to_record()));
            return Ok(vec![row]);
        }
    };
    let about_run = |status| {
        let mut row = empty_row(&outcome.device, status);
        row.run = Some(run.id.to_string());
        row.task_id = Some(run.start.task_id.to_string());
        row.run_state = run.state.as_str();
        row.attempt = Some(run.start.attempt);
        row.duration_ms = run.duration().map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        row
    };
    if run.artefacts.is_empty() {
        let mut row = about_run(match run.state {
            RunState::Cancelled => "cancelled",
            RunState::Unchanged => "unchanged",
            _ => "failed",
        });
        row.tell(run.error.as_ref());
        return Ok(vec![row]);
    }
    let mut rows = Vec::new();
    for a in &run.artefacts {
        let mut row = about_run(super::word(a, round));
        row.artefact = Some(a.artefact.clone());
        row.kind = Some(a.kind.to_string());
        row.size = a.sha256.map(|_| a.size);
        row.sha256 = a.sha256.map(|d| d.to_string());
        row.suspect.clone_from(&a.suspect);
        row.backup = a.backup.map(|b| b.to_string());
        row.tell(a.error.as_ref().or(run.error.as_ref().filter(|_| a.status == ArtefactStatus::Failed)));
        row.copies = a.copies.iter().map(|c| copy_row(c, super::waits(a, c, round))).collect();
        let original = a.copies.iter().find(|c| c.view == View::Original && c.storage_ref.is_some());
        if let Some((config, at)) =
            original.and_then(|c| Some((destinations.get(&c.destination)?, c.storage_ref.as_ref()?)))
        {
            row.path = path_of(instance, config, at);
        }
        // Of what was there, size and hash are those of the file that is there: volatile lines may differ.
        if (a.status == ArtefactStatus::Unchanged || original.is_some_and(|c| c.status == CopyStatus::Extended))
            && let Some(backup) = recorded(instance, a).await?
            && let Some(copy) = backup.copies.iter().find(|c| Some(&c.destination) == original.map(|o| &o.destination))
        {
            row.size = Some(copy.size);
            row.sha256 = Some(copy.sha256.to_string());
        }
        rows.push(row);
    }
    Ok(rows)
}

async fn recorded(instance: &Instance, a: &ArtefactResult) -> Result<Option<Backup>> {
    let mut query = Query::default();
    query.id = a.backup;
    if query.id.is_none() {
        return Ok(None);
    }
    instance.catalog.newest(&query).await
}

/// The file of a copy, or the URL of its object; absolute, but for a folder of ad hoc backups, where it is relative to that folder.
fn path_of(instance: &Instance, config: &DestinationConfig, at: &StorageRef) -> Option<String> {
    let inside = wiring::file_of(config, at)?;
    if wiring::is_store(config) {
        return Some(format!("{}/{inside}", wiring::place_of(config, &instance.home)?.trim_end_matches('/')));
    }
    let folder = config.options.get(wiring::PATH)?;
    if folder == crate::adhoc::FOLDER {
        return Some(inside);
    }
    Some(instance.home.join(folder).join(inside).display().to_string())
}

fn copy_row(c: &CopyResult, waiting: bool) -> CopyRow {
    CopyRow {
        destination: c.destination.to_string(),
        view: c.view,
        status: c.status.as_str(),
        storage_ref: c.storage_ref.as_ref().map(ToString::to_string),
        waiting,
        error: c.error.as_ref().map(|e| e.message.clone()),
    }
}

fn empty_row(device: &Device, status: &'static str) -> Row {
    Row {
        device: device.name.clone(),
        artefact: None,
        kind: None,
        status,
        size: None,
        sha256: None,
        path: None,
        error: None,
        error_kind: None,
        hint: None,
        suspect: Vec::new(),
        host: device.host.clone(),
        platform: device.platform.clone(),
        run: None,
        task_id: None,
        run_state: "failed",
        attempt: None,
        backup: None,
        duration_ms: None,
        copies: Vec::new(),
    }
}

impl Row {
    fn tell(&mut self, error: Option<&ErrorRecord>) {
        self.error = error.map(|e| e.message.clone());
        self.error_kind = error.map(|e| e.kind.to_string());
        self.hint = error.and_then(|e| e.hint.clone());
    }
}
