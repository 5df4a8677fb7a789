//! Destinations: a folder, and a repository.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::storage::{ListFilter, VerifyDepth};
use devicevault_core::{Body, Entry, Result, StorageBackend, SystemClock};
use devicevault_storage::git::{GitBackend, GitOptions};
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::PlainBackend;
use devicevault_testkit::samples;
use futures::TryStreamExt as _;
use tempfile::TempDir;

use super::Kind;
use crate::git::assert_sound;
use crate::plain::{SEALED, config, options};

async fn open(kind: Kind, folder: &Path) -> Result<Arc<dyn StorageBackend>> {
    if kind == Kind::Plain {
        let store = LocalStore::open(folder, &"main".into()).await?;
        return Ok(Arc::new(PlainBackend::in_folder(store, options(SEALED))));
    }
    // What is merged by the way is another subject.
    let options = GitOptions::default().with_auto_repack(false);
    Ok(Arc::new(GitBackend::open(folder, options, Arc::new(SystemClock)).await?))
}

pub(super) async fn fresh(kind: Kind) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    if kind == Kind::Plain {
        drop(LocalStore::init(folder.path(), &"main".into()).await.unwrap());
    }
    let backend = open(kind, folder.path()).await.unwrap();
    let before = backend.store(vec![config("before", &b"before\n"[..])]).await.remove(0);
    (folder, before.unwrap().to_string())
}

pub(super) async fn act(kind: Kind, folder: &Path) {
    match open(kind, folder).await {
        Ok(backend) => backend.store(batch()).await.into_iter().for_each(super::tell),
        Err(e) => super::tell(Err::<&str, _>(e)),
    }
}

pub(super) async fn is_well(kind: Kind, folder: &Path, confirmed: &BTreeSet<String>, when: &str) {
    let backend = open(kind, folder).await.unwrap_or_else(|e| panic!("{when}: {e:?}"));
    let listed: Vec<_> = backend.list(ListFilter::default()).try_collect().await.unwrap();
    for (at, manifest) in &listed {
        let verdict = backend.verify(at, Some(manifest), VerifyDepth::Content).await.unwrap();
        assert!(verdict.is_good(), "{when}: {at}: {verdict:?}");
    }
    for at in confirmed {
        assert!(listed.iter().any(|(there, _)| there.0 == *at), "{when}: {at} was confirmed and is lost");
    }
    for verdict in backend.store(batch()).await {
        let at = verdict.unwrap_or_else(|e| panic!("{when}: {e:?}"));
        assert!(backend.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good(), "{when}: {at}");
    }
    drop(backend);
    if kind == Kind::Git {
        assert_sound(folder);
    }
}

/// Two small ones, and one that is written in several pieces.
fn batch() -> Vec<(Entry, Arc<dyn Body>)> {
    let content = |i: u64| -> Bytes { if i == 2 { samples::noise(i, 100_000) } else { samples::text(i, 3_000) } };
    (0..3).map(|i| config(&format!("sw{i}"), content(i))).collect()
}
