//! A history of which objects are lost, made whole again: each version is put back where it was out of what another
//! destination has, and what can be had nowhere is taken out and told.
//!
//! A commit of which all can be read stays what it is, but for what came before it. The branch moves once, in the end, and
//! references from before lead on, as after a purge.

mod anew;
mod line;
mod raw;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use devicevault_core::{Body, Entry, Error, ErrorKind, Manifest, Result, StorageRef};
use git2::{ObjectType, Oid};

use self::anew::{Anew, Given, Told};
use self::line::Known;
use super::backend::{GitBackend, STEP};
use super::branch::{self, Moved};
use super::fresh::Fresh;
use super::index::Index;
use super::path::{TreePath, Version};
use super::store::Store;
use super::unpack::Objects;
use super::{fault, mend, pack, purge, write};
use crate::regular;

/// A version that history lacks, as another destination has it.
#[derive(Debug, Clone)]
pub struct Supply {
    /// What it was called here.
    pub at: StorageRef,
    /// What it is.
    pub entry: Entry,
    /// Its bytes, in the view that is kept here.
    pub body: Arc<dyn Body>,
}

/// What is lost of a history, or what was done about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MendReport {
    /// Commits that are lost.
    pub lost_commits: usize,
    /// Versions that cannot be read and were not given, by the references that they had, and what is known of them here.
    pub lost: Vec<(StorageRef, Option<Manifest>)>,
    /// Of these, those whose file can be read in a later commit, `commit:path`. It is taken out of that and all later ones.
    pub readable: BTreeMap<StorageRef, String>,
    /// Files that are no versions and cannot be read.
    pub lost_files: Vec<String>,
    /// Commits that were made again, or would be.
    pub commits: usize,
    /// Commits of which a folder was lost and was made again just as it was, or would be: they stay what they are.
    pub restored: usize,
}

impl MendReport {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.commits == 0 && self.restored == 0 && self.lost.is_empty()
    }
}

impl GitBackend {
    /// Makes a history whole again of which objects are lost or damaged. `known` are the references that somebody has
    /// into it, oldest first; `supplies` are versions out of other destinations. What is lost and not supplied is taken out. A
    /// rehearsal changes nothing, and tells what has to be supplied.
    ///
    /// # Errors
    /// A supply cannot be read; `Conflict` where another branch or tag leads to what is made again. Whatever the error, the
    /// branch is the one or the other.
    pub async fn mend(&self, known: Vec<StorageRef>, supplies: Vec<Supply>, rehearsal: bool) -> Result<MendReport> {
        let held = self.alone().await?;
        let mut given: HashMap<Oid, Vec<Given>> = HashMap::new();
        let (mut fresh, mut bytes) = (Fresh::default(), 0);
        for (slot, supply) in supplies.into_iter().enumerate().filter(|_| !rehearsal) {
            let Some((commit, path)) = self.store.place(&supply.at) else { continue };
            let checked = write::check(slot, supply.entry, &*supply.body, self.store.options.max_body).await?;
            bytes += checked.data.len() as u64;
            let blob = fresh.add(ObjectType::Blob, checked.data)?;
            given.entry(commit).or_default().push(Given { path, entry: checked.entry, blob });
            if bytes >= STEP {
                let part = std::mem::take(&mut fresh);
                self.blocking(move |store| part.flush(&store.layout)).await?;
                bytes = 0;
            }
        }
        self.blocking(move |store| {
            // Whoever gives up waiting does not let others in before it is done.
            let _held = held;
            if fresh.count() > 0 {
                fresh.flush(&store.layout)?;
            }
            store.mend(&known, &given, rehearsal)
        })
        .await
    }
}

impl Store {
    /// Where a reference leads that this branch was written by.
    fn place(&self, at: &StorageRef) -> Option<(Oid, TreePath)> {
        let version = Version::parse(at).ok().filter(|v| v.branch == self.options.branch)?;
        Some((version.commit, TreePath::named(&version.path)?))
    }

    /// The caller holds the writers' lock and the one of those who rewrite packs.
    fn mend(&self, known: &[StorageRef], given: &HashMap<Oid, Vec<Given>>, rehearsal: bool) -> Result<MendReport> {
        let (refname, branch) = (self.options.refname(), &self.options.branch);
        if !rehearsal {
            // What can be saved of damaged packs is, and they go: whoever reads after this meets what is lost and nothing else.
            mend::mend(&self.layout)?;
            self.handles.close();
        }
        let repo = self.layout.repository()?;
        let mut report = MendReport::default();
        let Some(tip) = branch::tip(&repo, &refname)? else { return Ok(report) };
        let packs: Vec<_> = pack::packs(&self.layout)?.into_iter().map(|p| p.path).collect();
        let loose = pack::loose(&self.layout)?.into_iter().map(|(id, path, _)| (id, path)).collect();
        let mut objects = Objects::new(&packs, loose)?;
        let mut index: Vec<Oid> = Index::load(&self.layout.index(branch)).records().iter().map(|r| r.commit).collect();
        index.dedup();
        let purged = purge::successors(&self.layout, &repo, branch)?;
        let versions: Vec<(&StorageRef, Oid, TreePath)> =
            known.iter().filter_map(|at| self.place(at).map(|(commit, path)| (at, commit, path))).collect();
        let named: Vec<(Oid, &str)> =
            versions.iter().filter(|(_, c, _)| !purged.contains_key(c)).map(|(_, c, p)| (*c, p.as_str())).collect();
        let shallow = self.shallow()?;
        if !rehearsal && !shallow.is_empty() {
            let why = "it is a shallow clone: what came before its first commits is elsewhere";
            return Err(Error::new(ErrorKind::Unsupported, "mend history", why)
                .with("path", self.layout.dir().display())
                .hint(
                    "`git fetch --unshallow` in it makes it whole, where it has a remote; else add another Git destination and \
                     copy there what can be read: `devicevault destination copy`",
                ));
        }
        let what = Known { index: &index, purged: &purged, shallow: &shallow, named: &named };
        let line = line::line(&mut objects, tip, &what);

        let is_given =
            |commit: &Oid, path: &TreePath| given.get(commit).is_some_and(|all| all.iter().any(|g| g.path == *path));
        let mut gone: HashMap<Oid, Vec<TreePath>> = HashMap::new();
        for (at, commit, path) in &versions {
            if line.lost.contains(commit) && !is_given(commit, path) {
                report.lost.push(((*at).clone(), None));
                gone.entry(*commit).or_default().push(path.clone());
            }
        }
        let told = Told { line: &line, given, gone: &gone, now: self.clock.now().as_second().max(0) };
        let at = (&self.layout, &self.options);
        let done = Anew::new(at, &mut objects, told, rehearsal).run()?;
        (report.commits, report.lost_commits) = (done.successors.len(), line.lost.len());
        let lost_paths: BTreeSet<&String> = done.lost.iter().map(|(v, _)| &v.path).collect();
        report.lost_files = done.foreign.iter().filter(|path| !lost_paths.contains(path)).cloned().collect();
        (report.readable, report.restored) = (done.readable, done.restored);
        report.lost.extend(done.lost.iter().map(|(v, m)| (v.to_ref(), m.clone())));
        if rehearsal || done.successors.is_empty() {
            drop(repo);
            // What was lost is there again.
            self.handles.close();
            return Ok(report);
        }
        self.refuse_other_refs(&repo, &refname, &done.successors)?;
        let last = line.order.last().copied().unwrap_or(tip);
        let end = done.successors.get(&last).copied().flatten().unwrap_or(last);
        purge::announce(&self.layout, &repo, branch, Some(end), &done.successors)?;
        match branch::advance(&self.layout, &repo, &refname, Some(tip), end)? {
            Moved::Done => {}
            Moved::Elsewhere => {
                return Err(Error::new(ErrorKind::Conflict, "mend history", "another program moved the branch")
                    .with("branch", branch)
                    .hint("do it again"));
            }
        }
        purge::settle(&self.layout, &repo, branch)?;
        drop(repo);
        self.handles.close();
        // What still names lost objects goes: `git fsck` would go on complaining of it.
        self.prune()?;
        Ok(report)
    }

    /// Commits whose parents were left out on purpose.
    fn shallow(&self) -> Result<HashSet<Oid>> {
        let path = self.layout.dir().join("shallow");
        match regular::read_to_string(&path) {
            Ok(text) => Ok(text.lines().filter_map(|line| Oid::from_str(line.trim()).ok()).collect()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(HashSet::new()),
            Err(e) => Err(fault::io("read history", &path, e)),
        }
    }
}
