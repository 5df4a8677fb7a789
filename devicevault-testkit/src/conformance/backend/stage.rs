//! What the cases have in common.

use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::storage::{ListFilter, UsageFilter};
use devicevault_core::{Body, Digest, Entry, Manifest, Result, StorageBackend, StorageBackendExt as _, StorageRef};
use futures::TryStreamExt as _;

use super::Damager;
use crate::conformance::case::{Checked, Stop, broken, ensure, ensure_eq};
use crate::conformance::place::Places;
use crate::samples;

/// A batch of a store.
pub(super) type Batch = Vec<(Entry, Arc<dyn Body>)>;

/// What a case works with.
pub(super) struct Stage<'a> {
    pub(super) places: Places<'a, dyn StorageBackend>,
    pub(super) damage: Option<&'a dyn Damager>,
    pub(super) seed: u64,
}

/// An entry with its content at hand.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) entry: Entry,
    pub(super) content: Bytes,
}

impl Item {
    pub(super) fn new(device: &str, artefact: &str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self { entry: Entry::new(samples::manifest(&samples::device(device), artefact, &content)), content }
    }

    /// The `running-config` of a device of this name.
    pub(super) fn config(device: &str, content: impl Into<Bytes>) -> Self {
        Self::new(device, "running-config", content)
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.entry.manifest
    }

    pub(super) fn body(&self) -> Arc<dyn Body> {
        Arc::new(self.content.clone())
    }

    pub(super) fn pair(&self) -> (Entry, Arc<dyn Body>) {
        (self.entry.clone(), self.body())
    }

    /// Sets the content and what the manifest says of it.
    pub(super) fn with_content(mut self, content: impl Into<Bytes>) -> Self {
        self.content = content.into();
        self.entry.manifest.size = self.content.len() as u64;
        self.entry.manifest.sha256 = Digest::of(&self.content);
        self
    }
}

pub(super) fn batch(items: &[Item]) -> Batch {
    items.iter().map(Item::pair).collect()
}

/// Stores the items in batches of a size that the backend likes; all have to be taken.
pub(super) async fn store(backend: &dyn StorageBackend, items: &[Item]) -> Result<Vec<StorageRef>, Stop> {
    let mut refs = Vec::new();
    for part in items.chunks(backend.capability().max_batch.max(1)) {
        let verdicts = backend.store(batch(part)).await;
        ensure_eq!(verdicts.len(), part.len(), "there is not one verdict per entry");
        for (verdict, item) in verdicts.into_iter().zip(part) {
            match verdict {
                Ok(at) => refs.push(at),
                Err(e) => {
                    return broken(format!("the {} of {} was not stored: {e:?}", named(item), item.content.len()));
                }
            }
        }
    }
    Ok(refs)
}

fn named(item: &Item) -> String {
    format!("{} of {:?}", item.manifest().artefact, item.manifest().source.device_name)
}

/// Stores one item, which has to be taken.
pub(super) async fn store_one(backend: &dyn StorageBackend, item: &Item) -> Result<StorageRef, Stop> {
    let mut refs = store(backend, std::slice::from_ref(item)).await?;
    refs.pop().map_or_else(|| broken("there is no verdict"), Ok)
}

/// The item reads back, and its manifest is the one that was given.
pub(super) async fn ensure_kept(backend: &dyn StorageBackend, at: &StorageRef, item: &Item) -> Checked {
    let got = backend.read_all(at, item.content.len() as u64 + 1024).await?;
    ensure!(
        got == item.content,
        "the {} at {at} reads as other bytes: {} of {}",
        named(item),
        got.len(),
        item.content.len()
    );
    ensure_manifest(&backend.stat(at).await?, item.manifest())
}

/// The manifest is the one that was given, apart from transforms that the backend added at the end.
pub(super) fn ensure_manifest(got: &Manifest, given: &Manifest) -> Checked {
    ensure!(
        got.transforms.starts_with(&given.transforms),
        "the transforms {:?} do not begin with those given, {:?}",
        got.transforms,
        given.transforms
    );
    let mut same = got.clone();
    same.transforms.clone_from(&given.transforms);
    ensure_eq!(same, *given, "the manifest is not the one that was given");
    Ok(())
}

/// Everything that is listed, by reference.
pub(super) async fn listed(backend: &dyn StorageBackend) -> Result<Vec<(StorageRef, Manifest)>> {
    list_of(backend, ListFilter::default()).await
}

pub(super) async fn list_of(backend: &dyn StorageBackend, filter: ListFilter) -> Result<Vec<(StorageRef, Manifest)>> {
    let mut all: Vec<_> = backend.list(filter).try_collect().await?;
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

/// Exactly these items are listed, each readable at its listed reference.
pub(super) async fn ensure_holds(backend: &dyn StorageBackend, items: &[&Item]) -> Checked {
    let listed = listed(backend).await?;
    ensure_eq!(listed.len(), items.len(), "the number of listed backups is wrong");
    for item in items {
        let id = item.entry.id();
        match listed.iter().find(|(_, m)| Entry::new(m.clone()).id() == id && m.source == item.manifest().source) {
            Some((at, _)) => ensure_kept(backend, at, item).await?,
            None => return broken(format!("the {} is not listed", named(item))),
        }
    }
    let usage = backend.usage(UsageFilter::default()).await?;
    ensure_eq!(usage.backups, items.len() as u64, "usage counts another number of backups than are listed");
    Ok(())
}
