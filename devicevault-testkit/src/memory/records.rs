//! The records of a catalog in memory, and how each call changes them.

use std::collections::{BTreeMap, BTreeSet};

use devicevault_core::catalog::{CopyKey, Latest, PendingCopy, Query, RunQuery};
use devicevault_core::run::{Backup, Copy, CopyStatus, Outcome, Run};
use devicevault_core::{
    BackupId, DestinationId, DeviceId, Error, ErrorKind, ErrorRecord, Result, RunId, StorageRef, TaskId, Timestamp,
};

const OPERATION: &str = "record run";

/// Runs and backups.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) runs: BTreeMap<RunId, Run>,
    pub(super) tasks: BTreeMap<TaskId, RunId>,
    pub(super) backups: BTreeMap<BackupId, Backup>,
}

impl Records {
    /// Whether all of these can be taken, one after the other.
    pub(super) fn check(&self, of: RunId, outcomes: &[Outcome]) -> Result<()> {
        let mut new = BTreeSet::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Backup(backup) => {
                    new.insert(backup.id);
                }
                Outcome::Extended { backup: id, .. } if self.backups.contains_key(id) || new.contains(id) => {}
                Outcome::Extended { backup: id, .. } => {
                    let gone = "the backup that was seen again is gone";
                    return Err(Error::new(ErrorKind::NotFound, OPERATION, gone).with("backup", id));
                }
                Outcome::End(run) if run.id == of && run.state.is_final() => {}
                Outcome::End(_) => {
                    let wrong = "the end of another run was handed in, or one that is none";
                    return Err(Error::new(ErrorKind::Internal, OPERATION, wrong).with("run", of));
                }
                _ => {
                    let unknown = "this catalog does not know such an outcome";
                    return Err(Error::new(ErrorKind::Unsupported, OPERATION, unknown));
                }
            }
        }
        Ok(())
    }

    /// Takes what was checked.
    pub(super) fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Backup(backup) => self.put_backup(backup),
            Outcome::Extended { backup, destinations, seen } => self.extend(backup, &destinations, seen),
            Outcome::End(run) => {
                self.tasks.insert(run.start.task_id, run.id);
                self.runs.insert(run.id, run);
            }
            _ => {}
        }
    }

    /// What is known of a backup stays, but for what this report adds.
    fn put_backup(&mut self, backup: Backup) {
        let Some(known) = self.backups.get_mut(&backup.id) else {
            self.backups.insert(backup.id, backup);
            return;
        };
        known.last_seen = known.last_seen.max(backup.last_seen);
        for copy in backup.copies {
            match known.copies.iter_mut().find(|c| c.destination == copy.destination) {
                Some(held) => merge(held, copy),
                None => known.copies.push(copy),
            }
        }
    }

    fn extend(&mut self, id: BackupId, destinations: &[DestinationId], seen: Timestamp) {
        let Some(backup) = self.backups.get_mut(&id) else { return };
        backup.last_seen = backup.last_seen.max(seen);
        for copy in backup.copies.iter_mut().filter(|c| destinations.contains(&c.destination)) {
            copy.last_seen = copy.last_seen.max(seen);
        }
    }

    pub(super) fn latest(&self, device: &DeviceId, artefact: &str) -> Latest {
        let newest = |suspect: bool| {
            let of_it = self.backups.values().filter(|b| b.device == *device && b.artefact == artefact);
            of_it.filter(|b| b.suspect.is_empty() != suspect).max_by_key(|b| age(b)).cloned()
        };
        let reference = newest(false);
        let suspect = newest(true).filter(|s| reference.as_ref().is_none_or(|r| age(s) > age(r)));
        Latest::new(reference, suspect)
    }

    pub(super) fn matches(&self, b: &Backup, q: &Query) -> bool {
        q.id.is_none_or(|id| id == b.id)
            && q.device.as_ref().is_none_or(|d| *d == b.device)
            && q.artefact.as_ref().is_none_or(|a| *a == b.artefact)
            && q.run.is_none_or(|r| r == b.run)
            && q.destination.as_ref().is_none_or(|d| b.copies.iter().any(|c| c.destination == *d))
            && q.since.is_none_or(|t| b.first_seen >= t)
            && q.until.is_none_or(|t| b.first_seen < t)
            && q.seen_since.is_none_or(|t| b.last_seen >= t)
            && (!q.quarantined || b.is_quarantined())
            && q.at.is_none_or(|t| b.first_seen <= t && !self.replaced(b, t))
    }

    /// Whether a newer good backup of the same artefact was there at this time.
    fn replaced(&self, b: &Backup, at: Timestamp) -> bool {
        self.backups.values().any(|n| {
            n.device == b.device
                && n.artefact == b.artefact
                && n.suspect.is_empty()
                && n.first_seen <= at
                && age(n) > age(b)
        })
    }

    pub(super) fn verified(&mut self, at: &CopyKey, found: Result<Timestamp, ErrorRecord>) -> Result<()> {
        let backup = self.backups.get_mut(&at.backup);
        let copy = backup.and_then(|b| b.copies.iter_mut().find(|c| c.destination == at.destination));
        let unknown = || {
            Error::new(ErrorKind::NotFound, "record verification", "the catalog knows no such copy")
                .with("backup", at.backup)
                .with("destination", &at.destination)
        };
        let copy = copy.ok_or_else(unknown)?;
        match found {
            Ok(time) => {
                copy.verified_at = Some(time);
                if copy.status == CopyStatus::Damaged {
                    copy.status = CopyStatus::Stored;
                    copy.error = None;
                }
            }
            Err(e) => {
                copy.error = Some(e);
                if is_stored(copy.status) {
                    copy.status = CopyStatus::Damaged;
                }
            }
        }
        Ok(())
    }

    pub(super) fn mark(&mut self, destination: &DestinationId, refs: &[StorageRef]) {
        for copy in self.backups.values_mut().flat_map(|b| &mut b.copies) {
            if is_at(copy, destination, refs) {
                copy.status = CopyStatus::Marked;
            }
        }
    }

    pub(super) fn pin(&mut self, id: BackupId, pinned: bool) -> bool {
        let backup = self.backups.get_mut(&id);
        backup.map(|b| b.pinned = pinned).is_some()
    }

    pub(super) fn accept(&mut self, id: BackupId) -> bool {
        let backup = self.backups.get_mut(&id);
        backup.map(Backup::accept).is_some()
    }

    pub(super) fn forget(&mut self, destination: &DestinationId, refs: &[StorageRef]) {
        self.backups.retain(|_, backup| {
            let before = backup.copies.len();
            backup.copies.retain(|c| !is_at(c, destination, refs));
            !backup.copies.is_empty() || before == 0
        });
    }

    pub(super) fn pending(&self) -> Vec<PendingCopy> {
        let mut waiting: Vec<_> = self.backups.values().collect();
        waiting.sort_by_key(|b| age(b));
        let of = |b: &'_ Backup, c: &Copy| PendingCopy::new(b.id, b.run, c.destination.clone(), c.attempts);
        let copies = waiting.into_iter().flat_map(|b| b.copies.iter().map(move |c| (b, c)));
        copies.filter(|(_, c)| c.status == CopyStatus::Pending).map(|(b, c)| of(b, c)).collect()
    }
}

pub(super) fn run_matches(run: &Run, q: &RunQuery) -> bool {
    q.id.is_none_or(|id| id == run.id)
        && q.device.as_ref().is_none_or(|d| *d == run.start.device)
        && q.state.is_none_or(|s| s == run.state)
        && q.task_identifier.as_ref().is_none_or(|t| *t == run.start.task_identifier)
}

/// What makes one backup newer than another.
fn age(b: &Backup) -> (Timestamp, BackupId) {
    (b.first_seen, b.id)
}

fn is_stored(status: CopyStatus) -> bool {
    matches!(status, CopyStatus::Stored | CopyStatus::Extended)
}

fn is_at(copy: &Copy, destination: &DestinationId, refs: &[StorageRef]) -> bool {
    copy.destination == *destination && copy.storage_ref.as_ref().is_some_and(|at| refs.contains(at))
}

/// A late or repeated report neither takes a good copy back nor undoes what was found of it since.
fn merge(held: &mut Copy, told: Copy) {
    let waits = |s| matches!(s, CopyStatus::Pending | CopyStatus::Failed);
    let late = is_stored(held.status) && waits(told.status);
    let repeated = !waits(held.status) && held.stored_at == told.stored_at && held.storage_ref == told.storage_ref;
    let last_seen = held.last_seen.max(told.last_seen);
    if !late && !repeated {
        *held = told;
    }
    held.last_seen = last_seen;
}
