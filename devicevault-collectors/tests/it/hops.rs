//! Fleets behind jump hosts: how many log in there at a time, and how often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::engine::{Destination, DestinationOptions, Job, Limits, RetryPolicy};
use devicevault_core::run::{Run, RunState};
use devicevault_core::text::InstanceKey;
use devicevault_core::{Engine, ErrorKind, Hop, Login, SecretRef, SecretString, SystemClock, Target};
use devicevault_testkit::memory::{MemoryBackend, MemoryCatalog};
use devicevault_testkit::sim::{Fleet, Quirk, SimDevice, Simulated};
use futures::StreamExt as _;

use crate::simulated::{collector, target};

async fn switches(number: usize) -> Fleet {
    let devices = (1..=number).map(|i| SimDevice::cisco_ios(format!("sw{i:02}")));
    Fleet::builder().devices(devices).start().await.unwrap()
}

async fn jump_host(is: SimDevice) -> Fleet {
    Fleet::builder().device(is.forwarding()).start().await.unwrap()
}

/// A device behind these jump hosts, which have this password.
fn behind(device: &Simulated, hops: &[&Fleet], password: &str) -> Target {
    let mut target = target(device);
    target.device.site = Some("branch".to_owned());
    for hop in hops.iter().map(|fleet| &fleet.devices()[0]) {
        target.device.jump.push(Hop::new(hop.addr().ip().to_string(), Some(hop.addr().port())));
        let mut login = Login::default();
        login.username = hop.username().to_owned();
        login.password = Some(SecretString::from(password));
        target.login.jump.push(login);
    }
    target
}

fn limits(sessions: usize, connecting: usize) -> Limits {
    let mut limits = Limits::default().with_sessions(sessions);
    limits.connect_grace = Duration::from_millis(20);
    limits.connecting = connecting;
    limits
}

async fn round(limits: Limits, targets: Vec<Target>) -> BTreeMap<String, Run> {
    let engine = Engine::builder(Arc::new(MemoryCatalog::new()), InstanceKey::new([7; 32])).limits(limits).build();
    let backend = Arc::new(MemoryBackend::new());
    let here = Destination::new("here", backend, DestinationOptions::default(), Arc::new(SystemClock));
    let collector = Arc::new(collector());
    let jobs = targets.into_iter().map(move |target| {
        let mut job = Job::new(target, collector.clone(), vec![here.clone()]);
        job.retry = RetryPolicy::never();
        job
    });
    let runs: Vec<_> = engine.back_up_all(futures::stream::iter(jobs.collect::<Vec<_>>())).collect().await;
    runs.into_iter().map(|(name, run)| (name, run.unwrap())).collect()
}

fn kind(run: &Run) -> Option<ErrorKind> {
    run.error.as_ref().map(|e| e.kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_at_jump_hosts_keep_to_the_bounds() {
    let slow = |name: &str| SimDevice::linux(name).quirk(Quirk::SlowLogin(Duration::from_millis(200)));
    let (devices, first, second) = (switches(10).await, jump_host(slow("j1")).await, jump_host(slow("j2")).await);
    let targets = devices.devices().iter().map(|d| behind(d, &[&first, &second], &first.devices()[0].password()));
    let runs = round(limits(8, 512).with_sessions_per_site(Some(2)), targets.collect()).await;
    assert!(runs.len() == 10 && runs.values().all(|r| r.state == RunState::Succeeded), "{runs:?}");
    for hop in [&first, &second] {
        let stats = hop.stats();
        assert!(stats.logins == 10 && stats.passwords_at_once <= 2, "{stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_of_a_jump_host_is_given_once_in_a_round() {
    let slow = SimDevice::linux("j1").quirk(Quirk::SlowLogin(Duration::from_millis(100)));
    let (devices, wrong, good) = (switches(16).await, jump_host(slow).await, jump_host(SimDevice::linux("j2")).await);
    let (refused, fine) = devices.devices().split_at(12);
    let targets = || {
        let refused = refused.iter().map(|d| behind(d, &[&wrong], "not the password"));
        refused.chain(fine.iter().map(|d| behind(d, &[&good], &good.devices()[0].password()))).collect()
    };
    for (number, limits) in [limits(4, 512), limits(4, 0), limits(2, 1)].into_iter().enumerate() {
        let runs = round(limits, targets()).await;
        for device in refused {
            let run = &runs[device.name()];
            assert_eq!(kind(run), Some(ErrorKind::AuthRejected), "{run:?}");
            let said = format!("{:?}", run.error);
            assert!(said.contains("jump host") && said.contains("did not accept the password"), "{said}");
        }
        let told = refused.iter().filter(|d| format!("{:?}", runs[d.name()].error).contains("another device"));
        assert_eq!(told.count(), 11);
        assert!(fine.iter().all(|d| runs[d.name()].state == RunState::Succeeded), "{runs:?}");
        // Another round tries anew: the password may have been mended.
        assert_eq!(wrong.stats().password_attempts, number as u64 + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_a_jump_host_rejects_names_the_jump_hosts_credential() {
    let (devices, hop) = (switches(3).await, jump_host(SimDevice::linux("j1")).await);
    let mut targets: Vec<_> = devices.devices().iter().map(|d| behind(d, &[&hop], "not the password")).collect();
    for target in &mut targets {
        target.device.login.credential = Some("of-switches".to_owned());
    }
    // Its own credential, its own password without one, and the device's.
    targets[0].device.jump[0].login.credential = Some("of-bastion".to_owned());
    targets[1].device.jump[0].login.password = Some(SecretRef::Env("PW".to_owned()));
    let runs = round(limits(1, 512), targets).await;
    let told = |i: usize| format!("{:?}", runs[devices.devices()[i].name()].error);
    assert!(told(0).contains("of-bastion") && !told(0).contains("of-switches"), "{}", told(0));
    assert!(!told(1).contains("of-switches"), "{}", told(1));
    assert!(told(2).contains("of-switches"), "{}", told(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_host_that_hangs_holds_up_nobody_for_long() {
    let (devices, good) = (switches(14).await, jump_host(SimDevice::linux("j2")).await);
    let silent = jump_host(SimDevice::linux("j1").quirk(Quirk::StallsAfter(0))).await;
    let (held_up, fine) = devices.devices().split_at(12);
    let mut targets: Vec<_> = held_up.iter().map(|d| behind(d, &[&silent], "any")).collect();
    for target in &mut targets {
        target.limits.login = Duration::from_millis(700);
    }
    targets.extend(fine.iter().map(|d| behind(d, &[&good], &good.devices()[0].password())));
    let runs = round(limits(2, 512), targets).await;
    assert!(held_up.iter().all(|d| kind(&runs[d.name()]) == Some(ErrorKind::Timeout)), "{runs:?}");
    assert!(fine.iter().all(|d| runs[d.name()].state == RunState::Succeeded), "{runs:?}");
    // Those who waited for the first took its silence for their own.
    assert!(silent.stats().connections < 12, "{:?}", silent.stats());
}
