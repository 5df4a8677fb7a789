//! Processes that are killed, and several at once.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::storage::VerifyDepth;
use devicevault_core::{Body, Entry, RunId, StorageBackend as _, StorageBackendExt as _, StorageRef};
use devicevault_testkit::samples;

use super::{SEALED, Way, ZSTD, at, config, files, listed, options};

const ROLE: &str = "DEVICEVAULT_TEST_CHILD";
const FOLDER: &str = "DEVICEVAULT_TEST_FOLDER";

/// This very program, as a process of its own that plays a part.
pub(crate) fn child(program: &Path, role: &str, folder: &Path, way: Way, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "plain::crash::as_a_child", "--nocapture", "--test-threads=1"]);
    let way = if way == SEALED { "sealed" } else { "clear" };
    command.env(ROLE, [&[role, way], args].concat().join(" ")).env(FOLDER, folder).stdin(Stdio::null());
    command
}

fn this_program() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

/// What a child does; started without a part to play, there is nothing to do.
#[test]
fn as_a_child() {
    let (Ok(role), Ok(folder)) = (std::env::var(ROLE), std::env::var(FOLDER)) else { return };
    let folder = Path::new(&folder);
    let mut words = role.split(' ');
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let role = words.next().unwrap();
    let way = if words.next() == Some("sealed") { SEALED } else { ZSTD };
    match role {
        "refused" => runtime.block_on(refused(folder)),
        "for-ever" => runtime.block_on(store_for_ever(folder, way, words.next().unwrap().parse().unwrap())),
        "same" => runtime.block_on(store_same(folder, way)),
        "large" => runtime.block_on(super::measure::store_large(folder, way)),
        #[cfg(feature = "cloud")]
        "large-at" => {
            let (scheme, endpoint) = (words.next().unwrap(), words.next().unwrap());
            runtime.block_on(crate::objects::large::store_large(scheme, endpoint, way));
        }
        other => panic!("no such part: {other}"),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

async fn refused(folder: &Path) {
    use devicevault_storage::local::LocalStore;
    let store = LocalStore::open(folder, &"main".into()).await.unwrap();
    let backend = devicevault_storage::plain::PlainBackend::in_folder(store, options(ZSTD));
    let (entry, body) = config("sw1", &b"abc"[..]);
    let e = backend.store_one(entry, body).await.unwrap_err();
    say(&format!("refused: {}", e.kind()));
    assert!(e.hint_text().is_some(), "{e:?}");
    assert!(!backend.check().await.unwrap().is_good());
}

async fn store_for_ever(folder: &Path, way: Way, seed: u64) {
    let backend = at(folder, options(way)).await;
    say("ready");
    for round in 0.. {
        let seed = seed * 1000 + round;
        let mut batch: Vec<_> = (0..5).map(|i| config(&format!("sw{i}"), samples::text(seed + i, 20_000))).collect();
        batch.push(config("large", samples::noise(seed, 300_000)));
        for verdict in backend.store(batch).await {
            say(&format!("stored {}", verdict.unwrap()));
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_confirmed() {
    for way in [ZSTD, SEALED] {
        kill_often(way);
    }
}

fn kill_often(way: Way) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let seed = fastrand::u64(..1 << 32);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut confirmed = BTreeSet::new();
    for kill in 0..25 {
        let mut process = child(&this_program(), "for-ever", folder.path(), way, &[&kill.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        lines.find(|l| l.ends_with("ready")).unwrap();
        let mut told = 0;
        let before = random.usize(0..12);
        let mut confirm = |line: String| confirmed.insert(StorageRef(line.strip_prefix("stored ").unwrap().to_owned()));
        while told < before {
            confirm(lines.next().unwrap());
            told += 1;
        }
        std::thread::sleep(Duration::from_micros(random.u64(0..30_000)));
        process.kill().unwrap();
        process.wait().unwrap();
        // The last line may have been cut by the kill.
        lines.filter(|l| l.ends_with(way.suffix())).for_each(|l| {
            confirm(l);
        });

        runtime.block_on(async {
            let backend = at(folder.path(), options(way)).await;
            let found = listed(&backend).await;
            for at in &confirmed {
                assert!(found.contains_key(at), "kill {kill} of seed {seed}: {at} is gone");
            }
            for at in found.keys() {
                let verdict = backend.verify(at, None, VerifyDepth::Content).await.unwrap();
                assert!(verdict.is_good(), "kill {kill} of seed {seed}: {at} is {verdict:?}");
            }
            let (entry, body) = config("after", &b"the next run succeeds"[..]);
            backend.store_one(entry, body).await.unwrap();
        });
        // The next one tidied up behind it, and itself.
        assert_eq!(std::fs::read_dir(folder.path().join(".tmp")).unwrap().count(), 0);
    }
    eprintln!("{} backups were confirmed", confirmed.len());
}

fn the_same() -> Vec<(Entry, Arc<dyn Body>)> {
    let same = |i: u64| {
        let content: Bytes = samples::text(i, if i.is_multiple_of(5) { 200_000 } else { 3000 });
        let (mut entry, body) = config(&format!("sw{i}"), content);
        entry.manifest.run = RunId(uuid::Uuid::from_u128(u128::from(i)));
        (entry, body)
    };
    (0..40).map(same).collect()
}

async fn store_same(folder: &Path, way: Way) {
    let backend = at(folder, options(way)).await;
    for part in the_same().chunks(7) {
        for verdict in backend.store(part.to_vec()).await {
            let at = verdict.unwrap();
            assert!(backend.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good());
        }
    }
}

#[test]
fn processes_that_store_the_same_make_one_copy() {
    for way in [ZSTD, SEALED] {
        store_the_same(way);
    }
}

fn store_the_same(way: Way) {
    let folder = tempfile::tempdir().unwrap();
    let start = |_| child(&this_program(), "same", folder.path(), way, &[]).stdout(Stdio::null()).spawn().unwrap();
    let running: Vec<_> = (0..4).map(start).collect();
    for mut process in running {
        assert!(process.wait().unwrap().success());
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let backend = at(folder.path(), options(way)).await;
        let found = listed(&backend).await;
        assert_eq!(found.len(), 40);
        for at in found.keys() {
            assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good());
        }
    });
    assert_eq!(files(folder.path()).len(), 80, "nothing lies beside");
}
