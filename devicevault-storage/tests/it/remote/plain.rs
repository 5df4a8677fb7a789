//! Backups in folders of servers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use devicevault_core::storage::{Budget, Health, VerifyDepth};
use devicevault_core::{StorageBackend, StorageBackendExt as _, StorageRef};
use devicevault_storage::plain::PlainBackend;
use devicevault_testkit::bodies::ScriptedBody;
use devicevault_testkit::conformance::{BackendSuite, Damage};
use devicevault_testkit::samples;

use super::{Peer, staged_files};
use crate::plain::{SEALED, Way, ZSTD, config, files, listed, options};

pub(super) async fn backend<P: Peer>(peer: &P, folder: &Path, way: Way) -> PlainBackend {
    PlainBackend::kept(Arc::new(peer.init(folder).await), options(way))
}

pub(super) async fn the_suite_passes_in_the_clear<P: Peer>(peer: &P, folder: &Path) {
    the_suite_of_backends(peer, folder, ZSTD).await;
}

pub(super) async fn the_suite_passes_sealed<P: Peer>(peer: &P, folder: &Path) {
    the_suite_of_backends(peer, folder, SEALED).await;
}

async fn the_suite_of_backends<P: Peer>(peer: &P, home: &Path, way: Way) {
    let open = async |place: &str| Ok(Arc::new(backend(peer, &home.join(place), way).await) as Arc<dyn StorageBackend>);
    let damage = async |place: &str, at: &StorageRef, how: Damage| {
        let path = home.join(place).join(at.as_str());
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        match how {
            Damage::FlipBit => bytes[middle] ^= 1,
            Damage::Truncate => drop(bytes.pop()),
            _ => {
                std::fs::remove_file(path).unwrap();
                return Ok(true);
            }
        }
        std::fs::write(path, bytes).unwrap();
        Ok(true)
    };
    // Some cases ask for hundreds of ranges, each with a connection of its own where the protocol wants that.
    let patience = std::time::Duration::from_secs(600);
    BackendSuite::new(&open).with_damage(&damage).with_patience(patience).run().await.assert();
}

pub(super) async fn a_body_that_fails_leaves_nothing_however_far_it_came<P: Peer>(peer: &P, folder: &Path) {
    for way in [ZSTD, SEALED] {
        let backend = backend(peer, folder, way).await;
        let content = samples::noise(1, 9 << 20);
        for cut in [0, 1, 65_536, (8 << 20) + 1, (9 << 20) - 1] {
            let (entry, _) = config("sw1", content.clone());
            let body = ScriptedBody::new(content.clone()).in_pieces_of(50_000).ending_at(cut).shared();
            assert!(backend.store_one(entry.clone(), body).await.is_err());
            let body = ScriptedBody::new(content.clone()).in_pieces_of(50_000).failing_at(cut).shared();
            assert!(backend.store_one(entry, body).await.is_err());
        }
        assert!(listed(&backend).await.is_empty() && files(folder).is_empty());
        while staged_files(folder) > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Many writers of the same entries: each is stored once, and all are told so.
pub(super) async fn writers_of_the_same_entries_meet<P: Peer>(peer: &P, folder: &Path) {
    let backends = futures::future::join_all((0..3).map(|_| async { backend(peer, folder, ZSTD).await })).await;
    let batch: Vec<_> = (0..4).map(|i| config(&format!("sw{i}"), samples::text(i, 5_000))).collect();
    let stored = futures::future::join_all(backends.iter().map(|b| b.store(batch.clone()))).await;
    let told: Vec<Vec<StorageRef>> =
        stored.into_iter().map(|verdicts| verdicts.into_iter().map(Result::unwrap).collect()).collect();
    assert!(told.iter().all(|refs| *refs == told[0]));
    let found = listed(&backends[0]).await;
    assert_eq!(found.len(), 4);
    for at in found.keys() {
        assert!(backends[1].verify(at, None, VerifyDepth::Content).await.unwrap().is_good());
    }
    assert_eq!(files(folder).len(), 8);
    backends[0].maintain(Budget::default()).await.unwrap();
    assert_eq!(files(folder).len(), 8);
    let verdicts = backends[2].delete(&told[0]).await;
    assert!(verdicts.into_iter().all(|v| v.is_ok()));
    assert!(files(folder).is_empty());
}

pub(super) fn detail<'a>(health: &'a Health, name: &str) -> &'a str {
    health.probes.iter().find(|p| p.name == name).map_or("", |p| p.detail.as_str())
}

pub(super) async fn the_connection_test_passes<P: Peer>(peer: &P, folder: &Path) {
    let backend = backend(peer, folder, SEALED).await;
    backend.publish_keys().await.unwrap();
    let health = backend.check().await.unwrap();
    assert!(health.is_good(), "{health:?}");
    for name in ["write", "put-if-absent", "read", "range", "list", "delete", "durability", "clock", "sealing"] {
        assert!(!detail(&health, name).is_empty(), "{name}: {health:?}");
    }
    assert_eq!(files(folder), std::collections::BTreeMap::<PathBuf, Vec<u8>>::new());
    assert_eq!(staged_files(folder), 0);
}
