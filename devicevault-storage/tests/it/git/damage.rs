//! Damage to objects, and what is said of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use devicevault_core::storage::{Verdict, VerifyDepth};
use devicevault_core::{ErrorKind, StorageBackend, StorageBackendExt as _, StorageRef, SystemClock};
use devicevault_storage::git::{GitBackend, GitOptions};
use devicevault_testkit::conformance::{BackendSuite, Damage};
use devicevault_testkit::samples;

use super::{git, open, store, try_git};

fn packs(repo: &Path) -> Vec<PathBuf> {
    let dir = std::fs::read_dir(repo.join("objects/pack")).unwrap();
    dir.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "pack")).collect()
}

/// Turns packs into loose objects, so that one can be damaged and no other.
fn unpack(repo: &Path) {
    for pack in packs(repo) {
        let aside = repo.join("aside.pack");
        std::fs::rename(&pack, &aside).unwrap();
        std::fs::remove_file(pack.with_extension("idx")).unwrap();
        let done = std::process::Command::new("git")
            .arg("--git-dir")
            .arg(repo)
            .args(["unpack-objects", "-q"])
            .stdin(std::fs::File::open(&aside).unwrap())
            .status();
        assert!(done.unwrap().success());
        std::fs::remove_file(aside).unwrap();
    }
}

fn blob_of(repo: &Path, at: &StorageRef) -> String {
    let (path, commit) = at.as_str().split_once(':').unwrap().1.rsplit_once('@').unwrap();
    git(repo, &["rev-parse", &format!("{commit}:{path}")]).trim().to_owned()
}

fn hurt(file: &Path, how: Damage) {
    let mut bytes = std::fs::read(file).unwrap();
    std::fs::remove_file(file).unwrap();
    match how {
        Damage::Remove => return,
        Damage::Truncate => drop(bytes.pop()),
        _ => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        }
    }
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn the_suite_passes_with_damage_to_loose_objects() {
    let places = tempfile::tempdir().unwrap();
    let opener = async |place: &str| {
        let backend = GitBackend::open(places.path().join(place), GitOptions::default(), Arc::new(SystemClock)).await?;
        Ok(Arc::new(backend) as Arc<dyn StorageBackend>)
    };
    let damager = async |place: &str, at: &StorageRef, how: Damage| {
        let repo = places.path().join(place);
        let blob = blob_of(&repo, at);
        unpack(&repo);
        hurt(&repo.join("objects").join(&blob[..2]).join(&blob[2..]), how);
        Ok(true)
    };
    let report = BackendSuite::new(&opener).with_damage(&damager).only("damage").run().await;
    report.assert();
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_flipped_bit_in_a_pack_is_found_and_the_pack_named() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let (at, good) = {
        let backend = open(&repo).await;
        let at = store(&backend, "sw1", samples::noise(1, 5000)).await;
        (at, store(&backend, "sw2", samples::noise(2, 5000)).await)
    };
    let blob = blob_of(&repo, &at);
    let mut found = 0;
    for pack in packs(&repo) {
        let list = git(&repo, &["verify-pack", "-v", pack.with_extension("idx").to_str().unwrap()]);
        // Columns: object, type, size, size in the pack, offset.
        let Some(line) = list.lines().find(|l| l.starts_with(&blob)) else { continue };
        let column = |i: usize| line.split_whitespace().nth(i).unwrap().parse::<usize>().unwrap();
        let mut bytes = std::fs::read(&pack).unwrap();
        bytes[column(4) + column(3) / 2] ^= 1;
        std::fs::remove_file(&pack).unwrap();
        std::fs::write(&pack, bytes).unwrap();
        found += 1;

        let backend = open(&repo).await;
        let e = backend.read_all(&at, 10_000).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{e:?}");
        for depth in [VerifyDepth::Stored, VerifyDepth::Content] {
            let Verdict::Damaged(what) = backend.verify(&at, None, depth).await.unwrap() else { panic!("not seen") };
            let text = what.join("\n");
            assert!(text.contains(&blob) && text.contains(pack.file_name().unwrap().to_str().unwrap()), "{text}");
        }
        assert!(backend.verify(&good, None, VerifyDepth::Content).await.unwrap().is_good());
        assert!(!try_git(&repo, &["fsck", "--full"]).0, "git sees it as well");
    }
    assert_eq!(found, 1);
}

#[tokio::test]
async fn a_pack_that_is_cut_off_or_gone_is_damage_and_the_rest_is_good() {
    let mut told = 0;
    for how in ["cut", "gone", "both gone"] {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("r.git");
        let (first, pack, second) = {
            let backend = open(&repo).await;
            let first = store(&backend, "sw1", samples::noise(1, 5000)).await;
            let pack = packs(&repo).remove(0);
            (first, pack, store(&backend, "sw2", samples::noise(2, 5000)).await)
        };
        match how {
            "cut" => {
                let bytes = std::fs::read(&pack).unwrap();
                std::fs::remove_file(&pack).unwrap();
                std::fs::write(&pack, &bytes[..100]).unwrap();
            }
            "gone" => std::fs::remove_file(&pack).unwrap(),
            _ => {
                std::fs::remove_file(&pack).unwrap();
                std::fs::remove_file(pack.with_extension("idx")).unwrap();
            }
        }
        let backend = open(&repo).await;
        let kind = backend.read_all(&first, 10_000).await.map(|b| b.len()).unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::NotFound), "{how}: {kind}");
        match backend.verify(&first, None, VerifyDepth::Content).await.unwrap() {
            Verdict::Damaged(what) => assert!(!what.is_empty()),
            Verdict::Missing if how != "cut" => {}
            other => panic!("{how}: {other:?}"),
        }
        assert!(backend.verify(&second, None, VerifyDepth::Content).await.unwrap().is_good(), "{how}");
        assert_eq!(backend.read_all(&second, 10_000).await.unwrap().len(), 5000);
        told += 1;
    }
    eprintln!("a pack was cut off, gone, gone with its index: {told} of 3 told");
}

/// Flips a bit in the middle of a blob, wherever it is packed.
fn hurt_in_pack(repo: &Path, blob: &str) {
    for pack in packs(repo) {
        let list = git(repo, &["verify-pack", "-v", pack.with_extension("idx").to_str().unwrap()]);
        let Some(line) = list.lines().find(|l| l.starts_with(blob)) else { continue };
        let column = |i: usize| line.split_whitespace().nth(i).unwrap().parse::<usize>().unwrap();
        let mut bytes = std::fs::read(&pack).unwrap();
        bytes[column(4) + column(3) / 2] ^= 1;
        std::fs::remove_file(&pack).unwrap();
        std::fs::write(&pack, bytes).unwrap();
        return;
    }
    panic!("no pack holds {blob}");
}

/// Twenty versions of two devices in one pack, most of them deltas of others.
async fn merged(repo: &Path) -> Vec<(StorageRef, devicevault_core::Entry, Vec<u8>)> {
    let backend = open(repo).await;
    let mut all = Vec::new();
    for i in 0..20 {
        let device = if i % 2 == 0 { "sw1" } else { "sw2" };
        let mut text = samples::text(i % 2, 6000).to_vec();
        text.extend_from_slice(format!("version {i}\n").as_bytes());
        let (entry, body) = super::config(device, text.clone());
        let at = backend.store_one(entry.clone(), body).await.unwrap();
        all.push((at, entry, text));
    }
    backend.maintain(devicevault_core::storage::Budget::default()).await.unwrap();
    assert_eq!(packs(repo).len(), 1);
    all
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_damaged_object_that_is_stored_again_is_replaced_and_git_is_content() {
    let dir = tempfile::tempdir().unwrap();
    // The newest version of a line is what the others are made of; and one in the middle.
    for (n, which) in [19, 4].into_iter().enumerate() {
        let repo = dir.path().join(format!("{n}.git"));
        let all = merged(&repo).await;
        hurt_in_pack(&repo, &blob_of(&repo, &all[which].0));
        assert!(!try_git(&repo, &["fsck", "--full"]).0);

        let backend = open(&repo).await;
        let (at, entry, text) = &all[which];
        let Verdict::Damaged(_) = backend.verify(at, None, VerifyDepth::Content).await.unwrap() else {
            panic!("not seen")
        };
        let body: Arc<dyn devicevault_core::Body> = Arc::new(bytes::Bytes::from(text.clone()));
        assert_eq!(backend.store_one(entry.clone(), body).await.unwrap(), *at, "it is the same copy");
        super::assert_sound(&repo);
        for (at, _, text) in &all {
            assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good());
            assert_eq!(backend.read_all(at, 10_000).await.unwrap(), *text);
        }
        assert!(!repo.join("devicevault/damaged").exists(), "nothing is lost, so nothing is kept");
    }
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_backup_of_what_is_damaged_at_the_tip_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let first = store(&open(&repo).await, "sw1", samples::noise(1, 5000)).await;
    hurt_in_pack(&repo, &blob_of(&repo, &first));
    // The same content, taken by another run.
    let backend = open(&repo).await;
    let second = store(&backend, "sw1", samples::noise(1, 5000)).await;
    super::assert_sound(&repo);
    for at in [&first, &second] {
        assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good());
    }
}

#[tokio::test]
#[ignore = "needs git"]
async fn maintenance_saves_what_can_be_read_and_names_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("r.git");
    let all = merged(&repo).await;
    hurt_in_pack(&repo, &blob_of(&repo, &all[0].0));
    let backend = open(&repo).await;
    let report = backend.maintain(devicevault_core::storage::Budget::default()).await.unwrap();
    let told = report.done.join("\n");
    assert!(told.contains("1 damaged packs") && told.contains(&blob_of_lost(&all[0].0)), "{told}");
    let mut lost = 0;
    for (at, _, _) in &all {
        lost += usize::from(!backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good());
    }
    assert!((1..20).contains(&lost), "{lost}");
    assert_eq!(told.matches("lost: ").count(), lost, "{told}");
    // What is good is sound now; what is lost comes back when it is stored again.
    for (_, entry, text) in &all {
        let body: Arc<dyn devicevault_core::Body> = Arc::new(bytes::Bytes::from(text.clone()));
        backend.store_one(entry.clone(), body).await.unwrap();
    }
    super::assert_sound(&repo);
    for (at, _, text) in &all {
        assert_eq!(backend.read_all(at, 10_000).await.unwrap(), *text);
    }
    let report = backend.maintain(devicevault_core::storage::Budget::default()).await.unwrap();
    assert!(report.done.iter().any(|l| l.contains("remove it")), "{report:?}");
}

/// A version as a report names it.
fn blob_of_lost(at: &StorageRef) -> String {
    let (path, commit) = at.as_str().split_once(':').unwrap().1.rsplit_once('@').unwrap();
    format!("lost: {path} at {commit}")
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_damaged_loose_object_is_replaced() {
    for how in [Damage::FlipBit, Damage::Truncate] {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("r.git");
        let (entry, body) = super::config("sw1", samples::noise(1, 5000));
        let at = open(&repo).await.store_one(entry.clone(), body.clone()).await.unwrap();
        unpack(&repo);
        let blob = blob_of(&repo, &at);
        hurt(&repo.join("objects").join(&blob[..2]).join(&blob[2..]), how);
        let backend = open(&repo).await;
        assert_eq!(backend.store_one(entry, body).await.unwrap(), at);
        super::assert_sound(&repo);
        assert!(backend.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good());
    }
}
