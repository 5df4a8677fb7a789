//! Batches, bodies, and what happens to those that are not what they should be.

use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::{Body, Digest, ErrorKind, Result, StorageBackend, StorageBackendExt as _, StorageRef, View};

use super::stage::{Item, Stage, ensure_holds, ensure_kept, store, store_one};
use crate::bodies::ScriptedBody;
use crate::conformance::case::{Checked, broken, ensure, ensure_eq, ensure_kind, skip};
use crate::samples;

const SEGMENT: usize = 64 * 1024;

pub(super) async fn empty_batch(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    ensure_eq!(backend.store(Vec::new()).await.len(), 0, "there are verdicts of nothing");
    ensure_holds(&*backend, &[]).await
}

pub(super) async fn batch(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let count = backend.capability().max_batch.clamp(1, 20);
    let items: Vec<_> = (0..count)
        .map(|i| Item::config(&format!("sw{i}"), samples::text(stage.seed + i as u64, 300 * (count - i))))
        .collect();
    let refs = store(&*backend, &items).await?;
    for (at, item) in refs.iter().zip(&items) {
        ensure_kept(&*backend, at, item).await?;
    }
    ensure_holds(&*backend, &items.iter().collect::<Vec<_>>()).await
}

pub(super) async fn sizes(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let max = backend.capability().max_body.unwrap_or(u64::MAX);
    let mut items = Vec::new();
    for size in [0, 1, 2, 4095, SEGMENT - 1, SEGMENT, SEGMENT + 1, 1 << 20, (5 << 20) + 3] {
        if size as u64 <= max {
            items.push(Item::config(&format!("text-{size}"), samples::text(stage.seed, size)));
            items.push(Item::config(&format!("noise-{size}"), samples::noise(stage.seed, size)));
        }
    }
    if max <= 64 << 20 {
        // At the bound itself, where that is not too much to try.
        items.push(Item::config("at-the-bound", samples::noise(stage.seed, usize::try_from(max).unwrap_or(0))));
    }
    let refs = store(&*backend, &items).await?;
    for (at, item) in refs.iter().zip(&items) {
        ensure_kept(&*backend, at, item).await?;
    }
    Ok(())
}

pub(super) async fn bytes(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let all: Vec<u8> = (0..=255).collect();
    let contents: [Bytes; 9] = [
        all.repeat(3).into(),
        Bytes::from_static(b"\xff\xfe\x00\xd8not utf-8\xc3\x28"),
        Bytes::from_static(b"\xef\xbb\xbfwith a mark"),
        Bytes::from_static(b"cr lf\r\nlf\ncr\r\r\n"),
        Bytes::from_static(b"no line end"),
        Bytes::from_static(b"\n\n\n"),
        Bytes::from_static(b"\0"),
        Bytes::from_static(b"\x1f\x8b\x08 looks like gzip"),
        Bytes::from_static(b"\x28\xb5\x2f\xfd looks like zstd"),
    ];
    let items: Vec<_> = contents.into_iter().enumerate().map(|(i, c)| Item::config(&format!("sw{i}"), c)).collect();
    let refs = store(&*backend, &items).await?;
    for (at, item) in refs.iter().zip(&items) {
        ensure_kept(&*backend, at, item).await?;
    }
    Ok(())
}

pub(super) async fn pieces(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let content = samples::text(stage.seed, 2 * SEGMENT + 17);
    for piece in [1000, 8192, SEGMENT, content.len()] {
        let item = Item::config(&format!("sw{piece}"), content.clone());
        let body = ScriptedBody::new(content.clone()).in_pieces_of(piece).yielding().shared();
        let at = backend.store_one(item.entry.clone(), body).await?;
        ensure_kept(&*backend, &at, &item).await?;
    }
    let small = Item::config("bytewise", &b"one byte at a time"[..]);
    let body = ScriptedBody::new(small.content.clone()).in_pieces_of(1).shared();
    let at = backend.store_one(small.entry.clone(), body).await?;
    ensure_kept(&*backend, &at, &small).await
}

pub(super) async fn versions(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let first = Item::config("sw1", &b"hostname a\n"[..]);
    // The same device, artefact, time and content, of another run.
    let same = Item::config("sw1", &b"hostname a\n"[..]);
    let other = Item::config("sw1", &b"hostname b\n"[..]);
    let mut items = vec![first.clone(), same, other];
    // Other views and artefacts of the first run.
    for (artefact, view) in [
        ("running-config", View::Clean),
        ("running-config", View::Redacted),
        ("inventory", View::Original),
        ("startup-config", View::Original),
        ("running-config.backup", View::Original),
    ] {
        let mut item = first.clone().with_content(format!("{artefact} {view}"));
        item.entry.manifest.artefact = artefact.to_owned();
        item.entry.manifest.view = view;
        items.push(item);
    }
    let refs = store(&*backend, &items).await?;
    let distinct: std::collections::BTreeSet<_> = refs.iter().collect();
    ensure_eq!(distinct.len(), items.len(), "two entries have one reference: {refs:?}");
    for (at, item) in refs.iter().zip(&items) {
        ensure_kept(&*backend, at, item).await?;
    }
    ensure_holds(&*backend, &items.iter().collect::<Vec<_>>()).await
}

pub(super) async fn same_entry_again(stage: &Stage<'_>) -> Checked {
    let item = Item::config("sw1", samples::text(stage.seed, 10_000));
    let other = Item::config("sw2", &b"another"[..]);
    {
        let backend = stage.places.main().await?;
        let first = store_one(&*backend, &item).await?;
        store_one(&*backend, &other).await?;
        let again = store_one(&*backend, &item).await?;
        ensure_kept(&*backend, &first, &item).await?;
        ensure_kept(&*backend, &again, &item).await?;
        ensure_holds(&*backend, &[&item, &other]).await?;
    }
    let backend = stage.places.main().await?;
    let after = store_one(&*backend, &item).await?;
    ensure_kept(&*backend, &after, &item).await?;
    ensure_holds(&*backend, &[&item, &other]).await
}

pub(super) async fn same_entry_in_a_batch(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    if backend.capability().max_batch < 2 {
        return skip("it takes no batches of two");
    }
    let item = Item::config("sw1", samples::text(stage.seed, 5000));
    for verdict in backend.store(vec![item.pair(), item.pair()]).await {
        ensure_kept(&*backend, &verdict?, &item).await?;
    }
    ensure_holds(&*backend, &[&item]).await
}

pub(super) async fn wrong_hash(stage: &Stage<'_>) -> Checked {
    for size in [0, 10, 3 * SEGMENT] {
        let backend = stage.places.open(&format!("size-{size}")).await?;
        let mut item = Item::config("sw1", samples::text(stage.seed, size));
        item.entry.manifest.sha256 = Digest::of(b"something else");
        refused_among_good(&*backend, &item, item.body(), Some(ErrorKind::Incomplete)).await?;
    }
    Ok(())
}

pub(super) async fn wrong_length(stage: &Stage<'_>) -> Checked {
    for size in [1000_usize, 3 * SEGMENT] {
        let content = samples::text(stage.seed, size);
        let len = size as u64;
        let scripted = || ScriptedBody::new(content.clone()).in_pieces_of(777);
        let cases: [(&str, u64, Arc<dyn Body>); 4] = [
            ("shorter", len + 1, scripted().shared()),
            ("longer", len - 1, scripted().shared()),
            // It tells the length of the manifest, and yields less or more.
            ("ends-early", len, scripted().ending_at(len - 1).shared()),
            ("goes-on", len - 1, scripted().claiming(len - 1).shared()),
        ];
        for (what, told, body) in cases {
            let backend = stage.places.open(&format!("{what}-{size}")).await?;
            let mut item = Item::config("sw1", content.clone());
            item.entry.manifest.size = told;
            refused_among_good(&*backend, &item, body, Some(ErrorKind::Incomplete)).await?;
        }
    }
    Ok(())
}

pub(super) async fn failing_body(stage: &Stage<'_>) -> Checked {
    let len = 3 * SEGMENT as u64;
    let content = samples::text(stage.seed, 3 * SEGMENT);
    for at in [0, 1, 70_000, len - 1, len] {
        let backend = stage.places.open(&format!("at-{at}")).await?;
        let item = Item::config("sw1", content.clone());
        let body = ScriptedBody::new(content.clone()).in_pieces_of(10_000).failing_at(at).shared();
        refused_among_good(&*backend, &item, body, None).await?;
        // The same entry with a good body is taken afterwards.
        let at = store_one(&*backend, &item).await?;
        ensure_kept(&*backend, &at, &item).await?;
    }
    Ok(())
}

pub(super) async fn too_large(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let Some(max) = backend.capability().max_body else { return skip("it takes bodies of any size") };
    let Some(size) = usize::try_from(max + 1).ok().filter(|s| *s <= 64 << 20) else {
        return skip("its bound is more than is tried here");
    };
    let item = Item::config("sw1", samples::text(stage.seed, size));
    refused_among_good(&*backend, &item, item.body(), Some(ErrorKind::TooLarge)).await
}

/// The item is refused, and leaves nothing; good ones before and after it in the batch are stored.
async fn refused_among_good(
    backend: &dyn StorageBackend,
    item: &Item,
    body: Arc<dyn Body>,
    kind: Option<ErrorKind>,
) -> Checked {
    let (before, after) = (Item::config("before", &b"before\n"[..]), Item::config("after", &b"after\n"[..]));
    if backend.capability().max_batch < 3 {
        let verdict = backend.store_one(item.entry.clone(), body).await;
        ensure_refused(verdict, kind)?;
        return ensure_holds(backend, &[]).await;
    }
    let verdicts = backend.store(vec![before.pair(), (item.entry.clone(), body), after.pair()]).await;
    let Ok([first, refused, last]) = <[_; 3]>::try_from(verdicts) else {
        return broken("there is not one verdict per entry");
    };
    ensure_refused(refused, kind)?;
    ensure_kept(backend, &first?, &before).await?;
    ensure_kept(backend, &last?, &after).await?;
    ensure_holds(backend, &[&before, &after]).await
}

fn ensure_refused(verdict: Result<StorageRef>, kind: Option<ErrorKind>) -> Checked {
    match kind {
        Some(kind) => ensure_kind(verdict, kind, "storing it"),
        None => {
            ensure!(verdict.is_err(), "it was stored at {:?}, though its body failed", verdict);
            Ok(())
        }
    }
}
