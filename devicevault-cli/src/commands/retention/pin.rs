//! `devicevault retention pin` and `unpin`

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::Exit;
use crate::archive::Archive;
use crate::context::Context;
use crate::sightings::{self, Said};
use crate::versions::{self, Wanted};

/// Which version.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault retention pin core-rtr1                   the latest version
  devicevault retention pin core-rtr1 --backup latest~3
  devicevault retention unpin core-rtr1:inventory --backup 0197c2a0")]
pub(crate) struct PinArgs {
    /// The device, and after a colon the artefact
    #[arg(value_name = "DEVICE[:ARTEFACT]")]
    what: String,
    /// This version: an identifier or its beginning, latest~N, or a date or time
    #[arg(long, value_name = "VERSION", default_value = "latest")]
    backup: String,
}

#[derive(Debug, Serialize)]
struct Pinned {
    device: String,
    artefact: String,
    backup: String,
    pinned: bool,
}

pub(crate) async fn run(context: &Context, args: PinArgs, pinned: bool) -> Result<Exit> {
    let archive = Archive::of_instance(context.instance().await?).await?;
    let backup = &versions::one(&archive, &Wanted::parse(Some(&args.what), None), &args.backup).await?;
    let gone = || Error::new(ErrorKind::NotFound, "pin version", "it was removed meanwhile").with("version", backup.id);
    let known = match archive.instance() {
        Some(instance) => instance.catalog.pin(backup.id, pinned).await?,
        None => false,
    };
    if !known {
        return Err(gone());
    }
    if let Some(instance) = archive.instance() {
        let said = if pinned { Said::Otherwise } else { Said::Unpinned };
        sightings::note_of(context, instance, backup, said).await;
    }
    let done = Pinned {
        device: backup.device_name.clone(),
        artefact: backup.artefact.clone(),
        backup: backup.id.to_string(),
        pinned,
    };
    if context.ui.is_json() {
        context.ui.json(&done)?;
    } else {
        let what = if pinned { "is pinned: retention leaves it" } else { "is no longer pinned" };
        context.ui.note(&format!("{} {} of {} {what}", done.artefact, done.backup, done.device));
    }
    Ok(Exit::Done)
}
