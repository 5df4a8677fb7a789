//! Merging packs, with readers beside it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use devicevault_core::storage::{Budget, VerifyDepth};
use devicevault_core::{StorageBackend as _, StorageBackendExt as _, StorageRef};
use devicevault_storage::git::GitOptions;
use devicevault_testkit::samples;

use super::{assert_sound, git, listed, open, open_with, store};

fn count(repo: &Path) -> usize {
    let dir = std::fs::read_dir(repo.join("objects/pack")).unwrap();
    dir.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "pack")).count()
}

fn text(device: u64, version: u64) -> String {
    let base = String::from_utf8(samples::text(device, 4000).to_vec()).unwrap();
    base.replacen('!', &format!("! changed {version}"), 1 + (version % 7) as usize)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn maintenance_leaves_one_pack_and_disturbs_no_reader() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = Arc::new(open_with(&repo, GitOptions::default().with_auto_repack(false)).await);
    let mut refs: Vec<(StorageRef, String)> = Vec::new();
    for version in 0..20 {
        for device in 0..4 {
            let content = text(device, version);
            refs.push((store(&backend, &format!("sw{device}"), content.clone()).await, content));
        }
    }
    // What another program left loose goes into the pack too.
    let loose = git(&repo, &["commit-tree", "main^{tree}", "-p", "main", "-m", "a person's"]);
    git(&repo, &["update-ref", "refs/heads/main", loose.trim()]);
    assert_eq!(count(&repo), 80);

    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|n| {
            // One that has the old packs open, and others that open them anew.
            let (backend, refs, stop, repo) = (backend.clone(), refs.clone(), stop.clone(), repo.clone());
            tokio::spawn(async move {
                let mut reads = 0_usize;
                while !stop.load(Ordering::Relaxed) {
                    let (at, content) = &refs[(reads * 7 + n) % refs.len()];
                    let got = if n == 0 {
                        backend.read_all(at, 1 << 20).await
                    } else {
                        open(&repo).await.read_all(at, 1 << 20).await
                    };
                    assert_eq!(got.unwrap(), content.as_bytes());
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let report = backend.maintain(Budget::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    assert_eq!(count(&repo), 1, "{report:?}");
    assert!(report.bytes_freed > 0 && !report.done.is_empty());
    assert!(git(&repo, &["count-objects", "-v"]).contains("count: 0\n"));
    for (at, content) in &refs {
        assert_eq!(backend.read_all(at, 1 << 20).await.unwrap(), content.as_bytes());
        assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good());
    }
    assert_sound(&repo);
    assert!(backend.maintain(Budget::default()).await.unwrap().done.is_empty(), "nothing is left to do");
    store(&backend, "sw0", "after\n").await;
    assert_eq!(listed(&backend).await.len(), 81);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn many_small_packs_are_merged_by_and_by() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    let mut refs = Vec::new();
    for version in 0..100 {
        refs.push(store(&backend, "sw0", text(0, version)).await);
    }
    // What goes on in the background ends with the backend.
    drop(backend);
    let backend = open(&repo).await;
    store(&backend, "sw0", "more\n").await;
    let mut last = count(&repo);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = count(&repo);
        if now == last {
            break;
        }
        last = now;
    }
    assert!(last < 50, "{last} packs");
    for (version, at) in refs.iter().enumerate() {
        assert_eq!(backend.read_all(at, 1 << 20).await.unwrap(), text(0, version as u64).as_bytes());
    }
    assert_sound(&repo);
}

#[tokio::test]
#[ignore = "needs git"]
async fn what_nothing_leads_to_is_kept_for_two_weeks() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open_with(&repo, GitOptions::default().with_auto_repack(false)).await;
    store(&backend, "sw0", "kept\n").await;
    let base = git(&repo, &["rev-parse", "main"]).trim().to_owned();
    store(&backend, "sw0", "cut off\n").await;
    let cut = git(&repo, &["rev-parse", "main"]).trim().to_owned();
    git(&repo, &["update-ref", "refs/heads/main", &base]);
    backend.maintain(Budget::default()).await.unwrap();
    assert_eq!(git(&repo, &["cat-file", "-t", &cut]).trim(), "commit", "somebody may be about to name it");

    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for entry in std::fs::read_dir(repo.join("objects/pack")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
    store(&backend, "sw0", "next\n").await;
    // The same content as what was cut off brought: needed, though a dead commit brought it first.
    let again = store(&backend, "sw0", "cut off\n").await;
    let report = backend.maintain(Budget::default()).await.unwrap();
    assert!(report.done.iter().any(|l| l.contains("nothing leads to")), "{report:?}");
    assert!(!super::try_git(&repo, &["cat-file", "-e", &cut]).0);
    assert_eq!(backend.read_all(&again, 100).await.unwrap(), b"cut off\n");
    assert_eq!(listed(&backend).await.len(), 3);
    assert_sound(&repo);
}

#[tokio::test]
async fn leftovers_of_a_killed_process_go_after_an_hour() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    let (old, new) = (repo.join("objects/pack/pack_git2_0011"), repo.join("objects/pack/pack_git2_0022"));
    std::fs::write(&old, "half").unwrap();
    std::fs::write(&new, "half").unwrap();
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    let told = backend.foretell(Budget::default()).await.unwrap().unwrap();
    assert_eq!((told.unnamed, told.unnamed_bytes, told.bytes_freed), (2, 8, 4), "{told:?}");
    let report = backend.maintain(Budget::default()).await.unwrap();
    assert!(!old.exists() && new.exists(), "{report:?}");
    assert_eq!((report.bytes_freed, report.unnamed), (4, 2));
}
