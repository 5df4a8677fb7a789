//! The blocking work of a backend, one call at a time or many at once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use devicevault_core::storage::{Budget, EntryId, Report, Usage, UsageFilter};
use devicevault_core::{Clock, Error, ErrorKind, Result};
use git2::{Oid, Repository};

use super::folder::Folder;
use super::handles::Handles;
use super::index::{Index, Record};
use super::layout::Layout;
use super::lock::FileLock;
use super::merge::Merged;
use super::options::GitOptions;
use super::own::Own;
use super::path::Version;
use super::repack::{self, Selection};
use super::write::{self, Checked, Head, Target};
use super::{branch, fault, history, mend, pack, purge, tip, verify};

/// Stores between two looks at how many packs there are.
const STORES_BETWEEN_MERGES: u32 = 8;

/// What the handles of a backend share.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) layout: Layout,
    pub(super) options: GitOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) handles: Handles,
    /// Read from disk when it is first needed.
    index: RwLock<Option<Index>>,
    /// Whoever stores leaves it to the next.
    head: Mutex<Head>,
    /// The tree of the branch, as far as it was looked at.
    pub(super) shown: Mutex<Option<(Oid, Folder)>>,
    own: Own,
    repacking: Mutex<()>,
    /// Which commit took the place of which, of the branch and as of the files that it was read from.
    successors: Mutex<Option<Read>>,
    stores: AtomicU32,
    /// The backend was dropped: work in the background ends at its next step.
    closing: AtomicBool,
}

/// Size and time of a file.
type Stamp = Option<(u64, Option<SystemTime>)>;

/// A map of commits, the branch, and the files that it was read from.
type Read = ((String, [Stamp; 2]), HashMap<Oid, Option<Oid>>);

impl Store {
    /// See [`GitBackend::open`](super::GitBackend::open).
    pub(super) fn open(path: &Path, options: GitOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        options.check()?;
        let layout = Layout::open(path, &options.branch)?;
        Ok(Self {
            layout,
            options,
            clock,
            handles: Handles::default(),
            index: RwLock::default(),
            head: Mutex::default(),
            shown: Mutex::default(),
            own: Own::default(),
            repacking: Mutex::default(),
            successors: Mutex::default(),
            stores: AtomicU32::default(),
            closing: AtomicBool::default(),
        })
    }

    /// Work in the background ends at its next step.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether to look at the packs after this store.
    pub(super) fn merge_is_due(&self) -> bool {
        self.options.auto_repack && self.stores.fetch_add(1, Ordering::Relaxed).is_multiple_of(STORES_BETWEEN_MERGES)
    }

    /// Stores a batch. The caller holds the writers' lock.
    pub(super) fn store(&self, batch: &[Checked]) -> Result<Vec<write::Verdict>> {
        self.handles.with(&self.layout, 8, |repo| {
            let target = self.target(repo);
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
            let stored = target.store(self.loaded(&mut index), &mut head, batch)?;
            if stored.damaged > 0 {
                self.mend_now();
            }
            Ok(stored.verdicts)
        })
    }

    /// Refuses history that was purged here: merged, it would be back.
    pub(super) fn refuse_purged(&self, theirs: Oid) -> Result<()> {
        let repo = self.layout.repository()?;
        let known = purge::successors(&self.layout, &repo, &self.options.branch)?;
        if known.is_empty() {
            return Ok(());
        }
        let tip = branch::tip(&repo, &self.options.refname())?;
        let walk = || -> std::result::Result<bool, git2::Error> {
            let mut walk = repo.revwalk()?;
            walk.push(theirs)?;
            if let Some(tip) = tip {
                walk.hide(tip)?;
            }
            Ok(walk.map_while(std::result::Result::ok).any(|id| known.contains_key(&id)))
        };
        if !walk().map_err(|e| fault::git("walk history", e))? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "push branch", "the remote still has what was purged here")
            .with("branch", &self.options.branch)
            .hint("`devicevault git push --purged` moves its branch by force"))
    }

    /// Takes another's commits into the branch. The caller holds the writers' lock.
    pub(super) fn merge_theirs(&self, theirs: Oid) -> Result<Merged> {
        self.handles.close();
        let repo = self.layout.repository()?;
        let ours =
            self.indexed(&repo, |index| self.own.folders((&self.layout, &self.options.branch), &repo, index))??;
        self.target(&repo).merge(theirs, &ours)
    }

    fn target<'s>(&'s self, repo: &'s Repository) -> Target<'s> {
        Target { layout: &self.layout, options: &self.options, repo, own: &self.own, now: self.clock.now() }
    }

    /// Replaces what is damaged, unless somebody is at the packs already: then they are looked at by `maintain`.
    fn mend_now(&self) {
        let mend = || -> Result<()> {
            let Ok(_alone) = self.repacking.try_lock() else { return Ok(()) };
            let Some(_lock) = FileLock::try_acquire(&self.layout.repack_lock())? else { return Ok(()) };
            if let Some(mended) = mend::mend(&self.layout)? {
                tracing::warn!(?mended, "damaged packs were replaced");
            }
            Ok(())
        };
        // What was stored is stored.
        if let Err(e) = mend() {
            tracing::warn!(error = %e, "damaged packs could not be replaced");
        }
    }

    /// Whether the branch leads to a version. What cannot be told now counts as yes: damage is told by who meets it.
    pub(super) fn is_reachable(&self, repo: &Repository, at: &Version) -> Result<bool> {
        let told = if at.branch == self.options.branch {
            verify::manifest(repo, at).and_then(|m| {
                let id = EntryId { run: m.run, artefact: m.artefact.clone(), view: m.view };
                self.indexed(repo, |index| index.stored(&m.source.device, &id).contains(&at.commit))
            })
        } else {
            // Another branch than is written now has no index.
            branch::tip(repo, &format!("refs/heads/{}", at.branch)).and_then(|tip| match tip {
                Some(tip) if tip == at.commit => Ok(true),
                Some(tip) => repo.graph_descendant_of(tip, at.commit).map_err(|e| fault::git("walk history", e)),
                None => Ok(false),
            })
        };
        match told {
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => Ok(true),
            told => told,
        }
    }

    /// What a reference stands for: the commit that took the place of its own where history was purged. Refuses one to a
    /// branch that the repository has not. The branch may be another one than is written now: what was stored before that
    /// setting changed stays readable.
    pub(super) fn known(&self, repo: &Repository, at: &Version) -> Result<Version> {
        let name = format!("refs/heads/{}", at.branch);
        let absent = |why: &str| {
            Err(Error::new(ErrorKind::NotFound, "read backup", why.to_owned()).with("branch", at.branch.escape_debug()))
        };
        let there = at.branch == self.options.branch
            || (git2::Reference::is_valid_name(&name) && branch::tip(repo, &name)?.is_some());
        if !there {
            return absent("the repository has no such branch");
        }
        let now = self.successor(repo, at)?.map(|commit| Version { commit, ..at.clone() });
        match now {
            Some(now) if now.commit == at.commit => Ok(now),
            // Of a commit that stored several, this one may be gone.
            Some(now) if !purge::is_gone(repo, &now)? => Ok(now),
            _ => absent("it was purged"),
        }
    }

    /// The commit that stands for a reference's. The map is read again when its files are others.
    pub(super) fn successor(&self, repo: &Repository, at: &Version) -> Result<Option<Oid>> {
        let stamp = |path: std::path::PathBuf| std::fs::metadata(path).ok().map(|m| (m.len(), m.modified().ok()));
        let files = [stamp(self.layout.successors(&at.branch)), stamp(self.layout.next_successors(&at.branch))];
        if files == [None, None] {
            return Ok(Some(at.commit));
        }
        let mut known = self.successors.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (at.branch.clone(), files);
        if known.as_ref().is_none_or(|(of, _)| *of != key) || key.1[1].is_some() {
            *known = Some((key, purge::successors(&self.layout, repo, &at.branch)?));
        }
        let found = known.as_ref().and_then(|(_, map)| map.get(&at.commit).copied());
        Ok(found.unwrap_or(Some(at.commit)))
    }

    fn loaded<'i>(&self, index: &'i mut Option<Index>) -> &'i mut Index {
        index.get_or_insert_with(|| match self.options.own_index {
            true => Index::load(&self.layout.index(&self.options.branch)),
            false => Index::default(),
        })
    }

    /// Looks at an index that knows every commit of the branch.
    pub(super) fn indexed<T>(&self, repo: &Repository, look: impl FnOnce(&Index) -> T) -> Result<T> {
        let tip = || branch::tip(repo, &self.options.refname());
        let now = tip()?;
        {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(index) = index.as_ref().filter(|index| index.tip() == now) {
                return Ok(look(index));
            }
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let index = self.loaded(&mut index);
        // Asked again: whoever stored meanwhile brought the index further, and an index that is ahead of the branch is
        // taken for one of a history that was rewritten.
        history::catch_up(&self.layout, index, tip()?)?;
        Ok(look(index))
    }

    /// Merges the packs of one size when there are many. What goes wrong is of no consequence to what is stored.
    pub(super) fn merge_small(&self) {
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

    pub(super) fn maintain(&self, budget: &Budget) -> Result<Report> {
        let mut report = Report::default();
        let _alone = self.repacking.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(_repack) = FileLock::try_acquire(&self.layout.repack_lock())? else {
            report.done.push("another process is merging packs: nothing done".to_owned());
            return Ok(report);
        };
        if let Some(_writers) = self.layout.try_lock()? {
            let now = self.now();
            let (all, (files, bytes)) = repack::left_half(&self.layout, now)?;
            (report.unnamed, report.unnamed_bytes) = all;
            repack::clear_leftovers(&self.layout, now)?;
            if files > 0 {
                report.done.push(format!("removed {files} unfinished files of a process that ended early"));
                report.bytes_freed += bytes;
            }
        }
        let is_whole = self.maintain_damage(&mut report)?;
        // After that: a commit may have been in a damaged pack.
        if let Some(_writers) = self.layout.try_lock()?
            && let Some(lost) = self.lost_tip()?
        {
            tip::put_back(&self.layout, &self.options.branch, &lost)?;
            tracing::warn!(event = "branch_put_back", branch = %self.options.branch, ?lost);
            self.handles.close();
            report.done.push(lost.told(&self.options.branch, false));
        }
        if !is_whole {
            return Ok(report);
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

    /// Replaces what is damaged. `false`: something is lost, so that packs cannot be merged.
    fn maintain_damage(&self, report: &mut Report) -> Result<bool> {
        if let Some(m) = mend::mend(&self.layout)? {
            self.handles.close();
            report.done.push(format!(
                "replaced {} damaged packs and {} damaged loose objects: {} objects were saved, {} are lost",
                m.packs,
                m.loose,
                m.saved,
                m.lost.len()
            ));
            let names = self.handles.with(&self.layout, 4096, |repo| {
                self.indexed(repo, |index| mend::names(repo, index, &m.lost)).or_else(|_| Ok(Vec::new()))
            })?;
            report.done.extend(names);
        }
        let kept = mend::kept(&self.layout);
        report.done.extend(kept.iter().map(|p| {
            format!(
                "{}: a damaged pack of which something is lost; remove it when nobody wants to look into it",
                p.display()
            )
        }));
        Ok(kept.is_empty())
    }

    /// Whether the branch names a commit that is not there.
    fn lost_tip(&self) -> Result<Option<tip::Lost>> {
        // As the log has it: what it was read for is that the branch leads nowhere.
        let index = Index::load(&self.layout.index(&self.options.branch));
        tip::look(&self.layout, &self.options.branch, &index)
    }

    /// What [`maintain`](Self::maintain) would do.
    pub(super) fn foretell(&self) -> Result<Report> {
        let mut report = Report::default();
        let (all, (files, bytes)) = repack::left_half(&self.layout, self.now())?;
        (report.unnamed, report.unnamed_bytes) = all;
        if files > 0 {
            report.done.push(format!("would remove {files} unfinished files of a process that ended early"));
            report.bytes_freed += bytes;
        }
        report.done.extend(self.lost_tip()?.map(|lost| lost.told(&self.options.branch, true)));
        report.done.extend(Selection::everything(&self.layout)?.foretold());
        Ok(report)
    }

    pub(super) fn usage(&self, filter: &UsageFilter) -> Result<Usage> {
        let count = |records: &mut dyn Iterator<Item = Record>| {
            records.filter(Record::is_backup).fold((0, 0), |(n, bytes), r| (n + 1, bytes + r.size))
        };
        let (all, wanted) = self.handles.with(&self.layout, 1, |repo| {
            self.indexed(repo, |index| {
                let all = count(&mut index.records().iter().copied());
                let wanted = filter.device.as_ref().map_or(all, |d| count(&mut index.of_device(d)));
                (all, wanted)
            })
        })?;
        let stored = pack::stored(&self.layout)?;
        let mut usage = Usage::default();
        (usage.backups, usage.content_bytes) = wanted;
        // Versions share what they have in common: a device's part of the packs is its part of the contents.
        let share = if all.1 == 0 { 0.0 } else { wanted.1 as f64 / all.1 as f64 };
        usage.stored_bytes = if filter.device.is_some() { (stored as f64 * share) as u64 } else { stored };
        Ok(usage)
    }
}
