//! Carries retention out at one destination: look at everything, decide, see that the decision is sane, delete.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::tz::TimeZone;

use super::leap;
use super::plan::{Reason, Version, plan};
use super::remaining::{Lost, Series};
use super::rules::Retention;
use crate::catalog::{CatalogExt as _, Query};
use crate::clock::{Clock, Timestamp};
use crate::run::{Backup, Copy, CopyStatus, Outcome};
use crate::storage::{Verdict, VerifyDepth};
use crate::{BackupId, Catalog, DestinationId, DeviceId, Error, ErrorKind, Result, StorageBackend, StorageRef};

const BATCH: usize = 256;
/// Artefacts whose remaining copies are looked at at a time.
const LOOKED_AT: usize = 4;

/// Retention at one destination.
///
/// A sweep may be stopped at any moment, run twice at once, and run beside backups; those of several destinations of one
/// catalog take turns, from before they are planned, since each counts on what the other leaves: a copy is marked in the catalog,
/// then its bytes are deleted, then its record goes; the next sweep finishes what one left marked. Before anything of an
/// artefact is marked, the good copies of it that are to stay are looked at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sweep {
    /// Where.
    pub destination: DestinationId,
    /// Calendars are those of this zone; UTC unless set.
    pub zone: TimeZone,
    /// The destinations that there are: a copy at one that was removed can neither be repaired nor repair. `None`: all that
    /// have copies.
    pub destinations: Option<BTreeSet<DestinationId>>,
    /// Only of this device.
    pub device: Option<DeviceId>,
    /// Refuse to delete more than this share of all that is there, in percent; 50 unless set.
    pub most_percent: u8,
    /// … where that is more than so many; 20 unless set.
    pub most_count: usize,
}

/// What a sweep is going to do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// Every version there, newest first within its artefact.
    pub versions: Vec<Planned>,
    /// Copies that an earlier sweep marked and did not finish, and that still are to go.
    pub unfinished: Vec<StorageRef>,
    /// Copies that an earlier sweep marked and that are to stay by now: somebody pinned them or changed the rules, or they
    /// have become the only good ones.
    pub regained: Vec<(BackupId, StorageRef)>,
    /// The latest time at which anything there was seen.
    pub newest: Option<Timestamp>,
    /// When the plan was made.
    pub made_at: Timestamp,
    /// From when to when nothing at all was backed up, where that is long and was lately: the clock may have leapt ahead,
    /// and everything only looks old. Not looked for where nothing goes.
    pub leap: Option<(Timestamp, Timestamp)>,
    /// What the versions were decided from: so many of them each, in the same order.
    series: Vec<(Series, usize)>,
}

/// What becomes of one version.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Planned {
    /// The backup.
    pub id: BackupId,
    /// Name of the device when it was last seen.
    pub device_name: Arc<str>,
    /// The artefact.
    pub artefact: Arc<str>,
    /// When its content was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Bytes of content.
    pub size: u64,
    /// Stays or goes, and why.
    pub reason: Reason,
    /// The version that is the last good one here, which this one must not outlive.
    pub(super) last_good: Option<BackupId>,
}

impl Plan {
    /// What goes.
    pub fn going(&self) -> impl Iterator<Item = &Planned> {
        self.versions.iter().filter(|v| !v.reason.keeps())
    }
}

/// What a sweep did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Swept {
    /// Copies that are gone.
    pub deleted: u64,
    /// Bytes of content that they held.
    pub content_bytes: u64,
    /// Copies that had become needed since the plan was made, and stayed.
    pub spared: u64,
    /// Copies that were to stay as good ones and are not what was stored. They are recorded as damaged, and others stayed
    /// in their place.
    pub lost: Vec<Lost>,
    /// Why nothing of an artefact was deleted: a copy that is to stay could not be opened.
    pub unlooked: Vec<Error>,
    /// Copies that the destination could not delete; they stay marked and are tried again by the next sweep.
    pub failed: Vec<(StorageRef, Error)>,
}

impl Sweep {
    /// A sweep of everything at a destination.
    #[must_use]
    pub fn new(destination: DestinationId) -> Self {
        Self { destination, zone: TimeZone::UTC, destinations: None, device: None, most_percent: 50, most_count: 20 }
    }

    /// Decides, without changing anything. `wanted` says what is kept of a device's artefact.
    ///
    /// # Errors
    /// What the catalog answers.
    pub async fn plan(
        &self,
        catalog: &dyn Catalog,
        clock: &dyn Clock,
        wanted: &(dyn Fn(&DeviceId, &str) -> Retention + Sync),
    ) -> Result<Plan> {
        let series = self.everything(catalog).await?;
        let made_at = clock.now();
        let newest = series.iter().flat_map(|s| &s.versions).map(|v| v.last_seen).max();
        let (mut versions, mut sets) = (Vec::new(), Vec::new());
        let (mut unfinished, mut regained) = (Vec::new(), Vec::new());
        for mut of in series {
            of.wanted = wanted(&of.device, &of.artefact);
            let Series { device_name, artefact, versions: found, .. } = &of;
            let before = versions.len();
            let decisions = plan(found, &of.wanted, made_at, &self.zone);
            // What was marked takes nobody's place: its bytes may be gone.
            let with_marked: Vec<Version> = found.iter().chain(of.marked.iter().map(|(v, _)| v)).copied().collect();
            let all =
                if of.marked.is_empty() { Vec::new() } else { plan(&with_marked, &of.wanted, made_at, &self.zone) };
            for (version, at) in &of.marked {
                match all.iter().find(|d| d.id == version.id).is_some_and(|d| d.reason.keeps()) {
                    true => regained.push((version.id, at.clone())),
                    false => unfinished.push(at.clone()),
                }
            }
            let last_good = found.iter().filter(|v| v.is_good()).max_by_key(|v| (v.first_seen, v.id)).map(|v| v.id);
            let by_id: HashMap<_, _> = found.iter().map(|v| (v.id, v)).collect();
            versions.extend(decisions.into_iter().filter_map(|decision| {
                let version = by_id.get(&decision.id)?;
                Some(Planned {
                    id: decision.id,
                    device_name: device_name.clone(),
                    artefact: artefact.clone(),
                    first_seen: version.first_seen,
                    last_seen: version.last_seen,
                    size: version.size,
                    reason: decision.reason,
                    last_good,
                })
            }));
            let planned = versions.len() - before;
            sets.push((of, planned));
        }
        let mut plan = Plan { versions, unfinished, regained, newest, made_at, leap: None, series: sets };
        if plan.going().next().is_some() {
            let times = plan.versions.iter().flat_map(|v| [v.first_seen, v.last_seen]);
            plan.leap = leap::find(catalog, self.device.as_ref(), times).await?;
        }
        Ok(plan)
    }

    /// Why a plan should not be carried out without a person's word: the clock stands before what has been seen already or
    /// leapt ahead, or most of what is there would go.
    ///
    /// # Errors
    /// `Conflict`, with what was found.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        self.check_clock(plan)?;
        self.check_amount(plan)
    }

    /// The part of [`check`](Sweep::check) that looks at the time.
    ///
    /// # Errors
    /// `Conflict`, with the times.
    pub fn check_clock(&self, plan: &Plan) -> Result<()> {
        let slack = Duration::from_secs(3600);
        if let Some(newest) = plan.newest.filter(|t| plan.made_at.saturating_add(slack).is_ok_and(|now| *t > now)) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "apply retention",
                "the clock stands before the newest backup",
            )
            .with("clock", plan.made_at)
            .with("newest backup", newest)
            .hint(
                "set the clock; where it is right, a backup was made while it was wrong: then say that it is right",
            ));
        }
        if let Some((from, to)) = plan.leap {
            let why = "for a long time nothing was backed up at all, or the clock has leapt ahead";
            return Err(Error::new(ErrorKind::Conflict, "apply retention", why)
                .with("nothing from", from)
                .with("to", to)
                .hint("look at the clock; where it is right, say so, or wait until backups were made for a month"));
        }
        Ok(())
    }

    /// The part of [`check`](Sweep::check) that looks at how much goes.
    ///
    /// # Errors
    /// `Conflict`, with the numbers.
    pub fn check_amount(&self, plan: &Plan) -> Result<()> {
        let (all, going) = (plan.versions.len(), plan.going().count());
        if going > self.most_count && going * 100 > all * usize::from(self.most_percent) {
            return Err(Error::new(ErrorKind::Conflict, "apply retention", "it would delete most of what is there")
                .with("destination", &self.destination)
                .with("would delete", going)
                .with("of", all)
                .hint("look at the plan first, then allow it"));
        }
        Ok(())
    }

    /// Deletes what a plan lets go, and what an earlier sweep left unfinished. Does not ask [`check`](Sweep::check).
    ///
    /// Before anything of an artefact goes, the copies of it that are to stay and count as good are looked at: the size of
    /// each, and the content of the only one. What fails is recorded as damaged, others stay in its place, and where no
    /// good one is left, nothing goes.
    ///
    /// # Errors
    /// `Unsupported` where the destination cannot delete; why what is to stay cannot be looked at: nothing more is deleted
    /// then; and what the catalog answers. What the destination could not delete is in [`Swept::failed`].
    pub async fn carry_out(&self, plan: &Plan, catalog: &dyn Catalog, backend: &dyn StorageBackend) -> Result<Swept> {
        if !backend.capability().delete {
            return Err(Error::new(ErrorKind::Unsupported, "apply retention", "this destination keeps its history")
                .with("destination", &self.destination)
                .hint("retention does not apply to it; a Git history is thinned out by rewriting it"));
        }
        let mut swept = Swept::default();
        for (id, at) in &plan.regained {
            self.regain(*id, at, catalog, backend).await.map_err(|e| e.with("destination", &self.destination))?;
        }
        for refs in plan.unfinished.chunks(BATCH) {
            self.delete(refs.iter().map(|r| (r.clone(), 0)).collect(), catalog, backend, &mut swept).await?;
        }
        let mut rest = plan.versions.as_slice();
        let mut due = Vec::new();
        for (series, planned) in &plan.series {
            let (of, behind) = rest.split_at((*planned).min(rest.len()));
            rest = behind;
            let going: Vec<Planned> = of.iter().filter(|v| !v.reason.keeps()).cloned().collect();
            if !going.is_empty() {
                let count = going.len();
                let settled = self.settle(series, plan, going, catalog, backend);
                due.push(async move { (count, settled.await) });
            }
        }
        let mut looks = stream::iter(due).buffered(LOOKED_AT);
        let mut going = Vec::new();
        while let Some((planned, settled)) = looks.next().await {
            let settled = settled.map_err(|e| e.with("destination", &self.destination))?;
            swept.spared += (planned - settled.going.len()) as u64;
            swept.lost.extend(settled.lost);
            swept.unlooked.extend(settled.unlooked);
            going.extend(settled.going);
            while going.len() >= BATCH {
                let rest = going.split_off(BATCH);
                self.delete_planned(&std::mem::replace(&mut going, rest), catalog, backend, &mut swept).await?;
            }
        }
        self.delete_planned(&going, catalog, backend, &mut swept).await?;
        Ok(swept)
    }

    /// Takes the mark away from a copy that is there still; the record of one that is not goes.
    async fn regain(
        &self,
        id: BackupId,
        at: &StorageRef,
        catalog: &dyn Catalog,
        backend: &dyn StorageBackend,
    ) -> Result<()> {
        match backend.verify(at, None, VerifyDepth::Size).await {
            Ok(Verdict::Missing) => return catalog.forget(&self.destination, std::slice::from_ref(at)).await,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return catalog.forget(&self.destination, std::slice::from_ref(at)).await;
            }
            found => drop(found?),
        }
        let query = Query { id: Some(id), ..Query::default() };
        let Some(mut backup) = catalog.newest(&query).await? else { return Ok(()) };
        backup.copies.retain(|c| c.destination == self.destination && c.status == CopyStatus::Marked);
        if backup.copies.is_empty() {
            return Ok(());
        }
        backup.copies.iter_mut().for_each(|c| c.status = CopyStatus::Stored);
        let pinned = backup.pinned;
        // What is recorded takes no mark away. Cut off in between, it is there and no record names it: `check` tells that.
        catalog.forget(&self.destination, std::slice::from_ref(at)).await?;
        catalog.record(backup.run, vec![Outcome::Backup(backup)]).await?;
        if pinned { catalog.pin(id, true).await.map(drop) } else { Ok(()) }
    }

    async fn delete_planned(
        &self,
        batch: &[Planned],
        catalog: &dyn Catalog,
        backend: &dyn StorageBackend,
        swept: &mut Swept,
    ) -> Result<()> {
        let mut refs = Vec::with_capacity(batch.len());
        for planned in batch {
            match self.still_going(planned, catalog).await? {
                Some(at) => refs.push((at, planned.size)),
                None => swept.spared += 1,
            }
        }
        let only: Vec<_> = refs.iter().map(|(at, _)| at.clone()).collect();
        catalog.mark(&self.destination, &only).await?;
        self.delete(refs, catalog, backend, swept).await
    }

    /// Every stored version here, by artefact, and what is marked.
    async fn everything(&self, catalog: &dyn Catalog) -> Result<Vec<Series>> {
        let query =
            Query { destination: Some(self.destination.clone()), device: self.device.clone(), ..Query::default() };
        let mut series: Vec<Series> = Vec::new();
        let mut known: HashMap<(DeviceId, String), usize> = HashMap::new();
        let mut found = catalog.every(&query);
        while let Some(backup) = found.try_next().await? {
            let Some(copy) = backup.copies.iter().find(|c| c.destination == self.destination) else { continue };
            let is_marked = copy.status == CopyStatus::Marked;
            let before = Copy { status: CopyStatus::Stored, ..copy.clone() };
            let Some(version) = self.version_of(&backup, if is_marked { &before } else { copy }) else { continue };
            let at = *known.entry((backup.device.clone(), backup.artefact.clone())).or_insert_with(|| {
                series.push(Series {
                    device: backup.device.clone(),
                    device_name: backup.device_name.as_str().into(),
                    artefact: backup.artefact.as_str().into(),
                    versions: Vec::new(),
                    marked: Vec::new(),
                    wanted: Retention::default(),
                });
                series.len() - 1
            });
            match copy.storage_ref.clone().filter(|_| is_marked) {
                Some(copy) => series[at].marked.push((version, copy)),
                None => series[at].versions.push(version),
            }
        }
        Ok(series)
    }

    /// Where the copy is, if it may still go: since the plan was made it may have been pinned or seen again, its copy
    /// elsewhere may have turned out to be damaged, or the one that was to stay as the last good one may be damaged or gone.
    async fn still_going(&self, planned: &Planned, catalog: &dyn Catalog) -> Result<Option<StorageRef>> {
        let Some((version, at)) = self.version(planned.id, catalog).await? else { return Ok(None) };
        if version.pinned || version.needed || version.last_seen != planned.last_seen {
            return Ok(None);
        }
        if let Some(last) = planned.last_good.filter(|_| version.is_good()) {
            let stays = self.version(last, catalog).await?.is_some_and(|(v, _)| v.is_good());
            return Ok(stays.then_some(at));
        }
        Ok(Some(at))
    }

    /// How a backup's copy here stands now.
    async fn version(&self, id: BackupId, catalog: &dyn Catalog) -> Result<Option<(Version, StorageRef)>> {
        let query = Query { id: Some(id), ..Query::default() };
        let Some(backup) = catalog.newest(&query).await? else { return Ok(None) };
        let Some(copy) = backup.copies.iter().find(|c| c.destination == self.destination) else { return Ok(None) };
        Ok(self.version_of(&backup, copy).zip(copy.storage_ref.clone()))
    }

    /// The version that a backup is here.
    fn version_of(&self, backup: &Backup, copy: &Copy) -> Option<Version> {
        Version::of(backup, copy, |id| self.destinations.as_ref().is_none_or(|all| all.contains(id)))
    }

    /// Deletes marked copies and their records.
    async fn delete(
        &self,
        refs: Vec<(StorageRef, u64)>,
        catalog: &dyn Catalog,
        backend: &dyn StorageBackend,
        swept: &mut Swept,
    ) -> Result<()> {
        if refs.is_empty() {
            return Ok(());
        }
        let only: Vec<_> = refs.iter().map(|(at, _)| at.clone()).collect();
        let mut gone = Vec::with_capacity(refs.len());
        for ((at, size), verdict) in refs.into_iter().zip(backend.delete(&only).await) {
            match verdict {
                Ok(()) => {
                    swept.deleted += 1;
                    swept.content_bytes += size;
                    gone.push(at);
                }
                Err(e) => swept.failed.push((at, e)),
            }
        }
        catalog.forget(&self.destination, &gone).await
    }
}
