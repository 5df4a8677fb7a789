//! `devicevault destination enable` and `disable`

use clap::Args;
use devicevault_core::Result;

use super::guard::refuse_without_original;
use crate::Exit;
use crate::context::Context;

/// Have backups stored there again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault destination enable offsite")]
pub(crate) struct EnableArgs {
    /// What they are called
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Store nothing there until it is enabled again. What it holds stays, and can be read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault destination disable offsite

What waits for it goes on waiting, as long as the home's spool keeps it.")]
pub(crate) struct DisableArgs {
    /// What they are called
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Accept that nothing keeps originals
    #[arg(long)]
    without_original: bool,
}

pub(super) async fn enable(context: &Context, args: EnableArgs) -> Result<Exit> {
    switch(context, &args.names, true, true).await
}

pub(super) async fn disable(context: &Context, args: DisableArgs) -> Result<Exit> {
    switch(context, &args.names, false, args.without_original).await
}

async fn switch(context: &Context, names: &[String], enabled: bool, without_original: bool) -> Result<Exit> {
    let instance = context.instance().await?;
    // All names are looked up before the first changes.
    let mut all = Vec::new();
    for name in names {
        let mut config = instance.destination(name).await?;
        config.enabled = enabled;
        all.push(config);
    }
    if !without_original {
        refuse_without_original(&instance, |d| all.iter().find(|c| c.id == d.id).cloned().or(Some(d))).await?;
    }
    for config in &all {
        instance.inventory.put_destination(config).await?;
    }
    if context.ui.is_json() {
        context.ui.json(&all)?;
    } else {
        let word = if enabled { "enabled" } else { "disabled" };
        context.ui.note(&format!("{word} {}", names.join(", ")));
    }
    Ok(Exit::Done)
}
