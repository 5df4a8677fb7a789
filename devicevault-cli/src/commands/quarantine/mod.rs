//! `devicevault quarantine`

mod list;
mod release;
mod remove;

use clap::{Args, Subcommand};
use devicevault_core::run::Backup;
use devicevault_core::{Error, ErrorKind, Result};

use crate::Exit;
use crate::archive::Archive;
use crate::context::Context;
use crate::versions::{self, Wanted};

/// Look at files that broke a file rule, take them for good, or let them go.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault quarantine list
  devicevault quarantine release fw1:state
  devicevault quarantine remove fw1:state --backup 0197c2a0")]
pub(crate) enum QuarantineCommand {
    /// List what is in quarantine, and why
    List(list::ListArgs),
    /// Take a file for good: it is a version like any other from then on
    Release(release::ReleaseArgs),
    /// Delete a file that is in quarantine, at every destination that can delete
    Remove(remove::RemoveArgs),
}

pub(crate) async fn run(context: &Context, command: QuarantineCommand) -> Result<Exit> {
    match command {
        QuarantineCommand::List(args) => list::run(context, args).await,
        QuarantineCommand::Release(args) => release::run(context, args).await,
        QuarantineCommand::Remove(args) => remove::run(context, args).await,
    }
}

/// Which file.
#[derive(Debug, Args)]
struct Which {
    /// The device, and after a colon the artefact
    #[arg(value_name = "DEVICE[:ARTEFACT]")]
    what: String,
    /// This version instead of the newest in quarantine: an identifier or its beginning
    #[arg(long, value_name = "VERSION")]
    backup: Option<String>,
}

impl Which {
    /// The version in quarantine that is meant.
    async fn find(&self, archive: &Archive) -> Result<Backup> {
        let (_, found) = versions::of(archive, &Wanted::parse(Some(&self.what), None)).await?;
        let none = || {
            Error::new(ErrorKind::NotFound, "find version", "it is not in quarantine")
                .with("what", self.what.escape_debug())
                .hint("`devicevault quarantine list` shows what is; name the artefact after a colon")
        };
        let backup = match &self.backup {
            Some(reference) => versions::pick(archive, &found, reference)?,
            None => found.iter().find(|b| b.is_quarantined()).ok_or_else(none)?,
        };
        if backup.is_quarantined() { Ok(backup.clone()) } else { Err(none().with("version", backup.id)) }
    }
}
