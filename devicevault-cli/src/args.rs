//! The command line: options of all commands, and the list of commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use devicevault_core::Result;

use crate::Exit;
use crate::commands::{
    accept, apply, backup, catalog, credential, demo, destination, device, diff, download, export, git, history,
    import, init, key, platform, policy, quarantine, restore, retention, run, show, stats, system, verify,
};
use crate::context::Context;
use crate::logs::LogArgs;
use crate::ui::Ui;

const EXIT_CODES: &str = "\
Exit codes:
  0    all that was asked for is done
  1    it failed
  2    an argument or the configuration is wrong; nothing was begun
  3    some of it is done: some devices failed, or some backups are damaged
  130  interrupted";

const FIRST_STEPS: &str = "\
First steps:
  devicevault demo                      see it work on simulated devices
  devicevault backup --host 192.0.2.1 --platform cisco_ios --user backup --password-env PW --to ./backups
                                        back up one device, nothing before it
  devicevault init                      set up a home for many devices";

/// Keeps safe copies of what network devices hold.
#[derive(Debug, Parser)]
#[command(name = "devicevault", version, after_help = FIRST_STEPS,
    after_long_help = format!("{FIRST_STEPS}\n\n{EXIT_CODES}"), propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "General options")]
pub(crate) struct Global {
    /// Home folder: catalog, keys and stores [env: DEVICEVAULT_HOME] [default: $XDG_DATA_HOME/devicevault or
    /// ~/.local/share/devicevault]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// What the program starts with [env: DEVICEVAULT_CONFIG] [default: HOME/devicevault.toml, where it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Platform files of your own; they take the place of shipped ones by name [default: HOME/platforms]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) platforms_dir: Option<PathBuf>,
    /// A key file or recovery kit that opens sealed backups, besides the home's keys; may be given several times
    #[arg(long = "kek-file", global = true, value_name = "FILE")]
    pub(crate) kek_files: Vec<PathBuf>,
    /// A passphrase that opens sealed backups: the first line of this file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kek_passphrase_file: Option<PathBuf>,
    /// Print JSON for programs instead of tables; errors too, on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but what was asked for, and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// No colours; the environment variable NO_COLOR says the same
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

impl Global {
    pub(crate) fn ui(&self) -> Ui {
        // no-color.org: any value but an empty one counts.
        let no_color = self.no_color || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Ui::new(self.json, self.quiet, !no_color)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Set up a home: catalog, keys, a store for originals and a redacted Git repository
    Init(init::InitArgs),
    /// Add, list, show, edit, remove and import devices
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Look after destinations: where backups are kept
    #[command(subcommand)]
    Destination(destination::DestinationCommand),
    /// Make devices, destinations, policies and credentials as files say
    Apply(apply::ApplyArgs),
    /// Write devices, destinations, policies and credentials to files
    Export(export::ExportArgs),
    /// Say which devices go where
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Look after credentials: logins under a name, shared by devices
    #[command(subcommand)]
    Credential(credential::CredentialCommand),
    /// List, show and check platforms
    #[command(subcommand)]
    Platform(platform::PlatformCommand),
    /// Back up devices
    Backup(Box<backup::BackupArgs>),
    /// List and show runs: attempts to back up a device
    #[command(subcommand)]
    Run(run::RunCommand),
    /// List the versions that are kept
    History(history::HistoryArgs),
    /// Print a version
    Show(show::ShowArgs),
    /// Show what differs between two versions
    Diff(diff::DiffArgs),
    /// Write versions to files, checked
    Download(download::DownloadArgs),
    /// Write a device's artefacts to files, to be put back
    Restore(restore::RestoreArgs),
    /// Add up what is stored, and what that saved
    Stats(stats::StatsArgs),
    /// Check that what was stored is still what was stored
    Verify(verify::VerifyArgs),
    /// Compare the catalog with destinations, or make it anew
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Say how long versions are kept, and let the others go
    #[command(subcommand)]
    Retention(retention::RetentionCommand),
    /// Take a suspect version for good
    Accept(accept::AcceptArgs),
    /// Look at files that broke a rule: list, release or remove them
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Take in what other programs have kept
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Look after Git destinations: push them, and take out what must not be there
    #[command(subcommand)]
    Git(git::GitCommand),
    /// Look after the keys of sealed destinations
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Completions for shells, manual pages, the reference of all commands
    #[command(subcommand)]
    System(system::SystemCommand),
    /// See it work on simulated devices
    Demo(demo::DemoArgs),
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit> {
        match self {
            Self::Init(args) => init::run(context, &args).await,
            Self::Device(command) => device::run(context, command).await,
            Self::Destination(command) => Box::pin(destination::run(context, command)).await,
            Self::Apply(args) => Box::pin(apply::run(context, args)).await,
            Self::Export(args) => export::run(context, args).await,
            Self::Policy(command) => Box::pin(policy::run(context, command)).await,
            Self::Credential(command) => Box::pin(credential::run(context, command)).await,
            Self::Platform(command) => platform::run(context, command).await,
            Self::Backup(args) => Box::pin(backup::run(context, *args)).await,
            Self::Run(command) => run::run(context, command).await,
            Self::History(args) => history::run(context, args).await,
            Self::Show(args) => show::run(context, args).await,
            Self::Diff(args) => diff::run(context, args).await,
            Self::Download(args) => download::run(context, args).await,
            Self::Restore(args) => Box::pin(restore::run(context, args)).await,
            Self::Stats(args) => Box::pin(stats::run(context, args)).await,
            Self::Verify(args) => Box::pin(verify::run(context, args)).await,
            Self::Catalog(command) => Box::pin(catalog::run(context, command)).await,
            Self::Retention(command) => Box::pin(retention::run(context, command)).await,
            Self::Accept(args) => accept::run(context, args).await,
            Self::Quarantine(command) => Box::pin(quarantine::run(context, command)).await,
            Self::Import(command) => Box::pin(import::run(context, command)).await,
            Self::Git(command) => Box::pin(git::run(context, command)).await,
            Self::Key(command) => Box::pin(key::run(context, command)).await,
            Self::System(command) => system::run(context, command),
            Self::Demo(args) => Box::pin(demo::run(context, args)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("devicevault "), "{path} has no examples");
                check(sub, &path);
            }
        }
        check(&Cli::command(), "devicevault");
    }

    #[test]
    fn no_option_takes_a_secret() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments() {
                let name = arg.get_long().unwrap_or_default();
                assert!(!["password", "passphrase", "enable", "secret", "key"].contains(&name), "--{name}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
