//! `devicevault export`

use std::path::PathBuf;

use clap::Args;
use devicevault_core::Result;
use serde::Serialize;

use crate::Exit;
use crate::context::Context;
use crate::definitions::{Definitions, Format, write};
use crate::ui::human;

/// Write devices, destinations, policies and credentials to files that can be kept in Git. Secrets are not in them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault export --to inventory
  devicevault export --to inventory --format json
  devicevault export --to inventory && git -C inventory commit -am 'As of today'

`devicevault apply -f inventory` makes a home as they say.")]
pub(crate) struct ExportArgs {
    /// The folder; files of the same names in it are replaced
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// How they are written
    #[arg(long, default_value = "toml")]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Written {
    files: Vec<String>,
    devices: usize,
    destinations: usize,
    policies: usize,
    credentials: usize,
}

pub(crate) async fn run(context: &Context, args: ExportArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let all = Definitions::of(&instance).await?;
    let files = write(&all, &args.to, args.format)?;
    let told = Written {
        files: files.iter().map(|f| f.display().to_string()).collect(),
        devices: all.devices.len(),
        destinations: all.destinations.len(),
        policies: all.policies.len(),
        credentials: all.credentials.len(),
    };
    if context.ui.is_json() {
        context.ui.json(&told)?;
        return Ok(Exit::Done);
    }
    context.ui.note(&format!(
        "wrote {}, {}, {} policies and {} to {}",
        human::count(told.devices, "device"),
        human::count(told.destinations, "destination"),
        told.policies,
        human::count(told.credentials, "credential"),
        args.to.display()
    ));
    Ok(Exit::Done)
}
