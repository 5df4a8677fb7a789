//! Keys that are fetched again have to be the ones that they were.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use devicevault_core::key::{KekId, SecretKey, WrappedKey};
use devicevault_core::{Error, ErrorKind, KeyProvider, Result, SecretString};

/// Refuses a key that is not the one of this id.
///
/// # Errors
/// `KeyUnavailable`.
pub(super) fn is(id: &str, found: &KekId) -> Result<()> {
    if found.0 == id {
        return Ok(());
    }
    Err(Error::new(ErrorKind::KeyUnavailable, "fetch key", "another key lies where this one was")
        .with("key", id)
        .with("found", found)
        .hint("a file, variable or passphrase was changed: put back what was there when this key was made"))
}

/// A key of a home, by the id that it had when it was made. With another one in its place nothing is wrapped: what is
/// sealed from then on would open with nothing that anybody keeps.
#[derive(Debug)]
pub(super) struct Expected {
    id: String,
    held: Arc<dyn KeyProvider>,
}

impl Expected {
    pub(super) fn new(id: &str, held: Arc<dyn KeyProvider>) -> Self {
        Self { id: id.to_owned(), held }
    }

    /// Whatever went wrong, which key it was.
    fn named(&self, e: Error) -> Error {
        if e.context().any(|(name, _)| name == "key") { e } else { e.with("key", &self.id) }
    }
}

#[async_trait]
impl KeyProvider for Expected {
    fn describe(&self) -> String {
        self.held.describe()
    }

    async fn kek(&self) -> Result<KekId> {
        self.held.kek().await.map_err(|e| self.named(e))
    }

    async fn wrap(&self, key: &SecretKey, bound: &[u8]) -> Result<WrappedKey> {
        is(&self.id, &self.kek().await?)?;
        self.held.wrap(key, bound).await.map_err(|e| self.named(e))
    }

    async fn unwrap(&self, wrapped: &WrappedKey, bound: &[u8]) -> Result<Option<SecretKey>> {
        self.held.unwrap(wrapped, bound).await.map_err(|e| self.named(e))
    }
}

/// Passphrases that a person typed for this command, by the ids of the keys that they make.
#[derive(Debug, Clone, Default)]
pub(crate) struct Typed(Arc<Mutex<BTreeMap<String, SecretString>>>);

impl Typed {
    pub(super) fn keep(&self, id: &str, phrase: SecretString) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), phrase);
    }

    pub(super) fn of(&self, id: &str) -> Option<SecretString> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}
