//! [`GitBackend`]: the storage trait over a repository.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::sightings::Sightings;
use devicevault_core::storage::{
    Budget, Capability, Health, ListFilter, Report, Usage, UsageFilter, Verdict, VerifyDepth,
};
use devicevault_core::{
    Body, ByteStream, Clock, Entry, Error, ErrorKind, Manifest, Result, StorageBackend, StorageRef,
};
use futures::stream::{self, BoxStream, StreamExt as _};
use git2::Repository;
use tokio::sync::oneshot;

use super::lock::FileLock;
use super::options::GitOptions;
use super::path::Version;
use super::remote::PushWhen;
use super::store::Store;
use super::write::{self, Checked};
use super::{fault, health, listing, objects, sightings, verify};

/// Bytes of bodies that are held at once; a batch of more is stored in several steps.
pub(super) const STEP: u64 = 64 << 20;

/// Bytes of a chunk that is read.
const CHUNK: usize = 64 << 10;

/// Keeps backups as commits in a bare Git repository; see the [module](super).
#[derive(Debug)]
pub struct GitBackend {
    pub(super) store: Arc<Store>,
    pub(super) writer: Arc<tokio::sync::Mutex<()>>,
    pub(super) pushing: Arc<tokio::sync::Mutex<()>>,
    /// A push after a batch is about to begin.
    pub(super) push_asked: Arc<AtomicBool>,
    /// Work of ours beside the backend itself: its end is not the backend's.
    beside: bool,
}

impl Drop for GitBackend {
    fn drop(&mut self) {
        if !self.beside {
            self.store.close();
        }
    }
}

impl GitBackend {
    /// Opens a bare repository, or makes one in an empty folder or one that is not there.
    ///
    /// # Errors
    /// `Config` for settings that Git refuses, or a folder that holds something else.
    pub async fn open(path: impl Into<PathBuf>, options: GitOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = path.into();
        let open = move || Store::open(&path, options, clock);
        let store = tokio::task::spawn_blocking(open).await.map_err(fault::panicked)??;
        Ok(Self {
            store: Arc::new(store),
            writer: Arc::default(),
            pushing: Arc::default(),
            push_asked: Arc::default(),
            beside: false,
        })
    }

    /// The same, for work beside it.
    pub(super) fn share(&self) -> Self {
        let (store, writer) = (self.store.clone(), self.writer.clone());
        let (pushing, push_asked) = (self.pushing.clone(), self.push_asked.clone());
        Self { store, writer, pushing, push_asked, beside: true }
    }

    /// The repository's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.store.layout.dir()
    }

    /// Does blocking work on a thread for it.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(fault::panicked)?
    }

    /// What keeps everybody else from commits and packs, while it is held.
    pub(super) async fn alone(&self) -> Result<(tokio::sync::OwnedMutexGuard<()>, FileLock, FileLock)> {
        let guard = self.writer.clone().lock_owned().await;
        let (layout, wait, clock) = (&self.store.layout, self.store.options.lock_timeout, &*self.store.clock);
        let lock = FileLock::acquire(&layout.lock(), wait, clock).await?;
        Ok((guard, lock, FileLock::acquire(&layout.repack_lock(), wait, clock).await?))
    }

    /// One durable step. Dropping the future lets the step run to its end.
    async fn step(&self, batch: Vec<Checked>) -> Result<Vec<write::Verdict>> {
        let guard = self.writer.clone().lock_owned().await;
        let store = self.store.clone();
        let lock = FileLock::acquire(&store.layout.lock(), store.options.lock_timeout, &*store.clock).await?;
        let (answer, answered) = oneshot::channel();
        let work = move || {
            let outcome = store.store(&batch);
            drop((batch, lock, guard));
            let merge = store.merge_is_due().then_some(store);
            // Whoever asked may be gone: what was stored is stored.
            let _ = answer.send(outcome);
            if let Some(store) = merge {
                in_the_background(&|| store.merge_small());
            }
        };
        tokio::task::spawn_blocking(work);
        answered.await.map_err(|e| {
            Error::new(ErrorKind::Internal, "store backup", "the work ended without an answer").because(e)
        })?
    }
}

/// Does work that nobody waits for, in a thread of its own, since what gave way once cannot take its priority back. Where
/// the processor is busy with what is waited for, it goes on when that is done.
fn in_the_background(work: &(dyn Fn() + Sync)) {
    let give_way = || {
        // Of this thread alone, as Linux has it. That it is not granted is of no consequence.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, NICE);
        work();
    };
    std::thread::scope(|scope| {
        let started = std::thread::Builder::new().name("git-merge".to_owned()).spawn_scoped(scope, give_way);
        if let Err(e) = started {
            tracing::debug!(error = %e, "no thread for work in the background");
        }
    });
}

/// A tenth of the processor's time where others want it: whoever waits for the packs does not wait for ever.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// What a repository can do.
pub(super) fn capability(options: &GitOptions) -> Capability {
    let mut capability = Capability::default();
    capability.durable = true;
    capability.put_if_absent = true;
    capability.ordered = true;
    capability.max_body = Some(options.max_body);
    capability
}

/// Why nothing is deleted.
pub(super) fn not_deleted(at: &StorageRef) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "delete backup",
        "a Git repository keeps every version: one cannot be taken out without rewriting all that follow",
    )
    .with("reference", at.0.escape_debug())
    .hint("retention does not apply to a Git destination")
}

#[async_trait]
impl StorageBackend for GitBackend {
    fn capability(&self) -> Capability {
        capability(&self.store.options)
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
            match write::check(slot, entry, &*body, self.store.options.max_body).await {
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
        self.push_soon();
        let silent = || Error::new(ErrorKind::Internal, "store backup", "an entry was passed over");
        verdicts.into_iter().map(|v| v.unwrap_or_else(|| Err(silent()))).collect()
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        let version = Version::parse(at)?;
        let read = move |store: &Store| {
            store.handles.with(&store.layout, 4, |repo| {
                let version = store.known(repo, &version)?;
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
        let stat = move |store: &Store| {
            store.handles.with(&store.layout, 4, |repo| {
                let version = store.known(repo, &version)?;
                verify::manifest(repo, &version)
            })
        };
        self.blocking(stat).await
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        listing::list(self.store.clone(), filter)
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        refs.iter().map(|at| Err(not_deleted(at))).collect()
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        let Ok(version) = Version::parse(at) else { return Ok(Verdict::Missing) };
        let expect = expect.cloned();
        self.blocking(move |store| {
            let look = |repo: &Repository| {
                let version = match store.known(repo, &version) {
                    Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Verdict::Missing),
                    other => other?,
                };
                let verdict = verify::verify(&store.layout, repo, &version, expect.as_ref(), depth)?;
                if verdict.is_good() && !store.is_reachable(repo, &version)? {
                    return Ok(Verdict::Damaged(vec![format!(
                        "branch {} no longer leads to commit {}: it was moved back or rewritten, and `git gc` will remove it",
                        version.branch, version.commit
                    )]));
                }
                if verdict.is_good()
                    && let Some(why) = store.not_shown(repo, &version)?
                {
                    return Ok(Verdict::Damaged(vec![why]));
                }
                Ok(verdict)
            };
            if depth <= VerifyDepth::Size {
                return store.handles.with_recent(&store.layout, 4, store.clock.monotonic(), look);
            }
            // What is kept of packs that are open would be believed instead of what is stored.
            store.handles.close();
            look(&store.layout.repository()?)
        })
        .await
    }

    async fn look_at(&self, at: &StorageRef) -> Result<Verdict> {
        let now = &self.store.options.branch;
        match Version::parse(at) {
            // It is whole, and whoever reads the branch of now does not find it.
            Ok(version) if version.branch != *now => {
                Err(Error::new(ErrorKind::NotFound, "look at copy", "it is in another branch than is written now")
                    .with("its branch", version.branch)
                    .with("branch", now))
            }
            _ => self.verify(at, None, VerifyDepth::Size).await,
        }
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        self.blocking(move |store| store.usage(&filter)).await
    }

    async fn maintain(&self, budget: Budget) -> Result<Report> {
        let mut report = self.blocking(move |store| store.maintain(&budget)).await?;
        if self.store.options.remote.as_ref().is_some_and(|r| r.push != PushWhen::Manual) {
            match self.push().await {
                Ok(done) if done.pushed => report.done.push("pushed to the remote".to_owned()),
                Ok(_) => {}
                Err(e) => report.done.push(format!("the push to the remote failed: {}", e.to_record().message)),
            }
        }
        Ok(report)
    }

    async fn foretell(&self, _budget: Budget) -> Result<Option<Report>> {
        self.blocking(Store::foretell).await.map(Some)
    }

    async fn check(&self) -> Result<Health> {
        let free = self.writer.clone().try_lock_owned().is_ok();
        let wait = if free { Duration::ZERO } else { self.store.options.lock_timeout };
        let lock =
            FileLock::acquire(&self.store.layout.lock(), wait.max(Duration::from_secs(5)), &*self.store.clock).await;
        let probe =
            move |store: &Store| Ok(health::probe(&store.layout, &store.options, &store.layout.repository()?, &lock));
        let mut health = self.blocking(probe).await?;
        if let Some(state) = self.remote_state() {
            match state.error {
                Some(e) => health.push("remote", false, format!("the last push failed: {}", e.message)),
                None if state.pushed.is_none() => health.push("remote", true, "nothing was pushed yet"),
                None => health.push("remote", true, "the last push went well"),
            }
        }
        Ok(health)
    }

    async fn note_sightings(&self, record: &Sightings) -> Result<bool> {
        let record = record.clone();
        self.blocking(move |store| sightings::note(&store.layout.own(), &record)).await.map(|()| true)
    }

    async fn sightings(&self, period: &str) -> Result<Option<Sightings>> {
        let period = period.to_owned();
        self.blocking(move |store| sightings::read(&store.layout.own(), &period)).await
    }

    async fn sighting_periods(&self) -> Result<Vec<String>> {
        self.blocking(|store| sightings::periods(&store.layout.own())).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::Index;
    use super::*;
    use devicevault_core::{StorageBackendExt as _, SystemClock};
    use devicevault_testkit::samples;

    #[cfg(target_os = "linux")]
    #[test]
    fn what_nobody_waits_for_gives_way_and_nothing_else_does() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let (before, seen) = (nice(), std::sync::Mutex::default());
        in_the_background(&|| *seen.lock().unwrap() = Some(nice()));
        assert_eq!((*seen.lock().unwrap(), nice()), (Some(before.max(NICE)), before));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn looking_while_others_store_never_reads_history_anew() {
        let folder = tempfile::tempdir().unwrap();
        let options = GitOptions::default().with_auto_repack(false);
        let backend = GitBackend::open(folder.path().join("r.git"), options, Arc::new(SystemClock)).await.unwrap();
        let backend = Arc::new(backend);
        let (entry, body) = samples::entry("sw0", "first\n");
        let first = backend.store_one(entry, body).await.unwrap();
        let looks = (0..3).map(|_| {
            let (backend, at) = (backend.clone(), first.clone());
            tokio::spawn(async move {
                for _ in 0..100 {
                    assert!(backend.verify(&at, None, VerifyDepth::Size).await.unwrap().is_good());
                }
            })
        });
        let looks: Vec<_> = looks.collect();
        for i in 0..100 {
            let (entry, body) = samples::entry(&format!("sw{i}"), format!("{i}\n"));
            backend.store_one(entry, body).await.unwrap();
        }
        for look in looks {
            look.await.unwrap();
        }
        let repo = backend.store.layout.repository().unwrap();
        let known = backend.store.indexed(&repo, |index| (index.generation(), index.records().len())).unwrap();
        assert_eq!(known, (Index::default().generation(), 101), "it was thrown away and made again");
    }
}
