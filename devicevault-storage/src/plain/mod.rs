//! Backups as files that a person can browse, in any object store.
//!
//! ```text
//! zurich/core-rtr1/running-config/2026-11-21T01-24-44Z-3f2a9c1d.txt.zst
//! zurich/core-rtr1/running-config/2026-11-21T01-24-44Z-3f2a9c1d.txt.manifest.json
//! ```
//!
//! The path follows a [`Template`]. The time is that of the taking, in UTC; the eight digits behind it belong to run,
//! device, artefact and view, so that a second attempt finds what the first one stored. The content is what standard
//! tools read: `zstdcat`, `zcat` or `cat`.
//!
//! With [`sealing`](PlainOptions::with_sealing) content and manifest are sealed containers (`docs/format.md`), the epoch
//! keys lie under `keys/`, and a range is read without reading what is before it. Without a key one can still list the
//! objects, and verify that they are what was stored.
//!
//! ```text
//! keys/0197c2a0-6d5c-7000-8000-000000000001.json
//! zurich/core-rtr1/running-config/2026-11-21T01-24-44Z-3f2a9c1d.txt.dvo
//! zurich/core-rtr1/running-config/2026-11-21T01-24-44Z-3f2a9c1d.txt.manifest.json
//! ```
//!
//! # What holds
//! - A backup exists when its manifest does. The content is stored first and the manifest last; deletion goes the other
//!   way. Content that no manifest names is removed by maintenance after a grace.
//! - The manifest is the one of [`devicevault_core::Manifest`], and besides says what the stored bytes are (`stored`:
//!   name, size, SHA-256) and what the manifest itself hashes to (`manifest_sha256`), so that damage to either is found
//!   without any other record.
//! - Nothing that is good is ever replaced: of two writers of one entry, one stores it and the other finds it.
//! - Files that are not ours, beside ours, are neither listed nor touched.
//! - Nothing is sealed before the object of its epoch key is at the destination, durably. A sealing destination does not
//!   read what is not sealed, unless [told to](ClearAccess).
//!
//! In a [folder](crate::local) a batch is one durable step, and what [`store`](StorageBackend::store) confirmed
//! survives a power cut. In other stores it is as durable as the store makes it.

mod chain;
mod check;
mod envelope;
mod epochs;
#[cfg(unix)]
mod folder;
mod keep;
mod layout;
mod maintain;
mod options;
mod read;
mod record;
mod refused;
mod reseal;
mod sealing;
mod sightings;
mod store;
mod template;
mod upload;
mod verify;
mod walk;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::sightings::Sightings;
use devicevault_core::storage::{
    Budget, Capability, Health, ListFilter, Report, Usage, UsageFilter, Verdict, VerifyDepth,
};
use devicevault_core::{Body, ByteStream, Entry, Manifest, Result, StorageBackend, StorageRef};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;
use tokio::sync::OnceCell;

#[cfg(unix)]
use crate::local::LocalStore;
use crate::seal::keys::KeyFolder;
use crate::seal::{EpochId, Key};

pub use keep::Keep;
pub use options::{ClearAccess, PlainOptions};
pub use reseal::Resealed;
pub use template::{Template, opaque_names};

/// How many entries share a durable step.
const MAX_BATCH: usize = 256;

/// Keeps backups as browsable files; see the [module](self). Cloning is cheap.
#[derive(Debug, Clone)]
pub struct PlainBackend(Arc<Plain>);

#[derive(Debug)]
struct Plain {
    store: Arc<dyn ObjectStore>,
    /// The same store, where it is a folder: it takes a batch in one step.
    #[cfg(unix)]
    folder: Option<LocalStore>,
    /// The same store, where it is known what else it can do.
    keep: Option<Arc<dyn Keep>>,
    options: PlainOptions,
    /// The epoch key objects at the destination.
    keys: KeyFolder,
    /// Those that are known to be there, with their revision.
    published: Mutex<BTreeSet<(EpochId, u64)>>,
    /// When the place was last seen to be ours, by the monotonic clock.
    ours: Mutex<Option<Duration>>,
    /// What makes opaque names.
    names: OnceCell<Key>,
    /// Whether epoch keys lie at a place of which nothing else is known.
    holds_keys: OnceCell<bool>,
    /// Memory for what is on its way into a store.
    room: upload::Room,
}

impl PlainBackend {
    /// Backups in a folder.
    #[cfg(unix)]
    #[must_use]
    pub fn in_folder(folder: LocalStore, options: PlainOptions) -> Self {
        let mut plain = Plain::over(Arc::new(folder.clone()), options);
        plain.folder = Some(folder);
        Self(Arc::new(plain))
    }

    /// Backups in a store that is known well: what it promises is taken from it.
    #[must_use]
    pub fn kept<S: ObjectStore + Keep>(store: Arc<S>, options: PlainOptions) -> Self {
        let mut plain = Plain::over(store.clone(), options);
        plain.keep = Some(store);
        Self(Arc::new(plain))
    }

    /// Backups in any object store.
    #[must_use]
    pub fn over(store: Arc<dyn ObjectStore>, options: PlainOptions) -> Self {
        Self(Arc::new(Plain::over(store, options)))
    }
}

impl PlainBackend {
    /// Stores what a sealed destination needs before its first backup: the object of the epoch key that seals, and the
    /// key of opaque names. [`store`](StorageBackend::store) does so by itself.
    ///
    /// # Errors
    /// `Config` for options that do not go together, `KeyUnavailable` without an epoch key, what the store answers.
    pub async fn publish_keys(&self) -> Result<()> {
        self.0.form().await.map(drop)
    }

    /// Whether epoch keys lie at the place, as they do where backups are sealed.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn holds_keys(&self) -> Result<bool> {
        self.0.holds_keys().await
    }
}

impl PlainBackend {
    /// Seals anew, under the present epoch key and with data keys of their own, every backup that was sealed under an
    /// earlier one; an item each, as it is done. An error of an item leaves its backup as it was, and the rest goes on.
    ///
    /// References stay as they are. The old content goes when the new one was read back, opened and compared with the
    /// manifest, and the manifest names it. Dropped or killed at any step, every backup is whole, and the next call goes
    /// on; what was left lying is removed then. One call at a time: of two, each would tidy away what the other writes.
    ///
    /// # Errors
    /// Those of items. One of the listing ends the stream.
    pub fn reseal(&self) -> BoxStream<'static, Result<Resealed>> {
        self.0.clone().reseal()
    }
}

impl PlainBackend {
    /// Checks every backup as far as that goes without opening it, at most to the hash of its stored bytes: what can be
    /// said of a sealed store without its key. What is damaged is a verdict; an object whose manifest cannot be read
    /// stands under the manifest's name.
    ///
    /// # Errors
    /// What the store answers, as items.
    pub fn verify_unopened(&self, depth: VerifyDepth) -> BoxStream<'static, Result<(StorageRef, Verdict)>> {
        self.0.clone().verify_unopened(depth)
    }
}

impl PlainBackend {
    /// Under which epoch key each backup is sealed, as its manifest says in the clear: no key is needed. What is not
    /// sealed, and what cannot be told of, is left out.
    ///
    /// # Errors
    /// What the store answers, as items.
    pub fn epochs(&self) -> BoxStream<'static, Result<EpochId>> {
        self.0.clone().epochs()
    }
}

impl fmt::Display for PlainBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plain in {}", self.0.store)
    }
}

#[async_trait]
impl StorageBackend for PlainBackend {
    fn capability(&self) -> Capability {
        let mut capability = Capability::default();
        capability.delete = true;
        let options = &self.0.options;
        capability.range_read = options.sealed || options.compression == crate::codec::Compression::None;
        capability.private_content = options.sealed;
        capability.private_names = options.sealed && options.opaque_names;
        let keep = self.0.keep.as_ref();
        capability.durable = self.0.in_folder() || keep.map_or(self.0.options.durable, |k| k.durable());
        capability.put_if_absent = self.0.in_folder() || keep.is_some_and(|k| k.put_if_absent());
        capability.max_batch = MAX_BATCH;
        capability
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        self.0.store(batch).await
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        self.0.read(at, range).await
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        Ok(self.0.located(at).await?.1.manifest)
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        let records = self.0.clone().records(filter);
        records.map_ok(|found| (found.at, found.record.manifest)).boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        if let Err(e) = self.0.may_replace().await {
            return refs.iter().map(|_| Err(e.clone())).collect();
        }
        self.0.delete(refs).await
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        self.0.verify(at, expect, depth).await
    }

    async fn look_at(&self, at: &StorageRef) -> Result<Verdict> {
        self.0.look_at(at).await
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        let mut wanted = ListFilter::default();
        wanted.device = filter.device;
        let add = |mut sum: Usage, found: walk::Found| async move {
            sum.backups += 1;
            sum.content_bytes += found.record.manifest.size;
            sum.stored_bytes += found.record.stored.size + found.manifest_size;
            Ok(sum)
        };
        self.0.clone().whole(wanted).try_fold(Usage::default(), add).await
    }

    async fn maintain(&self, budget: Budget) -> Result<Report> {
        self.0.maintain(&budget, true).await
    }

    async fn foretell(&self, budget: Budget) -> Result<Option<Report>> {
        self.0.maintain(&budget, false).await.map(Some)
    }

    async fn check(&self) -> Result<Health> {
        self.0.check().await
    }

    async fn note_sightings(&self, record: &Sightings) -> Result<bool> {
        self.0.note_sightings(record).await
    }

    async fn sightings(&self, period: &str) -> Result<Option<Sightings>> {
        self.0.sightings(period).await
    }

    async fn sighting_periods(&self) -> Result<Vec<String>> {
        self.0.sighting_periods().await
    }
}

impl Plain {
    fn over(store: Arc<dyn ObjectStore>, options: PlainOptions) -> Self {
        Self {
            keys: KeyFolder::of_destination(store.clone()),
            store,
            #[cfg(unix)]
            folder: None,
            keep: None,
            options,
            published: Mutex::default(),
            ours: Mutex::default(),
            names: OnceCell::new(),
            holds_keys: OnceCell::new(),
            room: upload::Room::default(),
        }
    }

    #[cfg(unix)]
    fn in_folder(&self) -> bool {
        self.folder.is_some()
    }

    #[cfg(not(unix))]
    fn in_folder(&self) -> bool {
        false
    }
}
