//! `devicevault destination`

mod add;
mod copy;
mod edit;
mod fields;
mod guard;
mod list;
mod maintain;
mod marker;
mod place;
mod remove;
mod show;
mod state;
mod switch;
mod test;

pub(crate) use add::{bring_up_to_date, set_up_new, warn_of_another_home};
pub(crate) use edit::{set_up_change, tell_used_up};
pub(crate) use fields::{beneath, check_name, check_options, check_policy_options};
pub(crate) use guard::refuse_without;
pub(crate) use place::{place_apart, refuse_key_inside, refuse_new_key_inside, refuse_shared_among, settled};

use clap::Subcommand;
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;

/// Look after destinations: where backups are kept.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault destination list
  devicevault destination add offsite --kind plain --path /mnt/offsite/devicevault
  devicevault destination test --all
  devicevault destination copy store offsite")]
pub(crate) enum DestinationCommand {
    /// Add a destination, set up and tested
    Add(add::AddArgs),
    /// List destinations with their last backups
    List(list::ListArgs),
    /// Show a destination: settings, last backups, what waits for it
    Show(show::ShowArgs),
    /// Test the connection: what a store really does
    Test(test::TestArgs),
    /// Change a destination
    Edit(edit::EditArgs),
    /// Have backups stored there again
    Enable(switch::EnableArgs),
    /// Store nothing there until it is enabled again
    Disable(switch::DisableArgs),
    /// Remove destinations from the home; what they hold stays where it is
    Remove(remove::RemoveArgs),
    /// Tidy up: remove what is left over, merge packs, note how long versions were valid
    Maintain(maintain::MaintainArgs),
    /// Copy all backups of a destination to another
    Copy(copy::CopyArgs),
}

pub(crate) async fn run(context: &Context, command: DestinationCommand) -> Result<Exit> {
    match command {
        DestinationCommand::Add(args) => add::run(context, args).await,
        DestinationCommand::List(args) => list::run(context, args).await,
        DestinationCommand::Show(args) => show::run(context, args).await,
        DestinationCommand::Test(args) => test::run(context, args).await,
        DestinationCommand::Edit(args) => edit::run(context, args).await,
        DestinationCommand::Enable(args) => switch::enable(context, args).await,
        DestinationCommand::Disable(args) => switch::disable(context, args).await,
        DestinationCommand::Remove(args) => remove::run(context, args).await,
        DestinationCommand::Maintain(args) => maintain::run(context, args).await,
        DestinationCommand::Copy(args) => Box::pin(copy::run(context, args)).await,
    }
}
