//! What lies in the folder, and that nothing else is touched.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::storage::{Budget, ListFilter, MISSING, UsageFilter, Verdict, VerifyDepth};
use devicevault_core::{Entry, ErrorKind, Manifest, StorageBackend as _, StorageBackendExt as _, Transform, View};
use devicevault_storage::plain::PlainBackend;
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::samples;
use futures::StreamExt as _;
use object_store::memory::InMemory;

use super::{ALL, AS_IT_IS, GZIP, Way, ZSTD, at, config, files, fresh, listed, manifest_of, options};

#[tokio::test]
async fn a_person_finds_and_reads_a_backup() {
    for way in [AS_IT_IS, ZSTD, GZIP] {
        let (folder, backend) = fresh(way).await;
        let (mut entry, body) = config("core-rtr1", &b"hostname core-rtr1\n"[..]);
        entry.manifest.source.site = Some("zurich".to_owned());
        let at = backend.store_one(entry.clone(), body).await.unwrap();
        let suffix = way.suffix();
        let (start, end) = ("zurich/core-rtr1/running-config/2026-01-01T00-00-00Z-", format!(".txt{suffix}"));
        assert!(at.as_str().starts_with(start) && at.as_str().ends_with(&end), "{at}");

        let path = folder.path().join(at.as_str());
        let stored = std::fs::read(&path).unwrap();
        let content = match way {
            ZSTD => zstd::stream::decode_all(&stored[..]).unwrap(),
            GZIP => std::io::read_to_string(flate2::read::GzDecoder::new(&stored[..])).unwrap().into(),
            _ => stored.clone(),
        };
        assert_eq!(content, b"hostname core-rtr1\n");
        let manifest = manifest_of(folder.path());
        assert_eq!(manifest.to_string_lossy().replace(".manifest.json", suffix), path.to_string_lossy());
        for file in [&path, &manifest] {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }

        let mut told = Manifest::from_json(&std::fs::read(&manifest).unwrap()).unwrap();
        let Way::Clear(compression) = way else { continue };
        let codec = Transform::Compressed { codec: compression.to_string() };
        assert_eq!(told.transforms, if suffix.is_empty() { vec![] } else { vec![codec] });
        told.transforms.clear();
        assert_eq!(told, entry.manifest);
        assert_eq!(files(folder.path()).len(), 2);
    }
}

async fn any_name_stays_beneath_the_folder(way: Way) {
    let (folder, backend) = fresh(way).await;
    let long = "x".repeat(300);
    let names = ["../../etc/x", "/etc/x", "..", ".tmp", ".devicevault-destination", "a\0b", "CON", "s\u{455}1", &long];
    for name in names {
        let (mut entry, body) = config(name, &b"x"[..]);
        entry.manifest.source.site = Some(name.to_owned());
        entry.manifest.artefact = name.to_owned();
        entry.manifest.extension = name.to_owned();
        let at = backend.store_one(entry, body).await.unwrap();
        assert!(folder.path().join(at.as_str()).is_file(), "{at}");
        assert_eq!(at.as_str().split('/').count(), 4);
        assert_eq!(backend.read_all(&at, 10).await.unwrap(), b"x");
    }
    assert_eq!(listed(&backend).await.len(), names.len());
    eprintln!("{way:?}: {} names of sites, devices, artefacts and extensions stayed beneath the folder", names.len());
}

#[tokio::test]
async fn what_another_store_did_to_the_bytes_does_not_hold_here() {
    let (_a, zipped) = fresh(GZIP).await;
    let (_b, clear) = fresh(AS_IT_IS).await;
    let (entry, body) = config("sw1", &b"abc"[..]);
    let at = zipped.store_one(entry, body.clone()).await.unwrap();
    let copied = Entry::new(zipped.stat(&at).await.unwrap());
    let at = clear.store_one(copied, body).await.unwrap();
    assert_eq!(clear.stat(&at).await.unwrap().transforms, []);
    assert_eq!(clear.read_all(&at, 10).await.unwrap(), b"abc");
}

#[tokio::test]
async fn a_second_attempt_finds_the_first_however_it_was_compressed() {
    let (folder, backend) = fresh(ZSTD).await;
    let (entry, body) = config("sw1", &b"abc"[..]);
    let first = backend.store_one(entry.clone(), body.clone()).await.unwrap();
    let again = at(folder.path(), options(GZIP)).await;
    assert_eq!(again.store_one(entry.clone(), body.clone()).await.unwrap(), first);
    assert_eq!(files(folder.path()).len(), 2);
    // Another content under the same identity is a defect of the caller.
    let (mut other, content) = config("sw1", &b"another"[..]);
    other.manifest.run = entry.manifest.run;
    assert_eq!(again.store_one(other, content).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(again.read_all(&first, 10).await.unwrap(), b"abc");
}

#[tokio::test]
async fn content_that_a_dead_writer_left_is_taken_over_or_replaced() {
    for way in ALL {
        let (folder, backend) = fresh(way).await;
        let (entry, body) = config("sw1", samples::text(1, 100_000));
        let at = backend.store_one(entry.clone(), body.clone()).await.unwrap();
        let content = folder.path().join(at.as_str());
        let inode = std::fs::metadata(&content).unwrap().ino();
        let manifest = manifest_of(folder.path());
        let told = std::fs::read(&manifest).unwrap();

        std::fs::remove_file(&manifest).unwrap();
        assert!(listed(&backend).await.is_empty());
        assert_eq!(backend.stat(&at).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(backend.store_one(entry.clone(), body.clone()).await.unwrap(), at);
        assert_eq!(std::fs::metadata(&content).unwrap().ino(), inode, "it serves");
        if !way.is_sealed() {
            assert!(std::fs::read(&manifest).unwrap() == told);
        }

        for damaged in [&b""[..], b"half of it", &std::fs::read(&content).unwrap()[1..]] {
            std::fs::remove_file(&manifest).unwrap();
            std::fs::write(&content, damaged).unwrap();
            assert_eq!(backend.store_one(entry.clone(), body.clone()).await.unwrap(), at);
            assert_eq!(
                backend.verify(&at, None, VerifyDepth::Content).await.unwrap(),
                Verdict::Good(VerifyDepth::Content)
            );
        }
        // What lost a part is made whole by storing it again.
        std::fs::remove_file(&content).unwrap();
        assert_eq!(backend.store_one(entry.clone(), body.clone()).await.unwrap(), at);
        std::fs::write(&manifest, "").unwrap();
        assert_eq!(backend.store_one(entry, body).await.unwrap(), at);
        assert!(backend.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good());
        assert_eq!(files(folder.path()).len(), 2);
    }
}

async fn a_manifest_without_content_is_no_backup(way: Way) {
    let (folder, backend) = fresh(way).await;
    let (entry, body) = config("sw1", &b"abc"[..]);
    let at = backend.store_one(entry, body).await.unwrap();
    let (entry, body) = config("sw1", &b"kept"[..]);
    let kept = backend.store_one(entry, body).await.unwrap();
    std::fs::remove_file(folder.path().join(at.as_str())).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) =
        backend.list(ListFilter::default()).collect::<Vec<_>>().await.into_iter().partition(Result::is_ok);
    assert_eq!(good.into_iter().map(|found| found.unwrap().0).collect::<Vec<_>>(), [kept]);
    let gone = bad[0].as_ref().unwrap_err();
    assert_eq!((bad.len(), gone.kind()), (1, ErrorKind::Corrupt), "{gone}");
    assert!(gone.context().any(|(name, value)| name == MISSING && value == at.as_str()), "{gone}");
    assert_eq!(backend.usage(UsageFilter::default()).await.unwrap().backups, 1);
    assert_eq!(backend.verify(&at, None, VerifyDepth::Size).await.unwrap(), Verdict::Missing);
    assert_eq!(backend.read_all(&at, 10).await.unwrap_err().kind(), ErrorKind::Corrupt);
    backend.delete_one(&at).await.unwrap();
    assert_eq!(files(folder.path()).len(), 2);
}

async fn maintenance_removes_what_no_manifest_names_after_a_grace_and_nothing_else(way: Way) {
    let clock = Arc::new(ManualClock::at(devicevault_core::Clock::now(&devicevault_core::SystemClock)));
    let folder = tempfile::tempdir().unwrap();
    let backend = at(folder.path(), options(way).with_clock(clock.clone())).await;
    let (entry, body) = config("sw1", &b"abc"[..]);
    let kept = backend.store_one(entry, body).await.unwrap();
    let (entry, body) = config("sw2", &b"leavings"[..]);
    let left = backend.store_one(entry, body).await.unwrap();
    let leavings = folder.path().join(left.as_str());
    std::fs::remove_file(leavings.to_string_lossy().replace(way.suffix(), ".manifest.json")).unwrap();
    for own in ["known_hosts", "notes.txt", "sw1/README.md"] {
        std::fs::write(folder.path().join(own), "mine").unwrap();
    }

    let size = std::fs::metadata(&leavings).unwrap().len();
    let young = backend.maintain(Budget::default()).await.unwrap();
    assert!(young.done.is_empty() && (young.unnamed, young.unnamed_bytes) == (1, size), "{young:?}");
    let told = backend.foretell(Budget::default()).await.unwrap().unwrap();
    assert_eq!((told.unnamed, told.unnamed_bytes, told.bytes_freed), (1, size, 0));
    clock.advance(Duration::from_secs(25 * 3600));
    let mut none = Budget::default();
    none.duration = Duration::ZERO;
    clock.advance(Duration::from_secs(1));
    // It may be all that is left of a version whose manifest was lost: only a word removes it.
    let report = backend.maintain(Budget::default()).await.unwrap();
    assert!(report.done.len() == 1 && report.done[0].contains("--unnamed"), "{report:?}");
    assert!((report.unnamed, report.bytes_freed) == (1, 0) && leavings.exists(), "{report:?}");
    let mut unnamed = Budget::default();
    unnamed.unnamed = true;
    let told = backend.foretell(unnamed.clone()).await.unwrap().unwrap();
    assert!(told.bytes_freed == size && leavings.exists(), "{told:?}");
    let report = backend.maintain(unnamed).await.unwrap();
    assert_eq!(report.done.len(), 1, "{report:?}");
    assert!(report.bytes_freed > 0 && !leavings.exists());
    let names: Vec<_> = files(folder.path()).into_keys().map(|p| p.to_string_lossy().into_owned()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert_eq!(backend.read_all(&kept, 10).await.unwrap(), b"abc");
    assert!(backend.maintain(none).await.unwrap().done.is_empty());
}

async fn deletion_that_was_cut_short_is_finished_by_the_next(way: Way) {
    let (folder, backend) = fresh(way).await;
    let (entry, body) = config("sw1", &b"abc"[..]);
    let at = backend.store_one(entry, body).await.unwrap();
    std::fs::remove_file(manifest_of(folder.path())).unwrap();
    backend.delete_one(&at).await.unwrap();
    assert!(files(folder.path()).is_empty());
    assert!(!folder.path().join("sw1").exists(), "empty folders go too");
}

async fn a_reference_of_another_form_deletes_nothing(way: Way) {
    let (folder, backend) = fresh(way).await;
    let (entry, body) = config("sw1", &b"abc"[..]);
    let at = backend.store_one(entry, body).await.unwrap();
    std::fs::write(folder.path().join("known_hosts"), "mine").unwrap();
    for text in [
        "known_hosts".to_owned(),
        at.as_str().replace(way.suffix(), ""),
        at.as_str().replace(way.suffix(), ".gz"),
        at.as_str().replace(way.suffix(), ".manifest.json"),
        format!("/{at}"),
        format!("{at}/"),
    ] {
        let other = devicevault_core::StorageRef(text);
        backend.delete_one(&other).await.unwrap();
        assert_eq!(backend.stat(&other).await.unwrap_err().kind(), ErrorKind::NotFound, "{other}");
    }
    assert_eq!(files(folder.path()).len(), 3);
    assert_eq!(backend.read_all(&at, 10).await.unwrap(), b"abc");
}

#[tokio::test]
async fn views_and_artefacts_of_one_run_are_kept_apart_in_any_layout() {
    let folder = tempfile::tempdir().unwrap();
    let backend = at(folder.path(), options(AS_IT_IS).with_template("all/{time}.{ext}".parse().unwrap())).await;
    let (first, body) = config("sw1", &b"abc"[..]);
    for (artefact, view) in [("a", View::Original), ("a", View::Redacted), ("b", View::Original)] {
        let mut entry = first.clone();
        (entry.manifest.artefact, entry.manifest.view) = (artefact.to_owned(), view);
        backend.store_one(entry, body.clone()).await.unwrap();
    }
    assert_eq!(listed(&backend).await.len(), 3);
}

#[tokio::test]
async fn the_connection_test_tells_what_it_tried() {
    let (folder, backend) = fresh(ZSTD).await;
    let health = backend.check().await.unwrap();
    assert!(health.is_good(), "{health:?}");
    let names: Vec<_> = health.probes.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["write", "put-if-absent", "read", "range", "list", "delete", "durability", "free space"]);
    assert!(files(folder.path()).is_empty());

    // What a test left that was killed goes with the next one, or with maintenance; a test that runs now is let be.
    for clean in [true, false] {
        let probes = folder.path().join("devicevault-check");
        std::fs::create_dir(&probes).unwrap();
        for (name, minutes) in [("old.txt", 11), ("new.txt", 0)] {
            std::fs::write(probes.join(name), "x").unwrap();
            let file = std::fs::File::options().write(true).open(probes.join(name)).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            file.set_modified(now - std::time::Duration::from_secs(60 * minutes)).unwrap();
        }
        if clean {
            assert!(backend.check().await.unwrap().is_good());
        } else {
            backend.maintain(Budget::default()).await.unwrap();
        }
        assert!(files(folder.path()).into_keys().eq([std::path::PathBuf::from("devicevault-check/new.txt")]));
        std::fs::remove_dir_all(probes).unwrap();
    }
    std::fs::remove_dir_all(folder.path()).unwrap();
    let health = backend.check().await.unwrap();
    assert!(!health.is_good() && !health.probes[0].good, "{health:?}");

    let memory = PlainBackend::over(Arc::new(InMemory::new()), options(ZSTD));
    assert!(memory.check().await.unwrap().is_good());
}

async fn too_much_metadata_is_refused(way: Way) {
    let (folder, backend) = fresh(way).await;
    let (mut entry, body) = config("sw1", &b"abc"[..]);
    entry.manifest.metadata.insert("x".to_owned(), "y".repeat(2 << 20));
    assert_eq!(backend.store_one(entry, body).await.unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(files(folder.path()).is_empty());
}

super::both_ways! {
    any_name_stays_beneath_the_folder,
    a_manifest_without_content_is_no_backup,
    maintenance_removes_what_no_manifest_names_after_a_grace_and_nothing_else,
    deletion_that_was_cut_short_is_finished_by_the_next,
    a_reference_of_another_form_deletes_nothing,
    too_much_metadata_is_refused,
}
