//! Sealed plain with a large artefact, beside restic and borg and beside what one core can do.
//!
//! `cargo run --release -p devicevault-benches --bin seal [-- FOLDER [REPEATS]]`
//!
//! 250 MiB that compress (programs of this machine, one behind the other) and 250 MiB that do not (noise) are stored from
//! a file, sealed and flushed, and restored into a file, checked and flushed. Each step is a process of its own, so that
//! its peak of memory is its own; so are the peers', which are run where they are installed, with zstd at level 3 and
//! encryption. The limit is SHA-256, zstd and AES-256-GCM of the same bytes, one after the other on one core.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures, and ends when it cannot")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use devicevault_core::{
    Body, ByteStream, Clock as _, Digest, Entry, KeyProvider, StorageBackendExt as _, SystemClock, Timestamp,
};
use devicevault_core::{StorageBackend as _, StorageRef};
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_storage::seal::keys::Kek;
use devicevault_storage::seal::{Key, Keyring};
use devicevault_testkit::samples;
use futures::StreamExt as _;
use sha2::Digest as _;

const SIZE: u64 = 250 << 20;
const PIECE: u64 = 256 << 10;

/// A file as a body.
#[derive(Debug)]
struct FileBody(Arc<File>);

impl Body for FileBody {
    fn len(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        let range = range.unwrap_or(0..self.len());
        futures::stream::unfold((self.0.clone(), range.start), move |(file, at)| async move {
            if at >= range.end {
                return None;
            }
            let length = PIECE.min(range.end - at);
            let read = {
                let file = file.clone();
                tokio::task::spawn_blocking(move || {
                    let mut buffer = vec![0; usize::try_from(length).unwrap()];
                    file.read_exact_at(&mut buffer, at).unwrap();
                    Bytes::from(buffer)
                })
            };
            Some((Ok(read.await.unwrap()), (file, at + length)))
        })
        .boxed()
    }
}

/// Programs of this machine, in the order of their names.
fn write_programs(path: &Path) {
    let mut out = File::create(path).unwrap();
    let mut left = SIZE;
    for folder in ["/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/sbin"] {
        let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
        files.sort();
        for file in files.iter().filter(|f| f.symlink_metadata().is_ok_and(|m| m.is_file())) {
            let Ok(file) = File::open(file) else { continue };
            left -= std::io::copy(&mut file.take(left), &mut out).unwrap();
            if left == 0 {
                return;
            }
        }
    }
    let mut seed = 0;
    while left > 0 {
        let text = samples::text(seed, usize::try_from(left.min(1 << 20)).unwrap());
        out.write_all(&text).unwrap();
        (left, seed) = (left - text.len() as u64, seed + 1);
    }
}

fn write_noise(path: &Path) {
    let mut out = File::create(path).unwrap();
    (0..SIZE >> 20).for_each(|i| out.write_all(&samples::noise(i, 1 << 20)).unwrap());
}

fn sha256(path: &Path) -> Digest {
    let mut hash = sha2::Sha256::new();
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return Digest(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = SystemClock.monotonic();
    let value = work();
    (value, SystemClock.monotonic() - begun)
}

fn backend_options() -> PlainOptions {
    let kek: Arc<dyn KeyProvider> = Arc::new(Kek::raw(Key::new([7; 32])));
    let ring = Keyring::new(vec![kek.clone()]);
    futures::executor::block_on(ring.create_epoch(&[kek], Timestamp::UNIX_EPOCH)).unwrap();
    PlainOptions::default().with_sealing(ring)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// What the child prints: seconds, peak of memory in KiB, and where the backup is.
fn tell(took: Duration, at: &str) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().split(' ').next().unwrap();
    println!("{} {peak} {at}", took.as_secs_f64());
}

fn store(store: &Path, input: &Path, hash: &str) {
    let body = FileBody(Arc::new(File::open(input).unwrap()));
    let mut manifest = samples::manifest(&samples::device("sw1"), "full-state", b"");
    (manifest.size, manifest.sha256) = (body.len(), hash.parse().unwrap());
    let entry = Entry::new(manifest);
    runtime().block_on(async {
        let folder = LocalStore::init(store, &"main".into()).await.unwrap();
        let backend = PlainBackend::in_folder(folder, backend_options());
        let begun = SystemClock.monotonic();
        let at = backend.store_one(entry, Arc::new(body)).await.unwrap();
        tell(SystemClock.monotonic() - begun, at.as_str());
    });
}

fn restore(store: &Path, at: &str, output: &Path) {
    runtime().block_on(async {
        let folder = LocalStore::open(store, &"main".into()).await.unwrap();
        let kek: Arc<dyn KeyProvider> = Arc::new(Kek::raw(Key::new([7; 32])));
        let backend = PlainBackend::in_folder(folder, PlainOptions::default().with_keyring(Keyring::new(vec![kek])));
        let begun = SystemClock.monotonic();
        let mut stream = backend.read(&StorageRef(at.to_owned()), None).await.unwrap();
        let (pieces, written) = tokio::sync::mpsc::channel::<Bytes>(8);
        let output = output.to_owned();
        let writer = tokio::task::spawn_blocking(move || {
            let (mut out, mut written) = (File::create(&output).unwrap(), written);
            while let Some(piece) = written.blocking_recv() {
                out.write_all(&piece).unwrap();
            }
            out.sync_all().unwrap();
        });
        while let Some(chunk) = stream.next().await {
            pieces.send(chunk.unwrap()).await.unwrap();
        }
        drop(pieces);
        writer.await.unwrap();
        tell(SystemClock.monotonic() - begun, "");
    });
}

/// What a child of ours printed.
fn child(args: &[&str]) -> (f64, f64, String) {
    let out = Command::new(std::env::current_exe().unwrap()).args(args).stderr(Stdio::inherit()).output().unwrap();
    assert!(out.status.success(), "{args:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    let mut words = text.split_whitespace();
    let seconds = words.next().unwrap().parse().unwrap();
    let peak: f64 = words.next().unwrap().parse().unwrap();
    (seconds, peak / 1024.0, words.next().unwrap_or_default().to_owned())
}

/// Runs a peer, and looks at its peak of memory until it ends.
fn peer(program: &str, args: &[&str], folder: &Path) -> (f64, f64) {
    let (peak, took) = timed(|| {
        let mut running = Command::new(program)
            .args(args)
            .current_dir(folder)
            .env("HOME", folder)
            .env("RESTIC_PASSWORD", "bench")
            .env("BORG_PASSPHRASE", "bench")
            .env("BORG_BASE_DIR", folder)
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut peak = 0.0_f64;
        loop {
            let status = fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap_or_default();
            let now = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.trim().split(' ').next());
            peak = peak.max(now.and_then(|n| n.parse::<f64>().ok()).unwrap_or_default() / 1024.0);
            if let Some(status) = running.try_wait().unwrap() {
                assert!(status.success(), "{program} {args:?}");
                return peak;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    (took.as_secs_f64(), peak)
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        || Command::new(program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What one core needs for the bytes alone: hash, compression (where it pays), encryption; and for the way back.
fn limits(input: &Path, compressible: bool) -> (f64, f64) {
    let bytes = fs::read(input).unwrap();
    let (_, hash) = timed(|| Digest::of(&bytes));
    let (packed, pack) = timed(|| {
        let mut packer = zstd::bulk::Compressor::new(3).unwrap();
        let blocks = bytes.chunks(1 << 20).take(if compressible { usize::MAX } else { 0 });
        blocks.map(|b| packer.compress(b).unwrap()).collect::<Vec<_>>()
    });
    let sealed: usize = if compressible { packed.iter().map(Vec::len).sum() } else { bytes.len() };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
    let mut segment = vec![0; (64 << 10) + 16];
    let (_, seal) = timed(|| {
        for i in 0..sealed.div_ceil(64 << 10) {
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&(i as u64).to_be_bytes());
            let nonce = Nonce::assume_unique_for_key(nonce);
            // The tag is computed, and not looked at.
            let _ = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut segment).unwrap();
        }
    });
    let (_, unpack) = timed(|| packed.iter().map(|p| zstd::bulk::decompress(p, 1 << 20).unwrap().len()).sum::<usize>());
    // The stored bytes are hashed too.
    let stored = hash.mul_f64(sealed as f64 / bytes.len() as f64);
    ((hash + pack + seal + stored).as_secs_f64(), (hash + unpack + seal).as_secs_f64())
}

fn median(mut values: Vec<(f64, f64)>) -> (f64, f64) {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let peak = values.iter().map(|v| v.1).fold(0.0, f64::max);
    (values[values.len() / 2].0, peak)
}

/// Seconds to write and flush as many bytes as they are.
fn disk_probe(folder: &Path, input: &Path) -> f64 {
    let path = folder.join("probe");
    let bytes = fs::read(input).unwrap();
    let (_, took) = timed(|| {
        let mut out = File::create(&path).unwrap();
        out.write_all(&bytes).unwrap();
        out.sync_all().unwrap();
    });
    fs::remove_file(path).unwrap();
    took.as_secs_f64()
}

fn size_of(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| if p.is_dir() { size_of(&p) } else { p.symlink_metadata().unwrap().len() })
        .sum()
}

fn line(what: &str, (seconds, peak): (f64, f64), stored: Option<u64>, ours: f64) {
    let rate = SIZE as f64 / 1e6 / seconds;
    let peak = if peak > 0.0 { format!("{peak:.0} MiB") } else { String::new() };
    let ratio = stored.map(|s| format!("{:.2}", SIZE as f64 / s as f64)).unwrap_or_default();
    println!(
        "  {what:<26} {seconds:>6.2} s {rate:>6.0} MB/s {peak:>8} {ratio:>5}   ours / this: {:.2}",
        ours / seconds
    );
}

/// Seconds and peak of memory, of each run.
type Measured = Vec<(f64, f64)>;

fn compare(root: &Path, input: &Path, repeats: usize, compressible: bool) {
    let name = input.file_name().unwrap().to_str().unwrap();
    println!("250 MiB, {name} (seconds, rate, peak of memory, compression)");
    let hash = sha256(input).to_string();
    let (store_limit, restore_limit) = limits(input, compressible);
    let (restored, path) = (root.join("restored"), input.to_str().unwrap());
    let (mut stores, mut restores, mut probes) = (Vec::new(), Vec::new(), Vec::new());
    let mut size = 0;
    let mut peers: Vec<(&str, Measured, Measured, u64)> = vec![];
    for program in ["restic", "borg"].into_iter().filter(|p| is_installed(p)) {
        peers.push((program, Vec::new(), Vec::new(), 0));
    }
    for _ in 0..repeats {
        let folder = tempfile::tempdir_in(root).unwrap();
        let place = folder.path().join("store");
        let (seconds, peak, at) = child(&["store", place.to_str().unwrap(), path, &hash]);
        stores.push((seconds, peak));
        size = size_of(&place);
        let (seconds, peak, _) = child(&["restore", place.to_str().unwrap(), &at, restored.to_str().unwrap()]);
        restores.push((seconds, peak));
        assert_eq!(sha256(&restored).to_string(), hash);
        probes.push((disk_probe(folder.path(), input), 0.0));
        for (program, stored, back, size) in &mut peers {
            let folder = tempfile::tempdir_in(root).unwrap();
            let at = folder.path();
            let out = tempfile::tempdir_in(root).unwrap();
            if *program == "restic" {
                peer("restic", &["init", "-r", "repo"], at);
                stored.push(peer("restic", &["backup", "-r", "repo", path], at));
                *size = size_of(&at.join("repo"));
                back.push(peer("restic", &["restore", "latest", "-r", "repo", "-t", out.path().to_str().unwrap()], at));
            } else {
                peer("borg", &["init", "-e", "repokey-blake2", "repo"], at);
                stored.push(peer("borg", &["create", "-C", "zstd,3", "repo::one", path], at));
                *size = size_of(&at.join("repo"));
                let repo = at.join("repo").display().to_string() + "::one";
                back.push(peer("borg", &["extract", &repo], out.path()));
            }
        }
    }
    let (store, restore) = (median(stores), median(restores));
    println!(" store");
    line("DeviceVault, sealed plain", store, Some(size), store.0);
    line("limit of one core", (store_limit, 0.0), None, store.0);
    line("write and flush as it is", median(probes), None, store.0);
    for (program, stored, _, size) in &peers {
        line(program, median(stored.clone()), Some(*size), store.0);
    }
    println!(" restore, verified");
    line("DeviceVault, flushed", restore, None, restore.0);
    line("limit of one core", (restore_limit, 0.0), None, restore.0);
    for (program, _, back, _) in &peers {
        line(program, median(back.clone()), None, restore.0);
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["store", place, input, hash] => return store(Path::new(place), Path::new(input), hash),
        ["restore", place, at, output] => return restore(Path::new(place), at, Path::new(output)),
        _ => {}
    }
    let here = args.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let repeats = args.get(1).map_or(5, |n| n.parse().unwrap());
    let root = tempfile::tempdir_in(here).unwrap();
    let (programs, noise) = (root.path().join("programs"), root.path().join("noise"));
    write_programs(&programs);
    write_noise(&noise);
    compare(root.path(), &programs, repeats, true);
    compare(root.path(), &noise, repeats, false);
}
