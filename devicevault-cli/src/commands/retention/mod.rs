//! `devicevault retention`

mod apply;
mod pin;
mod rules;
mod show;

use clap::Subcommand;
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;

/// Say how long versions are kept, look at what would go, and let it go.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault retention show
  devicevault retention apply --dry-run
  devicevault retention pin core-rtr1 --backup 0197c2a0")]
pub(crate) enum RetentionCommand {
    /// Show what is kept where
    Show(show::ShowArgs),
    /// Delete the versions that no rule keeps
    Apply(apply::ApplyArgs),
    /// Keep a version whatever the rules say
    Pin(pin::PinArgs),
    /// Leave a version to the rules again
    Unpin(pin::PinArgs),
}

pub(crate) async fn run(context: &Context, command: RetentionCommand) -> Result<Exit> {
    match command {
        RetentionCommand::Show(args) => show::run(context, args).await,
        RetentionCommand::Apply(args) => apply::run(context, args).await,
        RetentionCommand::Pin(args) => pin::run(context, args, true).await,
        RetentionCommand::Unpin(args) => pin::run(context, args, false).await,
    }
}
