//! `devicevault destination maintain`

use std::time::Duration;

use clap::Args;
use devicevault_core::catalog::recorded_at;
use devicevault_core::storage::{Budget, Report};
use devicevault_core::{Error, ErrorKind, ErrorRecord, Result, sightings};
use serde::Serialize;

use crate::Exit;
use crate::commands::catalog;
use crate::context::Context;
use crate::instance::{Instance, OpenDestination};
use crate::interrupt::cancellable;
use crate::ui::human;

/// Tidy destinations up: what broken writers left is removed after a day, a Git repository is repacked, and the records of
/// how long versions were valid are written anew. It may be interrupted at any time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault destination maintain                    all that are enabled; once a week is enough
  devicevault destination maintain git --budget 10m
  devicevault destination maintain store --dry-run
  devicevault destination maintain store --unnamed   whole content without a manifest goes too

A file, object or container that no manifest and no catalog names was left by a process that was killed, or is the only
copy of a version whose manifest was lost. It is told, and left unless you say --unnamed.

Exit codes: 0 done, 3 some destinations failed, 1 all did.")]
pub(crate) struct MaintainArgs {
    /// Only these; all that are enabled where none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Begin nothing new after this time
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = human::positive_duration)]
    budget: Duration,
    /// Remove whole content that no manifest and no catalog names, once it is a day old
    #[arg(long)]
    unnamed: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What was done at a destination, as `destination maintain --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Maintained {
    destination: String,
    dry_run: bool,
    done: Vec<String>,
    bytes_freed: u64,
    error: Option<ErrorRecord>,
}

pub(super) async fn run(context: &Context, args: MaintainArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    for name in &args.names {
        instance.destination(name).await?;
    }
    let wanted = |d: &devicevault_core::inventory::DestinationConfig| {
        if args.names.is_empty() { d.enabled } else { args.names.contains(&d.name) }
    };
    if !args.dry_run {
        let left = catalog::sweep(&instance.home);
        if left > 0 {
            context
                .ui
                .note(&format!("removed {} that were left where a rebuild was killed", human::count(left, "folder")));
        }
    }
    let open = instance.destinations_where(wanted).await?;
    let mut all = Vec::new();
    for destination in &open {
        let done = cancellable(one(context, &instance, destination, &args)).await;
        if let Err(e) = &done
            && e.kind() == ErrorKind::Cancelled
        {
            return Err(e.clone());
        }
        let (report, error) = match done {
            Ok(report) => (report, None),
            Err(e) => (Report::default(), Some(e.to_record())),
        };
        all.push(Maintained {
            destination: destination.config.name.clone(),
            dry_run: args.dry_run,
            done: report.done,
            bytes_freed: report.bytes_freed,
            error,
        });
    }
    tell(context, &all)?;
    let bad = all.iter().filter(|m| m.error.is_some()).count();
    Ok(Exit::of_parts(all.len() - bad, bad))
}

async fn one(
    context: &Context,
    instance: &Instance,
    destination: &OpenDestination,
    args: &MaintainArgs,
) -> Result<Report> {
    let backend = destination.backend.as_ref().map_err(Clone::clone)?;
    let mut budget = Budget::default();
    budget.duration = args.budget;
    budget.unnamed = args.unnamed;
    budget.recorded = recorded_at(instance.catalog.clone(), destination.config.id.clone());
    if args.dry_run {
        let cannot = || Error::new(ErrorKind::Unsupported, "maintain destination", "its kind cannot tell beforehand");
        return backend.foretell(budget).await?.ok_or_else(cannot);
    }
    let mut report = backend.maintain(budget).await?;
    let noted = sightings::note_all(
        &*instance.catalog,
        &*instance.inventory,
        &destination.config.id,
        &**backend,
        context.clock().now(),
    )
    .await?;
    if noted > 0 {
        report.done.push(format!("noted how long versions were valid: {}", human::count(noted, "month")));
    }
    Ok(report)
}

fn tell(context: &Context, all: &[Maintained]) -> Result<()> {
    let ui = &context.ui;
    if ui.is_json() {
        return ui.json(&all);
    }
    for m in all {
        if let Some(e) = &m.error {
            ui.failure(&format!("{}: {}", m.destination, e.message));
            continue;
        }
        for line in &m.done {
            ui.note(&format!("{}: {line}", m.destination));
        }
        let word = if m.dry_run { "would be freed" } else { "freed" };
        if m.done.is_empty() {
            ui.note(&format!("{}: there is nothing to do", m.destination));
        } else {
            ui.note(&format!("{}: {} {word}", m.destination, human::size(m.bytes_freed)));
        }
    }
    Ok(())
}
