//! `devicevault device remove`

use clap::Args;
use devicevault_core::Result;
use serde::Serialize;

use crate::Exit;
use crate::context::Context;
use crate::ui::human;

/// Remove devices; their backups and runs stay, and `history NAME` still finds them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault device remove old-sw
  devicevault device remove old-sw older-sw")]
pub(crate) struct RemoveArgs {
    /// What they are called
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: RemoveArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    // All names are looked up before the first goes: a slip removes nothing.
    let mut devices = Vec::new();
    for name in &args.names {
        devices.push(instance.device(name).await?);
    }
    for device in &devices {
        instance.inventory.remove_device(&device.id).await?;
    }
    if context.ui.is_json() {
        context.ui.json(&Removed { removed: devices.into_iter().map(|d| d.name).collect() })?;
        return Ok(Exit::Done);
    }
    context.ui.note(&format!("removed {}; backups stay", human::count(devices.len(), "device")));
    for d in devices {
        context.ui.note(&format!("{}: where another device takes the name, its versions open as {}", d.name, d.id));
    }
    Ok(Exit::Done)
}
