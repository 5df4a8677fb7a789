//! Listing what a branch holds, a page at a time.

use std::sync::Arc;

use devicevault_core::storage::ListFilter;
use devicevault_core::{Error, ErrorKind, Manifest, Result, StorageRef, Timestamp};
use futures::stream::{self, BoxStream, StreamExt as _};
use git2::Repository;

use super::index::{Record, device_key};
use super::store::Store;
use super::{fault, history};

/// Records that a listing takes at a time.
const PAGE: usize = 256;

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

/// Every backup that passes.
pub(super) fn list(store: Arc<Store>, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
    let filter = Arc::new(filter);
    let pages = stream::unfold(Listing::Begin, move |listing| {
        let (store, filter) = (store.clone(), filter.clone());
        let work = move || {
            let mut cursor = match listing {
                Listing::Begin => store.cursor(&filter)?,
                Listing::At(cursor) => cursor,
                Listing::End => return Ok(None),
            };
            let page = store.page(&filter, &cursor)?;
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
        // As the identity stands in the manifest, escapes and all.
        let device = filter.device.as_ref().and_then(|d| serde_json::to_string(d).ok()).unwrap_or_default();
        // Records of one commit stand together.
        for group in records.chunk_by(|a, b| a.commit == b.commit) {
            let wanted = |m: &Manifest, commit| {
                let record = Record::of(m, commit);
                filter.matches(m) && group.iter().any(|r| r.entry == record.entry && r.device == record.device)
            };
            let Some(first) = group.first() else { continue };
            match history::manifests(repo, &self.options.branch, first.commit, &device) {
                Ok(found) => items.extend(found.into_iter().filter(|(_, m)| wanted(m, first.commit)).map(Ok)),
                Err(e) => items.push(Err(e)),
            }
        }
        items
    }

    /// Where a listing begins.
    fn cursor(&self, filter: &ListFilter) -> Result<Cursor> {
        self.handles.with(&self.layout, 1, |repo| {
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
