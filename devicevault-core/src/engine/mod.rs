//! The pipeline engine: takes jobs, talks to devices through collectors, stores what is new, records what happened.
//!
//! An artefact's way is [one file](self) read top to bottom: `pipeline.rs`. Stage 1 (per device) fills bodies as the bytes
//! arrive; stage 2 (per destination) stores them in batches. No permit of one stage is held while waiting for the
//! other, so a slow destination delays nobody's session and a slow device nobody's store.

mod absent;
mod backlog;
mod bandwidth;
mod bodies;
mod checking;
mod destination;
mod intake;
mod job;
mod judging;
mod limits;
mod parking;
mod pipeline;
mod places;
mod repair;
mod retry;
mod seat;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use tokio::task::JoinSet;

pub use destination::{Destination, DestinationOptions};
pub use job::{Job, Selection};
pub use limits::Limits;
pub use parking::Delivery;
pub use repair::{GoodCopy, MakeView, Repair};
pub use retry::RetryPolicy;

pub(crate) use seat::Seat;

use pipeline::Earlier;
use places::{Asked, Place};

use crate::catalog::{CatalogExt as _, Lease, RunQuery};
use crate::clock::{Clock, SystemClock};
use crate::event::NoEvents;
use crate::file_rules::FileChecker;
use crate::run::{ArtefactStatus, NewRun, Run};
use crate::spool::MemorySpool;
use crate::text::InstanceKey;
use crate::{Catalog, Error, ErrorKind, Event, EventSink, Result, Round, Spool};

/// Runs jobs. Cheap to clone; clones share limits and memory.
///
/// Dropping the future of a call cancels it: the conversation with the device is closed, what a destination was storing
/// is stored or absent, the lease on the device expires by itself (or is given back at once where the catalog can tell).
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

/// What all runs share.
#[derive(Debug)]
struct Inner {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    spool: Arc<dyn Spool>,
    events: Arc<dyn EventSink>,
    key: InstanceKey,
    instance: String,
    program: String,
    limits: Limits,
    places: places::Places,
    antechamber: seat::Antechamber,
    bandwidth: bandwidth::Bandwidth,
    backlog: backlog::Backlog,
    memory: bodies::Memory,
    lines: parking::Lines,
    checkers: checking::Checkers,
}

/// Sets up an [`Engine`].
#[derive(Debug)]
pub struct EngineBuilder {
    catalog: Arc<dyn Catalog>,
    key: InstanceKey,
    clock: Arc<dyn Clock>,
    spool: Option<Arc<dyn Spool>>,
    events: Arc<dyn EventSink>,
    instance: String,
    program: String,
    limits: Limits,
    checkers: BTreeMap<String, Arc<dyn FileChecker>>,
}

impl EngineBuilder {
    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another spool than 256 MiB of memory.
    #[must_use]
    pub fn spool(mut self, spool: Arc<dyn Spool>) -> Self {
        self.spool = Some(spool);
        self
    }

    /// Who is told what happens.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn EventSink>) -> Self {
        self.events = events;
        self
    }

    /// Name of this instance, kept in every manifest. Unless given, that of its key.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = name.into();
        self
    }

    /// Name and version of the program, kept in every manifest.
    #[must_use]
    pub fn program(mut self, name: impl Into<String>) -> Self {
        self.program = name.into();
        self
    }

    /// A checker that file rules may name.
    #[must_use]
    pub fn checker(mut self, name: impl Into<String>, checker: Arc<dyn FileChecker>) -> Self {
        self.checkers.insert(name.into(), checker);
        self
    }

    /// Bounds.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The engine.
    #[must_use]
    pub fn build(self) -> Engine {
        let limits = self.limits;
        let spool = self.spool.unwrap_or_else(|| Arc::new(MemorySpool::new(256 << 20)));
        Engine(Arc::new(Inner {
            catalog: self.catalog,
            backlog: backlog::Backlog::new(self.clock.clone(), spool.capacity()),
            places: places::Places::new(&limits, self.clock.clone()),
            clock: self.clock,
            spool,
            events: self.events,
            key: self.key,
            instance: self.instance,
            program: self.program,
            antechamber: seat::Antechamber::new(limits.connecting, limits.connect_grace),
            bandwidth: bandwidth::Bandwidth::new(limits.bandwidth),
            memory: bodies::Memory::new(limits.memory, limits.small_body),
            lines: parking::Lines::default(),
            checkers: checking::Checkers::new(self.checkers),
            limits,
        }))
    }
}

/// How often somebody who waits for a device asks whether it is free.
const LEASE_POLL: Duration = Duration::from_millis(250);
/// Jobs of a round that wait or are under way at a time. One that waits is little more than its target; the more of
/// them are known, the better sites take turns.
const MAX_UNDER_WAY: usize = 16_384;

impl Engine {
    /// Sets up an engine over a catalog. The key ties views together and masks secrets: keep it as long as the catalog.
    #[must_use]
    pub fn builder(catalog: Arc<dyn Catalog>, key: InstanceKey) -> EngineBuilder {
        EngineBuilder {
            catalog,
            instance: key.name(),
            key,
            clock: Arc::new(SystemClock),
            spool: None,
            events: Arc::new(NoEvents),
            program: format!("devicevault {}", env!("CARGO_PKG_VERSION")),
            limits: Limits::default(),
            checkers: BTreeMap::new(),
        }
    }

    /// The catalog.
    #[must_use]
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.0.catalog
    }

    /// Backs up one device, again where that may help, and returns the record of the last attempt. Each call is a
    /// [`Round`] of its own.
    ///
    /// # Errors
    /// `Config` for a job that would not be a backup, and what the catalog answers. Everything that goes wrong with the
    /// device or a destination is in the [`Run`].
    pub async fn back_up(&self, job: &Job) -> Result<Run> {
        let mut job = job.clone();
        job.target.round = Round::default();
        self.back_up_in_turn(&job, None).await
    }

    async fn back_up_in_turn(&self, job: &Job, asked: Option<Asked>) -> Result<Run> {
        job.check()?;
        let queued_at = self.0.clock.now();
        let (lease, place) = match self.device(job, asked).await {
            Ok(both) => both,
            Err(e) if e.kind() == ErrorKind::Conflict => {
                let start = NewRun { queued_at, ..self.start(job, 1) };
                return Ok(pipeline::never_begun(&self.0, start, &e));
            }
            Err(e) => return Err(e),
        };
        let outcome = tokio::select! {
            outcome = Box::pin(self.attempts(job, queued_at, place)) => outcome,
            lost = self.keep(lease.clone()) => Err(lost),
        };
        // Best effort: a lease that cannot be given back expires.
        let _ = self.0.catalog.release(&lease).await;
        outcome
    }

    /// Backs up many devices at once, within the limits: begun in their order, sites in turn; yields each run as it ends.
    /// They are one [`Round`].
    ///
    /// A job that could not even begin yields its error beside its device's name. Dropping the stream cancels what is
    /// under way.
    pub fn back_up_all<J>(&self, jobs: J) -> impl Stream<Item = (String, Result<Run>)> + Send + use<J>
    where
        J: Stream<Item = Job> + Send + 'static,
    {
        let engine = self.clone();
        let round = Round::default();
        let jobs = jobs.map(move |mut job| {
            job.target.round = round.clone();
            job
        });
        let state = (engine, Box::pin(jobs), JoinSet::new(), false);
        stream::unfold(state, |(engine, mut jobs, mut running, mut drained)| async move {
            loop {
                let room = !drained && running.len() < MAX_UNDER_WAY;
                tokio::select! {
                    biased;
                    Some(ended) = running.join_next(), if !running.is_empty() => {
                        let item = ended.unwrap_or_else(|e: tokio::task::JoinError| {
                            let what = Error::new(ErrorKind::Internal, "back up device", "the run ended in a panic").because(e);
                            (String::new(), Err(what))
                        });
                        return Some((item, (engine, jobs, running, drained)));
                    }
                    job = jobs.next(), if room => match job {
                        Some(job) => {
                            let engine = engine.clone();
                            // Here and not in the task, so that jobs are begun in their order. One that has to let its
                            // device rest first joins the queue after that.
                            let rests = engine.0.limits.device_interval.is_some();
                            let asked = (!rests).then(|| engine.0.places.ask(job.target.device.site.as_deref()));
                            running.spawn(async move {
                                let run = engine.back_up_in_turn(&job, asked).await;
                                (job.target.device.name, run)
                            });
                        }
                        None => drained = true,
                    },
                    else => return None,
                }
            }
        })
    }

    /// Stores what is parked for these destinations, each artefact's versions in order, and records it. No device is
    /// asked. A destination that still fails keeps what is left; that is told, not an error.
    ///
    /// # Errors
    /// What the spool and the catalog answer.
    pub async fn deliver(&self, destinations: &[Arc<Destination>]) -> Result<Delivery> {
        parking::deliver(&self.0, destinations).await
    }

    fn start(&self, job: &Job, attempt: u32) -> NewRun {
        let device = &job.target.device;
        let mut start = NewRun::new(device.id.clone(), &device.name, job.triggered_by, self.0.clock.now());
        start.attempt = attempt;
        if let Some(identifier) = &job.task_identifier {
            start.task_identifier.clone_from(identifier);
        }
        start
    }

    async fn attempts(&self, job: &Job, queued_at: crate::Timestamp, place: Place) -> Result<Run> {
        let mut identifier = None;
        let mut place = Some(place);
        let mut number = 1;
        let mut earlier = Earlier::new();
        loop {
            let mut start = self.start(job, number);
            start.queued_at = queued_at;
            start.task_identifier = identifier.get_or_insert(start.task_identifier).clone();
            let place = match place.take() {
                Some(place) => place,
                None => self.0.places.take(job.target.device.site.as_deref()).await,
            };
            start.started_at = self.0.clock.now();
            let attempt = pipeline::attempt(&self.0, job, start, place, &earlier).await?;
            let wait = attempt.error.as_ref().and_then(|e| job.retry.wait(number, e));
            let Some(wait) = wait.filter(|_| !attempt.run.state.is_good()) else { return Ok(attempt.run) };
            tracing::warn!(event = "run_retry", task_identifier = %attempt.run.start.task_identifier,
                device = %job.target.device.name, attempt = number, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            let interval = self.0.limits.device_interval.unwrap_or_default();
            if wait < interval {
                self.let_rest(job, interval).await;
            } else {
                self.0.clock.sleep(wait).await;
            }
            number += 1;
            let new = attempt.run.artefacts.iter().filter(|a| a.status != ArtefactStatus::Unchanged);
            earlier.extend(new.filter_map(|a| Some((a.backup?, a.first))));
        }
    }

    /// Waits for a place and for the right to talk to the device. While another run has the device, no place is held.
    async fn device(&self, job: &Job, mut asked: Option<Asked>) -> Result<(Lease, Place)> {
        let device = &job.target.device;
        self.let_rest(job, self.rest(job).await?).await;
        let begun = self.0.clock.monotonic();
        loop {
            let place = match asked.take() {
                Some(asked) => asked.await.ok(),
                None => None,
            };
            let place = match place {
                Some(place) => place,
                None => self.0.places.take(device.site.as_deref()).await,
            };
            if let Some(lease) = self.0.catalog.lease(&device.id, self.0.limits.lease).await? {
                // Somebody may have talked to it while this one stood in the queue.
                let rest = self.rest(job).await?;
                if rest.is_zero() {
                    return Ok((lease, place));
                }
                drop(place);
                self.0.catalog.release(&lease).await?;
                self.let_rest(job, rest).await;
                continue;
            }
            drop(place);
            if self.0.clock.monotonic().saturating_sub(begun) >= self.0.limits.device_wait {
                return Err(Error::new(ErrorKind::Conflict, "wait for device", "another run holds the device")
                    .with("device", &device.name)
                    .hint("see `run list` for what is under way"));
            }
            self.0.clock.sleep(LEASE_POLL).await;
        }
    }

    async fn let_rest(&self, job: &Job, rest: Duration) {
        if rest.is_zero() {
            return;
        }
        let (device, device_name) = (job.target.device.id.clone(), job.target.device.name.clone());
        let until = self.0.clock.now().checked_add(rest).unwrap_or(crate::Timestamp::MAX);
        self.0.events.emit(&Event::DeviceRests { device, device_name, until });
        self.0.clock.sleep(rest).await;
    }

    /// How long the device is to be left alone yet, whoever talked to it last.
    async fn rest(&self, job: &Job) -> Result<Duration> {
        let Some(interval) = self.0.limits.device_interval else { return Ok(Duration::ZERO) };
        let last = RunQuery { device: Some(job.target.device.id.clone()), ..RunQuery::default() };
        let Some(run) = self.0.catalog.newest_run(&last).await? else {
            return Ok(Duration::ZERO);
        };
        // A clock that was set back does not make the rest longer than it is.
        let since = self.0.clock.now().duration_since(run.start.started_at);
        Ok(interval.saturating_sub(Duration::try_from(since).unwrap_or_default()))
    }

    /// Keeps the lease while the run goes on; ends only when it is lost.
    async fn keep(&self, mut lease: Lease) -> Error {
        loop {
            self.0.clock.sleep(self.0.limits.lease / 3).await;
            match self.0.catalog.renew(&lease, self.0.limits.lease).await {
                Ok(Some(renewed)) => lease = renewed,
                Ok(None) => {
                    return Error::new(ErrorKind::Conflict, "keep device", "another run took the device over")
                        .with("device", &lease.device);
                }
                // The lease holds for two thirds of its length still; the next renewal may succeed.
                Err(e) => tracing::warn!(event = "lease_renewal_failed", device = %lease.device, error = %e),
            }
        }
    }
}
