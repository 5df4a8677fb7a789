//! `devicevault accept`

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::Exit;
use crate::accepted;
use crate::archive::Archive;
use crate::context::Context;
use crate::sightings::{self, Said};
use crate::versions::{self, Wanted};

/// Take a suspect version for good: you have looked at it, and it is what the device holds.
///
/// A text that shrank by half, or holds an error message of the device, is kept and marked suspect, and later backups are
/// compared with the last good one. Where the change was meant, accept it: the same content is good from then on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault accept core-rtr1                          the newest version, if it is suspect
  devicevault accept core-rtr1:startup-config
  devicevault accept core-rtr1 --backup 0197c2a0")]
pub(crate) struct AcceptArgs {
    /// The device, and after a colon the artefact
    #[arg(value_name = "DEVICE[:ARTEFACT]")]
    what: String,
    /// This version instead of the newest: an identifier or its beginning
    #[arg(long, value_name = "VERSION")]
    backup: Option<String>,
}

/// What was accepted, as `accept --json` tells it.
#[derive(Debug, Serialize)]
struct Accepted {
    device: String,
    artefact: String,
    backup: String,
    was_suspect_because: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: AcceptArgs) -> Result<Exit> {
    let archive = Archive::of_instance(context.instance().await?).await?;
    let (_, found) = versions::of(&archive, &Wanted::parse(Some(&args.what), None)).await?;
    let backup = match &args.backup {
        Some(reference) => versions::pick(&archive, &found, reference)?,
        // `latest` passes over what is suspect; here that is what is meant.
        None => found.first().ok_or_else(|| not_suspect(&args.what))?,
    };
    if backup.suspect.is_empty() {
        return Err(not_suspect(&args.what).with("version", backup.id));
    }
    if backup.is_quarantined() {
        return Err(Error::new(ErrorKind::Quarantined, "accept version", "it broke a file rule, and is in quarantine")
            .with("version", backup.id)
            .hint("`devicevault quarantine list` says why, `devicevault quarantine release` takes it for good"));
    }
    let Some(instance) = archive.instance() else { return Err(not_suspect(&args.what)) };
    if !instance.catalog.accept(backup.id).await? {
        return Err(
            Error::new(ErrorKind::NotFound, "accept version", "it was removed meanwhile").with("version", backup.id)
        );
    }
    sightings::note_of(context, instance, backup, Said::Otherwise).await;
    accepted::show(context, instance, backup).await;
    let done = Accepted {
        device: backup.device_name.clone(),
        artefact: backup.artefact.clone(),
        backup: backup.id.to_string(),
        was_suspect_because: backup.suspect.clone(),
    };
    if context.ui.is_json() {
        context.ui.json(&done)?;
    } else {
        context.ui.note(&format!(
            "{} of {} is good now; it was suspect: {}",
            done.artefact,
            done.device,
            done.was_suspect_because.join("; ")
        ));
    }
    Ok(Exit::Done)
}

fn not_suspect(what: &str) -> Error {
    Error::new(ErrorKind::Conflict, "accept version", "it is not suspect")
        .with("what", what.escape_debug())
        .hint("`devicevault history` shows which versions are")
}
