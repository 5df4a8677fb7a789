//! `devicevault system`: the program itself.

mod completions;
mod config;
mod man;
mod reference;

use clap::{CommandFactory as _, Subcommand};
use devicevault_core::Result;

use crate::Exit;
use crate::args::Cli;
use crate::context::Context;

/// Completions for shells, manual pages, the reference of all commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault system completions bash > ~/.local/share/bash-completion/completions/devicevault
  devicevault system man --to ~/.local/share/man/man1
  devicevault system reference > devicevault.md")]
pub(crate) enum SystemCommand {
    /// Print the completions for a shell
    Completions(completions::CompletionsArgs),
    /// Show what the program starts with, and where each setting comes from
    Config(config::ConfigArgs),
    /// Write a manual page for every command
    Man(man::ManArgs),
    /// Print the reference of all commands, as Markdown
    Reference(reference::ReferenceArgs),
}

pub(crate) fn run(context: &Context, command: SystemCommand) -> Result<Exit> {
    match command {
        SystemCommand::Completions(args) => completions::run(context, &args),
        SystemCommand::Config(args) => config::run(context, &args),
        SystemCommand::Man(args) => man::run(context, &args),
        SystemCommand::Reference(_) => reference::run(context),
    }
}

/// Every command with its options, as clap has them.
fn commands() -> clap::Command {
    Cli::command()
}
