//! Keys that wrap keys: the trait of whoever holds them.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use async_trait::async_trait;
use secrecy::SecretBox;
use serde::{Deserialize, Serialize};

use crate::Result;

/// 32 secret bytes, wiped when dropped and not shown by `Debug`.
pub type SecretKey = SecretBox<[u8; 32]>;

/// Names a key-encryption key: 16 hexadecimal digits that say nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KekId(pub String);

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

/// A key under a key-encryption key, as it lies in an epoch key object (`docs/format.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The key-encryption key that opens it.
    pub kek: KekId,
    /// What kind of provider holds that: `raw`, `argon2id`, `pkcs11`, or a name of a plugin's own.
    pub kind: String,
    /// The wrapped key, in the provider's own form.
    pub wrapped: String,
    /// What else the provider needs to open it.
    #[serde(flatten)]
    pub parameters: BTreeMap<String, serde_json::Value>,
}

/// Holds one key-encryption key, or reaches one: a key file, a passphrase, a token, a key service.
///
/// # Contract
/// - `bound` names what is wrapped. What was wrapped for one `bound` does not unwrap for another.
/// - [`unwrap`](KeyProvider::unwrap) answers `Ok(None)` for a key that is not its own: several providers are asked in
///   turn. An error is about its own key: [`Corrupt`](crate::ErrorKind::Corrupt) when what was wrapped is damaged,
///   [`KeyUnavailable`](crate::ErrorKind::KeyUnavailable) when the key cannot be had (a wrong passphrase, a token that
///   is not there), with the key's id.
/// - Parameters are hostile: they come from a destination.
/// - No error, log or `Debug` holds a secret.
#[async_trait]
pub trait KeyProvider: Debug + Send + Sync {
    /// What holds the key, for people: `key file /srv/kek.key`.
    fn describe(&self) -> String;
    /// The key that [`wrap`](KeyProvider::wrap) wraps with.
    async fn kek(&self) -> Result<KekId>;
    /// Wraps a key.
    async fn wrap(&self, key: &SecretKey, bound: &[u8]) -> Result<WrappedKey>;
    /// Unwraps a key; `None` where it was wrapped with another key than this provider's.
    async fn unwrap(&self, wrapped: &WrappedKey, bound: &[u8]) -> Result<Option<SecretKey>>;
}
