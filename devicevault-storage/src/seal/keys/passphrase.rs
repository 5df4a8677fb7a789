//! Key-encryption keys that are made of a passphrase.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use devicevault_core::key::{KekId, KeyProvider, SecretKey, WrappedKey};
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result, SecretString};
use serde::{Deserialize, Serialize};

use super::super::crypto::{Key, random};
use super::raw::{Kek, damaged_wrap};

/// What a wrap by such a key says of it.
const ARGON2ID: &str = "argon2id";

/// How a passphrase becomes a key: Argon2id (RFC 9106).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Passphrase {
    /// 16 random bytes, in hex.
    pub salt: String,
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// No parameters beyond these are computed: a hostile key object must not take all memory or time.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;

impl Passphrase {
    /// New parameters: the second recommended choice of RFC 9106 (64 MiB, three passes), on one lane.
    ///
    /// # Errors
    /// `Internal` when the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        Ok(Self { salt: hex::encode(random::<16>()?), memory_kib: 64 << 10, passes: 3, lanes: 1 })
    }

    /// The key that a passphrase makes. Takes a good part of a second and [`memory_kib`](Passphrase::memory_kib).
    ///
    /// # Errors
    /// `Corrupt` for parameters that are out of bounds.
    pub fn derive(&self, passphrase: &SecretString) -> Result<Key> {
        let refused = || {
            Error::new(
                ErrorKind::Corrupt,
                "derive key from passphrase",
                "the parameters beside the key are out of bounds",
            )
        };
        if self.memory_kib > MAX_MEMORY_KIB || self.passes > MAX_PASSES || self.lanes > MAX_LANES {
            return Err(refused());
        }
        let salt = hex::decode(&self.salt).map_err(|e| refused().because(e))?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(|_| refused())?;
        let mut key = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose_secret().as_bytes(), &salt, &mut key)
            .map_err(|_| refused())?;
        Ok(Key::new(key))
    }

    fn of(wrapped: &WrappedKey) -> Result<Self> {
        let fields = wrapped.parameters.clone().into_iter().collect();
        serde_json::from_value(serde_json::Value::Object(fields)).map_err(|e| damaged_wrap(&wrapped.kek).because(e))
    }

    fn to_parameters(&self) -> BTreeMap<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => fields.into_iter().collect(),
            _ => BTreeMap::new(),
        }
    }
}

/// A passphrase as a key-encryption key. What it derives is kept as long as it lives.
pub struct PassphraseKek {
    passphrase: SecretString,
    /// With which it wraps; what it unwraps brings its own.
    own: Option<Passphrase>,
    derived: Mutex<HashMap<Passphrase, Kek>>,
}

impl fmt::Debug for PassphraseKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassphraseKek").field("own", &self.own).finish_non_exhaustive()
    }
}

impl PassphraseKek {
    /// A passphrase that opens what was wrapped with it.
    #[must_use]
    pub fn new(passphrase: SecretString) -> Self {
        Self { passphrase, own: None, derived: Mutex::default() }
    }

    /// Lets it wrap too, with these parameters. They belong to the key: other ones make another key.
    #[must_use]
    pub fn with_parameters(mut self, parameters: Passphrase) -> Self {
        self.own = Some(parameters);
        self
    }

    /// The key itself, with the parameters that it wraps with.
    ///
    /// # Errors
    /// `Config` without parameters; as [`Passphrase::derive`].
    pub async fn derive_own(&self) -> Result<Kek> {
        let own = self.own.clone().ok_or_else(|| {
            Error::new(ErrorKind::Config, "wrap key", "the passphrase was given for opening, not for wrapping")
        })?;
        self.derive(own).await
    }

    async fn derive(&self, parameters: Passphrase) -> Result<Kek> {
        if let Some(kek) = self.derived.lock().unwrap_or_else(PoisonError::into_inner).get(&parameters) {
            return Ok(kek.clone());
        }
        let (passphrase, with) = (self.passphrase.clone(), parameters.clone());
        let lost = |e| Error::new(ErrorKind::Internal, "derive key", "the worker thread ended").because(e);
        let key = tokio::task::spawn_blocking(move || with.derive(&passphrase)).await.map_err(lost)??;
        let kek = Kek::raw(key).from_source("passphrase");
        self.derived.lock().unwrap_or_else(PoisonError::into_inner).insert(parameters, kek.clone());
        Ok(kek)
    }
}

#[async_trait]
impl KeyProvider for PassphraseKek {
    fn describe(&self) -> String {
        "passphrase".to_owned()
    }

    async fn kek(&self) -> Result<KekId> {
        Ok(self.derive_own().await?.id().clone())
    }

    async fn wrap(&self, key: &SecretKey, bound: &[u8]) -> Result<WrappedKey> {
        let kek = self.derive_own().await?;
        let parameters = self.own.as_ref().map(Passphrase::to_parameters).unwrap_or_default();
        kek.wrap_as(ARGON2ID, parameters, key, bound)
    }

    async fn unwrap(&self, wrapped: &WrappedKey, bound: &[u8]) -> Result<Option<SecretKey>> {
        if wrapped.kind != ARGON2ID {
            return Ok(None);
        }
        let parameters = Passphrase::of(wrapped)?;
        let kek = self.derive(parameters).await.map_err(|e| e.with("key", &wrapped.kek))?;
        if *kek.id() != wrapped.kek {
            let why = "the passphrase is not the one of this key";
            return Err(Error::new(ErrorKind::KeyUnavailable, "open epoch key", why).with("key", &wrapped.kek));
        }
        kek.unwrap_own(wrapped, bound).map(Some)
    }
}
