//! The authoritative index of runs, backups and copies: the trait that most embedders implement.

mod ext;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::run::{Backup, NewRun, Outcome, Run, RunState};
use crate::statistics::{self, Statistics, StatisticsQuery};
use crate::{BackupId, DestinationId, DeviceId, Result, RunId, StorageRef};

pub use ext::{CatalogExt, recorded_at};

/// The right to talk to a device, held by one run at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The device.
    pub device: DeviceId,
    /// Who holds it; a later holder has another.
    pub token: Uuid,
    /// It ends by itself then.
    pub expires: Timestamp,
}

impl Lease {
    /// A lease.
    #[must_use]
    pub fn new(device: DeviceId, token: Uuid, expires: Timestamp) -> Self {
        Self { device, token, expires }
    }
}

/// What the catalog last knew of an artefact: what the engine compares with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latest {
    /// The newest backup that is not suspect, with its copies.
    pub reference: Option<Backup>,
    /// The newest suspect backup, where it is newer than the reference.
    pub suspect: Option<Backup>,
}

impl Latest {
    /// Both.
    #[must_use]
    pub fn new(reference: Option<Backup>, suspect: Option<Backup>) -> Self {
        Self { reference, suspect }
    }
}

/// Which backups to find. Empty fields do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Query {
    /// This backup.
    pub id: Option<BackupId>,
    /// Of this device.
    pub device: Option<DeviceId>,
    /// Of this artefact.
    pub artefact: Option<String>,
    /// Taken by this run.
    pub run: Option<RunId>,
    /// With a copy at this destination.
    pub destination: Option<DestinationId>,
    /// Valid at this time: first seen then or before, and not yet replaced.
    pub at: Option<Timestamp>,
    /// First seen at this time or later.
    pub since: Option<Timestamp>,
    /// First seen before this time.
    pub until: Option<Timestamp>,
    /// Last seen at this time or later. A catalog that does not know it finds more than that.
    pub seen_since: Option<Timestamp>,
    /// In quarantine. A catalog that does not know it finds more than that.
    pub quarantined: bool,
}

/// Which runs to find. Empty fields do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RunQuery {
    /// This run.
    pub id: Option<RunId>,
    /// Of this device.
    pub device: Option<DeviceId>,
    /// In this state.
    pub state: Option<RunState>,
    /// Attempts of this job.
    pub task_identifier: Option<String>,
}

/// Which part of a result: newest first, after a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// At most so many.
    pub limit: u32,
    /// After this: [`Paged::next`] of the page before.
    pub after: Option<String>,
}

impl Page {
    /// The first so many.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// So many, after the cursor of the page before.
    #[must_use]
    pub fn after(limit: u32, cursor: String) -> Self {
        Self { limit, after: Some(cursor) }
    }
}

/// A page of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paged<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

/// A copy that waits for its destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PendingCopy {
    /// The backup.
    pub backup: BackupId,
    /// The run that took it.
    pub run: RunId,
    /// Where it is to go.
    pub destination: DestinationId,
    /// How often it was tried.
    pub attempts: u32,
}

impl PendingCopy {
    /// All of it.
    #[must_use]
    pub fn new(backup: BackupId, run: RunId, destination: DestinationId, attempts: u32) -> Self {
        Self { backup, run, destination, attempts }
    }
}

/// Knows every run, every backup and every copy; never the contents.
///
/// # Contract
/// - **Atomic**: [`record`](Catalog::record) takes all outcomes in one durable transaction, or none.
/// - **Idempotent**: [`begin`](Catalog::begin) by task id, `record` by run and backup id: after a lost reply the same
///   call leaves the same state.
/// - **Leases**: of two callers one gets it; it expires by itself, and a catalog that can tell that its holder has died
///   gives it at once. A run whose holder died is found `failed` with kind `cancelled` at the next [`pending`](Catalog::pending).
/// - **Order**: backups and runs come newest first, ties by id, so that pages neither repeat nor skip.
/// - Dropping a future leaves the call done or not done, never half.
#[async_trait]
pub trait Catalog: Debug + Send + Sync {
    /// A run begins.
    async fn begin(&self, run: &NewRun) -> Result<RunId>;
    /// Asks for the right to talk to a device. `None`: somebody else has it.
    async fn lease(&self, device: &DeviceId, ttl: Duration) -> Result<Option<Lease>>;
    /// Keeps a lease for another `ttl`. `None`: it was lost.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>>;
    /// Gives a lease back; one that was lost is no error.
    async fn release(&self, lease: &Lease) -> Result<()>;
    /// A run that is not over moves on, for those who watch. Recording its end does not need it.
    async fn advance(&self, _run: RunId, _state: RunState) -> Result<()> {
        Ok(())
    }
    /// What the engine compares with.
    async fn latest(&self, device: &DeviceId, artefact: &str) -> Result<Latest>;
    /// What a run did, in one transaction.
    async fn record(&self, run: RunId, outcomes: Vec<Outcome>) -> Result<()>;
    /// Backups, newest first.
    async fn find(&self, query: &Query, page: Page) -> Result<Paged<Backup>>;
    /// Runs, newest first.
    async fn runs(&self, query: &RunQuery, page: Page) -> Result<Paged<Run>>;
    /// What a verification found of a copy: good at a time, or damaged because of an error.
    async fn verified(&self, at: &CopyKey, found: std::result::Result<Timestamp, crate::ErrorRecord>) -> Result<()>;
    /// First step of a deletion: these copies are no longer good.
    async fn mark(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()>;
    /// Second step, after the bytes are gone: the records go; a backup without copies goes too.
    async fn forget(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()>;
    /// Keeps a backup from retention, or no longer. `false`: there is no such backup.
    async fn pin(&self, _backup: BackupId, _pinned: bool) -> Result<bool> {
        Err(crate::Error::new(crate::ErrorKind::Unsupported, "pin backup", "this catalog pins no backups"))
    }
    /// A person has looked at a suspect backup and says that it is what the device holds: it is suspect no longer, and
    /// what later ones are compared with; one in quarantine is released. `false`: there is no such backup. It is
    /// [`Backup::accept`] on the record.
    async fn accept(&self, _backup: BackupId) -> Result<bool> {
        Err(crate::Error::new(crate::ErrorKind::Unsupported, "accept backup", "this catalog keeps what is suspect"))
    }
    /// Adds up what is stored, and what runs collected. Unless a catalog knows a shorter way, all is looked at.
    async fn statistics(&self, wanted: &StatisticsQuery) -> Result<Statistics> {
        statistics::by_looking_at_all(self, wanted).await
    }
    /// What a restart picks up: copies that wait. Runs whose process died are closed by the way.
    async fn pending(&self) -> Result<Vec<PendingCopy>>;
}

/// Which copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CopyKey {
    /// The backup.
    pub backup: BackupId,
    /// Where.
    pub destination: DestinationId,
}
