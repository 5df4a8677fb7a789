//! Reading all, a range, what is not there; and the manifest.

use std::ops::Range;

use devicevault_core::body::read_to_vec;
use devicevault_core::storage::VerifyDepth;
use devicevault_core::{ErrorKind, StorageBackend, StorageBackendExt as _, StorageRef, Transform};
use futures::StreamExt as _;

use super::stage::{Item, Stage, ensure_kept, ensure_manifest, store_one};
use crate::conformance::case::{Checked, ensure, ensure_kind};
use crate::samples;

const SEGMENT: u64 = 64 * 1024;

pub(super) async fn ranges(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    for size in [0, 1, 1000, SEGMENT, 3 * SEGMENT + 5] {
        let content = samples::noise(stage.seed, usize::try_from(size).unwrap_or(0));
        let item = Item::config(&format!("sw{size}"), content);
        let at = store_one(&*backend, &item).await?;
        let mid = size / 2;
        let edges = [0, 1, mid, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, size.saturating_sub(1), size, size + 1];
        for from in edges {
            for to in edges.into_iter().filter(|to| *to >= from) {
                ensure_range(&*backend, &at, &item, from..to).await?;
            }
        }
        ensure_range(&*backend, &at, &item, 0..u64::MAX).await?;
        ensure_range(&*backend, &at, &item, u64::MAX - 1..u64::MAX).await?;
    }
    Ok(())
}

pub(super) async fn large_range(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let size = backend.capability().max_body.unwrap_or(u64::MAX).min(3 << 20);
    let item = Item::config("large", samples::text(stage.seed, usize::try_from(size).unwrap_or(0)));
    let at = store_one(&*backend, &item).await?;
    let mut rng = fastrand::Rng::with_seed(stage.seed);
    for _ in 0..40 {
        let from = rng.u64(0..=size);
        let to = rng.u64(from..=size);
        ensure_range(&*backend, &at, &item, from..to).await?;
    }
    Ok(())
}

async fn ensure_range(backend: &dyn StorageBackend, at: &StorageRef, item: &Item, range: Range<u64>) -> Checked {
    let len = item.content.len() as u64;
    let (from, to) = (range.start.min(len) as usize, range.end.min(len) as usize);
    let got = read_to_vec(backend.read(at, Some(range.clone())).await?, len + 1).await?;
    ensure!(
        got == item.content.slice(from..to),
        "{range:?} of {len} bytes: {} bytes came, and they are not the {} of the range",
        got.len(),
        to - from
    );
    Ok(())
}

pub(super) async fn missing(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let other = stage.places.open("other").await?;
    store_one(&*backend, &Item::config("sw1", &b"present"[..])).await?;
    // A reference of its own form, to what another place holds.
    let at = store_one(&*other, &Item::config("sw2", &b"elsewhere"[..])).await?;
    ensure_absent(&*backend, &at).await
}

/// Neither bytes nor manifest are there.
pub(super) async fn ensure_absent(backend: &dyn StorageBackend, at: &StorageRef) -> Checked {
    ensure_kind(backend.read_all(at, 1 << 20).await, ErrorKind::NotFound, "reading what is not there")?;
    let part = match backend.read(at, Some(0..1)).await {
        Ok(stream) => read_to_vec(stream, 1 << 20).await,
        Err(e) => Err(e),
    };
    ensure_kind(part, ErrorKind::NotFound, "reading a range of what is not there")?;
    ensure_kind(backend.stat(at).await, ErrorKind::NotFound, "the manifest of what is not there")
}

pub(super) async fn foreign_references(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let item = Item::config("sw1", &b"present"[..]);
    let at = store_one(&*backend, &item).await?;
    let mut foreign: Vec<String> = [
        "",
        " ",
        "/",
        "..",
        "../../../../etc/passwd",
        "/etc/passwd",
        "no such thing",
        "a:b@c",
        "main:x@0000000000000000000000000000000000000000",
        "\0",
        "é\u{202e}\n",
        "%2e%2e%2f",
    ]
    .map(str::to_owned)
    .into();
    foreign.push("x".repeat(5000));
    foreign.push(format!("{at}x"));
    foreign.push(format!("x{at}"));
    foreign.push(format!("../{at}"));
    for text in foreign {
        let shown: String = text.escape_debug().take(60).collect();
        let foreign = StorageRef(text);
        ensure!(backend.read_all(&foreign, 1 << 20).await.is_err(), "'{shown}' reads as something");
        ensure!(backend.stat(&foreign).await.is_err(), "'{shown}' has a manifest");
        let verdict = backend.verify(&foreign, None, VerifyDepth::Content).await;
        ensure!(!verdict.is_ok_and(|v| v.is_good()), "'{shown}' verifies as good");
    }
    ensure_kept(&*backend, &at, &item).await
}

pub(super) async fn dropped_reader(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let item = Item::config("sw1", samples::noise(stage.seed, 1 << 20));
    let at = store_one(&*backend, &item).await?;
    let mut half = backend.read(&at, None).await?;
    let first = half.next().await;
    ensure!(matches!(first, Some(Ok(_))), "the first piece did not come: {first:?}");
    drop(half);
    drop(backend.read(&at, None).await?);
    ensure_kept(&*backend, &at, &item).await
}

pub(super) async fn stat(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let mut full = Item::config("sw1", samples::text(stage.seed, 3000));
    let m = &mut full.entry.manifest;
    m.source.site = Some("Zürich\n\"one\"".to_owned());
    m.source.group = Some("core: 'a'".to_owned());
    m.source.host = "2001:db8::1".to_owned();
    m.task_identifier = "nightly/2026 \u{1f512}".to_owned();
    m.extension = "conf".to_owned();
    m.instance = "instance-1".to_owned();
    m.transforms = vec![Transform::LineEnds, Transform::Volatile, Transform::Masked];
    m.suspect = vec!["the end marker is missing; the text ends at line 9".to_owned(), "under half".to_owned()];
    m.metadata =
        [("ticket", "CHG-1"), ("", "empty key"), ("multi\nline", "a: b\r\n\r\nc"), ("long", &"x".repeat(3000))]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
    full.entry.summary = "running-config of sw1: 2 lines\n\nand a second paragraph: with a colon".to_owned();
    let bare = Item::config("sw2", &b""[..]);
    for item in [full, bare] {
        let at = store_one(&*backend, &item).await?;
        ensure_manifest(&backend.stat(&at).await?, item.manifest())?;
    }
    Ok(())
}
