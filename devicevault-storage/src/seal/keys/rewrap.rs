//! Wrapping the epoch keys anew: for one more key-encryption key, or without one that is retired.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;

use devicevault_core::key::{KekId, KeyProvider};
use devicevault_core::{Error, ErrorKind, Result};

use super::super::crypto::Key;
use super::epoch::{EpochId, EpochObject};
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
/// First each of `wanted` is given a wrap everywhere. Then everything is read back, and has to open by each of them. Only
/// then the wraps of the retired ones go: not while a destination is behind. However far this comes, either the wanted
/// keys or those of before open everything. Running it again goes on where it stopped. Wraps by keys that are in neither
/// list stay.
///
/// # Errors
/// What the home answers; `KeyUnavailable` where no key at hand opens an epoch key that needs another wrap; `Conflict`
/// where a retired key is the last one, or the home was changed meanwhile.
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
    let anew = Anew { ring, wanted, wanted_ids, retired };
    let mut changed = BTreeSet::new();
    let mut behind = anew.everywhere(places, false, &mut changed).await?;
    if behind.is_empty() && !retired.is_empty() {
        behind = opened_everywhere(ring, places, wanted).await?;
        if behind.is_empty() {
            behind = anew.everywhere(places, true, &mut changed).await?;
        }
    }
    Ok(Rewrapped { changed: changed.len(), behind })
}

/// Reads every object back, at home and at every destination, and opens it by each of these keys alone. The destinations
/// where that does not succeed, and why.
///
/// What no key of the ring opens is not looked at further: these keys take nothing from it.
///
/// # Errors
/// What the home answers; as for a destination, of the home; `Conflict` where it is not as the ring has it.
pub async fn opened_everywhere(
    ring: &Keyring,
    places: &KeyPlaces,
    keys: &[Arc<dyn KeyProvider>],
) -> Result<Vec<(String, Error)>> {
    let changed = |id| {
        let why = "the epoch keys of the home were changed meanwhile";
        Error::new(ErrorKind::Conflict, "check epoch keys", why).with("epoch", id).hint("run the same command again")
    };
    for id in places.home.list().await?.into_iter().filter(|id| ring.object(*id).is_none()) {
        // What is no object any more opens nothing, whichever key goes.
        if load_whole(&places.home, id).await?.is_some() {
            return Err(changed(id));
        }
    }
    for object in ring.objects() {
        let there = places.home.load(object.id).await?.ok_or_else(|| changed(object.id))?;
        opened(&there, &ring.epoch(object.id).await?, keys).await?;
    }
    let mut behind = Vec::new();
    for (name, folder) in &places.destinations {
        if let Err(e) = opened_there(ring, folder, keys).await {
            behind.push((name.clone(), e));
        }
    }
    Ok(behind)
}

async fn opened_there(ring: &Keyring, folder: &KeyFolder, keys: &[Arc<dyn KeyProvider>]) -> Result<()> {
    for id in folder.list().await? {
        let Some(object) = load_whole(folder, id).await? else { continue };
        let key = match ring.object(id) {
            Some(_) => ring.epoch(id).await?,
            None => match object.open(ring.providers()).await {
                Ok(key) => key,
                Err(_) => continue,
            },
        };
        opened(&object, &key, keys).await?;
    }
    Ok(())
}

async fn opened(object: &EpochObject, expected: &Key, keys: &[Arc<dyn KeyProvider>]) -> Result<()> {
    for key in keys {
        if object.open(slice::from_ref(key)).await?.expose() != expected.expose() {
            let why = "what was read back opens to another key";
            return Err(Error::new(ErrorKind::Corrupt, "check epoch keys", why).with("epoch", object.id));
        }
    }
    Ok(())
}

/// What is no object of ours is left where it is.
pub(super) async fn load_whole(folder: &KeyFolder, id: EpochId) -> Result<Option<EpochObject>> {
    match folder.load(id).await {
        Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => Ok(None),
        other => other,
    }
}

struct Anew<'a> {
    ring: &'a Keyring,
    wanted: &'a [Arc<dyn KeyProvider>],
    wanted_ids: Vec<KekId>,
    retired: &'a [KekId],
}

impl Anew<'_> {
    /// Wraps, or takes the wraps of retired keys away; the destinations that are behind.
    async fn everywhere(
        &self,
        places: &KeyPlaces,
        retire: bool,
        changed: &mut BTreeSet<EpochId>,
    ) -> Result<Vec<(String, Error)>> {
        for object in self.ring.objects() {
            let mut new = object.clone();
            if retire {
                self.retire(&mut new)?;
            } else if !self.is_wrapped(&new) {
                let key = self.ring.epoch(new.id).await?;
                self.wrap(&mut new, &key).await?;
            }
            if new != object {
                places.home.publish(&new).await?;
                changed.insert(new.id);
                self.ring.add(new);
            }
        }
        let mut behind = Vec::new();
        for (name, folder) in &places.destinations {
            if let Err(e) = self.bring_up_to_date(folder, retire).await {
                behind.push((name.clone(), e));
            }
        }
        Ok(behind)
    }

    /// What the destination lacks is laid there too: something may be sealed under it, and a kit that opens all has to open
    /// that with nothing but the destination.
    async fn bring_up_to_date(&self, folder: &KeyFolder, retire: bool) -> Result<()> {
        let mut all: BTreeSet<EpochId> = folder.list().await?.into_iter().collect();
        all.extend(self.ring.objects().into_iter().map(|object| object.id));
        for id in all {
            match self.ring.object(id) {
                Some(object) => {
                    let is_there = load_whole(folder, id).await?.as_ref() == Some(&object);
                    // What is there may be whole, and the last.
                    if !is_there && self.ring.is_damaged(&object).await {
                        let why = "what the home has of this epoch key is damaged, and is laid nowhere";
                        return Err(Error::new(ErrorKind::Corrupt, "store epoch key", why).with("epoch", id));
                    }
                    folder.publish(&object).await?;
                }
                None => self.only_there(folder, id, retire).await?,
            }
        }
        Ok(())
    }

    /// An epoch key that the home does not have: a retired key may be the only one that opens it.
    async fn only_there(&self, folder: &KeyFolder, id: EpochId, retire: bool) -> Result<()> {
        let Some(object) = load_whole(folder, id).await? else { return Ok(()) };
        if !self.retired.iter().any(|kek| object.is_wrapped_by(kek)) {
            return Ok(());
        }
        let mut new = object.clone();
        if retire {
            self.retire(&mut new)?;
        } else if !self.is_wrapped(&new) {
            match object.open(self.ring.providers()).await {
                Ok(key) => self.wrap(&mut new, &key).await?,
                // Its wrap is damaged: nothing opens it now, and nothing is lost.
                Err(e) if e.kind() == ErrorKind::Corrupt => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        if new == object { Ok(()) } else { folder.publish(&new).await }
    }

    fn is_wrapped(&self, object: &EpochObject) -> bool {
        self.wanted_ids.iter().all(|id| object.is_wrapped_by(id))
    }

    async fn wrap(&self, object: &mut EpochObject, key: &Key) -> Result<()> {
        for (provider, id) in self.wanted.iter().zip(&self.wanted_ids) {
            if !object.is_wrapped_by(id) {
                object.add(key, &**provider).await?;
            }
        }
        Ok(())
    }

    /// Of what is damaged, the only wrap stays.
    fn retire(&self, object: &mut EpochObject) -> Result<()> {
        if self.ring.object(object.id).is_none() && !self.is_wrapped(object) {
            return Ok(());
        }
        self.retired.iter().try_for_each(|kek| object.remove(kek))
    }
}
