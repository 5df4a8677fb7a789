//! Histories of which objects are lost, and what makes them whole again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devicevault_core::storage::VerifyDepth;
use devicevault_core::{Body, Entry, ErrorKind, StorageBackend as _, StorageBackendExt as _, StorageRef};
use devicevault_storage::git::{CommitPer, GitBackend, GitOptions, MendReport, Purge, Supply};
use devicevault_testkit::samples;

use super::{assert_sound, config, git, open, open_with, store, try_git};

/// Versions of a repository, as another destination has them.
type Versions = Vec<(StorageRef, Entry, Arc<dyn Body>)>;

async fn filled(repo: &Path, commits: CommitPer) -> Versions {
    let backend = open_with(repo, GitOptions::default().with_commits(commits)).await;
    let mut all = Vec::new();
    for round in 0..3 {
        let batch: Vec<_> = ["sw1", "sw2"]
            .iter()
            .map(|device| {
                let (mut entry, body) = config(device, format!("{device} in round {round}\n"));
                entry.manifest.source.site = Some("zurich".to_owned());
                (entry, body)
            })
            .collect();
        let refs = backend.store(batch.clone()).await;
        all.extend(batch.into_iter().zip(refs).map(|((e, b), at)| (at.unwrap(), e, b)));
    }
    all
}

/// Turns packs into loose objects, and lists all of them.
fn unpack(repo: &Path) -> Vec<PathBuf> {
    let packs: Vec<_> = fs::read_dir(repo.join("objects/pack")).unwrap().map(|e| e.unwrap().path()).collect();
    for pack in packs {
        if pack.extension().is_some_and(|e| e == "pack") {
            let aside = repo.join("aside.pack");
            fs::rename(&pack, &aside).unwrap();
            fs::remove_file(pack.with_extension("idx")).unwrap();
            let mut unpack = std::process::Command::new("git");
            unpack.arg("--git-dir").arg(repo).args(["unpack-objects", "-q"]);
            assert!(unpack.stdin(fs::File::open(&aside).unwrap()).status().unwrap().success());
            fs::remove_file(aside).unwrap();
        }
    }
    let list = git(repo, &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    list.lines().map(|id| Path::new("objects").join(&id[..2]).join(&id[2..])).collect()
}

fn copied(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

fn forget_index(repo: &Path) {
    for file in fs::read_dir(repo.join("devicevault")).unwrap().map(|e| e.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("index-") {
            fs::remove_file(file).unwrap();
        }
    }
}

async fn mended(backend: &GitBackend, all: &Versions, have_others: bool) -> MendReport {
    let known: Vec<StorageRef> = all.iter().map(|(at, ..)| at.clone()).collect();
    let told = backend.mend(known.clone(), Vec::new(), true).await.unwrap();
    let lost = |at: &StorageRef| told.lost.iter().any(|(lost, _)| lost == at);
    let supplies: Vec<Supply> = all
        .iter()
        .filter(|(at, ..)| have_others && lost(at))
        .map(|(at, entry, body)| Supply { at: at.clone(), entry: entry.clone(), body: body.clone() })
        .collect();
    let done = backend.mend(known, supplies, false).await.unwrap();
    assert_eq!(done.lost.is_empty(), have_others || told.lost.is_empty(), "{done:?}");
    told
}

/// How many versions of these are good, by what their references stand for now.
async fn good(backend: &GitBackend, all: &Versions) -> usize {
    let mut good = 0;
    for (at, entry, _) in all {
        let Some(now) = backend.current(vec![at.clone()]).await.unwrap().pop().unwrap() else { continue };
        let verdict = backend.verify(&now, Some(&entry.manifest), VerifyDepth::Content).await.unwrap();
        assert!(verdict.is_good(), "{at}: {verdict:?}");
        assert_eq!(backend.verify(at, None, VerifyDepth::Content).await.unwrap(), verdict, "by its old name");
        good += 1;
    }
    good
}

#[tokio::test]
#[ignore = "needs git"]
async fn whichever_object_is_lost_the_history_is_made_whole_again() {
    let mut tried = 0;
    for commits in [CommitPer::Artefact, CommitPer::Batch] {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole.git");
        let all = filled(&whole, commits).await;
        let shown =
            |repo: &Path, device: &str| git(repo, &["show", &format!("main:zurich/{device}/running-config.txt")]);
        for object in unpack(&whole) {
            for (with_index, have_others) in [(true, true), (true, false), (false, true), (false, false)] {
                let repo = dir.path().join(format!("{tried}.git"));
                copied(&whole, &repo);
                fs::remove_file(repo.join(&object)).unwrap();
                if !with_index {
                    forget_index(&repo);
                }
                let what = format!("{commits:?} {} index {with_index} others {have_others}", object.display());
                let backend = open_with(&repo, GitOptions::default().with_commits(commits)).await;
                let told = mended(&backend, &all, have_others).await;
                assert!(!told.is_whole(), "{what}: {told:?}");
                assert!(
                    told.lost_commits <= 1 && told.lost.len() <= 6 && told.lost_files.is_empty(),
                    "{what}: {told:?}"
                );
                assert_sound(&repo);
                let lost = if have_others { 0 } else { told.lost.len() };
                assert_eq!(good(&backend, &all).await, all.len() - lost, "{what}: {told:?}");
                if lost == 0 {
                    assert_eq!(shown(&repo, "sw2"), "sw2 in round 2\n", "{what}");
                    assert_eq!(shown(&repo, "sw1"), "sw1 in round 2\n", "{what}");
                    let log = ["log", "-p", "--format=", "main", "--", "zurich/sw1/running-config.txt"];
                    let changes = git(&repo, &log);
                    let order: Vec<_> = changes.lines().filter(|l| l.starts_with("+sw1")).collect();
                    let want = ["+sw1 in round 2", "+sw1 in round 1", "+sw1 in round 0"];
                    assert_eq!(order, want, "{what}");
                }
                let known = all.iter().map(|(at, ..)| at.clone()).collect();
                let again = backend.mend(known, Vec::new(), true).await.unwrap();
                assert_eq!((again.commits, again.restored), (0, 0), "{what}: once is enough");
                store(&backend, "sw3", "as before\n").await;
                drop(backend);
                assert_sound(&repo);
                fs::remove_dir_all(&repo).unwrap();
                tried += 1;
            }
        }
    }
    eprintln!("each object of two histories lost, with and without an index, with and without another copy: {tried}");
}

#[tokio::test]
#[ignore = "needs git"]
async fn several_commits_in_a_row_are_put_back_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    for (n, with_index) in [true, false].into_iter().enumerate() {
        let repo = dir.path().join(format!("{n}.git"));
        let all = filled(&repo, CommitPer::Artefact).await;
        unpack(&repo);
        for (at, ..) in &all[1..5] {
            let commit = at.as_str().rsplit_once('@').unwrap().1;
            fs::remove_file(repo.join("objects").join(&commit[..2]).join(&commit[2..])).unwrap();
        }
        if !with_index {
            forget_index(&repo);
        }
        let backend = open(&repo).await;
        let told = mended(&backend, &all, true).await;
        assert_eq!((told.lost_commits, told.lost.len()), (4, 4), "{told:?}");
        assert_eq!(good(&backend, &all).await, all.len());
        assert_sound(&repo);
        let subjects = git(&repo, &["log", "--format=%b", "main"]);
        let taken: Vec<_> = subjects.lines().filter(|l| l.starts_with("DeviceVault-Path")).collect();
        assert_eq!(taken.len(), 6, "{subjects}");
    }
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_broken_history_says_what_mends_it_and_can_be_purged_then() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let all = filled(&repo, CommitPer::Artefact).await;
    unpack(&repo);
    let commit = all[2].0.as_str().rsplit_once('@').unwrap().1;
    fs::remove_file(repo.join("objects").join(&commit[..2]).join(&commit[2..])).unwrap();
    forget_index(&repo);
    let backend = open(&repo).await;
    let (entry, body) = samples::entry("sw9", "new\n");
    let e = backend.store_one(entry, body).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Corrupt && e.hint_text().unwrap().contains("git mend"), "{e:?}");
    let sw1 = Purge::versions(Arc::new(|m| m.source.device_name == "sw1"));
    let e = backend.purge(sw1.clone(), true).await.unwrap_err();
    assert!(e.hint_text().unwrap().contains("git mend"), "{e:?}");
    mended(&backend, &all, false).await;
    assert_eq!(backend.purge(sw1, false).await.unwrap().removed.len(), 2);
    assert_sound(&repo);
    assert!(!try_git(&repo, &["log", "-p", "main"]).1.contains("sw1 in round"));
}

/// More commits than are made in one go: what was made before is looked at by later ones.
#[tokio::test]
#[ignore = "needs git"]
async fn a_version_that_nobody_has_goes_out_of_a_long_history() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    let lost = store(&backend, "gone", "lost\n").await;
    let devices = ["sw1", "sw2", "sw3"];
    let batch: Vec<_> = (0..2400).map(|n| config(devices[n % 3], format!("{n}\n"))).collect();
    let refs = backend.store(batch.clone()).await;
    let all: Versions = batch.into_iter().zip(refs).map(|((e, b), at)| (at.unwrap(), e, b)).collect();
    drop(backend);
    unpack(&repo);
    let commit = lost.0.rsplit_once('@').unwrap().1;
    fs::remove_file(repo.join("objects").join(&commit[..2]).join(&commit[2..])).unwrap();
    let backend = open(&repo).await;
    let known: Vec<StorageRef> = std::iter::once(&lost).chain(all.iter().map(|(at, ..)| at)).cloned().collect();
    for rehearsal in [true, false] {
        let told = backend.mend(known.clone(), Vec::new(), rehearsal).await.unwrap();
        assert_eq!((told.lost_commits, told.lost.len(), told.commits), (1, 1, 2401), "{rehearsal}");
        let (at, readable) = told.readable.first_key_value().unwrap();
        assert!(*at == lost && readable.ends_with(":gone/running-config.txt"), "{told:?}");
    }
    assert_sound(&repo);
    assert_eq!(git(&repo, &["ls-tree", "-r", "--name-only", "main"]).lines().count(), 3);
    assert_eq!(git(&repo, &["rev-list", "--count", "main"]).trim(), "2401");
    let some: Versions = all.into_iter().step_by(97).collect();
    assert_eq!(good(&backend, &some).await, some.len());
}
