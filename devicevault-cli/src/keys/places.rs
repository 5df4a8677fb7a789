//! Where epoch keys lie besides the home.

use devicevault_core::catalog::{Page, Query};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, Result};

use crate::instance::Instance;
use crate::keys::noted;
use crate::keys::sources::KeySources;
use crate::wiring;
use crate::wiring::keys::{KeyFolder, destination_keys, is_sealed};

/// Destinations whose keys have to be as those of the home.
#[derive(Debug, Default)]
pub(crate) struct KeyedPlaces {
    pub(crate) reachable: Vec<(DestinationConfig, KeyFolder)>,
    /// Those that may have keys and cannot be looked at, and why.
    pub(crate) away: Vec<(String, Error)>,
}

/// Whether a destination seals, or holds what it sealed when it did.
///
/// # Errors
/// What the catalog answers.
pub(crate) async fn holds_sealed(instance: &Instance, config: &DestinationConfig) -> Result<bool> {
    if is_sealed(config) {
        return Ok(true);
    }
    if config.kind != wiring::PLAIN || !instance.keys.is_set_up() {
        return Ok(false);
    }
    if noted::has_sealed(&instance.home)(config) {
        return Ok(true);
    }
    let mut query = Query::default();
    query.destination = Some(config.id.clone());
    let mut page = Page::first(PAGE);
    loop {
        let found = instance.catalog.find(&query, page).await?;
        let here = found.items.iter().flat_map(|b| &b.copies).filter(|c| c.destination == config.id);
        if here.filter_map(|c| c.storage_ref.as_ref()).any(wiring::is_sealed_copy) {
            return Ok(true);
        }
        match found.next {
            Some(next) => page = Page::after(PAGE, next),
            None => return Ok(false),
        }
    }
}

/// Versions that the catalog is asked for at a time.
const PAGE: u32 = 1000;

impl KeyedPlaces {
    /// Every destination that seals, and those that sealed once and hold what needs keys. Of one that does not seal and is
    /// away nobody knows that: it counts while a key is retiring, which it may need.
    ///
    /// # Errors
    /// What the inventory answers.
    pub(crate) async fn of(instance: &Instance, sources: &KeySources) -> Result<Self> {
        let mut places = Self::default();
        let retires = sources.retiring().next().is_some();
        for config in instance.inventory.destinations().await?.into_iter().filter(|d| d.kind == wiring::PLAIN) {
            let looked = async {
                let folder = destination_keys(instance.backend_settings(&config, false)).await?;
                let has_keys = holds_sealed(instance, &config).await? || !folder.list().await?.is_empty();
                Ok(has_keys.then_some(folder))
            };
            match looked.await {
                Ok(Some(folder)) => places.reachable.push((config, folder)),
                Ok(None) => {}
                Err(e) if is_sealed(&config) || retires => places.away.push((config.name, e)),
                Err(_) => {}
            }
        }
        Ok(places)
    }

    /// Those that can be looked at, by name.
    pub(crate) fn named(&self) -> Vec<(String, KeyFolder)> {
        self.reachable.iter().map(|(config, folder)| (config.name.clone(), folder.clone())).collect()
    }
}
