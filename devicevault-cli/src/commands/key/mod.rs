//! `devicevault key`: the keys of sealed destinations.

mod add;
mod begun;
mod check;
mod data;
pub(crate) mod export;
pub(crate) mod init;
mod list;
mod needed;
mod remove;
mod rotate;
mod settle;

use clap::Subcommand;
use devicevault_core::{Error, ErrorKind, Result};

use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::lock::lock;
use crate::keys::places::KeyedPlaces;
use crate::keys::sources::{KeySource, KeySources};

/// Look after the keys of sealed destinations.
///
/// Backups are sealed under epoch keys, which lie wrapped in keys/ of the home and of every sealed destination. A
/// key-encryption key opens them: a file of the home unless you choose otherwise.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault key list
  devicevault key check
  devicevault key export --to /media/stick/kit.txt
  devicevault key rotate --scope kek")]
pub(crate) enum KeyCommand {
    /// Make the first keys of a home that has none
    Init(Box<init::InitArgs>),
    /// List the keys, and what each opens
    List(list::ListArgs),
    /// Let one more key open everything
    Add(Box<add::AddArgs>),
    /// Let a key open nothing any more
    Remove(remove::RemoveArgs),
    /// Replace keys
    Rotate(Box<rotate::RotateArgs>),
    /// Write the recovery kit
    Export(export::ExportArgs),
    /// Check that every key is where it should be, and opens what it should
    Check(check::CheckArgs),
}

impl KeyCommand {
    /// Whether it depends on keys that nobody else may change meanwhile.
    fn is_alone(&self) -> bool {
        match self {
            Self::Init(_) | Self::Add(_) | Self::Remove(_) | Self::Rotate(_) | Self::Export(_) => true,
            Self::List(_) => false,
            Self::Check(args) => args.repairs(),
        }
    }
}

pub(crate) async fn run(context: &Context, command: KeyCommand) -> Result<Exit> {
    // Before anything is read: what another command changes is read when that has ended.
    let home = context.home()?;
    let _alone = if command.is_alone() && Instance::exists(home) { Some(lock(home).await?) } else { None };
    match command {
        KeyCommand::Init(args) => init::run(context, &args).await,
        KeyCommand::List(args) => list::run(context, &args).await,
        KeyCommand::Add(args) => add::run(context, &args).await,
        KeyCommand::Remove(args) => remove::run(context, &args).await,
        KeyCommand::Rotate(args) => rotate::run(context, &args).await,
        KeyCommand::Export(args) => export::run(context, &args).await,
        KeyCommand::Check(args) => check::run(context, &args).await,
    }
}

/// Takes over epoch keys that sealed destinations alone have, as far as a key at hand opens them, and tells it. How many.
/// Whoever calls it holds the lock.
///
/// # Errors
/// A key of the home cannot be had, or the home cannot be written.
pub(crate) async fn take_over(context: &Context, instance: &Instance) -> Result<usize> {
    let places = KeyedPlaces::of(instance, instance.keys.sources()).await?;
    let adopted = instance.keys.adopt(&instance.home, places.named(), context.clock().now()).await?;
    if adopted > 0 {
        context.ui.note(&settle::taken_over(adopted));
    }
    Ok(adopted)
}

/// The key that an id, or the beginning of one, names.
fn named<'a>(sources: &'a KeySources, id: &str) -> Result<&'a KeySource> {
    let wanted = id.to_lowercase();
    let found: Vec<&KeySource> = sources.keys.iter().filter(|k| k.id.starts_with(&wanted)).collect();
    match found.as_slice() {
        [only] if !wanted.is_empty() => Ok(only),
        _ => {
            let ids: Vec<&str> = sources.keys.iter().map(|k| k.id.as_str()).collect();
            Err(Error::new(ErrorKind::NotFound, "find key", "no key, or more than one, has this id")
                .with("id", id.escape_debug())
                .hint(format!("the keys of this home are {}", ids.join(", "))))
        }
    }
}

fn no_keys() -> Error {
    Error::new(ErrorKind::Config, "use keys", "this home has no keys").hint("make them with `devicevault key init`")
}
