//! Key-encryption keys.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result, SecretString};
use serde::{Deserialize, Serialize};

use super::super::crypto::{Key, random};

/// Names a key-encryption key: 16 hexadecimal digits that follow from the key and say nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KekId(pub String);

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a key-encryption key comes from, with what is needed to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum KekKind {
    /// 32 bytes as they are.
    Raw,
    /// Argon2id (RFC 9106) of a passphrase.
    Argon2id(Passphrase),
}

/// The parameters beside a passphrase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
const MAX_MEMORY_KIB: u32 = 4 << 20;
const MAX_PASSES: u32 = 64;

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
        if self.memory_kib > MAX_MEMORY_KIB || self.passes > MAX_PASSES {
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
}

/// A key-encryption key at hand.
#[derive(Debug, Clone)]
pub struct Kek {
    key: Key,
    id: KekId,
    kind: KekKind,
}

impl Kek {
    /// From 32 bytes.
    #[must_use]
    pub fn raw(key: Key) -> Self {
        Self { id: id_of(&key), key, kind: KekKind::Raw }
    }

    /// From a passphrase, with the parameters that were drawn for it or stand beside a wrap.
    ///
    /// # Errors
    /// As [`Passphrase::derive`].
    pub fn passphrase(passphrase: &SecretString, parameters: Passphrase) -> Result<Self> {
        let key = parameters.derive(passphrase)?;
        Ok(Self { id: id_of(&key), key, kind: KekKind::Argon2id(parameters) })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &KekId {
        &self.id
    }

    /// Where it comes from.
    #[must_use]
    pub fn kind(&self) -> &KekKind {
        &self.kind
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}

fn id_of(key: &Key) -> KekId {
    let mac = key.mac(&[b"devicevault kek id v1"]);
    let mut id = hex::encode(mac);
    id.truncate(16);
    KekId(id)
}
