//! How much at a time: sessions, one run per device, batches, memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use devicevault_core::engine::{Job, Limits};
use devicevault_core::run::RunState;
use devicevault_core::{ErrorKind, View};
use devicevault_testkit::memory::MemoryBackend;
use futures::StreamExt as _;

use crate::doubles::*;

fn fleet(
    count: usize,
    script: &Arc<Script>,
    backend: Arc<dyn devicevault_core::StorageBackend>,
    site: Option<&str>,
) -> Vec<Job> {
    let d = destination("d", backend, View::Original);
    (0..count)
        .map(|i| {
            let mut target = target(&format!("sw{i}"));
            target.device.site = site.map(str::to_owned);
            Job::new(target, script.clone(), vec![d.clone()])
        })
        .collect()
}

fn slow_config() -> Vec<Step> {
    [vec![Step::Wait(Duration::from_millis(20))], config("hostname a\nend\n")].concat()
}

#[tokio::test]
async fn a_round_keeps_its_limits_and_stores_in_batches() {
    for (limits, most) in [
        (Limits::default().with_sessions(7), 7),
        (Limits::default().with_sessions(30).with_sessions_per_site(Some(3)), 3),
    ] {
        let house = house_with(limits);
        let script = Script::new(vec![slow_config()]);
        let backend = Down::slow(Duration::from_millis(30));
        let jobs = fleet(60, &script, backend.clone(), Some("fra1"));
        let runs: Vec<_> = house.engine.back_up_all(futures::stream::iter(jobs)).collect().await;
        assert_eq!(runs.len(), 60);
        assert!(runs.iter().all(|(_, r)| r.as_ref().unwrap().state == RunState::Succeeded));
        assert_eq!((script.most.load(Ordering::SeqCst), backend.inner.len()), (most, 60));
        assert!(
            backend.calls.load(Ordering::SeqCst) < 40,
            "{} calls for 60 entries",
            backend.calls.load(Ordering::SeqCst)
        );
    }
}

#[tokio::test]
async fn two_runs_of_one_device_do_not_talk_to_it_at_once() {
    let house = house();
    let script = Script::new(vec![slow_config()]);
    let job = job(script.clone(), vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]);
    let (a, b) = tokio::join!(house.engine.back_up(&job), house.engine.back_up(&job));
    let mut states = [a.unwrap().state, b.unwrap().state];
    states.sort_by_key(|s| s.as_str());
    assert_eq!(states, [RunState::Succeeded, RunState::Unchanged]);
    assert_eq!(script.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_waits_too_long_for_a_device_is_told() {
    let mut limits = Limits::default();
    limits.device_wait = Duration::from_millis(1);
    let house = house_with(limits);
    let script = Script::new(vec![vec![Step::Wait(Duration::from_secs(2))], config("end\n")]);
    let job = job(script.clone(), vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]);
    let second = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        house.engine.back_up(&job).await.unwrap()
    };
    tokio::select! {
        _ = house.engine.back_up(&job) => unreachable!("it takes two seconds"),
        run = second => assert_eq!(run.error.unwrap().kind, ErrorKind::Conflict),
    }
    assert_eq!(script.asked(), 1);
}

#[tokio::test]
async fn large_texts_go_through_the_spool_and_memory_is_given_back() {
    let mut limits = Limits::default();
    limits.memory = 64 << 10;
    limits.small_body = 16 << 10;
    let house = house_with(limits);
    let backend = Arc::new(MemoryBackend::new());
    let script = Script::new(vec![
        [vec![Step::Begin(config_info()), Step::WriteMany(3_000_000)], vec![Step::Write("\nend\n"), Step::End]]
            .concat(),
    ]);
    let jobs = fleet(12, &script, backend.clone(), None);
    let runs: Vec<_> = house.engine.back_up_all(futures::stream::iter(jobs)).collect().await;
    assert!(runs.iter().all(|(_, r)| r.as_ref().unwrap().state == RunState::Succeeded), "{runs:?}");
    assert_eq!(backend.len(), 12);
    assert!(stored(&backend)[0].1.len() > 2_900_000);
}

#[tokio::test]
async fn dropping_a_round_stops_the_conversations() {
    let house = house();
    let script = Script::new(vec![vec![Step::Begin(config_info()), Step::Wait(Duration::from_secs(3600))]]);
    let jobs = fleet(10, &script, Arc::new(MemoryBackend::new()), None);
    let mut round = Box::pin(house.engine.back_up_all(futures::stream::iter(jobs)));
    let wait = tokio::time::sleep(Duration::from_millis(50));
    tokio::select! { _ = round.next() => unreachable!("they wait for an hour"), () = wait => () }
    assert_eq!(script.most.load(Ordering::SeqCst), 10);
    let alive = Arc::strong_count(&script);
    drop(round);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(alive > 2 && Arc::strong_count(&script) == 1);
}
