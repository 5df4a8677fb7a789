//! `devicevault run deliver`

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use devicevault_core::event::NoEvents;
use devicevault_core::{ErrorRecord, Result};
use serde::Serialize;

use crate::Exit;
use crate::context::Context;
use crate::delivery::{self, Delivered, GivenUp};
use crate::interrupt::cancellable;
use crate::pushing;
use crate::round::{self, RoundOptions};
use crate::ui::human;
use crate::ui::table::{Cell, Table, Tone};

/// Deliver what waits for destinations, without asking any device.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault run deliver
  devicevault run deliver --json

What a destination could not take waits sealed in the home's spool, seven days unless configured. Every backup delivers
it too, at its begin and at its end.")]
pub(crate) struct DeliverArgs {}

/// What became of what waited for a destination, as `run deliver --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Row {
    destination: String,
    delivered: usize,
    waiting: usize,
    failed: Vec<GivenUp>,
    error: Option<ErrorRecord>,
}

pub(crate) async fn run(context: &Context, _args: DeliverArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let spool = instance.spool().await?;
    // Closes runs of processes that died.
    instance.catalog.pending().await?;
    let options = RoundOptions::default();
    let engine = round::engine(&instance, &options, Arc::new(NoEvents), context.clock().clone(), spool.clone());
    let done = cancellable(delivery::deliver_what_waits(context, &instance, &engine, &spool, &BTreeSet::new())).await?;
    if done.iter().any(|d| d.delivered > 0) {
        pushing::after_round(context, &instance).await;
    }
    if context.ui.is_json() {
        context.ui.json(&done.iter().map(row).collect::<Vec<_>>())?;
    } else {
        context.ui.table(table(&done), "nothing waits")?;
        tell(context, &done);
    }
    let good = done.iter().map(|d| d.delivered).sum();
    let bad = done.iter().map(|d| d.waiting + d.failed.len()).sum();
    Ok(Exit::of_parts(good, bad))
}

fn row(d: &Delivered) -> Row {
    Row {
        destination: d.name.clone(),
        delivered: d.delivered,
        waiting: d.waiting,
        failed: d.failed.clone(),
        error: d.error.as_ref().map(ErrorRecord::from),
    }
}

fn table(done: &[Delivered]) -> Table {
    let mut table = Table::new(["destination", "delivered", "waiting", "given up"]);
    for d in done {
        let tone = if d.waiting > 0 { Tone::Warning } else { Tone::Good };
        table.row([
            Cell::new(&d.name).tone(tone),
            Cell::number(d.delivered),
            Cell::number(d.waiting),
            Cell::number(d.failed.len()),
        ]);
    }
    table
}

/// Why things wait or were given up.
fn tell(context: &Context, done: &[Delivered]) {
    for d in done {
        if let Some(e) = &d.error {
            context.ui.failure(&format!("{} for {}: {}", human::copies_wait(d.waiting), d.name, e.to_record().message));
            e.hint_text().into_iter().for_each(|hint| context.ui.failure_hint(hint));
        }
        for lost in &d.failed {
            context.ui.failure(&format!(
                "{}: {} given up for {}: {}",
                lost.device, lost.artefact, d.name, lost.error.message
            ));
        }
    }
}
