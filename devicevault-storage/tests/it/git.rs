//! The Git backend, beside the `git` program.

mod crash;
mod damage;
mod many;
mod packs;
mod purge;
mod remote;
mod rewritten;
mod shared;
mod whole;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::storage::{ListFilter, VerifyDepth};
use devicevault_core::{
    Body, DeviceId, Entry, ErrorKind, StorageBackend, StorageBackendExt as _, StorageRef, SystemClock, View,
};
use devicevault_storage::git::{CommitPer, GitBackend, GitOptions};
use devicevault_testkit::{conformance, samples};
use futures::TryStreamExt as _;

pub(crate) async fn open(path: &Path) -> GitBackend {
    open_with(path, GitOptions::default()).await
}

pub(crate) async fn open_with(path: &Path, options: GitOptions) -> GitBackend {
    GitBackend::open(path, options, Arc::new(SystemClock)).await.unwrap()
}

/// Runs `git` on a repository; it has to succeed.
pub(crate) fn git(repo: &Path, args: &[&str]) -> String {
    let (ok, text) = try_git(repo, args);
    assert!(ok, "git {args:?}: {text}");
    text
}

pub(crate) fn try_git(repo: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("git")
        .args(["-c", "core.quotePath=false", "--git-dir"])
        .arg(repo)
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "x"), ("GIT_AUTHOR_EMAIL", "x@x"), ("GIT_COMMITTER_NAME", "x")])
        .env("GIT_COMMITTER_EMAIL", "x@x")
        .output()
        .expect("this test needs git");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Nothing is wrong with a repository but that some objects are led to by nothing.
pub(crate) fn assert_sound(repo: &Path) {
    let text = git(repo, &["fsck", "--full", "--strict", "--no-progress"]);
    let complaints: Vec<_> = text.lines().filter(|l| !l.starts_with("dangling ") && !l.starts_with("notice")).collect();
    assert!(complaints.is_empty(), "{text}");
}

pub(crate) fn config(device: &str, text: impl Into<Bytes>) -> (Entry, Arc<dyn Body>) {
    samples::entry(device, text)
}

pub(crate) async fn store(backend: &GitBackend, device: &str, text: impl Into<Bytes>) -> StorageRef {
    let (entry, body) = config(device, text);
    backend.store_one(entry, body).await.unwrap()
}

pub(crate) async fn listed(backend: &GitBackend) -> Vec<(StorageRef, devicevault_core::Manifest)> {
    backend.list(ListFilter::default()).try_collect().await.unwrap()
}

async fn suite(options: GitOptions) {
    let places = tempfile::tempdir().unwrap();
    let opener = async |place: &str| {
        let path = places.path().join(place);
        let backend = GitBackend::open(path, options.clone(), Arc::new(SystemClock)).await?;
        Ok(Arc::new(backend) as Arc<dyn StorageBackend>)
    };
    let report = conformance::BackendSuite::new(&opener).run().await;
    eprintln!("{report}");
    report.assert();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes() {
    suite(GitOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_with_a_commit_per_batch() {
    suite(GitOptions::default().with_commits(CommitPer::Batch).with_branch("site/main")).await;
}

#[tokio::test]
#[ignore = "needs git"]
async fn git_log_shows_each_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("configs.git");
    let backend = open_with(&path, GitOptions::default().with_author("Net Ops", "noc@example.net")).await;
    let mut refs = Vec::new();
    for (i, text) in ["hostname a\nmtu 1500\n", "hostname a\nmtu 9000\n", "hostname b\nmtu 9000\n"].iter().enumerate() {
        let (mut entry, body) = config("core-rtr1", *text);
        entry.summary = format!("core-rtr1: change {i}\nDeviceVault-Manifest: {{}}");
        refs.push((backend.store_one(entry, body).await.unwrap(), *text));
        store(&backend, "other", format!("other {i}\n")).await;
    }
    let log = git(&path, &["log", "-p", "-U0", "--format=%s|%an <%ae>|%cn|%at", "--", "core-rtr1/running-config.txt"]);
    let shown: Vec<&str> =
        log.lines().filter(|l| !l.is_empty() && !l.contains("index ") && !l.starts_with("@@")).collect();
    let head = |i: u8| {
        format!("core-rtr1: change {i} DeviceVault-Manifest: {{}}|Net Ops <noc@example.net>|Net Ops|1767225600")
    };
    let diff = "diff --git a/core-rtr1/running-config.txt b/core-rtr1/running-config.txt";
    let (old, new) = ("--- a/core-rtr1/running-config.txt", "+++ b/core-rtr1/running-config.txt");
    assert_eq!(
        shown,
        [
            &head(2),
            diff,
            old,
            new,
            "-hostname a",
            "+hostname b",
            &head(1),
            diff,
            old,
            new,
            "-mtu 1500",
            "+mtu 9000",
            &head(0),
            diff,
            "new file mode 100644",
            "--- /dev/null",
            new,
            "+hostname a",
            "+mtu 1500",
        ]
    );
    for (at, text) in &refs {
        let (branch, rest) = at.as_str().split_once(':').unwrap();
        let (file, commit) = rest.rsplit_once('@').unwrap();
        assert_eq!(branch, "main");
        assert_eq!(git(&path, &["show", &format!("{commit}:{file}")]), *text);
        let manifest = git(&path, &["log", "-1", "--format=%(trailers:key=DeviceVault-Manifest,valueonly)", commit]);
        let manifest = devicevault_core::Manifest::from_json(manifest.trim().as_bytes()).unwrap();
        assert_eq!(manifest, backend.stat(at).await.unwrap());
    }
    assert_eq!(git(&path, &["rev-parse", "--abbrev-ref", "HEAD"]).trim(), "main");
    assert_sound(&path);
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_round_is_one_commit_if_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.git");
    let backend = open_with(&path, GitOptions::default().with_commits(CommitPer::Batch)).await;
    for round in 0..3 {
        let batch = (0..20).map(|d| config(&format!("sw{d}"), format!("round {round} of {d}\n"))).collect();
        assert!(backend.store(batch).await.iter().all(Result::is_ok));
    }
    assert_eq!(git(&path, &["rev-list", "--count", "main"]).trim(), "3");
    let log = git(&path, &["log", "--format=%s", "--", "sw7/running-config.txt"]);
    assert_eq!(log.lines().collect::<Vec<_>>(), ["20 backups of 20 devices"; 3]);
    let mut filter = ListFilter::default();
    filter.device = Some(DeviceId::from("sw7"));
    let mine: Vec<_> = backend.list(filter).try_collect().await.unwrap();
    assert_eq!(mine.len(), 3);
    for (round, (at, _)) in mine.iter().enumerate() {
        assert_eq!(backend.read_all(at, 100).await.unwrap(), format!("round {round} of 7\n").as_bytes());
    }
    assert_sound(&path);
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_suspect_text_does_not_stand_in_the_place_of_a_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.git");
    let backend = open(&path).await;
    store(&backend, "sw1", "whole\n").await;
    let (mut entry, body) = config("sw1", "cut o");
    entry.manifest.suspect = vec!["the end marker is missing".to_owned()];
    let suspect = backend.store_one(entry, body).await.unwrap();
    assert_eq!(git(&path, &["show", "main:sw1/running-config.txt"]), "whole\n");
    assert_eq!(git(&path, &["show", "main:sw1/running-config+suspect.txt"]), "cut o");
    assert_eq!(git(&path, &["log", "--oneline", "--", "sw1/running-config.txt"]).lines().count(), 1);
    assert_eq!(backend.read_all(&suspect, 100).await.unwrap(), b"cut o");
    assert_eq!(backend.stat(&suspect).await.unwrap().suspect.len(), 1);
}

#[tokio::test]
#[ignore = "needs git"]
async fn names_that_git_refuses_are_stored_and_checked_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.git");
    let backend = open(&path).await;
    let names = [
        ".git",
        ".GIT",
        "git~1",
        "GIT~1",
        ".",
        "..",
        "../../etc/x",
        "a/b",
        "a\\b",
        "a:b",
        "-rf",
        "CON",
        " ",
        "\n",
        "é",
        ".gitmodules",
        "gitmod~1",
        "a\0b",
        ".g\u{200c}it",
        "x.",
        "refs",
        "HEAD",
    ];
    let batch = names.iter().map(|n| config(n, format!("{n:?}\n"))).collect();
    let refs = backend.store(batch).await;
    assert!(refs.iter().all(Result::is_ok), "{refs:?}");
    assert_sound(&path);
    let tree = dir.path().join("checkout");
    std::fs::create_dir(&tree).unwrap();
    git(&path, &["--work-tree", tree.to_str().unwrap(), "checkout", "-q", "-f", "main", "--", "."]);
    assert_eq!(std::fs::read_dir(&tree).unwrap().count(), names.len());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing outside is touched");
    eprintln!("{} names of devices are files of a working tree", names.len());
}

#[tokio::test]
async fn bodies_of_every_sort_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(&dir.path().join("r.git")).await;
    let every: Vec<u8> = (0..=255).collect();
    for body in [&b""[..], b"\xff\xfe\0\r\n", &every, b"no line end", b"\n"] {
        let at = store(&backend, "sw1", body.to_vec()).await;
        assert_eq!(backend.read_all(&at, 1000).await.unwrap(), body);
        assert!(backend.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good());
    }
    let size = 300_000;
    let at = store(&backend, "sw1", samples::noise(1, size)).await;
    for (from, to) in [(0, 1), (65_535, 65_537), (299_999, 400_000), (300_000, 300_001), (5, 5)] {
        let got = backend.read(&at, Some(from..to)).await.unwrap();
        let got = devicevault_core::body::read_to_vec(got, u64::MAX).await.unwrap();
        let want = &samples::noise(1, size)[(from as usize).min(size)..(to as usize).min(size)];
        assert_eq!(got, want);
    }
}

#[tokio::test]
async fn what_does_not_belong_there_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open_with(&dir.path().join("r.git"), GitOptions::default().with_max_body(1000)).await;
    let (entry, body) = config("sw1", samples::noise(1, 1001));
    let e = backend.store_one(entry, body).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::TooLarge);
    assert!(e.hint_text().unwrap().contains("plain"), "{e:?}");
    let at = store(&backend, "sw1", samples::noise(1, 1000)).await;

    let e = backend.delete_one(&at).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(!backend.capability().delete && e.hint_text().unwrap().contains("retention"), "{e:?}");
    assert_eq!(backend.read_all(&at, 1000).await.unwrap().len(), 1000);
}

#[tokio::test]
async fn a_device_of_a_site_that_is_named_like_a_file_stands_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(&dir.path().join("r.git")).await;
    // A device without a site whose name is a site, where the site has a device named like its file.
    store(&backend, "zurich", "x").await;
    let (mut entry, body) = config("running-config.txt", "y");
    entry.manifest.source.site = Some("zurich".to_owned());
    let good = config("sw2", "z");
    let verdicts = backend.store(vec![(entry, body), good]).await;
    let at = verdicts[0].as_ref().unwrap();
    assert!(at.as_str().starts_with("main:zurich/running-config.txt~"), "{at}");
    assert_eq!(backend.read_all(at, 10).await.unwrap(), b"y");
    assert!(verdicts[1].is_ok());
    assert_eq!(listed(&backend).await.len(), 3);
}

#[tokio::test]
async fn what_stands_beside_a_file_moves_with_its_device() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.git");
    let backend = open(&path).await;
    let put = async |name: &str, artefact: &str, body: &str| {
        let (mut entry, body) = config(name, body.to_owned());
        // One device, whatever it is called.
        entry.manifest.source.device = "b0".into();
        entry.manifest.source.site = Some("bern".to_owned());
        entry.manifest.artefact = artefact.to_owned();
        backend.store_one(entry, body).await.unwrap();
    };
    let files = |folder: &str, device: &str| {
        let repo = git2::Repository::open(&path).unwrap();
        let tree = repo.head().unwrap().peel_to_tree().unwrap();
        let mut found = 0;
        tree.walk(git2::TreeWalkMode::PreOrder, |above, entry| {
            let is_file = entry.kind() == Some(git2::ObjectType::Blob);
            found += usize::from(is_file && above.starts_with(folder) && above.ends_with(device));
            git2::TreeWalkResult::Ok
        })
        .unwrap();
        found
    };
    // Somebody puts a file in the way, and takes it away again.
    let theirs = |put: bool| {
        let repo = git2::Repository::open(&path).unwrap();
        let who = git2::Signature::now("somebody", "s@example.net").unwrap();
        let tip = repo.head().unwrap().peel_to_commit().unwrap();
        let mut tree = repo.treebuilder(Some(&tip.tree().unwrap())).unwrap();
        if put {
            tree.insert("bern", repo.blob(b"a page").unwrap(), 0o100_644).unwrap();
        } else {
            tree.remove("bern").unwrap();
        }
        let tree = repo.find_tree(tree.write().unwrap()).unwrap();
        repo.commit(Some("HEAD"), &who, &who, "a page", &tree, &[&tip]).unwrap();
    };
    store(&backend, "other", "x").await;
    theirs(true);
    put("b0", "running-config", "1").await;
    put("b0", "startup-config", "1").await;
    assert_eq!(files("bern~", "/b0/"), 2);
    // Renamed while it stands there; and then its place is free again.
    put("b9", "running-config", "2").await;
    assert_eq!((files("bern~", "/b9/"), files("bern~", "")), (2, 2));
    theirs(false);
    put("b9", "running-config", "3").await;
    assert_eq!((files("bern/", "b9/"), files("", "")), (2, 3));
}

#[tokio::test]
async fn only_a_bare_repository_or_nothing_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let kind = async |path: &Path, options: GitOptions| {
        GitBackend::open(path, options, Arc::new(SystemClock)).await.map_err(|e| e.kind()).err()
    };
    let full = dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("mine"), "x").unwrap();
    assert_eq!(kind(&full, GitOptions::default()).await, Some(ErrorKind::Config));
    assert_eq!(std::fs::read_dir(&full).unwrap().count(), 1, "nothing is added to what is not ours");
    let worktree = dir.path().join("worktree");
    git2::Repository::init(&worktree).unwrap();
    assert_eq!(kind(&worktree, GitOptions::default()).await, Some(ErrorKind::Config));
    let new = dir.path().join("new");
    assert_eq!(kind(&new, GitOptions::default().with_branch("a..b")).await, Some(ErrorKind::Config));
    assert!(!new.exists());
    let theirs = dir.path().join("theirs.git");
    git2::Repository::init_bare(&theirs).unwrap();
    assert_eq!(kind(&theirs, GitOptions::default()).await, None);
    assert_eq!(kind(&dir.path().join("deep/er/r.git"), GitOptions::default()).await, None);
}

#[cfg(unix)]
#[tokio::test]
async fn planted_links_are_refused_and_nothing_outside_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.git");
    store(&open(&path).await, "sw1", "x").await;
    let outside = dir.path().join("outside");
    std::fs::write(&outside, "mine").unwrap();
    for name in ["lock", "repack.lock", "ref.new", "format", "planted"] {
        let link = path.join("devicevault").join(name);
        let aside = dir.path().join("aside");
        let was = std::fs::rename(&link, &aside).is_ok();
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        let e = GitBackend::open(&path, GitOptions::default(), Arc::new(SystemClock)).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{name}");
        std::fs::remove_file(&link).unwrap();
        if was {
            std::fs::rename(&aside, &link).unwrap();
        }
    }
    assert_eq!(std::fs::read(&outside).unwrap(), b"mine");
    // A branch that is a link is replaced, not written through.
    let branch = path.join("refs/heads/main");
    let commit = std::fs::read(&branch).unwrap();
    std::fs::write(&outside, &commit).unwrap();
    std::fs::remove_file(&branch).unwrap();
    std::os::unix::fs::symlink(&outside, &branch).unwrap();
    store(&open(&path).await, "sw1", "y").await;
    assert_eq!(std::fs::read(&outside).unwrap(), commit);
}

#[tokio::test]
async fn the_connection_test_tells_what_it_tried() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.git");
    let backend = open(&path).await;
    assert!(backend.check().await.unwrap().is_good());
    store(&backend, "sw1", "x").await;
    let health = backend.check().await.unwrap();
    assert!(health.is_good() && health.probes.len() >= 5, "{health:?}");
    std::fs::remove_dir_all(path.join("objects/pack")).unwrap();
    drop(backend);
    let health = open(&path).await.check().await.unwrap();
    assert!(!health.is_good(), "{health:?}");
}

#[tokio::test]
async fn usage_counts_views_and_packs() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(&dir.path().join("r.git")).await;
    for i in 0..4 {
        let (mut entry, body) = config(if i == 0 { "a" } else { "b" }, samples::noise(i, 1000));
        entry.manifest.view = View::Redacted;
        backend.store_one(entry, body).await.unwrap();
    }
    let all = backend.usage(devicevault_core::storage::UsageFilter::default()).await.unwrap();
    assert_eq!((all.backups, all.content_bytes), (4, 4000));
    assert!(all.stored_bytes > 4000);
    let mut filter = devicevault_core::storage::UsageFilter::default();
    filter.device = Some("a".into());
    let one = backend.usage(filter).await.unwrap();
    assert_eq!((one.backups, one.content_bytes), (1, 1000));
    assert!(one.stored_bytes > 0 && one.stored_bytes < all.stored_bytes / 2);
}
