//! Where epoch keys lie besides the home.

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, Result};

use crate::instance::Instance;
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
                let has_keys = is_sealed(&config) || !folder.list().await?.is_empty();
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
