//! Bringing the epoch keys in line with the sources. What the sources say is what is wanted; this may stop anywhere and
//! be run again.

use std::fs;

use devicevault_core::{Error, ErrorKind, Result};

use super::export;
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::kit::file_name;
use crate::keys::sources::{KeySource, KeySources};
use crate::wiring::keys::{KeyFolder, Keys, destination_keys, is_sealed};

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Epoch keys that were wrapped anew.
    pub(super) changed: usize,
    /// Destinations that could not be brought up to date, and why.
    pub(super) behind: Vec<(String, Error)>,
    /// Ids of keys that are no longer needed, and gone.
    pub(super) gone: Vec<String>,
    /// The new recovery kit.
    pub(super) kit: Option<String>,
}

/// What came of writing the kit of the keys that stay.
#[derive(Debug, Clone)]
pub(super) enum Kit {
    Written(String),
    /// Every key stays in its token. It was told.
    NotToBeHad,
}

/// Before anything is changed: every key that stays can be had and is what it was, and every epoch key opens.
///
/// # Errors
/// The first that does not.
pub(super) async fn ready(keys: &Keys, stays: impl Fn(&KeySource) -> bool) -> Result<()> {
    for (source, provider) in keys.held().filter(|(s, _)| stays(s)) {
        if provider.kek().await?.0 != source.id {
            let why = "another key lies where this one was";
            return Err(Error::new(ErrorKind::KeyUnavailable, "fetch key", why).with("key", &source.id));
        }
    }
    keys.open_all().await
}

/// Writes the kit of the keys that these sources leave. It is there before one of those that go opens less.
///
/// # Errors
/// It cannot be written.
pub(super) async fn kit(context: &Context, instance: &Instance, keys: &Keys) -> Result<Kit> {
    match export::write_for(context, instance, keys, None).await {
        Ok(path) => Ok(Kit::Written(path.display().to_string())),
        Err(e) if e.kind() == ErrorKind::Unsupported => {
            context.ui.warn(e.message());
            Ok(Kit::NotToBeHad)
        }
        Err(e) => Err(e),
    }
}

/// The same before a new epoch key is made while a key is retiring: the kit that people have may be that one's.
///
/// # Errors
/// As [`kit`].
pub(super) async fn kit_while_unfinished(context: &Context, instance: &Instance, keys: &Keys) -> Result<()> {
    if keys.sources().retiring().next().is_none() {
        return Ok(());
    }
    if let Kit::Written(path) = kit(context, instance, keys).await? {
        context.ui.warn(&format!(
            "a key is being replaced: what is sealed from now on opens by the new recovery kit alone, {path}\n\
             `devicevault key rotate --scope kek` finishes it"
        ));
    }
    Ok(())
}

/// Every sealed destination that is there, and those that are not.
async fn destinations(instance: &Instance) -> Result<(Vec<(String, KeyFolder)>, Vec<(String, Error)>)> {
    let (mut reachable, mut behind) = (Vec::new(), Vec::new());
    for config in instance.inventory.destinations().await?.into_iter().filter(is_sealed) {
        match destination_keys(instance.backend_settings(&config, false)).await {
            Ok(folder) => reachable.push((config.name, folder)),
            Err(e) => behind.push((config.name, e)),
        }
    }
    Ok((reachable, behind))
}

/// Refuses to change keys that were changed from another home since: the two would write over each other for ever.
///
/// # Errors
/// `Conflict` that names the destination. One that is away is asked when it is written to.
pub(super) async fn refuse_another(instance: &Instance) -> Result<()> {
    for (name, folder) in destinations(instance).await?.0 {
        for epoch in instance.keys.epochs() {
            match folder.refuse_another(&epoch).await {
                Err(e) if e.kind() == ErrorKind::Conflict => return Err(e.with("destination", name)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Wraps the epoch keys as the sources have it. A key that is retiring goes when nothing needs it any more: after the kit
/// of those that stay was written, and after everything was read back and opened without it.
///
/// # Errors
/// A key cannot be had, or the home cannot be written.
pub(super) async fn settle(context: &Context, instance: &Instance, written: Option<Kit>) -> Result<Settled> {
    let home = &instance.home;
    let keys = Keys::open(Some(home), &context.given_keys).await?;
    let retiring: Vec<_> = keys.sources().retiring().cloned().collect();
    let mut settled = Settled::default();
    if !retiring.is_empty() {
        ready(&keys, |s| !s.retiring).await?;
        let kit = match written {
            Some(kit) => kit,
            None => kit(context, instance, &keys).await?,
        };
        if let Kit::Written(path) = kit {
            settled.kit = Some(path);
        }
    }
    let (reachable, away) = destinations(instance).await?;
    let done = keys.settle(home, reachable, away.is_empty()).await?;
    (settled.changed, settled.behind) = (done.changed, away);
    settled.behind.extend(done.behind);
    if retiring.is_empty() || !settled.behind.is_empty() {
        return Ok(settled);
    }
    // Once more, of what is there now: what goes next does not come back.
    let (reachable, away) = destinations(instance).await?;
    settled.behind = keys.open_without_retiring(home, reachable).await?;
    settled.behind.extend(away);
    if !settled.behind.is_empty() {
        return Ok(settled);
    }
    KeySources { keys: keys.sources().active().cloned().collect() }.write(home)?;
    for source in retiring {
        if let Some(file) = source.from.file(home).filter(|f| f.starts_with(home)) {
            remove(context, &file);
        }
        remove(context, &home.join(file_name(&source.id)));
        settled.gone.push(source.id);
    }
    Ok(settled)
}

/// A file that stays opens nothing that is sealed from now on: it is told, and no error.
fn remove(context: &Context, path: &std::path::Path) {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            context.ui.warn(&format!("{} could not be deleted: {e}", path.display()));
        }
        _ => (),
    }
}

/// Tells what was done, and how the program ends.
pub(super) fn tell(context: &Context, settled: &Settled) -> Exit {
    for (name, e) in &settled.behind {
        context.ui.warn(&format!("the keys at {name} are not up to date: {}", e.to_record().message));
    }
    if !settled.behind.is_empty() {
        context.ui.note("run the same command again when it is back; until then, retiring keys stay in use");
    }
    for id in &settled.gone {
        context.ui.note(&format!("key {id} opens nothing any more, and is gone"));
    }
    if let Some(kit) = &settled.kit {
        let old =
            if settled.behind.is_empty() { "destroy the old one" } else { "keep the old one until this is finished" };
        context.ui.note(&format!("the recovery kit is a new one: {kit}\nprint it, take it away from here, and {old}"));
    }
    Exit::of_parts(1, settled.behind.len())
}
