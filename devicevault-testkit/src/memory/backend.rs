//! A store in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use devicevault_core::body::ByteStream;
use devicevault_core::sightings::Sightings;
use devicevault_core::storage::{Capability, EntryId, Health, ListFilter, Usage, UsageFilter, Verdict, VerifyDepth};
use devicevault_core::{Body, Digest, Entry, Error, ErrorKind, Manifest, Result, StorageBackend, StorageRef};
use futures::stream::{BoxStream, StreamExt as _};

use crate::conformance::Damage;

/// Keeps backups in memory. Clones share what is kept, so that a clone stands for the same store opened again.
///
/// ```
/// use devicevault_core::StorageBackendExt as _;
/// use devicevault_testkit::{memory::MemoryBackend, samples};
///
/// # futures::executor::block_on(async {
/// let backend = MemoryBackend::new();
/// let (entry, body) = samples::entry("sw1", "hostname sw1\n");
/// let at = backend.store_one(entry, body).await?;
/// assert_eq!(backend.read_all(&at, 100).await?, b"hostname sw1\n");
/// # Ok::<(), devicevault_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MemoryBackend {
    capability: Capability,
    name: Arc<str>,
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    kept: BTreeMap<StorageRef, Kept>,
    by_id: BTreeMap<EntryId, StorageRef>,
    sightings: BTreeMap<String, Sightings>,
}

#[derive(Debug, Clone)]
struct Kept {
    manifest: Manifest,
    content: Option<Bytes>,
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBackend {
    /// An empty store that can do everything but outlive the process.
    #[must_use]
    pub fn new() -> Self {
        let mut capability = Capability::default();
        capability.delete = true;
        capability.range_read = true;
        capability.put_if_absent = true;
        capability.private_names = true;
        let name = uuid::Uuid::now_v7().simple().to_string();
        Self { capability, name: name.into(), shelf: Arc::default() }
    }

    /// Says that it cannot delete, and does not.
    #[must_use]
    pub fn without_delete(mut self) -> Self {
        self.capability.delete = false;
        self
    }

    /// Says that nobody without a key can read or write there.
    #[must_use]
    pub fn with_private_content(mut self) -> Self {
        self.capability.private_content = true;
        self
    }

    /// Takes no body of more than so many bytes.
    #[must_use]
    pub fn with_max_body(mut self, bytes: u64) -> Self {
        self.capability.max_body = Some(bytes);
        self
    }

    /// Asks for batches of at most so many entries.
    #[must_use]
    pub fn with_max_batch(mut self, entries: usize) -> Self {
        self.capability.max_batch = entries;
        self
    }

    /// How many backups it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shelf().kept.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every manifest with its content, in the order of their references (which is that of storing).
    #[must_use]
    pub fn contents(&self) -> Vec<(Manifest, Bytes)> {
        let shelf = self.shelf();
        shelf.kept.values().map(|k| (k.manifest.clone(), k.content.clone().unwrap_or_default())).collect()
    }

    /// Damages what is stored there. `false`: there is nothing to damage.
    #[must_use]
    pub fn damage(&self, at: &StorageRef, how: Damage) -> bool {
        let mut shelf = self.shelf();
        let Some(kept) = shelf.kept.get_mut(at) else { return false };
        let Some(mut bytes) = kept.content.as_ref().map(|c| c.to_vec()).filter(|c| !c.is_empty()) else { return false };
        let middle = bytes.len() / 2;
        kept.content = match how {
            Damage::FlipBit => {
                bytes[middle] ^= 1;
                Some(bytes.into())
            }
            Damage::Truncate => {
                bytes.pop();
                Some(bytes.into())
            }
            Damage::Remove => None,
        };
        true
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, at: &StorageRef, operation: &'static str) -> Result<Kept> {
        let missing =
            || Error::new(ErrorKind::NotFound, operation, "there is no such backup").with("reference", escaped(at));
        self.shelf().kept.get(at).cloned().ok_or_else(missing)
    }

    async fn take(&self, entry: &Entry, body: &dyn Body) -> Result<Bytes> {
        let m = &entry.manifest;
        if let Some(max) = self.capability.max_body.filter(|max| m.size.max(body.len()) > *max) {
            return Err(Error::new(ErrorKind::TooLarge, "store backup", "the body is larger than this store takes")
                .with("size", m.size.max(body.len()))
                .with("limit", max));
        }
        let mut content = BytesMut::new();
        let mut stream = body.read(None);
        while let Some(chunk) = stream.next().await {
            content.extend_from_slice(&chunk?);
            if content.len() as u64 > m.size {
                return Err(differs("the body is longer than its manifest says").with("size", m.size));
            }
        }
        if content.len() as u64 != m.size {
            return Err(differs("the body is shorter than its manifest says").with("size", m.size));
        }
        if Digest::of(&content) != m.sha256 {
            return Err(differs("the body has another hash than its manifest says"));
        }
        Ok(content.freeze())
    }

    /// References tell no name, sort by the time of storing, and are known at no other store.
    fn keep(&self, entry: &Entry, content: Bytes) -> StorageRef {
        let mut shelf = self.shelf();
        if let Some(at) = shelf.by_id.get(&entry.id()) {
            return at.clone();
        }
        let at = StorageRef(format!("memory/{}/{}", self.name, uuid::Uuid::now_v7()));
        shelf.by_id.insert(entry.id(), at.clone());
        shelf.kept.insert(at.clone(), Kept { manifest: entry.manifest.clone(), content: Some(content) });
        at
    }
}

fn differs(why: &'static str) -> Error {
    Error::new(ErrorKind::Incomplete, "store backup", why)
}

fn escaped(at: &StorageRef) -> std::str::EscapeDebug<'_> {
    at.0.escape_debug()
}

#[async_trait]
impl StorageBackend for MemoryBackend {
    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let mut taken = Vec::with_capacity(batch.len());
        for (entry, body) in &batch {
            taken.push(self.take(entry, &**body).await);
        }
        // From here to the end there is no point at which the call could be cancelled.
        batch.iter().zip(taken).map(|((entry, _), content)| Ok(self.keep(entry, content?))).collect()
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        let kept = self.kept(at, "read backup")?;
        let corrupt = |why| Error::new(ErrorKind::Corrupt, "read backup", why).with("reference", escaped(at));
        let content = kept.content.ok_or_else(|| corrupt("its bytes are gone"))?;
        if Digest::of(&content) != kept.manifest.sha256 {
            return Err(corrupt("its bytes are not those that were stored"));
        }
        Ok(Body::read(&content, range))
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        Ok(self.kept(at, "read manifest")?.manifest)
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        let found: Vec<_> = {
            let shelf = self.shelf();
            let matching = shelf.kept.iter().filter(|(_, k)| filter.matches(&k.manifest));
            matching.map(|(at, k)| Ok((at.clone(), k.manifest.clone()))).collect()
        };
        futures::stream::iter(found).boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        if !self.capability.delete {
            let no = || Error::new(ErrorKind::Unsupported, "delete backup", "this store keeps what it has");
            return refs.iter().map(|_| Err(no())).collect();
        }
        let mut shelf = self.shelf();
        for at in refs {
            if let Some(kept) = shelf.kept.remove(at) {
                shelf.by_id.remove(&Entry::new(kept.manifest).id());
            }
        }
        refs.iter().map(|_| Ok(())).collect()
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        let Some(Kept { manifest, content }) = self.shelf().kept.get(at).cloned() else { return Ok(Verdict::Missing) };
        let Some(content) = content else { return Ok(Verdict::Missing) };
        let mut wrong = Vec::new();
        for (whose, told) in [("its manifest", Some(&manifest)), ("the catalog", expect)] {
            let Some(told) = told else { continue };
            if content.len() as u64 != told.size {
                wrong.push(format!("it has {} bytes, and {whose} says {}", content.len(), told.size));
            }
            if depth > VerifyDepth::Size && Digest::of(&content) != told.sha256 {
                wrong.push(format!("it has another hash than {whose} says"));
            }
        }
        Ok(if wrong.is_empty() { Verdict::Good(depth) } else { Verdict::Damaged(wrong) })
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        let mut usage = Usage::default();
        let shelf = self.shelf();
        for kept in shelf.kept.values() {
            if filter.device.as_ref().is_none_or(|d| *d == kept.manifest.source.device) {
                usage.backups += 1;
                usage.content_bytes += kept.manifest.size;
                usage.stored_bytes += kept.content.as_ref().map_or(0, |c| c.len() as u64);
            }
        }
        Ok(usage)
    }

    async fn check(&self) -> Result<Health> {
        let mut health = Health::default();
        health.push("memory", true, "what is stored here ends with the process");
        Ok(health)
    }

    async fn note_sightings(&self, record: &Sightings) -> Result<bool> {
        self.shelf().sightings.insert(record.period.clone(), record.clone());
        Ok(true)
    }

    async fn sightings(&self, period: &str) -> Result<Option<Sightings>> {
        Ok(self.shelf().sightings.get(period).cloned())
    }

    async fn sighting_periods(&self) -> Result<Vec<String>> {
        Ok(self.shelf().sightings.keys().cloned().collect())
    }
}
