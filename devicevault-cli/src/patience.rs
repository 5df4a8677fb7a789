//! How long a person at a terminal waits for a destination.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::storage::{
    Budget, Capability, Health, ListFilter, Report, Usage, UsageFilter, Verdict, VerifyDepth,
};
use devicevault_core::{Body, ByteStream, Entry, Manifest, Result, Retry, StorageBackend, StorageRef};
use futures::stream::BoxStream;

/// What is to be tried again only after this long is told at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A backend whose faults that last (a disk that is full) end a run instead of holding it up: the next run stores what
/// is missing.
#[derive(Debug)]
pub(crate) struct Impatient(Arc<dyn StorageBackend>);

impl Impatient {
    pub(crate) fn new(backend: Arc<dyn StorageBackend>) -> Arc<Self> {
        Arc::new(Self(backend))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Impatient {
    fn capability(&self) -> Capability {
        self.0.capability()
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let verdicts = self.0.store(batch).await.into_iter();
        let hurried = verdicts.map(|verdict| {
            verdict.map_err(|e| match e.retry() {
                Retry::After(wait) if wait > PATIENCE => e.retry_advice(Retry::Never),
                _ => e,
            })
        });
        hurried.collect()
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        self.0.read(at, range).await
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        self.0.stat(at).await
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        self.0.list(filter)
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        self.0.delete(refs).await
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        self.0.verify(at, expect, depth).await
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        self.0.usage(filter).await
    }

    async fn maintain(&self, budget: Budget) -> Result<Report> {
        self.0.maintain(budget).await
    }

    async fn check(&self) -> Result<Health> {
        self.0.check().await
    }
}
