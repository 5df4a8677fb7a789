//! Host keys for the length of a process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{HostKey, HostKeyStore, Recorded};
use crate::{Endpoint, Result};

/// Host keys in memory: for tests, and for embedders that load and keep them elsewhere.
#[derive(Debug, Default)]
pub struct HostKeysInMemory(Mutex<HashMap<Endpoint, Vec<HostKey>>>);

impl HostKeysInMemory {
    /// Adds a trusted key.
    #[must_use]
    pub fn with(self, server: Endpoint, key: HostKey) -> Self {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(server).or_default().push(key);
        self
    }
}

#[async_trait]
impl HostKeyStore for HostKeysInMemory {
    async fn recorded(&self, server: &Endpoint) -> Result<Recorded> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(server).cloned().unwrap_or_default();
        Ok(Recorded::nothing().with_keys(keys))
    }

    async fn record(&self, server: &Endpoint, key: &HostKey) -> Result<Recorded> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = all.entry(server.clone()).or_insert_with(|| vec![key.clone()]).clone();
        Ok(Recorded::nothing().with_keys(keys))
    }

    async fn elsewhere(&self, server: &Endpoint) -> Result<Vec<HostKey>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let other = |e: &Endpoint| e != server && !e.over.is_empty() && e.alone() == server.alone();
        Ok(all.iter().filter(|(e, _)| other(e)).flat_map(|(_, keys)| keys.clone()).collect())
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}
