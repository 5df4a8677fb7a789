//! Deletion.

use devicevault_core::storage::{UsageFilter, Verdict, VerifyDepth};
use devicevault_core::{ErrorKind, StorageBackend, StorageBackendExt as _, StorageRef};

use super::reading::ensure_absent;
use super::stage::{Item, Stage, ensure_holds, ensure_kept, store, store_one};
use crate::conformance::case::{Checked, Stop, ensure_eq, ensure_kind, skip};
use crate::samples;

fn ensure_deletes(backend: &dyn StorageBackend) -> Result<(), Stop> {
    if backend.capability().delete { Ok(()) } else { skip("it cannot delete") }
}

pub(super) async fn delete(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    ensure_deletes(&*backend)?;
    let items: Vec<_> =
        (0..6).map(|i| Item::config(&format!("sw{}", i / 2), samples::text(stage.seed + i, 4000))).collect();
    let refs = store(&*backend, &items).await?;
    ensure_eq!(backend.delete(&[]).await.len(), 0, "deleting nothing has verdicts");
    let gone: Vec<StorageRef> = [1, 2, 5].iter().filter_map(|i| refs.get(*i).cloned()).collect();
    // One is named twice, and so missing the second time.
    let named: Vec<_> = gone.iter().chain(gone.first()).cloned().collect();
    let verdicts = backend.delete(&named).await;
    ensure_eq!(verdicts.len(), named.len(), "there is not one verdict per reference");
    verdicts.into_iter().collect::<Result<Vec<()>, _>>()?;
    for at in &gone {
        ensure_absent(&*backend, at).await?;
        let verdict = backend.verify(at, None, VerifyDepth::Size).await?;
        ensure_eq!(verdict, Verdict::Missing, "what was deleted is not missing");
        backend.delete_one(at).await?;
    }
    let kept: Vec<_> = [0, 3, 4].iter().filter_map(|i| items.get(*i)).collect();
    ensure_holds(&*backend, &kept).await?;
    let usage = backend.usage(UsageFilter::default()).await?;
    ensure_eq!((usage.backups, usage.content_bytes), (3, 12_000), "usage after deletion is wrong");
    drop(backend);
    ensure_holds(&*stage.places.main().await?, &kept).await
}

pub(super) async fn shared(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    ensure_deletes(&*backend)?;
    let content = samples::text(stage.seed, 100_000);
    let items: Vec<_> = ["sw1", "sw1", "sw2"].map(|d| Item::config(d, content.clone())).into();
    let refs = store(&*backend, &items).await?;
    for (i, at) in refs.iter().enumerate() {
        backend.delete_one(at).await?;
        ensure_holds(&*backend, &items.iter().skip(i + 1).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

pub(super) async fn store_again(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    ensure_deletes(&*backend)?;
    let item = Item::config("sw1", samples::text(stage.seed, 4000));
    for _ in 0..2 {
        let at = store_one(&*backend, &item).await?;
        backend.delete_one(&at).await?;
        ensure_holds(&*backend, &[]).await?;
    }
    let at = store_one(&*backend, &item).await?;
    ensure_kept(&*backend, &at, &item).await
}

pub(super) async fn unsupported(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    if backend.capability().delete {
        return skip("it can delete");
    }
    let items = [Item::config("sw1", &b"a"[..]), Item::config("sw2", &b"b"[..])];
    let refs = store(&*backend, &items).await?;
    let verdicts = backend.delete(&refs).await;
    ensure_eq!(verdicts.len(), refs.len(), "there is not one verdict per reference");
    for verdict in verdicts {
        ensure_kind(verdict, ErrorKind::Unsupported, "deleting")?;
    }
    ensure_holds(&*backend, &[&items[0], &items[1]]).await
}
