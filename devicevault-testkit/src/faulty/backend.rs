//! A store that fails when it is told to.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::body::ByteStream;
use devicevault_core::sightings::Sightings;
use devicevault_core::storage::{
    Budget, Capability, Health, ListFilter, Report, Usage, UsageFilter, Verdict, VerifyDepth,
};
use devicevault_core::{Body, Entry, Error, Manifest, Result, StorageBackend, StorageRef};
use futures::stream::{BoxStream, StreamExt as _};

use super::{Faulty, Operation};

/// The same error for each of so many.
fn for_each<T>(count: usize, error: &Error) -> Vec<Result<T>> {
    (0..count).map(|_| Err(error.clone())).collect()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: StorageBackend + ?Sized> StorageBackend for Faulty<T> {
    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let (met, count) = (self.plan.call(Operation::Store), batch.len());
        if let Err(e) = met.before().await {
            return for_each(count, &e);
        }
        let verdicts = self.inner.store(batch).await;
        match met.after().await {
            Ok(()) => verdicts,
            Err(e) => for_each(count, &e),
        }
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        let met = self.plan.call(Operation::Read);
        met.before().await?;
        let content = self.inner.read(at, range).await?;
        // A reply that is lost is lost in its middle: some of the content came.
        Ok(content.chain(ending(async move { met.after().await })).boxed())
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        let met = self.plan.call(Operation::Stat);
        met.before().await?;
        let manifest = self.inner.stat(at).await?;
        met.after().await.map(|()| manifest)
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        let met = Arc::new(self.plan.call(Operation::List));
        let first = met.clone();
        let (entries, stop) = (self.inner.list(filter), ending(async move { first.before().await }));
        // An error before the effect is all that comes; one after it comes last.
        let rest = entries.chain(ending(async move { met.after().await }));
        stop.chain(rest)
            .scan(false, |failed, item| {
                let more = !*failed;
                *failed |= item.is_err();
                std::future::ready(more.then_some(item))
            })
            .boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        let met = self.plan.call(Operation::Delete);
        if let Err(e) = met.before().await {
            return for_each(refs.len(), &e);
        }
        let verdicts = self.inner.delete(refs).await;
        match met.after().await {
            Ok(()) => verdicts,
            Err(e) => for_each(refs.len(), &e),
        }
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        let met = self.plan.call(Operation::Verify);
        met.before().await?;
        let verdict = self.inner.verify(at, expect, depth).await?;
        met.after().await.map(|()| verdict)
    }

    async fn look_at(&self, at: &StorageRef) -> Result<Verdict> {
        let met = self.plan.call(Operation::Verify);
        met.before().await?;
        let verdict = self.inner.look_at(at).await?;
        met.after().await.map(|()| verdict)
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        let met = self.plan.call(Operation::Usage);
        met.before().await?;
        let usage = self.inner.usage(filter).await?;
        met.after().await.map(|()| usage)
    }

    async fn maintain(&self, budget: Budget) -> Result<Report> {
        let met = self.plan.call(Operation::Maintain);
        met.before().await?;
        let report = self.inner.maintain(budget).await?;
        met.after().await.map(|()| report)
    }

    async fn foretell(&self, budget: Budget) -> Result<Option<Report>> {
        let met = self.plan.call(Operation::Maintain);
        met.before().await?;
        let report = self.inner.foretell(budget).await?;
        met.after().await.map(|()| report)
    }

    async fn check(&self) -> Result<Health> {
        let met = self.plan.call(Operation::Check);
        met.before().await?;
        let health = self.inner.check().await?;
        met.after().await.map(|()| health)
    }

    async fn note_sightings(&self, record: &Sightings) -> Result<bool> {
        let met = self.plan.call(Operation::NoteSightings);
        met.before().await?;
        let done = self.inner.note_sightings(record).await?;
        met.after().await.map(|()| done)
    }

    async fn sightings(&self, period: &str) -> Result<Option<Sightings>> {
        let met = self.plan.call(Operation::Sightings);
        met.before().await?;
        let done = self.inner.sightings(period).await?;
        met.after().await.map(|()| done)
    }

    async fn sighting_periods(&self) -> Result<Vec<String>> {
        let met = self.plan.call(Operation::Sightings);
        met.before().await?;
        let done = self.inner.sighting_periods().await?;
        met.after().await.map(|()| done)
    }
}

/// A stream of nothing but the error, where there is one.
fn ending<I: Send + 'static>(
    fault: impl Future<Output = Result<()>> + Send + 'static,
) -> BoxStream<'static, Result<I>> {
    futures::stream::once(fault).filter_map(|met| std::future::ready(met.err().map(Err))).boxed()
}
