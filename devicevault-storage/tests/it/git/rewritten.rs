//! A branch that somebody moves back or rewrites, and devices that are given another name or site.

use std::path::Path;
use std::sync::Arc;

use devicevault_core::storage::{ListFilter, Verdict, VerifyDepth};
use devicevault_core::{
    Body, DeviceId, Entry, ErrorKind, Manifest, StorageBackend, StorageBackendExt as _, StorageRef,
};
use devicevault_storage::git::{CommitPer, GitBackend, GitOptions, Purge};
use futures::TryStreamExt as _;

use super::remote::change;
use super::{assert_sound, config, git, listed, open, open_with, store};

async fn verdict(backend: &GitBackend, at: &StorageRef) -> Verdict {
    backend.verify(at, None, VerifyDepth::Size).await.unwrap()
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_branch_that_was_moved_back_is_seen_and_stored_to_again() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    let first = store(&backend, "sw1", "one\n").await;
    let (entry, body) = config("sw1", "two\n");
    let second = backend.store_one(entry.clone(), body.clone()).await.unwrap();
    assert!(verdict(&backend, &second).await.is_good());
    git(&repo, &["update-ref", "refs/heads/main", "main~1"]);
    for backend in [&backend, &open(&repo).await] {
        assert!(verdict(backend, &first).await.is_good());
        let Verdict::Damaged(what) = verdict(backend, &second).await else { panic!("not seen") };
        assert!(what.join("").contains("no longer leads to"), "{what:?}");
        // It can be read for as long as it lasts.
        assert_eq!(backend.read_all(&second, 100).await.unwrap(), b"two\n");
    }
    // Within one second it may even be the same commit.
    let again = backend.store_one(entry, body).await.unwrap();
    assert!(verdict(&backend, &again).await.is_good());
    assert_eq!(listed(&backend).await.len(), 2);
    assert_sound(&repo);
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_branch_that_was_rewritten_by_force_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    let at = store(&backend, "sw1", "one\n").await;
    let other = store(&open_with(&repo, GitOptions::default().with_branch("other")).await, "sw1", "x\n").await;
    let foreign = git(&repo, &["commit-tree", "main^{tree}", "-m", "mine"]);
    git(&repo, &["update-ref", "refs/heads/main", foreign.trim()]);
    git(&repo, &["update-ref", "refs/heads/other", foreign.trim()]);
    for at in [&at, &other] {
        assert!(matches!(verdict(&backend, at).await, Verdict::Damaged(_)), "{at}");
    }
    let again = store(&backend, "sw1", "one\n").await;
    assert!(verdict(&backend, &again).await.is_good());
}

fn at_site(id: &str, name: &str, site: Option<&str>, artefact: &str, text: &str) -> (Entry, Arc<dyn Body>) {
    let (mut entry, body) = config(id, text.to_owned());
    entry.manifest.source.device = DeviceId::from(id);
    name.clone_into(&mut entry.manifest.source.device_name);
    entry.manifest.source.site = site.map(str::to_owned);
    artefact.clone_into(&mut entry.manifest.artefact);
    (entry, body)
}

fn files(repo: &Path) -> Vec<String> {
    git(repo, &["ls-tree", "-r", "--name-only", "main"]).lines().map(str::to_owned).collect()
}

#[tokio::test]
#[ignore = "needs git"]
async fn the_files_of_a_device_follow_its_name_and_site() {
    for commits in [CommitPer::Artefact, CommitPer::Batch] {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("r.git");
        let backend = open_with(&repo, GitOptions::default().with_commits(commits)).await;
        let put = async |batch| {
            let all: Result<Vec<_>, _> = backend.store(batch).await.into_iter().collect();
            all.unwrap()
        };
        let text = |n: usize| format!("hostname x\n{}version {n}\n", "interface\n".repeat(30));
        put(vec![
            at_site("d1", "core", Some("zurich"), "running-config", &text(1)),
            at_site("d1", "core", Some("zurich"), "inventory", "chassis\n"),
            at_site("d2", "edge", Some("zurich"), "running-config", "edge\n"),
        ])
        .await;
        let moved = put(vec![
            at_site("d2", "edge", Some("zurich"), "running-config", "edge 2\n"),
            at_site("d1", "core1", Some("geneva"), "running-config", &text(2)),
        ])
        .await;
        assert_eq!(
            files(&repo),
            ["geneva/core1/inventory.txt", "geneva/core1/running-config.txt", "zurich/edge/running-config.txt"]
        );
        let log = git(&repo, &["log", "--follow", "--format=%s", "main", "--", "geneva/core1/running-config.txt"]);
        assert_eq!(log.lines().count(), 3, "{log}");
        assert!(log.contains("core1: moved from zurich/core to geneva/core1"), "{log}");
        let log = git(&repo, &["log", "--follow", "--format=%s", "main", "--", "geneva/core1/inventory.txt"]);
        assert_eq!(log.lines().count(), 2, "{log}");
        // In one batch back and away again, and without a site.
        put(vec![
            at_site("d1", "core", Some("zurich"), "running-config", &text(3)),
            at_site("d1", "core", None, "running-config", &text(4)),
        ])
        .await;
        assert_eq!(files(&repo), ["core/inventory.txt", "core/running-config.txt", "zurich/edge/running-config.txt"]);
        let log = git(&repo, &["log", "--follow", "--format=%s", "main", "--", "core/running-config.txt"]);
        assert_eq!(log.lines().count(), 7, "{log}");
        for at in &moved {
            assert!(verdict(&backend, at).await.is_good());
        }
        let mut filter = ListFilter::default();
        filter.device = Some(DeviceId::from("d1"));
        assert_eq!(backend.list(filter).try_collect::<Vec<_>>().await.unwrap().len(), 5);
        assert_sound(&repo);
    }
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_name_that_another_device_has_now_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    let store = async |id, name, text| {
        let (entry, body) = at_site(id, name, None, "running-config", text);
        backend.store_one(entry, body).await.unwrap()
    };
    let first = store("d1", "core", "old\n").await;
    store("d2", "core", "new\n").await;
    store("d1", "core-old", "old 2\n").await;
    assert_eq!(files(&repo), ["core-old/running-config.txt", "core/running-config.txt"]);
    assert_eq!(git(&repo, &["show", "main:core/running-config.txt"]), "new\n");
    assert_eq!(backend.read_all(&first, 100).await.unwrap(), b"old\n");
    // A name that is a site's, and one that is a file's: what has none of its own stands beside, with all that it has.
    let (entry, body) = at_site("d3", "x", Some("core"), "running-config", "x\n");
    assert!(backend.store_one(entry, body).await.is_ok());
    let (mut entry, body) = at_site("d2", "running-config.txt", Some("core"), "x", "x\n");
    entry.manifest.extension.clear();
    let beside = backend.store_one(entry, body).await.unwrap();
    assert_eq!(backend.read_all(&beside, 100).await.unwrap(), b"x\n");
    let all = files(&repo);
    let moved = all.iter().find(|f| f.starts_with("core/running-config.txt~") && f.ends_with("/running-config.txt"));
    assert_eq!(git(&repo, &["show", &format!("main:{}", moved.unwrap())]), "new\n", "{all:?}");
    assert_eq!(git(&repo, &["show", "main:core/x/running-config.txt"]), "x\n");
    assert_sound(&repo);
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_new_device_puts_aside_what_a_renamed_one_has_in_its_folder() {
    for commits in [CommitPer::Artefact, CommitPer::Batch] {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("r.git");
        let backend = open_with(&repo, GitOptions::default().with_commits(commits)).await;
        let put = async |id, name, artefact, text| {
            let (entry, body) = at_site(id, name, Some("zurich"), artefact, text);
            backend.store_one(entry, body).await.unwrap()
        };
        let running = put("d1", "core", "running-config", "one\n").await;
        let startup = put("d1", "core", "startup-config", "start\n").await;
        // The first one has another name by now, and nothing new.
        let mut taken = put("d2", "core", "running-config", "two\n").await;
        let shown = |file: &str| git(&repo, &["show", &format!("main:{file}")]);
        let all = files(&repo);
        assert_eq!((all.len(), all[0].as_str()), (3, "zurich/core/running-config.txt"), "{all:?}");
        assert!(all[1..].iter().all(|file| file.starts_with("zurich/core~")), "{all:?}");
        assert_eq!([shown(&all[0]), shown(&all[1]), shown(&all[2])], ["two\n", "one\n", "start\n"]);
        for at in [&running, &startup, &taken] {
            assert!(verdict(&backend, at).await.is_good(), "{at}");
        }
        // Somebody else takes away what was put aside.
        let aside = all[1].rsplit_once('/').unwrap().0;
        change(&repo, &[(aside, None)]);
        for at in [&running, &startup] {
            let Verdict::Damaged(why) = verdict(&backend, at).await else { panic!("{at}") };
            assert!(why.join("").contains("does not show it any more"), "{why:?}");
        }
        assert!(verdict(&backend, &taken).await.is_good());
        // What is stored of it next goes where it is called now, and all that it has goes along.
        change(&repo, &[(&all[1], Some("one\n")), (&all[2], Some("start\n"))]);
        put("d1", "edge", "running-config", "one 2\n").await;
        let all = files(&repo);
        assert_eq!(
            all,
            ["zurich/core/running-config.txt", "zurich/edge/running-config.txt", "zurich/edge/startup-config.txt"]
        );
        assert_eq!([shown(&all[1]), shown(&all[2])], ["one 2\n", "start\n"]);
        // A third one takes the folder that it stands in now.
        put("d3", "edge", "startup-config", "three\n").await;
        taken = put("d2", "core", "running-config", "two 2\n").await;
        for at in [&running, &startup, &taken] {
            assert!(verdict(&backend, at).await.is_good(), "{at}");
        }
        assert_eq!(files(&repo).len(), 4);
        assert_sound(&repo);
    }
}

#[tokio::test]
#[ignore = "needs git"]
async fn what_was_put_aside_for_a_device_that_was_purged_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    for (id, text) in [("d1", "one\n"), ("d2", "two\n")] {
        let (entry, body) = at_site(id, "core", Some("zurich"), "running-config", text);
        backend.store_one(entry, body).await.unwrap();
    }
    let gone = DeviceId::from("d2");
    let purge = Purge::versions(Arc::new(move |m: &Manifest| m.source.device == gone));
    backend.purge(purge, false).await.unwrap();
    let left = listed(&backend).await;
    let [(at, _)] = left.as_slice() else { panic!("{left:?}") };
    assert_eq!(verdict(&backend, at).await, Verdict::Good(VerifyDepth::Size));
    assert_sound(&repo);
}

#[tokio::test]
#[ignore = "needs git"]
async fn what_was_put_aside_moves_on_after_a_purge() {
    // As the other device was called; and by another name, that it was given meanwhile.
    for name in ["core", "edge"] {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("r.git");
        let backend = open(&repo).await;
        let put = async |id, name, artefact, text| {
            let (entry, body) = at_site(id, name, Some("zurich"), artefact, text);
            backend.store_one(entry, body).await.unwrap()
        };
        put("d1", "core", "running-config", "one\n").await;
        put("d1", "core", "startup-config", "start\n").await;
        put("d2", "core", "running-config", "two\n").await;
        let gone = DeviceId::from("d2");
        let purge = Purge::versions(Arc::new(move |m: &Manifest| m.source.device == gone));
        backend.purge(purge, false).await.unwrap();
        put("d1", name, "running-config", "one 2\n").await;
        let all = [format!("zurich/{name}/running-config.txt"), format!("zurich/{name}/startup-config.txt")];
        assert_eq!(files(&repo), all);
        let shown = |file: &str| git(&repo, &["show", &format!("main:{file}")]);
        assert_eq!([shown(&all[0]), shown(&all[1])], ["one 2\n", "start\n"]);
        // What an earlier release left standing beside it is older.
        let aside = git(&repo, &["log", "--format=", "--name-only", "--no-renames", "--diff-filter=A", "main"]);
        let aside = aside.lines().find(|file| file.starts_with("zurich/core~")).unwrap().rsplit_once('/').unwrap().0;
        if name == "core" {
            let old = [("running-config.txt", "one\n"), ("inventory.txt", "chassis\n")];
            let old = old.map(|(file, text)| (format!("{aside}/{file}"), text));
            change(&repo, &old.each_ref().map(|(file, text)| (file.as_str(), Some(*text))));
            put("d1", name, "startup-config", "start 2\n").await;
            assert_eq!(files(&repo), ["zurich/core/inventory.txt", all[0].as_str(), all[1].as_str()]);
            assert_eq!([shown(&all[0]), shown(&all[1])], ["one 2\n", "start 2\n"]);
        }
        for (at, _) in listed(&backend).await {
            assert!(verdict(&backend, &at).await.is_good(), "{at}");
        }
        assert_sound(&repo);
    }
}

#[tokio::test]
#[ignore = "needs git"]
async fn what_was_put_aside_moves_on_in_a_clone() {
    for is_forged in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("r.git");
        let put = async |backend: &GitBackend, id, name, artefact, text| {
            let (entry, body) = at_site(id, name, Some("zurich"), artefact, text);
            backend.store_one(entry, body).await.unwrap()
        };
        let backend = open(&repo).await;
        put(&backend, "d1", "core", "startup-config", "start\n").await;
        put(&backend, "d1", "core", "running-config", "one\n").await;
        put(&backend, "d2", "core", "running-config", "two\n").await;
        drop(backend);
        // What stands beside the objects is no part of what is cloned.
        std::fs::remove_dir_all(repo.join("devicevault")).unwrap();
        let aside = files(&repo).into_iter().find(|file| file.starts_with("zurich/core~")).unwrap();
        if is_forged {
            change(&repo, &[(&aside, Some("forged\n"))]);
        }
        let backend = open(&repo).await;
        put(&backend, "d1", "edge", "running-config", "one 2\n").await;
        let mut all = ["zurich/core/running-config.txt", "zurich/edge/running-config.txt"].map(str::to_owned).to_vec();
        if is_forged {
            let folder = aside.rsplit_once('/').unwrap().0;
            all.extend(["running-config.txt", "startup-config.txt"].map(|file| format!("{folder}/{file}")));
        } else {
            all.push("zurich/edge/startup-config.txt".to_owned());
        }
        all.sort();
        let mut there = files(&repo);
        there.sort();
        assert_eq!(there, all);
        assert_sound(&repo);
    }
}

#[tokio::test]
async fn an_index_that_comes_from_elsewhere_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open_with(&repo, GitOptions::default().with_commits(CommitPer::Batch)).await;
    let batch = ["d1", "d2"].map(|id| at_site(id, id, None, "running-config", "text\n"));
    for stored in backend.store(Vec::from(batch)).await {
        stored.unwrap();
    }
    drop(backend);
    // One that lacks the second backup of a commit.
    let beside = std::fs::read_dir(repo.join("devicevault")).unwrap().map(|entry| entry.unwrap().path());
    let index = beside.into_iter().find(|path| path.to_string_lossy().contains("/index-")).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&index).unwrap();
    file.set_len(file.metadata().unwrap().len() - 64).unwrap();
    for (is_own, known) in [(true, 1), (false, 2)] {
        let backend = open_with(&repo, GitOptions::default().with_own_index(is_own)).await;
        assert_eq!(listed(&backend).await.len(), known);
    }
}

#[tokio::test]
async fn what_is_in_another_branch_is_whole_and_no_reason_to_store_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    let at = store(&backend, "sw1", "one\n").await;
    assert!(backend.look_at(&at).await.unwrap().is_good());
    drop(backend);
    let backend = open_with(&repo, GitOptions::default().with_branch("b2")).await;
    assert!(verdict(&backend, &at).await.is_good());
    assert_eq!(backend.look_at(&at).await.unwrap_err().kind(), ErrorKind::NotFound);
    let at = store(&backend, "sw1", "one\n").await;
    assert!(backend.look_at(&at).await.unwrap().is_good());
}

#[tokio::test]
#[ignore = "needs git"]
async fn devices_that_swap_their_names_keep_all_of_their_files() {
    for commits in [CommitPer::Artefact, CommitPer::Batch] {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("r.git");
        let options = || GitOptions::default().with_commits(commits);
        let backend = open_with(&repo, options()).await;
        let put = async |backend: &GitBackend, batch| {
            let all: Result<Vec<_>, _> = backend.store(batch).await.into_iter().collect();
            all.unwrap()
        };
        let both = |(a, b): (&'static str, &'static str), artefact, version: &str| {
            let text = |id: &str| format!("{id} {version}\n");
            vec![at_site("d1", a, None, artefact, &text("d1")), at_site("d2", b, None, artefact, &text("d2"))]
        };
        put(&backend, both(("a", "b"), "running-config", "1")).await;
        put(&backend, both(("a", "b"), "startup-config", "1")).await;
        let shown = |file: &str| git(&repo, &["show", &format!("main:{file}")]);
        // Both are stored after it, in one batch; then one alone, by a backend that has just read history, and the other.
        put(&backend, both(("b", "a"), "running-config", "2")).await;
        let all = ["a/running-config.txt", "a/startup-config.txt", "b/running-config.txt", "b/startup-config.txt"];
        assert_eq!(files(&repo), all);
        assert_eq!([shown(all[0]), shown(all[1])], ["d2 2\n", "d2 1\n"]);
        assert_eq!([shown(all[2]), shown(all[3])], ["d1 2\n", "d1 1\n"]);
        let mut back = both(("a", "b"), "running-config", "3");
        let second = back.split_off(1);
        put(&backend, back).await;
        assert_eq!([shown(all[0]), shown(all[1])], ["d1 3\n", "d1 1\n"]);
        let beside: Vec<_> = files(&repo).into_iter().filter(|f| f.starts_with("a~")).collect();
        assert_eq!(beside.iter().map(|f| shown(f)).collect::<Vec<_>>(), ["d2 2\n", "d2 1\n"]);
        drop(backend);
        let backend = open_with(&repo, options()).await;
        put(&backend, second).await;
        assert_eq!(files(&repo), all);
        assert_eq!([shown(all[2]), shown(all[3])], ["d2 3\n", "d2 1\n"]);
        // Of a chain, one after the other.
        put(&backend, vec![at_site("d1", "b", None, "running-config", "d1 4\n")]).await;
        put(&backend, vec![at_site("d2", "c", None, "running-config", "d2 4\n")]).await;
        let all = ["b/running-config.txt", "b/startup-config.txt", "c/running-config.txt", "c/startup-config.txt"];
        assert_eq!(files(&repo), all);
        assert_eq!([shown(all[1]), shown(all[3])], ["d1 1\n", "d2 1\n"]);
        assert_sound(&repo);
        let listed: Vec<_> = backend.list(ListFilter::default()).try_collect().await.unwrap();
        assert_eq!(listed.len(), 10);
        for (at, _) in &listed {
            assert!(verdict(&backend, at).await.is_good(), "{at}");
        }
    }
}

#[tokio::test]
#[ignore = "needs git"]
async fn what_somebody_else_changed_in_the_branch_is_seen_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let backend = open(&repo).await;
    let put = async |id, name, artefact, text| {
        let (entry, body) = at_site(id, name, None, artefact, text);
        backend.store_one(entry, body).await.unwrap()
    };
    let old = put("d1", "sw1", "running-config", "zero\n").await;
    let running = put("d1", "sw1", "running-config", "one\n").await;
    let inventory = put("d1", "sw1", "inventory", "chassis\n").await;
    let gone = put("d2", "sw2", "running-config", "two\n").await;
    let all = [&old, &running, &inventory, &gone];
    for at in all {
        assert!(verdict(&backend, at).await.is_good(), "{at}");
    }
    change(&repo, &[("sw1/running-config.txt", Some("forged\n")), ("sw2", None), ("README.md", Some("x\n"))]);
    for backend in [&backend, &open(&repo).await] {
        for (at, what) in [(&running, "shows another text"), (&gone, "does not show it any more")] {
            let Verdict::Damaged(why) = verdict(backend, at).await else { panic!("{at}") };
            assert!(why.join("").contains(what), "{why:?}");
        }
        // What had no place in it before, and what nobody touched.
        assert!(verdict(backend, &old).await.is_good() && verdict(backend, &inventory).await.is_good());
    }
    let again = put("d1", "sw1", "running-config", "one\n").await;
    let back = put("d2", "sw2", "running-config", "two\n").await;
    assert_eq!(git(&repo, &["show", "main:sw1/running-config.txt"]), "one\n");
    assert_eq!(git(&repo, &["show", "main:sw2/running-config.txt"]), "two\n");
    assert_eq!(git(&repo, &["show", "main:README.md"]), "x\n");
    for at in all.into_iter().chain([&again, &back]) {
        assert!(verdict(&backend, at).await.is_good(), "{at}");
    }
    // A file that moved along with its device is where it should be; a name that is another device's is its own.
    put("d1", "core", "running-config", "three\n").await;
    put("d3", "sw2", "running-config", "mine\n").await;
    for at in all {
        assert!(verdict(&backend, at).await.is_good(), "{at}");
    }
    change(&repo, &[("core/inventory.txt", Some("forged\n"))]);
    assert!(matches!(verdict(&backend, &inventory).await, Verdict::Damaged(_)));
    put("d1", "core", "inventory", "chassis\n").await;
    assert_eq!(git(&repo, &["show", "main:core/inventory.txt"]), "chassis\n");
    assert!(verdict(&backend, &inventory).await.is_good());
    assert_sound(&repo);
}

#[tokio::test]
async fn a_folder_and_a_file_of_one_name_are_both_stored() {
    let bare = |site: Option<&str>, device: &str, artefact: &str, text: &str| {
        let (mut entry, body) = config(device, text.to_owned());
        (entry.manifest.artefact, entry.manifest.extension) = (artefact.to_owned(), String::new());
        entry.manifest.source.site = site.map(str::to_owned);
        (entry, body)
    };
    let file = || bare(None, "zurich", "sw1", "file\n");
    let folder = || bare(Some("zurich"), "sw1", "inventory", "folder\n");
    for (first, second, per) in [
        (file(), folder(), CommitPer::Artefact),
        (folder(), file(), CommitPer::Artefact),
        (file(), folder(), CommitPer::Batch),
        (folder(), file(), CommitPer::Batch),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let backend = open_with(&dir.path().join("r.git"), GitOptions::default().with_commits(per)).await;
        let texts: Vec<Vec<u8>> = vec![
            devicevault_core::body::read_to_vec(first.1.read(None), 100).await.unwrap(),
            devicevault_core::body::read_to_vec(second.1.read(None), 100).await.unwrap(),
        ];
        let mut refs: Vec<_> = backend.store(vec![first, second]).await.into_iter().map(Result::unwrap).collect();
        assert!(refs[0].as_str().starts_with("main:zurich/sw1"), "{refs:?}");
        assert!(refs[1].as_str().starts_with("main:zurich/sw1~"), "{refs:?}");
        // The next version goes to the same place.
        let next = bare(None, "zurich", "sw1", "next\n");
        refs.push(backend.store_one(next.0, next.1).await.unwrap());
        let path = |at: &StorageRef| at.as_str().rsplit_once('@').unwrap().0.to_owned();
        assert!(refs[..2].iter().any(|at| path(at) == path(&refs[2])), "{refs:?}");
        for (at, text) in refs.iter().zip(texts.iter().map(Vec::as_slice).chain([&b"next\n"[..]])) {
            assert_eq!(backend.read_all(at, 100).await.unwrap(), text);
            assert!(verdict(&backend, at).await.is_good(), "{at}");
        }
        assert_eq!(listed(&backend).await.len(), 3);
    }
}

#[tokio::test]
async fn what_was_stored_to_the_branch_of_before_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let first = store(&open(&repo).await, "sw1", "one\n").await;
    let later = open_with(&repo, GitOptions::default().with_branch("later")).await;
    let second = store(&later, "sw2", "two\n").await;
    let mut all: Vec<StorageRef> = later.list(ListFilter::default()).map_ok(|(at, _)| at).try_collect().await.unwrap();
    all.sort();
    assert_eq!(all, [second, first.clone()]);
    let mut of_device = ListFilter::default();
    of_device.device = Some(later.stat(&first).await.unwrap().source.device);
    let found: Vec<_> = later.list(of_device).map_ok(|(at, _)| at).try_collect().await.unwrap();
    assert_eq!(found, [first]);
    // A branch that is not ours is left alone.
    std::fs::copy(repo.join("refs/heads/main"), repo.join("refs/heads/theirs")).unwrap();
    assert_eq!(later.list(ListFilter::default()).try_collect::<Vec<_>>().await.unwrap().len(), 2);
}
