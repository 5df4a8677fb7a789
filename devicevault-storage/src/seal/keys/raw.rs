//! Key-encryption keys whose 32 bytes are at hand.

use std::collections::BTreeMap;

use async_trait::async_trait;
use devicevault_core::key::{KekId, KeyProvider, SecretKey, WrappedKey};
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result};
use serde_json::Value;
use zeroize::Zeroize as _;

use super::super::crypto::{Key, random};

/// What a wrap by such a key says of it.
pub(super) const RAW: &str = "raw";

/// A key-encryption key at hand: from a file, the environment, a command, a recovery kit.
#[derive(Debug, Clone)]
pub struct Kek {
    key: Key,
    id: KekId,
    from: String,
}

impl Kek {
    /// From 32 bytes.
    #[must_use]
    pub fn raw(key: Key) -> Self {
        Self { id: id_of(&key), key, from: "key".to_owned() }
    }

    /// A new random one.
    ///
    /// # Errors
    /// `Internal` when the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        Ok(Self::raw(Key::generate()?))
    }

    /// Says where it comes from, for people: `key file /srv/kek.key`.
    #[must_use]
    pub fn from_source(mut self, from: impl Into<String>) -> Self {
        self.from = from.into();
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &KekId {
        &self.id
    }

    /// Its bytes: for a key file or a recovery kit, and nowhere else.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Wraps a key as `docs/format.md` has it, with what else its kind needs beside the wrap.
    pub(super) fn wrap_as(
        &self,
        kind: &str,
        mut parameters: BTreeMap<String, Value>,
        key: &SecretKey,
        bound: &[u8],
    ) -> Result<WrappedKey> {
        let nonce: [u8; 12] = random()?;
        let mut wrapped = key.expose_secret().to_vec();
        self.key.cipher()?.seal(nonce, bound, &mut wrapped)?;
        parameters.insert("nonce".to_owned(), hex::encode(nonce).into());
        Ok(WrappedKey { kek: self.id.clone(), kind: kind.to_owned(), wrapped: hex::encode(wrapped), parameters })
    }

    /// Opens a wrap that names this key.
    pub(super) fn unwrap_own(&self, wrapped: &WrappedKey, bound: &[u8]) -> Result<SecretKey> {
        let damaged = || damaged_wrap(&wrapped.kek);
        let nonce = text_of(wrapped, "nonce").and_then(|n| hex::decode(n).ok()).and_then(|n| n.try_into().ok());
        let nonce: [u8; 12] = nonce.ok_or_else(damaged)?;
        let mut text = hex::decode(&wrapped.wrapped).map_err(|e| damaged().because(e))?;
        self.key.cipher()?.open(nonce, bound, &mut text).ok_or_else(damaged)?;
        let key = <[u8; 32]>::try_from(text.as_slice()).map_err(|_| damaged());
        text.zeroize();
        Ok(SecretKey::new(Box::new(key?)))
    }
}

#[async_trait]
impl KeyProvider for Kek {
    fn describe(&self) -> String {
        self.from.clone()
    }

    async fn kek(&self) -> Result<KekId> {
        Ok(self.id.clone())
    }

    async fn wrap(&self, key: &SecretKey, bound: &[u8]) -> Result<WrappedKey> {
        self.wrap_as(RAW, BTreeMap::new(), key, bound)
    }

    /// By the id alone: the bytes that a passphrase made open its wraps without the passphrase.
    async fn unwrap(&self, wrapped: &WrappedKey, bound: &[u8]) -> Result<Option<SecretKey>> {
        if wrapped.kek != self.id {
            return Ok(None);
        }
        self.unwrap_own(wrapped, bound).map(Some)
    }
}

/// The id that follows from the bytes of a key-encryption key.
pub(super) fn id_of(key: &Key) -> KekId {
    let mut id = hex::encode(key.mac(&[b"devicevault kek id v1"]));
    id.truncate(16);
    KekId(id)
}

/// A parameter that is a text.
pub(super) fn text_of<'a>(wrapped: &'a WrappedKey, name: &str) -> Option<&'a str> {
    wrapped.parameters.get(name).and_then(Value::as_str)
}

pub(super) fn damaged_wrap(kek: &KekId) -> Error {
    Error::new(ErrorKind::Corrupt, "open epoch key", "its wrap is damaged").with("key", kek)
}
