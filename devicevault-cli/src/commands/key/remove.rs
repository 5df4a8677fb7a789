//! `devicevault key remove`

use std::collections::BTreeSet;

use clap::Args;
use devicevault_core::key::KekId;
use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::{named, no_keys, settle};
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::elsewhere::Elsewhere;
use crate::keys::places::KeyedPlaces;

/// Let a key open nothing any more: its wraps are taken out of the epoch keys, here and at every destination.
///
/// Who has a copy of the key and of an epoch key from before can still open what was sealed then.
///
/// A key that the home was made with, of the kit of the home before it, is removed so too.
///
/// A key that was replaced, and is remembered for a destination that was removed, is forgotten with it.
///
/// The new key of a rotation that is not finished is removed too: the rotation is given up, and the old key stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault key remove 5f0c")]
pub(crate) struct RemoveArgs {
    /// The key's id, or the beginning of it
    #[arg(value_name = "KEY")]
    key: String,
}

#[derive(Debug, Serialize)]
struct Removed {
    id: String,
    gone: bool,
    behind: Vec<String>,
}

pub(super) async fn run(context: &Context, args: &RemoveArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    if !instance.keys.is_set_up() {
        return Err(no_keys());
    }
    let mut sources = instance.keys.sources().clone();
    let id = match named(&sources, &args.key) {
        Ok(source) => source.id.clone(),
        Err(e) => {
            if let Some(done) = not_of_this_home(context, &instance, &args.key).await? {
                return Ok(done);
            }
            return forget(context, &instance, &args.key).await?.ok_or(e);
        }
    };
    let given_up = sources.active().all(|k| k.id == id) && sources.retiring().any(|k| k.id != id);
    if given_up {
        sources.keys.iter_mut().for_each(|k| k.retiring = k.id == id);
    } else if sources.active().all(|k| k.id == id) {
        return Err(Error::new(ErrorKind::Conflict, "remove key", "it is the last one: nothing would open the store")
            .with("key", &id)
            .hint("add another one first, or replace it with `devicevault key rotate --scope kek`"));
    }
    settle::refuse_taken_over(&instance).await?;
    settle::ready(&instance.keys, |s| s.id != id && (given_up || !s.retiring)).await?;
    sources.keys.iter_mut().filter(|k| k.id == id).for_each(|k| k.retiring = true);
    let kit = settle::kit(context, &instance, &instance.keys.with_sources(&sources)).await?;
    sources.write(&instance.home)?;
    let mut settled = settle::settle(context, &instance, Some(kit)).await?;
    settled.kit_of_before = true;
    if context.ui.is_json() {
        let behind: Vec<_> = settled.behind.iter().map(|(name, _)| name.clone()).collect();
        context.ui.json(&Removed { gone: settled.gone.contains(&id), id, behind })?;
        return Ok(Exit::of_parts(1, settled.behind.len()));
    }
    Ok(settle::tell(context, &settled))
}

/// Lets a key open nothing any more that opens epoch keys of the home and is none of its own: that of the kit which the home
/// was made with. `None` where there is none of this id.
async fn not_of_this_home(context: &Context, instance: &Instance, id: &str) -> Result<Option<Exit>> {
    let (wanted, epochs, sources) = (id.to_lowercase(), instance.keys.epochs(), instance.keys.sources());
    let wraps = epochs.iter().flat_map(|e| &e.wraps).map(|w| &w.kek);
    let is_own = |kek: &&KekId| sources.keys.iter().any(|k| k.id == kek.0);
    let found: BTreeSet<&KekId> =
        wraps.filter(|k| !wanted.is_empty() && k.0.starts_with(&wanted) && !is_own(k)).collect();
    let [kek] = found.into_iter().collect::<Vec<_>>()[..] else { return Ok(None) };
    settle::refuse_taken_over(instance).await?;
    settle::ready(&instance.keys, |s| !s.retiring).await?;
    let places = KeyedPlaces::of(instance, sources).await?;
    if let Some((name, e)) = places.away.into_iter().next() {
        return Err(e
            .with("destination", name)
            .hint("a key is taken away everywhere at once: run this again when it is back"));
    }
    let named = places.reachable.into_iter().map(|(config, folder)| (config.name, folder)).collect();
    let done = instance.keys.settle(&instance.home, named, std::slice::from_ref(kek)).await?;
    let gone = if done.behind.is_empty() { vec![kek.0.clone()] } else { Vec::new() };
    let settled = settle::Settled { gone, behind: done.behind, ..settle::Settled::default() };
    if context.ui.is_json() {
        let behind: Vec<_> = settled.behind.iter().map(|(name, _)| name.clone()).collect();
        context.ui.json(&Removed { gone: behind.is_empty(), id: kek.0.clone(), behind })?;
        return Ok(Some(Exit::of_parts(1, settled.behind.len())));
    }
    Ok(Some(settle::tell(context, &settled)))
}

/// Forgets a key that is none of the home's any more, and what needed it; `None` where nothing did.
async fn forget(context: &Context, instance: &Instance, id: &str) -> Result<Option<Exit>> {
    let mut elsewhere = Elsewhere::read(&instance.home)?;
    let wanted = id.to_lowercase();
    let found: Vec<String> = elsewhere
        .keys()
        .into_iter()
        .filter(|k| !wanted.is_empty() && k.starts_with(&wanted))
        .map(str::to_owned)
        .collect();
    let [id] = found.as_slice() else { return Ok(None) };
    elsewhere.forget(&instance.home, id).await?;
    if context.ui.is_json() {
        context.ui.json(&Removed { id: id.clone(), gone: true, behind: Vec::new() })?;
    } else {
        context.ui.note(&format!("key {id} is forgotten, and what was removed and needed it; destroy its kit"));
    }
    Ok(Some(Exit::Done))
}
