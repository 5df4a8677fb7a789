//! `devicevault policy remove`

use clap::Args;
use devicevault_core::Result;
use serde::Serialize;

use crate::Exit;
use crate::context::Context;

/// Remove policies. Their devices go by other policies, or by the default; backups stay.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault policy remove core")]
pub(crate) struct RemoveArgs {
    /// What they are called
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: Vec<String>,
}

pub(super) async fn run(context: &Context, args: RemoveArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    for name in &args.names {
        instance.policy(name).await?;
    }
    for name in &args.names {
        instance.inventory.remove_policy(name).await?;
    }
    if context.ui.is_json() {
        context.ui.json(&Removed { removed: args.names })?;
    } else {
        context.ui.note(&format!("removed {}; backups stay", args.names.join(", ")));
    }
    Ok(Exit::Done)
}
