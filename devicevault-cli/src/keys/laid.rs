//! Whether a destination opens with a kit and nothing else: its epoch keys lie there, as the home has them.

use std::collections::BTreeMap;

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{ErrorKind, Result};
use devicevault_storage::seal::{EpochId, EpochObject};
use futures::TryStreamExt as _;

use crate::context::Context;
use crate::instance::Instance;
use crate::keys::lock::lock_at_once;
use crate::keys::noted;
use crate::ui::human;
use crate::ui::progress::counter;
use crate::wiring;
use crate::wiring::keys::{KeyFolder, Keys, destination_keys, is_sealed};

/// Epoch keys of the home that one of its keys does not open at a destination.
#[derive(Debug, Default)]
pub(crate) struct Lacking {
    epochs: Vec<EpochObject>,
    /// How many copies need them.
    pub(crate) copies: usize,
}

impl Lacking {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        let keys = human::count(self.epochs.len(), "epoch key");
        let is = if self.epochs.len() == 1 { "is" } else { "are" };
        let copies = human::copies(self.copies);
        format!("{copies} there cannot be opened with the recovery kit alone: {keys} {is} not there as the home has it")
    }
}

/// What a destination lacks of these keys. One that another home took over lacks nothing: that is told wherever it matters.
///
/// # Errors
/// What the destination answers.
pub(crate) async fn lacking(
    context: &Context,
    instance: &Instance,
    keys: &Keys,
    config: &DestinationConfig,
) -> Result<Lacking> {
    let folder = destination_keys(instance.backend_settings(config, false)).await?;
    let mut lacking = Lacking { epochs: not_there(keys, &folder).await?, copies: 0 };
    // What nothing was sealed with there need not be there.
    if !lacking.epochs.is_empty() {
        let copies = sealed_under(context, instance, config).await?;
        lacking.copies = lacking.epochs.iter().filter_map(|e| copies.get(&e.id)).sum();
    }
    Ok(lacking)
}

async fn not_there(keys: &Keys, folder: &KeyFolder) -> Result<Vec<EpochObject>> {
    match keys.refuse_taken_over(folder).await {
        Err(e) if e.kind() == ErrorKind::Conflict => return Ok(Vec::new()),
        asked => asked?,
    }
    let mut lacking = Vec::new();
    for epoch in keys.epochs() {
        let there = match folder.load(epoch.id).await {
            Err(e) if e.kind() == ErrorKind::Corrupt => None,
            other => other?,
        };
        if there.is_none_or(|there| !opens(keys, &epoch, &there)) {
            lacking.push(epoch);
        }
    }
    Ok(lacking)
}

/// Whether the object there opens by whatever key of the home opens ours; while one is replaced, the old one will do as long
/// as it opens all of them.
fn opens(keys: &Keys, ours: &EpochObject, there: &EpochObject) -> bool {
    let by = |id: &str| ours.wraps.iter().find(|w| w.kek.0 == id);
    let has = |id: &str| by(id).is_none_or(|w| there.wraps.contains(w));
    let sources = keys.sources();
    there == ours
        || sources.active().all(|k| has(&k.id))
        || sources.retiring().any(|k| by(&k.id).is_some() && has(&k.id) && opens_all(keys, &k.id))
}

/// Whether a key opens every epoch key of the home: none was made since its replacement began.
fn opens_all(keys: &Keys, id: &str) -> bool {
    keys.epochs().iter().all(|epoch| epoch.wraps.iter().any(|w| w.kek.0 == id))
}

/// Lays at these destinations what they lack, and tells where backups needed it. What keeps it back keeps no backup back.
pub(crate) async fn lay(context: &Context, instance: &Instance, places: impl Iterator<Item = &DestinationConfig>) {
    if !instance.is_home() || !instance.keys.is_set_up() {
        return;
    }
    if instance.keys.sources().retiring().next().is_some() {
        context.ui.warn(
            "a key is being replaced, and that is not finished: `devicevault key rotate --scope kek` goes on with it; keep \
             the recovery kits of both keys until then",
        );
    }
    let has_sealed = noted::has_sealed(&instance.home);
    for config in places.filter(|config| is_sealed(config) || has_sealed(config)) {
        match lay_at(context, instance, config).await {
            Ok(lacked) if lacked.copies > 0 => {
                let (name, what) = (&config.name, lacked.describe());
                context.ui.alert(&format!("{name}: {what}; it was laid there again"));
            }
            Ok(_) => {}
            Err(e) => context.ui.warn(&format!(
                "{}: whether its epoch keys are there, as the home has them, could not be seen to: {}",
                config.name,
                e.to_record().message
            )),
        }
        tell_foreign(context, instance, config).await;
    }
}

/// Tells of epoch keys at a destination that no key at hand opens, as a way back leaves them that was cut off before it took
/// them over: until then neither kit opens all that is there. A destination that cannot be asked has said so above.
async fn tell_foreign(context: &Context, instance: &Instance, config: &DestinationConfig) {
    let keys = foreign(context, instance, config).await.unwrap_or_default();
    if keys > 0 {
        let (name, are) = (&config.name, if keys == 1 { "is" } else { "are" });
        context.ui.warn(&format!(
            "{name}: {} there {are} of another home, or of a way back that was cut off, and no key at hand opens what is sealed \
             under them: with a key of theirs, `devicevault --kek-file KIT key check --repair` takes them over; keep that kit",
            human::count(keys, "epoch key")
        ));
    }
}

async fn foreign(context: &Context, instance: &Instance, config: &DestinationConfig) -> Result<usize> {
    let folder = destination_keys(instance.backend_settings(config, false)).await?;
    let found = instance.keys.foreign_epochs(&folder).await?;
    if found.is_empty() {
        return Ok(0);
    }
    // What this home has made since the program began is nobody else's; and who took the place over is told elsewhere.
    let keys = Keys::open(Some(&instance.home), &context.given_keys).await?;
    match keys.refuse_taken_over(&folder).await {
        Err(e) if e.kind() == ErrorKind::Conflict => return Ok(0),
        asked => asked?,
    }
    let still = keys.foreign_epochs(&folder).await?;
    Ok(found.iter().filter(|id| still.contains(id)).count())
}

async fn lay_at(context: &Context, instance: &Instance, config: &DestinationConfig) -> Result<Lacking> {
    // What the home has is what counts, not what it had when this program began.
    let open = || Keys::open(Some(&instance.home), &context.given_keys);
    let lacking = lacking(context, instance, &open().await?, config).await?;
    if lacking.epochs.is_empty() {
        return Ok(lacking);
    }
    let folder = destination_keys(instance.backend_settings(config, false)).await?;
    // Looking took as long as the destination did, and kept nobody from the keys: whoever changes them at the moment lays
    // them by the way, and what was changed meanwhile is laid as it is now.
    let Some(_alone) = lock_at_once(&instance.home).await else { return Ok(Lacking::default()) };
    let keys = open().await?;
    keys.refuse_taken_over(&folder).await?;
    for epoch in keys.epochs().iter().filter(|now| lacking.epochs.iter().any(|e| e.id == now.id)) {
        keys.refuse_damaged(epoch).await?;
        folder.publish(epoch).await?;
    }
    Ok(lacking)
}

/// Says how many copies at these destinations no key at hand opens. They are in no record of this home, and newer ones than
/// it knows may be among them. A destination that cannot be asked has said so where it was needed.
pub(crate) async fn tell_closed(
    context: &Context,
    instance: &Instance,
    places: impl IntoIterator<Item = DestinationConfig>,
) {
    for config in places.into_iter().filter(|config| config.kind == wiring::PLAIN) {
        let copies = closed(context, instance, &config).await.unwrap_or_default();
        if copies > 0 {
            let (name, copies) = (&config.name, human::copies(copies));
            context.ui.warn(&format!(
                "{name}: {copies} there are sealed under epoch keys that no key at hand opens, and were left out; with a key \
                 of theirs, `devicevault --kek-file KIT catalog rebuild --into --from {name}` brings them in"
            ));
        }
    }
}

async fn closed(context: &Context, instance: &Instance, config: &DestinationConfig) -> Result<usize> {
    let folder = destination_keys(instance.backend_settings(config, false)).await?;
    let foreign = instance.keys.foreign_epochs(&folder).await?;
    if foreign.is_empty() {
        return Ok(0);
    }
    let copies = sealed_under(context, instance, config).await?;
    Ok(foreign.iter().filter_map(|id| copies.get(id)).sum())
}

/// How many copies at a destination are sealed under each epoch key.
///
/// # Errors
/// What the destination answers.
pub(crate) async fn sealed_under(
    context: &Context,
    instance: &Instance,
    config: &DestinationConfig,
) -> Result<BTreeMap<EpochId, usize>> {
    let backend = wiring::open_sealed(instance.backend_settings(config, false)).await?;
    let bar = counter(&context.ui, 0, "manifests");
    let mut copies = BTreeMap::new();
    let mut each = backend.epochs();
    while let Some(epoch) = each.try_next().await? {
        bar.inc(1);
        *copies.entry(epoch).or_default() += 1;
    }
    bar.finish_and_clear();
    Ok(copies)
}
