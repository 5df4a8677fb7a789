//! Questions to any catalog that are asked in several steps.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};

use super::{Catalog, Page, Paged, Query, RunQuery};
use crate::run::{Backup, Copy, CopyStatus, Run};
use crate::storage::Recorded;
use crate::{DestinationId, Result, StorageRef};

/// As many are asked for at a time: enough that questions do not count, few enough for memory.
const PAGE: u32 = 500;

/// What is asked of every catalog, of one's own too: all that a query finds, or the newest of it.
///
/// ```
/// use devicevault_core::catalog::{Catalog, CatalogExt as _, Query};
/// use futures::TryStreamExt as _;
///
/// async fn bytes_kept(catalog: &dyn Catalog) -> devicevault_core::Result<u64> {
///     let query = Query::default();
///     let mut backups = catalog.every(&query);
///     let mut bytes = 0;
///     while let Some(backup) = backups.try_next().await? {
///         bytes += backup.size;
///     }
///     Ok(bytes)
/// }
/// ```
pub trait CatalogExt: Catalog {
    /// Every backup that a query finds, newest first; asked for page by page while the stream is read, so that
    /// memory holds one page. After an error nothing more comes.
    fn every<'a>(&'a self, query: &'a Query) -> BoxStream<'a, Result<Backup>> {
        walk(move |page| self.find(query, page))
    }

    /// Every run that a query finds, as [`every`](CatalogExt::every) does.
    fn every_run<'a>(&'a self, query: &'a RunQuery) -> BoxStream<'a, Result<Run>> {
        walk(move |page| self.runs(query, page))
    }

    /// The newest backup that a query finds.
    fn newest<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Option<Backup>>> {
        Box::pin(async move { Ok(self.find(query, Page::first(1)).await?.items.pop()) })
    }

    /// The newest run that a query finds.
    fn newest_run<'a>(&'a self, query: &'a RunQuery) -> BoxFuture<'a, Result<Option<Run>>> {
        Box::pin(async move { Ok(self.runs(query, Page::first(1)).await?.items.pop()) })
    }
}

impl<C: Catalog + ?Sized> CatalogExt for C {}

/// What a catalog names at a destination, for [`Budget::recorded`](crate::storage::Budget::recorded): copies that are not
/// to be deleted.
#[must_use]
pub fn recorded_at(catalog: Arc<dyn Catalog>, destination: DestinationId) -> Recorded {
    Recorded::new(move |places: HashSet<StorageRef>| {
        let (catalog, destination) = (catalog.clone(), destination.clone());
        async move {
            let query = Query { destination: Some(destination.clone()), ..Query::default() };
            let (mut all, mut named) = (catalog.every(&query), HashSet::new());
            while let Some(backup) = all.try_next().await? {
                let stays = |c: &&Copy| c.destination == destination && c.status != CopyStatus::Marked;
                let here = backup.copies.iter().filter(stays).filter_map(|c| c.storage_ref.as_ref());
                named.extend(here.filter(|at| places.contains(at)).cloned());
            }
            Ok(named)
        }
    })
}

fn walk<'a, T, F>(look: impl Fn(Page) -> F + Send + 'a) -> BoxStream<'a, Result<T>>
where
    T: Send + 'a,
    F: Future<Output = Result<Paged<T>>> + Send + 'a,
{
    let pages = stream::try_unfold(Some(Page::first(PAGE)), move |page| {
        let found = page.map(&look);
        async move {
            let Some(found) = found else { return Ok(None) };
            let found = found.await?;
            let next = found.next.map(|cursor| Page::after(PAGE, cursor));
            Ok(Some((stream::iter(found.items.into_iter().map(Ok)), next)))
        }
    });
    pages.try_flatten().boxed()
}
