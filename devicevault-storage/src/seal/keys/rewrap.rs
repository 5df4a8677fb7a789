//! Wrapping the epoch keys anew: for one more key-encryption key, or without one that is retired.

use std::sync::Arc;

use devicevault_core::key::{KekId, KeyProvider};
use devicevault_core::{Error, Result};

use super::epoch::EpochObject;
use super::{KeyFolder, Keyring};

/// Where the objects of an instance are to be, by name.
#[derive(Debug, Clone)]
pub struct KeyPlaces {
    /// The home: written first, and what counts.
    pub home: KeyFolder,
    /// Every destination that holds sealed backups.
    pub destinations: Vec<(String, KeyFolder)>,
}

/// What a rewrap came to.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Rewrapped {
    /// How many objects of the home were written anew.
    pub changed: usize,
    /// Destinations that could not be brought up to date, and why; running it again does what is left.
    pub behind: Vec<(String, Error)>,
}

/// Makes every epoch key of the instance open by each of `wanted`, and by none of `retired`, at home and at every
/// destination.
///
/// Each object is replaced in one step by one that opens: however far this comes, what was sealed can be opened with
/// every key of `wanted` that was in use before, and with the retired ones as long as an object still has their wraps.
/// Running it again goes on where it stopped. Wraps by keys that are in neither list stay.
///
/// # Errors
/// What the home answers; `KeyUnavailable` where no key at hand opens an epoch key that needs another wrap; `Conflict`
/// where a retired key is the last one.
pub async fn rewrap(
    ring: &Keyring,
    places: &KeyPlaces,
    wanted: &[Arc<dyn KeyProvider>],
    retired: &[KekId],
) -> Result<Rewrapped> {
    let mut wanted_ids = Vec::new();
    for provider in wanted {
        wanted_ids.push(provider.kek().await?);
    }
    let mut done = Rewrapped::default();
    for object in ring.objects() {
        let new = wrapped_anew(ring, object.clone(), wanted, &wanted_ids, retired).await?;
        if new != object {
            places.home.publish(&new).await?;
            ring.add(new);
            done.changed += 1;
        }
    }
    for (name, folder) in &places.destinations {
        if let Err(e) = bring_up_to_date(ring, folder).await {
            done.behind.push((name.clone(), e));
        }
    }
    Ok(done)
}

async fn wrapped_anew(
    ring: &Keyring,
    mut object: EpochObject,
    wanted: &[Arc<dyn KeyProvider>],
    wanted_ids: &[KekId],
    retired: &[KekId],
) -> Result<EpochObject> {
    for (provider, id) in wanted.iter().zip(wanted_ids) {
        if !object.is_wrapped_by(id) {
            let key = ring.epoch(object.id).await?;
            object.add(&key, &**provider).await?;
        }
    }
    for kek in retired {
        object.remove(kek)?;
    }
    Ok(object)
}

/// Objects that a destination lacks are left to whoever seals there first.
async fn bring_up_to_date(ring: &Keyring, folder: &KeyFolder) -> Result<()> {
    for id in folder.list().await? {
        if let Some(object) = ring.object(id) {
            folder.publish(&object).await?;
        }
    }
    Ok(())
}
