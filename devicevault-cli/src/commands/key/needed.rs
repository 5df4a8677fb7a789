//! Epoch keys that backups need, and whether somebody holds them.

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result};
use devicevault_storage::seal::EpochId;

use super::check::behind;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::laid::sealed_under;
use crate::ui::human;
use crate::wiring::keys::{KeyFolder, Keys};

/// Looks under which epoch keys a destination's backups are sealed, and whether each of them opens, also with nothing but
/// the destination and a kit. One that is not there for that is laid there, where that is wanted.
///
/// # Errors
/// `KeyUnavailable` where one is nowhere, `Conflict` where it is another home's, at the destination alone, or not there;
/// what the destination answers.
pub(super) async fn check(
    context: &Context,
    instance: &Instance,
    config: &DestinationConfig,
    folder: &KeyFolder,
    repair: bool,
) -> Result<()> {
    let copies = sealed_under(context, instance, config).await?;
    let of = |id: &EpochId| copies.get(id).copied().unwrap_or_default();
    let lacks = |id: &&EpochId| instance.keys.epochs().iter().all(|e| e.id != **id);
    let there = there(&instance.keys, folder).await?;
    let gone: Vec<&EpochId> = copies.keys().filter(|id| !there.contains(*id)).filter(lacks).collect();
    if let Some(first) = gone.first() {
        let lost: usize = gone.iter().map(|id| of(id)).sum();
        let keys = human::count(gone.len(), "epoch key");
        let why = format!(
            "{} cannot be opened: {keys} that sealed them can be found neither here nor there",
            human::copies(lost)
        );
        let e = Error::new(ErrorKind::KeyUnavailable, "check keys", why).with("epoch", first);
        return Err(e.hint(format!(
            "where another destination has it, `devicevault key check --repair` takes it from there; else {}",
            bring_back(**first)
        )));
    }
    let foreign = instance.keys.foreign_epochs(folder).await?;
    if let Some(first) = foreign.first() {
        let (keys, lost) = (human::count(foreign.len(), "epoch key"), foreign.iter().map(of).sum());
        let why = format!("{keys} there are not of this home: {} cannot be opened", human::copies(lost));
        return Err(Error::new(ErrorKind::Conflict, "check keys", why).with("epoch", first).hint(
            "the key or kit of the home that made them opens them; with that at hand, \
             `devicevault --kek-file KIT key check --repair` takes them over into this home, and `devicevault catalog \
             rebuild --into --from DESTINATION` brings in what they sealed",
        ));
    }
    for epoch in instance.keys.epochs().iter().filter(|e| of(&e.id) > 0 && !there.contains(&e.id)) {
        if !repair {
            let why = format!("an epoch key is not there: {} open by this home alone", human::copies(of(&epoch.id)));
            return Err(behind(&why).with("epoch", epoch.id));
        }
        folder.publish(epoch).await?;
    }
    match there.iter().filter(lacks).find(|id| of(id) > 0) {
        Some(_) => Err(behind("an epoch key that opens is there alone, and not in the home")),
        None => Ok(()),
    }
}

/// Epoch keys under which something at a destination is sealed, and that are found neither there nor in the home.
///
/// # Errors
/// What the destination answers.
pub(super) async fn lost(
    context: &Context,
    instance: &Instance,
    keys: &Keys,
    config: &DestinationConfig,
    folder: &KeyFolder,
) -> Result<Vec<EpochId>> {
    let found = there(keys, folder).await?;
    let is_lost = |id: &EpochId| !found.contains(id) && keys.epochs().iter().all(|e| e.id != *id);
    Ok(sealed_under(context, instance, config).await?.into_keys().filter(is_lost).collect())
}

/// The epoch keys that lie at a destination. What is no object there is one where the home has it.
async fn there(keys: &Keys, folder: &KeyFolder) -> Result<Vec<EpochId>> {
    let mut there = Vec::new();
    for id in folder.list().await? {
        let is_object = match folder.load(id).await {
            Err(e) if e.kind() == ErrorKind::Corrupt => keys.epochs().iter().any(|e| e.id == id),
            other => other.map(|_| true)?,
        };
        there.extend(is_object.then_some(id));
    }
    Ok(there)
}

/// What is to be done about an epoch key that is nowhere.
pub(super) fn bring_back(id: EpochId) -> String {
    format!("bring keys/{id}.json back, from a copy of this home or of any destination, into keys/ of the home")
}
