//! `devicevault catalog`

mod beside;
mod came_back;
mod check;
mod rebuild;
mod sealed;
mod told;

pub(crate) use beside::sweep;
use clap::Subcommand;
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;

/// What is done with the catalog as a whole.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault catalog check
  devicevault catalog rebuild --from store --from git")]
pub(crate) enum CatalogCommand {
    /// Compare it with what destinations hold
    Check(check::CheckArgs),
    /// Make it anew out of what destinations hold
    Rebuild(rebuild::RebuildArgs),
}

pub(crate) async fn run(context: &Context, command: CatalogCommand) -> Result<Exit> {
    match command {
        CatalogCommand::Check(args) => check::run(context, args).await,
        CatalogCommand::Rebuild(args) => rebuild::run(context, args).await,
    }
}
