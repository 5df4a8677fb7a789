//! `devicevault key export`

use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::Result;
use serde::Serialize;

use super::no_keys;
use crate::Exit;
use crate::commands::destination::refuse_key_inside;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::kit;
use crate::wiring::keys::Keys;

/// Write the recovery kit: a text to be printed, with the key that opens every sealed store, and what to do with it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault key export --to /media/stick/kit.txt
  devicevault key export                            into the home; take it away from there")]
pub(crate) struct ExportArgs {
    /// The file, which is not there yet, or a folder
    #[arg(long, value_name = "FILE|DIR")]
    to: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Exported {
    file: String,
}

pub(super) async fn run(context: &Context, args: &ExportArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    if !instance.keys.is_set_up() {
        return Err(no_keys());
    }
    if let Some(to) = &args.to {
        refuse_key_inside(&instance, to).await?;
    }
    let path = write(context, &instance, args.to.as_deref()).await?;
    if context.ui.is_json() {
        context.ui.json(&Exported { file: path.display().to_string() })?;
    } else {
        context.ui.note(&advice(&path));
    }
    Ok(Exit::Done)
}

/// What is to be done with a kit.
pub(crate) fn advice(kit: &Path) -> String {
    format!(
        "the recovery kit is {}\nprint it, or copy it to a stick, keep that apart from this machine, and delete the file",
        kit.display()
    )
}

/// Writes the kit of an instance's keys; where it is.
///
/// # Errors
/// `Unsupported` where every key stays in its token; `AlreadyExists`; it cannot be written.
pub(crate) async fn write(context: &Context, instance: &Instance, to: Option<&Path>) -> Result<PathBuf> {
    write_for(context, instance, &instance.keys, to).await
}

/// The same for keys that are newer than the instance's.
///
/// # Errors
/// As [`write`].
pub(super) async fn write_for(
    context: &Context,
    instance: &Instance,
    keys: &Keys,
    to: Option<&Path>,
) -> Result<PathBuf> {
    let destinations = instance.inventory.destinations().await?;
    kit::write(&instance.home, keys, &destinations, context.clock().now(), to).await
}
