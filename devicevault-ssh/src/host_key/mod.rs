//! Which server is at the other end: host keys, where they are recorded and when one is trusted.

mod certificate;
mod import;
mod known_hosts;
mod line;
mod memory;
mod policy;

use std::fmt;

use async_trait::async_trait;
use russh::keys::{Algorithm, HashAlg, PublicKey};

pub(crate) use certificate::judge_certificate;
pub use import::{Forgotten, Imported, RefusedLine};
pub use known_hosts::KnownHostsFile;
pub use memory::HostKeysInMemory;
pub use policy::HostKeyPolicy;
pub(crate) use policy::{Believed, judge};

use crate::{Endpoint, Result, SshError};

/// The public key by which a server proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey(PublicKey);

impl HostKey {
    pub(crate) fn new(key: &PublicKey) -> Self {
        // Without a comment, so that equal keys are equal.
        Self(PublicKey::new(key.key_data().clone(), ""))
    }

    /// From `algorithm base64`, as it stands in a known_hosts file or a `.pub` file; a comment may follow.
    ///
    /// # Errors
    /// `Config` when it is not a public key.
    pub fn from_openssh(text: &str) -> Result<Self> {
        let key = PublicKey::from_openssh(text.trim())
            .map_err(|_| SshError::Config { message: "this is not a public key in OpenSSH's form".to_owned() })?;
        Ok(Self::new(&key))
    }

    /// `algorithm base64`.
    #[must_use]
    pub fn to_openssh(&self) -> String {
        // Encoding a key that was decoded has no way to fail.
        self.0.to_openssh().unwrap_or_default()
    }

    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Name of its algorithm, such as `ssh-ed25519`.
    #[must_use]
    pub fn algorithm(&self) -> String {
        self.0.algorithm().as_str().to_owned()
    }

    /// Whether signatures of this algorithm are made by such a key: an RSA key makes three kinds.
    pub(crate) fn verifies(&self, algorithm: &Algorithm) -> bool {
        match algorithm {
            Algorithm::Rsa { .. } => self.0.algorithm().is_rsa(),
            other => self.0.algorithm() == *other,
        }
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({} {})", self.algorithm(), self.fingerprint())
    }
}

/// What is recorded of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Keys that it may prove itself by.
    pub keys: Vec<HostKey>,
    /// Keys that are never to be trusted again.
    pub revoked: Vec<HostKey>,
    /// Keys that sign certificates for it.
    pub authorities: Vec<HostKey>,
}

impl Recorded {
    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// These keys are trusted.
    #[must_use]
    pub fn with_keys(mut self, keys: Vec<HostKey>) -> Self {
        self.keys = keys;
        self
    }

    /// Certificates of these authorities are trusted.
    #[must_use]
    pub fn with_authorities(mut self, keys: Vec<HostKey>) -> Self {
        self.authorities = keys;
        self
    }

    /// These keys are revoked.
    #[must_use]
    pub fn with_revoked(mut self, keys: Vec<HostKey>) -> Self {
        self.revoked = keys;
        self
    }
}

/// Remembers the keys of servers.
///
/// # Contract
/// - [`record`](HostKeyStore::record) is atomic among all users of the store, in this process and others: of several
///   first uses at once, one key is recorded and all are told that one.
/// - What `record` returned from is there for every later call, also after a restart where the store is durable.
/// - A store that cannot be read is an error, never an empty store.
/// - Dropping a future leaves the store as it was or with the key recorded.
#[async_trait]
pub trait HostKeyStore: fmt::Debug + Send + Sync {
    /// What is recorded of this server. One behind jump hosts ([`Endpoint::over`]) is another one than that of the same
    /// address here.
    async fn recorded(&self, server: &Endpoint) -> Result<Recorded>;
    /// Records a key unless one is recorded already. Returns what is recorded afterwards.
    async fn record(&self, server: &Endpoint, key: &HostKey) -> Result<Recorded>;
    /// The keys that are recorded of the same address behind other jump hosts. Where the store cannot tell whose a key of
    /// the address alone is, there are none: it is believed to be that of all of them.
    async fn elsewhere(&self, server: &Endpoint) -> Result<Vec<HostKey>> {
        let _ = server;
        Ok(Vec::new())
    }
    /// Where a person finds the records, for error texts.
    fn place(&self) -> String;
}
