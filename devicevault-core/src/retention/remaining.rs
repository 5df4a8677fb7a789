//! What is to stay is looked at before anything goes: a record that says that a copy is good may be older than a disk's
//! fault, and what goes for the sake of that copy is gone.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::plan::{Version, plan};
use super::rules::Retention;
use super::sweep::{Plan, Planned, Sweep};
use crate::catalog::{CatalogExt as _, CopyKey, Query};
use crate::run::{Backup, Copy};
use crate::storage::{StorageBackend, Verdict, VerifyDepth};
use crate::verification::{may_be_looked_at, verify_copy};
use crate::{BackupId, Catalog, DeviceId, Error, ErrorKind, Result, StorageRef};

/// Copies of one artefact that are looked at at a time.
const AT_ONCE: usize = 4;
/// The newest good copy is read through where others stay beside it, too, unless it is larger than this.
const READ_THROUGH: u64 = 8 << 20;
/// So often a copy is looked for again because its record moved meanwhile.
const MOVED: u32 = 3;

/// Versions of one artefact of one device, and what is wanted of them.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) device: DeviceId,
    pub(super) device_name: Arc<str>,
    pub(super) artefact: Arc<str>,
    pub(super) versions: Vec<Version>,
    /// Versions that an earlier sweep marked, as they were before that.
    pub(super) marked: Vec<(Version, StorageRef)>,
    pub(super) wanted: Retention,
}

/// A copy that was to stay as a good one, and is not what was stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Lost {
    /// The backup.
    pub id: BackupId,
    /// Name of the device when it was last seen.
    pub device_name: Arc<str>,
    /// The artefact.
    pub artefact: Arc<str>,
    /// It is not there at all.
    pub missing: bool,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}, backup {}: {}", self.artefact, self.device_name, self.id, self.what)
    }
}

/// What of an artefact may go, once what is to stay was looked at.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) going: Vec<Planned>,
    pub(super) lost: Vec<Lost>,
    /// Why nothing goes: what is to stay could not be looked at.
    pub(super) unlooked: Option<Error>,
}

/// What a look found.
enum Look {
    Good,
    /// It is not to be there any more, as of its record.
    Forgotten,
    Lost(Lost),
}

impl Sweep {
    /// Looks at the copies of an artefact that are to stay as good ones: at the size of each, and through the newest where
    /// it is the only one, or not large. One that is not what was stored is recorded as damaged, and what goes is decided
    /// anew: no more than the plan says, and nothing where no good one is left.
    ///
    /// # Errors
    /// The destination cannot be looked at, and what the catalog answers.
    pub(super) async fn settle(
        &self,
        series: &Series,
        made: &Plan,
        planned: Vec<Planned>,
        catalog: &dyn Catalog,
        backend: &dyn StorageBackend,
    ) -> Result<Settled> {
        let mut settled = Settled::default();
        let mut versions = series.versions.clone();
        versions.sort_unstable_by_key(|v| std::cmp::Reverse((v.first_seen, v.id)));
        let mut going: HashSet<BackupId> = planned.iter().map(|p| p.id).collect();
        let mut looked: HashMap<BackupId, VerifyDepth> = HashMap::new();
        let records = self.records(series, catalog).await?;
        let last_good = loop {
            let staying: Vec<&Version> = versions.iter().filter(|v| v.is_good() && !going.contains(&v.id)).collect();
            let Some(newest) = staying.first().map(|v| v.id) else {
                if !looked.is_empty() || !settled.lost.is_empty() {
                    going.clear();
                }
                break None;
            };
            let through = staying.len() == 1 || staying.first().is_some_and(|v| v.size <= READ_THROUGH);
            let due = staying.iter().map(|v| v.id).filter_map(|id| {
                let depth = if id == newest && through { VerifyDepth::Content } else { VerifyDepth::Size };
                looked.get(&id).is_none_or(|by_now| *by_now < depth).then_some((id, depth))
            });
            let due: Vec<_> = due.collect();
            if due.is_empty() {
                break Some(newest);
            }
            let mut looks = Vec::with_capacity(due.len());
            for (id, depth) in due {
                let record = records.get(&id);
                looks.push(async move {
                    let found = match record {
                        Some(record) => self.look_at(series, record, depth, catalog, backend).await,
                        None => Ok(Look::Forgotten),
                    };
                    (id, depth, found)
                });
            }
            let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
            let mut fewer = false;
            while let Some((id, depth, found)) = looks.next().await {
                looked.insert(id, depth);
                match found {
                    Ok(Look::Good) => continue,
                    Ok(Look::Forgotten) => {}
                    Ok(Look::Lost(lost)) => settled.lost.push(lost),
                    // Whether it can ever be opened again is not known.
                    Err(e) if e.kind() == ErrorKind::KeyUnavailable => {
                        settled.unlooked.get_or_insert(e);
                        continue;
                    }
                    Err(e) => return Err(e),
                }
                fewer = true;
                versions.iter_mut().filter(|v| v.id == id).for_each(|v| v.damaged = true);
            }
            drop(looks);
            if settled.unlooked.is_some() {
                return Ok(settled);
            }
            if fewer {
                let decisions = plan(&versions, &series.wanted, made.made_at, &self.zone);
                for kept in decisions.into_iter().filter(|d| d.reason.keeps()) {
                    going.remove(&kept.id);
                }
            }
        };
        settled.going = planned.into_iter().filter(|p| going.contains(&p.id)).collect();
        for planned in &mut settled.going {
            planned.last_good = last_good.or(planned.last_good);
        }
        Ok(settled)
    }

    /// The backups of an artefact, as they are recorded now.
    async fn records(&self, series: &Series, catalog: &dyn Catalog) -> Result<HashMap<BackupId, Backup>> {
        let query = Query {
            device: Some(series.device.clone()),
            artefact: Some(series.artefact.to_string()),
            destination: Some(self.destination.clone()),
            ..Query::default()
        };
        catalog.every(&query).map_ok(|b| (b.id, b)).try_collect().await
    }

    async fn look_at(
        &self,
        series: &Series,
        record: &Backup,
        depth: VerifyDepth,
        catalog: &dyn Catalog,
        backend: &dyn StorageBackend,
    ) -> Result<Look> {
        let of = |e: Error| e.with("device", &series.device_name).with("artefact", &series.artefact);
        let id = record.id;
        let mut record = Some(record.clone());
        for _ in 0..MOVED {
            let Some((backup, copy)) = record.as_ref().and_then(|b| Some((b, self.copy_of(b)?))) else {
                return Ok(Look::Forgotten);
            };
            let (missing, what) = match verify_copy(backend, backup, copy, depth).await.map_err(of)? {
                Verdict::Good(_) => return Ok(Look::Good),
                Verdict::Missing => (true, "it is not there".to_owned()),
                Verdict::Damaged(what) => (false, what.join("; ")),
            };
            // A rotation of keys, or a repair, may have been at it since its record was read.
            let now = catalog.newest(&Query { id: Some(id), ..Query::default() }).await?;
            if now.as_ref().and_then(|b| self.place_of(b)) == self.place_of(backup) {
                let kind = if missing { ErrorKind::NotFound } else { ErrorKind::Corrupt };
                let key = CopyKey { backup: id, destination: self.destination.clone() };
                match catalog.verified(&key, Err(Error::new(kind, "verify backup", what.clone()).to_record())).await {
                    Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Look::Forgotten),
                    told => told?,
                }
                tracing::error!(event = "copy_gone", device = %series.device_name, artefact = %series.artefact,
                    backup = %id, storage_backend = %self.destination, error = %what);
                let (device_name, artefact) = (series.device_name.clone(), series.artefact.clone());
                return Ok(Look::Lost(Lost { id, device_name, artefact, missing, what }));
            }
            record = now;
        }
        let why = "its record changes each time that it is looked at";
        Err(of(Error::new(ErrorKind::Conflict, "apply retention", why)))
    }

    /// The copy here, where it may be looked at.
    fn copy_of<'b>(&self, backup: &'b Backup) -> Option<&'b Copy> {
        backup.copies.iter().find(|c| c.destination == self.destination && may_be_looked_at(c))
    }

    fn place_of<'b>(&self, backup: &'b Backup) -> Option<&'b StorageRef> {
        self.copy_of(backup)?.storage_ref.as_ref()
    }
}
