//! Key-encryption keys in a token (PKCS#11): a hardware security module, a smart card, SoftHSM.
//!
//! The key does not leave the token: it wraps and unwraps there, by AES-256-GCM. A token tells a wrong key from a damaged
//! wrap in no way that can be relied upon (SoftHSM answers a general error to both), so that a canary stands beside each
//! wrap (`docs/format.md`).

mod asked;
mod refused;
mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::key::{KekId, KeyProvider, SecretKey, WrappedKey};
use devicevault_core::{Digest, Error, ErrorKind, ExposeSecret as _, Result, Retry, SecretString};
use zeroize::Zeroizing;

use super::super::crypto::random;
use super::raw::{damaged_wrap, text_of};
pub use asked::end_tokens;
use token::TokenKey;

/// What a wrap by such a key says of it.
const PKCS11: &str = "pkcs11";
/// What a canary holds.
const CANARY_TEXT: [u8; 16] = [0; 16];
const CANARY_BOUND: &[u8] = b"devicevault pkcs11 canary v1";
/// Nonce, text and tag.
const CANARY_LEN: usize = 12 + 16 + 16;

/// How a token and the key in it are found.
#[derive(Debug, Clone)]
pub struct TokenOptions {
    /// The shared library of the token's maker.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// Label of the AES key in it.
    pub key: String,
    /// The user's PIN.
    pub pin: SecretString,
    /// How long the token may take.
    pub patience: Duration,
}

impl TokenOptions {
    /// With ten seconds of patience.
    #[must_use]
    pub fn new(
        module: impl Into<PathBuf>,
        token: impl Into<String>,
        key: impl Into<String>,
        pin: SecretString,
    ) -> Self {
        let (module, token, key) = (module.into(), token.into(), key.into());
        Self { module, token, key, pin, patience: Duration::from_secs(10) }
    }
}

/// What only one key could have made: the id of a key that cannot be read follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary([u8; CANARY_LEN]);

impl Canary {
    /// From the hex that a wrap or a configuration holds.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).ok()?.try_into().ok().map(Self)
    }

    fn id(&self) -> KekId {
        let digest = Digest::of(&[&b"devicevault pkcs11 kek id v1"[..], &self.0].concat());
        let mut id = digest.to_string();
        id.truncate(16);
        KekId(id)
    }

    fn parts(&self) -> ([u8; 12], &[u8]) {
        let (nonce, text) = self.0.split_at(12);
        let mut out = [0; 12];
        out.copy_from_slice(nonce);
        (out, text)
    }
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A key in a token, as a key-encryption key.
#[derive(Debug)]
pub struct TokenKek {
    options: TokenOptions,
    canary: Mutex<Option<Canary>>,
}

/// What came of opening a wrap.
enum Opened {
    Key(SecretKey),
    Damaged,
    OtherKey,
}

impl TokenKek {
    /// A key that opens what was wrapped with it, and wraps under an id that is made with its first wrap.
    #[must_use]
    pub fn new(options: TokenOptions) -> Self {
        Self { options, canary: Mutex::default() }
    }

    /// Wraps under the id that this canary gives it: that of earlier wraps.
    #[must_use]
    pub fn with_canary(self, canary: Canary) -> Self {
        *self.canary.lock().unwrap_or_else(PoisonError::into_inner) = Some(canary);
        self
    }

    /// Its canary, made where there is none yet: kept, it lets the key be known again.
    ///
    /// # Errors
    /// `KeyUnavailable` when the token or the key is not there; `Config` for a key that may leave its token.
    pub async fn canary(&self) -> Result<Canary> {
        let known = self.canary.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(canary) = known {
            return Ok(canary);
        }
        let nonce: [u8; 12] = random()?;
        let made = self
            .ask(move |key| {
                if key.is_extractable() {
                    let why = "the key may leave its token";
                    return Err(Error::new(ErrorKind::Config, "use token", why)
                        .hint("make one that is sensitive and not extractable"));
                }
                key.encrypt(nonce, CANARY_BOUND, &CANARY_TEXT)
            })
            .await?;
        let canary: [u8; CANARY_LEN] = [&nonce[..], &made].concat().try_into().map_err(|_| {
            Error::new(ErrorKind::KeyUnavailable, "use token", "what it encrypts has not the length of AES-GCM")
        })?;
        let mut known = self.canary.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.get_or_insert(Canary(canary)).clone())
    }

    /// Asks the token something, in a session of its own.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&TokenKey) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let options = self.options.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let _asking = asked::begin();
            let module = token::load(&options.module)?;
            let key = TokenKey::open(&module, &options)?;
            question(&key)
        });
        let answer = tokio::time::timeout(self.options.patience, asking).await.map_err(|_| {
            Error::new(ErrorKind::KeyUnavailable, "use token", "it does not answer")
                .with("token", self.options.token.escape_debug())
                .retry_advice(Retry::After(self.options.patience))
        })?;
        answer.map_err(|e| Error::new(ErrorKind::Internal, "use token", "the worker thread ended").because(e))?
    }
}

#[async_trait]
impl KeyProvider for TokenKek {
    fn describe(&self) -> String {
        format!("key {} in token {}", self.options.key.escape_debug(), self.options.token.escape_debug())
    }

    async fn kek(&self) -> Result<KekId> {
        Ok(self.canary().await?.id())
    }

    async fn wrap(&self, key: &SecretKey, bound: &[u8]) -> Result<WrappedKey> {
        let canary = self.canary().await?;
        let nonce: [u8; 12] = random()?;
        let (secret, bound) = (Zeroizing::new(*key.expose_secret()), bound.to_vec());
        let wrapped = self.ask(move |token| token.encrypt(nonce, &bound, &secret[..])).await?;
        let parameters = BTreeMap::from([
            ("nonce".to_owned(), hex::encode(nonce).into()),
            ("token".to_owned(), self.options.token.clone().into()),
            ("key".to_owned(), self.options.key.clone().into()),
            ("canary".to_owned(), canary.to_string().into()),
        ]);
        let (kek, kind) = (canary.id(), PKCS11.to_owned());
        Ok(WrappedKey { kek, kind, wrapped: hex::encode(wrapped), parameters })
    }

    async fn unwrap(&self, wrapped: &WrappedKey, bound: &[u8]) -> Result<Option<SecretKey>> {
        if wrapped.kind != PKCS11 {
            return Ok(None);
        }
        let damaged = || damaged_wrap(&wrapped.kek);
        let canary = text_of(wrapped, "canary").and_then(Canary::from_hex).ok_or_else(damaged)?;
        if canary.id() != wrapped.kek {
            return Err(damaged());
        }
        let nonce = text_of(wrapped, "nonce").and_then(|n| hex::decode(n).ok()).and_then(|n| n.try_into().ok());
        let nonce: [u8; 12] = nonce.ok_or_else(damaged)?;
        let text = hex::decode(&wrapped.wrapped).map_err(|e| damaged().because(e))?;
        let bound = bound.to_vec();
        let opened = self.ask(move |key| open(key, &canary, nonce, &bound, &text)).await;
        match opened.map_err(|e| e.with("key", &wrapped.kek))? {
            Opened::Key(key) => Ok(Some(key)),
            Opened::Damaged => Err(damaged()),
            // A key of our own name that is another one is a finding; of another name, it is somebody else's.
            Opened::OtherKey if self.is_named(wrapped) => {
                let why = "the token holds another key under this label";
                Err(Error::new(ErrorKind::KeyUnavailable, "open epoch key", why)
                    .with("key", &wrapped.kek)
                    .with("token", self.options.token.escape_debug())
                    .with("label", self.options.key.escape_debug()))
            }
            Opened::OtherKey => Ok(None),
        }
    }
}

impl TokenKek {
    fn is_named(&self, wrapped: &WrappedKey) -> bool {
        text_of(wrapped, "token") == Some(self.options.token.as_str())
            && text_of(wrapped, "key") == Some(self.options.key.as_str())
    }
}

fn open(key: &TokenKey, canary: &Canary, nonce: [u8; 12], bound: &[u8], text: &[u8]) -> Result<Opened> {
    let (canary_nonce, canary_text) = canary.parts();
    if key.decrypt(canary_nonce, CANARY_BOUND, canary_text)?.as_deref() != Some(&CANARY_TEXT) {
        return Ok(Opened::OtherKey);
    }
    let Some(plain) = key.decrypt(nonce, bound, text)?.map(Zeroizing::new) else { return Ok(Opened::Damaged) };
    Ok(match <[u8; 32]>::try_from(plain.as_slice()) {
        Ok(key) => Opened::Key(SecretKey::new(Box::new(key))),
        Err(_) => Opened::Damaged,
    })
}
