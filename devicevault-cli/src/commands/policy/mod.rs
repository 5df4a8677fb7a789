//! `devicevault policy`

mod add;
mod edit;
mod fields;
mod list;
mod remove;
mod show;

pub(crate) use fields::{Known, check, check_destinations, check_rules};

use clap::Subcommand;
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;

/// Say which devices go where.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault policy add core --tag core --to store --to offsite
  devicevault policy list
  devicevault backup --policy core

A device goes where the policies that select it send it, taken together. One that no policy selects goes by the default:
all artefacts to all enabled destinations.")]
pub(crate) enum PolicyCommand {
    /// Add a policy
    Add(add::AddArgs),
    /// List policies
    List(list::ListArgs),
    /// Show a policy and the devices that it selects
    Show(show::ShowArgs),
    /// Change a policy
    Edit(edit::EditArgs),
    /// Remove policies
    Remove(remove::RemoveArgs),
}

pub(crate) async fn run(context: &Context, command: PolicyCommand) -> Result<Exit> {
    match command {
        PolicyCommand::Add(args) => add::run(context, args).await,
        PolicyCommand::List(args) => list::run(context, args).await,
        PolicyCommand::Show(args) => show::run(context, args).await,
        PolicyCommand::Edit(args) => edit::run(context, args).await,
        PolicyCommand::Remove(args) => remove::run(context, args).await,
    }
}
