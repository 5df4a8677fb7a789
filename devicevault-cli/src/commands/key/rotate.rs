//! `devicevault key rotate`

use clap::{Args, ValueEnum};
use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::{data, named, no_keys, settle};
use crate::Exit;
use crate::commands::destination::refuse_new_key_inside;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::new::{NewKey, NewKeyArgs};
use crate::keys::sources::{KeyFrom, KeySources};
use crate::wiring::keys::{Keys, make_source};

/// Replace keys.
///
/// kek: a new key-encryption key takes the place of an old one. The epoch keys are wrapped anew, here and at every
/// destination; then the old key opens none of them. For a key file or kit that somebody saw.
///
/// epoch: what is stored from now on is sealed under a new epoch key. For an epoch key that somebody has: what was sealed
/// before stays readable to them.
///
/// data: besides, everything that is stored is sealed anew, with data keys of its own. An old copy goes when the new one
/// was read back and compared. It takes as long as reading and writing everything, and room for one more copy at a time.
/// After `--scope epoch` it goes on with the key that was made then.
///
/// A rotation that was cut off goes on where it stopped when the command is run again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault key rotate --scope kek                      a new key file in place of the old one
  devicevault key rotate --scope kek --ask-passphrase     a passphrase in place of it
  devicevault key rotate --scope epoch
  devicevault key rotate --scope data                     everything stored is sealed anew")]
pub(crate) struct RotateArgs {
    /// Which keys
    #[arg(long, value_name = "SCOPE")]
    scope: Scope,
    /// The key to be replaced: its id, or the beginning of it; of one key it need not be said
    #[arg(long, value_name = "KEY")]
    old: Option<String>,
    #[command(flatten)]
    new: NewKeyArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scope {
    Kek,
    Epoch,
    Data,
}

#[derive(Debug, Serialize)]
struct Rotated {
    scope: &'static str,
    new: Option<String>,
    gone: Vec<String>,
    behind: Vec<String>,
    recovery_kit: Option<String>,
}

pub(super) async fn run(context: &Context, args: &RotateArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    if !instance.keys.is_set_up() {
        return Err(no_keys());
    }
    settle::refuse_taken_over(&instance).await?;
    match args.scope {
        Scope::Kek => kek(context, &instance, args).await,
        Scope::Epoch => epoch(context, &instance).await,
        Scope::Data => Box::pin(data::rotate(context, &instance)).await,
    }
}

async fn kek(context: &Context, instance: &Instance, args: &RotateArgs) -> Result<Exit> {
    let mut sources = instance.keys.sources().clone();
    let mut kit = None;
    let new = if sources.retiring().next().is_some() {
        context.ui.note("a rotation was cut off: it is gone on with, and no new key is made");
        None
    } else {
        let old = match &args.old {
            Some(id) => named(&sources, id)?.id.clone(),
            None => only(instance)?,
        };
        let wanted = args.new.key()?;
        refuse_new_key_inside(instance, &wanted).await?;
        if wanted == NewKey::Generate(None) {
            of_the_same_kind(&sources, &old)?;
        }
        settle::ready(&instance.keys, |s| !s.retiring && s.id != old).await?;
        let source = make_source(&instance.home, &wanted, None, &context.given_keys.typed).await?;
        if sources.keys.iter().any(|k| k.id == source.id) {
            return Err(Error::new(ErrorKind::AlreadyExists, "replace key", "the new key is an old one")
                .with("key", &source.id));
        }
        instance.keys.never_retired(&source.id)?;
        let id = source.id.clone();
        sources.keys.iter_mut().filter(|k| k.id == old).for_each(|k| k.retiring = true);
        sources.keys.insert(0, source);
        // The kit first: there is no moment in which a key opens what no kit opens.
        kit = Some(settle::kit(context, instance, &instance.keys.with_sources(&sources)).await?);
        // One step: from here on the rotation is known, whatever happens.
        sources.write(&instance.home)?;
        Some(id)
    };
    let settled = settle::settle(context, instance, kit).await?;
    if context.ui.is_json() {
        let behind = settled.behind.iter().map(|(name, _)| name.clone()).collect();
        let parts = settled.behind.len();
        let (gone, recovery_kit) = (settled.gone, settled.kit);
        context.ui.json(&Rotated { scope: "kek", new, gone, behind, recovery_kit })?;
        return Ok(Exit::of_parts(1, parts));
    }
    if let Some(id) = new {
        let when = if settled.behind.is_empty() { "from now on" } else { "as soon as this is finished" };
        context.ui.note(&format!("key {id} opens everything {when}"));
    }
    Ok(settle::tell(context, &settled))
}

/// A key that lies in no file is not replaced by one in a file unless somebody says so.
fn of_the_same_kind(sources: &KeySources, old: &str) -> Result<()> {
    let is_file = |from: &KeyFrom| matches!(from, KeyFrom::Key { .. });
    match sources.keys.iter().find(|k| k.id == old) {
        Some(key) if !is_file(&key.from) => Err(Error::new(
            ErrorKind::Config,
            "replace key",
            "the key that goes lies in no file, and no new one is named",
        )
        .with("key", old)
        .with("from", key.from.describe())
        .hint("name the new one: --token LABEL …, --ask-passphrase …; --generate FILE makes a key file")),
        _ => Ok(()),
    }
}

fn only(instance: &Instance) -> Result<String> {
    let active: Vec<&str> = instance.keys.sources().active().map(|k| k.id.as_str()).collect();
    match active.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => Err(Error::new(ErrorKind::Config, "replace key", "there are several keys")
            .hint(format!("name the one that goes by --old: {}", active.join(", ")))),
    }
}

async fn epoch(context: &Context, instance: &Instance) -> Result<Exit> {
    // What the home has is what counts, not what it had when this program began.
    let keys = Keys::open(Some(&instance.home), &context.given_keys).await?;
    settle::kit_while_unfinished(context, instance, &keys).await?;
    let made = keys.new_epoch(&instance.home, context.clock().now()).await?;
    let id = made.id.to_string();
    if context.ui.is_json() {
        let (gone, behind) = (Vec::new(), Vec::new());
        context.ui.json(&Rotated { scope: "epoch", new: Some(id), gone, behind, recovery_kit: None })?;
    } else {
        context.ui.note(&format!("what is stored from now on is sealed under epoch key {id}"));
    }
    Ok(Exit::Done)
}
