//! Taking something out of history: a device, an artefact, versions, or a text that must not be there.
//!
//! Every commit from the first one on that is concerned is made again, as it was but for what goes. The branch moves once,
//! in the end; killed before, nothing has changed. References from before lead on to what stands for them now, so that a
//! catalog may be told later; see [`GitBackend::current`].

mod map;
mod replay;

use std::fmt;
use std::sync::Arc;

use devicevault_core::{Error, ErrorKind, Manifest, Result, StorageRef};
use git2::{ObjectType, Oid, Repository};

use super::backend::GitBackend;
use super::branch::{self, Moved};
use super::path::Version;
use super::remote::{self, Git, Pushed};
use super::repack::{self, Selection};
use super::store::Store;
use super::{fault, history, message, objects, verify};

pub(super) use map::{Successors, announce, load as successors, settle};

/// Whether the successor of a commit no longer has a version that that one stored.
pub(super) fn is_gone(repo: &Repository, now: &Version) -> Result<bool> {
    match verify::manifest(repo, now) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
        Ok(_) => Ok(false),
    }
}

/// Says which versions go.
pub type RemoveVersion = Arc<dyn Fn(&Manifest) -> bool + Send + Sync>;

/// Says what a file is to be; `None`: what it is.
pub type RewriteFile = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// What is to go.
#[derive(Clone)]
pub struct Purge {
    remove: RemoveVersion,
    rewrite: Option<RewriteFile>,
}

impl fmt::Debug for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purge").field("rewrites", &self.rewrite.is_some()).finish_non_exhaustive()
    }
}

impl Purge {
    /// Versions of which `remove` says so: each file is then what it was before that version.
    #[must_use]
    pub fn versions(remove: RemoveVersion) -> Self {
        Self { remove, rewrite: None }
    }

    /// Text in files, and in what commits say.
    #[must_use]
    pub fn text(rewrite: RewriteFile) -> Self {
        Self { remove: Arc::new(|_| false), rewrite: Some(rewrite) }
    }

    fn in_message(&self, message: &str) -> Option<String> {
        let new = self.rewrite.as_ref()?(message.as_bytes())?;
        String::from_utf8(new).ok()
    }
}

/// What a purge did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeReport {
    /// Versions that are gone, by the references that they had.
    pub removed: Vec<(StorageRef, Manifest)>,
    /// Versions whose text was changed, by the references that they had, with their new size and hash.
    pub rewritten: Vec<(StorageRef, Manifest)>,
    /// Files that are no backups, and were changed.
    pub foreign: usize,
    /// Commits that were made again.
    pub commits: usize,
    /// Names that no file can have, such as `..`, or that two have in one folder: commits that are made again are without them.
    pub odd: Vec<String>,
    /// Other branches and tags whose own history holds what is to go, too: it stays there, and its bytes with it.
    pub others: Vec<String>,
    /// Objects that are gone from the repository.
    pub objects: usize,
    /// It also is in objects that nothing of the branch leads to, of an earlier purge or of a branch that was deleted.
    pub left_over: bool,
}

impl GitBackend {
    /// Takes something out of history, and its bytes out of the repository. A rehearsal changes nothing.
    ///
    /// A remote still has it until [`push_purged`](Self::push_purged).
    ///
    /// # Errors
    /// `Conflict` where another branch or tag leads to what is to go. Whatever the error, history is the one or the other.
    pub async fn purge(&self, what: Purge, rehearsal: bool) -> Result<PurgeReport> {
        let held = self.alone().await?;
        self.blocking(move |store| {
            let _held = held;
            store.purge(&what, rehearsal)
        })
        .await
    }

    /// What references from before a purge stand for now, in order; `None`: it was purged. One that is not concerned
    /// stands for itself, whether it is there or not.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn current(&self, refs: Vec<StorageRef>) -> Result<Vec<Option<StorageRef>>> {
        self.blocking(move |store| {
            store.handles.with(&store.layout, refs.len(), |repo| {
                refs.iter().map(|at| store.current(repo, at)).collect::<Result<Vec<_>>>()
            })
        })
        .await
    }

    /// Has the remote forget what was purged here: its branch is moved by force from history that has successors here,
    /// and from nothing else.
    ///
    /// # Errors
    /// `Conflict` where it holds commits that are not known here; what pushing ends in.
    pub async fn push_purged(&self) -> Result<()> {
        let Some(remote) = self.store.options.remote.as_ref() else { return Ok(()) };
        let _alone = self.pushing.lock().await;
        let branch = self.store.options.branch.clone();
        let git = Git::new(remote, self.store.layout.dir()).await?;
        let refname = self.store.options.refname();
        let ours = self.blocking(move |store| branch::tip(&store.layout.repository()?, &refname)).await?;
        let (Some(theirs), Some(ours)) = (git.tip(&branch).await?, ours) else { return Ok(()) };
        let known = self.blocking(move |store| store.was_ours(theirs)).await?;
        if !known {
            return Err(Error::new(
                ErrorKind::Conflict,
                "push purged branch",
                "the remote holds commits that are not known here",
            )
            .with("remote", &remote.url)
            .with("commit", theirs)
            .hint("whoever pushed them has to take them away first, or they would be lost"));
        }
        match git.force(&branch, ours, theirs).await? {
            Pushed::Done => {
                let mut state = remote::load(&self.store.layout, &branch, remote.url.as_str());
                state.pushed = Some(ours.to_string());
                state.pushed_at = Some(self.store.clock.now());
                (state.failing_since, state.error) = (None, None);
                remote::save(&self.store.layout, &branch, &state)
            }
            Pushed::Behind => {
                Err(Error::new(ErrorKind::Conflict, "push purged branch", "others pushed in this moment")
                    .with("remote", &remote.url))
            }
        }
    }
}

impl Store {
    /// The caller holds the writers' lock and the one of those who rewrite packs.
    fn purge(&self, what: &Purge, rehearsal: bool) -> Result<PurgeReport> {
        let repo = self.layout.repository()?;
        let (refname, branch) = (self.options.refname(), &self.options.branch);
        let mut report = PurgeReport::default();
        map::settle(&self.layout, &repo, branch)?;
        let Some(tip) = branch::tip(&repo, &refname)? else {
            report.others = self.other_holders(&repo, None, what)?;
            return Ok(report);
        };
        let mut commits = history::walk(&self.layout, &repo, tip, None)?;
        commits.reverse();
        let done = replay::Replay::new(&self.layout, branch, what, rehearsal)?.run(&commits)?;
        report.others = self.other_holders(&repo, Some(tip), what)?;
        (report.removed, report.rewritten, report.foreign) = (done.removed, done.rewritten, done.foreign);
        report.odd = done.odd.into_iter().collect();
        report.commits = done.successors.len();
        if done.successors.is_empty() {
            report.left_over = report.others.is_empty() && self.lingers(what)?;
        }
        if rehearsal || (done.successors.is_empty() && !report.left_over) {
            return Ok(report);
        }
        if report.left_over {
            drop(repo);
            self.handles.close();
            return self.pruned(what, report);
        }
        self.refuse_other_refs(&repo, &refname, &done.successors)?;
        let end = done.successors.get(&tip).copied().unwrap_or(Some(tip));
        // A branch without a commit cannot be told from one that was never written: an empty one stays.
        let end = match end {
            Some(end) => end,
            None => self.empty_commit()?,
        };
        map::announce(&self.layout, &repo, branch, Some(end), &done.successors)?;
        match branch::advance(&self.layout, &repo, &refname, Some(tip), end)? {
            Moved::Done => {}
            Moved::Elsewhere => {
                return Err(Error::new(ErrorKind::Conflict, "purge history", "another program moved the branch")
                    .with("branch", branch)
                    .hint("do it again"));
            }
        }
        map::settle(&self.layout, &repo, branch)?;
        drop(repo);
        self.handles.close();
        let _ = std::fs::remove_dir_all(self.layout.damaged());
        self.pruned(what, report)
    }

    /// Takes the bytes out of the repository.
    fn pruned(&self, what: &Purge, mut report: PurgeReport) -> Result<PurgeReport> {
        report.objects = self.prune()?;
        if report.others.is_empty() && self.lingers(what)? {
            return Err(Error::new(
                ErrorKind::Conflict,
                "purge history",
                "the branch no longer leads to it, but its bytes are still there: something else may lead to them",
            )
            .with("path", self.layout.dir().display())
            .hint("remove what is in its way, such as annotated tags or logs, then `git gc --prune=now`"));
        }
        Ok(report)
    }

    /// Whether any object of the repository still holds what is to go, whatever leads to it.
    fn lingers(&self, what: &Purge) -> Result<bool> {
        let repo = self.layout.repository()?;
        let odb = repo.odb().map_err(|e| fault::git("read objects", e))?;
        let mut all = Vec::new();
        odb.foreach(|id| {
            all.push(*id);
            true
        })
        .map_err(|e| fault::git("read objects", e))?;
        for id in all {
            // What cannot be read is told by a verification.
            let Ok((_, kind)) = odb.read_header(id) else { continue };
            let found = match (kind, &what.rewrite) {
                (ObjectType::Blob, Some(rewrite)) => {
                    objects::blob(&repo, id).is_ok_and(|data| rewrite(&data).is_some())
                }
                (ObjectType::Commit, rewrite) => objects::commit(&repo, id).is_ok_and(|commit| {
                    let message = commit.message_raw_bytes();
                    let goes = |m: Manifest| (what.remove)(&m);
                    rewrite.as_ref().is_some_and(|rewrite| rewrite(message).is_some())
                        || message::trailers(message).iter().any(|t| t.manifest().is_ok_and(goes))
                }),
                _ => false,
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Branches and tags that hold what is to go, and to which the branch at `tip` does not lead: such as one that the
    /// destination wrote to before.
    fn other_holders(&self, repo: &Repository, tip: Option<Oid>, what: &Purge) -> Result<Vec<String>> {
        let failed = |e| fault::git("read branches", e);
        let refname = self.options.refname();
        let holds = |commit: Oid| -> Result<bool> {
            let mut commits = history::walk(&self.layout, repo, commit, None)?;
            commits.reverse();
            let there = replay::Replay::new(&self.layout, &self.options.branch, what, true)?.run(&commits)?;
            Ok(there.foreign > 0 || !there.removed.is_empty() || !there.rewritten.is_empty())
        };
        let mut holders = Vec::new();
        for reference in repo.references().map_err(failed)? {
            let reference = reference.map_err(failed)?;
            let Ok(name) = reference.name().map(str::to_owned) else { continue };
            let Ok(commit) = reference.peel_to_commit().map(|c| c.id()) else { continue };
            let is_ours =
                |tip: Oid| tip == commit || repo.graph_descendant_of(tip, commit).is_ok_and(|descends| descends);
            if name != refname && !tip.is_some_and(is_ours) && holds(commit).map_err(|e| e.with("reference", &name))? {
                holders.push(name);
            }
        }
        Ok(holders)
    }

    fn current(&self, repo: &Repository, at: &StorageRef) -> Result<Option<StorageRef>> {
        let Ok(version) = Version::parse(at) else { return Ok(Some(at.clone())) };
        match self.successor(repo, &version)? {
            Some(commit) if commit == version.commit => Ok(Some(at.clone())),
            Some(commit) => {
                let now = Version { commit, ..version };
                Ok(if is_gone(repo, &now)? { None } else { Some(now.to_ref()) })
            }
            None => Ok(None),
        }
    }

    /// Takes out of the repository what nothing leads to.
    pub(super) fn prune(&self) -> Result<usize> {
        let selection = Selection::whole(&self.layout)?;
        let merged = repack::merge(&self.layout, &selection, self.clock.now().into(), &|| true)?;
        self.handles.close();
        Ok(merged.pruned)
    }

    fn empty_commit(&self) -> Result<Oid> {
        let mut fresh = super::fresh::Fresh::default();
        let tree = fresh.add_tree("", Vec::new())?;
        let who = format!("{} <{}> {} +0000", self.options.author, self.options.email, self.clock.now().as_second());
        let commit = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nEverything was taken out\n");
        let id = fresh.add(git2::ObjectType::Commit, commit)?;
        fresh.flush(&self.layout)?;
        Ok(id)
    }

    /// What another branch or a tag leads to would stay.
    pub(super) fn refuse_other_refs(&self, repo: &Repository, refname: &str, gone: &map::Successors) -> Result<()> {
        let failed = |e| fault::git("read branches", e);
        let mut others = Vec::new();
        for reference in repo.references().map_err(failed)? {
            let reference = reference.map_err(failed)?;
            let Ok(name) = reference.name().map(str::to_owned) else { continue };
            let Ok(commit) = reference.peel_to_commit() else { continue };
            let mut walk = repo.revwalk().map_err(failed)?;
            walk.push(commit.id()).map_err(failed)?;
            // Of a damaged history a walk may end before its first step.
            let leads = gone.contains_key(&commit.id())
                || walk.map_while(std::result::Result::ok).any(|id| gone.contains_key(&id));
            if name != refname && leads {
                others.push(name);
            }
        }
        if others.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "purge history", "other branches or tags lead to what is to go")
            .with("names", others.join(", "))
            .hint("delete them first: `git branch -D`, `git tag -d`"))
    }

    /// Whether all that a commit leads to is here, or has a successor here.
    fn was_ours(&self, theirs: Oid) -> Result<bool> {
        let repo = self.layout.repository()?;
        let known = map::load(&self.layout, &repo, &self.options.branch)?;
        // What was pruned here cannot be walked; what has a successor was all ours.
        let tip = branch::tip(&repo, &self.options.refname())?;
        Ok(known.contains_key(&theirs)
            || tip.is_some_and(|tip| tip == theirs || repo.graph_descendant_of(tip, theirs).unwrap_or(false)))
    }
}
