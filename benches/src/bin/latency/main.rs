//! Stores at the end of a long line: 50 ms for each answer.
//!
//! `cargo run --release -p devicevault-benches --bin latency [-- REPEATS]`
//!
//! What the store does beside a client that asks for one thing after the other, over the same line in the same run: a relay
//! that holds back every byte for 25 ms, each way. S3 is spoken to the test kit's own server; SFTP to OpenSSH's `sshd`,
//! where it is installed. Backups are sealed, and their bytes do not compress.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures, and ends when it cannot")]

mod s3;
mod sftp;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_benches::median;
use devicevault_core::{Body, Clock as _, Digest, Entry, KeyProvider, StorageBackend as _, SystemClock, Timestamp};
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_storage::seal::keys::Kek;
use devicevault_storage::seal::{Key, Keyring};
use devicevault_testkit::samples;
use futures::StreamExt as _;

/// Half a round trip.
const ONE_WAY: Duration = Duration::from_millis(25);
/// A large backup.
const LARGE: usize = 64 << 20;
/// Small backups in a batch, and their size.
const SMALL: usize = 64;
const SMALL_BYTES: usize = 20_000;
/// Small backups that are stored one after the other: enough to tell how long one takes.
const ONE_BY_ONE: usize = 8;

/// One thing that is measured, with what a client reaches that asks for one thing after the other.
struct Figure {
    what: &'static str,
    unit: &'static str,
    ours: f64,
    one_by_one: f64,
    /// So many times as much is what we hold ourselves to.
    bar: f64,
}

fn main() {
    let repeats = std::env::args().nth(1).map_or(3, |n| n.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut all: Vec<(&str, Vec<Vec<Figure>>)> = vec![("S3", Vec::new()), ("SFTP", Vec::new())];
    for round in 0..repeats {
        all[0].1.push(runtime.block_on(s3::measure(round)));
        all[1].1.extend(runtime.block_on(sftp::measure(round)));
    }
    println!("a round trip of {} ms; the median of {repeats}", 2 * ONE_WAY.as_millis());
    for (store, rounds) in &all {
        if rounds.is_empty() {
            println!("{store}: left out, sshd is not installed");
            continue;
        }
        for (n, figure) in rounds[0].iter().enumerate() {
            let of = |value: fn(&Figure) -> f64| median(rounds.iter().map(|r| value(&r[n])).collect());
            let (ours, one, ratio) = (of(|f| f.ours), of(|f| f.one_by_one), of(|f| f.ours / f.one_by_one));
            let (what, unit, bar) = (figure.what, figure.unit, figure.bar);
            let verdict = if ratio >= bar { "" } else { "  BELOW" };
            println!(
                "{store:4} {what:26} {ours:7.1} {unit:9} one after the other {one:6.2}   {ratio:5.1} times (bar {bar:.0}){verdict}"
            );
        }
    }
}

fn options() -> PlainOptions {
    let kek: Arc<dyn KeyProvider> = Arc::new(Kek::raw(Key::new([7; 32])));
    let ring = Keyring::new(vec![kek.clone()]);
    futures::executor::block_on(ring.create_epoch(&[kek], Timestamp::UNIX_EPOCH)).unwrap();
    PlainOptions::default().with_sealing(ring)
}

fn seconds(since: Duration) -> f64 {
    (SystemClock.monotonic() - since).as_secs_f64()
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

fn large(round: u64) -> (Entry, Bytes) {
    let content: Bytes = (0..LARGE >> 20).flat_map(|i| samples::noise((round << 20) | i as u64, 1 << 20)).collect();
    let mut manifest = samples::manifest(&samples::device(&format!("large-{round}")), "image", b"");
    (manifest.size, manifest.sha256) = (LARGE as u64, Digest::of(&content));
    (Entry::new(manifest), content)
}

fn batch(round: u64, count: usize, name: &str) -> Vec<(Entry, Arc<dyn Body>)> {
    let one = |i| samples::entry(&format!("{name}-{round}-{i}"), samples::noise(round * 1000 + i as u64, SMALL_BYTES));
    (0..count).map(one).collect()
}

/// Small backups, as the engine hands them over and one after the other.
async fn small_backups(backend: &PlainBackend, round: u64, bar: f64) -> Figure {
    let alone = batch(round, ONE_BY_ONE, "alone");
    let begun = SystemClock.monotonic();
    for one in alone {
        assert!(backend.store(vec![one]).await[0].is_ok());
    }
    let one_by_one = ONE_BY_ONE as f64 / seconds(begun);
    let together = batch(round, SMALL, "together");
    let begun = SystemClock.monotonic();
    assert!(backend.store(together).await.iter().all(Result::is_ok));
    let ours = SMALL as f64 / seconds(begun);
    Figure { what: "64 backups of 20 KB", unit: "backups/s", ours, one_by_one, bar }
}

/// A large backup there and back: MB/s of each.
async fn large_backup(backend: &PlainBackend, round: u64) -> (f64, f64) {
    let (entry, content) = large(round);
    let begun = SystemClock.monotonic();
    let at = backend.store(vec![(entry, Arc::new(content))]).await.remove(0).unwrap();
    let stored = megabytes(LARGE) / seconds(begun);
    let begun = SystemClock.monotonic();
    let mut stream = backend.read(&at, None).await.unwrap();
    let mut length = 0;
    while let Some(chunk) = stream.next().await {
        length += chunk.unwrap().len();
    }
    assert_eq!(length, LARGE);
    (stored, megabytes(LARGE) / seconds(begun))
}
