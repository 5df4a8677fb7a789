//! `devicevault quarantine remove`

use clap::Args;
use devicevault_core::run::{Backup, CopyStatus};
use devicevault_core::{Error, ErrorKind, Result, StorageBackendExt as _};
use serde::Serialize;

use super::Which;
use crate::Exit;
use crate::archive::Archive;
use crate::context::Context;
use crate::instance::Instance;

/// Delete a file that is in quarantine. A destination that cannot delete keeps it, and the catalog with it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault quarantine remove fw1:state                      the newest in quarantine
  devicevault quarantine remove fw1:state --backup 0197c2a0

Out of the history of Git, `devicevault git purge` takes it.")]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    which: Which,
}

/// What was removed, as `quarantine remove --json` tells it.
#[derive(Debug, Serialize)]
struct Removed {
    device: String,
    artefact: String,
    backup: String,
    /// Destinations where it is gone.
    removed_from: Vec<String>,
    /// Destinations that have it still, and why.
    left_at: Vec<Left>,
}

#[derive(Debug, Serialize)]
struct Left {
    destination: String,
    why: String,
}

pub(crate) async fn run(context: &Context, args: RemoveArgs) -> Result<Exit> {
    let archive = Archive::of_instance(context.instance().await?).await?;
    let backup = args.which.find(&archive).await?;
    let refuse = |why: &str, hint: &str| {
        Err(Error::new(ErrorKind::Conflict, "remove version", why).with("version", backup.id).hint(hint))
    };
    if backup.pinned {
        return refuse("it is pinned", "`devicevault retention unpin` lets it go");
    }
    if backup.copies.iter().any(|c| c.status == CopyStatus::Pending) {
        return refuse("a copy of it waits for its destination", "`devicevault run deliver` takes it there first");
    }
    let Some(instance) = archive.instance() else {
        return refuse("it is not in the catalog", "name it by its version");
    };
    let mut done = Removed {
        device: backup.device_name.clone(),
        artefact: backup.artefact.clone(),
        backup: backup.id.to_string(),
        removed_from: Vec::new(),
        left_at: Vec::new(),
    };
    remove(&archive, instance, &backup, &mut done).await?;
    tracing::info!(event = "quarantine_removed", device = %done.device, artefact = %done.artefact,
        backup = %done.backup, left_at = done.left_at.len(), user = %context.user());
    if context.ui.is_json() {
        context.ui.json(&done)?;
    } else {
        if !done.removed_from.is_empty() {
            let places = done.removed_from.join(", ");
            context.ui.note(&format!("{} of {} is gone from {places}", done.artefact, done.device));
        }
        for left in &done.left_at {
            context.ui.warn(&format!("{} has it still: {}", left.destination, left.why));
        }
    }
    Ok(Exit::of_parts(done.removed_from.len(), done.left_at.len()))
}

/// In the order of every deletion: marked in the catalog, deleted, forgotten. Retention finishes what stays marked.
async fn remove(archive: &Archive, instance: &Instance, backup: &Backup, done: &mut Removed) -> Result<()> {
    for copy in &backup.copies {
        let Some(at) = &copy.storage_ref else { continue };
        let destination = archive.place_name(&copy.destination).to_owned();
        let refs = std::slice::from_ref(at);
        let deleted = match archive.backend(&copy.destination).await {
            Ok(backend) if backend.capability().delete => {
                instance.catalog.mark(&copy.destination, refs).await?;
                backend.delete_one(at).await
            }
            Ok(_) => {
                let why = "it does not delete single versions";
                Err(Error::new(ErrorKind::Unsupported, "remove version", why))
            }
            Err(e) => Err(e.clone()),
        };
        match deleted {
            Ok(()) => {
                instance.catalog.forget(&copy.destination, refs).await?;
                done.removed_from.push(destination);
            }
            Err(e) => done.left_at.push(Left { destination, why: e.to_record().message }),
        }
    }
    Ok(())
}
