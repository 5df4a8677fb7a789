//! `devicevault device`: what is backed up.

mod add;
mod csv;
mod edit;
pub(crate) mod fields;
mod host_key;
mod import;
mod jump;
mod list;
mod remove;
mod show;

use clap::Subcommand;
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;

/// Add, list, show, edit, remove and import devices.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault device add core-rtr1 --host 192.0.2.1 --platform cisco_ios --user backup --password-env PW
  devicevault device list --site zurich
  devicevault device import devices.csv --update")]
pub(crate) enum DeviceCommand {
    /// Add a device
    Add(Box<add::AddArgs>),
    /// List devices
    List(list::ListArgs),
    /// Show a device with its last runs and versions
    Show(show::ShowArgs),
    /// Change a device
    Edit(Box<edit::EditArgs>),
    /// Remove a device; its backups stay
    Remove(remove::RemoveArgs),
    /// Add many devices from a CSV file
    Import(import::ImportArgs),
    /// Show, import and forget the host keys of devices and jump hosts
    #[command(subcommand)]
    HostKey(host_key::HostKeyCommand),
}

pub(crate) async fn run(context: &Context, command: DeviceCommand) -> Result<Exit> {
    match command {
        DeviceCommand::Add(args) => add::run(context, *args).await,
        DeviceCommand::List(args) => list::run(context, args).await,
        DeviceCommand::Show(args) => show::run(context, args).await,
        DeviceCommand::Edit(args) => edit::run(context, *args).await,
        DeviceCommand::Remove(args) => remove::run(context, args).await,
        DeviceCommand::Import(args) => import::run(context, args).await,
        DeviceCommand::HostKey(command) => host_key::run(context, command).await,
    }
}
