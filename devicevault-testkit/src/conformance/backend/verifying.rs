//! Verification, maintenance and the connection test.

use devicevault_core::storage::{Budget, Verdict, VerifyDepth};
use devicevault_core::{Digest, StorageBackendExt as _};

use super::stage::{Item, Stage, ensure_holds, ensure_kept, store, store_one};
use crate::conformance::case::{Checked, ensure, ensure_eq};
use crate::samples;

pub(super) const DEPTHS: [VerifyDepth; 3] = [VerifyDepth::Size, VerifyDepth::Stored, VerifyDepth::Content];

pub(super) async fn good(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    for size in [0, 1, 70_000] {
        let item = Item::config("sw1", samples::text(stage.seed, size));
        let at = store_one(&*backend, &item).await?;
        let manifest = backend.stat(&at).await?;
        for depth in DEPTHS {
            for expect in [None, Some(item.manifest()), Some(&manifest)] {
                let verdict = backend.verify(&at, expect, depth).await?;
                ensure!(
                    matches!(verdict, Verdict::Good(down_to) if down_to >= depth),
                    "{size} bytes at depth {depth:?} are {verdict:?}"
                );
            }
        }
    }
    Ok(())
}

pub(super) async fn expectation(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let item = Item::config("sw1", samples::text(stage.seed, 1000));
    let at = store_one(&*backend, &item).await?;
    let mut other_hash = item.manifest().clone();
    other_hash.sha256 = Digest::of(b"another");
    let mut other_size = item.manifest().clone();
    other_size.size += 1;
    for expect in [other_hash, other_size] {
        let verdict = backend.verify(&at, Some(&expect), VerifyDepth::Content).await?;
        ensure!(
            matches!(&verdict, Verdict::Damaged(what) if !what.is_empty()),
            "the catalog knows another size or hash, and the verdict is {verdict:?}"
        );
    }
    Ok(())
}

pub(super) async fn missing(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let other = stage.places.open("other").await?;
    let item = Item::config("sw1", &b"elsewhere"[..]);
    let at = store_one(&*other, &item).await?;
    for depth in DEPTHS {
        let verdict = backend.verify(&at, Some(item.manifest()), depth).await?;
        ensure_eq!(verdict, Verdict::Missing, "what is not there, at depth {depth:?}");
    }
    Ok(())
}

pub(super) async fn maintain(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    backend.maintain(Budget::default()).await?;
    let items: Vec<_> =
        (0..20).map(|i| Item::config(&format!("sw{}", i % 3), samples::text(stage.seed + i, 3000))).collect();
    let mut refs = Vec::new();
    for item in &items {
        refs.push(store_one(&*backend, item).await?);
    }
    let mut kept: Vec<_> = items.iter().collect();
    if backend.capability().delete {
        backend.delete_one(&refs[0]).await?;
        kept.remove(0);
        refs.remove(0);
    }
    for _ in 0..2 {
        backend.maintain(Budget::default()).await?;
        for (at, item) in refs.iter().zip(&kept) {
            ensure_kept(&*backend, at, item).await?;
        }
        ensure_holds(&*backend, &kept).await?;
    }
    let after = Item::config("sw1", &b"after maintenance"[..]);
    let at = store_one(&*backend, &after).await?;
    ensure_kept(&*backend, &at, &after).await
}

pub(super) async fn check(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let item = Item::config("sw1", &b"here before"[..]);
    store(&*backend, std::slice::from_ref(&item)).await?;
    for _ in 0..2 {
        let health = backend.check().await?;
        ensure!(!health.probes.is_empty(), "the connection test tries nothing");
        ensure!(health.is_good(), "the connection test finds fault: {:?}", health.probes);
    }
    ensure_holds(&*backend, &[&item]).await
}

pub(super) async fn capability(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let before = backend.capability();
    ensure!(before.max_batch >= 1, "batches of at most {} cannot be stored", before.max_batch);
    let least = 1 << 20;
    ensure!(before.max_body.is_none_or(|max| max >= least), "bodies of {least} bytes are not taken");
    store_one(&*backend, &Item::config("sw1", &b"x"[..])).await?;
    ensure_eq!(backend.capability(), before, "what it can do is another after a store");
    drop(backend);
    ensure_eq!(stage.places.main().await?.capability(), before, "what it can do is another after a restart");
    Ok(())
}
