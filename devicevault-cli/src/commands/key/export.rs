//! `devicevault key export`

use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::no_keys;
use crate::commands::destination::refuse_key_inside;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::kit::{self, KitFacts};
use crate::wiring::keys::{Keys, is_sealed};
use crate::{Exit, files, wiring};

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
    let (kek, lines) = keys.kit(&instance.home).await?;
    let destinations = instance.inventory.destinations().await?;
    let sealed = destinations.into_iter().filter(is_sealed);
    let facts = KitFacts {
        home: &instance.home,
        kek: &kek,
        written: context.clock().now(),
        stores: sealed
            .map(|d| (wiring::place_of(&d, &instance.home), d))
            .map(|(place, d)| [d.name, d.kind, place.unwrap_or_default()])
            .collect(),
        epochs: keys.epochs().into_iter().map(|e| (e.id.to_string(), e.created)).collect(),
    };
    let text = zeroize::Zeroizing::new(kit::text(&facts, &lines));
    let name = kit::file_name(&kek);
    let path = match to {
        None => {
            // What an earlier command left in the home is the same kit, and perhaps an older text.
            let path = instance.home.join(&name);
            files::replace_private(&path, text.as_bytes())?;
            return Ok(path);
        }
        Some(folder) if folder.is_dir() => folder.join(&name),
        Some(file) => file.to_owned(),
    };
    files::write_new_private(&path, text.as_bytes()).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::AlreadyExists, "write recovery kit", "there is a file of this name already")
                .with("file", path.display())
                .hint("name another one")
        }
        _ => e,
    })?;
    Ok(path)
}
