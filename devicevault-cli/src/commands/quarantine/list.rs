//! `devicevault quarantine list`

use clap::Args;
use devicevault_core::Result;

use crate::context::Context;
use crate::ui::human;
use crate::ui::table::{Cell, Table, Tone};
use crate::{Exit, quarantine, reference};

/// List what is in quarantine, newest first, with the rules that it broke.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault quarantine list
  devicevault quarantine list fw1
  devicevault quarantine list --json")]
pub(crate) struct ListArgs {
    /// Only of this device
    device: Option<String>,
}

pub(crate) async fn run(context: &Context, args: ListArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let device = match &args.device {
        Some(name) => Some(instance.device_id(name).await?),
        None => None,
    };
    let held = quarantine::held(&instance, device).await?;
    if context.ui.is_json() {
        context.ui.json(&held)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["version", "device", "artefact", "first seen", "last seen", "size", "why"]);
    for (b, id) in held.iter().zip(reference::short_versions(&held)) {
        table.row([
            Cell::new(id),
            Cell::new(&b.device_name),
            Cell::new(&b.artefact),
            Cell::new(human::time(b.first_seen)),
            Cell::new(human::time(b.last_seen)),
            Cell::number(human::size(b.size)),
            Cell::new(b.suspect.join("; ")).tone(Tone::Bad),
        ]);
    }
    context.ui.table(table, "nothing is in quarantine")?;
    Ok(Exit::Done)
}
