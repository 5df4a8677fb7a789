//! Figures: time of a durable batch beside a probe of the disk, memory of a large body.

use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::{
    Body, ByteStream, Clock as _, Digest, StorageBackend as _, StorageBackendExt as _, SystemClock,
};
use devicevault_storage::plain::PlainBackend;
use devicevault_testkit::samples;
use futures::StreamExt as _;
use sha2::Digest as _;

use super::crash::child;
use super::{ALL, SEALED, Way, ZSTD, at, config, options};

const ENTRIES: u64 = 200;

/// What the disk takes for as many files, written and flushed one after the other, folder included.
fn probe(folder: &Path) -> Duration {
    let start = SystemClock.monotonic();
    for i in 0..ENTRIES {
        let mut file = File::create(folder.join(i.to_string())).unwrap();
        file.write_all(&[7; 4000]).unwrap();
        file.sync_all().unwrap();
        File::open(folder).unwrap().sync_all().unwrap();
    }
    SystemClock.monotonic() - start
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_batch_beside_a_probe_of_the_disk() {
    let probed = tempfile::tempdir().unwrap();
    let probe = probe(probed.path());
    for way in ALL {
        let folder = tempfile::tempdir().unwrap();
        let backend = at(folder.path(), options(way)).await;
        for (what, round) in [("first round", 0), ("second round", 1)] {
            let batch =
                (0..ENTRIES).map(|i| config(&format!("sw{i}"), samples::text(i + 1000 * round, 20_000))).collect();
            let start = SystemClock.monotonic();
            let verdicts = backend.store(batch).await;
            let took = SystemClock.monotonic() - start;
            assert!(verdicts.iter().all(Result::is_ok));
            eprintln!(
                "{ENTRIES} x 20 KB, {way:?}, {what}: {:.0} ms; probe of {ENTRIES} flushed files: {:.0} ms",
                took.as_secs_f64() * 1e3,
                probe.as_secs_f64() * 1e3
            );
            // Two files each, and up to two folders: one by one that is two to three times the probe.
            assert!(took < probe * 6 + Duration::from_secs(2), "{took:?} for a batch, {probe:?} for the probe");
        }
    }
}

/// 250 MB that are made as they are read: a third of it random.
#[derive(Debug)]
struct Made;

pub(crate) const LARGE: u64 = 250 * 1000 * 1000;
const BLOCK: u64 = 100_000;

fn block(i: u64) -> Bytes {
    if i.is_multiple_of(3) { samples::noise(i, BLOCK as usize) } else { samples::text(i, BLOCK as usize) }
}

impl Body for Made {
    fn len(&self) -> u64 {
        LARGE
    }

    fn read(&self, _range: Option<Range<u64>>) -> ByteStream<'static> {
        futures::stream::iter((0..LARGE / BLOCK).map(|i| Ok(block(i)))).boxed()
    }
}

/// The part that the child plays: so that its peak of memory is its own.
pub(super) async fn store_large(folder: &Path, way: Way) {
    let backend = at(folder, options(way)).await;
    round_trip(&backend, "250 MB", way).await;
}

/// Stores 250 MB and reads them back, in at most 56 MiB of memory of its own.
pub(crate) async fn round_trip(backend: &PlainBackend, what: &str, way: Way) {
    let mut hash = sha2::Sha256::new();
    (0..LARGE / BLOCK).for_each(|i| hash.update(block(i)));
    let (mut entry, _) = config("large", Bytes::new());
    entry.manifest.size = LARGE;
    entry.manifest.sha256 = Digest(hash.finalize().into());
    let start = SystemClock.monotonic();
    let at = backend.store_one(entry, std::sync::Arc::new(Made)).await.unwrap();
    let stored = SystemClock.monotonic();
    let mut stream = backend.read(&at, None).await.unwrap();
    while let Some(chunk) = stream.next().await {
        chunk.unwrap();
    }
    let read = SystemClock.monotonic();
    // The pages of the program's file come and go as the system likes, and are tens of mebibytes of a program for tests.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let (whole, file) = (kib("VmHWM:"), kib("RssFile:"));
    let own = whole.saturating_sub(file);
    eprintln!(
        "{what}, {way:?}: stored in {:.1} s, read and checked in {:.1} s, peak memory {own} KiB and {file} KiB of its file",
        (stored - start).as_secs_f64(),
        (read - stored).as_secs_f64()
    );
    assert!(own < 56 * 1024, "{own} KiB");
}

#[test]
fn a_large_body_takes_tens_of_mebibytes() {
    for way in [ZSTD, SEALED] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = child(&std::env::current_exe().unwrap(), "large", folder.path(), way, &[]);
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
    }
}
