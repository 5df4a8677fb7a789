//! Backends around other backends: what a layer does not do itself, the inner one does.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::sightings::Sightings;
use crate::storage::{
    Budget, Capability, Health, ListFilter, Report, StorageBackend, Usage, UsageFilter, Verdict, VerifyDepth,
};
use crate::{Body, ByteStream, Entry, Manifest, Result, StorageRef};

/// A [`StorageBackend`] around another one: a quota, a look at what was written, a fault in a test. Every layer is a
/// backend.
///
/// ```
/// use std::sync::Arc;
///
/// use devicevault_core::layer::Layer;
/// use devicevault_core::{Body, Entry, Result, StorageBackend, StorageRef};
///
/// /// Says how many backups it hands on.
/// #[derive(Debug)]
/// struct Counted(Arc<dyn StorageBackend>);
///
/// #[async_trait::async_trait]
/// impl Layer for Counted {
///     fn inner(&self) -> &dyn StorageBackend {
///         &*self.0
///     }
///
///     async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
///         println!("{} backups", batch.len());
///         self.0.store(batch).await
///     }
/// }
/// ```
#[async_trait]
pub trait Layer: Debug + Send + Sync {
    /// The backend around which this one lies.
    fn inner(&self) -> &dyn StorageBackend;

    /// See [`StorageBackend::store`].
    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        self.inner().store(batch).await
    }

    /// See [`StorageBackend::delete`].
    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        self.inner().delete(refs).await
    }

    /// See [`StorageBackend::check`].
    ///
    /// # Errors
    /// As the inner one's.
    async fn check(&self) -> Result<Health> {
        self.inner().check().await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<L: Layer> StorageBackend for L {
    fn capability(&self) -> Capability {
        self.inner().capability()
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        Layer::store(self, batch).await
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        self.inner().read(at, range).await
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        self.inner().stat(at).await
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        self.inner().list(filter)
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        Layer::delete(self, refs).await
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        self.inner().verify(at, expect, depth).await
    }

    async fn look_at(&self, at: &StorageRef) -> Result<Verdict> {
        self.inner().look_at(at).await
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        self.inner().usage(filter).await
    }

    async fn maintain(&self, budget: Budget) -> Result<Report> {
        self.inner().maintain(budget).await
    }

    async fn foretell(&self, budget: Budget) -> Result<Option<Report>> {
        self.inner().foretell(budget).await
    }

    async fn check(&self) -> Result<Health> {
        Layer::check(self).await
    }

    async fn note_sightings(&self, record: &Sightings) -> Result<bool> {
        self.inner().note_sightings(record).await
    }

    async fn sightings(&self, period: &str) -> Result<Option<Sightings>> {
        self.inner().sightings(period).await
    }

    async fn sighting_periods(&self) -> Result<Vec<String>> {
        self.inner().sighting_periods().await
    }
}
