//! [`GitRepositories`]: a folder of repositories, one for each site, group or platform.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{ErrorKind as Io, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::sightings::Sightings;
use devicevault_core::storage::{
    Budget, Capability, Health, ListFilter, Report, Usage, UsageFilter, Verdict, VerifyDepth,
};
use devicevault_core::{
    Body, ByteStream, Clock, Entry, Error, ErrorKind, Manifest, Result, StorageBackend, StorageRef,
};
use futures::stream::{self, BoxStream, StreamExt as _};
use futures::{TryStreamExt as _, future};
use tokio::sync::Mutex;

use super::backend::GitBackend;
use super::options::GitOptions;
use super::purge::{Purge, PurgeReport};
use super::push::PushReport;
use super::remote::RemoteState;
use super::template::RepositoryTemplate;
use super::whole::{MendReport, Supply};
use super::{backend, fault, layout, sightings};
use crate::regular;

/// Says that a folder is one of repositories, and by which template: a share that is not mounted has none.
const MARKER: &str = "devicevault-repositories";
const MARKER_TEXT: &str = "A folder of Git repositories of DeviceVault, format 1\n";
/// Before the template, on a line of its own. Earlier releases did not write it.
const TEMPLATE: &str = "template ";
/// No marker is longer.
const MAX_MARKER: u64 = 4096;

/// What is done in so many repositories at a time.
const AT_ONCE: usize = 4;

/// Keeps backups in several repositories, each with a history and an index of its own; see the [module](super).
///
/// A reference reads `[repository]branch:path@commit`. A remote's URL may hold `{repository}`.
#[derive(Debug)]
pub struct GitRepositories {
    folder: PathBuf,
    template: RepositoryTemplate,
    options: GitOptions,
    clock: Arc<dyn Clock>,
    open: Mutex<HashMap<String, Arc<GitBackend>>>,
}

impl GitRepositories {
    /// Makes the folder, where it is not there or empty.
    ///
    /// # Errors
    /// `Config` for a folder that holds something else.
    pub fn set_up(folder: &Path, template: &RepositoryTemplate) -> Result<()> {
        let at = |e| fault::io("set up repositories", folder, e);
        layout::make_folder(folder).map_err(at)?;
        let marker = folder.join(MARKER);
        if marker.is_file() {
            return Ok(());
        }
        if fs::read_dir(folder).map_err(at)?.next().is_some() {
            return Err(Error::new(ErrorKind::Config, "set up repositories", "the folder holds something else")
                .with("path", folder.display())
                .hint("name an empty folder"));
        }
        match layout::write_new(&marker, marker_of(template).as_bytes()) {
            Err(e) if e.kind() != Io::AlreadyExists => return Err(at(e)),
            _ => {}
        }
        layout::sync_folder(folder)
    }

    /// The template by which repositories of a folder are named; `None` for a folder of something else. Where an earlier
    /// release made the folder, it is taken to be one for each site.
    ///
    /// # Errors
    /// The folder cannot be read; `Config` for a template that is none.
    pub fn template_of(folder: &Path) -> Result<Option<RepositoryTemplate>> {
        let marker = folder.join(MARKER);
        let failed = |e| fault::io("read folder of repositories", &marker, e);
        let file = match regular::open(&marker) {
            Err(e) if e.kind() == Io::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_MARKER).read_to_end(&mut bytes).map_err(failed)?;
        let text = String::from_utf8_lossy(&bytes);
        let named = text.lines().find_map(|line| line.strip_prefix(TEMPLATE));
        let template = named.map_or_else(|| Ok(RepositoryTemplate::by_site()), str::parse);
        template.map(Some).map_err(|e| e.with("path", marker.display()))
    }

    /// Opens a folder that was set up. Repositories in it are opened when they are needed, and made when something is
    /// stored there.
    ///
    /// # Errors
    /// `Unavailable` where there is no such folder; `Config` for settings that Git refuses.
    pub fn open(
        folder: impl Into<PathBuf>,
        template: RepositoryTemplate,
        options: GitOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let folder = folder.into();
        options.check()?;
        if !folder.join(MARKER).is_file() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "open repositories",
                "the folder of repositories is not there",
            )
            .with("path", folder.display())
            .hint("mount the share that holds it"));
        }
        let this = Self { folder, template, options, clock, open: Mutex::default() };
        this.keep_template();
        Ok(this)
    }

    /// Has the folder tell the template that is in force. Where it cannot be written, the next one that opens it does so.
    fn keep_template(&self) {
        if matches!(Self::template_of(&self.folder), Ok(Some(told)) if told == self.template) {
            return;
        }
        let staged = self.folder.join(format!("{MARKER}.{}", uuid::Uuid::now_v7().simple()));
        let written = layout::write_new(&staged, marker_of(&self.template).as_bytes());
        if let Err(e) = written.and_then(|()| fs::rename(&staged, self.folder.join(MARKER))) {
            let _ = fs::remove_file(&staged);
            tracing::debug!(folder = %self.folder.display(), error = %e, "the template is not noted");
        }
    }

    /// The names of the repositories that are there.
    fn names(&self) -> Result<Vec<String>> {
        let at = |e| fault::io("list repositories", &self.folder, e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".git"));
            names.extend(name.filter(|_| path.join("HEAD").exists()).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    async fn repository(&self, name: &str, make: bool) -> Result<Arc<GitBackend>> {
        let mut open = self.open.lock().await;
        if let Some(known) = open.get(name) {
            return Ok(known.clone());
        }
        let path = self.folder.join(format!("{name}.git"));
        if !make && !path.join("HEAD").exists() {
            return Err(Error::new(ErrorKind::NotFound, "open repository", "there is no such repository")
                .with("path", path.display()));
        }
        let mut options = self.options.clone();
        if let Some(remote) = &mut options.remote {
            remote.url = remote.url.of_repository(name)?;
        }
        let opened = Arc::new(GitBackend::open(path, options, self.clock.clone()).await?);
        open.insert(name.to_owned(), opened.clone());
        Ok(opened)
    }

    /// Does something in the folder of repositories that waits for the disk.
    async fn beside<T: Send + 'static>(&self, work: impl FnOnce(&Path) -> Result<T> + Send + 'static) -> Result<T> {
        let folder = self.folder.clone();
        let ended = |e| Error::new(ErrorKind::Internal, "note sightings", "the worker thread ended").because(e);
        tokio::task::spawn_blocking(move || work(&folder)).await.map_err(ended)?
    }

    /// All that are there.
    fn all(&self) -> BoxStream<'_, Result<(String, Arc<GitBackend>)>> {
        let names = match self.names() {
            Ok(names) => names,
            Err(e) => return stream::iter([Err(e)]).boxed(),
        };
        stream::iter(names)
            .then(move |name| async move { self.repository(&name, false).await.map(|backend| (name, backend)) })
            .boxed()
    }

    /// Pushes every repository; see [`GitBackend::push`].
    ///
    /// # Errors
    /// The first, after all were tried.
    pub async fn push(&self) -> Result<PushReport> {
        let each = self.all().map(|one| async move {
            let (name, backend) = one?;
            backend.push().await.map_err(|e| e.with("repository", name))
        });
        let done: Vec<Result<PushReport>> = each.buffered(AT_ONCE).collect().await;
        let empty = done.iter().flatten().all(|one| one.empty);
        let mut report = PushReport { empty, ..PushReport::default() };
        let mut first = None;
        for one in done {
            match one {
                Ok(one) => {
                    report.pushed |= one.pushed;
                    report.merged |= one.merged;
                }
                Err(e) => drop(first.get_or_insert(e)),
            }
        }
        first.map_or(Ok(report), Err)
    }

    /// How the remote stands that is worst off; see [`GitBackend::remote_state`].
    pub async fn remote_state(&self) -> Option<RemoteState> {
        let remote = self.options.remote.as_ref()?;
        let states: Vec<_> = self.all().filter_map(|one| async { one.ok()?.1.remote_state() }).collect().await;
        let worst = states.into_iter().min_by_key(|s| (s.error.is_none(), s.pushed_at));
        Some(worst.unwrap_or_else(|| RemoteState { url: remote.url.to_string(), ..RemoteState::default() }))
    }

    /// Asks every remote; see [`GitBackend::test_remote`].
    ///
    /// # Errors
    /// The first that cannot be reached.
    pub async fn test_remote(&self) -> Result<String> {
        let mut count = 0;
        let mut all = self.all();
        while let Some((name, backend)) = all.try_next().await? {
            backend.test_remote().await.map_err(|e| e.with("repository", name))?;
            count += 1;
        }
        Ok(format!("{count} remotes answer"))
    }

    /// Takes something out of every repository; see [`GitBackend::purge`].
    ///
    /// # Errors
    /// The first; repositories before it are done.
    pub async fn purge(&self, what: Purge, rehearsal: bool) -> Result<PurgeReport> {
        let mut report = PurgeReport::default();
        let mut all = self.all();
        while let Some((name, backend)) = all.try_next().await? {
            let one = backend.purge(what.clone(), rehearsal).await.map_err(|e| e.with("repository", &name))?;
            let named = |(at, m)| (of_repository(&name, &at), m);
            report.removed.extend(one.removed.into_iter().map(named));
            report.rewritten.extend(one.rewritten.into_iter().map(named));
            report.foreign += one.foreign;
            report.odd.extend(one.odd);
            report.others.extend(one.others.into_iter().map(|reference| format!("{name}: {reference}")));
            report.commits += one.commits;
            report.objects += one.objects;
        }
        Ok(report)
    }

    /// Makes every history whole again; see [`GitBackend::mend`].
    ///
    /// # Errors
    /// The first; repositories before it are done.
    pub async fn mend(&self, known: Vec<StorageRef>, supplies: Vec<Supply>, rehearsal: bool) -> Result<MendReport> {
        let mut report = MendReport::default();
        let mut all = self.all();
        while let Some((name, backend)) = all.try_next().await? {
            let of_this = |at: &StorageRef| inner(&name, at);
            let known = known.iter().filter_map(of_this).collect();
            let mine = supplies.iter().filter_map(|s| Some(Supply { at: of_this(&s.at)?, ..s.clone() })).collect();
            let one = backend.mend(known, mine, rehearsal).await.map_err(|e| e.with("repository", &name))?;
            report.lost_commits += one.lost_commits;
            report.commits += one.commits;
            report.lost.extend(one.lost.into_iter().map(|(at, m)| (of_repository(&name, &at), m)));
            report.lost_files.extend(one.lost_files.into_iter().map(|path| format!("[{name}]{path}")));
        }
        Ok(report)
    }

    /// What references from before a purge stand for now; see [`GitBackend::current`].
    ///
    /// # Errors
    /// A repository cannot be read.
    pub async fn current(&self, refs: Vec<StorageRef>) -> Result<Vec<Option<StorageRef>>> {
        let mut now = Vec::with_capacity(refs.len());
        for at in refs {
            let name =
                at.0.split_once(']').map(|(name, _)| name.trim_start_matches('[').to_owned()).unwrap_or_default();
            match self.find(&at).await {
                Ok((backend, inner)) => {
                    let found = backend.current(vec![inner]).await?.pop().flatten();
                    now.push(found.map(|at| of_repository(&name, &at)));
                }
                Err(e) if e.kind() == ErrorKind::NotFound => now.push(Some(at)),
                Err(e) => return Err(e),
            }
        }
        Ok(now)
    }

    /// Has every remote forget what was purged; see [`GitBackend::push_purged`].
    ///
    /// # Errors
    /// The first.
    pub async fn push_purged(&self) -> Result<()> {
        let mut all = self.all();
        while let Some((name, backend)) = all.try_next().await? {
            backend.push_purged().await.map_err(|e| e.with("repository", name))?;
        }
        Ok(())
    }

    /// The repository that a reference names, and the reference within.
    async fn find(&self, at: &StorageRef) -> Result<(Arc<GitBackend>, StorageRef)> {
        let parts = at.0.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        // What is no name of ours leads out of the folder.
        let inside = |name: &str| !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0']);
        let parts = parts.filter(|(name, _)| inside(name));
        let (name, rest) = parts.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "read storage reference", "no repository holds anything of this name")
                .with("reference", at.0.escape_debug())
        })?;
        Ok((self.repository(name, false).await?, StorageRef(rest.to_owned())))
    }
}

fn marker_of(template: &RepositoryTemplate) -> String {
    format!("{MARKER_TEXT}{TEMPLATE}{template}\n")
}

/// A reference within this repository; `None` for one into another.
fn inner(name: &str, at: &StorageRef) -> Option<StorageRef> {
    let rest = at.0.strip_prefix('[')?.strip_prefix(name)?.strip_prefix(']')?;
    Some(StorageRef(rest.to_owned()))
}

fn of_repository(name: &str, at: &StorageRef) -> StorageRef {
    StorageRef(format!("[{name}]{at}"))
}

#[async_trait]
impl StorageBackend for GitRepositories {
    fn capability(&self) -> Capability {
        backend::capability(&self.options)
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let count = batch.len();
        let mut groups: BTreeMap<String, (Vec<usize>, Vec<(Entry, Arc<dyn Body>)>)> = BTreeMap::new();
        for (slot, (entry, body)) in batch.into_iter().enumerate() {
            let group = groups.entry(self.template.name(&entry.manifest.source)).or_default();
            group.0.push(slot);
            group.1.push((entry, body));
        }
        let each = groups.into_iter().map(|(name, (slots, entries))| async move {
            let verdicts = match self.repository(&name, true).await {
                Ok(backend) => backend.store(entries).await,
                Err(e) => slots.iter().map(|_| Err(e.clone().with("repository", &name))).collect(),
            };
            let verdicts = verdicts.into_iter().map(|v| v.map(|at| of_repository(&name, &at))).collect::<Vec<_>>();
            slots.into_iter().zip(verdicts).collect::<Vec<_>>()
        });
        let silent = || Err(Error::new(ErrorKind::Internal, "store backup", "an entry was passed over"));
        let mut all: Vec<Result<StorageRef>> = (0..count).map(|_| silent()).collect();
        for (slot, verdict) in future::join_all(each).await.into_iter().flatten() {
            if let Some(place) = all.get_mut(slot) {
                *place = verdict;
            }
        }
        all
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        let (backend, at) = self.find(at).await?;
        backend.read(&at, range).await
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        let (backend, at) = self.find(at).await?;
        backend.stat(&at).await
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        let (folder, template) = (self.folder.clone(), self.template.clone());
        let same = Self::open(folder, template, self.options.clone(), self.clock.clone());
        let names = self.names();
        let (same, names) = match (same, names) {
            (Ok(same), Ok(names)) => (Arc::new(same), names),
            (Err(e), _) | (_, Err(e)) => return stream::iter([Err(e)]).boxed(),
        };
        let of_one = move |name: String| {
            let (same, filter) = (same.clone(), filter.clone());
            let listed = async move {
                let backend = same.repository(&name, false).await?;
                let listed = backend.list(filter).map_ok(move |(at, m)| (of_repository(&name, &at), m));
                // Open as long as it is listed.
                Ok::<_, Error>(listed.chain(stream::once(async move { drop(backend) }).filter_map(|()| async { None })))
            };
            stream::once(listed).try_flatten().boxed()
        };
        stream::iter(names).flat_map(of_one).boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        refs.iter().map(|at| Err(backend::not_deleted(at))).collect()
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        match self.find(at).await {
            Ok((backend, at)) => backend.verify(&at, expect, depth).await,
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Verdict::Missing),
            Err(e) => Err(e),
        }
    }

    async fn look_at(&self, at: &StorageRef) -> Result<Verdict> {
        match self.find(at).await {
            Ok((backend, at)) => backend.look_at(&at).await,
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Verdict::Missing),
            Err(e) => Err(e),
        }
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        let mut usage = Usage::default();
        let mut all = self.all();
        while let Some((_, backend)) = all.try_next().await? {
            let one = backend.usage(filter.clone()).await?;
            usage.backups += one.backups;
            usage.content_bytes += one.content_bytes;
            usage.stored_bytes += one.stored_bytes;
        }
        Ok(usage)
    }

    async fn maintain(&self, budget: Budget) -> Result<Report> {
        let begun = self.clock.monotonic();
        let mut report = Report::default();
        let mut all = self.all();
        while let Some((name, backend)) = all.try_next().await? {
            let mut rest = budget.clone();
            rest.duration = budget.duration.saturating_sub(self.clock.monotonic().saturating_sub(begun));
            if rest.duration.is_zero() {
                report.done.push(format!("the time was up before {name}.git"));
                break;
            }
            let one = backend.maintain(rest).await.map_err(|e| e.with("repository", &name))?;
            report.done.extend(one.done.into_iter().map(|line| format!("{name}.git: {line}")));
            report.bytes_freed += one.bytes_freed;
            report.unnamed += one.unnamed;
            report.unnamed_bytes += one.unnamed_bytes;
        }
        Ok(report)
    }

    async fn foretell(&self, budget: Budget) -> Result<Option<Report>> {
        let mut report = Report::default();
        let mut all = self.all();
        while let Some((name, backend)) = all.try_next().await? {
            let one = backend.foretell(budget.clone()).await.map_err(|e| e.with("repository", &name))?;
            let one = one.unwrap_or_default();
            report.done.extend(one.done.into_iter().map(|line| format!("{name}.git: {line}")));
            report.bytes_freed += one.bytes_freed;
        }
        Ok(Some(report))
    }

    async fn check(&self) -> Result<Health> {
        let mut health = Health::default();
        let probe = self.folder.join(format!(".probe-{}", uuid::Uuid::now_v7().simple()));
        let wrote = layout::write_new(&probe, b"probe").and_then(|()| fs::remove_file(&probe));
        health.push("write and flush", wrote.is_ok(), wrote.map_or_else(|e| e.to_string(), |()| "done".to_owned()));
        let mut count = 0;
        let mut all = self.all();
        while let Some((name, backend)) = all.try_next().await? {
            count += 1;
            for p in
                backend.check().await.map_err(|e| e.with("repository", &name))?.probes.into_iter().filter(|p| !p.good)
            {
                health.push(p.name, false, format!("{name}.git: {}", p.detail));
            }
        }
        health.push("repositories", true, format!("{count} repositories"));
        Ok(health)
    }

    // A record is of the destination, as the catalog is: it stands beside the repositories.

    async fn note_sightings(&self, record: &Sightings) -> Result<bool> {
        let record = record.clone();
        self.beside(move |folder| sightings::note(folder, &record)).await.map(|()| true)
    }

    async fn sightings(&self, period: &str) -> Result<Option<Sightings>> {
        let period = period.to_owned();
        self.beside(move |folder| sightings::read(folder, &period)).await
    }

    async fn sighting_periods(&self) -> Result<Vec<String>> {
        self.beside(sightings::periods).await
    }
}
