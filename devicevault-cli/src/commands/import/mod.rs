//! `devicevault import`

mod git;

use clap::Subcommand;
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;

/// Take in what other programs have kept.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault import git /var/lib/oxidized/devices.git --dry-run
  devicevault import git /var/lib/oxidized/devices.git")]
pub(crate) enum ImportCommand {
    /// Take in the history of a Git repository, of Oxidized or RANCID, as backups
    Git(git::GitArgs),
}

pub(crate) async fn run(context: &Context, command: ImportCommand) -> Result<Exit> {
    match command {
        ImportCommand::Git(args) => Box::pin(git::run(context, args)).await,
    }
}
