//! `devicevault device list`

use clap::Args;
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;
use crate::selection::SelectorArgs;
use crate::ui::table::{Cell, Table, Tone};

/// List devices.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault device list
  devicevault device list --site zurich --tag core
  devicevault device list --platform cisco_ios --json")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    selector: SelectorArgs,
}

pub(crate) async fn run(context: &Context, args: ListArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let mut selector = args.selector.selector();
    selector.disabled = true;
    let devices = instance.inventory.devices(&selector).await?;
    if context.ui.is_json() {
        context.ui.json(&devices)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["name", "host", "platform", "site", "group", "tags", "user", ""]);
    for d in &devices {
        let host = d.port.map_or_else(|| d.host.clone(), |port| format!("{}:{port}", d.host));
        let tags: Vec<_> = d.tags.iter().map(String::as_str).collect();
        table.row([
            Cell::new(&d.name),
            Cell::new(host),
            Cell::new(&d.platform),
            Cell::opt(d.site.as_ref()),
            Cell::opt(d.group.as_ref()),
            Cell::opt((!tags.is_empty()).then(|| tags.join(","))),
            Cell::opt(d.login.username.as_ref()),
            Cell::new(if d.enabled { "" } else { "disabled" }).tone(Tone::Warning),
        ]);
    }
    context.ui.table(table, "there is no such device")?;
    Ok(Exit::Done)
}
