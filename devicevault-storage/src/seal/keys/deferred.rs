//! Keys that are fetched when they are first needed.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::Result;
use devicevault_core::key::{KekId, KeyProvider, SecretKey, WrappedKey};
use futures::future::BoxFuture;
use tokio::sync::OnceCell;

type Fetch = dyn Fn() -> BoxFuture<'static, Result<Arc<dyn KeyProvider>>> + Send + Sync;

/// A provider behind something that takes time, or asks a person: it is fetched once, when a key has to be wrapped or
/// unwrapped. What failed is tried again the next time.
pub struct Deferred {
    description: String,
    fetch: Box<Fetch>,
    fetched: OnceCell<Arc<dyn KeyProvider>>,
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deferred").field(&self.description).finish()
    }
}

impl Deferred {
    /// What it is, for people, and how it is fetched.
    pub fn new<F, Fut>(description: impl Into<String>, fetch: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Arc<dyn KeyProvider>>> + Send + 'static,
    {
        let fetch = move || -> BoxFuture<'static, _> { Box::pin(fetch()) };
        Self { description: description.into(), fetch: Box::new(fetch), fetched: OnceCell::new() }
    }

    async fn provider(&self) -> Result<&Arc<dyn KeyProvider>> {
        self.fetched.get_or_try_init(|| (self.fetch)()).await
    }
}

#[async_trait]
impl KeyProvider for Deferred {
    fn describe(&self) -> String {
        self.description.clone()
    }

    async fn kek(&self) -> Result<KekId> {
        self.provider().await?.kek().await
    }

    async fn wrap(&self, key: &SecretKey, bound: &[u8]) -> Result<WrappedKey> {
        self.provider().await?.wrap(key, bound).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey, bound: &[u8]) -> Result<Option<SecretKey>> {
        self.provider().await?.unwrap(wrapped, bound).await
    }
}
