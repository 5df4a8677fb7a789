//! Many devices: who is next, who cannot be reached, who is too fast, and what happens when the round is cut off.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::engine::{Destination, DestinationOptions, Job, Limits};
use devicevault_core::run::{Run, RunState};
use devicevault_core::text::InstanceKey;
use devicevault_core::{
    ArtifactInfo, Catalog, Clock as _, Collector, CollectorInfo, Engine, Error, ErrorKind, Result, Sink, Target, View,
};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::faulty::{Fault, Faulty, Operation, Plan};
use devicevault_testkit::memory::{MemoryBackend, MemoryCatalog};
use futures::StreamExt as _;
use proptest::prelude::*;
use tokio::time::Instant;

use crate::doubles::*;

/// Devices that are reached after a time and talk for a time; a device named `dead…` is never reached.
#[derive(Debug)]
struct Network {
    info: CollectorInfo,
    reach: Duration,
    talk: Duration,
    talking: Mutex<BTreeMap<String, usize>>,
    most: AtomicUsize,
    most_of_site: AtomicUsize,
    order: Mutex<Vec<String>>,
}

impl Network {
    fn new(reach: Duration, talk: Duration) -> Arc<Self> {
        Arc::new(Self {
            info: CollectorInfo::new("network", "Network", "reaches devices or not"),
            reach,
            talk,
            talking: Mutex::default(),
            most: AtomicUsize::new(0),
            most_of_site: AtomicUsize::new(0),
            order: Mutex::default(),
        })
    }

    fn order(&self) -> Vec<String> {
        self.order.lock().unwrap().clone()
    }
}

struct Talk<'a>(&'a Network, String);

impl<'a> Talk<'a> {
    fn begin(network: &'a Network, target: &Target) -> Self {
        let site = target.device.site.clone().unwrap_or_default();
        network.order.lock().unwrap().push(target.device.name.clone());
        let mut talking = network.talking.lock().unwrap();
        *talking.entry(site.clone()).or_default() += 1;
        network.most.fetch_max(talking.values().sum(), Ordering::SeqCst);
        network.most_of_site.fetch_max(talking[&site], Ordering::SeqCst);
        Self(network, site)
    }
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        *self.0.talking.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

#[async_trait]
impl Collector for Network {
    fn info(&self) -> &CollectorInfo {
        &self.info
    }

    fn artefacts(&self, _target: &Target) -> Result<Vec<ArtifactInfo>> {
        Ok(vec![config_info()])
    }

    async fn collect(&self, target: &Target, out: &mut dyn Sink) -> Result<()> {
        target.turn.connecting();
        if target.device.name.starts_with("dead") {
            tokio::time::sleep(target.limits.connect).await;
            return Err(Error::new(ErrorKind::Timeout, "connect", "no answer"));
        }
        tokio::time::sleep(self.reach).await;
        target.turn.reached().await;
        let _talk = Talk::begin(self, target);
        tokio::time::sleep(self.talk).await;
        out.begin(config_info()).await?;
        out.write(Bytes::from(format!("hostname {}\nend\n", target.device.name))).await?;
        out.end().await
    }
}

/// Jobs for devices of these names; what stands before a slash is the site.
fn jobs(network: &Arc<Network>, names: impl IntoIterator<Item = String>) -> Vec<Job> {
    let d = destination("d", Arc::new(MemoryBackend::new()), View::Original);
    names
        .into_iter()
        .map(|name| {
            let (site, name) = name.split_once('/').map_or((None, name.as_str()), |(s, n)| (Some(s), n));
            let mut target = target(name);
            target.device.site = site.map(str::to_owned);
            let mut job = Job::new(target, network.clone(), vec![d.clone()]);
            job.retry = devicevault_core::engine::RetryPolicy::never();
            job
        })
        .collect()
}

const MILLI: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn five_hundred_dead_devices_delay_nobody() {
    let network = Network::new(MILLI, 20 * MILLI);
    let names = (0..500).flat_map(|i| [format!("dead{i}"), format!("good{i}")]);
    let house = house();
    let begun = Instant::now();
    let mut runs = Box::pin(house.engine.back_up_all(futures::stream::iter(jobs(&network, names))));
    let (mut good, mut last_good, mut dead) = (0, Duration::ZERO, 0);
    while let Some((_, run)) = runs.next().await {
        if run.unwrap().state == RunState::Succeeded {
            (good, last_good) = (good + 1, begun.elapsed());
        } else {
            dead += 1;
        }
    }
    assert_eq!((good, dead), (500, 500));
    // With their places, the dead would have held the others up for 15 s at a time: four minutes in all.
    assert!(last_good < Duration::from_secs(12), "the last good device was done after {last_good:?}");
    assert!(begun.elapsed() < Duration::from_secs(27), "{:?}", begun.elapsed());
    assert!(network.most.load(Ordering::SeqCst) <= 30);
}

#[tokio::test(start_paused = true)]
async fn slow_links_never_make_more_conversations_than_may_be() {
    let network = Network::new(900 * MILLI, 200 * MILLI);
    let house = house_with(Limits::default().with_sessions(5).with_sessions_per_site(Some(2)));
    let names = (0..60).map(|i| format!("s{}/sw{i}", i % 4));
    let runs: Vec<_> = house.engine.back_up_all(futures::stream::iter(jobs(&network, names))).collect().await;
    assert!(runs.iter().all(|(_, r)| r.as_ref().unwrap().state == RunState::Succeeded));
    assert!(network.most.load(Ordering::SeqCst) <= 5 && network.most_of_site.load(Ordering::SeqCst) <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_small_site_does_not_wait_for_a_large_one() {
    let network = Network::new(MILLI, 10 * MILLI);
    let house = house_with(Limits::default().with_sessions(2));
    let names = (0..200).map(|i| format!("large/l{i}")).chain((0..5).map(|i| format!("small/s{i}")));
    let _: Vec<_> = house.engine.back_up_all(futures::stream::iter(jobs(&network, names))).collect().await;
    let order = network.order();
    let last_small = order.iter().rposition(|n| n.starts_with('s')).unwrap();
    assert!(last_small < 16, "{:?}", &order[..40]);
}

#[tokio::test]
async fn a_device_is_left_alone_between_conversations_whatever_the_clock_says() {
    let clock = ManualClock::new();
    let catalog = Arc::new(MemoryCatalog::with_clock(Arc::new(clock.clone())));
    let interval = Duration::from_secs(300);
    let engine = Engine::builder(catalog.clone(), InstanceKey::new([5; 32]))
        .clock(Arc::new(clock.clone()))
        .limits(Limits::default().with_device_interval(Some(interval)))
        .build();
    let script = Script::new(vec![config("end\n")]);
    let job = job(script.clone(), vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]);
    assert_eq!(engine.back_up(&job).await.unwrap().state, RunState::Succeeded);
    clock.advance(Duration::from_secs(100));
    let second = tokio::spawn({
        let (engine, job) = (engine.clone(), job.clone());
        async move { engine.back_up(&job).await.unwrap().state }
    });
    clock.sleepers(1).await;
    clock.advance(Duration::from_secs(199));
    tokio::task::yield_now().await;
    assert_eq!(script.asked(), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(second.await.unwrap(), RunState::Unchanged);
    // A clock that jumped back: the rest is the interval, and no longer.
    let before = Engine::builder(catalog, InstanceKey::new([5; 32]))
        .clock(Arc::new(ManualClock::at(clock.now() - Duration::from_secs(86_400)).auto_advancing()))
        .limits(Limits::default().with_device_interval(Some(interval)))
        .build();
    assert!(before.back_up(&job).await.unwrap().state.is_good());
    // One that jumped far ahead: no rest at all.
    clock.advance(Duration::from_secs(86_400 * 365));
    assert!(engine.back_up(&job).await.unwrap().state.is_good());
}

#[tokio::test]
async fn bandwidth_is_shared_and_bounded() {
    let clock = ManualClock::new().auto_advancing();
    let catalog = Arc::new(MemoryCatalog::with_clock(Arc::new(clock.clone())));
    // What a conversation waits for the line does not count as its own time.
    let mut limits = Limits::default().with_bandwidth(Some(100_000));
    limits.collect = Duration::from_secs(1);
    let engine =
        Engine::builder(catalog, InstanceKey::new([5; 32])).clock(Arc::new(clock.clone())).limits(limits).build();
    let steps = vec![Step::Begin(config_info()), Step::WriteMany(50_000), Step::Write("\nend\n"), Step::End];
    let script = Script::new(vec![steps]);
    let d =
        Destination::new("d", Arc::new(MemoryBackend::new()), DestinationOptions::default(), Arc::new(clock.clone()));
    let jobs: Vec<_> = (0..10).map(|i| Job::new(target(&format!("sw{i}")), script.clone(), vec![d.clone()])).collect();
    let begun = clock.monotonic();
    let runs: Vec<_> = engine.back_up_all(futures::stream::iter(jobs)).collect().await;
    assert!(runs.iter().all(|(_, r)| r.as_ref().unwrap().state == RunState::Succeeded));
    let took = (clock.monotonic() - begun).as_secs_f64();
    assert!((4.5..6.5).contains(&took), "500 kB at 100 kB/s took {took} s");
}

#[tokio::test(start_paused = true)]
async fn a_round_that_is_dropped_gives_every_place_back() {
    let network = Network::new(MILLI, 50 * MILLI);
    let house = house_with(Limits::default().with_sessions(3));
    for cut in [0, 1, 5, 40, 70, 600, 2_000] {
        let names = (0..100).map(|i| if i % 3 == 0 { format!("a/dead{i}") } else { format!("b/sw{i}") });
        let mut round = Box::pin(house.engine.back_up_all(futures::stream::iter(jobs(&network, names))));
        let _ = tokio::time::timeout(cut * MILLI, async { while round.next().await.is_some() {} }).await;
        drop(round);
        // Leases of the cut-off runs stand until they end by themselves; other devices are free at once.
        let others = jobs(&network, (0..9).map(|i| format!("c/cut{cut}-{i}")));
        let all = house.engine.back_up_all(futures::stream::iter(others)).collect::<Vec<_>>();
        let runs = tokio::time::timeout(Duration::from_secs(5), all).await.unwrap();
        assert!(runs.iter().all(|(_, r)| r.as_ref().unwrap().state == RunState::Succeeded));
    }
    assert_eq!(network.talking.lock().unwrap().values().sum::<usize>(), 0);
}

#[tokio::test]
async fn an_engine_may_be_dropped_while_its_round_goes_on() {
    let network = Network::new(MILLI, MILLI);
    let house = house();
    let round = house.engine.back_up_all(futures::stream::iter(jobs(&network, (0..20).map(|i| format!("sw{i}")))));
    drop(house);
    assert_eq!(round.filter(|(_, r)| std::future::ready(r.as_ref().unwrap().state.is_good())).count().await, 20);
}

#[tokio::test]
async fn a_backup_that_was_deleted_meanwhile_is_stored_anew() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let d = destination("d", backend.clone(), View::Original);
    let script = Script::new(vec![config("hostname a\nend\n")]);
    let first = house.engine.back_up(&job(script.clone(), vec![d.clone()])).await.unwrap();
    let at = first.artefacts[0].copies[0].storage_ref.clone().unwrap();
    let clock = ManualClock::new();
    let plan = Plan::new().with_clock(Arc::new(clock.clone()));
    let faulty = Arc::new(Faulty::with_plan(house.catalog.clone(), &plan));
    let engine = Engine::builder(faulty, InstanceKey::new([5; 32])).build();
    plan.add(Fault::delaying(Operation::Record, MILLI));
    let deleted = async {
        clock.sleepers(1).await;
        house.catalog.forget(d.id(), &[at]).await.unwrap();
        clock.advance(MILLI);
    };
    let this = job(script.clone(), vec![d.clone()]);
    let (second, ()) = tokio::join!(engine.back_up(&this), deleted);
    let second = second.unwrap();
    assert_eq!((second.state, second.artefacts.len()), (RunState::Succeeded, 1));
    assert!(second.artefacts[0].first);
    assert_eq!(backend.len(), 2);
    let found = house.catalog.find(&Default::default(), devicevault_core::catalog::Page::first(9)).await.unwrap();
    assert_eq!(found.items.len(), 1);
    assert_eq!(script.asked(), 2);
    assert_eq!(engine.back_up(&job(script, vec![d])).await.unwrap().state, RunState::Unchanged);
}

#[tokio::test]
async fn texts_that_fill_the_spool_together_do_not_wait_for_one_another() {
    let clock = ManualClock::new().auto_advancing();
    let mut limits = Limits::default();
    limits.small_body = 1 << 10;
    let engine =
        Engine::builder(Arc::new(MemoryCatalog::with_clock(Arc::new(clock.clone()))), InstanceKey::new([5; 32]))
            .clock(Arc::new(clock.clone()))
            .limits(limits)
            .spool(Arc::new(devicevault_core::spool::MemorySpool::new(1 << 20)))
            .build();
    // Four of 600 kB at a time want a spool of 1 MB.
    let steps = vec![Step::Begin(config_info()), Step::Yielding(600_000), Step::Write("\nend\n"), Step::End];
    let script = Script::new(vec![steps]);
    let backend = Arc::new(MemoryBackend::new());
    let d = Destination::new("d", backend.clone(), DestinationOptions::default(), Arc::new(clock.clone()));
    let jobs: Vec<_> = (0..4)
        .map(|i| {
            let mut job = Job::new(target(&format!("sw{i}")), script.clone(), vec![d.clone()]);
            job.retry = devicevault_core::engine::RetryPolicy::default().with_attempts(20);
            job
        })
        .collect();
    let begun = clock.monotonic();
    let runs: Vec<_> = engine.back_up_all(futures::stream::iter(jobs)).collect().await;
    assert!(runs.iter().all(|(_, r)| r.as_ref().unwrap().state == RunState::Succeeded), "{runs:?}");
    assert_eq!(backend.len(), 4);
    assert!(clock.monotonic() - begun < Duration::from_secs(1500), "{:?}", clock.monotonic() - begun);
}

/// An engine whose spool holds 1 MiB, and devices of so many texts of so many bytes each, that are stored at `backend`.
async fn round_over_a_small_spool(devices: &[(usize, usize)], sessions: usize) -> (Vec<Run>, Duration) {
    let clock = ManualClock::new().auto_advancing();
    let mut limits = Limits::default().with_sessions(sessions);
    limits.small_body = 1 << 10;
    let engine =
        Engine::builder(Arc::new(MemoryCatalog::with_clock(Arc::new(clock.clone()))), InstanceKey::new([5; 32]))
            .clock(Arc::new(clock.clone()))
            .limits(limits)
            .spool(Arc::new(devicevault_core::spool::MemorySpool::new(1 << 20)))
            .build();
    let d =
        Destination::new("d", Arc::new(MemoryBackend::new()), DestinationOptions::default(), Arc::new(clock.clone()));
    let jobs = devices.iter().enumerate().map(|(i, (texts, size))| {
        let one = |n: usize| {
            let mut info = config_info();
            // The first is the one that every device has to have.
            if n > 0 {
                info.name = format!("text{n}");
            }
            vec![Step::Begin(info), Step::Yielding(*size), Step::Write("\nend\n"), Step::End]
        };
        let script = Script::new(vec![(0..*texts).flat_map(one).collect()]);
        let mut job = Job::new(target(&format!("sw{i}")), script, vec![d.clone()]);
        job.retry = devicevault_core::engine::RetryPolicy::default().with_attempts(20);
        job
    });
    let begun = clock.monotonic();
    let runs: Vec<_> = engine.back_up_all(futures::stream::iter(jobs.collect::<Vec<_>>())).collect().await;
    (runs.into_iter().map(|(_, run)| run.unwrap()).collect(), clock.monotonic() - begun)
}

#[tokio::test]
async fn devices_of_many_texts_do_not_wait_for_one_another() {
    for devices in
        [vec![(8, 100_000), (8, 100_000)], vec![(2, 400_000), (20, 30_000)], vec![(20, 30_000), (2, 400_000)]]
    {
        let (runs, took) = round_over_a_small_spool(&devices, 8).await;
        assert!(runs.iter().all(|r| r.state == RunState::Succeeded), "{devices:?}: {runs:?}");
        assert!(took < Duration::from_secs(1500), "{devices:?}: {took:?}");
    }
}

#[tokio::test]
async fn what_can_never_fit_in_the_spool_is_refused_at_once() {
    for device in [(1, 3_000_000), (20, 100_000)] {
        let (runs, _) = round_over_a_small_spool(&[device], 8).await;
        assert_eq!(runs[0].start.attempt, 1, "{runs:?}");
        let e = runs[0].error.clone().or_else(|| runs[0].artefacts.iter().find_map(|a| a.error.clone())).unwrap();
        assert_eq!(e.kind, ErrorKind::TooLarge, "{e:?}");
        assert!(e.message.contains("spool.capacity"), "{e:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_round_stands_still_over_a_full_spool(devices in proptest::collection::vec((1usize..9, 2_000usize..110_000), 1..7), sessions in 1usize..7) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (runs, took) = runtime.block_on(round_over_a_small_spool(&devices, sessions));
        prop_assert!(runs.iter().all(|r| r.state == RunState::Succeeded), "{:?}", runs);
        prop_assert!(took < Duration::from_secs(1500), "{:?}", took);
    }

    #[test]
    fn every_device_is_served_once_within_the_limits(sites in proptest::collection::vec(0usize..5, 1..80), sessions in 1usize..9, per_site in proptest::option::of(1usize..4), reach in 0u64..1500) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let network = Network::new(Duration::from_millis(reach), 30 * MILLI);
            let house = house_with(Limits::default().with_sessions(sessions).with_sessions_per_site(per_site));
            let names = sites.iter().enumerate().map(|(i, site)| {
                if i % 7 == 3 { format!("s{site}/dead{i}") } else { format!("s{site}/sw{i}") }
            });
            let runs: Vec<_> = house.engine.back_up_all(futures::stream::iter(jobs(&network, names))).collect().await;
            prop_assert_eq!(runs.len(), sites.len());
            let mut served = network.order();
            served.sort();
            served.dedup();
            prop_assert_eq!(served.len(), network.order().len());
            prop_assert_eq!(served.len(), (0..sites.len()).filter(|i| i % 7 != 3).count());
            prop_assert!(network.most.load(Ordering::SeqCst) <= sessions);
            prop_assert!(network.most_of_site.load(Ordering::SeqCst) <= per_site.unwrap_or(usize::MAX));
            Ok(())
        })?;
    }
}
