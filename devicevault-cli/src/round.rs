//! A round: some devices of an instance, backed up into its destinations, with live progress.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::catalog::{CatalogExt as _, RunQuery};
use devicevault_core::engine::{Job, Limits, RetryPolicy, Selection};
use devicevault_core::inventory::{Policy, Selector};
use devicevault_core::run::{Outcome, Run, RunState};
use devicevault_core::{
    BackupId, Clock, DestinationId, Device, DeviceId, Engine, Error, ErrorKind, EventSink, Result, RunId, Spool,
    StepLimits, Target, View,
};
use futures::{StreamExt as _, stream};

use crate::artefacts::Artefacts;
use crate::context::Context;
use crate::delivery::{self, Delivered};
use crate::destinations::{Ready, test_all};
use crate::instance::Instance;
use crate::interrupt::cancellable;
use crate::keys::{laid, noted};
use crate::pace::allow_connections;
use crate::recovered;
use crate::routing::{Deciding, Route};
use crate::secrets::Secrets;
use crate::sightings;
use crate::ui::progress::Progress;
use crate::unready::UnreadyCollector;

/// How a round is run.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoundOptions {
    /// Which artefacts.
    pub(crate) selection: Selection,
    /// Which policies say where to.
    pub(crate) deciding: Deciding,
    /// Bounds of the engine.
    pub(crate) limits: Limits,
    /// The longest silence of a device in each step.
    pub(crate) timeout: Option<Duration>,
    /// How often a device is tried again.
    pub(crate) retries: Option<u32>,
    /// The user's own keys and values.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The devices are those that an earlier round left over: nobody named them.
    pub(crate) left_over: bool,
}

/// What became of one device.
#[derive(Debug)]
pub(crate) struct DeviceOutcome {
    pub(crate) device: Device,
    /// An error here: not even a run came of it.
    pub(crate) run: Result<Run>,
}

/// What became of a round.
#[derive(Debug, Default)]
pub(crate) struct RoundOutcome {
    /// In the order of the devices' names.
    pub(crate) devices: Vec<DeviceOutcome>,
    pub(crate) interrupted: bool,
    pub(crate) took: Duration,
    /// What became of what waited before, and of what this round left waiting.
    pub(crate) delivered: Vec<Delivered>,
    /// Copies that wait for their destination when all is over.
    pub(crate) waiting: BTreeSet<(BackupId, DestinationId)>,
    /// Devices of which nothing was asked: they have none of the artefacts that are, which others have.
    pub(crate) left_out: Vec<Device>,
    /// What policies ask for and none of their devices has.
    pub(crate) slips: Vec<Error>,
}

/// Lookups of secrets that are under way at a time.
const LOGINS_AT_ONCE: usize = 8;

/// Backs up devices. Destinations are opened and tested first; what those that are not ready are to have waits for them.
/// Where nothing can wait, and none that keeps originals is ready, no device is asked. `unknown` are those of which it could
/// not be found out what they are, and why.
///
/// # Errors
/// There is nowhere to store, or the catalog cannot be used. What goes wrong with a device is in its outcome.
pub(crate) async fn back_up(
    context: &Context,
    instance: &Instance,
    devices: Vec<Device>,
    unknown: BTreeMap<String, Error>,
    options: &RoundOptions,
) -> Result<RoundOutcome> {
    Artefacts::of(instance).refuse_unknown(&devices, &options.selection)?;
    // Closes runs of processes that died, before new ones begin.
    instance.catalog.pending().await?;
    let Routed { mut routes, mut unrouted, left_out, slips } = routes(instance, &devices, options).await?;
    for (name, e) in unknown {
        devices.iter().filter(|d| d.name == name).for_each(|d| drop(routes.remove(&d.id)));
        unrouted.insert(name, Err(e));
    }
    let (left_out, devices): (Vec<_>, Vec<_>) = devices.into_iter().partition(|d| left_out.contains(&d.name));
    let destinations = ready_destinations(context, instance, &routes).await?;
    let silent = destinations.iter().filter(|d| d.is_silent()).map(|d| d.config.id.clone()).collect();
    let at_hand = destinations.iter().filter(|d| d.error.is_none());
    let at_hand = at_hand.map(|d| (d.destination.id(), d.config.name.as_str(), &**d.destination.backend()));
    recovered::record(context, instance, &at_hand.collect::<Vec<_>>()).await;
    noted::note(instance).await;
    laid::lay(context, instance, destinations.iter().filter(|d| d.error.is_none()).map(|d| &d.config)).await;
    let secrets = Secrets::of(instance).await?;
    secrets.ask(&devices)?;

    let progress = Progress::new(context.clock().clone());
    let spool = instance.spool().await?;
    let engine = engine(instance, options, progress.clone(), context.clock().clone(), spool.clone());
    let begun = context.clock().monotonic();
    let mut ended: BTreeMap<String, Result<Run>> = unrouted;
    let mut delivered = Vec::new();
    let total = devices.len();

    let interrupted = {
        let jobs = jobs(instance, &devices, routes, &destinations, secrets, options)?;
        let mut runs = Box::pin(engine.back_up_all(jobs));
        // Beside the devices: what waits for a slow destination delays none of them.
        let catch_up = delivery::deliver(&engine, &destinations);
        let work = async {
            while let Some((name, run)) = runs.next().await {
                progress.finished(run.as_ref().is_ok_and(|r| r.state.is_good()));
                ended.insert(name, run);
            }
        };
        let both = async {
            let gone = delivery::gone(instance, &spool).await?;
            let ((), caught_up) = futures::join!(work, catch_up);
            delivered.extend(caught_up?);
            delivery::add(&mut delivered, delivery::given_up(instance, gone).await?);
            if !delivery::waiting(&spool).await?.is_empty() {
                delivered.extend(delivery::deliver_what_waits(context, instance, &engine, &spool, &silent).await?);
            }
            Ok(())
        };
        let drawn = async {
            tokio::select! {
                done = both => done,
                () = progress.draw(&context.ui, total) => Ok(()),
            }
        };
        match cancellable(drawn).await {
            Ok(()) => false,
            Err(e) if e.kind() == ErrorKind::Cancelled => true,
            Err(e) => {
                // The devices' runs are recorded; what waits is tried again by the next.
                context.ui.warn(&format!("what waits could not be delivered: {}", e.to_record().message));
                false
            }
        }
    };
    if instance.is_home() && !interrupted {
        let told = destinations.iter().filter(|d| d.error.is_none());
        let told = told.map(|d| (d.destination.id(), &**d.destination.backend()));
        sightings::note(context, instance, told).await;
    }
    if interrupted {
        for (name, run) in record_cancelled(instance, &progress, context.clock().as_ref()).await {
            ended.insert(name, Ok(run));
        }
    }
    Ok(RoundOutcome {
        devices: outcomes(devices, ended, interrupted),
        interrupted,
        took: context.clock().monotonic().saturating_sub(begun),
        delivered,
        waiting: delivery::waiting(&spool).await?,
        left_out,
        slips,
    })
}

/// An engine over an instance.
pub(crate) fn engine(
    instance: &Instance,
    options: &RoundOptions,
    events: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    spool: Arc<dyn Spool>,
) -> Engine {
    allow_connections(&options.limits);
    let builder = Engine::builder(instance.catalog.clone(), instance.key.clone());
    let with_checkers = instance.checkers().fold(builder, |builder, (name, checker)| builder.checker(name, checker));
    with_checkers
        .clock(clock)
        .spool(spool)
        .events(events)
        .limits(options.limits.clone())
        .program(format!("devicevault {}", env!("CARGO_PKG_VERSION")))
        .build()
}

type Routes = BTreeMap<DeviceId, Route>;

/// What each device is asked for.
#[derive(Debug, Default)]
struct Routed {
    /// Where its backups go.
    routes: Routes,
    /// By name, the devices for which that cannot be said.
    unrouted: BTreeMap<String, Result<Run>>,
    /// Names of those that have nothing of what is asked for.
    left_out: BTreeSet<String>,
    slips: Vec<Error>,
}

async fn routes(instance: &Instance, devices: &[Device], options: &RoundOptions) -> Result<Routed> {
    let destinations = instance.inventory.destinations().await?;
    if !destinations.iter().any(|d| d.enabled) {
        return Err(Error::new(ErrorKind::Config, "plan backup", "there is no destination to store at"));
    }
    let (mut routes, mut unrouted) = (Routes::new(), BTreeMap::new());
    let mut artefacts = Artefacts::of(instance);
    let (unknown, slips) = slips(instance, devices, options, &mut artefacts).await?;
    let mut left_out = BTreeSet::new();
    for device in devices {
        let route = Route::of(device, &options.deciding, &destinations, &options.selection);
        match route.and_then(|r| artefacts.refuse_nothing(device, &r.selection()).map(|()| r)) {
            Ok(route) => drop(routes.insert(device.id.clone(), route)),
            Err(e) => {
                let route = Route::of(device, &options.deciding, &destinations, &options.selection).ok();
                if route.is_some_and(|r| artefacts.leaves_out(device, &r.selection(), &unknown)) {
                    left_out.insert(device.name.clone());
                }
                unrouted.insert(device.name.clone(), Err(e));
            }
        }
    }
    match unrouted.pop_first() {
        Some((name, Err(e))) if routes.is_empty() && !(options.left_over && left_out.contains(&name)) => Err(e),
        first => {
            unrouted.extend(first);
            unrouted.retain(|name, _| !left_out.contains(name));
            Ok(Routed { routes, unrouted, left_out, slips })
        }
    }
}

/// The artefacts that policies which select one of the devices ask for, and that none of all their devices has: by name,
/// and as errors. A policy may have been made before there were any.
async fn slips(
    instance: &Instance,
    devices: &[Device],
    options: &RoundOptions,
    artefacts: &mut Artefacts<'_>,
) -> Result<(BTreeSet<String>, Vec<Error>)> {
    let policies: Vec<&Policy> = match &options.deciding {
        Deciding::Nothing => Vec::new(),
        Deciding::InForce(all) => all.iter().filter(|p| p.enabled).collect(),
        Deciding::Named(all) => all.iter().collect(),
    };
    let asks = |p: &&&Policy| !p.artefacts.is_empty() && devices.iter().any(|d| p.devices.matches(d));
    let policies: Vec<_> = policies.iter().filter(asks).collect();
    let (mut unknown, mut errors) = (BTreeSet::new(), Vec::new());
    if policies.is_empty() {
        return Ok((unknown, errors));
    }
    let mut all = Selector::default();
    all.disabled = true;
    let all = instance.inventory.devices(&all).await?;
    for policy in policies {
        unknown.extend(artefacts.unknown_of(policy, &all));
        errors.extend(artefacts.check_policy(policy, &all).err());
    }
    Ok((unknown, errors))
}

/// Opens and tests the destinations that are to be stored at. One that is not ready delays nothing else: what it is to
/// have waits for it, in the spool of a home, whose key is at hand whatever became of others.
///
/// # Errors
/// Nothing would keep originals, not even the spool: what the first destination that would answered.
async fn ready_destinations(context: &Context, instance: &Instance, routes: &Routes) -> Result<Vec<Ready>> {
    let used: BTreeSet<_> = routes.values().flat_map(|r| r.takes.keys()).collect();
    let open = instance.destinations_where(|d| d.enabled && used.contains(&d.id)).await?;
    let tested = test_all(context, open).await;
    let keeps = |d: &&Ready| d.config.view == View::Original;
    let needed = routes.values().any(|r| !r.without_original);
    if needed && !tested.iter().filter(keeps).any(|d| d.error.is_none()) {
        let first = tested.iter().filter(keeps).find_map(|d| d.error.clone());
        let first = first
            .unwrap_or_else(|| Error::new(ErrorKind::Internal, "plan backup", "no destination keeps the original"));
        if !instance.is_home() {
            return Err(first);
        }
        context.ui.warn("no destination that keeps originals is ready: what is backed up now waits in the home alone");
    }
    for (name, e) in tested.iter().filter_map(|d| Some((&d.config.name, d.error.as_ref()?))) {
        let hint = e.hint_text().map_or_else(String::new, |hint| format!(" ({hint})"));
        let why = e.to_record().message;
        context.ui.warn(&format!("destination {name}: {why}{hint}; what it is to have waits for it"));
    }
    Ok(tested)
}

/// A job for each device, made as the engine asks for it.
fn jobs(
    instance: &Instance,
    devices: &[Device],
    routes: Routes,
    destinations: &[Ready],
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
    let destinations: Vec<_> = destinations.iter().map(|d| d.destination.clone()).collect();
    let file_rules = instance.file_rules.clone();
    let plan = Arc::new((destinations, secrets, collectors, limits, retry, options.clone(), file_rules));
    let mut routes = routes;
    let routed: Vec<_> = devices.iter().filter_map(|d| Some((d.clone(), routes.remove(&d.id)?))).collect();
    Ok(stream::iter(routed)
        .map(move |(device, route)| {
            let plan = plan.clone();
            async move {
                let (destinations, secrets, collectors, limits, retry, options, file_rules) = &*plan;
                let destinations = destinations.iter().filter(|d| route.takes.contains_key(d.id())).cloned();
                let ready = match &collectors[&device.collector] {
                    Ok(collector) => secrets.login(&device).await.map(|login| (login, collector.clone())),
                    Err(e) => Err(e.clone()),
                };
                let (login, collector) = ready.unwrap_or_else(|e| {
                    (devicevault_core::Login::default(), UnreadyCollector::new(&device.collector, e))
                });
                let mut device = device;
                // An error of the login names it, however it was chosen.
                device.login.credential = secrets.credential(&device).or(device.login.credential);
                let target = Target::new(device, login).with_limits(limits.clone());
                let mut job = Job::new(target, collector, destinations.collect());
                job.selection = route.selection();
                job.takes = route.takes;
                job.without_original = route.without_original;
                job.metadata = route.metadata;
                job.metadata.extend(options.metadata.clone());
                job.retry = retry.clone();
                job.file_rules = route.file_rules;
                job.file_rules.extend(file_rules.clone());
                job
            }
        })
        // Nobody waits behind a password that takes its time.
        .buffer_unordered(LOGINS_AT_ONCE))
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
    let Some(mut run) = instance.catalog.newest_run(&query).await? else {
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
