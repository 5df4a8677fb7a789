//! Stand-ins for what could not be made ready. The engine is given them all the same, so that the failure is recorded
//! with the run, as any other.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::storage::{Capability, Health, ListFilter, Usage, UsageFilter, Verdict, VerifyDepth};
use devicevault_core::{
    ArtifactInfo, Body, ByteStream, Collector, CollectorInfo, Entry, Error, ErrorKind, Manifest, Result, Retry, Sink,
    StorageBackend, StorageRef, Target,
};
use futures::StreamExt as _;
use futures::stream::BoxStream;

/// A collector of a device whose login or platform could not be made ready: every conversation ends in that error.
#[derive(Debug)]
pub(crate) struct UnreadyCollector {
    info: CollectorInfo,
    error: Error,
}

impl UnreadyCollector {
    pub(crate) fn new(key: &str, error: Error) -> Arc<Self> {
        let info = CollectorInfo::new(key, "not ready", "Stands in for a collector that could not be made ready.");
        Arc::new(Self { info, error: error.retry_advice(Retry::Never) })
    }
}

#[async_trait]
impl Collector for UnreadyCollector {
    fn info(&self) -> &CollectorInfo {
        &self.info
    }

    fn artefacts(&self, _target: &Target) -> Result<Vec<ArtifactInfo>> {
        Ok(Vec::new())
    }

    async fn collect(&self, _target: &Target, _out: &mut dyn Sink) -> Result<()> {
        Err(self.error.clone())
    }

    async fn log_in(&self, _target: &Target) -> Result<()> {
        Err(self.error.clone())
    }
}

/// A backend of a destination that could not be opened, or failed its test: every call ends in that error. Whatever it
/// is, somebody may mend it: what was to be stored there waits.
#[derive(Debug)]
pub(crate) struct UnreadyBackend(Error);

impl UnreadyBackend {
    pub(crate) fn new(error: Error) -> Arc<Self> {
        Arc::new(Self(error.retry_advice(Retry::After(Duration::ZERO))))
    }

    fn refuse<T>(&self) -> Result<T> {
        Err(self.0.clone())
    }
}

#[async_trait]
impl StorageBackend for UnreadyBackend {
    fn capability(&self) -> Capability {
        Capability::default()
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        batch.iter().map(|_| self.refuse()).collect()
    }

    async fn read(&self, _at: &StorageRef, _range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        self.refuse()
    }

    async fn stat(&self, _at: &StorageRef) -> Result<Manifest> {
        self.refuse()
    }

    fn list(&self, _filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        futures::stream::iter([self.refuse()]).boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        refs.iter().map(|_| self.refuse()).collect()
    }

    async fn verify(&self, _at: &StorageRef, _expect: Option<&Manifest>, _depth: VerifyDepth) -> Result<Verdict> {
        // That the destination is not there says nothing of the copy.
        match self.0.kind() {
            ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::Unavailable, "look at copy", "its destination is not ready")
                    .because(self.0.clone()))
            }
            _ => self.refuse(),
        }
    }

    async fn usage(&self, _filter: UsageFilter) -> Result<Usage> {
        self.refuse()
    }

    async fn check(&self) -> Result<Health> {
        self.refuse()
    }
}
