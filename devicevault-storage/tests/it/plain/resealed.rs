//! Sealing anew under a new epoch key: everything stays readable, wherever it stops.

use devicevault_core::storage::{Budget, ListFilter, VerifyDepth};
use devicevault_core::{
    ErrorKind, Result, StorageBackend as _, StorageBackendExt as _, StorageRef, Timestamp, Transform,
};
use devicevault_storage::plain::{PlainBackend, PlainOptions, Resealed};
use devicevault_storage::seal::Keyring;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::watched::Watched;
use super::{OPAQUE, SEALED, SEALED_AS_IT_IS, config, files, fresh, kek, keyring, options};

fn content(i: usize) -> Vec<u8> {
    // The last one takes several parts.
    let lines = if i == 2 { 300_000 } else { 20 * i };
    (0..lines).map(|line| format!("interface Gi{i}/{line}\n")).collect::<String>().into_bytes()
}

async fn store_three(backend: &PlainBackend) -> Vec<StorageRef> {
    let mut stored = Vec::new();
    for i in 0..3 {
        let (entry, body) = config(&format!("sw{i}"), content(i));
        stored.push(backend.store_one(entry, body).await.unwrap());
    }
    stored
}

async fn reseal(backend: &PlainBackend) -> Vec<Result<Resealed>> {
    backend.reseal().collect().await
}

async fn epoch_of(backend: &PlainBackend, at: &StorageRef) -> String {
    let sealed = |t| if let Transform::Sealed { key_id } = t { Some(key_id) } else { None };
    backend.stat(at).await.unwrap().transforms.into_iter().find_map(sealed).unwrap()
}

/// Every backup reads under the reference of before, and is listed once under one that reads too.
async fn all_good(backend: &PlainBackend, stored: &[StorageRef]) {
    for (i, at) in stored.iter().enumerate() {
        assert!(backend.read_all(at, 10 << 20).await.unwrap() == content(i), "{at}");
        assert!(backend.verify(at, None, VerifyDepth::Stored).await.unwrap().is_good());
        assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good());
        let (from, to) = (3, 40.min(content(i).len() as u64).max(3));
        let part = backend.read(at, Some(from..to)).await.unwrap().try_collect::<Vec<_>>().await.unwrap().concat();
        assert_eq!(part, content(i).get(3..to as usize).unwrap_or_default());
    }
    let listed: Vec<_> = backend.list(ListFilter::default()).try_collect().await.unwrap();
    assert_eq!(listed.len(), stored.len());
    for (at, manifest) in listed {
        assert_eq!(backend.stat(&at).await.unwrap(), manifest);
    }
}

async fn objects(store: &Watched) -> Vec<String> {
    let mut all: Vec<_> = store.list(None).map_ok(|o| o.location.to_string()).try_collect().await.unwrap();
    all.sort();
    all
}

#[tokio::test]
async fn everything_is_under_the_new_key_and_under_its_old_reference() {
    for way in [SEALED, SEALED_AS_IT_IS, OPAQUE] {
        let (folder, backend) = fresh(way).await;
        let stored = store_three(&backend).await;
        let before = files(folder.path());
        let old = epoch_of(&backend, &stored[0]).await;
        let ring = options(way).keyring.unwrap();
        assert!(reseal(&backend).await.into_iter().all(|r| !r.unwrap().changed), "there is nothing to do");
        assert_eq!(files(folder.path()), before);

        for _ in 0..2 {
            ring.create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
            let backend = super::at(folder.path(), options(way).with_sealing(ring.clone())).await;
            assert!(reseal(&backend).await.into_iter().all(|r| r.unwrap().changed));
            all_good(&backend, &stored).await;
            assert_ne!(epoch_of(&backend, &stored[0]).await, old);
            assert_eq!(files(folder.path()).len(), before.len(), "nothing is left of the old");
            assert!(reseal(&backend).await.into_iter().all(|r| !r.unwrap().changed));
            // What maintenance finds is nothing.
            assert_eq!(backend.maintain(Budget::default()).await.unwrap().bytes_freed, 0);
        }
        let backend = super::at(folder.path(), options(way).with_sealing(ring.clone())).await;
        // By the reference of before, and by the one that is listed now.
        let listed: Vec<_> = backend.list(ListFilter::default()).try_collect().await.unwrap();
        let (first, second) = (stored[0].clone(), listed.into_iter().find(|(_, m)| m.source.device_name == "sw1"));
        for gone in [first, second.unwrap().0] {
            backend.delete_one(&gone).await.unwrap();
            assert_eq!(backend.stat(&gone).await.unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert_eq!(files(folder.path()).len(), before.len() - 4);
    }
}

#[tokio::test]
async fn it_may_stop_at_any_write_and_the_next_call_goes_on() {
    let mut stops = 0;
    for stop in 0.. {
        let (store, ring) = (Watched::new(), keyring());
        let open = || PlainBackend::over(store.clone(), PlainOptions::default().with_sealing(ring.clone()));
        let stored = store_three(&open()).await;
        let before = objects(&store).await.len();
        ring.create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
        *store.left.lock().unwrap() = stop;
        let first = reseal(&open()).await;
        let whole = first.iter().all(Result::is_ok);
        all_good(&open(), &stored).await;
        *store.left.lock().unwrap() = usize::MAX;
        assert!(reseal(&open()).await.iter().all(Result::is_ok), "{stop}");
        all_good(&open(), &stored).await;
        assert_eq!(objects(&store).await.len(), before + 1, "{stop}: nothing but the new key is more than before");
        if whole {
            break;
        }
        stops += 1;
    }
    // The key, and for each backup its content and its manifest.
    assert!(stops >= 7, "{stops}");
}

#[tokio::test]
async fn what_a_kill_before_the_last_step_leaves_is_tidied_away() {
    let (store, ring) = (Watched::new(), keyring());
    let open = |ring: &Keyring| PlainBackend::over(store.clone(), PlainOptions::default().with_sealing(ring.clone()));
    let stored = store_three(&open(&ring)).await;
    let at = Path::from(stored[1].to_string());
    let old = store.get(&at).await.unwrap().bytes().await.unwrap();
    ring.create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
    reseal(&open(&ring)).await;
    let clean = objects(&store).await;
    store.put(&at, old.into()).await.unwrap();
    all_good(&open(&ring), &stored).await;
    assert!(reseal(&open(&ring)).await.into_iter().all(|r| !r.unwrap().changed));
    assert_eq!(objects(&store).await, clean);
}

#[tokio::test]
async fn a_damaged_backup_is_told_and_stays_as_it_is() {
    let (store, ring) = (Watched::new(), keyring());
    let backend = PlainBackend::over(store.clone(), PlainOptions::default().with_sealing(ring.clone()));
    let stored = store_three(&backend).await;
    let at = Path::from(stored[2].to_string());
    let mut bytes = store.get(&at).await.unwrap().bytes().await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.put(&at, bytes.clone().into()).await.unwrap();
    ring.create_epoch(&[kek()], Timestamp::UNIX_EPOCH).await.unwrap();
    let done = reseal(&backend).await;
    let bad: Vec<_> = done.iter().filter_map(|r| r.as_ref().err()).collect();
    assert_eq!((done.len(), bad.len(), bad[0].kind()), (3, 1, ErrorKind::Corrupt), "{bad:?}");
    assert!(store.get(&at).await.unwrap().bytes().await.unwrap() == bytes);
    assert!(backend.read_all(&stored[1], 1 << 20).await.unwrap() == content(1));
}

#[tokio::test]
async fn a_store_in_the_clear_has_nothing_to_seal() {
    let (_folder, backend) = fresh(super::ZSTD).await;
    let done = reseal(&backend).await;
    assert_eq!(done[0].as_ref().unwrap_err().kind(), ErrorKind::Config);
}
