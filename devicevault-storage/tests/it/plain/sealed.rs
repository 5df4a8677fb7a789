//! Sealed backups through the backend: what lies in the store, who can read it, and what tampering comes to.

use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::storage::{ListFilter, Verdict, VerifyDepth};
use devicevault_core::{
    Digest, Error, ErrorKind, KeyProvider, SecretString, StorageBackend as _, StorageBackendExt as _, StorageRef,
    Timestamp, Transform,
};
use devicevault_storage::codec::Compression;
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_storage::seal::keys::{Kek, KeyFolder, KeyPlaces, Passphrase, PassphraseKek, rewrap};
use devicevault_storage::seal::{EpochId, EpochObject, Key, Keyring};
use devicevault_testkit::samples;
use futures::TryStreamExt as _;
use object_store::path::Path;
use serde_json::Value;

use super::watched::Watched;
use super::{
    ALL, OPAQUE, SEALED, SEALED_AS_IT_IS, Way, ZSTD, at, config, files, fresh, kek, keyring, listed, manifest_of,
    options,
};

const CONTENT: &[u8] = b"hostname core-rtr1\nenable secret 9 hunter2\nend\n";
const EPOCH: &str = "0197c2a0-6d5c-7000-8000-000000000001";

async fn reader(folder: &FilePath, keyring: Option<Keyring>) -> PlainBackend {
    let mut options = PlainOptions::default();
    options.keyring = keyring;
    PlainBackend::in_folder(LocalStore::open(folder, &"main".into()).await.unwrap(), options)
}

fn key_object(folder: &FilePath) -> PathBuf {
    folder.join(format!("keys/{EPOCH}.json"))
}

/// Everything that lies in a folder, file names included.
fn all_bytes(folder: &FilePath) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, bytes) in files(folder) {
        all.extend_from_slice(name.to_string_lossy().as_bytes());
        all.extend_from_slice(&bytes);
    }
    for entry in std::fs::read_dir(folder.join("keys")).unwrap() {
        all.extend_from_slice(&std::fs::read(entry.unwrap().path()).unwrap());
    }
    all
}

#[tokio::test]
async fn the_store_tells_neither_content_nor_what_the_manifest_says() {
    for way in [SEALED, SEALED_AS_IT_IS, OPAQUE] {
        let (folder, backend) = fresh(way).await;
        let (mut entry, body) = config("core-rtr1", CONTENT);
        entry.manifest.source.site = Some("zurich".to_owned());
        entry.manifest.source.host = "192.0.2.7".to_owned();
        entry.manifest.metadata.insert("ticket".to_owned(), "CHG-4711".to_owned());
        let at = backend.store_one(entry.clone(), body).await.unwrap();
        assert!(at.as_str().ends_with(".dvo"), "{at}");
        let hash = Digest::of(CONTENT).to_string();
        let all = all_bytes(folder.path());
        let holds = |what: &str| all.windows(what.len()).any(|w| w == what.as_bytes());
        for hidden in ["hunter2", "hostname", "192.0.2.7", "CHG-4711", "ticket", "cisco_ios", hash.as_str()] {
            assert!(!holds(hidden), "{hidden} in {way:?}");
        }
        for name in ["core-rtr1", "zurich", "running-config", ".txt"] {
            assert_eq!(holds(name), way != OPAQUE, "{name} in {way:?}");
        }
        assert_eq!(backend.capability().private_names, way == OPAQUE);

        let told = backend.stat(&at).await.unwrap();
        assert_eq!(told.transforms.last(), Some(&Transform::Sealed { key_id: EPOCH.to_owned() }));
        assert_eq!((&told.source, &told.metadata), (&entry.manifest.source, &entry.manifest.metadata));
        assert_eq!(backend.read_all(&at, 1000).await.unwrap(), CONTENT);
    }
}

#[tokio::test]
async fn transforms_say_what_was_done() {
    let (_folder, backend) = fresh(SEALED).await;
    let steps = async |content: Bytes| {
        let (entry, body) = config("sw1", content);
        let at = backend.store_one(entry, body).await.unwrap();
        backend.stat(&at).await.unwrap().transforms.len()
    };
    assert_eq!(steps(samples::text(1, 100_000)).await, 2);
    assert_eq!(steps(samples::noise(1, 100_000)).await, 1, "what does not compress is not compressed");
}

#[tokio::test]
async fn without_a_key_what_is_stored_can_be_verified_and_deleted_and_nothing_else() {
    let (folder, backend) = fresh(SEALED).await;
    let (entry, body) = config("sw1", CONTENT);
    let at = backend.store_one(entry.clone(), body).await.unwrap();
    for keyring in [None, Some(Keyring::default()), Some(Keyring::new(vec![Arc::new(Kek::generate().unwrap())]))] {
        let blind = reader(folder.path(), keyring).await;
        for depth in [VerifyDepth::Size, VerifyDepth::Stored] {
            assert_eq!(blind.verify(&at, Some(&entry.manifest), depth).await.unwrap(), Verdict::Good(depth));
        }
        let unavailable = |e: Error| {
            assert_eq!(e.kind(), ErrorKind::KeyUnavailable, "{e:?}");
            assert!(e.to_string().contains(EPOCH), "{e}");
        };
        unavailable(blind.verify(&at, None, VerifyDepth::Content).await.unwrap_err());
        unavailable(blind.stat(&at).await.unwrap_err());
        unavailable(blind.read(&at, None).await.err().unwrap());
        unavailable(blind.read(&at, Some(0..1)).await.err().unwrap());
        unavailable(blind.list(ListFilter::default()).try_collect::<Vec<_>>().await.unwrap_err());
    }
    let blind = reader(folder.path(), None).await;
    let content = folder.path().join(at.as_str());
    let good = std::fs::read(&content).unwrap();
    std::fs::write(&content, &good[1..]).unwrap();
    assert!(matches!(blind.verify(&at, None, VerifyDepth::Size).await.unwrap(), Verdict::Damaged(_)));
    let flipped: Vec<u8> = good.iter().map(|b| b ^ 1).collect();
    std::fs::write(&content, flipped).unwrap();
    for depth in [VerifyDepth::Stored, VerifyDepth::Content] {
        assert!(matches!(blind.verify(&at, None, depth).await.unwrap(), Verdict::Damaged(_)));
    }
    blind.delete_one(&at).await.unwrap();
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn the_store_and_its_key_open_without_anything_else() {
    let (folder, backend) = fresh(OPAQUE).await;
    let (entry, body) = config("sw1", CONTENT);
    let at = backend.store_one(entry, body).await.unwrap();
    // Only the key-encryption key: epoch keys are found at the destination.
    let other = reader(folder.path(), Some(Keyring::new(vec![kek()]))).await;
    assert_eq!(listed(&other).await.into_keys().collect::<Vec<_>>(), std::slice::from_ref(&at));
    assert_eq!(other.read_all(&at, 1000).await.unwrap(), CONTENT);
    assert!(other.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good());
    // And they do not seal.
    let (entry, body) = config("sw2", CONTENT);
    let writer = at_with(folder.path(), Keyring::new(vec![kek()])).await;
    assert_eq!(writer.store_one(entry, body).await.unwrap_err().kind(), ErrorKind::KeyUnavailable);
}

async fn at_with(folder: &FilePath, keyring: Keyring) -> PlainBackend {
    at(folder, PlainOptions::default().with_sealing(keyring)).await
}

async fn epoch_made(providers: &[Arc<dyn KeyProvider>]) -> (Keyring, EpochObject) {
    let ring = Keyring::new(providers.to_vec());
    let object = ring.create_epoch(providers, Timestamp::UNIX_EPOCH).await.unwrap();
    (ring, object)
}

#[tokio::test]
async fn missing_wrong_retired_and_damaged_keys_are_told_apart_and_damage_no_backup() {
    let quick = Passphrase { memory_kib: 64, passes: 1, ..Passphrase::generate().unwrap() };
    let phrase = |text: &str| PassphraseKek::new(SecretString::from(text));
    let owner: Arc<dyn KeyProvider> = Arc::new(phrase("correct horse").with_parameters(quick));
    let folder = tempfile::tempdir().unwrap();
    let (ring, mut object) = epoch_made(&[kek()]).await;
    let backend = at_with(folder.path(), ring.clone()).await;
    let (entry, body) = config("sw1", CONTENT);
    let stored = backend.store_one(entry, body).await.unwrap();
    let path = folder.path().join(format!("keys/{}.json", object.id));
    let epoch = object.id.to_string();
    let kek_id = kek().kek().await.unwrap().0;

    let told = async |provider: Arc<dyn KeyProvider>| {
        let backend = reader(folder.path(), Some(Keyring::new(vec![provider]))).await;
        let e = backend.read_all(&stored, 1000).await.unwrap_err();
        let verdict = backend.verify(&stored, None, VerifyDepth::Content).await;
        assert_eq!(verdict.unwrap_err().kind(), ErrorKind::KeyUnavailable, "a key is no damage to a backup");
        assert!(backend.verify(&stored, None, VerifyDepth::Stored).await.unwrap().is_good());
        assert_eq!(e.kind(), ErrorKind::KeyUnavailable, "{e:?}");
        assert!(e.to_string().contains(&epoch), "{e}");
        e.to_string()
    };

    let wrong = told(Arc::new(Kek::raw(Key::new([8; 32])))).await;
    assert!(wrong.contains("none of the keys at hand") && wrong.contains(&kek_id), "{wrong}");

    let good = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let missing = told(kek()).await;
    assert!(missing.contains("not here"), "{missing}");
    std::fs::write(&path, b"{}").unwrap();
    let no_object = told(kek()).await;
    assert!(no_object.contains("not an epoch key object"), "{no_object}");
    let damaged = String::from_utf8(good).unwrap().replacen("\"wrapped\": \"", "\"wrapped\": \"00ff00ff", 1);
    std::fs::write(&path, damaged).unwrap();
    let damaged = told(kek()).await;
    assert!(damaged.contains("wrap is damaged") && damaged.contains(&kek_id), "{damaged}");

    let (_, key) = ring.current().await.unwrap();
    object.add(&key, &*owner).await.unwrap();
    object.remove(&kek().kek().await.unwrap()).unwrap();
    std::fs::write(&path, object.to_json()).unwrap();
    let retired = told(kek()).await;
    assert!(retired.contains("was retired") && retired.contains(&kek_id), "{retired}");
    let passphrase = told(Arc::new(phrase("battery staple"))).await;
    assert!(passphrase.contains("the passphrase is not") && !passphrase.contains("battery"), "{passphrase}");
    let right = reader(folder.path(), Some(Keyring::new(vec![Arc::new(phrase("correct horse"))]))).await;
    assert_eq!(right.read_all(&stored, 1000).await.unwrap(), CONTENT);
}

#[tokio::test]
async fn a_retry_under_another_epoch_key_finds_the_first_copy() {
    for opaque in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (ring, _) = epoch_made(&[kek()]).await;
        let options = |ring: &Keyring| PlainOptions::default().with_sealing(ring.clone()).with_opaque_names(opaque);
        let (entry, body) = config("sw1", samples::text(3, 200_000));
        let first = at(folder.path(), options(&ring)).await.store_one(entry.clone(), body.clone()).await.unwrap();
        let manifest = manifest_of(folder.path());
        let told = std::fs::read(&manifest).unwrap();

        let next = ring.create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
        let again = at(folder.path(), options(&ring)).await;
        assert_eq!(again.store_one(entry.clone(), body.clone()).await.unwrap(), first);
        assert_eq!(files(folder.path()).len(), 2);
        assert_eq!(std::fs::read(&manifest).unwrap(), told);
        // Content that a dead writer left, sealed under the epoch key of that time, serves.
        std::fs::remove_file(&manifest).unwrap();
        let content = std::fs::read(folder.path().join(first.as_str())).unwrap();
        assert_eq!(again.store_one(entry.clone(), body.clone()).await.unwrap(), first);
        assert_eq!(std::fs::read(folder.path().join(first.as_str())).unwrap(), content);
        assert!(again.verify(&first, Some(&entry.manifest), VerifyDepth::Content).await.unwrap().is_good());
        assert_ne!(again.stat(&first).await.unwrap().transforms.last(), Some(&sealed_by(next.id)));
        // What is new is sealed under the new one, beside it.
        let (entry, body) = config("sw1", CONTENT);
        let second = again.store_one(entry, body).await.unwrap();
        assert_eq!(again.stat(&second).await.unwrap().transforms.last(), Some(&sealed_by(next.id)));
        let folder_of = |at: &StorageRef| at.as_str().rsplit_once('/').unwrap().0.to_owned();
        assert_eq!(folder_of(&first), folder_of(&second));
        assert_eq!(std::fs::read_dir(folder.path().join("keys")).unwrap().count(), 2 + usize::from(opaque));

        // Left by somebody whose key is not at hand: it is not replaced, it may be about to become a backup.
        std::fs::remove_file(manifest_of(&folder.path().join(folder_of(&first)))).ok();
        std::fs::remove_dir_all(folder.path().join("keys")).unwrap();
        let (stranger, _) = epoch_made(&[kek()]).await;
        let (entry, body) = config("sw3", CONTENT);
        let theirs = at(folder.path(), options(&ring)).await.store_one(entry.clone(), body.clone()).await.unwrap();
        let path = folder.path().join(theirs.as_str());
        std::fs::remove_file(path.with_extension("manifest.json")).unwrap();
        std::fs::remove_dir_all(folder.path().join("keys")).unwrap();
        if !opaque {
            let blind = at(folder.path(), options(&stranger)).await;
            assert_eq!(blind.store_one(entry, body).await.unwrap_err().kind(), ErrorKind::KeyUnavailable);
            assert!(path.exists());
        }
    }
}

fn sealed_by(epoch: EpochId) -> Transform {
    Transform::Sealed { key_id: epoch.to_string() }
}

#[tokio::test]
async fn segments_cannot_be_moved_doubled_or_taken_from_another_backup() {
    const SEGMENT: usize = 65_552;
    let (folder, backend) = fresh(SEALED).await;
    let (entry, body) = config("sw1", samples::noise(1, 4 * 65_536));
    let wanted = samples::noise(1, 4 * 65_536);
    let a = backend.store_one(entry.clone(), body).await.unwrap();
    let (other, body) = config("sw2", samples::noise(2, 4 * 65_536));
    let b = backend.store_one(other, body).await.unwrap();
    let path = folder.path().join(a.as_str());
    let (one, two) = (std::fs::read(&path).unwrap(), std::fs::read(folder.path().join(b.as_str())).unwrap());
    let place = |i: usize| 128 + i * SEGMENT..128 + (i + 1) * SEGMENT;
    let put = |from: &[u8], of: Range<usize>, at: Range<usize>| {
        let mut bad = one.clone();
        bad[at].copy_from_slice(&from[of]);
        bad
    };
    let mut swapped = put(&one, place(1), place(2));
    swapped[place(1)].copy_from_slice(&one[place(2)]);
    let cases = [
        ("swapped", swapped, 1),
        ("doubled", put(&one, place(0), place(1)), 1),
        ("of another", put(&two, place(2), place(2)), 2),
        ("all of another", two.clone(), 0),
        ("header of another", put(&two, 0..128, 0..128), 0),
    ];
    for (what, bad, good_segments) in cases {
        std::fs::write(&path, &bad).unwrap();
        for depth in [VerifyDepth::Stored, VerifyDepth::Content] {
            let verdict = backend.verify(&a, Some(&entry.manifest), depth).await.unwrap();
            assert!(matches!(verdict, Verdict::Damaged(_)), "{what}: {verdict:?}");
        }
        let released = released(&backend, &a, None).await;
        assert_eq!(released.1.unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
        assert!(released.0 == wanted[..released.0.len()] && released.0.len() <= good_segments * 65_536, "{what}");
        // A range that touches what was tampered with, and nothing else.
        let at = 65_536 * good_segments as u64 + 10;
        let released = self::released(&backend, &a, Some(at..at + 100)).await;
        assert_eq!(released.1.unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
        assert!(released.0.is_empty(), "{what}: nothing of a bad segment is released");
    }
    std::fs::write(&path, &one).unwrap();
    assert!(backend.verify(&a, Some(&entry.manifest), VerifyDepth::Content).await.unwrap().is_good());
}

/// What a reader yields before it ends, and how it ends.
async fn released(
    backend: &PlainBackend,
    at: &StorageRef,
    range: Option<Range<u64>>,
) -> (Vec<u8>, devicevault_core::Result<()>) {
    let mut all = Vec::new();
    let mut stream = match backend.read(at, range).await {
        Ok(stream) => stream,
        Err(e) => return (all, Err(e)),
    };
    loop {
        match stream.try_next().await {
            Ok(Some(chunk)) => all.extend_from_slice(&chunk),
            Ok(None) => return (all, Ok(())),
            Err(e) => return (all, Err(e)),
        }
    }
}

/// Writes a manifest file with its own hash made to fit, as somebody would who has no key.
fn forge(path: &FilePath, change: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    value.as_object_mut().unwrap().remove("manifest_sha256");
    // serde_json keeps keys in order, and writes no blanks.
    value["manifest_sha256"] = Digest::of(value.to_string().as_bytes()).to_string().into();
    std::fs::write(path, value.to_string()).unwrap();
}

#[tokio::test]
async fn forged_envelopes_and_manifests_of_other_backups_are_refused() {
    let (folder, backend) = fresh(SEALED).await;
    let (entry, body) = config("sw1", CONTENT);
    let at = backend.store_one(entry.clone(), body).await.unwrap();
    let path = manifest_of(folder.path());
    let good = std::fs::read(&path).unwrap();
    let refused = async |what: &str| {
        for depth in [VerifyDepth::Size, VerifyDepth::Content] {
            let verdict = backend.verify(&at, Some(&entry.manifest), depth).await.unwrap();
            assert!(matches!(verdict, Verdict::Damaged(_)), "{what}: {verdict:?}");
        }
        assert_eq!(backend.stat(&at).await.unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
        assert_eq!(backend.read(&at, Some(0..4)).await.err().unwrap().kind(), ErrorKind::Corrupt, "{what}");
    };
    forge(&path, |v| v["stored"]["size"] = 5.into());
    refused("another size").await;
    std::fs::write(&path, &good).unwrap();
    forge(&path, |v| v["stored"]["sha256"] = Digest::of(b"x").to_string().into());
    refused("another hash").await;
    std::fs::write(&path, &good).unwrap();
    forge(&path, |v| {
        let sealed = v["sealed"].as_str().unwrap().to_owned();
        v["sealed"] = format!("{}00", &sealed[..sealed.len() - 2]).into();
    });
    refused("another seal").await;
    // The manifest of another backup, in place of this one's.
    let (other, body) = config("sw2", CONTENT);
    let b = backend.store_one(other, body).await.unwrap();
    let theirs = folder.path().join(b.as_str()).with_extension("manifest.json");
    let theirs: Value = serde_json::from_slice(&std::fs::read(theirs).unwrap()).unwrap();
    std::fs::write(&path, &good).unwrap();
    forge(&path, |v| v["sealed"] = theirs["sealed"].clone());
    refused("the manifest of another").await;
}

#[tokio::test]
async fn a_backup_in_the_clear_is_not_believed_in_a_sealed_destination() {
    let (folder, clear) = fresh(ZSTD).await;
    let (entry, body) = config("sw1", CONTENT);
    let planted = clear.store_one(entry.clone(), body.clone()).await.unwrap();
    let strict = at(folder.path(), options(SEALED)).await;
    let e = strict.read(&planted, None).await.err().unwrap();
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    assert!(e.message().contains("not sealed") && e.hint_text().is_some(), "{e:?}");
    assert!(matches!(strict.verify(&planted, None, VerifyDepth::Size).await.unwrap(), Verdict::Damaged(_)));
    assert!(strict.list(ListFilter::default()).try_collect::<Vec<_>>().await.is_err());
    let lenient = at(folder.path(), options(SEALED).with_accept_clear(true)).await;
    assert_eq!(lenient.read_all(&planted, 1000).await.unwrap(), CONTENT);
    // Without sealing, a reader with a keyring reads both.
    let (other, body) = config("sw2", CONTENT);
    strict.store_one(other, body).await.unwrap();
    assert_eq!(listed(&reader(folder.path(), Some(keyring())).await).await.len(), 2);
    // The next attempt at the planted entry stores it sealed.
    let (_, body) = config("sw1", CONTENT);
    let sealed = strict.store_one(entry, body).await.unwrap();
    assert!(sealed.as_str().ends_with(".dvo"));
    assert_eq!(strict.read_all(&sealed, 1000).await.unwrap(), CONTENT);
}

#[tokio::test]
async fn options_that_do_not_go_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let gzip = Way::Sealed { compression: Compression::Gzip, opaque: false };
    for bad in [options(gzip), options(ZSTD).with_opaque_names(true)] {
        assert_eq!(bad.check().unwrap_err().kind(), ErrorKind::Config);
        let backend = at(folder.path(), bad).await;
        let (entry, body) = config("sw1", CONTENT);
        assert_eq!(backend.store_one(entry, body).await.unwrap_err().kind(), ErrorKind::Config);
    }
    ALL.iter().for_each(|way| options(*way).check().unwrap());
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn opaque_names_stay_the_same_and_their_key_is_not_replaced() {
    let (folder, backend) = fresh(OPAQUE).await;
    let folder_of = |at: StorageRef| at.as_str().rsplit_once('/').unwrap().0.to_owned();
    let (entry, body) = config("sw1", CONTENT);
    let first = folder_of(backend.store_one(entry, body).await.unwrap());
    let again = at(folder.path(), options(OPAQUE)).await;
    let (entry, body) = config("sw1", CONTENT);
    assert_eq!(folder_of(again.store_one(entry, body).await.unwrap()), first);
    std::fs::write(folder.path().join("keys/names.json"), b"{\"format\":1,\"readable_by\":1,\"sealed\":\"00\"}")
        .unwrap();
    let third = at(folder.path(), options(OPAQUE)).await;
    let (entry, body) = config("sw1", CONTENT);
    let e = third.store_one(entry, body).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::KeyUnavailable, "{e:?}");
    assert!(e.hint_text().is_some());
    assert_eq!(listed(&third).await.len(), 2, "reading needs no key of names");
}

#[tokio::test]
async fn a_range_fetches_only_what_it_needs() {
    for (content, most) in [(samples::noise(1, 8 << 20), 400_000), (samples::text(1, 8 << 20), 1_300_000)] {
        let store = Watched::new();
        let backend = PlainBackend::over(store.clone(), options(SEALED));
        let (entry, body) = config("sw1", content.clone());
        let at = backend.store_one(entry, body).await.unwrap();
        let path = Path::from(at.as_str());
        for range in [0..1, 5_000_000..5_000_100, (8 << 20) - 7..(8 << 20), 1_048_570..1_048_580] {
            store.reads.lock().unwrap().clear();
            let (got, end) = released(&backend, &at, Some(range.clone())).await;
            end.unwrap();
            assert_eq!(got, content[range.start as usize..range.end as usize]);
            let read: u64 = store.reads.lock().unwrap().iter().filter(|(at, _)| *at == path).map(|(_, n)| n).sum();
            assert!(read < most, "{read} bytes read for {range:?}");
        }
    }
}

#[tokio::test]
async fn the_key_is_at_the_destination_before_anything_is_sealed_with_it() {
    let store = Watched::new();
    let ring = keyring();
    let backend = PlainBackend::over(store.clone(), PlainOptions::default().with_sealing(ring.clone()));
    *store.refuse_keys.lock().unwrap() = true;
    let (entry, body) = config("sw1", CONTENT);
    let e = backend.store_one(entry.clone(), body.clone()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{e:?}");
    assert!(!backend.check().await.unwrap().is_good());
    store.writes.lock().unwrap().clear();

    *store.refuse_keys.lock().unwrap() = false;
    backend.store_one(entry, body).await.unwrap();
    let written: Vec<String> = store.writes.lock().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(written.len(), 3, "{written:?}");
    assert_eq!(written[0], format!("keys/{EPOCH}.json"));
    assert!(written[2].ends_with(".manifest.json"));
    let health = backend.check().await.unwrap();
    assert!(health.is_good() && health.probes.last().unwrap().name == "sealing", "{health:?}");

    // A new epoch key is published with the first backup under it, an object that was wrapped anew as well.
    store.writes.lock().unwrap().clear();
    let next = ring.create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
    let store_one = async || {
        let (entry, body) = config("sw1", CONTENT);
        backend.store_one(entry, body).await.unwrap();
        let mut writes = store.writes.lock().unwrap();
        let keys = writes.iter().filter(|p| p.as_ref().starts_with("keys/")).count();
        writes.clear();
        keys
    };
    assert_eq!((store_one().await, store_one().await), (1, 0));
    let mut object = ring.object(next.id).unwrap();
    let (_, key) = ring.current().await.unwrap();
    object.add(&key, &Kek::raw(Key::new([1; 32]))).await.unwrap();
    ring.add(object);
    assert_eq!((store_one().await, store_one().await), (1, 0));
}

#[tokio::test]
async fn an_object_that_somebody_put_in_place_of_the_key_is_replaced_and_a_later_one_of_ours_is_kept() {
    let (folder, backend) = fresh(SEALED).await;
    let (entry, body) = config("sw1", CONTENT);
    backend.store_one(entry, body).await.unwrap();
    let path = key_object(folder.path());
    let store = async || {
        let (entry, body) = config("sw1", CONTENT);
        at(folder.path(), options(SEALED)).await.store_one(entry, body).await.unwrap();
        std::fs::read(&path).unwrap()
    };
    let ours = store().await;
    let mut value: Value = serde_json::from_slice(&ours).unwrap();
    value["revision"] = 99.into();
    value["wraps"][0]["wrapped"] = "00".into();
    for bad in [value.to_string().as_bytes(), b"", b"{}", &ours[..ours.len() / 2]] {
        std::fs::write(&path, bad).unwrap();
        let there = EpochObject::from_json(&store().await).unwrap();
        there.open(&[kek()]).await.unwrap();
    }
    // Another instance wrapped it for one more person.
    let mut later = EpochObject::from_json(&std::fs::read(&path).unwrap()).unwrap();
    let ring = Keyring::new(vec![kek()]);
    ring.add(later.clone());
    later.add(&later.open(&[kek()]).await.unwrap(), &Kek::raw(Key::new([1; 32]))).await.unwrap();
    std::fs::write(&path, later.to_json()).unwrap();
    let (entry, body) = config("sw1", CONTENT);
    at_with(folder.path(), ring).await.store_one(entry, body).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), later.to_json());
}

#[tokio::test]
async fn a_rotation_that_stops_at_any_write_is_finished_by_the_next_and_loses_nothing() {
    let new = || Arc::new(Kek::raw(Key::new([1; 32]))) as Arc<dyn KeyProvider>;
    let old_id = kek().kek().await.unwrap();
    for stop in 0..20 {
        let (home, one, two) = (Watched::new(), Watched::new(), Watched::new());
        let ring = Keyring::new(vec![kek(), new()]);
        let places = KeyPlaces {
            home: KeyFolder::of_home(home.clone()),
            destinations: vec![
                ("one".to_owned(), KeyFolder::of_destination(one.clone())),
                ("two".to_owned(), KeyFolder::of_destination(two.clone())),
            ],
        };
        let mut stored = Vec::new();
        for i in 0..3 {
            let object = ring.create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
            places.home.publish(&object).await.unwrap();
            for store in [&one, &two] {
                let backend = PlainBackend::over(store.clone(), PlainOptions::default().with_sealing(ring.clone()));
                let (entry, body) = config(&format!("sw{i}"), CONTENT);
                stored.push((store.clone(), backend.store_one(entry, body).await.unwrap()));
            }
        }
        let all_open = async |keys: Vec<Arc<dyn KeyProvider>>| {
            for (store, at) in &stored {
                let ring = Keyring::new(keys.clone());
                let reader = PlainBackend::over(store.clone(), PlainOptions::default().with_keyring(ring));
                if reader.read_all(at, 1000).await.is_err() {
                    return false;
                }
            }
            true
        };
        // It stops before a write of home, or of a destination; a ring as the next process loads it goes on.
        for store in [&home, &one, &two] {
            *store.left.lock().unwrap() = stop.min(6);
        }
        *two.left.lock().unwrap() = stop.saturating_sub(12).min(6);
        let first = rewrap(&ring, &places, &[new()], std::slice::from_ref(&old_id)).await;
        assert_eq!(first.as_ref().is_ok_and(|r| r.behind.is_empty()), stop >= 18, "{stop}: {first:?}");
        assert!(
            all_open(vec![kek()]).await || all_open(vec![new()]).await,
            "{stop}: one key or the other opens everything at any time"
        );
        for store in [&home, &one, &two] {
            *store.left.lock().unwrap() = usize::MAX;
        }
        let next = Keyring::new(vec![kek(), new()]);
        for id in places.home.list().await.unwrap() {
            next.add(places.home.load(id).await.unwrap().unwrap());
        }
        let done = rewrap(&next, &places, &[new()], std::slice::from_ref(&old_id)).await.unwrap();
        assert!(done.behind.is_empty(), "{done:?}");
        assert!(all_open(vec![new()]).await && !all_open(vec![kek()]).await, "{stop}");
        assert_eq!(rewrap(&next, &places, &[new()], std::slice::from_ref(&old_id)).await.unwrap().changed, 0);
    }
}

#[tokio::test]
async fn the_last_key_cannot_be_retired() {
    let ring = keyring();
    let places = KeyPlaces { home: KeyFolder::of_home(Watched::new()), destinations: Vec::new() };
    let id = kek().kek().await.unwrap();
    assert_eq!(rewrap(&ring, &places, &[], &[id]).await.unwrap_err().kind(), ErrorKind::Conflict);
}
