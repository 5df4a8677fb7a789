//! The traits that the catalog implements: each method is one change or one question.

use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::catalog::{CopyKey, Latest, Lease, Page, Paged, PendingCopy, Query, RunQuery};
use devicevault_core::inventory::{Credential, DestinationConfig, Policy, Selector};
use devicevault_core::run::{Backup, NewRun, Outcome, Run, RunState};
use devicevault_core::statistics::{Statistics, StatisticsQuery};
use devicevault_core::{
    BackupId, Catalog, DestinationId, Device, DeviceId, ErrorRecord, Inventory, Result, RunId, StorageRef, Timestamp,
};
use sqlx::SqliteConnection as Db;
use uuid::Uuid;

use super::SqliteCatalog;
use crate::catalog::copies::{Accept, ForgetCopies, MarkCopies, NoteVerification, Pin};
use crate::catalog::devices::{PutDestination, PutDevices, RemoveDestination, RemoveDevice};
use crate::catalog::lease::{ReleaseLease, RenewLease, TakeLease};
use crate::catalog::named::{PutCredential, PutPolicy, RemoveCredential, RemovePolicy};
use crate::catalog::read;
use crate::catalog::record::Record;
use crate::catalog::runs::{AdvanceRun, BeginRun};
use crate::catalog::sums;

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn begin(&self, run: &NewRun) -> Result<RunId> {
        self.make(BeginRun { id: RunId::generate(), run: run.clone() }).await
    }

    async fn lease(&self, device: &DeviceId, ttl: Duration) -> Result<Option<Lease>> {
        self.make(TakeLease { device: device.clone(), token: Uuid::now_v7(), ttl }).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>> {
        self.make(RenewLease { lease: lease.clone(), ttl }).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.make(ReleaseLease(lease.clone())).await
    }

    async fn advance(&self, run: RunId, state: RunState) -> Result<()> {
        self.make(AdvanceRun { run, state }).await
    }

    async fn latest(&self, device: &DeviceId, artefact: &str) -> Result<Latest> {
        self.read("find latest backup", async |db: &mut Db| read::latest(db, &device.0, artefact).await).await
    }

    async fn record(&self, run: RunId, outcomes: Vec<Outcome>) -> Result<()> {
        self.make(Record { run, outcomes }).await
    }

    async fn find(&self, query: &Query, page: Page) -> Result<Paged<Backup>> {
        self.read("find backups", async |db: &mut Db| read::find(db, query, &page).await).await
    }

    async fn runs(&self, query: &RunQuery, page: Page) -> Result<Paged<Run>> {
        self.read("find runs", async |db: &mut Db| read::runs(db, query, &page).await).await
    }

    async fn verified(&self, at: &CopyKey, found: Result<Timestamp, ErrorRecord>) -> Result<()> {
        self.make(NoteVerification { at: at.clone(), found }).await
    }

    async fn mark(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()> {
        self.make(MarkCopies { destination: destination.clone(), refs: refs.to_vec() }).await
    }

    async fn forget(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()> {
        self.make(ForgetCopies { destination: destination.clone(), refs: refs.to_vec() }).await
    }

    async fn pin(&self, backup: BackupId, pinned: bool) -> Result<bool> {
        self.make(Pin { backup, pinned }).await
    }

    async fn accept(&self, backup: BackupId) -> Result<bool> {
        self.make(Accept(backup)).await
    }

    async fn statistics(&self, wanted: &StatisticsQuery) -> Result<Statistics> {
        self.read("add up what is stored", async |db: &mut Db| sums::statistics(db, wanted).await).await
    }

    async fn pending(&self) -> Result<Vec<PendingCopy>> {
        self.close_interrupted().await?;
        self.read("find pending copies", async |db: &mut Db| read::pending(db).await).await
    }
}

#[async_trait]
impl Inventory for SqliteCatalog {
    async fn devices(&self, selector: &Selector) -> Result<Vec<Device>> {
        self.read("find devices", async |db: &mut Db| read::devices(db, selector).await).await
    }

    async fn put_devices(&self, devices: &[Device]) -> Result<()> {
        self.make(PutDevices(devices.into())).await
    }

    async fn remove_device(&self, id: &DeviceId) -> Result<bool> {
        self.make(RemoveDevice(id.clone())).await
    }

    async fn destinations(&self) -> Result<Vec<DestinationConfig>> {
        self.read("find destinations", async |db: &mut Db| read::destinations(db).await).await
    }

    async fn put_destination(&self, destination: &DestinationConfig) -> Result<()> {
        self.make(PutDestination(destination.clone())).await
    }

    async fn remove_destination(&self, id: &DestinationId) -> Result<bool> {
        self.make(RemoveDestination(id.clone())).await
    }

    async fn credentials(&self) -> Result<Vec<Credential>> {
        self.read("find credentials", async |db: &mut Db| read::credentials(db).await).await
    }

    async fn put_credential(&self, credential: &Credential) -> Result<()> {
        self.make(PutCredential(credential.clone())).await
    }

    async fn remove_credential(&self, name: &str) -> Result<bool> {
        self.make(RemoveCredential(name.to_owned())).await
    }

    async fn policies(&self) -> Result<Vec<Policy>> {
        self.read("find policies", async |db: &mut Db| read::policies(db).await).await
    }

    async fn put_policy(&self, policy: &Policy) -> Result<()> {
        self.make(PutPolicy(policy.clone())).await
    }

    async fn remove_policy(&self, name: &str) -> Result<bool> {
        self.make(RemovePolicy(name.to_owned())).await
    }
}
