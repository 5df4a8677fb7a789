//! What a round did: a table and a summary for people, an array of objects for programs.

mod rows;
mod summary;

use std::collections::BTreeSet;

use devicevault_core::run::{ArtefactResult, ArtefactStatus, CopyResult, CopyStatus, RunState};
use devicevault_core::{ErrorKind, Result};

use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::round::{DeviceOutcome, RoundOutcome};
use crate::ui::human;
use crate::ui::table::{Cell, Table, Tone};

/// Prints what a round did, and tells how the program ends.
///
/// # Errors
/// The catalog cannot be asked, or standard output not be written.
pub(crate) async fn round(context: &Context, instance: &Instance, round: &RoundOutcome, form: Form) -> Result<Exit> {
    match form {
        Form::Rows if context.ui.is_json() => context.ui.json(&rows::of(instance, round).await?)?,
        Form::Summary if context.ui.is_json() => context.ui.json(&summary::of(round))?,
        Form::Rows if !context.ui.is_quiet() => context.ui.table(table(round), "no device was backed up")?,
        _ => {}
    }
    if !context.ui.is_json() {
        tell_left_out(context, round);
        for e in &round.slips {
            context.ui.failure(&e.to_record().message);
            e.hint_text().into_iter().for_each(|hint| context.ui.failure_hint(hint));
        }
        summary::tell_failures(context, round, form);
        tell_deliveries(context, round);
        context.ui.note(&summary::line(round));
    }
    Ok(exit(round))
}

/// How much is told of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Every artefact.
    Rows,
    /// Counts and failures.
    Summary,
}

/// Partial runs count as failed, and make it `SomeFailed`: not all is done, and something is.
fn exit(round: &RoundOutcome) -> Exit {
    if round.interrupted {
        return Exit::Interrupted;
    }
    let state = |o: &DeviceOutcome| o.run.as_ref().map_or(RunState::Failed, |r| r.state);
    let good = round.devices.iter().filter(|o| state(o).is_good()).count();
    let partial = round.devices.iter().filter(|o| state(o) == RunState::Partial).count();
    // Where no device could even be called, the arguments or the configuration are to blame, and nothing was begun.
    let unbegun = |o: &DeviceOutcome| match &o.run {
        Ok(run) => run.artefacts.is_empty() && run.error.as_ref().is_some_and(|e| e.kind == ErrorKind::Config),
        Err(e) => e.kind() == ErrorKind::Config,
    };
    if !round.devices.is_empty() && round.devices.iter().all(unbegun) {
        return Exit::Usage;
    }
    Exit::of_parts(good + partial, round.devices.len() - good + round.slips.len())
}

/// Devices that are backed up by nobody: not a failure of this round, and never silent.
fn tell_left_out(context: &Context, round: &RoundOutcome) {
    /// So many are named.
    const NAMED: usize = 20;
    if round.left_out.is_empty() {
        return;
    }
    let names: Vec<_> = round.left_out.iter().take(NAMED).map(|d| d.name.as_str()).collect();
    let more = round.left_out.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (has, is) = if round.left_out.len() == 1 { ("has", "is") } else { ("have", "are") };
    context.ui.alert(&format!(
        "{} {has} none of the artefacts that are asked for, and {is} not backed up: {}{more}",
        human::count(round.left_out.len(), "device"),
        names.join(", ")
    ));
}

fn table(round: &RoundOutcome) -> Table {
    let mut table = Table::new(["device", "artefact", "status", "size", "took", "note"]);
    for device in &round.left_out {
        let status = Cell::new("left out").tone(Tone::Warning);
        let note = Cell::new("has none of what is asked for");
        table.row([Cell::new(&device.name), Cell::opt(None::<&str>), status, dash(), dash(), note]);
    }
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
            let (status, tone) = status_of(a, round);
            let size = if a.sha256.is_some() { Cell::number(human::size(a.size)) } else { dash() };
            table.row([
                name(),
                Cell::new(&a.artefact),
                Cell::new(status).tone(tone),
                size,
                took.clone(),
                Cell::new(note(a, round)),
            ]);
        }
    }
    table
}

fn dash() -> Cell {
    Cell::number("-").tone(Tone::Dim)
}

fn status_of(a: &ArtefactResult, round: &RoundOutcome) -> (&'static str, Tone) {
    match a.status {
        ArtefactStatus::Stored if word(a, round) != a.word() => (word(a, round), Tone::Bad),
        ArtefactStatus::Stored if a.first => ("stored", Tone::Good),
        ArtefactStatus::Stored => ("stored", Tone::Warning),
        ArtefactStatus::Unchanged => ("unchanged", Tone::Dim),
        ArtefactStatus::Suspect => (a.word(), Tone::Bad),
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

/// Whether a copy waits for its destination still, now that the round is over.
pub(super) fn waits(a: &ArtefactResult, c: &CopyResult, round: &RoundOutcome) -> bool {
    c.status == CopyStatus::Pending
        && a.backup.is_some_and(|backup| round.waiting.contains(&(backup, c.destination.clone())))
}

/// What became of an artefact; new content that only waits is stored nowhere yet.
pub(super) fn word(a: &ArtefactResult, round: &RoundOutcome) -> &'static str {
    let only_waits = a.status == ArtefactStatus::Stored
        && a.copies.iter().any(|c| waits(a, c, round))
        && a.copies.iter().all(|c| c.status == CopyStatus::Failed || waits(a, c, round));
    if only_waits { "waiting" } else { a.word() }
}

/// A word on a row; why things failed is told below the table.
fn note(a: &ArtefactResult, round: &RoundOutcome) -> String {
    let failed: Vec<_> =
        a.copies.iter().filter(|c| c.status == CopyStatus::Failed).map(|c| c.destination.as_str()).collect();
    let waits: Vec<_> = a.copies.iter().filter(|c| waits(a, c, round)).map(|c| c.destination.as_str()).collect();
    let unseen = a.copies.iter().filter(|c| c.status == CopyStatus::Extended && c.error.is_some());
    let unseen: Vec<_> = unseen.map(|c| c.destination.as_str()).collect();
    match a.status {
        ArtefactStatus::Suspect => a.suspect.join("; "),
        ArtefactStatus::Failed => a.error.as_ref().map_or_else(String::new, |e| e.kind.to_string()),
        _ if !failed.is_empty() => format!("not at {}", failed.join(", ")),
        _ if !waits.is_empty() => format!("waits for {}", waits.join(", ")),
        _ if !unseen.is_empty() => format!("not seen at {}", unseen.join(", ")),
        ArtefactStatus::Stored if a.first => "first backup".to_owned(),
        ArtefactStatus::Stored => "changed".to_owned(),
        ArtefactStatus::Unchanged => String::new(),
    }
}

/// What reached its destination late, what waits and what was given up.
fn tell_deliveries(context: &Context, round: &RoundOutcome) {
    for d in &round.delivered {
        if d.delivered > 0 {
            context.ui.note(&format!("{} waited for {} and arrived", human::copies(d.delivered), d.name));
        }
        for lost in &d.failed {
            context.ui.failure(&format!(
                "{}: {} given up for {}: {}",
                lost.device, lost.artefact, d.name, lost.error.message
            ));
        }
    }
    if !round.waiting.is_empty() {
        let places: BTreeSet<_> = round.waiting.iter().map(|(_, at)| at.as_str()).collect();
        let places: Vec<_> = places.into_iter().collect();
        context.ui.note(&format!(
            "{} for {}: the next backup, or `devicevault run deliver`, takes them there",
            human::copies_wait(round.waiting.len()),
            places.join(", ")
        ));
    }
}
