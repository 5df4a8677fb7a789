//! A round in a few lines: how many devices ended how, and what went wrong, by kind.

use std::collections::{BTreeMap, BTreeSet};

use devicevault_core::run::{ArtefactStatus, CopyStatus, RunState};
use devicevault_core::{ErrorKind, ErrorRecord};
use serde::Serialize;

use super::{Form, waits};
use crate::context::Context;
use crate::round::{DeviceOutcome, RoundOutcome};
use crate::ui::human;

/// The object of `backup --summary --json`. The names are stable.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    devices: usize,
    /// How many devices ended in each state.
    states: BTreeMap<&'static str, usize>,
    duration_ms: u64,
    devices_per_second: f64,
    interrupted: bool,
    /// Copies that wait for their destination.
    waiting: usize,
    /// Devices that have none of the artefacts that are asked for: nobody backs them up.
    left_out: Vec<&'a str>,
    /// What policies ask for and none of their devices has.
    slips: Vec<String>,
    /// What went wrong, by kind of error, most devices first.
    failures: Vec<Kind<'a>>,
}

/// One kind of failure.
#[derive(Debug, Serialize)]
struct Kind<'a> {
    kind: &'static str,
    count: usize,
    devices: BTreeSet<&'a str>,
    /// What the first of them said.
    example: String,
    hints: BTreeSet<String>,
    #[serde(skip)]
    told: Vec<(&'a str, String)>,
}

pub(super) fn of(round: &RoundOutcome) -> Summary<'_> {
    let seconds = round.took.as_secs_f64();
    Summary {
        devices: round.devices.len(),
        states: states(round),
        duration_ms: u64::try_from(round.took.as_millis()).unwrap_or(u64::MAX),
        devices_per_second: if seconds > 0.0 { round.devices.len() as f64 / seconds } else { 0.0 },
        interrupted: round.interrupted,
        waiting: round.waiting.len(),
        left_out: round.left_out.iter().map(|d| d.name.as_str()).collect(),
        slips: round.slips.iter().map(|e| e.to_record().message).collect(),
        failures: failures(round),
    }
}

fn failures(round: &RoundOutcome) -> Vec<Kind<'_>> {
    let mut kinds: BTreeMap<&'static str, Kind<'_>> = BTreeMap::new();
    for outcome in &round.devices {
        for e in errors_of(outcome, round) {
            let name = outcome.device.name.as_str();
            let kind = kinds.entry(e.kind.as_str()).or_insert_with(|| Kind {
                kind: e.kind.as_str(),
                count: 0,
                devices: BTreeSet::new(),
                example: e.message.clone(),
                hints: BTreeSet::new(),
                told: Vec::new(),
            });
            kind.devices.insert(name);
            kind.count = kind.devices.len();
            kind.hints.extend(e.hint);
            // What happened to several artefacts of a device is told once.
            if !kind.told.iter().rev().take_while(|(d, _)| *d == name).any(|(_, m)| *m == e.message) {
                kind.told.push((name, e.message));
            }
        }
    }
    let mut all: Vec<_> = kinds.into_values().collect();
    all.sort_by_key(|k| std::cmp::Reverse(k.count));
    all
}

/// Every failure, by kind: what many devices have in common is told once.
pub(super) fn tell_failures(context: &Context, round: &RoundOutcome, form: Form) {
    /// So many devices of one kind of failure are named with their reason.
    const TOLD: usize = 5;
    /// So many more are named at all.
    const NAMED: usize = 50;
    for kind in failures(round) {
        context.ui.failure(&format!("{}: {}", kind.kind, human::count(kind.count, "device")));
        for (device, message) in kind.told.iter().take(TOLD) {
            context.ui.failure_detail(&format!("{device}: {message}"));
        }
        let told: BTreeSet<_> = kind.told.iter().take(TOLD).map(|(d, _)| d).collect();
        let others: Vec<&str> = kind.devices.iter().filter(|d| !told.contains(d)).copied().collect();
        match (kind.told.len().saturating_sub(TOLD), form) {
            (0, _) => {}
            // The table names them.
            (more, Form::Rows) => context.ui.failure_detail(&format!("and {more} more")),
            (_, Form::Summary) => {
                let named = others.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
                let rest = others.len().saturating_sub(NAMED);
                let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
                context.ui.failure_detail(&format!("also {named}{rest}"));
            }
        }
        for hint in kind.hints.iter().take(2) {
            context.ui.failure_hint(hint);
        }
    }
}

fn errors_of(outcome: &DeviceOutcome, round: &RoundOutcome) -> Vec<ErrorRecord> {
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
            let lasting = a.copies.iter().filter(|c| c.status != CopyStatus::Pending || waits(a, c, round));
            all.extend(lasting.filter_map(|c| c.error.clone()));
        }
    }
    all
}

fn states(round: &RoundOutcome) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for outcome in &round.devices {
        let state = match &outcome.run {
            Ok(run) => run.state,
            Err(e) if e.kind() == ErrorKind::Cancelled => RunState::Cancelled,
            Err(_) => RunState::Failed,
        };
        *counts.entry(state.as_str()).or_default() += 1;
    }
    counts
}

/// The round in one line.
pub(super) fn line(round: &RoundOutcome) -> String {
    let counts = states(round);
    let order = ["succeeded", "unchanged", "partial", "failed", "cancelled", "queued", "collecting", "storing"];
    let parts: Vec<_> = order.iter().filter_map(|s| counts.get(s).map(|n| format!("{n} {s}"))).collect();
    let took = human::duration(round.took);
    let left_out = round.left_out.len();
    let left_out = if left_out > 0 { format!("; {left_out} left out") } else { String::new() };
    if round.devices.is_empty() {
        return format!("no device was backed up{left_out}");
    }
    format!("{}: {} in {took}{left_out}", human::count(round.devices.len(), "device"), parts.join(", "))
}
