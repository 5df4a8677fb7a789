//! Processes that are killed at any moment.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use devicevault_core::storage::VerifyDepth;
use devicevault_core::{StorageBackend as _, StorageBackendExt as _, StorageRef};
use devicevault_storage::git::GitOptions;

use super::{assert_sound, config, listed, open, open_with, store};

/// Tells a process of this test program to store, and where.
const CHILD: &str = "DEVICEVAULT_TEST_GIT_CHILD";

/// Stores batches until it is killed or has stored `count`, and writes down each reference once it has it.
pub(super) fn child(repo: &Path, acknowledged: &Path, name: &str, count: usize) -> Child {
    let task = format!("{}|{}|{name}|{count}", repo.display(), acknowledged.display());
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "git::crash::stores_when_another_test_asks", "--nocapture"])
        .env(CHILD, task)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: the child's side. Without a task it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn stores_when_another_test_asks() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let [repo, acknowledged, name, count] = task.split('|').collect::<Vec<_>>()[..] else { panic!("{task}") };
    let backend = open(Path::new(repo)).await;
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(acknowledged).unwrap();
    for i in 0..count.parse::<usize>().unwrap() {
        let batch =
            (0..3).map(|d| config(&format!("{name}-{d}"), format!("version {i} of {d}\n").repeat(50))).collect();
        for verdict in backend.store(batch).await {
            // In one write: killed, it leaves whole lines.
            log.write_all(format!("{}\n", verdict.unwrap()).as_bytes()).unwrap();
        }
    }
}

/// What children wrote down, whole lines only.
pub(super) fn acknowledged(path: &Path) -> Vec<StorageRef> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    whole.lines().map(|l| StorageRef(l.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn killed_at_any_moment_it_opens_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, log): (PathBuf, PathBuf) = (dir.path().join("r.git"), dir.path().join("log"));
    let seed = std::process::id().into();
    eprintln!("seed {seed}");
    let mut random = samples_rng(seed);
    for round in 0..40 {
        let mut child = child(&repo, &log, &format!("r{round}"), usize::MAX);
        // From before the repository is made, and from the first batch that was acknowledged on.
        let done = acknowledged(&log).len();
        while round >= 10 && acknowledged(&log).len() == done {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(random() % 60_000)).await;
        child.kill().unwrap();
        child.wait().unwrap();

        // Children merge packs, and are killed while they do; `git fsck` would stumble over a merge beside it.
        let backend = open_with(&repo, GitOptions::default().with_auto_repack(false)).await;
        let at = store(&backend, "after", format!("round {round}\n")).await;
        assert_eq!(backend.read_all(&at, 100).await.unwrap(), format!("round {round}\n").as_bytes());
        assert_sound(&repo);
    }
    let backend = open(&repo).await;
    let known: BTreeSet<StorageRef> = listed(&backend).await.into_iter().map(|(at, _)| at).collect();
    let acknowledged = acknowledged(&log);
    eprintln!("{} references were acknowledged", acknowledged.len());
    assert!(!acknowledged.is_empty(), "no child lived long enough: nothing was tested");
    for at in &acknowledged {
        assert!(known.contains(at), "{at} is lost");
        assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good());
    }
    // A batch is one step: of three entries, none or all.
    assert_eq!((known.len() - 40) % 3, 0);
}

/// Numbers that look random, the same for the same seed (SplitMix64).
fn samples_rng(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn two_processes_store_into_one_repository() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let logs = [dir.path().join("a"), dir.path().join("b")];
    let mut children = [child(&repo, &logs[0], "a", 50), child(&repo, &logs[1], "b", 50)];
    let backend = open(&repo).await;
    for i in 0..50 {
        store(&backend, "parent", format!("{i}\n")).await;
    }
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let known: BTreeSet<StorageRef> = listed(&backend).await.into_iter().map(|(at, _)| at).collect();
    assert_eq!(known.len(), 2 * 50 * 3 + 50);
    for at in logs.iter().flat_map(|log| acknowledged(log)) {
        assert!(known.contains(&at));
        assert!(backend.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good());
    }
    assert_eq!(super::git(&repo, &["rev-list", "--count", "main"]).trim(), "350");
    drop(backend);
    assert_eq!(listed(&open(&repo).await).await.len(), 350, "the index on disk knows all of them too");
    assert_sound(&repo);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn killed_while_it_is_made_it_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let seed = std::process::id().into();
    eprintln!("seed {seed}");
    let mut random = samples_rng(seed);
    for round in 0..60 {
        let repo = dir.path().join(format!("{round}.git"));
        let mut child = child(&repo, &dir.path().join("log"), "x", usize::MAX);
        // Its first folder is there, and the rest comes within a millisecond or a few.
        while !repo.exists() {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_micros(random() % 4_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let backend = open(&repo).await;
        store(&backend, "after", "x").await;
        drop(backend);
        assert_sound(&repo);
        assert_eq!(super::git(&repo, &["rev-parse", "--is-bare-repository"]).trim(), "true");
    }
}
