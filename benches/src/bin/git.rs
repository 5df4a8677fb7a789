//! The Git backend beside the `git` program.
//!
//! `cargo run --release -p devicevault-benches --bin git [-- FOLDER [REPEATS]]`
//!
//! 200 devices, 50 versions each of a 20 KB configuration in which a line or two changed, durable. `git` commits a sample
//! of the same files into a working copy, with its own defaults (it flushes no loose object). The rates of both depend on
//! how fast the disk flushes, so that a probe of that stands beside them. Then the history grows to 40,000 commits, and
//! old versions are read and listed.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures, and ends when it cannot")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::storage::{Budget, ListFilter};
use devicevault_core::{
    Body, Clock as _, Digest, Entry, StorageBackend as _, StorageBackendExt as _, StorageRef, SystemClock,
};
use devicevault_storage::git::{GitBackend, GitOptions};
use devicevault_testkit::samples;
use futures::TryStreamExt as _;

const DEVICES: usize = 200;
const VERSIONS: usize = 50;
const IN_FLIGHT: usize = 64;
/// Commits that `git` makes in one repeat, and that are stored one by one.
const SAMPLE: usize = 200;
const SEQUENTIAL: usize = 1000;
const LONG: usize = 40_000;

/// 20 KB of text for each device, alike in most lines as one company's configurations are, and its changes over time.
struct Fleet {
    texts: Vec<Vec<String>>,
    random: fastrand::Rng,
}

impl Fleet {
    fn new() -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let common: Vec<String> =
            (0..250).map(|i| format!("ip access-list standard common-{i} permit 10.{}.0.0", i % 90)).collect();
        let texts = (0..DEVICES)
            .map(|d| {
                let mut lines = vec![format!("hostname device-{d}")];
                lines.extend(common.iter().cloned());
                for port in 0..96 {
                    lines.push(format!("interface Ethernet1/{port}"));
                    lines.push(format!(" description to host-{:08x} in rack {}", random.u32(..), random.u8(..)));
                    lines.push(format!(" switchport access vlan {}", random.u16(1..4000)));
                    lines.push("!".to_owned());
                }
                lines
            })
            .collect();
        Self { texts, random }
    }

    /// The next version of a device's text.
    fn next(&mut self, device: usize) -> String {
        let lines = &mut self.texts[device];
        for _ in 0..self.random.usize(1..3) {
            let at = 251 + 4 * self.random.usize(0..96);
            lines[at + 1] = format!(" description to host-{:08x} in rack {}", self.random.u32(..), self.random.u8(..));
        }
        let mut text = lines.join("\n");
        text.push('\n');
        text
    }

    /// One round after the other, made as they are asked for: the memory that is measured is not theirs.
    fn versions(mut self, count: usize) -> impl Iterator<Item = (String, String)> {
        (0..count).map(move |i| (format!("device-{}", i % DEVICES), self.next(i % DEVICES)))
    }
}

fn entry(device: &str, text: &str) -> (Entry, Arc<dyn Body>) {
    let (mut entry, body) = samples::entry(device, text.to_owned());
    entry.manifest.taken_at = SystemClock.now();
    entry.summary = format!("{device}: running-config changed");
    (entry, body)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = SystemClock.monotonic();
    let value = work();
    (value, SystemClock.monotonic() - begun)
}

async fn timed_async<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = SystemClock.monotonic();
    let value = work.await;
    (value, SystemClock.monotonic() - begun)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

/// Small files per second, each flushed with its folder.
fn fsync_probe(dir: &Path) -> f64 {
    let folder = dir.join("probe");
    fs::create_dir_all(&folder).unwrap();
    let count = 100;
    let ((), took) = timed(|| {
        for i in 0..count {
            let mut file = fs::File::create(folder.join(format!("{i}"))).unwrap();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_all().unwrap();
            fs::File::open(&folder).unwrap().sync_all().unwrap();
        }
    });
    fs::remove_dir_all(folder).unwrap();
    f64::from(count) / took.as_secs_f64()
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=bench", "-c", "user.email=bench@example.net", "-c", "gc.auto=0"])
        .args(args)
        .output()
        .expect("this benchmark needs git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Commits per second of `git add` and `git commit`.
fn git_commits(dir: &Path) -> f64 {
    fs::create_dir_all(dir).unwrap();
    git(dir, &["init", "-q", "-b", "main"]);
    for d in 0..DEVICES {
        fs::create_dir(dir.join(format!("device-{d}"))).unwrap();
    }
    let versions: Vec<_> = Fleet::new().versions(SAMPLE).collect();
    let ((), took) = timed(|| {
        for (device, text) in versions {
            let path = format!("{device}/running-config.txt");
            fs::write(dir.join(&path), text).unwrap();
            git(dir, &["add", &path]);
            git(dir, &["commit", "-q", "-m", &format!("{device}: running-config changed")]);
        }
    });
    SAMPLE as f64 / took.as_secs_f64()
}

/// The same history with nothing in the messages but a subject, packed by `git gc`: bytes.
fn plain_git(dir: &Path) -> u64 {
    fs::create_dir_all(dir).unwrap();
    git(dir, &["init", "-q", "--bare", "-b", "main"]);
    let mut import = Command::new("git")
        .current_dir(dir)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("this benchmark needs git");
    let mut out = std::io::BufWriter::new(import.stdin.take().unwrap());
    for (i, (device, text)) in Fleet::new().versions(DEVICES * VERSIONS).enumerate() {
        let message = format!("{device}: running-config changed");
        write!(
            out,
            "commit refs/heads/main\ncommitter b <b@b> {} +0000\ndata {}\n{message}\nM 100644 inline {device}/running-config.txt\ndata {}\n{text}\n",
            1_767_225_600 + i,
            message.len(),
            text.len(),
        )
        .unwrap();
    }
    drop(out);
    assert!(import.wait().unwrap().success());
    git(dir, &["gc", "-q"]);
    packed(dir)
}

/// Bytes of packs and loose objects.
fn packed(repo: &Path) -> u64 {
    let text = git(repo, &["count-objects", "-v"]);
    let kib =
        |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map_or(0, |n| n.trim().parse::<u64>().unwrap());
    (kib("size:") + kib("size-pack:")) * 1024
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// Most memory that this process had, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().unwrap_or("0").parse::<u64>().unwrap_or(0) / 1024
}

async fn open(path: &Path) -> GitBackend {
    GitBackend::open(path, GitOptions::default(), Arc::new(SystemClock)).await.unwrap()
}

/// A version that was stored, and what it has to read as.
struct Stored {
    at: StorageRef,
    digest: Digest,
}

/// Stores the first `count` versions; the time is that of storing alone.
async fn store(backend: &GitBackend, count: usize, in_flight: usize) -> (Vec<Stored>, Duration) {
    let mut stored = Vec::with_capacity(count);
    let mut took = Duration::ZERO;
    let mut versions = Fleet::new().versions(count).peekable();
    while versions.peek().is_some() {
        let batch: Vec<_> = versions.by_ref().take(in_flight).map(|(device, text)| entry(&device, &text)).collect();
        let digests: Vec<Digest> = batch.iter().map(|(e, _)| e.manifest.sha256).collect();
        let (refs, step) = timed_async(backend.store(batch)).await;
        took += step;
        stored.extend(refs.into_iter().zip(digests).map(|(at, digest)| Stored { at: at.unwrap(), digest }));
    }
    (stored, took)
}

fn line(what: &str, ours: &str, theirs: &str, ratio: &str, bar: &str) {
    println!("{what:<44} {ours:>14} {theirs:>14} {ratio:>9}   {bar}");
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let base = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let repeats: usize = args.next().map_or(5, |n| n.parse().unwrap());
    let dir = tempfile::tempdir_in(base).unwrap();
    let count = DEVICES * VERSIONS;
    let size = Fleet::new().next(0).len();
    println!("{count} versions of {size} bytes, {DEVICES} devices, median of {repeats}\n");
    line("", "DeviceVault", "git", "ratio", "bar");

    let (mut flushes, mut theirs, mut batched, mut single) = (vec![], vec![], vec![], vec![]);
    let kept = dir.path().join("ours-0.git");
    for i in 0..repeats {
        flushes.push(fsync_probe(dir.path()));
        theirs.push(git_commits(&dir.path().join(format!("theirs-{i}"))));
        let path = dir.path().join(format!("ours-{i}.git"));
        let backend = open(&path).await;
        let (_, took) = store(&backend, count, IN_FLIGHT).await;
        drop(backend);
        batched.push(count as f64 / took.as_secs_f64());
        let alone = dir.path().join(format!("alone-{i}.git"));
        let (_, took) = store(&open(&alone).await, SEQUENTIAL, 1).await;
        single.push(SEQUENTIAL as f64 / took.as_secs_f64());
        for used in [path, alone, dir.path().join(format!("theirs-{i}"))] {
            if used != kept {
                fs::remove_dir_all(used).unwrap();
            }
        }
    }
    let (theirs, batched, single) = (median(theirs), median(batched), median(single));
    let rate = |n: f64| format!("{n:.0}/s");
    line("commits, 64 in flight", &rate(batched), &rate(theirs), &format!("{:.1}", batched / theirs), ">= 10");
    line("commits, one by one", &rate(single), &rate(theirs), &format!("{:.1}", single / theirs), "");
    line("files flushed with their folder", &rate(median(flushes)), "", "", "");

    let collected = dir.path().join("gc.git");
    copy(&kept, &collected);
    let (_, git_took) = timed(|| git(&collected, &["gc", "-q"]));
    let stored_peak = peak();
    let (gc, before) = (packed(&collected), packed(&kept));
    let backend = open(&kept).await;
    let (_, took) = timed_async(backend.maintain(Budget::default())).await;
    let after = packed(&kept);
    let plain = plain_git(&dir.path().join("plain.git"));
    let mib = |n: u64| format!("{:.2} MiB", n as f64 / f64::from(1 << 20));
    line("size before maintain", &mib(before), "", "", "");
    line("size after maintain", &mib(after), &mib(gc), &format!("{:.2}", after as f64 / gc as f64), "<= 1.2");
    line("  beside git with subjects alone", "", &mib(plain), &format!("{:.2}", after as f64 / plain as f64), "");
    let (a, b) = (took.as_secs_f64(), git_took.as_secs_f64());
    line("maintain", &format!("{a:.1} s"), &format!("{b:.1} s"), &format!("{:.2}", a / b), "");
    line("peak memory: storing; maintain", &format!("{stored_peak} MiB"), &format!("{} MiB", peak()), "", "");

    // The history grows as it would: a round of each day.
    let path = dir.path().join("long.git");
    let backend = open(&path).await;
    let (stored, took) = store(&backend, LONG, IN_FLIGHT).await;
    line("40,000 commits, 64 in flight", &rate(LONG as f64 / took.as_secs_f64()), "", "", "");
    reads(&path, backend, &stored, "before maintain").await;
    let backend = open(&path).await;
    let (_, took) = timed_async(backend.maintain(Budget::default())).await;
    line("maintain of 40,000 commits", &format!("{:.1} s", took.as_secs_f64()), "", "", &mib(packed(&path)));
    reads(&path, backend, &stored, "after maintain").await;
    fs::remove_dir_all(path.join("devicevault")).unwrap();
    let backend = open(&path).await;
    let (_, took) = timed_async(list(&backend, "device-7")).await;
    line("first listing with the index lost", &format!("{:.0} ms", millis(took)), "", "", "");
    line("peak memory", &format!("{} MiB", peak()), "", "", "");
}

async fn list(backend: &GitBackend, device: &str) -> usize {
    let mut filter = ListFilter::default();
    filter.device = Some(device.into());
    backend.list(filter).try_collect::<Vec<_>>().await.unwrap().len()
}

async fn reads(path: &Path, backend: GitBackend, stored: &[Stored], when: &str) {
    let mut random = fastrand::Rng::with_seed(2);
    let (mut ours, mut theirs, mut cold) = (vec![], vec![], vec![]);
    for _ in 0..50 {
        let at = random.usize(..stored.len());
        let (got, took) = timed_async(backend.read_all(&stored[at].at, 1 << 20)).await;
        assert_eq!(Digest::of(&got.unwrap()), stored[at].digest);
        ours.push(millis(took));
        let (file, commit) = stored[at].at.as_str().split_once(':').unwrap().1.rsplit_once('@').unwrap();
        let (_, took) = timed(|| git(path, &["show", &format!("{commit}:{file}")]));
        theirs.push(millis(took));
    }
    for _ in 0..5 {
        let at = random.usize(..stored.len());
        let (_, took) = timed_async(async { open(path).await.read_all(&stored[at].at, 1 << 20).await.unwrap() }).await;
        cold.push(millis(took));
    }
    let ms = |n: f64| format!("{n:.1} ms");
    let worst = ours.iter().copied().fold(0.0, f64::max);
    let (a, b) = (median(ours), median(theirs));
    line(&format!("read an old version, {when}"), &ms(a), &ms(b), &format!("{:.2}", a / b), "<= 20 ms");
    line("  the slowest of 50; opened anew", &ms(worst), &ms(median(cold)), "", "");

    let (mut ours, mut theirs) = (vec![], vec![]);
    for i in 0..5 {
        let device = format!("device-{}", 7 + 31 * i);
        let (count, took) = timed_async(list(&backend, &device)).await;
        assert_eq!(count, LONG / DEVICES);
        ours.push(millis(took));
        let file = format!("{device}/running-config.txt");
        let (_, took) = timed(|| git(path, &["log", "--format=%H", "main", "--", &file]));
        theirs.push(millis(took));
    }
    let (a, b) = (median(ours), median(theirs));
    line(&format!("list 200 versions, {when}"), &ms(a), &ms(b), &format!("{:.3}", a / b), "<= 20 ms");
    drop(backend);
    let (_, took) = timed_async(async { list(&open(path).await, "device-7").await }).await;
    line("  with the repository opened anew", &ms(millis(took)), "", "", "");
}
