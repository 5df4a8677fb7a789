//! Epoch keys, wrapped: the objects under `keys/`.

use std::fmt;
use std::str::FromStr;

use devicevault_core::{Error, ErrorKind, Result, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroize as _;

use super::super::crypto::{Key, random};
use super::kek::{Kek, KekId, KekKind};

/// Names an epoch key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EpochId(pub Uuid);

impl EpochId {
    /// A new one, ordered by the time of its making.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EpochId {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let wrong = |e| {
            Error::new(ErrorKind::Config, "read key id", "not the id of an epoch key")
                .with("value", s.escape_debug())
                .because(e)
        };
        Uuid::parse_str(s).map(Self).map_err(wrong)
    }
}

/// The format of epoch key objects that this release writes.
const FORMAT: u32 = 1;
/// More wraps than this are refused.
const MAX_WRAPS: usize = 64;

/// An epoch key, wrapped by one or more key-encryption keys; any one of them opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EpochObject {
    /// Version of the format.
    pub format: u32,
    /// The oldest version whose readers understand it.
    pub readable_by: u32,
    /// Its id.
    pub id: EpochId,
    /// When it was made.
    pub created: Timestamp,
    /// The wraps.
    pub wraps: Vec<Wrap>,
}

/// An epoch key under one key-encryption key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrap {
    /// The key-encryption key.
    pub kek: KekId,
    /// Where that comes from.
    #[serde(flatten)]
    pub kind: KekKind,
    /// 12 bytes in hex.
    pub nonce: String,
    /// 48 bytes in hex.
    pub wrapped: String,
}

impl EpochObject {
    /// Wraps a key for the first time.
    ///
    /// # Errors
    /// `Internal` when the cryptographic library refuses.
    pub fn create(id: EpochId, key: &Key, keks: &[Kek], created: Timestamp) -> Result<Self> {
        let mut object = Self { format: FORMAT, readable_by: FORMAT, id, created, wraps: Vec::new() };
        keks.iter().try_for_each(|kek| object.add(key, kek))?;
        Ok(object)
    }

    /// Adds a wrap, in place of one by the same key-encryption key.
    ///
    /// # Errors
    /// `Internal` when the cryptographic library refuses.
    pub fn add(&mut self, key: &Key, kek: &Kek) -> Result<()> {
        let nonce: [u8; 12] = random()?;
        let mut wrapped = key.expose().to_vec();
        kek.key().cipher()?.seal(nonce, &self.bound(), &mut wrapped)?;
        self.wraps.retain(|w| w.kek != *kek.id());
        self.wraps.push(Wrap {
            kek: kek.id().clone(),
            kind: kek.kind().clone(),
            nonce: hex::encode(nonce),
            wrapped: hex::encode(wrapped),
        });
        Ok(())
    }

    /// Takes away the wrap of a key-encryption key. The last one stays: without any, everything sealed would be lost.
    ///
    /// # Errors
    /// `Conflict` for the last wrap.
    pub fn remove(&mut self, kek: &KekId) -> Result<()> {
        if self.wraps.iter().all(|w| w.kek == *kek) {
            return Err(Error::new(ErrorKind::Conflict, "remove key", "it is the last key that opens this epoch key")
                .with("key", kek)
                .with("epoch", self.id)
                .hint("add another key-encryption key first"));
        }
        self.wraps.retain(|w| w.kek != *kek);
        Ok(())
    }

    /// Opens it with any of the keys at hand.
    ///
    /// # Errors
    /// `KeyUnavailable` when none of its wraps is of one of them, `Corrupt` when a wrap of one does not open.
    pub fn open(&self, keks: &[Kek]) -> Result<Key> {
        let mut damaged = None;
        for wrap in &self.wraps {
            let Some(kek) = keks.iter().find(|k| *k.id() == wrap.kek) else { continue };
            match self.unwrap_with(wrap, kek) {
                Ok(key) => return Ok(key),
                Err(e) => damaged = Some(e),
            }
        }
        let known: Vec<_> = self.wraps.iter().map(|w| w.kek.0.as_str()).collect();
        Err(damaged.unwrap_or_else(|| {
            Error::new(ErrorKind::KeyUnavailable, "open epoch key", "none of the keys at hand opens it")
                .with("epoch", self.id)
                .with("wrapped by", known.join(" or "))
                .hint("give the key file, passphrase or recovery kit of one of these")
        }))
    }

    fn unwrap_with(&self, wrap: &Wrap, kek: &Kek) -> Result<Key> {
        let damaged = || {
            Error::new(ErrorKind::Corrupt, "open epoch key", "its wrap is damaged")
                .with("epoch", self.id)
                .with("key", &wrap.kek)
        };
        let nonce: [u8; 12] = hex::decode(&wrap.nonce).ok().and_then(|n| n.try_into().ok()).ok_or_else(damaged)?;
        let mut wrapped = hex::decode(&wrap.wrapped).map_err(|e| damaged().because(e))?;
        kek.key().cipher()?.open(nonce, &self.bound(), &mut wrapped).ok_or_else(damaged)?;
        let key = Key::from_slice(&wrapped).ok_or_else(damaged);
        wrapped.zeroize();
        key
    }

    fn bound(&self) -> Vec<u8> {
        [b"devicevault epoch v1", &self.id.0.as_bytes()[..]].concat()
    }

    /// Reads an object.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `Unsupported` when a newer release wrote it.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let corrupt = || Error::new(ErrorKind::Corrupt, "read epoch key", "it is not an epoch key object");
        let object: Self = serde_json::from_slice(json).map_err(|e| corrupt().because(e))?;
        if object.readable_by > FORMAT {
            return Err(Error::new(ErrorKind::Unsupported, "read epoch key", "a newer release wrote it")
                .with("epoch", object.id)
                .hint("upgrade this program"));
        }
        if object.wraps.len() > MAX_WRAPS {
            return Err(corrupt().with("wraps", object.wraps.len()));
        }
        Ok(object)
    }

    /// As indented JSON with a line end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Serialising plain data into memory has no way to fail.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}
