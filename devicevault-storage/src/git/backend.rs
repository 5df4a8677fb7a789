//! [`GitBackend`]: the storage trait over a repository.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::storage::{
    Budget, Capability, Health, ListFilter, Report, Usage, UsageFilter, Verdict, VerifyDepth,
};
use devicevault_core::{
    Body, ByteStream, Clock, Entry, Error, ErrorKind, Manifest, Result, StorageBackend, StorageRef, Timestamp,
};
use futures::stream::{self, BoxStream, StreamExt as _};
use git2::Repository;
use tokio::sync::oneshot;

use super::handles::Handles;
use super::index::{Index, Record, device_key};
use super::layout::Layout;
use super::lock::FileLock;
use super::options::GitOptions;
use super::path::Version;
use super::repack::{self, Selection};
use super::write::{self, Checked, Target};
use super::{branch, fault, health, history, objects, verify};

/// Bytes of bodies that are held at once; a batch of more is stored in several steps.
const STEP: u64 = 64 << 20;

/// Bytes of a chunk that is read.
const CHUNK: usize = 64 << 10;

/// Stores between two looks at how many packs there are.
const STORES_BETWEEN_MERGES: u32 = 8;

/// Records that a listing takes at a time.
const PAGE: usize = 256;

/// Keeps backups as commits in a bare Git repository; see the [module](super).
#[derive(Debug)]
pub struct GitBackend {
    inner: Arc<Inner>,
    writer: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    options: GitOptions,
    clock: Arc<dyn Clock>,
    handles: Handles,
    index: RwLock<Index>,
    repacking: Mutex<()>,
    stores: AtomicU32,
    /// The backend was dropped: work in the background ends at its next step.
    closing: AtomicBool,
}

impl Drop for GitBackend {
    fn drop(&mut self) {
        self.inner.closing.store(true, Ordering::Relaxed);
    }
}

impl GitBackend {
    /// Opens a bare repository, or makes one in an empty folder or one that is not there.
    ///
    /// # Errors
    /// `Config` for settings that Git refuses, or a folder that holds something else.
    pub async fn open(path: impl Into<PathBuf>, options: GitOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = path.into();
        let open = move || {
            options.check()?;
            let layout = Layout::open(&path, &options.branch)?;
            let index = RwLock::new(Index::load(&layout.index(&options.branch)));
            let handles = Handles::default();
            Ok(Inner {
                layout,
                options,
                clock,
                handles,
                index,
                repacking: Mutex::default(),
                stores: AtomicU32::default(),
                closing: AtomicBool::default(),
            })
        };
        let inner = tokio::task::spawn_blocking(open).await.map_err(fault::panicked)??;
        Ok(Self { inner: Arc::new(inner), writer: Arc::default() })
    }

    /// The repository's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.inner.layout.dir()
    }

    /// Does blocking work on a thread for it.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(fault::panicked)?
    }

    /// One durable step. Dropping the future lets the step run to its end.
    async fn step(&self, batch: Vec<Checked>) -> Result<Vec<write::Verdict>> {
        let guard = self.writer.clone().lock_owned().await;
        let inner = self.inner.clone();
        let lock = FileLock::acquire(&inner.layout.lock(), inner.options.lock_timeout, &*inner.clock).await?;
        let (answer, answered) = oneshot::channel();
        let work = move || {
            let outcome = inner.store(&batch);
            drop((batch, lock, guard));
            let look = inner.options.auto_repack
                && inner.stores.fetch_add(1, Ordering::Relaxed).is_multiple_of(STORES_BETWEEN_MERGES);
            let merge = look.then_some(inner);
            // Whoever asked may be gone: what was stored is stored.
            let _ = answer.send(outcome);
            if let Some(inner) = merge {
                inner.merge_small();
            }
        };
        tokio::task::spawn_blocking(work);
        answered.await.map_err(|e| {
            Error::new(ErrorKind::Internal, "store backup", "the work ended without an answer").because(e)
        })?
    }
}

impl Inner {
    fn store(&self, batch: &[Checked]) -> Result<Vec<write::Verdict>> {
        self.handles.with(&self.layout, |repo| {
            let target = Target { layout: &self.layout, options: &self.options, repo, now: self.clock.now() };
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            target.store(&mut index, batch)
        })
    }

    /// Refuses a reference to a branch that the repository has not. The branch may be another one than is written now:
    /// what was stored before that setting changed stays readable.
    fn known(&self, repo: &Repository, at: &Version) -> Result<()> {
        let name = format!("refs/heads/{}", at.branch);
        if at.branch == self.options.branch
            || (git2::Reference::is_valid_name(&name) && branch::tip(repo, &name)?.is_some())
        {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, "read backup", "the repository has no such branch")
            .with("branch", at.branch.escape_debug()))
    }

    /// Looks at an index that knows every commit of the branch.
    fn indexed<T>(&self, repo: &Repository, look: impl FnOnce(&Index) -> T) -> Result<T> {
        let tip = branch::tip(repo, &self.options.refname())?;
        {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            if index.tip() == tip {
                return Ok(look(&index));
            }
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        history::catch_up(&self.layout, repo, &mut index, tip)?;
        Ok(look(&index))
    }

    /// Merges the packs of one size when there are many. What goes wrong is of no consequence to what is stored.
    fn merge_small(&self) {
        let Ok(_alone) = self.repacking.try_lock() else { return };
        let merge = || -> Result<()> {
            let Some(_lock) = FileLock::try_acquire(&self.layout.repack_lock())? else { return Ok(()) };
            loop {
                let selection = Selection::too_many(&self.layout)?;
                if selection.is_empty() || self.closing.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let go_on = || !self.closing.load(Ordering::Relaxed);
                let merged = repack::merge(&self.layout, &selection, self.now(), &go_on)?;
                tracing::debug!(?merged, "merged small packs");
            }
        };
        match merge() {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Timeout => {}
            Err(e) => tracing::warn!(error = %e, "small packs could not be merged"),
        }
    }

    fn now(&self) -> SystemTime {
        self.clock.now().into()
    }

    fn maintain(&self, budget: &Budget) -> Result<Report> {
        let mut report = Report::default();
        let _alone = self.repacking.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(_repack) = FileLock::try_acquire(&self.layout.repack_lock())? else {
            report.done.push("another process is merging packs: nothing done".to_owned());
            return Ok(report);
        };
        if let Some(_writers) = self.layout.try_lock()? {
            let (files, bytes) = repack::clear_leftovers(&self.layout, self.now())?;
            if files > 0 {
                report.done.push(format!("removed {files} unfinished files of a process that ended early"));
                report.bytes_freed += bytes;
            }
        }
        let selection = Selection::everything(&self.layout)?;
        if selection.is_empty() {
            return Ok(report);
        }
        let begun = self.clock.monotonic();
        let go_on =
            || self.clock.monotonic().saturating_sub(begun) < budget.duration && !self.closing.load(Ordering::Relaxed);
        match repack::merge(&self.layout, &selection, self.now(), &go_on) {
            Ok(m) => {
                report.bytes_freed += m.before.saturating_sub(m.after);
                report.done.push(format!(
                    "merged {} packs and {} loose objects into one pack of {} objects: {} bytes, {} before",
                    m.packs, m.loose, m.objects, m.after, m.before
                ));
                if m.pruned > 0 {
                    report.done.push(format!("left out {} objects that nothing leads to", m.pruned));
                }
            }
            Err(e) if e.kind() == ErrorKind::Timeout => {
                report.done.push("the time was up before all packs were merged: nothing changed".to_owned());
            }
            Err(e) => return Err(e),
        }
        self.handles.close();
        Ok(report)
    }

    fn usage(&self, filter: &UsageFilter) -> Result<Usage> {
        let count = |records: &mut dyn Iterator<Item = Record>| {
            records.filter(Record::is_backup).fold((0, 0), |(n, bytes), r| (n + 1, bytes + r.size))
        };
        let (all, wanted) = self.handles.with(&self.layout, |repo| {
            self.indexed(repo, |index| {
                let all = count(&mut index.records().iter().copied());
                let wanted = filter.device.as_ref().map_or(all, |d| count(&mut index.of_device(d)));
                (all, wanted)
            })
        })?;
        let stored = super::pack::stored(&self.layout)?;
        let mut usage = Usage::default();
        (usage.backups, usage.content_bytes) = wanted;
        // Versions share what they have in common: a device's part of the packs is its part of the contents.
        let share = if all.1 == 0 { 0.0 } else { wanted.1 as f64 / all.1 as f64 };
        usage.stored_bytes = if filter.device.is_some() { (stored as f64 * share) as u64 } else { stored };
        Ok(usage)
    }

    /// The next page of a listing.
    fn page(&self, filter: &ListFilter, cursor: &Cursor) -> Result<Page> {
        let since = filter.since.map(Timestamp::as_microsecond);
        let passes = |r: &Record| r.is_backup() && since.is_none_or(|t| r.taken >= t);
        self.handles.with(&self.layout, |repo| {
            let (records, next, generation) = self.indexed(repo, |index| {
                let generation = index.generation();
                match &cursor.chain {
                    Some(chain) => {
                        let page: Vec<Record> = chain.iter().skip(cursor.at).take(PAGE).copied().collect();
                        let next = cursor.at + page.len();
                        (page, (next < chain.len()).then_some(next), generation)
                    }
                    None => {
                        let rest = index.records().get(cursor.at..).unwrap_or_default();
                        let page = rest.iter().take(PAGE).filter(|r| passes(r)).copied().collect();
                        let next = cursor.at + rest.len().min(PAGE);
                        (page, (next < index.records().len()).then_some(next), generation)
                    }
                }
            })?;
            if cursor.chain.is_none() && cursor.generation != generation {
                return Err(Error::new(ErrorKind::Conflict, "list backups", "the history was rewritten meanwhile")
                    .hint("list again"));
            }
            Ok(Page { items: self.manifests(repo, &records, filter), next })
        })
    }

    fn manifests(
        &self,
        repo: &Repository,
        records: &[Record],
        filter: &ListFilter,
    ) -> Vec<Result<(StorageRef, Manifest)>> {
        let mut items = Vec::with_capacity(records.len());
        // Records of one commit stand together.
        for group in records.chunk_by(|a, b| a.commit == b.commit) {
            let wanted = |m: &Manifest, commit| {
                let record = Record::of(m, commit);
                filter.matches(m) && group.iter().any(|r| r.entry == record.entry && r.device == record.device)
            };
            let Some(first) = group.first() else { continue };
            match history::manifests(repo, &self.options.branch, first.commit) {
                Ok(found) => items.extend(found.into_iter().filter(|(_, m)| wanted(m, first.commit)).map(Ok)),
                Err(e) => items.push(Err(e)),
            }
        }
        items
    }

    /// Where a listing begins.
    fn cursor(&self, filter: &ListFilter) -> Result<Cursor> {
        self.handles.with(&self.layout, |repo| {
            self.indexed(repo, |index| {
                let chain = filter.device.as_ref().map(|device| {
                    let since = filter.since.map(Timestamp::as_microsecond);
                    let key = device_key(device);
                    let wanted = |r: &Record| r.device == key && since.is_none_or(|t| r.taken >= t);
                    let mut chain: Vec<Record> = index.of_device(device).filter(wanted).collect();
                    chain.reverse();
                    chain
                });
                Cursor { generation: index.generation(), chain, at: 0 }
            })
        })
    }
}

/// Where a listing stands.
#[derive(Debug, Clone)]
struct Cursor {
    generation: u64,
    /// A device's records, oldest first; without it, all of the branch's.
    chain: Option<Vec<Record>>,
    at: usize,
}

struct Page {
    items: Vec<Result<(StorageRef, Manifest)>>,
    next: Option<usize>,
}

enum Listing {
    Begin,
    At(Cursor),
    End,
}

#[async_trait]
impl StorageBackend for GitBackend {
    fn capability(&self) -> Capability {
        let mut capability = Capability::default();
        capability.durable = true;
        capability.put_if_absent = true;
        capability.max_body = Some(self.inner.options.max_body);
        capability
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let mut verdicts: Vec<Option<Result<StorageRef>>> = batch.iter().map(|_| None).collect();
        let mut note = |slot: usize, verdict| {
            if let Some(place) = verdicts.get_mut(slot) {
                *place = Some(verdict);
            }
        };
        let mut pending = Vec::new();
        let mut bytes = 0;
        let count = batch.len();
        for (slot, (entry, body)) in batch.into_iter().enumerate() {
            match write::check(slot, entry, &*body, self.inner.options.max_body).await {
                Ok(checked) => {
                    bytes += checked.data.len() as u64;
                    pending.push(checked);
                }
                Err(e) => note(slot, Err(e)),
            }
            if bytes < STEP && slot + 1 < count || pending.is_empty() {
                continue;
            }
            bytes = 0;
            let slots: Vec<usize> = pending.iter().map(|c| c.slot).collect();
            match self.step(std::mem::take(&mut pending)).await {
                Ok(found) => found.into_iter().for_each(|(slot, verdict)| note(slot, verdict)),
                Err(e) => slots.into_iter().for_each(|slot| note(slot, Err(e.clone()))),
            }
        }
        let silent = || Error::new(ErrorKind::Internal, "store backup", "an entry was passed over");
        verdicts.into_iter().map(|v| v.unwrap_or_else(|| Err(silent()))).collect()
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        let version = Version::parse(at)?;
        let read = move |inner: &Inner| {
            inner.handles.with(&inner.layout, |repo| {
                inner.known(repo, &version)?;
                objects::blob(repo, verify::blob(repo, &version)?)
            })
        };
        let data = Bytes::from(self.blocking(read).await?);
        let length = data.len() as u64;
        let range = range.map_or(0..length, |r| r.start.min(length)..r.end.min(length));
        // Both ends are at most the length of a buffer in memory, so they fit a usize.
        let mut rest =
            if range.is_empty() { Bytes::new() } else { data.slice(range.start as usize..range.end as usize) };
        let chunks = std::iter::from_fn(move || {
            let next = rest.split_to(rest.len().min(CHUNK));
            (!next.is_empty()).then_some(Ok(next))
        });
        Ok(stream::iter(chunks).boxed())
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        let version = Version::parse(at)?;
        let stat = move |inner: &Inner| {
            inner.handles.with(&inner.layout, |repo| {
                inner.known(repo, &version)?;
                verify::manifest(repo, &version)
            })
        };
        self.blocking(stat).await
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        let inner = self.inner.clone();
        let filter = Arc::new(filter);
        let pages = stream::unfold(Listing::Begin, move |listing| {
            let (inner, filter) = (inner.clone(), filter.clone());
            let work = move || {
                let mut cursor = match listing {
                    Listing::Begin => inner.cursor(&filter)?,
                    Listing::At(cursor) => cursor,
                    Listing::End => return Ok(None),
                };
                let page = inner.page(&filter, &cursor)?;
                let next = page.next.map_or(Listing::End, |at| {
                    cursor.at = at;
                    Listing::At(cursor)
                });
                Ok(Some((page.items, next)))
            };
            async move {
                match tokio::task::spawn_blocking(work).await.map_err(fault::panicked).flatten() {
                    Ok(page) => page,
                    Err(e) => Some((vec![Err(e)], Listing::End)),
                }
            }
        });
        pages.flat_map(stream::iter).boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        let refused = || {
            Error::new(
                ErrorKind::Unsupported,
                "delete backup",
                "a Git repository keeps every version: one cannot be taken out without rewriting all that follow",
            )
            .hint("retention does not apply to a Git destination")
        };
        refs.iter().map(|at| Err(refused().with("reference", at.0.escape_debug()))).collect()
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        let Ok(version) = Version::parse(at) else { return Ok(Verdict::Missing) };
        let expect = expect.cloned();
        self.blocking(move |inner| {
            // What is kept of packs that are open would be believed instead of what is stored.
            inner.handles.close();
            let repo = inner.layout.repository()?;
            match inner.known(&repo, &version) {
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Verdict::Missing),
                other => other?,
            }
            verify::verify(&inner.layout, &repo, &version, expect.as_ref(), depth)
        })
        .await
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        self.blocking(move |inner| inner.usage(&filter)).await
    }

    async fn maintain(&self, budget: Budget) -> Result<Report> {
        self.blocking(move |inner| inner.maintain(&budget)).await
    }

    async fn check(&self) -> Result<Health> {
        let free = self.writer.clone().try_lock_owned().is_ok();
        let wait = if free { Duration::ZERO } else { self.inner.options.lock_timeout };
        let lock =
            FileLock::acquire(&self.inner.layout.lock(), wait.max(Duration::from_secs(5)), &*self.inner.clock).await;
        self.blocking(move |inner| Ok(health::probe(&inner.layout, &inner.options, &inner.layout.repository()?, &lock)))
            .await
    }
}
