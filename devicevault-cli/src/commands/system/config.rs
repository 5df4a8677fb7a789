//! `devicevault system config`

use clap::Args;
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;
use crate::ui::table::{Cell, Table, Tone};

/// Show what the program starts with, and where each setting comes from.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault system config
  devicevault --config /etc/devicevault.toml system config --json

Options go before the environment (DEVICEVAULT_ and the setting in capitals, such as DEVICEVAULT_BACKUP_SESSIONS), that
before the file, that before what holds by itself.")]
pub(crate) struct ConfigArgs {}

pub(super) fn run(context: &Context, _args: &ConfigArgs) -> Result<Exit> {
    let all = context.settings.effective();
    if context.ui.is_json() {
        context.ui.json(&all)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["setting", "value", "from"]);
    for e in &all {
        let from = e.place.as_ref().map_or_else(|| e.origin.to_owned(), |place| format!("{} {place}", e.origin));
        let tone = if e.origin == "default" { Tone::Dim } else { Tone::Plain };
        table.row([Cell::new(e.setting), Cell::opt(e.value.as_ref()), Cell::new(from).tone(tone)]);
    }
    context.ui.table(table, "")?;
    if context.settings.file.is_none() {
        context.ui.note("no configuration file was read");
    }
    Ok(Exit::Done)
}
