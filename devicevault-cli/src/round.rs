//! A round: some devices of an instance, backed up into its destinations, with live progress.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::catalog::{Page, RunQuery};
use devicevault_core::engine::{Destination, DestinationOptions, Job, Limits, RetryPolicy, Selection};
use devicevault_core::run::{Outcome, Run, RunState};
use devicevault_core::storage::Probe;
use devicevault_core::{
    Clock, Device, Engine, Error, ErrorKind, EventSink, Result, RunId, StepLimits, StorageBackend, Target, View,
};
use futures::{StreamExt as _, stream};

use crate::context::Context;
use crate::instance::{Instance, OpenDestination};
use crate::interrupt::cancellable;
use crate::patience::Impatient;
use crate::secrets::Secrets;
use crate::ui::progress::Progress;
use crate::unready::{UnreadyBackend, UnreadyCollector};

/// How a round is run.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoundOptions {
    /// Which artefacts.
    pub(crate) selection: Selection,
    /// Devices that are talked to at a time; `None`: as many as the engine does by itself.
    pub(crate) sessions: Option<usize>,
    /// The longest silence of a device in each step.
    pub(crate) timeout: Option<Duration>,
    /// The longest conversation.
    pub(crate) deadline: Option<Duration>,
    /// How often a device is tried again.
    pub(crate) retries: Option<u32>,
    /// The user's own keys and values.
    pub(crate) metadata: BTreeMap<String, String>,
}

/// What became of one device.
#[derive(Debug)]
pub(crate) struct DeviceOutcome {
    pub(crate) device: Device,
    /// An error here: not even a run came of it.
    pub(crate) run: Result<Run>,
}

/// What became of a round.
#[derive(Debug)]
pub(crate) struct RoundOutcome {
    /// In the order of the devices' names.
    pub(crate) devices: Vec<DeviceOutcome>,
    pub(crate) interrupted: bool,
    pub(crate) took: Duration,
}

/// Lookups of secrets that are under way at a time.
const LOGINS_AT_ONCE: usize = 8;

/// Backs up devices. Destinations are opened and tested first: where none that keeps originals is ready, no device is
/// asked.
///
/// # Errors
/// There is nowhere to store, or the catalog cannot be used. What goes wrong with a device is in its outcome.
pub(crate) async fn back_up(
    context: &Context,
    instance: &Instance,
    devices: Vec<Device>,
    options: &RoundOptions,
) -> Result<RoundOutcome> {
    // Closes runs of processes that died, before new ones begin.
    instance.catalog.pending().await?;
    let destinations = ready_destinations(context, instance.destinations().await?).await?;
    let mut secrets = Secrets::default();
    secrets.ask(&devices)?;

    let progress = Progress::new(context.clock().clone());
    let engine = engine(instance, options, progress.clone(), context.clock().clone());
    let begun = context.clock().monotonic();
    let mut ended: BTreeMap<String, Result<Run>> = BTreeMap::new();
    let total = devices.len();

    let interrupted = {
        let jobs = jobs(instance, &devices, destinations, secrets, options)?;
        let mut runs = Box::pin(engine.back_up_all(jobs));
        let work = async {
            while let Some((name, run)) = runs.next().await {
                progress.finished(run.as_ref().is_ok_and(|r| r.state.is_good()));
                ended.insert(name, run);
            }
            Ok(())
        };
        let drawn = async {
            tokio::select! {
                done = work => done,
                () = progress.draw(&context.ui, total) => Ok(()),
            }
        };
        cancellable(drawn).await.is_err()
    };
    if interrupted {
        for (name, run) in record_cancelled(instance, &progress, context.clock().as_ref()).await {
            ended.insert(name, Ok(run));
        }
    }
    Ok(RoundOutcome {
        devices: outcomes(devices, ended, interrupted),
        interrupted,
        took: context.clock().monotonic().saturating_sub(begun),
    })
}

fn engine(instance: &Instance, options: &RoundOptions, events: Arc<dyn EventSink>, clock: Arc<dyn Clock>) -> Engine {
    let mut limits = Limits::default();
    if let Some(sessions) = options.sessions {
        limits.sessions = sessions;
    }
    if let Some(deadline) = options.deadline {
        limits.collect = deadline;
    }
    Engine::builder(instance.catalog.clone(), instance.key.clone())
        .clock(clock)
        .events(events)
        .limits(limits)
        .program(format!("devicevault {}", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Opens and tests every destination. One that is not ready fails its copies and delays nothing else.
async fn ready_destinations(context: &Context, open: Vec<OpenDestination>) -> Result<Vec<Arc<Destination>>> {
    if open.is_empty() {
        return Err(Error::new(ErrorKind::Config, "plan backup", "there is no destination to store at"));
    }
    let tested = stream::iter(open).map(|d| test(context, d)).buffered(8).collect::<Vec<_>>().await;
    let keeps = |d: &OpenDestination| d.config.view == View::Original && d.backend.is_ok();
    if !tested.iter().any(keeps) {
        let first = tested.into_iter().find_map(|d| d.backend.err().filter(|_| d.config.view == View::Original));
        return Err(first.unwrap_or_else(|| {
            Error::new(
                ErrorKind::Config,
                "plan backup",
                "no destination keeps the original, so nothing could be restored",
            )
        }));
    }
    let ready = tested.into_iter().map(|d| {
        let options = DestinationOptions::default().with_view(d.config.view);
        let backend: Arc<dyn StorageBackend> = match d.backend {
            Ok(backend) => Impatient::new(backend),
            Err(e) => {
                context.ui.warn(&format!("destination {}: {}", d.config.name, e.to_record().message));
                UnreadyBackend::new(e)
            }
        };
        Destination::new(d.config.id, backend, options, context.clock().clone())
    });
    Ok(ready.collect())
}

/// Probes that say how safe a store is, not whether it works: what fails there is told, and no reason to go without a
/// backup.
const ADVICE: [&str; 2] = ["durability", "free space"];

async fn test(context: &Context, mut destination: OpenDestination) -> OpenDestination {
    let Ok(backend) = &destination.backend else { return destination };
    let name = destination.config.name.clone();
    let failed = match backend.check().await {
        Err(e) => Some(e),
        Ok(health) => {
            let (advice, faults): (Vec<_>, Vec<_>) =
                health.probes.into_iter().filter(|p| !p.good).partition(|p| ADVICE.contains(&p.name.as_str()));
            let told = |probes: &[Probe]| {
                probes.iter().map(|p| format!("{}: {}", p.name, p.detail)).collect::<Vec<_>>().join("; ")
            };
            if !advice.is_empty() {
                context.ui.warn(&format!("destination {name}: {}", told(&advice)));
            }
            (!faults.is_empty()).then(|| Error::new(ErrorKind::Unavailable, "test destination", told(&faults)))
        }
    };
    if let Some(e) = failed {
        destination.backend = Err(e.with("destination", name));
    }
    destination
}

/// A job for each device, made as the engine asks for it.
fn jobs(
    instance: &Instance,
    devices: &[Device],
    destinations: Vec<Arc<Destination>>,
    secrets: Secrets,
    options: &RoundOptions,
) -> Result<impl stream::Stream<Item = Job> + Send + 'static> {
    let keys: std::collections::BTreeSet<_> = devices.iter().map(|d| d.collector.clone()).collect();
    let collectors: BTreeMap<_, _> = keys.into_iter().map(|key| (key.clone(), instance.collectors.get(&key))).collect();
    let mut limits = StepLimits::default();
    if let Some(timeout) = options.timeout {
        limits.connect = timeout;
        limits.login = timeout;
        limits.inactivity = timeout;
    }
    let retry = RetryPolicy::default();
    let retry = match options.retries {
        Some(n) => retry.with_attempts(n.saturating_add(1)),
        None => retry,
    };
    let plan = Arc::new((destinations, secrets, collectors, limits, retry, options.clone()));
    Ok(stream::iter(devices.to_vec())
        .map(move |device| {
            let plan = plan.clone();
            async move {
                let (destinations, secrets, collectors, limits, retry, options) = &*plan;
                let ready = match &collectors[&device.collector] {
                    Ok(collector) => secrets.login(&device).await.map(|login| (login, collector.clone())),
                    Err(e) => Err(e.clone()),
                };
                let (login, collector) = ready.unwrap_or_else(|e| {
                    (devicevault_core::Login::default(), UnreadyCollector::new(&device.collector, e))
                });
                let target = Target::new(device, login).with_limits(limits.clone());
                let mut job = Job::new(target, collector, destinations.clone());
                job.selection = options.selection.clone();
                job.metadata = options.metadata.clone();
                job.retry = retry.clone();
                job
            }
        })
        .buffered(LOGINS_AT_ONCE))
}

/// The runs that an interrupt cut off, recorded as cancelled.
async fn record_cancelled(instance: &Instance, progress: &Progress, clock: &dyn Clock) -> Vec<(String, Run)> {
    let mut cancelled = Vec::new();
    for active in progress.under_way() {
        match record_one(instance, active.run, clock).await {
            Ok(Some(run)) => cancelled.push((run.start.device_name.clone(), run)),
            Ok(None) => {}
            Err(e) => tracing::warn!(event = "cancel_not_recorded", task_id = %active.task_id, error = %e),
        }
    }
    cancelled
}

async fn record_one(instance: &Instance, id: RunId, clock: &dyn Clock) -> Result<Option<Run>> {
    let mut query = RunQuery::default();
    query.id = Some(id);
    let Some(mut run) = instance.catalog.runs(&query, Page::first(1)).await?.items.into_iter().next() else {
        return Ok(None);
    };
    // What had been recorded just before stays so.
    if !run.state.is_final() {
        let error = Error::new(ErrorKind::Cancelled, "back up device", "it was interrupted");
        run.state = RunState::Cancelled;
        run.finished_at = Some(clock.now());
        run.error = Some(error.to_record());
        instance.catalog.record(id, vec![Outcome::End(run.clone())]).await?;
    }
    Ok(Some(run))
}

fn outcomes(devices: Vec<Device>, mut ended: BTreeMap<String, Result<Run>>, interrupted: bool) -> Vec<DeviceOutcome> {
    let mut all: Vec<_> = devices
        .into_iter()
        .map(|device| {
            let run = ended.remove(&device.name).unwrap_or_else(|| {
                Err(if interrupted {
                    Error::new(ErrorKind::Cancelled, "back up device", "it was interrupted")
                } else {
                    Error::new(ErrorKind::Internal, "back up device", "the run ended in a panic")
                })
            });
            DeviceOutcome { device, run }
        })
        .collect();
    all.sort_by(|a, b| a.device.name.cmp(&b.device.name));
    all
}
