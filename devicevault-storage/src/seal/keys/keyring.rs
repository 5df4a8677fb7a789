//! The epoch keys at hand, opened.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use devicevault_core::{Error, ErrorKind, Result, Timestamp};

use super::super::crypto::Key;
use super::epoch::{EpochId, EpochObject};
use super::kek::Kek;

/// Epoch keys by id; the newest one seals. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Keyring(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    keks: Vec<Kek>,
    objects: BTreeMap<EpochId, EpochObject>,
    open: BTreeMap<EpochId, Key>,
}

impl Keyring {
    /// With these key-encryption keys and no epoch key yet.
    #[must_use]
    pub fn new(keks: Vec<Kek>) -> Self {
        Self(Arc::new(RwLock::new(State { keks, ..State::default() })))
    }

    /// With one epoch key that is kept somewhere else than in an epoch key object.
    #[must_use]
    pub fn of_one(id: EpochId, key: Key) -> Self {
        let ring = Self::default();
        ring.write().open.insert(id, key);
        ring
    }

    /// Makes an epoch key, wrapped by every key-encryption key at hand; from now on it seals.
    ///
    /// The object has to be stored, durably and at every destination, before anything is sealed with it.
    ///
    /// # Errors
    /// `KeyUnavailable` without any key-encryption key; `Internal` when the cryptographic library refuses.
    pub fn create_epoch(&self, now: Timestamp) -> Result<EpochObject> {
        let mut state = self.write();
        if state.keks.is_empty() {
            return Err(Error::new(ErrorKind::KeyUnavailable, "make epoch key", "there is no key to wrap it with"));
        }
        let (id, key) = (EpochId::generate(), Key::generate()?);
        let object = EpochObject::create(id, &key, &state.keks, now)?;
        state.objects.insert(id, object.clone());
        state.open.insert(id, key);
        Ok(object)
    }

    /// Adds an epoch key object; it is opened when it is first needed.
    pub fn add(&self, object: EpochObject) {
        self.write().objects.insert(object.id, object);
    }

    /// The objects, oldest first.
    #[must_use]
    pub fn objects(&self) -> Vec<EpochObject> {
        self.read().objects.values().cloned().collect()
    }

    /// The epoch key of this id.
    ///
    /// # Errors
    /// `KeyUnavailable` when it is not here or no key-encryption key at hand opens it; both name the id.
    pub fn epoch(&self, id: EpochId) -> Result<Key> {
        if let Some(key) = self.read().open.get(&id) {
            return Ok(key.clone());
        }
        let mut state = self.write();
        let missing = || {
            Error::new(ErrorKind::KeyUnavailable, "find key", "this epoch key is not here")
                .with("epoch", id)
                .hint("it lies under keys/ at every destination, and in the instance's home")
        };
        let key = state.objects.get(&id).ok_or_else(missing)?.open(&state.keks)?;
        state.open.insert(id, key.clone());
        Ok(key)
    }

    /// The newest epoch key: what seals.
    ///
    /// # Errors
    /// `KeyUnavailable` when there is none.
    pub fn current(&self) -> Result<(EpochId, Key)> {
        let newest = self.read().objects.keys().next_back().copied();
        let none = || {
            Error::new(ErrorKind::KeyUnavailable, "find key", "there is no epoch key yet")
                .hint("run `devicevault key init`")
        };
        let id = newest.ok_or_else(none)?;
        Ok((id, self.epoch(id)?))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
