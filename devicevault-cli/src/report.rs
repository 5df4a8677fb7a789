//! What a round did: a table and a summary for people, an array of objects for programs.

use std::collections::BTreeMap;

use devicevault_core::catalog::{Page, Query};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::run::{ArtefactResult, ArtefactStatus, Backup, CopyResult, CopyStatus, RunState};
use devicevault_core::{DestinationId, Device, ErrorKind, ErrorRecord, Result, StorageRef, View};
use serde::Serialize;

use crate::context::Context;
use crate::instance::Instance;
use crate::round::{DeviceOutcome, RoundOutcome};
use crate::ui::human;
use crate::ui::table::{Cell, Table, Tone};
use crate::{Exit, wiring};

/// One artefact of one device, as `backup --json` tells it. A device that failed before any artefact has one of these
/// with `artefact` null. The names are stable.
#[derive(Debug, Serialize)]
struct Row {
    device: String,
    artefact: Option<String>,
    kind: Option<String>,
    /// `stored`, `unchanged`, `suspect`, `failed` or `cancelled`.
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
    error: Option<String>,
}

/// Prints what a round did, and tells how the program ends.
///
/// # Errors
/// The catalog cannot be asked, or standard output not be written.
pub(crate) async fn round(context: &Context, instance: &Instance, round: &RoundOutcome) -> Result<Exit> {
    if context.ui.is_json() {
        let destinations = instance.destination_configs().await?;
        let mut rows = Vec::new();
        for outcome in &round.devices {
            rows.extend(rows_of(instance, &destinations, outcome).await?);
        }
        context.ui.json(&rows)?;
    } else if !context.ui.is_quiet() {
        context.ui.table(table(round), "no device was backed up")?;
    }
    if !context.ui.is_json() {
        tell_failures(context, round);
        context.ui.note(&summary(round));
    }
    Ok(exit(round))
}

/// Partial runs count as failed, and make it `SomeFailed`: not all is done, and something is.
fn exit(round: &RoundOutcome) -> Exit {
    if round.interrupted {
        return Exit::Interrupted;
    }
    let state = |o: &DeviceOutcome| o.run.as_ref().map_or(RunState::Failed, |r| r.state);
    let good = round.devices.iter().filter(|o| state(o).is_good()).count();
    let partial = round.devices.iter().filter(|o| state(o) == RunState::Partial).count();
    Exit::of_parts(good + partial, round.devices.len() - good)
}

fn table(round: &RoundOutcome) -> Table {
    let mut table = Table::new(["device", "artefact", "status", "size", "took", "note"]);
    for outcome in &round.devices {
        let name = || Cell::new(&outcome.device.name);
        let run = match &outcome.run {
            Ok(run) => run,
            Err(e) => {
                let status = if e.kind() == ErrorKind::Cancelled { "cancelled" } else { "failed" };
                table.row([
                    name(),
                    Cell::opt(None::<&str>),
                    Cell::new(status).tone(Tone::Bad),
                    dash(),
                    dash(),
                    Cell::new(e.kind().as_str()),
                ]);
                continue;
            }
        };
        let took = run.duration().map_or_else(dash, |d| Cell::number(human::duration(d)));
        if run.artefacts.is_empty() {
            let note = run.error.as_ref().map_or("", |e| e.kind.as_str());
            let state = Cell::new(run.state.as_str()).tone(tone_of_run(run.state));
            table.row([name(), Cell::opt(None::<&str>), state, dash(), took, Cell::new(note)]);
            continue;
        }
        for a in &run.artefacts {
            let (status, tone) = status_of(a);
            let size = if a.sha256.is_some() { Cell::number(human::size(a.size)) } else { dash() };
            table.row([
                name(),
                Cell::new(&a.artefact),
                Cell::new(status).tone(tone),
                size,
                took.clone(),
                Cell::new(note(a)),
            ]);
        }
    }
    table
}

fn dash() -> Cell {
    Cell::number("-").tone(Tone::Dim)
}

fn status_of(a: &ArtefactResult) -> (&'static str, Tone) {
    match a.status {
        ArtefactStatus::Stored if a.first => ("stored", Tone::Good),
        ArtefactStatus::Stored => ("stored", Tone::Warning),
        ArtefactStatus::Unchanged => ("unchanged", Tone::Dim),
        ArtefactStatus::Suspect => ("suspect", Tone::Bad),
        ArtefactStatus::Failed if !a.mandatory => ("failed", Tone::Warning),
        ArtefactStatus::Failed => ("failed", Tone::Bad),
    }
}

pub(crate) fn tone_of_run(state: RunState) -> Tone {
    match state {
        RunState::Succeeded => Tone::Good,
        RunState::Unchanged => Tone::Dim,
        RunState::Partial => Tone::Warning,
        RunState::Failed | RunState::Cancelled => Tone::Bad,
        RunState::Queued | RunState::Collecting | RunState::Storing => Tone::Plain,
    }
}

/// A word on a row; why things failed is told below the table.
fn note(a: &ArtefactResult) -> String {
    let failed: Vec<_> =
        a.copies.iter().filter(|c| c.status == CopyStatus::Failed).map(|c| c.destination.as_str()).collect();
    match a.status {
        ArtefactStatus::Suspect => a.suspect.join("; "),
        ArtefactStatus::Failed => a.error.as_ref().map_or_else(String::new, |e| e.kind.to_string()),
        _ if !failed.is_empty() => format!("not at {}", failed.join(", ")),
        ArtefactStatus::Stored if a.first => "first backup".to_owned(),
        ArtefactStatus::Stored => "changed".to_owned(),
        ArtefactStatus::Unchanged => String::new(),
    }
}

/// Every failure, by kind: what many devices have in common is told once.
fn tell_failures(context: &Context, round: &RoundOutcome) {
    /// So many devices of one kind of failure are named with their reason.
    const TOLD: usize = 5;
    let mut kinds: BTreeMap<&'static str, Vec<(&str, ErrorRecord)>> = BTreeMap::new();
    for outcome in &round.devices {
        for e in errors_of(outcome) {
            kinds.entry(e.kind.as_str()).or_default().push((&outcome.device.name, e));
        }
    }
    for (kind, failures) in &kinds {
        let devices: std::collections::BTreeSet<_> = failures.iter().map(|(d, _)| d).collect();
        context.ui.failure(&format!("{kind}: {}", human::count(devices.len(), "device")));
        for (device, e) in failures.iter().take(TOLD) {
            context.ui.failure_detail(&format!("{device}: {}", e.message));
        }
        if failures.len() > TOLD {
            context.ui.failure_detail(&format!("and {} more", failures.len() - TOLD));
        }
        let hints: std::collections::BTreeSet<_> = failures.iter().filter_map(|(_, e)| e.hint.as_deref()).collect();
        for hint in hints.iter().take(2) {
            context.ui.failure_hint(hint);
        }
    }
}

fn errors_of(outcome: &DeviceOutcome) -> Vec<ErrorRecord> {
    let run = match &outcome.run {
        Ok(run) => run,
        Err(e) => return vec![e.to_record()],
    };
    let mut all: Vec<ErrorRecord> = run.error.iter().cloned().collect();
    for a in &run.artefacts {
        // An artefact that was cut off by the end of the conversation repeats its reason.
        all.extend(
            a.error.iter().filter(|e| run.error.as_ref().is_none_or(|r| !e.message.contains(&r.message))).cloned(),
        );
        if a.status != ArtefactStatus::Failed {
            all.extend(a.copies.iter().filter_map(|c| c.error.clone()));
        }
    }
    all
}

fn summary(round: &RoundOutcome) -> String {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for outcome in &round.devices {
        let state = match &outcome.run {
            Ok(run) => run.state,
            Err(e) if e.kind() == ErrorKind::Cancelled => RunState::Cancelled,
            Err(_) => RunState::Failed,
        };
        *counts.entry(state.as_str()).or_default() += 1;
    }
    let order = ["succeeded", "unchanged", "partial", "failed", "cancelled", "queued", "collecting", "storing"];
    let parts: Vec<_> = order.iter().filter_map(|s| counts.get(s).map(|n| format!("{n} {s}"))).collect();
    let took = human::duration(round.took);
    format!("{}: {} in {took}", human::count(round.devices.len(), "device"), parts.join(", "))
}

async fn rows_of(
    instance: &Instance,
    destinations: &BTreeMap<DestinationId, DestinationConfig>,
    outcome: &DeviceOutcome,
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
        let mut row = about_run(a.status.as_str());
        row.artefact = Some(a.artefact.clone());
        row.kind = Some(a.kind.to_string());
        row.size = a.sha256.map(|_| a.size);
        row.sha256 = a.sha256.map(|d| d.to_string());
        row.suspect.clone_from(&a.suspect);
        row.backup = a.backup.map(|b| b.to_string());
        row.tell(a.error.as_ref().or(run.error.as_ref().filter(|_| a.status == ArtefactStatus::Failed)));
        row.copies = a.copies.iter().map(copy_row).collect();
        let original = a.copies.iter().find(|c| c.view == View::Original && c.storage_ref.is_some());
        if let Some((config, at)) =
            original.and_then(|c| Some((destinations.get(&c.destination)?, c.storage_ref.as_ref()?)))
        {
            row.path = path_of(instance, config, at);
        }
        // Of what is unchanged, size and hash are those of the file that is there: volatile lines may differ.
        if a.status == ArtefactStatus::Unchanged
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
    Ok(instance.catalog.find(&query, Page::first(1)).await?.items.into_iter().next())
}

/// The file of a copy; absolute, but for a folder of ad hoc backups, where it is relative to that folder.
fn path_of(instance: &Instance, config: &DestinationConfig, at: &StorageRef) -> Option<String> {
    let inside = wiring::file_of(config, at)?;
    let folder = config.options.get("path")?;
    if folder == crate::adhoc::FOLDER {
        return Some(inside);
    }
    Some(instance.home.join(folder).join(inside).display().to_string())
}

fn copy_row(c: &CopyResult) -> CopyRow {
    CopyRow {
        destination: c.destination.to_string(),
        view: c.view,
        status: c.status.as_str(),
        storage_ref: c.storage_ref.as_ref().map(ToString::to_string),
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
