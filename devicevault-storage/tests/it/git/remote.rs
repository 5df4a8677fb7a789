//! Other repositories that a branch is pushed to: a folder, OpenSSH, and Git's own server behind HTTP.

mod http;
mod sshd;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::storage::VerifyDepth;
use devicevault_core::{ErrorKind, StorageBackend as _, StorageBackendExt as _};
use devicevault_storage::git::{GitBackend, GitOptions, PushWhen, Remote, RemoteAccess};

use super::{assert_sound, config, git, listed, open_with, store};

fn bare(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    git(path, &["init", "-q", "--bare", "-b", "main"]);
}

fn to(url: &str) -> Remote {
    Remote::new(url.parse().unwrap()).with_timeout(Duration::from_secs(120))
}

async fn with_remote(repo: &Path, remote: Remote) -> GitBackend {
    open_with(repo, GitOptions::default().with_remote(remote)).await
}

fn tip(repo: &Path) -> String {
    git(repo, &["rev-parse", "main"]).trim().to_owned()
}

/// Commits to a bare repository as a person would from a clone.
fn commit(repo: &Path, file: &str, text: &str) {
    change(repo, &[(file, Some(text))]);
}

/// The same: a text for each file, or nothing where the file or folder is to go.
pub(crate) fn change(repo: &Path, files: &[(&str, Option<&str>)]) {
    change_as(repo, files, "a person's");
}

fn change_as(repo: &Path, files: &[(&str, Option<&str>)], message: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (tree, index) = (folder.path().join("tree"), folder.path().join("index"));
    std::fs::create_dir(&tree).unwrap();
    let run = |args: &[&str]| {
        let done = std::process::Command::new("git")
            .args(["-c", "user.name=p", "-c", "user.email=p@p", "--git-dir"])
            .arg(repo)
            .arg("--work-tree")
            .arg(&tree)
            .args(args)
            .env("GIT_INDEX_FILE", &index)
            .output()
            .unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run(&["read-tree", "main"]);
    run(&["checkout-index", "-a", "-f"]);
    for (file, text) in files {
        let path = tree.join(file);
        match text {
            Some(text) => {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            None if path.is_dir() => std::fs::remove_dir_all(path).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
    }
    run(&["add", "-A"]);
    run(&["commit", "-q", "-m", message]);
}

#[tokio::test]
#[ignore = "needs git"]
async fn what_is_stored_is_pushed_and_what_others_pushed_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other) = (dir.path().join("r.git"), dir.path().join("o t'her.git"));
    bare(&other);
    // Blanks are no URL's; a folder may have them all the same.
    let link = dir.path().join("other.git");
    std::os::unix::fs::symlink(&other, &link).unwrap();
    let backend = with_remote(&repo, to(link.to_str().unwrap())).await;
    assert!(!backend.push().await.unwrap().pushed);
    let first = store(&backend, "sw1", "one\n").await;
    assert!(backend.push().await.unwrap().pushed);
    assert_eq!(tip(&repo), tip(&other));
    assert!(!backend.push().await.unwrap().pushed, "there is nothing to push");

    // Somebody pushes a file of their own, and one of ours; we store that one and another.
    commit(&other, "README.md", "read me\n");
    commit(&other, "sw1/running-config.txt", "theirs\n");
    let theirs = tip(&other);
    let second = store(&backend, "sw1", "two\n").await;
    store(&backend, "sw2", "x\n").await;
    let done = backend.push().await.unwrap();
    assert!(done.pushed && done.merged);
    assert_eq!(tip(&repo), tip(&other));
    assert_eq!(git(&repo, &["show", "main:README.md"]), "read me\n");
    assert_eq!(git(&repo, &["show", "main:sw1/running-config.txt"]), "two\n", "ours wins in the file");
    git(&repo, &["merge-base", "--is-ancestor", &theirs, "main"]);
    for at in [&first, &second] {
        assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good(), "{at}");
    }
    assert_eq!(listed(&backend).await.len(), 3);
    // Ours is behind and has nothing of its own.
    commit(&other, "README.md", "again\n");
    store(&backend, "sw1", "three\n").await;
    backend.push().await.unwrap();
    assert_eq!(git(&other, &["show", "main:README.md"]), "again\n");
    drop(backend);
    let backend = with_remote(&repo, to(link.to_str().unwrap())).await;
    assert_eq!(listed(&backend).await.len(), 4);
    assert!(backend.check().await.unwrap().is_good());
    backend.maintain(devicevault_core::storage::Budget::default()).await.unwrap();
    assert_sound(&repo);
    assert_sound(&other);
}

#[tokio::test]
#[ignore = "needs git"]
async fn histories_that_never_met_are_joined() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other) = (dir.path().join("r.git"), dir.path().join("o.git"));
    bare(&other);
    let empty = git(&other, &["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let root = git(&other, &["commit-tree", empty.trim(), "-m", "Initial commit"]);
    git(&other, &["update-ref", "refs/heads/main", root.trim()]);
    commit(&other, "README.md", "read me\n");
    let backend = with_remote(&repo, to(other.to_str().unwrap())).await;
    let at = store(&backend, "sw1", "one\n").await;
    assert!(backend.push().await.unwrap().merged);
    assert_eq!(tip(&repo), tip(&other));
    assert_eq!(git(&other, &["ls-tree", "-r", "--name-only", "main"]), "README.md\nsw1/running-config.txt\n");
    assert!(backend.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good());
    assert_sound(&other);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn two_repositories_push_to_one_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("o.git");
    bare(&other);
    let url = other.to_str().unwrap();
    let (a, b) = (dir.path().join("a.git"), dir.path().join("b.git"));
    let (a, b) = futures::join!(with_remote(&a, to(url)), with_remote(&b, to(url)));
    for i in 0..5 {
        store(&a, "a", format!("{i}\n")).await;
        store(&b, "b", format!("{i}\n")).await;
        let (one, two) = futures::join!(a.push(), b.push());
        one.unwrap();
        two.unwrap();
    }
    a.push().await.unwrap();
    // The one that was first has what the other pushed with its next.
    store(&a, "a", "last\n").await;
    a.push().await.unwrap();
    assert_eq!(listed(&a).await.len(), 11);
    assert_eq!(git(&other, &["ls-tree", "-r", "--name-only", "main"]).lines().count(), 2);
    assert_sound(&other);
    assert_sound(a.path());
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_push_that_fails_is_told_and_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other) = (dir.path().join("r.git"), dir.path().join("o.git"));
    let backend = with_remote(&repo, to(other.to_str().unwrap())).await;
    store(&backend, "sw1", "one\n").await;
    let e = backend.push().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e:?}");
    let state = backend.remote_state().unwrap();
    assert!(state.failing_since.is_some() && state.pushed.is_none(), "{state:?}");
    let health = backend.check().await.unwrap();
    assert!(health.probes.iter().any(|p| p.name == "remote" && !p.good), "{health:?}");
    assert!(backend.test_remote().await.is_err());
    store(&backend, "sw1", "two\n").await;
    bare(&other);
    assert!(backend.push().await.unwrap().pushed);
    assert_eq!(tip(&repo), tip(&other));
    let state = backend.remote_state().unwrap();
    assert!(state.error.is_none() && state.pushed == Some(tip(&repo)), "{state:?}");
    assert!(backend.check().await.unwrap().is_good());

    // A hook that refuses: the text of the hook is told.
    let hook = other.join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho 'branch is protected' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    store(&backend, "sw1", "three\n").await;
    let e = backend.push().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused);
    assert!(e.to_record().message.contains("branch is protected"), "{e:?}");

    let absent = to(other.to_str().unwrap()).with_program(dir.path().join("no-such-git"));
    let e = with_remote(&repo, absent).await.push().await.unwrap_err();
    assert!(e.kind() == ErrorKind::Config && e.hint_text().unwrap().contains("install Git"), "{e:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn a_batch_is_pushed_beside_what_is_stored_next() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other) = (dir.path().join("r.git"), dir.path().join("o.git"));
    bare(&other);
    let backend = with_remote(&repo, to(other.to_str().unwrap()).with_push(PushWhen::Batch)).await;
    for i in 0..3 {
        store(&backend, "sw1", format!("{i}\n")).await;
    }
    let pushed = async {
        while super::try_git(&other, &["rev-parse", "main"]).1.trim() != tip(&repo) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), pushed).await.expect("it is pushed");
}

#[tokio::test]
#[ignore = "needs git, sshd, ssh, ssh-keygen and root"]
async fn over_ssh_with_a_key_and_a_known_host() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other) = (dir.path().join("r.git"), dir.path().join("o.git"));
    bare(&other);
    let server = sshd::Sshd::start(dir.path());
    let url = format!("ssh://root@127.0.0.1:{}{}", server.port, other.display());
    let known_hosts = dir.path().join("known hosts");
    let mut access = RemoteAccess::default();
    access.key_file = Some(server.key.clone());
    access.known_hosts = Some(known_hosts.clone());
    access.strict_host_key = true;
    let strict = with_remote(&repo, to(&url).with_login(Arc::new(access.clone()))).await;
    let at = store(&strict, "sw1", "one\n").await;
    assert_eq!(strict.push().await.unwrap_err().kind(), ErrorKind::HostKeyRejected);
    access.strict_host_key = false;
    let backend = with_remote(&repo, to(&url).with_login(Arc::new(access.clone()))).await;
    assert!(backend.push().await.unwrap().pushed);
    assert_eq!(tip(&repo), tip(&other));
    assert!(std::fs::read_to_string(&known_hosts).unwrap().contains("127.0.0.1"));
    commit(&other, "README.md", "x\n");
    store(&strict, "sw1", "two\n").await;
    assert!(strict.push().await.unwrap().merged, "the host is known now");
    assert!(strict.test_remote().await.unwrap().contains("where ours does"));
    assert!(strict.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good());

    // Another key at the same address; and a key that may not log in.
    let text = std::fs::read_to_string(&known_hosts).unwrap();
    let stranger = server.another_key("stranger");
    let public = std::fs::read_to_string(stranger.with_extension("pub")).unwrap();
    let changed = text.lines().next().unwrap().split(' ').next().unwrap().to_owned() + " " + &public;
    std::fs::write(&known_hosts, changed).unwrap();
    assert_eq!(backend.test_remote().await.unwrap_err().kind(), ErrorKind::HostKeyRejected);
    std::fs::write(&known_hosts, text).unwrap();
    access.key_file = Some(stranger);
    let refused = with_remote(&repo, to(&url).with_login(Arc::new(access))).await;
    assert_eq!(refused.test_remote().await.unwrap_err().kind(), ErrorKind::AuthRejected);
    drop(server);
    assert_eq!(backend.test_remote().await.unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(backend.read_all(&at, 100).await.unwrap(), b"one\n");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn over_http_with_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other) = (dir.path().join("r.git"), dir.path().join("o.git"));
    bare(&other);
    git(&other, &["config", "http.receivepack", "true"]);
    let server = http::start(dir.path(), "git", "s3cret").await;
    let url = format!("http://127.0.0.1:{}/o.git", server.port());
    let without = with_remote(&repo, to(&url)).await;
    let (entry, body) = config("sw1", devicevault_testkit::samples::noise(1, 3_000_000));
    without.store_one(entry, body).await.unwrap();
    assert_eq!(without.push().await.unwrap_err().kind(), ErrorKind::AuthRejected);
    let mut access = RemoteAccess::default();
    access.token = Some("wrong".to_owned().into());
    let wrong = with_remote(&repo, to(&url).with_login(Arc::new(access.clone()))).await;
    let e = wrong.push().await.unwrap_err();
    assert!(e.kind() == ErrorKind::AuthRejected && !format!("{e:?}").contains("wrong"), "{e:?}");
    access.token = Some("s3cret".to_owned().into());
    let backend = with_remote(&repo, to(&url).with_login(Arc::new(access.clone()))).await;
    assert!(backend.push().await.unwrap().pushed);
    assert_eq!(tip(&repo), tip(&other));
    commit(&other, "README.md", "x\n");
    store(&backend, "sw1", "two\n").await;
    assert!(backend.push().await.unwrap().merged);
    assert_eq!(tip(&repo), tip(&other));
    // Not in the repository, and not over the network in the clear.
    for file in walk(&repo) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"s3cret"), "{}", file.display());
    }
    let clear = to("http://git.example.net/x.git").with_login(Arc::new(access));
    let e = with_remote(&repo, clear).await.push().await.unwrap_err();
    assert!(e.kind() == ErrorKind::Config && e.hint_text().unwrap().contains("https"), "{e:?}");
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(walk(&path)) } else { all.push(path) }
    }
    all
}

/// Not a test of its own: the child's side of the one below. Stores and pushes until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_when_another_test_asks() {
    let Ok(task) = std::env::var("DEVICEVAULT_TEST_GIT_PUSH") else { return };
    let [repo, other, log] = task.split('|').collect::<Vec<_>>()[..] else { panic!("{task}") };
    let backend = with_remote(Path::new(repo), to(other)).await;
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    for i in 0.. {
        let at = store(&backend, "sw1", format!("{i} of {}\n", std::process::id())).await;
        std::io::Write::write_all(&mut log, format!("{at}\n").as_bytes()).unwrap();
        let _ = backend.push().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn killed_while_it_pushes_nothing_is_lost_and_the_next_push_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other, log) = (dir.path().join("r.git"), dir.path().join("o.git"), dir.path().join("log"));
    bare(&other);
    let backend = with_remote(&repo, to(other.to_str().unwrap())).await;
    store(&backend, "first", "x\n").await;
    backend.push().await.unwrap();
    drop(backend);
    for round in 0..12_u64 {
        let task = format!("{}|{}|{}", repo.display(), other.display(), log.display());
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "git::remote::pushes_when_another_test_asks", "--nocapture"])
            .env("DEVICEVAULT_TEST_GIT_PUSH", task)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(150 + round * 37)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // The `git` that it started may go on for a moment: others are faster then, and that is no error.
        let backend = with_remote(&repo, to(other.to_str().unwrap())).await;
        store(&backend, "after", format!("{round}\n")).await;
        backend.push().await.unwrap();
    }
    let backend = with_remote(&repo, to(other.to_str().unwrap())).await;
    commit(&other, "README.md", "x\n");
    store(&backend, "last", "x\n").await;
    assert!(backend.push().await.unwrap().merged);
    assert_eq!(tip(&repo), tip(&other));
    let acknowledged = super::crash::acknowledged(&log);
    for at in &acknowledged {
        assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good(), "{at}");
    }
    eprintln!("{} references were acknowledged", acknowledged.len());
    assert_sound(&repo);
    assert_sound(&other);
}

#[tokio::test]
#[ignore = "needs git"]
async fn what_others_push_decides_nothing_of_our_devices() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other) = (dir.path().join("r.git"), dir.path().join("o.git"));
    bare(&other);
    let backend = with_remote(&repo, to(other.to_str().unwrap())).await;
    let mut first = Vec::new();
    for device in ["sw1", "sw2", "sw3"] {
        first.push(store(&backend, device, format!("hostname {device}\n")).await);
    }
    backend.push().await.unwrap();
    let forged = [
        ("sw1/running-config.txt", Some("hostname forged\n")),
        ("sw1/startup-config.txt", Some("hostname forged\n")),
        ("sw2", None),
        ("sw3/running-config.txt", None),
        ("README.md", Some("read me\n")),
        ("notes/sw1.md", Some("in the cellar\n")),
    ];
    let shown = "README.md\nnotes/sw1.md\nsw1/running-config.txt\nsw2/running-config.txt\nsw3/running-config.txt\n";
    let as_ours = |round: &str| {
        for at in [&repo, &other] {
            assert_eq!(git(at, &["ls-tree", "-r", "--name-only", "main"]), shown, "{round}");
            assert_eq!(git(at, &["show", "main:sw1/running-config.txt"]), "hostname sw1\n", "{round}");
        }
    };
    // Once with nothing of ours since, once with a change; what is noted may be lost, too.
    change(&other, &forged);
    let theirs = tip(&other);
    let done = backend.push().await.unwrap();
    assert!(done.merged && done.pushed);
    as_ours("nothing of ours");
    git(&repo, &["merge-base", "--is-ancestor", &theirs, "main"]);

    change(&other, &forged[..2]);
    store(&backend, "sw3", "hostname sw3, changed\n").await;
    assert!(backend.push().await.unwrap().merged);
    as_ours("a change of ours");

    drop(backend);
    for entry in std::fs::read_dir(repo.join("devicevault")).unwrap().map(|e| e.unwrap().path()) {
        if entry.file_name().unwrap().to_string_lossy().starts_with("folders-") {
            std::fs::remove_file(entry).unwrap();
        }
    }
    change(&other, &forged[..3]);
    let backend = with_remote(&repo, to(other.to_str().unwrap())).await;
    assert!(backend.push().await.unwrap().merged);
    as_ours("a repository of an earlier release");
    for at in &first {
        assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good(), "{at}");
    }
    // What is theirs alone is followed, and a device that another home stores there is theirs.
    change(&other, &[("README.md", None), ("notes/sw1.md", Some("on the roof\n"))]);
    let elsewhere = with_remote(&dir.path().join("e.git"), to(other.to_str().unwrap())).await;
    store(&elsewhere, "sw9", "one\n").await;
    elsewhere.push().await.unwrap();
    backend.push().await.unwrap();
    store(&elsewhere, "sw9", "two\n").await;
    elsewhere.push().await.unwrap();
    assert!(!backend.push().await.unwrap().pushed, "there is nothing of ours that it has not");
    assert_eq!(tip(&repo), tip(&other));
    assert_eq!(git(&repo, &["show", "main:sw9/running-config.txt"]), "two\n");
    assert_eq!(git(&repo, &["show", "main:notes/sw1.md"]), "on the roof\n");
    assert_sound(&repo);
    assert_sound(&other);
}

#[tokio::test]
#[ignore = "needs git"]
async fn where_others_claim_to_have_stored_a_device_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other) = (dir.path().join("r.git"), dir.path().join("o.git"));
    bare(&other);
    let backend = with_remote(&repo, to(other.to_str().unwrap())).await;
    for device in ["sw1", "sw2"] {
        store(&backend, device, format!("hostname {device}\n")).await;
    }
    backend.push().await.unwrap();
    let ours = git(&other, &["log", "-1", "--format=%B", "main", "--", "sw1"]);
    assert!(ours.contains("\nDeviceVault-Path: sw1/"), "{ours}");
    drop(backend);
    // In a folder of theirs, and in that of another device; with something of ours since, and with nothing.
    let mut round = 0;
    for folder in ["theirs", "sw2"] {
        for changed in [false, true] {
            round += 1;
            let claimed = ours.replace("Path: sw1/", &format!("Path: {folder}/"));
            let note = format!("{round}\n");
            let files = [("theirs/startup-config.txt", Some("forged\n")), ("notes.md", Some(note.as_str()))];
            change_as(&other, &files, &claimed);
            let backend = with_remote(&repo, to(other.to_str().unwrap())).await;
            if changed {
                store(&backend, "sw2", format!("hostname sw2, {round}\n")).await;
            }
            assert!(backend.push().await.unwrap().merged);
            store(&backend, "sw1", format!("hostname sw1, {round}\n")).await;
            backend.push().await.unwrap();
            let shown = "notes.md\nsw1/running-config.txt\nsw2/running-config.txt\ntheirs/startup-config.txt\n";
            assert_eq!(git(&repo, &["ls-tree", "-r", "--name-only", "main"]), shown, "{folder} {changed}");
            // It stays in history, and is told as what it claims to be.
            assert!(listed(&backend).await.iter().any(|(at, _)| at.as_str().starts_with(&format!("main:{folder}/"))));
        }
    }
    assert_sound(&repo);
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_remote_is_asked_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, other) = (dir.path().join("r.git"), dir.path().join("o.git"));
    bare(&other);
    let backend = with_remote(&repo, to(other.to_str().unwrap())).await;
    store(&backend, "sw1", "one\n").await;
    assert!(backend.push().await.unwrap().pushed);
    // An empty one is in its place.
    std::fs::remove_dir_all(&other).unwrap();
    bare(&other);
    assert!(backend.push().await.unwrap().pushed);
    assert_eq!(tip(&repo), tip(&other));
    // Somebody threw all of it away.
    let empty = git(&other, &["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let root = git(&other, &["commit-tree", empty.trim(), "-m", "Mine"]);
    git(&other, &["update-ref", "refs/heads/main", root.trim()]);
    let done = backend.push().await.unwrap();
    assert!(done.pushed && done.merged);
    assert_eq!(git(&other, &["show", "main:sw1/running-config.txt"]), "one\n");
    // It is not there.
    std::fs::rename(&other, dir.path().join("away")).unwrap();
    backend.push().await.unwrap_err();
    assert!(backend.remote_state().unwrap().error.is_some());
    std::fs::rename(dir.path().join("away"), &other).unwrap();
    assert!(!backend.push().await.unwrap().pushed);
    assert!(backend.remote_state().unwrap().error.is_none());
}
