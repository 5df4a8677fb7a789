//! What large objects and long lines cost.

use std::ops::Range;
use std::path::Path as FolderPath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::{
    Body, ByteStream, Clock as _, Digest, StorageBackend as _, StorageBackendExt as _, SystemClock,
};
use devicevault_storage::plain::PlainBackend;
use devicevault_testkit::samples;
use futures::StreamExt as _;
use sha2::Digest as _;

use super::{Peer, staged_files};
use crate::plain::{SEALED, config, options};

/// 250 MB that are made as they are read: a third of it random.
#[derive(Debug)]
struct Made;

const LARGE: u64 = 250 * 1000 * 1000;
const BLOCK: u64 = 100_000;

/// So much more memory than before, in KiB, is a few parts on their way and a window of the line.
const MOST: u64 = 96 << 10;

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

/// The peak of this process's memory, in KiB. Each test has a process of its own.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().split(' ').next().unwrap().parse().unwrap()
}

pub(super) async fn a_large_body_goes_there_and_back<P: Peer>(peer: &P, folder: &FolderPath) {
    let mut hash = sha2::Sha256::new();
    (0..LARGE / BLOCK).for_each(|i| hash.update(block(i)));
    let (mut entry, _) = config("large", Bytes::new());
    entry.manifest.size = LARGE;
    entry.manifest.sha256 = Digest(hash.finalize().into());
    let backend = PlainBackend::kept(Arc::new(peer.init(folder).await), options(SEALED));
    backend.publish_keys().await.unwrap();
    let (before, start) = (peak(), SystemClock.monotonic());
    let at = backend.store_one(entry, Arc::new(Made)).await.unwrap();
    let stored = SystemClock.monotonic();
    let mut stream = backend.read(&at, None).await.unwrap();
    let mut length = 0;
    while let Some(chunk) = stream.next().await {
        length += chunk.unwrap().len() as u64;
    }
    let (after, read) = (peak(), SystemClock.monotonic());
    eprintln!(
        "250 MB: stored in {:.1} s, read and checked in {:.1} s, peak of memory {} MiB before, {} MiB after",
        (stored - start).as_secs_f64(),
        (read - stored).as_secs_f64(),
        before >> 10,
        after >> 10
    );
    assert_eq!(length, LARGE);
    assert!(after - before < MOST, "{before} KiB before, {after} KiB after");
    assert_eq!(staged_files(folder), 0);
}

/// Not a bar but a look: a round trip of 50 ms, and what is in flight beside what is asked one thing after the other.
#[cfg(feature = "sftp")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs sshd and ssh-keygen"]
async fn a_long_line_costs_little() {
    use devicevault_ssh::{CreateOptions, HostKeysInMemory, ReadOptions, connect};
    use devicevault_storage::sftp::{SftpServer, SftpStore};
    use devicevault_testkit::relay::Relay;
    use object_store::ObjectStoreExt as _;
    use object_store::path::Path;

    const SIZE: usize = 32 << 20;
    const PIECE: usize = 32 << 10;
    let (server, folder) = (super::sshd::Sshd::start(), tempfile::tempdir().unwrap());
    drop(server.init(folder.path()).await);
    let relay = Relay::to(server.addr()).with_delay(Duration::from_millis(25)).start().await.unwrap();
    let at = folder.path().to_str().unwrap();
    let options = server.options(at, relay.addr());
    let store = SftpStore::open(SftpServer::new(options.clone()), &super::main(), Arc::new(SystemClock)).await.unwrap();
    let content = samples::noise(1, SIZE);
    let timed = |since: Duration| (SystemClock.monotonic() - since).as_secs_f64();
    let rate = |bytes: usize, seconds: f64| bytes as f64 / 1e6 / seconds;

    let start = SystemClock.monotonic();
    let mut upload = store.put_multipart(&Path::from("large")).await.unwrap();
    for part in content.chunks(8 << 20) {
        upload.put_part(content.slice_ref(part).into()).await.unwrap();
    }
    upload.complete().await.unwrap();
    let written = rate(SIZE, timed(start));
    let start = SystemClock.monotonic();
    let got = store.get(&Path::from("large")).await.unwrap().bytes().await.unwrap();
    let read = rate(SIZE, timed(start));
    assert!(got == content);

    // One request after the other, as simple clients do.
    let connection =
        connect(&options.endpoint, &options.credentials, &options.ssh, Arc::new(HostKeysInMemory::default())).await;
    let connection = connection.unwrap();
    let sftp = connection.sftp().await.unwrap();
    let few = 40 * PIECE;
    let start = SystemClock.monotonic();
    for piece in content[..few].chunks(PIECE) {
        let path = format!("{at}/piece");
        let mut file = sftp.create(&path, CreateOptions::default()).await.unwrap();
        file.write(content.slice_ref(piece)).await.unwrap();
        file.close().await.unwrap();
    }
    // Opening and closing are two of its three round trips.
    let one_by_one = rate(few, timed(start) / 3.0);
    let start = SystemClock.monotonic();
    for i in 0..40_u64 {
        let range = i * PIECE as u64..(i + 1) * PIECE as u64;
        let options = ReadOptions::default().with_range(range).with_in_flight(1);
        let mut file = sftp.read(format!("{at}/large"), options).await.unwrap();
        while file.next().await.unwrap().is_some() {}
    }
    // Looking, opening and closing are three of its four.
    let read_one_by_one = rate(few, timed(start) / 4.0);
    eprintln!(
        "round trip of 50 ms: written at {written:.0} MB/s, {:.0} times one request after the other ({one_by_one:.2} \
         MB/s); read at {read:.0} MB/s, {:.0} times ({read_one_by_one:.2} MB/s)",
        written / one_by_one,
        read / read_one_by_one
    );
    let start = SystemClock.monotonic();
    let backend = PlainBackend::kept(Arc::new(store), crate::plain::options(crate::plain::ZSTD));
    let batch = (0..64).map(|i| config(&format!("sw{i}"), samples::text(i, 20_000))).collect();
    assert!(backend.store(batch).await.into_iter().all(|v| v.is_ok()));
    eprintln!("64 backups of 20 KB in one batch: {:.1} s", timed(start));
}
