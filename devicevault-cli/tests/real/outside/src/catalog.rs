//! A catalog: records behind a lock. What stands for the file of a real one is shared between those who open it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::catalog::{CopyKey, Latest, Lease, Page, Paged, PendingCopy, Query, RunQuery};
use devicevault_core::run::{Backup, Copy, CopyStatus, NewRun, Outcome, Run, RunState};
use devicevault_core::{
    Catalog, Clock, DestinationId, DeviceId, Error, ErrorKind, ErrorRecord, Result, RunId, StorageRef, Timestamp,
};
use uuid::Uuid;

/// Who works with the records, until it is opened anew.
#[derive(Debug)]
pub struct Ledger {
    owner: Uuid,
    clock: Arc<dyn Clock>,
    book: Arc<Mutex<Book>>,
}

/// The records.
#[derive(Debug, Default)]
pub struct Book {
    runs: Vec<Run>,
    backups: Vec<Backup>,
    leases: HashMap<DeviceId, (Lease, Uuid)>,
    begun_by: HashMap<RunId, Uuid>,
    alive: HashSet<Uuid>,
}

impl Ledger {
    /// Opens the records as a restart does: whoever had them open is dead.
    #[must_use]
    pub fn open(book: &Arc<Mutex<Book>>, clock: Arc<dyn Clock>) -> Self {
        let owner = Uuid::now_v7();
        let mut records = book.lock().unwrap_or_else(PoisonError::into_inner);
        records.alive = HashSet::from([owner]);
        let Book { leases, alive, .. } = &mut *records;
        leases.retain(|_, (_, holder)| alive.contains(holder));
        drop(records);
        Self { owner, clock, book: book.clone() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn until(&self, ttl: Duration) -> Timestamp {
        self.clock.now().checked_add(ttl).unwrap_or(Timestamp::MAX)
    }
}

impl Book {
    fn take(&mut self, of: RunId, outcome: Outcome) -> Result<()> {
        let refuse = |kind, why| Err(Error::new(kind, "record run", why).with("run", of));
        match outcome {
            Outcome::Backup(told) => match self.backups.iter_mut().find(|b| b.id == told.id) {
                None => self.backups.push(told),
                Some(known) => {
                    known.last_seen = known.last_seen.max(told.last_seen);
                    told.copies.into_iter().for_each(|copy| add_copy(known, copy));
                }
            },
            Outcome::Extended { backup, destinations, seen } => {
                let Some(known) = self.backups.iter_mut().find(|b| b.id == backup) else {
                    return refuse(ErrorKind::NotFound, "there is no such backup");
                };
                known.last_seen = known.last_seen.max(seen);
                for copy in known.copies.iter_mut().filter(|c| destinations.contains(&c.destination)) {
                    copy.last_seen = copy.last_seen.max(seen);
                }
            }
            Outcome::End(run) if run.id != of => return refuse(ErrorKind::Internal, "this is the end of another run"),
            Outcome::End(run) if !run.state.is_final() => {
                return refuse(ErrorKind::Internal, "the run is not over");
            }
            Outcome::End(run) => match self.runs.iter_mut().find(|r| r.id == run.id) {
                Some(known) => *known = run,
                None => self.runs.push(run),
            },
            _ => return refuse(ErrorKind::Unsupported, "this ledger does not know such an outcome"),
        }
        Ok(())
    }

    fn newest(&self, device: &DeviceId, artefact: &str, suspect: bool) -> Option<&Backup> {
        let of_it = self.backups.iter().filter(|b| b.device == *device && b.artefact == artefact);
        of_it.filter(|b| b.suspect.is_empty() != suspect).max_by_key(|b| age(b))
    }

    fn matches(&self, b: &Backup, q: &Query) -> bool {
        let replaced_by = |n: &Backup, at| {
            n.device == b.device
                && n.artefact == b.artefact
                && n.suspect.is_empty()
                && n.first_seen <= at
                && age(n) > age(b)
        };
        q.id.is_none_or(|id| id == b.id)
            && q.device.as_ref().is_none_or(|d| *d == b.device)
            && q.artefact.as_ref().is_none_or(|a| *a == b.artefact)
            && q.run.is_none_or(|r| r == b.run)
            && q.destination.as_ref().is_none_or(|d| b.copies.iter().any(|c| c.destination == *d))
            && q.since.is_none_or(|t| b.first_seen >= t)
            && q.until.is_none_or(|t| b.first_seen < t)
            && q.at.is_none_or(|t| b.first_seen <= t && !self.backups.iter().any(|n| replaced_by(n, t)))
    }
}

fn age(b: &Backup) -> (Timestamp, Uuid) {
    (b.first_seen, b.id.0)
}

/// A report that comes late or twice neither takes a good copy back nor undoes what was found of it since.
fn add_copy(backup: &mut Backup, told: Copy) {
    let Some(held) = backup.copies.iter_mut().find(|c| c.destination == told.destination) else {
        return backup.copies.push(told);
    };
    let open = |status| matches!(status, CopyStatus::Pending | CopyStatus::Failed);
    let good = |status| matches!(status, CopyStatus::Stored | CopyStatus::Extended);
    let late = good(held.status) && open(told.status);
    let twice = !open(held.status) && held.stored_at == told.stored_at && held.storage_ref == told.storage_ref;
    let seen = held.last_seen.max(told.last_seen);
    if !late && !twice {
        *held = told;
    }
    held.last_seen = seen;
}

/// Newest first, after the cursor.
fn page<T: Clone>(mut all: Vec<(Timestamp, Uuid, &T)>, page: &Page) -> Result<Paged<T>> {
    all.sort_by_key(|(at, id, _)| std::cmp::Reverse((*at, *id)));
    let from = match &page.after {
        None => 0,
        Some(cursor) => {
            let foreign = || Error::new(ErrorKind::Config, "read cursor", "it is none of this ledger's");
            let (micros, id) = cursor.split_once('.').ok_or_else(foreign)?;
            let at = micros.parse().ok().and_then(|m| Timestamp::from_microsecond(m).ok()).ok_or_else(foreign)?;
            let id = Uuid::parse_str(id).map_err(|_| foreign())?;
            all.partition_point(|(a, i, _)| (*a, *i) >= (at, id))
        }
    };
    let rest = &all[from..];
    let limit = (page.limit.max(1) as usize).min(rest.len());
    let items: Vec<T> = rest[..limit].iter().map(|(_, _, item)| (*item).clone()).collect();
    let last = rest[..limit].last().filter(|_| rest.len() > limit);
    Ok(Paged { items, next: last.map(|(at, id, _)| format!("{}.{id}", at.as_microsecond())) })
}

#[async_trait]
impl Catalog for Ledger {
    async fn begin(&self, run: &NewRun) -> Result<RunId> {
        let mut book = self.book();
        let known = book.runs.iter().find(|r| r.start.task_id == run.task_id).map(|r| r.id);
        let id = known.unwrap_or_else(RunId::generate);
        if known.is_none() {
            book.runs.push(Run::begun(id, run.clone()));
        }
        let Book { begun_by, alive, .. } = &mut *book;
        if begun_by.get(&id).is_none_or(|holder| !alive.contains(holder)) {
            begun_by.insert(id, self.owner);
        }
        Ok(id)
    }

    async fn lease(&self, device: &DeviceId, ttl: Duration) -> Result<Option<Lease>> {
        let now = self.clock.now();
        let mut book = self.book();
        if book.leases.get(device).is_some_and(|(lease, _)| lease.expires > now) {
            return Ok(None);
        }
        let lease = Lease::new(device.clone(), Uuid::now_v7(), self.until(ttl));
        book.leases.insert(device.clone(), (lease.clone(), self.owner));
        Ok(Some(lease))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>> {
        let expires = self.until(ttl);
        let mut book = self.book();
        let held = book.leases.get_mut(&lease.device).filter(|(held, _)| held.token == lease.token);
        Ok(held.map(|(held, _)| {
            held.expires = expires;
            held.clone()
        }))
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.book().leases.retain(|_, (held, _)| held.token != lease.token);
        Ok(())
    }

    async fn advance(&self, run: RunId, state: RunState) -> Result<()> {
        let refuse = |kind, why| Err(Error::new(kind, "advance run", why).with("run", run));
        if state.is_final() {
            return refuse(ErrorKind::Internal, "the end of a run is recorded, not announced");
        }
        match self.book().runs.iter_mut().find(|r| r.id == run) {
            None => return refuse(ErrorKind::NotFound, "there is no such run"),
            Some(known) if known.state.is_final() => {}
            Some(known) => known.state = state,
        }
        Ok(())
    }

    async fn latest(&self, device: &DeviceId, artefact: &str) -> Result<Latest> {
        let book = self.book();
        let reference = book.newest(device, artefact, false);
        let suspect = book.newest(device, artefact, true);
        let suspect = suspect.filter(|s| reference.is_none_or(|r| age(s) > age(r)));
        Ok(Latest::new(reference.cloned(), suspect.cloned()))
    }

    async fn record(&self, run: RunId, outcomes: Vec<Outcome>) -> Result<()> {
        let mut book = self.book();
        let before = (book.runs.clone(), book.backups.clone());
        let done = outcomes.into_iter().try_for_each(|outcome| book.take(run, outcome));
        if done.is_err() {
            (book.runs, book.backups) = before;
        }
        done
    }

    async fn find(&self, query: &Query, which: Page) -> Result<Paged<Backup>> {
        let book = self.book();
        let found = book.backups.iter().filter(|b| book.matches(b, query));
        page(found.map(|b| (b.first_seen, b.id.0, b)).collect(), &which)
    }

    async fn runs(&self, q: &RunQuery, which: Page) -> Result<Paged<Run>> {
        let book = self.book();
        let found = book.runs.iter().filter(|r| {
            q.id.is_none_or(|id| id == r.id)
                && q.device.as_ref().is_none_or(|d| *d == r.start.device)
                && q.state.is_none_or(|s| s == r.state)
                && q.task_identifier.as_ref().is_none_or(|t| *t == r.start.task_identifier)
        });
        page(found.map(|r| (r.start.started_at, r.id.0, r)).collect(), &which)
    }

    async fn verified(&self, at: &CopyKey, found: Result<Timestamp, ErrorRecord>) -> Result<()> {
        let mut book = self.book();
        let copies = book.backups.iter_mut().filter(|b| b.id == at.backup).flat_map(|b| &mut b.copies);
        let Some(copy) = copies.into_iter().find(|c| c.destination == at.destination) else {
            return Err(Error::new(ErrorKind::NotFound, "record verification", "there is no such copy"));
        };
        match found {
            Ok(time) => {
                copy.verified_at = Some(time);
                if copy.status == CopyStatus::Damaged {
                    (copy.status, copy.error) = (CopyStatus::Stored, None);
                }
            }
            Err(e) => {
                if matches!(copy.status, CopyStatus::Stored | CopyStatus::Extended) {
                    copy.status = CopyStatus::Damaged;
                }
                copy.error = Some(e);
            }
        }
        Ok(())
    }

    async fn mark(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()> {
        for copy in self.book().backups.iter_mut().flat_map(|b| &mut b.copies) {
            if is_one_of(copy, destination, refs) {
                copy.status = CopyStatus::Marked;
            }
        }
        Ok(())
    }

    async fn forget(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()> {
        self.book().backups.retain_mut(|backup| {
            let had = !backup.copies.is_empty();
            backup.copies.retain(|copy| !is_one_of(copy, destination, refs));
            !had || !backup.copies.is_empty()
        });
        Ok(())
    }

    async fn pending(&self) -> Result<Vec<PendingCopy>> {
        let now = self.clock.now();
        let mut book = self.book();
        let Book { runs, begun_by, alive, backups, .. } = &mut *book;
        for run in runs.iter_mut().filter(|r| !r.state.is_final()) {
            if begun_by.get(&run.id).is_some_and(|holder| !alive.contains(holder)) {
                run.state = RunState::Failed;
                run.finished_at = Some(now);
                let message = "the process that ran it ended".to_owned();
                run.error = Some(ErrorRecord { kind: ErrorKind::Cancelled, message, hint: None });
            }
        }
        let mut waiting: Vec<&Backup> = backups.iter().collect();
        waiting.sort_by_key(|b| age(b));
        let copies = waiting.into_iter().flat_map(|b| b.copies.iter().map(move |c| (b, c)));
        let open = copies.filter(|(_, c)| c.status == CopyStatus::Pending);
        Ok(open.map(|(b, c)| PendingCopy::new(b.id, b.run, c.destination.clone(), c.attempts)).collect())
    }
}

fn is_one_of(copy: &Copy, destination: &DestinationId, refs: &[StorageRef]) -> bool {
    copy.destination == *destination && copy.storage_ref.as_ref().is_some_and(|at| refs.contains(at))
}
