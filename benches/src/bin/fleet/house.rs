//! A round of ours: everything that the program does for a fleet, and as it does it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use devicevault_collectors::{CliCollector, PlatformSet, SshDialer};
use devicevault_core::engine::{Destination, DestinationOptions, Job, Limits};
use devicevault_core::text::InstanceKey;
use devicevault_core::{
    Clock, Collector, Device, Engine, KeyProvider, Login, SecretString, StorageBackend, SystemClock, Target, Timestamp,
};
use devicevault_ssh::KnownHostsFile;
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
use devicevault_storage::git::{CommitPer, GitBackend, GitOptions};
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_storage::seal::keys::Kek;
use devicevault_storage::seal::{Key, Keyring};
use devicevault_storage::spool::{DiskSpool, SpoolOptions};
use futures::StreamExt as _;

use crate::simulator::read;

/// A batch waits so long for more.
const BATCH_WAIT: Duration = Duration::from_millis(250);
/// So many threads wait for disks at a time.
const WAIT_FOR_DISKS: usize = 96;

pub(crate) fn round(list: &str, login: &str, sessions: usize, home: &Path, into: &str) -> Duration {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().max_blocking_threads(WAIT_FOR_DISKS).build().unwrap();
    let begun = SystemClock.monotonic();
    runtime.block_on(work(list, login, sessions, home, into));
    SystemClock.monotonic() - begun
}

async fn work(list: &str, login: &str, sessions: usize, home: &Path, into: &str) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let catalog = SqliteCatalog::create(home.join("catalog.db"), SqliteOptions::default()).await.unwrap();
    let catalog = Arc::new(catalog);
    let spool = DiskSpool::open(home.join("spool"), Key::new([6; 32]), SpoolOptions::default(), clock.clone());
    let engine = Engine::builder(catalog.clone(), InstanceKey::new([5; 32]))
        .spool(Arc::new(spool.await.unwrap()))
        .limits(Limits::default().with_sessions(sessions))
        .build();
    let mut destinations = Vec::new();
    for name in into.split('+') {
        let backend: Arc<dyn StorageBackend> = match name {
            "git" => {
                let options = GitOptions::default().with_commits(CommitPer::Batch);
                Arc::new(GitBackend::open(home.join("git"), options, clock.clone()).await.unwrap())
            }
            _ => Arc::new(sealed_plain(&home.join("plain")).await),
        };
        let options = DestinationOptions::default().with_max_wait(BATCH_WAIT);
        destinations.push(Destination::new(name, backend, options, clock.clone()));
    }
    let dialer = SshDialer::new(Arc::new(KnownHostsFile::new(home.join("known_hosts"))));
    let collector: Arc<dyn Collector> =
        Arc::new(CliCollector::new(Arc::new(PlatformSet::built_in()), Arc::new(dialer)));
    let (user, password) = login.split_once(':').unwrap();
    let mut secrets = Login::default();
    user.clone_into(&mut secrets.username);
    secrets.password = Some(SecretString::from(password));
    let jobs = read(list).into_iter().enumerate().map(move |(i, place)| {
        let name = format!("device-{i:05}");
        let mut device = Device::new(name.as_str(), &name, place.host, "cisco_ios");
        device.port = Some(place.port);
        device.site = Some(format!("site-{}", i % 10));
        Job::new(Target::new(device, secrets.clone()), collector.clone(), destinations.clone())
    });
    let mut runs = Box::pin(engine.back_up_all(futures::stream::iter(jobs)));
    let mut failed = 0;
    while let Some((name, run)) = runs.next().await {
        let run = run.unwrap();
        if !run.state.is_good() {
            failed += 1;
            #[allow(clippy::print_stderr, reason = "a program that prints figures")]
            {
                let artefacts = run.artefacts.iter().filter_map(|a| a.error.as_ref());
                eprintln!("{name}: {:?}", run.error.iter().chain(artefacts).next());
            }
        }
    }
    assert_eq!(failed, 0, "not every device was backed up");
    drop((runs, engine));
    catalog.close().await;
}

async fn sealed_plain(folder: &Path) -> PlainBackend {
    let id = "plain".into();
    let store = if folder.exists() { LocalStore::open(folder, &id).await } else { LocalStore::init(folder, &id).await };
    let kek: Arc<dyn KeyProvider> = Arc::new(Kek::raw(Key::new([7; 32])));
    let ring = Keyring::new(vec![kek.clone()]);
    ring.create_epoch(&[kek], Timestamp::UNIX_EPOCH).await.unwrap();
    PlainBackend::in_folder(store.unwrap(), PlainOptions::default().with_sealing(ring))
}
