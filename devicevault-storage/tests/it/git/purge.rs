//! Taking something out of history.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::storage::{Verdict, VerifyDepth};
use devicevault_core::{DeviceId, ErrorKind, Manifest, StorageBackend as _, StorageBackendExt as _, StorageRef, View};
use devicevault_storage::git::{CommitPer, GitBackend, GitOptions, Purge, PurgeReport, Remote};
use devicevault_testkit::samples;

use super::{assert_sound, config, git, listed, open, open_with, store, try_git};

fn device(name: &str) -> Purge {
    let name = DeviceId::from(name);
    Purge::versions(Arc::new(move |m: &Manifest| m.source.device == name))
}

fn text(from: &'static str, to: &'static str) -> Purge {
    Purge::text(Arc::new(move |data: &[u8]| {
        let found = String::from_utf8_lossy(data).contains(from);
        found.then(|| String::from_utf8_lossy(data).replace(from, to).into_bytes())
    }))
}

async fn purge(backend: &GitBackend, what: Purge) -> PurgeReport {
    let rehearsed = backend.purge(what.clone(), true).await.unwrap();
    let done = backend.purge(what, false).await.unwrap();
    assert_eq!((&rehearsed.removed, &rehearsed.rewritten), (&done.removed, &done.rewritten));
    assert!(rehearsed.commits == 0 && rehearsed.objects == 0);
    done
}

/// Whether any object of a repository, reachable or not, holds this text.
fn holds(repo: &Path, text: &str) -> bool {
    let list = git(repo, &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    list.lines().any(|id| try_git(repo, &["cat-file", "-p", id]).1.contains(text))
}

async fn current(backend: &GitBackend, at: &StorageRef) -> Option<StorageRef> {
    backend.current(vec![at.clone()]).await.unwrap().pop().unwrap()
}

async fn good(backend: &GitBackend, at: &StorageRef) -> bool {
    backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good()
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_branch_of_before_that_holds_it_too_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let of = async |branch: &str| open_with(&repo, GitOptions::default().with_branch(branch)).await;
    let before = of("main").await;
    store(&before, "first", "first\nLEAKED\n").await;
    drop(before);
    let now = of("other").await;
    let told = purge(&now, text("LEAKED", "GONE")).await;
    assert_eq!((told.rewritten.len(), told.others), (0, vec!["refs/heads/main".to_owned()]), "nothing is written yet");
    store(&now, "first", "first, LEAKED\n").await;
    store(&now, "first", "first, third\n").await;
    let told = purge(&now, text("LEAKED", "GONE")).await;
    assert_eq!((told.rewritten.len(), told.others), (1, vec!["refs/heads/main".to_owned()]));
    drop(now);
    let before = of("main").await;
    let told = purge(&before, text("LEAKED", "GONE")).await;
    assert_eq!((told.rewritten.len(), told.others), (1, Vec::new()));
    assert!(!holds(&repo, "LEAKED"));
    assert_sound(&repo);
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_device_goes_and_all_else_stays_as_it_was() {
    for commits in [CommitPer::Artefact, CommitPer::Batch] {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("r.git");
        let backend = open_with(&repo, GitOptions::default().with_commits(commits)).await;
        let mut kept = vec![store(&backend, "first", "first\n").await];
        let before = git(&repo, &["rev-parse", "main"]);
        let mut gone = Vec::new();
        for round in 0..4 {
            let batch = vec![
                config("leak", format!("s3cret {round}\n")),
                config("sw1", format!("one {round}\n")),
                config("sw2", format!("two {round}\n")),
            ];
            let mut refs = backend.store(batch).await.into_iter().map(Result::unwrap);
            gone.extend(refs.next());
            kept.extend(refs);
        }
        // It has another name by now: the commit that moved its files goes as well.
        let (mut entry, body) = config("leak", "s3cret 9\n");
        "renamed".clone_into(&mut entry.manifest.source.device_name);
        gone.push(backend.store_one(entry, body).await.unwrap());
        let log = |filter: &str| git(&repo, &["log", "--format=%an%ae%at%cn%ct%B%T", "main", "--", filter]);
        let shown = (log("sw1"), git(&repo, &["show", "main:sw2/running-config.txt"]));

        let report = purge(&backend, device("leak")).await;
        assert_eq!(report.removed.len(), gone.len());
        assert!(report.rewritten.is_empty() && report.commits > 0 && report.objects > 0);
        assert!(!holds(&repo, "s3cret") && !holds(&repo, "leak") && !holds(&repo, "renamed"));
        assert_eq!(git(&repo, &["show", "main:sw2/running-config.txt"]), shown.1);
        let log = git(&repo, &["log", "--format=%s", "main"]);
        assert_eq!(log.lines().count(), if commits == CommitPer::Batch { 5 } else { 9 }, "{log}");
        if commits == CommitPer::Batch {
            assert!(log.starts_with("2 backups of 2 devices"), "{log}");
        }
        git(&repo, &["merge-base", "--is-ancestor", before.trim(), "main"]);
        for backend in [&backend, &open(&repo).await] {
            for at in &kept {
                assert!(good(backend, at).await, "{at}");
                let now = current(backend, at).await.unwrap();
                assert!(good(backend, &now).await && current(backend, &now).await == Some(now));
            }
            for at in &gone {
                assert_eq!(backend.verify(at, None, VerifyDepth::Size).await.unwrap(), Verdict::Missing);
                assert_eq!(current(backend, at).await, None);
                assert_eq!(backend.read_all(at, 100).await.unwrap_err().kind(), ErrorKind::NotFound);
            }
            assert_eq!(listed(backend).await.len(), kept.len());
        }
        assert_sound(&repo);
        // Once more: nothing to do; and again another, on top of it.
        assert_eq!(purge(&backend, device("leak")).await, PurgeReport::default());
        purge(&backend, device("sw2")).await;
        assert!(good(&backend, &kept[0]).await && good(&backend, &kept[1]).await);
        assert_eq!(current(&backend, &kept[2]).await, None);
        store(&backend, "leak", "back\n").await;
        assert_sound(&repo);
    }
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_text_is_replaced_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    let mut refs = Vec::new();
    for i in 0..6 {
        let secret = if (2..4).contains(&i) { "password hunter2\n" } else { "" };
        refs.push((store(&backend, "sw1", format!("version {i}\n{secret}")).await, i));
        store(&backend, "sw2", format!("other {i}\n")).await;
    }
    let report = purge(&backend, text("hunter2", "<purged>")).await;
    assert_eq!((report.removed.len(), report.rewritten.len()), (0, 2));
    assert!(!holds(&repo, "hunter2"));
    for (at, i) in &refs {
        assert!(good(&backend, at).await, "{at}");
        let secret = if (2..4).contains(i) { "password <purged>\n" } else { "" };
        assert_eq!(backend.read_all(at, 100).await.unwrap(), format!("version {i}\n{secret}").as_bytes());
    }
    let (at, m) = &report.rewritten[0];
    assert_eq!(backend.stat(at).await.unwrap(), *m);
    // What something was taken out of is no original.
    let view = async |at| backend.stat(at).await.unwrap().view;
    assert_eq!((m.view, view(at).await, view(&refs[0].0).await), (View::Clean, View::Clean, View::Original));
    assert_sound(&repo);
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_version_goes_and_the_file_is_what_it_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    store(&backend, "sw1", "one\n").await;
    let last = store(&backend, "sw1", "two\n").await;
    let id = backend.stat(&last).await.unwrap().backup;
    purge(&backend, Purge::versions(Arc::new(move |m: &Manifest| m.backup == id))).await;
    assert_eq!(git(&repo, &["show", "main:sw1/running-config.txt"]), "one\n");
    assert!(!holds(&repo, "two"));
    // All of it: an empty branch, that goes on.
    purge(&backend, Purge::versions(Arc::new(|_| true))).await;
    assert_eq!(git(&repo, &["ls-tree", "-r", "main"]), "");
    assert!(listed(&backend).await.is_empty());
    let at = store(&backend, "sw1", "three\n").await;
    assert!(good(&backend, &at).await);
    assert_sound(&repo);
}

#[tokio::test]
#[ignore = "needs git"]
async fn what_a_tag_or_another_branch_leads_to_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    store(&backend, "leak", "s3cret\n").await;
    let at = store(&backend, "sw1", "x\n").await;
    git(&repo, &["branch", "mine", "main"]);
    let e = backend.purge(device("leak"), false).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Conflict && e.to_record().message.contains("refs/heads/mine"), "{e:?}");
    assert!(good(&backend, &at).await && holds(&repo, "s3cret"));
    git(&repo, &["branch", "-D", "mine"]);
    purge(&backend, device("leak")).await;
    assert!(good(&backend, &at).await && !holds(&repo, "s3cret"));
}

#[tokio::test]
#[ignore = "needs git"]
async fn what_nothing_of_the_branch_leads_to_goes_too_or_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    let at = store(&backend, "sw1", "x\n").await;
    store(&backend, "leak", "s3cret\n").await;
    // A branch that had it, and is deleted.
    git(&repo, &["branch", "mine", "main"]);
    git(&repo, &["update-ref", "refs/heads/main", "main~1"]);
    let rehearsed = backend.purge(text("s3cret", "-"), true).await.unwrap();
    assert_eq!((rehearsed.others.len(), rehearsed.left_over), (1, false), "{rehearsed:?}");
    git(&repo, &["branch", "-D", "mine"]);
    for what in [text("s3cret", "-"), device("leak")] {
        assert!(backend.purge(what, true).await.unwrap().left_over);
    }
    let done = backend.purge(text("s3cret", "-"), false).await.unwrap();
    assert!(!holds(&repo, "s3cret") && good(&backend, &at).await, "{done:?}");
    assert!(!backend.purge(device("leak"), true).await.unwrap().left_over);
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_remote_forgets_it_by_force_and_nothing_of_others_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other) = (dir.path().join("r.git"), dir.path().join("o.git"));
    std::fs::create_dir(&other).unwrap();
    git(&other, &["init", "-q", "--bare", "-b", "main"]);
    let remote = Remote::new(other.to_str().unwrap().parse().unwrap());
    let backend = open_with(&repo, GitOptions::default().with_remote(remote)).await;
    store(&backend, "leak", "s3cret\n").await;
    store(&backend, "sw1", "x\n").await;
    backend.push().await.unwrap();
    purge(&backend, device("leak")).await;
    // An ordinary push would bring it back.
    let e = backend.push().await.unwrap_err();
    assert!(e.kind() == ErrorKind::Conflict && e.hint_text().unwrap().contains("--purged"), "{e:?}");
    assert!(try_git(&repo, &["log", "--oneline", "main", "--", "leak"]).1.is_empty());
    // Somebody has committed on top of it there: that would be lost.
    let theirs = git(&other, &["commit-tree", "main^{tree}", "-p", "main", "-m", "theirs"]);
    let was = git(&other, &["rev-parse", "main"]);
    git(&other, &["update-ref", "refs/heads/main", theirs.trim()]);
    assert_eq!(backend.push_purged().await.unwrap_err().kind(), ErrorKind::Conflict);
    git(&other, &["update-ref", "refs/heads/main", was.trim()]);
    backend.push_purged().await.unwrap();
    assert_eq!(git(&repo, &["rev-parse", "main"]), git(&other, &["rev-parse", "main"]));
    store(&backend, "sw1", "y\n").await;
    assert!(backend.push().await.unwrap().pushed);
}

/// Started by the test below, and killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "is started by killed_while_it_purges"]
async fn purges() {
    let Ok(repo) = std::env::var("PURGE_REPOSITORY") else { return };
    open(Path::new(&repo)).await.purge(device("leak"), false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn killed_while_it_purges_history_is_the_one_or_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.git");
    // Packs that are merged in the background would go while they are copied.
    let backend = open_with(&whole, GitOptions::default().with_auto_repack(false)).await;
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for i in 0..40 {
        let batch = vec![config("leak", samples::text(i, 3000)), config("sw1", samples::text(100 + i, 3000))];
        let refs: Vec<StorageRef> = backend.store(batch).await.into_iter().map(Result::unwrap).collect();
        gone.push(refs[0].clone());
        kept.push(refs[1].clone());
    }
    drop(backend);
    let (mut before, mut after) = (0, 0);
    for round in 0..24_u64 {
        let repo = dir.path().join(format!("{round}.git"));
        let copied = std::process::Command::new("cp").arg("-a").arg(&whole).arg(&repo).status().unwrap();
        assert!(copied.success());
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "git::purge::purges", "--ignored"])
            .env("PURGE_REPOSITORY", &repo)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(round * 12));
        child.kill().unwrap();
        child.wait().unwrap();
        let backend = open(&repo).await;
        for at in &kept {
            assert!(good(&backend, at).await, "round {round}: {at}");
        }
        let left = listed(&backend).await.len();
        assert!(left == 40 || left == 80, "round {round}: {left}");
        if left == 80 {
            before += 1;
        } else {
            after += 1;
        }
        let at = store(&backend, "sw1", "after\n").await;
        assert!(good(&backend, &at).await);
        backend.purge(device("leak"), false).await.unwrap();
        for at in &kept {
            assert!(good(&backend, at).await, "round {round}: {at}");
        }
        assert_eq!(current(&backend, &gone[0]).await, None);
        assert_sound(&repo);
    }
    eprintln!("killed 24 times: {before} before the branch moved, {after} after");
}
