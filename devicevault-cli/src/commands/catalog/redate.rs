//! `devicevault catalog redate`

use clap::Args;
use devicevault_core::catalog::{Page, Query, RunQuery};
use devicevault_core::{Result, Timestamp};
use serde::Serialize;

use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::interrupt::cancellable;
use crate::ui::human;
use crate::ui::table::{Cell, Table};

/// Put in order what was dated while the clock was ahead: what is dated after now is dated now. Nothing is done without
/// --yes: what is concerned is shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault catalog redate               what is dated after now
  devicevault catalog redate --yes         the clock was looked at, and is right

Dates of versions, copies and runs in the catalog are changed, and their order is kept; what destinations hold is left as it
is. A catalog that is rebuilt from them has the old dates again: then the same command puts them in order.")]
pub(crate) struct RedateArgs {
    /// Do it
    #[arg(long)]
    yes: bool,
}

/// What was found, as `catalog redate --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Told {
    now: Timestamp,
    /// Whether it was done, or only looked at.
    done: bool,
    versions: Vec<Version>,
    /// Runs that began after now.
    runs: usize,
}

#[derive(Debug, Serialize)]
struct Version {
    device: String,
    artefact: String,
    backup: String,
    first_seen: Timestamp,
    last_seen: Timestamp,
}

pub(crate) async fn run(context: &Context, args: RedateArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let now = context.clock().now();
    let mut query = Query::default();
    query.seen_since = Some(now);
    let found = cancellable(instance.find_all(&query, usize::MAX)).await?;
    let versions = found.into_iter().filter(|b| b.last_seen > now).map(|b| Version {
        device: b.device_name,
        artefact: b.artefact,
        backup: b.id.to_string(),
        first_seen: b.first_seen,
        last_seen: b.last_seen,
    });
    let told = Told {
        now,
        done: args.yes,
        versions: versions.collect(),
        runs: cancellable(runs_after(&instance, now)).await?,
    };
    if args.yes {
        instance.catalog.redate(now).await?;
        tracing::info!(event = "redated", versions = told.versions.len(), runs = told.runs, user = %context.user());
    }
    tell(context, &told)?;
    Ok(Exit::Done)
}

async fn runs_after(instance: &Instance, now: Timestamp) -> Result<usize> {
    let (mut after, mut page) = (0, Page::first(1000));
    loop {
        let found = instance.catalog.runs(&RunQuery::default(), page).await?;
        let ahead = found.items.iter().take_while(|run| run.start.started_at > now).count();
        after += ahead;
        match found.next.filter(|_| ahead == found.items.len()) {
            Some(next) => page = Page::after(1000, next),
            None => return Ok(after),
        }
    }
}

fn tell(context: &Context, told: &Told) -> Result<()> {
    let ui = &context.ui;
    if ui.is_json() {
        return ui.json(told);
    }
    let mut table = Table::new(["device", "artefact", "version", "first seen", "last seen"]);
    for v in &told.versions {
        table.row([
            Cell::new(&v.device),
            Cell::new(&v.artefact),
            Cell::new(&v.backup),
            Cell::new(human::time(v.first_seen)),
            Cell::new(human::time(v.last_seen)),
        ]);
    }
    ui.table(table, "no version is dated after now")?;
    let now = human::time(told.now);
    let what = format!("{} and {}", human::count(told.versions.len(), "version"), human::count(told.runs, "run"));
    match (told.done, told.versions.is_empty() && told.runs == 0) {
        (_, true) => {}
        (true, _) => ui.note(&format!("{what} are dated {now} now")),
        (false, _) => {
            ui.note(&format!("{what} are dated after now; the clock says {now}: where that is right, give --yes"));
        }
    }
    Ok(())
}
