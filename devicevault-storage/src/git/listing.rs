//! Listing what a repository holds, a page at a time: the branch that is written now, then those that were before.

use std::collections::HashSet;
use std::sync::Arc;

use devicevault_core::storage::ListFilter;
use devicevault_core::{Error, ErrorKind, Manifest, Result, StorageRef, Timestamp};
use futures::stream::{self, BoxStream, StreamExt as _};
use git2::{BranchType, Oid, Repository};

use super::index::{Index, Record, device_key};
use super::store::Store;
use super::{branch, fault, history};

/// Records that a listing takes at a time.
const PAGE: usize = 256;

/// Where a listing stands.
#[derive(Debug, Clone)]
struct Cursor {
    generation: u64,
    /// A device's records, oldest first; without it, all of the branch's.
    chain: Option<Vec<Record>>,
    at: usize,
    branch: String,
    /// Other branches that come after it.
    rest: Vec<String>,
}

struct Page {
    items: Vec<Result<(StorageRef, Manifest)>>,
    next: Option<usize>,
}

enum Listing {
    Begin,
    At(Cursor),
    /// Branches that were written before.
    Before(Vec<String>),
}

/// Every backup that passes.
pub(super) fn list(store: Arc<Store>, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
    let filter = Arc::new(filter);
    let pages = stream::unfold(Listing::Begin, move |listing| {
        let (store, filter) = (store.clone(), filter.clone());
        let work = move || {
            let mut cursor = match listing {
                Listing::Begin => store.cursor(&filter)?,
                Listing::At(cursor) => cursor,
                Listing::Before(mut rest) => {
                    let Some(branch) = rest.pop() else { return Ok(None) };
                    match store.cursor_before(&filter, &branch, rest.clone()) {
                        Ok(cursor) => cursor,
                        Err(e) => return Ok(Some((vec![Err(e.with("branch", branch))], Listing::Before(rest)))),
                    }
                }
            };
            let page = store.page(&filter, &cursor)?;
            let next = match page.next {
                Some(at) => {
                    cursor.at = at;
                    Listing::At(cursor)
                }
                None => Listing::Before(cursor.rest),
            };
            Ok(Some((page.items, next)))
        };
        async move {
            match tokio::task::spawn_blocking(work).await.map_err(fault::panicked).flatten() {
                Ok(page) => page,
                Err(e) => Some((vec![Err(e)], Listing::Before(Vec::new()))),
            }
        }
    });
    pages.flat_map(stream::iter).boxed()
}

impl Store {
    /// The next page of a listing.
    fn page(&self, filter: &ListFilter, cursor: &Cursor) -> Result<Page> {
        let since = filter.since.map(Timestamp::as_microsecond);
        let passes = |r: &Record| r.is_backup() && since.is_none_or(|t| r.taken >= t);
        self.handles.with(&self.layout, PAGE, |repo| {
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
            Ok(Page { items: self.manifests(repo, &cursor.branch, &records, filter), next })
        })
    }

    fn manifests(
        &self,
        repo: &Repository,
        branch: &str,
        records: &[Record],
        filter: &ListFilter,
    ) -> Vec<Result<(StorageRef, Manifest)>> {
        let mut items = Vec::with_capacity(records.len());
        // As the identity stands in the manifest, escapes and all.
        let device = filter.device.as_ref().and_then(|d| serde_json::to_string(d).ok()).unwrap_or_default();
        // Records of one commit stand together.
        for group in records.chunk_by(|a, b| a.commit == b.commit) {
            let wanted = |m: &Manifest| filter.matches(m) && group.iter().any(|r| r.is_of(m));
            let Some(first) = group.first() else { continue };
            match history::manifests(repo, branch, first.commit, &device) {
                Ok(found) => items.extend(found.into_iter().filter(|(_, m)| wanted(m)).map(Ok)),
                Err(e) => items.push(Err(e)),
            }
        }
        items
    }

    /// Where a listing begins.
    fn cursor(&self, filter: &ListFilter) -> Result<Cursor> {
        self.handles.with(&self.layout, 1, |repo| {
            let (branch, rest) = (self.options.branch.clone(), self.branches_before(repo)?);
            self.indexed(repo, |index| {
                let chain = filter.device.as_ref().map(|device| {
                    let since = filter.since.map(Timestamp::as_microsecond);
                    let key = device_key(device);
                    let wanted = |r: &Record| r.device == key && since.is_none_or(|t| r.taken >= t);
                    let mut chain: Vec<Record> = index.of_device(device).filter(wanted).collect();
                    chain.reverse();
                    chain
                });
                Cursor { generation: index.generation(), chain, at: 0, branch, rest }
            })
        })
    }

    /// The branches that we stored to before another was set: where something was stored, notes of ours lie.
    fn branches_before(&self, repo: &Repository) -> Result<Vec<String>> {
        let all = repo.branches(Some(BranchType::Local)).map_err(|e| fault::git("list branches", e))?;
        let name = |found: std::result::Result<(git2::Branch<'_>, BranchType), git2::Error>| {
            Some(found.ok()?.0.name().ok()??.to_owned())
        };
        let is_ours = |name: &String| self.layout.own_folders(name).exists() || self.layout.index(name).exists();
        Ok(all.filter_map(name).filter(|name| *name != self.options.branch && is_ours(name)).collect())
    }

    /// Where the listing of a branch that was written before begins: what it has in common with that of now was listed.
    fn cursor_before(&self, filter: &ListFilter, branch: &str, rest: Vec<String>) -> Result<Cursor> {
        let chain = self.handles.with(&self.layout, 1, |repo| {
            let mut index = Index::load(&self.layout.index(branch));
            history::catch_up(&self.layout, &mut index, branch::tip(repo, &format!("refs/heads/{branch}"))?)?;
            let listed: HashSet<Oid> = self.indexed(repo, |now| now.records().iter().map(|r| r.commit).collect())?;
            let since = filter.since.map(Timestamp::as_microsecond);
            let device = filter.device.as_ref().map(device_key);
            let wanted = |r: &&Record| {
                r.is_backup()
                    && !listed.contains(&r.commit)
                    && since.is_none_or(|t| r.taken >= t)
                    && device.is_none_or(|d| r.device == d)
            };
            Ok(index.records().iter().filter(wanted).copied().collect())
        })?;
        Ok(Cursor { generation: 0, chain: Some(chain), at: 0, branch: branch.to_owned(), rest })
    }
}
