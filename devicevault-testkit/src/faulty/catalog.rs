//! A catalog that fails when it is told to.

use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::catalog::{CopyKey, Latest, Lease, Page, Paged, PendingCopy, Query, RunQuery};
use devicevault_core::run::{Backup, NewRun, Outcome, Run, RunState};
use devicevault_core::statistics::{Statistics, StatisticsQuery};
use devicevault_core::{BackupId, Catalog, DestinationId, DeviceId, ErrorRecord, Result, RunId, StorageRef, Timestamp};

use super::{Faulty, Operation};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Catalog + ?Sized> Catalog for Faulty<T> {
    async fn begin(&self, run: &NewRun) -> Result<RunId> {
        let met = self.plan.call(Operation::Begin);
        met.before().await?;
        let id = self.inner.begin(run).await?;
        met.after().await.map(|()| id)
    }

    async fn lease(&self, device: &DeviceId, ttl: Duration) -> Result<Option<Lease>> {
        let met = self.plan.call(Operation::Lease);
        met.before().await?;
        let lease = self.inner.lease(device, ttl).await?;
        met.after().await.map(|()| lease)
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>> {
        let met = self.plan.call(Operation::Renew);
        met.before().await?;
        let lease = self.inner.renew(lease, ttl).await?;
        met.after().await.map(|()| lease)
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let met = self.plan.call(Operation::Release);
        met.before().await?;
        self.inner.release(lease).await?;
        met.after().await
    }

    async fn advance(&self, run: RunId, state: RunState) -> Result<()> {
        let met = self.plan.call(Operation::Advance);
        met.before().await?;
        self.inner.advance(run, state).await?;
        met.after().await
    }

    async fn latest(&self, device: &DeviceId, artefact: &str) -> Result<Latest> {
        let met = self.plan.call(Operation::Latest);
        met.before().await?;
        let latest = self.inner.latest(device, artefact).await?;
        met.after().await.map(|()| latest)
    }

    async fn record(&self, run: RunId, outcomes: Vec<Outcome>) -> Result<()> {
        let met = self.plan.call(Operation::Record);
        met.before().await?;
        self.inner.record(run, outcomes).await?;
        met.after().await
    }

    async fn find(&self, query: &Query, page: Page) -> Result<Paged<Backup>> {
        let met = self.plan.call(Operation::Find);
        met.before().await?;
        let found = self.inner.find(query, page).await?;
        met.after().await.map(|()| found)
    }

    async fn runs(&self, query: &RunQuery, page: Page) -> Result<Paged<Run>> {
        let met = self.plan.call(Operation::Runs);
        met.before().await?;
        let found = self.inner.runs(query, page).await?;
        met.after().await.map(|()| found)
    }

    async fn verified(&self, at: &CopyKey, found: Result<Timestamp, ErrorRecord>) -> Result<()> {
        let met = self.plan.call(Operation::Verified);
        met.before().await?;
        self.inner.verified(at, found).await?;
        met.after().await
    }

    async fn mark(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()> {
        let met = self.plan.call(Operation::Mark);
        met.before().await?;
        self.inner.mark(destination, refs).await?;
        met.after().await
    }

    async fn forget(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()> {
        let met = self.plan.call(Operation::Forget);
        met.before().await?;
        self.inner.forget(destination, refs).await?;
        met.after().await
    }

    async fn pin(&self, backup: BackupId, pinned: bool) -> Result<bool> {
        let met = self.plan.call(Operation::Pin);
        met.before().await?;
        let known = self.inner.pin(backup, pinned).await?;
        met.after().await.map(|()| known)
    }

    async fn accept(&self, backup: BackupId) -> Result<bool> {
        let met = self.plan.call(Operation::Accept);
        met.before().await?;
        let known = self.inner.accept(backup).await?;
        met.after().await.map(|()| known)
    }

    async fn statistics(&self, wanted: &StatisticsQuery) -> Result<Statistics> {
        let met = self.plan.call(Operation::Statistics);
        met.before().await?;
        let statistics = self.inner.statistics(wanted).await?;
        met.after().await.map(|()| statistics)
    }

    async fn pending(&self) -> Result<Vec<PendingCopy>> {
        let met = self.plan.call(Operation::Pending);
        met.before().await?;
        let pending = self.inner.pending().await?;
        met.after().await.map(|()| pending)
    }
}
