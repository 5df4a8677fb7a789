//! `devicevault quarantine release`

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::Which;
use crate::archive::Archive;
use crate::context::Context;
use crate::sightings::{self, Said};
use crate::{Exit, accepted};

/// Take a file for good: you have looked at it. It is a version like any other from then on, what later backups are
/// compared with, and the same content breaks no rule any more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault quarantine release fw1:state                     the newest in quarantine
  devicevault quarantine release fw1:state --backup 0197c2a0")]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    which: Which,
}

/// What was released, as `quarantine release --json` tells it.
#[derive(Debug, Serialize)]
struct Released {
    device: String,
    artefact: String,
    backup: String,
    was_quarantined_because: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: ReleaseArgs) -> Result<Exit> {
    let archive = Archive::of_instance(context.instance().await?).await?;
    let backup = args.which.find(&archive).await?;
    let gone =
        || Error::new(ErrorKind::NotFound, "release version", "it was removed meanwhile").with("version", backup.id);
    let Some(instance) = archive.instance() else { return Err(gone()) };
    if !instance.catalog.accept(backup.id).await? {
        return Err(gone());
    }
    tracing::info!(event = "quarantine_released", device = %backup.device_name, artefact = %backup.artefact,
        backup = %backup.id, user = %context.user());
    sightings::note_of(context, instance, &backup, Said::Otherwise).await;
    accepted::show(context, instance, &backup).await;
    let done = Released {
        device: backup.device_name,
        artefact: backup.artefact,
        backup: backup.id.to_string(),
        was_quarantined_because: backup.suspect,
    };
    if context.ui.is_json() {
        context.ui.json(&done)?;
    } else {
        let why = done.was_quarantined_because.join("; ");
        context.ui.note(&format!("{} of {} is released; it was in quarantine: {why}", done.artefact, done.device));
    }
    Ok(Exit::Done)
}
