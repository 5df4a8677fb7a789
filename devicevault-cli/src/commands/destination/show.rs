//! `devicevault destination show`

use clap::Args;
use devicevault_core::catalog::{CatalogExt as _, Query};
use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::state::{self, LastBackup, State};
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::pushing::Standing;
use crate::ui::paint::Style;
use crate::ui::table::{Cell, Table};
use crate::ui::{escape, human};

/// Show a destination.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault destination show store
  devicevault destination show store --json")]
pub(crate) struct ShowArgs {
    /// What it is called
    name: String,
}

/// What waits for it.
#[derive(Debug, Serialize)]
struct Waits {
    device: String,
    artefact: String,
    backup: devicevault_core::BackupId,
    run: devicevault_core::RunId,
    attempts: u32,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    state: State,
    last_backups: Vec<LastBackup>,
    waits: Vec<Waits>,
}

pub(super) async fn run(context: &Context, args: ShowArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let config = instance.destination(&args.name).await?;
    let state = state::all(&instance).await?.into_iter().find(|s| s.config.id == config.id);
    let gone = || Error::new(ErrorKind::NotFound, "show destination", "it was removed this moment");
    let state = state.ok_or_else(gone)?;
    let last = state::last_backups(&instance, &config, 10).await?;
    let last_backups = last.iter().filter_map(|b| LastBackup::of(&config, b)).collect();
    let shown = Shown { waits: waits(&instance, &state).await?, state, last_backups };
    if context.ui.is_json() {
        context.ui.json(&shown)?;
        return Ok(Exit::Done);
    }
    tell(context, &shown)
}

async fn waits(instance: &Instance, state: &State) -> Result<Vec<Waits>> {
    let mut all = Vec::new();
    let pending = instance.catalog.pending().await?;
    for copy in pending.into_iter().filter(|c| c.destination == state.config.id) {
        let mut query = Query::default();
        query.id = Some(copy.backup);
        let backup = instance.catalog.newest(&query).await?;
        all.extend(backup.map(|b| Waits {
            device: b.device_name,
            artefact: b.artefact,
            backup: copy.backup,
            run: copy.run,
            attempts: copy.attempts,
        }));
    }
    Ok(all)
}

fn remote(r: &Standing) -> String {
    match (&r.error, r.pushed_at) {
        (Some(e), _) => format!("{}, the last push failed: {}", r.url, e.message),
        (None, Some(at)) => format!("{}, pushed {}", r.url, human::time(at)),
        (None, None) => format!("{}, nothing pushed yet", r.url),
    }
}

fn tell(context: &Context, shown: &Shown) -> Result<Exit> {
    let (ui, d) = (&context.ui, &shown.state.config);
    let options: Vec<_> = d.options.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let all = [
        ("name", Some(d.name.clone())),
        ("id", (d.id.as_str() != d.name).then(|| d.id.to_string())),
        ("kind", Some(d.kind.clone())),
        ("view", Some(d.view.to_string())),
        ("sealed", shown.state.sealed.map(yes_no)),
        ("options", (!options.is_empty()).then(|| options.join(", "))),
        ("remote", shown.state.remote.as_ref().map(remote)),
        ("enabled", Some(yes_no(d.enabled))),
        ("created", d.created_at.map(human::time)),
        ("created by", d.created_by.clone()),
    ];
    for (name, value) in all {
        if let Some(value) = value {
            ui.line(&format!("{name:14} {}", escape::text(&value)))?;
        }
    }
    ui.line(&format!("\n{}", ui.paint().on(Style::Bold, "Last backups")))?;
    let mut table = Table::new(["device", "artefact", "last seen", "status"]);
    for b in &shown.last_backups {
        table.row([Cell::new(&b.device), Cell::new(&b.artefact), Cell::new(human::time(b.at)), Cell::new(b.status)]);
    }
    ui.table(table, "none yet")?;
    if !shown.waits.is_empty() {
        ui.line(&format!("\n{}", ui.paint().on(Style::Bold, "Waiting")))?;
        let mut table = Table::new(["device", "artefact", "version", "attempts"]);
        for w in &shown.waits {
            table.row([
                Cell::new(&w.device),
                Cell::new(&w.artefact),
                Cell::new(w.backup.to_string()),
                Cell::number(w.attempts),
            ]);
        }
        ui.table(table, "")?;
    }
    Ok(Exit::Done)
}
