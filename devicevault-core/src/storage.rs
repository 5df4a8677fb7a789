//! Where bytes are kept: the trait that destinations implement.

use std::collections::HashSet;
use std::fmt::Debug;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::body::{Body, ByteStream, read_to_vec};
use crate::clock::Timestamp;
use crate::sightings::Sightings;
use crate::{DeviceId, Error, ErrorKind, Manifest, Result, RunId, View};

/// Opaque text that a destination returns from `store` and later reads by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StorageRef(pub String);

impl StorageRef {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for StorageRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes storing idempotent: the same entry again is the same copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId {
    /// The run that took it.
    pub run: RunId,
    /// The artefact.
    pub artefact: String,
    /// The view.
    pub view: View,
}

/// What is to be stored, beside its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The manifest that is kept beside the bytes. A backend adds its own transforms before it writes it.
    pub manifest: Manifest,
    /// For people: what changed and why, one line (a Git backend's commit subject).
    pub summary: String,
}

impl Entry {
    /// An entry with a plain summary.
    #[must_use]
    pub fn new(manifest: Manifest) -> Self {
        let summary = format!("{}: {}", manifest.source.device_name, manifest.artefact);
        Self { manifest, summary }
    }

    /// Run, artefact and view.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId { run: self.manifest.run, artefact: self.manifest.artefact.clone(), view: self.manifest.view }
    }
}

/// What a backend can do, for those who choose and for the conformance suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Capability {
    /// Single backups can be deleted.
    pub delete: bool,
    /// A range is read without reading all before it.
    pub range_read: bool,
    /// What `store` returned survives a power cut.
    pub durable: bool,
    /// Two writers of one entry cannot replace each other's object.
    pub put_if_absent: bool,
    /// Names of devices cannot be read at the destination.
    pub private_names: bool,
    /// Contents cannot be read at the destination.
    pub private_content: bool,
    /// What arrives last is shown as the present: versions of an artefact have to arrive in the order of their taking.
    #[serde(default)]
    pub ordered: bool,
    /// The largest body that it takes, in bytes.
    pub max_body: Option<u64>,
    /// How many entries one `store` call should bring at most.
    pub max_batch: usize,
}

impl Default for Capability {
    /// Nothing promised, batches of 256.
    fn default() -> Self {
        Self {
            delete: false,
            range_read: false,
            durable: false,
            put_if_absent: false,
            private_names: false,
            private_content: false,
            ordered: false,
            max_body: None,
            max_batch: 256,
        }
    }
}

/// Which backups to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListFilter {
    /// Only of this device.
    pub device: Option<DeviceId>,
    /// Only of this artefact.
    pub artefact: Option<String>,
    /// Only taken at this time or later.
    pub since: Option<Timestamp>,
}

impl ListFilter {
    /// Whether a manifest passes.
    #[must_use]
    pub fn matches(&self, m: &Manifest) -> bool {
        self.device.as_ref().is_none_or(|d| *d == m.source.device)
            && self.artefact.as_ref().is_none_or(|a| *a == m.artefact)
            && self.since.is_none_or(|t| m.taken_at >= t)
    }
}

/// What usage to add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageFilter {
    /// Only of this device.
    pub device: Option<DeviceId>,
}

/// How much is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Backups.
    pub backups: u64,
    /// Bytes of their views, before compression and encryption.
    pub content_bytes: u64,
    /// Bytes that the destination keeps for them.
    pub stored_bytes: u64,
}

/// How deep a verification looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyDepth {
    /// The objects are there and have the right size.
    Size,
    /// The stored bytes hash to what was recorded; no key needed.
    Stored,
    /// Opened, the content hashes to what the manifest says.
    Content,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "what")]
#[non_exhaustive]
pub enum Verdict {
    /// All is as recorded, down to this depth.
    Good(VerifyDepth),
    /// It is there, and not what was stored: what exactly, one line each.
    Damaged(Vec<String>),
    /// It is not there.
    Missing,
}

impl Verdict {
    /// Whether all is as recorded.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Good(_))
    }
}

/// How much [`StorageBackend::maintain`] may do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Budget {
    /// Stop beginning new work after this time.
    pub duration: Duration,
    /// What a catalog names stays, though nothing at the destination names it any more.
    pub recorded: Recorded,
    /// Remove whole content that no manifest and no catalog names: a process that was killed left it, or it is the only
    /// copy of a version whose manifest was lost, which nothing tells. Else it is left, and told.
    pub unnamed: bool,
}

impl Default for Budget {
    /// One hour; no catalog is asked, and what nothing names is left.
    fn default() -> Self {
        Self { duration: Duration::from_secs(3600), recorded: Recorded::nothing(), unnamed: false }
    }
}

/// Tells of places which of them a catalog names: see [`recorded_at`](crate::catalog::recorded_at).
#[derive(Clone)]
pub struct Recorded(Ask);

type Ask = Arc<dyn Fn(HashSet<StorageRef>) -> BoxFuture<'static, Result<HashSet<StorageRef>>> + Send + Sync>;

impl Recorded {
    /// Asks `ask`, which returns those of its argument that are named.
    pub fn new<F, Fut>(ask: F) -> Self
    where
        F: Fn(HashSet<StorageRef>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HashSet<StorageRef>>> + Send + 'static,
    {
        Self(Arc::new(move |places| Box::pin(ask(places))))
    }

    /// Where there is no catalog.
    #[must_use]
    pub fn nothing() -> Self {
        Self::new(async |_| Ok(HashSet::new()))
    }

    /// Those of these places that are named. Nobody is asked about none.
    ///
    /// # Errors
    /// What the catalog answers.
    pub async fn of(&self, places: HashSet<StorageRef>) -> Result<HashSet<StorageRef>> {
        if places.is_empty() { Ok(places) } else { (self.0)(places).await }
    }
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorded")
    }
}

/// What maintenance did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// One line each, for people.
    pub done: Vec<String>,
    /// Bytes given back.
    pub bytes_freed: u64,
    /// What nothing names was found so often: what was, or would be, removed of it, and what is too young for that, since
    /// somebody may be about to name it.
    #[serde(default)]
    pub unnamed: u64,
    /// Bytes of it.
    #[serde(default)]
    pub unnamed_bytes: u64,
}

/// What a connection test found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// Each probe.
    pub probes: Vec<Probe>,
}

impl Health {
    /// Whether every probe passed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.probes.iter().all(|p| p.good)
    }

    /// Adds a probe.
    pub fn push(&mut self, name: impl Into<String>, good: bool, detail: impl Into<String>) {
        self.probes.push(Probe { name: name.into(), good, detail: detail.into() });
    }
}

/// One thing that a connection test tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What was tried.
    pub name: String,
    /// Whether it is as it should be.
    pub good: bool,
    /// What was found, and what it means.
    pub detail: String,
}

/// The name under which the error of a listed backup whose content is gone tells the reference of the content.
pub const MISSING: &str = "missing";

/// Keeps backups: a folder, a Git repository, an object store, …
///
/// # Contract
/// - **Batches.** [`store`](StorageBackend::store) takes a batch in one durable step and returns one verdict per entry,
///   in order. A verdict of `Ok` means: the bytes and the manifest are durable, and [`list`](StorageBackend::list)
///   shows them. An entry that failed left nothing that `list` or `read` would show.
/// - **Idempotent** by [`Entry::id`]: storing the same entry again, after a lost reply or a crash, returns a reference
///   to one copy and makes no second one.
/// - **Bodies** are streamed; no whole body is held in memory unless it is small. A body that yields another length
///   or hash than the manifest says is refused as [`ErrorKind::Incomplete`].
/// - **Reading** returns exactly the bytes of the view; a range beyond its end is cut to its length. Damage is
///   [`ErrorKind::Corrupt`], absence [`ErrorKind::NotFound`]; a truncated object never reads as a shorter one without
///   an error.
/// - **Cancellation.** Dropping a future leaves each entry either stored or absent; leavings that nothing names are
///   found by [`maintain`](StorageBackend::maintain).
/// - **Deletion** of what is missing is `Ok`. A backend that cannot delete says so by [`Capability::delete`] and
///   answers `Unsupported`.
/// - **Listing** goes on behind a backup that is damaged: it is an error (`Corrupt`) among the others. That of a backup
///   whose manifest is there and whose content is not names the content under [`MISSING`].
///
/// # Wrappers
/// Quotas, faults and the like are [layers](crate::layer::Layer), which forward what they do not do themselves.
#[async_trait]
pub trait StorageBackend: Debug + Send + Sync {
    /// What it can do.
    fn capability(&self) -> Capability;
    /// Stores a batch; a verdict each, in order.
    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>>;
    /// Reads the bytes of a view, or a range of them.
    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>>;
    /// Reads the manifest.
    async fn stat(&self, at: &StorageRef) -> Result<Manifest>;
    /// Every backup with its manifest: enough to rebuild a catalog. The order is the backend's own.
    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>>;
    /// Deletes; a verdict each, in order.
    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>>;
    /// Checks one backup, against its own manifest and, where given, against the catalog's idea of it. What is sealed and
    /// cannot be opened is checked as far as that goes: [`ErrorKind::KeyUnavailable`] says that down to its stored bytes it
    /// is what was stored.
    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict>;
    /// Looks, quickly, whether a copy can be relied on as before: whether it is there with its size, and, where what is
    /// stored now would open, whether a key at hand opens it ([`ErrorKind::NotFound`] where none does: it is to be stored
    /// anew).
    async fn look_at(&self, at: &StorageRef) -> Result<Verdict> {
        self.verify(at, None, VerifyDepth::Size).await
    }
    /// Adds up what is stored.
    async fn usage(&self, filter: UsageFilter) -> Result<Usage>;
    /// Tidies up: repacks, removes what no backup names, pushes again. Does nothing unless there is something to do.
    async fn maintain(&self, _budget: Budget) -> Result<Report> {
        Ok(Report::default())
    }
    /// What [`maintain`](StorageBackend::maintain) would do now, without doing it. `None`: it cannot tell.
    async fn foretell(&self, _budget: Budget) -> Result<Option<Report>> {
        Ok(None)
    }
    /// The connection test: probes what the store really does.
    async fn check(&self) -> Result<Health>;
    /// Keeps a small record of how long versions were valid, in the place of the one of the same month: what a manifest
    /// cannot say and a rebuilt catalog wants to know. `false`: this store keeps none.
    async fn note_sightings(&self, _record: &Sightings) -> Result<bool> {
        Ok(false)
    }
    /// The record of this name among the [periods](StorageBackend::sighting_periods).
    async fn sightings(&self, _period: &str) -> Result<Option<Sightings>> {
        Ok(None)
    }
    /// The months of which there are records, oldest first. After a month and a point stands what names a further record of
    /// it, which was [set aside](Sightings::set_aside).
    async fn sighting_periods(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// Conveniences for callers of a [`StorageBackend`].
#[async_trait]
pub trait StorageBackendExt: StorageBackend {
    /// Stores one entry.
    async fn store_one(&self, entry: Entry, body: Arc<dyn Body>) -> Result<StorageRef> {
        self.store(vec![(entry, body)])
            .await
            .into_iter()
            .next()
            .unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "store backup", "the backend returned no verdict")))
    }

    /// Reads a whole view of at most `max` bytes.
    async fn read_all(&self, at: &StorageRef, max: u64) -> Result<Vec<u8>> {
        read_to_vec(self.read(at, None).await?, max).await
    }

    /// Deletes one backup.
    async fn delete_one(&self, at: &StorageRef) -> Result<()> {
        self.delete(std::slice::from_ref(at)).await.into_iter().next().unwrap_or(Ok(()))
    }
}

impl<T: StorageBackend + ?Sized> StorageBackendExt for T {}
