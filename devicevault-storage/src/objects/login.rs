//! Who logs in at a store.

use std::fmt::Debug;

use async_trait::async_trait;
use devicevault_core::{Login, Result};

/// Gives the login of a store, secrets and all, when it is first needed.
#[async_trait]
pub trait LoginSource: Debug + Send + Sync {
    /// The login. Its `Debug` masks the secrets.
    ///
    /// # Errors
    /// What keeps a secret from being read, never the secret.
    async fn login(&self) -> Result<Login>;
}

/// A login that is at hand.
#[async_trait]
impl LoginSource for Login {
    async fn login(&self) -> Result<Login> {
        Ok(self.clone())
    }
}
