//! Bringing the epoch keys in line with the sources. What the sources say is what is wanted; this may stop anywhere and
//! be run again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use devicevault_core::key::KekId;
use devicevault_core::{Error, ErrorKind, Result};
use devicevault_storage::seal::EpochId;

use super::{export, needed};
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::elsewhere::{Elsewhere, Left};
use crate::keys::kit::file_name;
use crate::keys::places::KeyedPlaces;
use crate::keys::sources::{KeyFrom, KeySource, KeySources};
use crate::keys::{noted, spent};
use crate::ui::human;
use crate::wiring::keys::Keys;

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Epoch keys that were wrapped anew.
    pub(super) changed: usize,
    /// Epoch keys that destinations alone had, and the home has now.
    pub(super) adopted: usize,
    /// Destinations that could not be brought up to date, and why.
    pub(super) behind: Vec<(String, Error)>,
    /// Ids of keys that are no longer needed, and gone.
    pub(super) gone: Vec<String>,
    /// Removed destinations, and lost epoch keys, that open by a key which is gone, and by none that stays; with where that
    /// key is.
    pub(super) needed: Vec<(Left, StaysIn)>,
    /// The new recovery kit; none where no key takes another's place.
    pub(super) kit: Option<String>,
    /// It is the kit of a key that the home had before.
    pub(super) kit_of_before: bool,
}

/// Where a key is that this home needs no more, and something else does.
#[derive(Debug, Clone)]
pub(super) enum StaysIn {
    /// A file that stays in the home for that.
    File(PathBuf),
    /// A token. No kit can be of it.
    Token,
    /// Somewhere else.
    Elsewhere,
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
            "a key is being replaced: what is sealed from now on opens by the new recovery kit alone, {path}; \
             `devicevault key rotate --scope kek` finishes it"
        ));
    }
    Ok(())
}

/// Refuses to change keys that were changed from another home since: the two would write over each other for ever.
///
/// # Errors
/// `Conflict` that names the destination. One that is away is asked when it is written to.
pub(super) async fn refuse_taken_over(instance: &Instance) -> Result<()> {
    Elsewhere::read(&instance.home)?;
    for (name, folder) in KeyedPlaces::of(instance, instance.keys.sources()).await?.named() {
        match instance.keys.refuse_taken_over(&folder).await {
            Err(e) if e.kind() == ErrorKind::Conflict => return Err(e.with("destination", name)),
            _ => {}
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
    noted::note(instance).await;
    // Before anything is changed: without it nobody knows which keys stay.
    let mut elsewhere = Elsewhere::read(home)?;
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
    let places = KeyedPlaces::of(instance, keys.sources()).await?;
    settled.adopted = keys.adopt(home, places.named(), instance.now()).await?;
    elsewhere.find(home, &keys.epochs()).await?;
    let gone = retiring.iter().filter(|_| places.away.is_empty()).map(|s| KekId(s.id.clone()));
    let done = keys.settle(home, places.named(), &gone.collect::<Vec<_>>()).await?;
    (settled.changed, settled.behind) = (done.changed, places.away);
    settled.behind.extend(done.behind);
    if retiring.is_empty() || !settled.behind.is_empty() {
        return Ok(settled);
    }
    // Once more, of what is there now: what goes next does not come back.
    let places = KeyedPlaces::of(instance, keys.sources()).await?;
    settled.behind = keys.open_without_retiring(home, places.named()).await?;
    settled.behind.extend(places.away);
    if !settled.behind.is_empty() {
        return Ok(settled);
    }
    let mut lost: BTreeSet<EpochId> = keys.unreadable().collect();
    for (config, folder) in &places.reachable {
        match needed::lost(context, instance, &keys, config, folder).await {
            Ok(of_place) => lost.extend(of_place),
            Err(e) => settled.behind.push((config.name.clone(), e)),
        }
    }
    if !settled.behind.is_empty() {
        return Ok(settled);
    }
    for source in &retiring {
        elsewhere.lose(home, &lost, &source.id, instance.now()).await?;
    }
    let stays: Vec<String> = keys.sources().active().map(|k| k.id.clone()).collect();
    KeySources { keys: keys.sources().active().cloned().collect() }.write(home)?;
    for source in retiring {
        let needed: Vec<Left> = elsewhere.needing(&source.id, &stays).cloned().collect();
        let file = source.from.file(home).filter(|f| f.starts_with(home));
        if needed.is_empty() {
            if let Some(file) = file {
                remove(context, &file, &source.id).await;
            }
            remove(context, &home.join(file_name(&source.id)), &source.id).await;
        } else {
            let is_token = matches!(source.from, KeyFrom::Token { .. });
            if !is_token {
                // It may be the last copy of that key.
                let kept = file.clone().unwrap_or_else(|| home.join(file_name(&source.id)));
                elsewhere.keep_file(home, &source.id, &kept).await?;
            }
            let otherwise = if is_token { StaysIn::Token } else { StaysIn::Elsewhere };
            let stays = file.map_or(otherwise, StaysIn::File);
            settled.needed.extend(needed.into_iter().map(|left| (left, stays.clone())));
        }
        settled.gone.push(source.id);
    }
    Ok(settled)
}

/// Says that epoch keys were taken over.
pub(super) fn taken_over(adopted: usize) -> String {
    let (keys, is) = (human::count(adopted, "epoch key"), if adopted == 1 { "is" } else { "are" });
    format!("{keys} that destinations alone had {is} taken over into the home: its keys open them too")
}

/// A file that stays opens nothing that is sealed from now on: it is told, and no error.
async fn remove(context: &Context, path: &std::path::Path, key: &str) {
    if let Err(e) = spent::delete(path, key).await {
        context.ui.warn(&format!("{} could not be deleted: {}", path.display(), e.to_record().message));
    }
}

/// Tells what was done, and how the program ends.
pub(super) fn tell(context: &Context, settled: &Settled) -> Exit {
    if settled.adopted > 0 {
        context.ui.note(&taken_over(settled.adopted));
    }
    for (name, e) in &settled.behind {
        context.ui.warn(&format!("the keys at {name} are not up to date: {}", e.to_record().message));
    }
    if !settled.behind.is_empty() {
        context.ui.note("run the same command again when it is back; until then, retiring keys stay in use");
    }
    for id in &settled.gone {
        let rest =
            if settled.needed.iter().any(|(left, _)| left.keys.contains(id)) { " here" } else { ", and is gone" };
        context.ui.note(&format!("key {id} opens nothing any more{rest}"));
    }
    for (left, stays) in &settled.needed {
        let (file, keep) = match stays {
            StaysIn::File(f) => (format!(" (its file stays: {})", f.display()), "the kit of that key"),
            StaysIn::Token => (" in a token".to_owned(), "that token"),
            StaysIn::Elsewhere => (String::new(), "the kit of that key"),
        };
        let (which, what) = match left.lost_epoch {
            true => ("which backups are sealed under and is found nowhere", "a copy of it that comes up opens"),
            false => ("a destination that was removed", "it opens"),
        };
        context.ui.warn(&format!(
            "{}, {which}: {what} by key {}{file} and by no other: keep {keep} for it",
            left.describe(),
            left.keys_text()
        ));
    }
    if settled.needed.iter().any(|(left, _)| !left.lost_epoch) {
        context.ui.note(
            "`devicevault destination add` of that place lays the new keys there; when nothing there is needed any more, \
             `devicevault key remove KEY` forgets the old one",
        );
    }
    if let Some(kit) = &settled.kit {
        let old = match (settled.behind.is_empty(), settled.needed.is_empty()) {
            (false, _) => "keep the old one until this is finished",
            (true, true) => "destroy the old one",
            (true, false) if settled.needed.iter().all(|(left, _)| left.lost_epoch) => {
                "keep the old one for the epoch keys that are lost"
            }
            (true, false) => "keep the old one for the destinations that were removed",
        };
        if settled.kit_of_before {
            context.ui.note(&format!(
                "the recovery kit is that of a key which this home had before: {kit}\nprint it and take it away from here, or \
                 delete it where you have it already; as for the key that was removed, {old}"
            ));
            return Exit::of_parts(1, settled.behind.len());
        }
        context.ui.note(&format!("the recovery kit is a new one: {kit}\nprint it, take it away from here, and {old}"));
    }
    Exit::of_parts(1, settled.behind.len())
}
