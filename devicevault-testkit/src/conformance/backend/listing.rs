//! Lists, usage, and what a restart finds.

use std::time::Duration;

use devicevault_core::DeviceId;
use devicevault_core::storage::{ListFilter, UsageFilter};

use super::stage::{Item, Stage, ensure_holds, ensure_kept, list_of, listed, store};
use crate::conformance::case::{Checked, ensure, ensure_eq};
use crate::samples;

pub(super) async fn list(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let items: Vec<_> = (0..30)
        .map(|i| {
            let mut item = Item::config(&format!("sw{}", i % 7), samples::text(stage.seed + i, 500));
            item.entry.manifest.taken_at = samples::BEGINNING + Duration::from_secs(i / 3);
            item
        })
        .collect();
    let mut refs = store(&*backend, &items).await?;
    refs.sort();
    let found: Vec<_> = listed(&*backend).await?.into_iter().map(|(at, _)| at).collect();
    ensure_eq!(found, refs, "the list does not name what store returned");
    ensure_holds(&*backend, &items.iter().collect::<Vec<_>>()).await
}

pub(super) async fn filters(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let mut items = Vec::new();
    for (i, device) in ["sw1", "sw10", "SW1", "sw2"].into_iter().enumerate() {
        for (j, artefact) in ["running-config", "running-config.backup", "inventory"].into_iter().enumerate() {
            for k in 0..3_u64 {
                let mut item = Item::new(device, artefact, format!("{i} {j} {k}"));
                item.entry.manifest.taken_at = samples::BEGINNING + Duration::from_micros(k);
                items.push(item);
            }
        }
    }
    store(&*backend, &items).await?;
    for device in [None, Some("sw1"), Some("SW1"), Some("sw"), Some("nobody")] {
        for artefact in [None, Some("running-config"), Some("inventory"), Some("config")] {
            for since in [None, Some(0), Some(1), Some(2), Some(3)] {
                let mut filter = ListFilter::default();
                filter.device = device.map(DeviceId::from);
                filter.artefact = artefact.map(str::to_owned);
                filter.since = since.map(|t| samples::BEGINNING + Duration::from_micros(t));
                let mut want: Vec<_> =
                    items.iter().map(Item::manifest).filter(|m| filter.matches(m)).map(|m| m.backup).collect();
                let mut got: Vec<_> = list_of(&*backend, filter.clone()).await?.iter().map(|(_, m)| m.backup).collect();
                want.sort();
                got.sort();
                ensure_eq!(got, want, "the list under {filter:?} is not what the filter says");
            }
        }
    }
    Ok(())
}

pub(super) async fn usage(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let empty = backend.usage(UsageFilter::default()).await?;
    ensure_eq!((empty.backups, empty.content_bytes), (0, 0), "an empty place is in use");
    let (mut backups, mut bytes, mut stored) = (0, 0, 0);
    for (device, size) in [("sw1", 1000), ("sw1", 70_000), ("sw2", 0), ("sw2", 5)] {
        store(&*backend, &[Item::config(device, samples::noise(stage.seed + backups, size))]).await?;
        backups += 1;
        bytes += size as u64;
        let usage = backend.usage(UsageFilter::default()).await?;
        ensure_eq!((usage.backups, usage.content_bytes), (backups, bytes), "usage after {backups} backups is wrong");
        ensure!(usage.stored_bytes >= stored, "stored bytes shrank from {stored} to {}", usage.stored_bytes);
        stored = usage.stored_bytes;
    }
    ensure!(stored >= 70_000, "71,005 bytes without a pattern are said to be stored in {stored}");
    for (device, want) in [("sw1", (2, 71_000)), ("sw2", (2, 5)), ("sw3", (0, 0))] {
        let mut filter = UsageFilter::default();
        filter.device = Some(device.into());
        let usage = backend.usage(filter).await?;
        ensure_eq!((usage.backups, usage.content_bytes), want, "usage of {device} is wrong");
    }
    Ok(())
}

pub(super) async fn reopen(stage: &Stage<'_>) -> Checked {
    let items: Vec<_> =
        (0..10).map(|i| Item::config(&format!("sw{i}"), samples::text(stage.seed + i, 1000 * i as usize))).collect();
    let refs = {
        let backend = stage.places.main().await?;
        store(&*backend, &items).await?
    };
    let backend = stage.places.main().await?;
    for (at, item) in refs.iter().zip(&items) {
        ensure_kept(&*backend, at, item).await?;
    }
    let more = Item::config("sw0", &b"after the restart"[..]);
    store(&*backend, std::slice::from_ref(&more)).await?;
    ensure_holds(&*backend, &items.iter().chain([&more]).collect::<Vec<_>>()).await
}

pub(super) async fn places(stage: &Stage<'_>) -> Checked {
    let (a, b) = (stage.places.open("a").await?, stage.places.open("b").await?);
    let (in_a, in_b) = (Item::config("sw1", &b"a"[..]), Item::config("sw1", &b"b"[..]));
    store(&*a, std::slice::from_ref(&in_a)).await?;
    store(&*b, std::slice::from_ref(&in_b)).await?;
    ensure_holds(&*a, &[&in_a]).await?;
    ensure_holds(&*b, &[&in_b]).await
}
