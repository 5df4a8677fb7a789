//! A catalog in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::catalog::{CopyKey, Latest, Lease, Page, Paged, PendingCopy, Query, RunQuery};
use devicevault_core::run::{Backup, NewRun, Outcome, Run, RunState};
use devicevault_core::{
    BackupId, Catalog, Clock, DestinationId, DeviceId, Error, ErrorKind, ErrorRecord, Result, RunId, StorageRef,
    SystemClock, Timestamp,
};
use uuid::Uuid;

use super::paging::page;
use super::records::{Records, run_matches};

/// Keeps runs, backups and copies in memory. Clones share what is kept.
#[derive(Debug, Clone)]
pub struct MemoryCatalog {
    clock: Arc<dyn Clock>,
    /// Who holds the leases that this handle and its clones are given.
    owner: Uuid,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    records: Records,
    leases: BTreeMap<DeviceId, (Lease, Uuid)>,
    /// Who began a run that is not over.
    begun_by: BTreeMap<RunId, Uuid>,
    /// Owners that a restart has ended.
    dead: BTreeSet<Uuid>,
}

impl Default for MemoryCatalog {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryCatalog {
    /// An empty catalog under the machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty catalog under this clock.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, owner: Uuid::now_v7(), state: Arc::default() }
    }

    /// The same catalog as a restart finds it: whoever worked with it before is dead, and holds no lease any more.
    #[must_use]
    pub fn reopened(&self) -> Self {
        let dead = self.owner;
        let mut state = self.state();
        state.dead.insert(dead);
        state.leases.retain(|_, (_, owner)| *owner != dead);
        Self { clock: self.clock.clone(), owner: Uuid::now_v7(), state: self.state.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease_until(&self, ttl: Duration) -> Timestamp {
        self.clock.now().checked_add(ttl).unwrap_or(Timestamp::MAX)
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn begin(&self, run: &NewRun) -> Result<RunId> {
        let mut state = self.state();
        let known = state.records.tasks.get(&run.task_id).copied();
        let id = known.unwrap_or_else(RunId::generate);
        if known.is_none() {
            state.records.tasks.insert(run.task_id, id);
            state.records.runs.insert(id, Run::begun(id, run.clone()));
        }
        // A run whose holder died, and that was handed on, is this holder's now.
        let holder = state.begun_by.get(&id).copied();
        if holder.is_none_or(|h| state.dead.contains(&h)) {
            state.begun_by.insert(id, self.owner);
        }
        Ok(id)
    }

    async fn lease(&self, device: &DeviceId, ttl: Duration) -> Result<Option<Lease>> {
        let now = self.clock.now();
        let mut state = self.state();
        if state.leases.get(device).is_some_and(|(lease, _)| lease.expires > now) {
            return Ok(None);
        }
        let lease = Lease::new(device.clone(), Uuid::now_v7(), self.lease_until(ttl));
        state.leases.insert(device.clone(), (lease.clone(), self.owner));
        Ok(Some(lease))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>> {
        let expires = self.lease_until(ttl);
        let mut state = self.state();
        let held = state.leases.get_mut(&lease.device).filter(|(held, _)| held.token == lease.token);
        Ok(held.map(|(held, _)| {
            held.expires = expires;
            held.clone()
        }))
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let mut state = self.state();
        if state.leases.get(&lease.device).is_some_and(|(held, _)| held.token == lease.token) {
            state.leases.remove(&lease.device);
        }
        Ok(())
    }

    async fn advance(&self, run: RunId, to: RunState) -> Result<()> {
        let refuse = |kind, why| Err(Error::new(kind, "advance run", why).with("run", run).with("state", to));
        if to.is_final() {
            return refuse(ErrorKind::Internal, "the end of a run is recorded with its outcomes");
        }
        match self.state().records.runs.get_mut(&run) {
            None => refuse(ErrorKind::NotFound, "no run has this identifier"),
            Some(known) if known.state.is_final() => Ok(()),
            Some(known) => {
                known.state = to;
                Ok(())
            }
        }
    }

    async fn latest(&self, device: &DeviceId, artefact: &str) -> Result<Latest> {
        Ok(self.state().records.latest(device, artefact))
    }

    async fn record(&self, run: RunId, outcomes: Vec<Outcome>) -> Result<()> {
        let mut state = self.state();
        state.records.check(run, &outcomes)?;
        outcomes.into_iter().for_each(|outcome| state.records.take(outcome));
        Ok(())
    }

    async fn find(&self, query: &Query, which: Page) -> Result<Paged<Backup>> {
        let state = self.state();
        let found = state.records.backups.values().filter(|b| state.records.matches(b, query));
        page(found.cloned(), &which, |b| (b.first_seen, b.id.0))
    }

    async fn runs(&self, query: &RunQuery, which: Page) -> Result<Paged<Run>> {
        let state = self.state();
        let found = state.records.runs.values().filter(|r| run_matches(r, query));
        page(found.cloned(), &which, |r| (r.start.started_at, r.id.0))
    }

    async fn verified(&self, at: &CopyKey, found: Result<Timestamp, ErrorRecord>) -> Result<()> {
        self.state().records.verified(at, found)
    }

    async fn mark(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()> {
        self.state().records.mark(destination, refs);
        Ok(())
    }

    async fn forget(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()> {
        self.state().records.forget(destination, refs);
        Ok(())
    }

    async fn pin(&self, backup: BackupId, pinned: bool) -> Result<bool> {
        Ok(self.state().records.pin(backup, pinned))
    }

    async fn accept(&self, backup: BackupId) -> Result<bool> {
        Ok(self.state().records.accept(backup))
    }

    async fn pending(&self) -> Result<Vec<PendingCopy>> {
        let now = self.clock.now();
        let mut state = self.state();
        let State { records, begun_by, dead, .. } = &mut *state;
        for run in records.runs.values_mut().filter(|r| !r.state.is_final()) {
            if begun_by.get(&run.id).is_some_and(|holder| dead.contains(holder)) {
                run.state = RunState::Failed;
                run.finished_at = Some(now);
                let why = "the process that ran it ended".to_owned();
                run.error = Some(ErrorRecord { kind: ErrorKind::Cancelled, message: why, hint: None });
            }
        }
        begun_by.retain(|id, _| records.runs.get(id).is_some_and(|r| !r.state.is_final()));
        Ok(records.pending())
    }
}
