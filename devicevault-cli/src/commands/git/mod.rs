//! `devicevault git`

mod mend;
mod purge;
mod push;

use clap::Subcommand;
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;

/// Look after Git destinations: push them, take out what must not be there, and mend a history of which objects are lost.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault git push
  devicevault git push read --json
  devicevault git purge read --device core-rtr1
  devicevault git mend read")]
pub(crate) enum GitCommand {
    /// Push Git destinations to their remotes now
    Push(push::PushArgs),
    /// Take a device, an artefact, versions or a text out of history
    Purge(purge::PurgeArgs),
    /// Make a history whole again of which objects are lost, out of other destinations
    Mend(mend::MendArgs),
}

pub(crate) async fn run(context: &Context, command: GitCommand) -> Result<Exit> {
    match command {
        GitCommand::Push(args) => push::run(context, args).await,
        GitCommand::Purge(args) => Box::pin(purge::run(context, args)).await,
        GitCommand::Mend(args) => Box::pin(mend::run(context, args)).await,
    }
}
