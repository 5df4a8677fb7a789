//! The engine between a collector that yields bytes and a backend that reads them and keeps nothing.
//!
//! `cargo run --release -p devicevault-benches --bin pipeline [-- REPEATS]`
//!
//! What one core hashes with SHA-256 in the same run is the limit: the engine hashes every byte of every view once. Texts
//! go through line ends, volatile lines and secrets of the platform `cisco_ios`; the three views of a text are made
//! whoever keeps them, because change is decided on `clean`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures, and ends when it cannot")]

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_benches::{cpu_of, median, peak_mib, timed};
use devicevault_collectors::{CliCollector, PlatformSet, SshDialer};
use devicevault_core::engine::{Destination, DestinationOptions, Job};
use devicevault_core::storage::{Capability, Health, ListFilter, Usage, UsageFilter, Verdict, VerifyDepth};
use devicevault_core::text::InstanceKey;
use devicevault_core::{
    ArtifactInfo, Body, ByteStream, Clock, Collector, CollectorInfo, Device, Digest, Engine, Entry, Error, ErrorKind,
    Kind, Login, Manifest, Result, Sink, Spool, StorageBackend, StorageRef, SystemClock, Target, View,
};
use devicevault_ssh::HostKeysInMemory;
use devicevault_storage::seal::Key;
use devicevault_storage::spool::{DiskSpool, SpoolOptions};
use devicevault_testkit::memory::MemoryCatalog;
use devicevault_testkit::samples;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

/// What a network hands over at a time.
const PIECE: usize = 32 << 10;

/// Yields the same bytes for every device.
#[derive(Debug)]
struct Source {
    info: CollectorInfo,
    artefact: ArtifactInfo,
    content: Bytes,
    /// How often the content is repeated in one artefact.
    times: usize,
}

#[async_trait]
impl Collector for Source {
    fn info(&self) -> &CollectorInfo {
        &self.info
    }

    fn artefacts(&self, _target: &Target) -> Result<Vec<ArtifactInfo>> {
        Ok(vec![self.artefact.clone()])
    }

    async fn collect(&self, _target: &Target, out: &mut dyn Sink) -> Result<()> {
        out.begin(self.artefact.clone()).await?;
        for _ in 0..self.times {
            for start in (0..self.content.len()).step_by(PIECE) {
                out.write(self.content.slice(start..(start + PIECE).min(self.content.len()))).await?;
            }
        }
        out.end().await
    }
}

/// Reads what it is given.
#[derive(Debug, Default)]
struct Drain(AtomicU64);

#[async_trait]
impl StorageBackend for Drain {
    fn capability(&self) -> Capability {
        Capability::default()
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for (entry, body) in batch {
            let mut bytes = body.read(None);
            while let Some(chunk) = bytes.try_next().await.unwrap() {
                self.0.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            verdicts.push(Ok(StorageRef(entry.manifest.backup.to_string())));
        }
        verdicts
    }

    async fn read(&self, _at: &StorageRef, _range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        Err(keeps_nothing())
    }

    async fn stat(&self, _at: &StorageRef) -> Result<Manifest> {
        Err(keeps_nothing())
    }

    fn list(&self, _filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        futures::stream::empty().boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        refs.iter().map(|_| Ok(())).collect()
    }

    async fn verify(&self, _at: &StorageRef, _expect: Option<&Manifest>, _depth: VerifyDepth) -> Result<Verdict> {
        Err(keeps_nothing())
    }

    async fn usage(&self, _filter: UsageFilter) -> Result<Usage> {
        Ok(Usage::default())
    }

    async fn check(&self) -> Result<Health> {
        Ok(Health::default())
    }
}

fn keeps_nothing() -> Error {
    Error::new(ErrorKind::NotFound, "read backup", "this backend keeps nothing")
}

/// What is put through.
struct Load {
    name: &'static str,
    devices: usize,
    kind: Kind,
    content: Bytes,
    times: usize,
    views: &'static [View],
}

impl Load {
    fn bytes(&self) -> u64 {
        (self.devices * self.content.len() * self.times) as u64
    }
}

/// The running configuration as the platform describes it: with its volatile lines and its secrets.
fn running_config() -> ArtifactInfo {
    let dialer = SshDialer::new(Arc::new(HostKeysInMemory::default()));
    let cli = CliCollector::new(Arc::new(PlatformSet::built_in()), Arc::new(dialer));
    let target = Target::new(Device::new("d", "d", "127.0.0.1", "cisco_ios"), Login::default());
    cli.artefacts(&target).unwrap().swap_remove(0)
}

async fn spool(folder: &Path) -> Arc<dyn Spool> {
    Arc::new(DiskSpool::open(folder, Key::new([3; 32]), SpoolOptions::default(), Arc::new(SystemClock)).await.unwrap())
}

async fn put_through(load: &Load, folder: &Path) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let engine = Engine::builder(Arc::new(MemoryCatalog::new()), InstanceKey::new([5; 32]))
        .spool(spool(&folder.join("spool")).await)
        .build();
    let drain = Arc::new(Drain::default());
    let destinations: Vec<_> = load
        .views
        .iter()
        .map(|view| {
            let options = DestinationOptions::default().with_view(*view);
            Destination::new(view.to_string(), drain.clone(), options, clock.clone())
        })
        .collect();
    let artefact = match load.kind {
        Kind::Text => running_config(),
        Kind::Binary => ArtifactInfo::binary("full-state"),
    };
    let source = Arc::new(Source {
        info: CollectorInfo::new("source", "Source", "Yields bytes."),
        artefact,
        content: load.content.clone(),
        times: load.times,
    });
    let jobs = (0..load.devices).map(move |i| {
        let name = format!("device-{i:05}");
        let device = Device::new(name.as_str(), &name, "127.0.0.1", "cisco_ios");
        Job::new(Target::new(device, Login::default()), source.clone(), destinations.clone())
    });
    let runs: Vec<_> = engine.back_up_all(futures::stream::iter(jobs.collect::<Vec<_>>())).collect().await;
    assert!(runs.iter().all(|(_, run)| run.as_ref().is_ok_and(|r| r.error.is_none())), "a run failed");
    assert!(drain.0.load(Ordering::Relaxed) > 0);
}

fn main() {
    let repeats = std::env::args().nth(1).map_or(5, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let text = |bytes: usize| {
        let mut text = samples::text(1, bytes).to_vec();
        text.extend_from_slice(b"end\n");
        Bytes::from(text)
    };
    let noise = samples::noise(1, 1 << 20);
    let (hashed, took) = timed(|| (0..500).map(|_| Digest::of(&noise).0[0] as usize).sum::<usize>());
    let limit = 500.0 * noise.len() as f64 / 1e6 / took.as_secs_f64();
    println!("SHA-256 on one core: {limit:.0} MB/s ({})", hashed % 10);
    let small = text(20 << 10);
    let large = text(5_000_000);
    let all: &[View] = &[View::Original, View::Clean, View::Redacted];
    let loads = [
        Load {
            name: "2,000 texts of 20 KB",
            devices: 2000,
            kind: Kind::Text,
            content: small.clone(),
            times: 1,
            views: &all[..1],
        },
        Load {
            name: "the same, three views kept",
            devices: 2000,
            kind: Kind::Text,
            content: small,
            times: 1,
            views: all,
        },
        Load {
            name: "one text of 5 MB",
            devices: 1,
            kind: Kind::Text,
            content: large.clone(),
            times: 1,
            views: &all[..1],
        },
        Load {
            name: "20 texts of 5 MB, three views kept",
            devices: 20,
            kind: Kind::Text,
            content: large,
            times: 1,
            views: all,
        },
        Load {
            name: "one binary of 250 MB",
            devices: 1,
            kind: Kind::Binary,
            content: noise.clone(),
            times: 250,
            views: &all[..1],
        },
        Load {
            name: "4 binaries of 250 MB",
            devices: 4,
            kind: Kind::Binary,
            content: noise,
            times: 250,
            views: &all[..1],
        },
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for load in &loads {
        let before = cpu_of("self").total();
        let seconds: Vec<f64> = (0..repeats)
            .map(|_| timed(|| runtime.block_on(put_through(load, folder.path()))).1.as_secs_f64())
            .collect();
        let cpu = (cpu_of("self").total() - before) / f64::from(repeats);
        let seconds = median(seconds);
        let rate = load.bytes() as f64 / 1e6 / seconds;
        println!(
            "{:<36} {seconds:>7.3} s {rate:>6.0} MB/s  {:>5.2} of SHA-256   cpu {cpu:>5.2} s   {:>6.0} devices/s   peak so far {:.0} MiB",
            load.name,
            rate / limit,
            load.devices as f64 / seconds,
            peak_mib("self"),
        );
    }
}
