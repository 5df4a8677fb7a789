//! The epoch keys at hand, opened.

use std::collections::BTreeMap;
use std::slice;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use devicevault_core::key::KeyProvider;
use devicevault_core::{Error, ErrorKind, Result, Timestamp};

use super::super::crypto::Key;
use super::epoch::{EpochId, EpochObject};
#[cfg(feature = "plain")]
use super::{KeyFolder, rewrap::load_whole};

/// So many objects of other places are remembered for one epoch key: a hostile destination must not fill the memory.
const MAX_FOUND: usize = 8;

/// Epoch keys by id, and those who hold the keys that open them. Clones share it.
///
/// What the instance keeps itself ([`add`](Keyring::add)) seals and opens; what is found at a destination
/// ([`add_found`](Keyring::add_found)) only opens, so that nobody there chooses what seals.
#[derive(Debug, Clone, Default)]
pub struct Keyring(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    providers: Vec<Arc<dyn KeyProvider>>,
    /// Where the instance's own objects lie.
    #[cfg(feature = "plain")]
    home: Option<KeyFolder>,
    state: RwLock<State>,
    /// Several that need the same key at once ask for it once.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    own: BTreeMap<EpochId, EpochObject>,
    found: BTreeMap<EpochId, Vec<EpochObject>>,
    open: BTreeMap<EpochId, Key>,
}

impl Keyring {
    /// With these holders of key-encryption keys, asked in this order, and no epoch key yet.
    #[must_use]
    pub fn new(providers: Vec<Arc<dyn KeyProvider>>) -> Self {
        Self(Arc::new(Inner { providers, ..Inner::default() }))
    }

    /// The same for an instance whose own objects lie in this folder. They are looked at again before one of them is
    /// laid down at a destination: a key may have been retired since.
    #[cfg(feature = "plain")]
    #[must_use]
    pub fn of_home(providers: Vec<Arc<dyn KeyProvider>>, home: KeyFolder) -> Self {
        Self(Arc::new(Inner { providers, home: Some(home), ..Inner::default() }))
    }

    /// The instance's own object of this id as its home has it now.
    ///
    /// # Errors
    /// What the home answers.
    #[cfg(feature = "plain")]
    pub(crate) async fn object_now(&self, id: EpochId) -> Result<Option<EpochObject>> {
        if let Some(home) = &self.0.home
            && let Some(now) = home.load(id).await?
        {
            self.add(now);
        }
        Ok(self.object(id))
    }

    /// Takes in epoch keys that were made in the home since this ring was: the newest of them seals what comes, whoever made
    /// it. What no key at hand opens seals nothing here.
    ///
    /// # Errors
    /// What the home answers.
    #[cfg(feature = "plain")]
    pub(crate) async fn look_again(&self) -> Result<()> {
        let Some(home) = &self.0.home else { return Ok(()) };
        for id in home.list().await? {
            if self.object(id).is_some() {
                continue;
            }
            if let Some(new) = load_whole(home, id).await?
                && let Ok(key) = new.open(&self.0.providers).await
            {
                let mut state = self.write();
                state.own.insert(id, new);
                state.open.insert(id, key);
            }
        }
        Ok(())
    }

    /// Takes in what became of the ring's own objects in the home since it was made.
    #[cfg(feature = "plain")]
    async fn refresh(&self) -> Result<()> {
        let Some(home) = &self.0.home else { return Ok(()) };
        for object in self.objects() {
            if let Some(now) = load_whole(home, object.id).await? {
                self.add(now);
            }
        }
        Ok(())
    }

    /// [`KeyFolder::refuse_taken_over`] by what the home has by now: what a rotation of this home changed there since the ring
    /// was made is no other home's.
    ///
    /// # Errors
    /// As there; what the home answers.
    #[cfg(feature = "plain")]
    pub async fn refuse_taken_over(&self, there: &KeyFolder) -> Result<()> {
        match there.refuse_taken_over(&self.objects()).await {
            Err(e) if e.kind() == ErrorKind::Conflict => {
                self.refresh().await?;
                there.refuse_taken_over(&self.objects()).await
            }
            asked => asked,
        }
    }

    /// [`KeyFolder::refuse_replaced`] in the same way.
    ///
    /// # Errors
    /// As there; what the home answers.
    #[cfg(feature = "plain")]
    pub async fn refuse_replaced(&self, there: &KeyFolder) -> Result<()> {
        match there.refuse_replaced(&self.objects()).await {
            Err(e) if e.kind() == ErrorKind::Conflict => {
                self.refresh().await?;
                there.refuse_replaced(&self.objects()).await
            }
            asked => asked,
        }
    }

    /// With one epoch key that is kept somewhere else than in an epoch key object.
    #[must_use]
    pub fn of_one(id: EpochId, key: Key) -> Self {
        let ring = Self::default();
        ring.write().open.insert(id, key);
        ring
    }

    /// Makes an epoch key, wrapped by each of these; from now on it seals.
    ///
    /// The object has to be stored durably in the instance's home before this ring seals anything; a sealing destination
    /// stores it in its own place before it seals with it.
    ///
    /// # Errors
    /// `KeyUnavailable` with nobody to wrap it; what a provider answers.
    pub async fn create_epoch(&self, wrap_with: &[Arc<dyn KeyProvider>], now: Timestamp) -> Result<EpochObject> {
        let newest = self.read().own.keys().next_back().copied();
        let (id, key) = (EpochId::generate_after(newest)?, Key::generate()?);
        let object = EpochObject::create(id, &key, wrap_with, now).await?;
        let mut state = self.write();
        state.own.insert(id, object.clone());
        state.open.insert(id, key);
        Ok(object)
    }

    /// Adds an epoch key object of the instance's own; it is opened when it is first needed. Of two with the same id the
    /// later revision stays.
    pub fn add(&self, object: EpochObject) {
        let mut state = self.write();
        if state.own.get(&object.id).is_none_or(|known| known.revision <= object.revision) {
            state.own.insert(object.id, object);
        }
    }

    /// Adds an epoch key object that lay at a destination. It may open what was sealed, and does not seal.
    pub fn add_found(&self, object: EpochObject) {
        let mut state = self.write();
        if state.own.get(&object.id) == Some(&object) {
            return;
        }
        let others = state.found.entry(object.id).or_default();
        if others.len() < MAX_FOUND && !others.contains(&object) {
            others.push(object);
        }
    }

    /// The instance's own objects, oldest first.
    #[must_use]
    pub fn objects(&self) -> Vec<EpochObject> {
        self.read().own.values().cloned().collect()
    }

    /// The instance's own object of this id.
    #[must_use]
    pub fn object(&self, id: EpochId) -> Option<EpochObject> {
        self.read().own.get(&id).cloned()
    }

    /// Those who hold key-encryption keys.
    #[must_use]
    pub fn providers(&self) -> &[Arc<dyn KeyProvider>] {
        &self.0.providers
    }

    /// Whether a key at hand wraps this object and finds its wrap damaged, though others may open it.
    pub async fn is_damaged(&self, object: &EpochObject) -> bool {
        for provider in self.providers() {
            let Ok(kek) = provider.kek().await else { continue };
            let opened =
                if object.is_wrapped_by(&kek) { object.open(slice::from_ref(provider)).await } else { continue };
            if opened.is_err_and(|e| e.kind() == ErrorKind::Corrupt) {
                return true;
            }
        }
        false
    }

    /// The epoch key of this id.
    ///
    /// # Errors
    /// `KeyUnavailable` when it is not here or no key-encryption key at hand opens it, `Corrupt` when the wrap of one is
    /// damaged; both name the ids.
    pub async fn epoch(&self, id: EpochId) -> Result<Key> {
        if let Some(key) = self.opened(id) {
            return Ok(key);
        }
        let _alone = self.0.opening.lock().await;
        if let Some(key) = self.opened(id) {
            return Ok(key);
        }
        let objects = {
            let state = self.read();
            let found = state.found.get(&id).into_iter().flatten();
            state.own.get(&id).into_iter().chain(found).cloned().collect::<Vec<_>>()
        };
        let mut first_error = None;
        for object in objects {
            match object.open(&self.0.providers).await {
                Ok(key) => {
                    self.write().open.insert(id, key.clone());
                    return Ok(key);
                }
                Err(e) => first_error.get_or_insert(e),
            };
        }
        Err(first_error.unwrap_or_else(|| {
            Error::new(ErrorKind::KeyUnavailable, "find key", "this epoch key is not here")
                .with("epoch", id)
                .hint("it lies under keys/ at every destination, and in the instance's home")
        }))
    }

    /// The newest epoch key of the instance's own: what seals.
    ///
    /// # Errors
    /// `KeyUnavailable` when there is none; as [`epoch`](Keyring::epoch).
    pub async fn current(&self) -> Result<(EpochId, Key)> {
        let newest = self.read().own.keys().next_back().copied();
        let none = || {
            Error::new(ErrorKind::KeyUnavailable, "find key", "there is no epoch key yet")
                .hint("run `devicevault key init`")
        };
        let id = newest.ok_or_else(none)?;
        Ok((id, self.epoch(id).await?))
    }

    fn opened(&self, id: EpochId) -> Option<Key> {
        self.read().open.get(&id).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
