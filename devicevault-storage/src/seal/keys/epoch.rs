//! Epoch keys, wrapped: the objects under `keys/`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use devicevault_core::key::{KekId, KeyProvider, SecretKey, WrappedKey};
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::crypto::{self, Key};

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

    /// A new one that comes after another, whatever the clock says: the newest one seals, and a clock may have been ahead
    /// when the other was made, or be behind now.
    ///
    /// # Errors
    /// `Corrupt` where none comes after it.
    pub fn generate_after(other: Option<Self>) -> Result<Self> {
        let now = Self::generate();
        let Some(other) = other.filter(|other| now <= *other) else { return Ok(now) };
        // RFC 9562, section 5.7: the first 48 bits are milliseconds.
        let millis = (other.0.as_u128() >> 80) as u64 + 1;
        if millis >> 48 != 0 {
            return Err(Error::new(ErrorKind::Corrupt, "make epoch key", "no key can come after the newest one")
                .with("newest", other));
        }
        Ok(Self(uuid::Builder::from_unix_timestamp_millis(millis, &crypto::random()?).into_uuid()))
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
    /// Grows whenever it is rewritten.
    #[serde(default)]
    pub revision: u64,
    /// Key-encryption keys that opened it once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<KekId>,
    /// The wraps.
    pub wraps: Vec<WrappedKey>,
}

impl EpochObject {
    /// Wraps a key for the first time.
    ///
    /// # Errors
    /// `KeyUnavailable` with nobody to wrap it; what a provider answers.
    pub async fn create(
        id: EpochId,
        key: &Key,
        providers: &[Arc<dyn KeyProvider>],
        created: Timestamp,
    ) -> Result<Self> {
        if providers.is_empty() {
            let why = "there is no key to wrap it with";
            return Err(Error::new(ErrorKind::KeyUnavailable, "make epoch key", why));
        }
        let (retired, wraps) = (Vec::new(), Vec::new());
        let mut object = Self { format: FORMAT, readable_by: FORMAT, id, created, revision: 0, retired, wraps };
        for provider in providers {
            object.add(key, &**provider).await?;
        }
        object.revision = 1;
        Ok(object)
    }

    /// Adds a wrap, in place of one by the same key-encryption key. It is opened again before it counts.
    ///
    /// # Errors
    /// What the provider answers; `KeyUnavailable` when it does not open what it wrapped; `Conflict` when there are as many
    /// as there may be.
    pub async fn add(&mut self, key: &Key, provider: &dyn KeyProvider) -> Result<()> {
        let secret = SecretKey::new(Box::new(*key.expose()));
        let wrap = provider.wrap(&secret, &self.bound()).await?;
        let again = provider.unwrap(&wrap, &self.bound()).await;
        if !again.as_ref().is_ok_and(|k| k.as_ref().is_some_and(|k| k.expose_secret() == secret.expose_secret())) {
            let why = "what the key wraps it does not open: it is not the one that it is taken for";
            let e = Error::new(ErrorKind::KeyUnavailable, "wrap epoch key", why).with("key", &wrap.kek);
            return Err(again.err().map_or(e.clone(), |cause| e.because(cause)));
        }
        self.wraps.retain(|w| w.kek != wrap.kek);
        if self.wraps.len() >= MAX_WRAPS {
            let why = format!("there are {MAX_WRAPS} keys already");
            return Err(Error::new(ErrorKind::Conflict, "wrap epoch key", why).with("epoch", self.id));
        }
        self.retired.retain(|k| *k != wrap.kek);
        self.wraps.push(wrap);
        self.revision = self.revision.saturating_add(1);
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
        if self.is_wrapped_by(kek) {
            self.wraps.retain(|w| w.kek != *kek);
            self.retired.push(kek.clone());
            self.revision = self.revision.saturating_add(1);
        }
        Ok(())
    }

    /// Whether a key-encryption key opens it.
    #[must_use]
    pub fn is_wrapped_by(&self, kek: &KekId) -> bool {
        self.wraps.iter().any(|w| w.kek == *kek)
    }

    /// Opens it with any of the keys at hand.
    ///
    /// # Errors
    /// `KeyUnavailable` when none of its wraps is of one of them, `Corrupt` when a wrap of one does not open.
    pub async fn open(&self, providers: &[Arc<dyn KeyProvider>]) -> Result<Key> {
        let bound = self.bound();
        let mut failures = Vec::new();
        for provider in providers {
            for wrap in &self.wraps {
                match provider.unwrap(wrap, &bound).await {
                    Ok(Some(key)) => return Ok(Key::new(*key.expose_secret())),
                    Ok(None) => {}
                    Err(e) => failures.push(e.with("epoch", self.id)),
                }
            }
        }
        let worst = failures.iter().position(|e| e.kind() == ErrorKind::Corrupt).unwrap_or_default();
        match failures.into_iter().nth(worst) {
            Some(failure) => Err(failure),
            None => Err(self.no_key(providers).await),
        }
    }

    async fn no_key(&self, providers: &[Arc<dyn KeyProvider>]) -> Error {
        let mut at_hand = Vec::new();
        for provider in providers {
            at_hand.extend(provider.kek().await.ok());
        }
        let retired = at_hand.iter().find(|k| self.retired.contains(k));
        let why = match retired {
            Some(_) => "the key at hand was retired",
            None if providers.is_empty() => "no key is at hand",
            None => "none of the keys at hand opens it",
        };
        let list = |ids: Vec<&str>| ids.join(" or ").escape_debug().to_string();
        let mut e = Error::new(ErrorKind::KeyUnavailable, "open epoch key", why)
            .with("epoch", self.id)
            .with("wrapped by", list(self.wraps.iter().map(|w| w.kek.0.as_str()).collect()));
        if !at_hand.is_empty() {
            e = e.with("at hand", list(at_hand.iter().map(|k| k.0.as_str()).collect()));
        }
        e.hint("give the key file, passphrase or recovery kit of one of the keys that wrap it")
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_new_epoch_comes_after_the_one_before_whatever_the_clock_says(ahead in 0_u64..1 << 46, random: [u8; 10]) {
            let millis = (EpochId::generate().0.as_u128() >> 80) as u64;
            for at in [millis.saturating_sub(ahead), millis.saturating_add(ahead)] {
                let before = EpochId(uuid::Builder::from_unix_timestamp_millis(at, &random).into_uuid());
                let next = EpochId::generate_after(Some(before)).unwrap();
                prop_assert!(next > before && next.0.get_version_num() == 7);
                prop_assert!(EpochId::generate_after(Some(next)).unwrap() > next);
            }
        }
    }

    #[test]
    fn where_none_can_come_after_it_that_is_told() {
        assert!(EpochId::generate_after(None).is_ok());
        assert_eq!(EpochId::generate_after(Some(EpochId(Uuid::max()))).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
