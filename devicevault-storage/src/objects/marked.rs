//! A store that is the home of a destination.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::{Clock, DestinationId, Error, ErrorKind, Result};
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result as StoreResult,
};
use tokio::sync::Mutex;

use super::StoreUrl;
use crate::fault;
use crate::marker::{MARKER, MAX_MARKER, Marker};

/// That something is not there is believed for so long after the marker was seen.
const TRUST: Duration = Duration::from_secs(10);

/// A store that holds an object which names its destination. Until that was seen nothing is read, written or listed: what
/// is looked for in a wrong or emptied bucket must not pass for lost, and what belongs to one destination must not be
/// written at another's place. It is looked for again when an object is not found a while later. Cloning is cheap.
#[derive(Clone)]
pub struct MarkedStore(Arc<Marked>);

struct Marked {
    store: Arc<dyn ObjectStore>,
    url: StoreUrl,
    destination: DestinationId,
    clock: Arc<dyn Clock>,
    /// When the marker was last seen, in milliseconds of the monotonic clock and one more; 0 is never.
    seen: AtomicU64,
    /// One call looks, the others wait for it.
    looking: Mutex<()>,
}

impl MarkedStore {
    /// Makes a store the home of a destination: puts the marker where there is none. Of two at once, both find the same.
    ///
    /// # Errors
    /// `Conflict` when it belongs to another destination; what the store answers.
    pub async fn init(
        store: Arc<dyn ObjectStore>,
        url: &StoreUrl,
        destination: &DestinationId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let marked = Self::open(store, url, destination, clock);
        let this = &marked.0;
        if find(&*this.store, url).await?.is_none() {
            let json = PutPayload::from(Marker::of(destination).to_json());
            let at = Path::from(MARKER);
            let made = match this.store.put_opts(&at, json.clone(), PutMode::Create.into()).await {
                Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => {
                    this.store.put(&at, json).await.map(drop)
                }
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(()),
                other => other.map(drop),
            };
            made.map_err(|e| match fault::of_store("mark destination", url, e) {
                // A marker can only be missing its bucket.
                e if e.kind() == ErrorKind::NotFound => {
                    Error::new(ErrorKind::Unavailable, "mark destination", "the bucket is not there")
                        .with("url", url)
                        .hint("make it first, by the means of its provider")
                        .because(e)
                }
                e => e,
            })?;
        }
        this.look().await?;
        Ok(marked)
    }

    /// A store that [`init`](Self::init) has made a home; the first call finds out whether it is.
    #[must_use]
    pub fn open(
        store: Arc<dyn ObjectStore>,
        url: &StoreUrl,
        destination: &DestinationId,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Marked {
            store,
            url: url.clone(),
            destination: destination.clone(),
            clock,
            seen: AtomicU64::new(0),
            looking: Mutex::new(()),
        }))
    }

    /// A store as it lies there, to read what it holds: nothing is looked for that says whose it is.
    /// [`marked`](Self::marked) tells it.
    #[must_use]
    pub fn unmarked(
        store: Arc<dyn ObjectStore>,
        url: &StoreUrl,
        destination: &DestinationId,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let this = Self::open(store, url, destination, clock);
        this.0.seen.store(u64::MAX, Ordering::Release);
        this
    }

    /// The destination that the store's marker names now; `None` where there is none.
    ///
    /// # Errors
    /// `Corrupt` when its marker is damaged; what the store answers.
    pub async fn marked(&self) -> Result<Option<DestinationId>> {
        Self::destination_of(&*self.0.store, &self.0.url).await
    }

    /// The destination that it is opened as.
    #[must_use]
    pub fn destination(&self) -> &DestinationId {
        &self.0.destination
    }

    /// The destination that a store is the home of; `None` where it is none's.
    ///
    /// # Errors
    /// `Corrupt` when its marker is damaged; what the store answers.
    pub async fn destination_of(store: &dyn ObjectStore, url: &StoreUrl) -> Result<Option<DestinationId>> {
        Ok(find(store, url).await?.map(|marker| marker.destination))
    }
}

impl Marked {
    /// Sees to it that the marker was seen.
    async fn ready(&self) -> StoreResult<()> {
        if self.seen.load(Ordering::Acquire) > 0 {
            return Ok(());
        }
        let _alone = self.looking.lock().await;
        if self.seen.load(Ordering::Acquire) > 0 {
            return Ok(());
        }
        self.look().await.map_err(of_destination)
    }

    /// Sees to it that the marker was seen a short while ago.
    async fn still_there(&self) -> StoreResult<()> {
        let is_fresh = || {
            let seen = Duration::from_millis(self.seen.load(Ordering::Acquire));
            self.clock.monotonic() < seen.saturating_add(TRUST)
        };
        if is_fresh() {
            return Ok(());
        }
        let _alone = self.looking.lock().await;
        if is_fresh() {
            return Ok(());
        }
        self.look().await.map_err(of_destination)
    }

    async fn look(&self) -> Result<()> {
        // Another text in its place is one of the way there, or of what the place is now: it says nothing of the copies.
        let found = find(&*self.store, &self.url).await.map_err(|e| match e.kind() {
            ErrorKind::Corrupt => e.as_kind(ErrorKind::Unavailable),
            _ => e,
        });
        let Some(marker) = found? else {
            self.seen.store(0, Ordering::Release);
            return Err(Error::new(
                ErrorKind::Unavailable,
                "open destination",
                format!("there is no {MARKER}: the place is not there, or is not this destination's"),
            )
            .with("url", &self.url)
            .with("destination", &self.destination)
            .hint(
                "check URL, endpoint and prefix; where its marker was lost, `devicevault destination test NAME --repair` lays \
                 it there again; `devicevault destination add` makes a new place a destination",
            ));
        };
        marker.check(&self.destination, &self.url)?;
        let now = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX - 1);
        self.seen.store(now + 1, Ordering::Release);
        Ok(())
    }
}

async fn find(store: &dyn ObjectStore, url: &StoreUrl) -> Result<Option<Marker>> {
    let fail = |e| fault::of_store("read destination marker", url, e);
    let got = match store.get(&Path::from(MARKER)).await {
        Err(StoreError::NotFound { .. }) => return Ok(None),
        other => other.map_err(fail)?,
    };
    let mut json = Vec::new();
    let mut stream = got.into_stream();
    while let Some(chunk) = stream.try_next().await.map_err(fail)? {
        json.extend_from_slice(&chunk);
        if json.len() as u64 > MAX_MARKER {
            break;
        }
    }
    Marker::from_json(&json, url).map(Some)
}

/// An error of the destination itself, on its way through the trait of stores.
fn of_destination(e: Error) -> StoreError {
    StoreError::Generic { store: "destination", source: Box::new(e) }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for MarkedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.0.ready().await?;
        self.0.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.0.ready().await?;
        self.0.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.0.ready().await?;
        let got = self.0.store.get_opts(location, options).await;
        if let Err(StoreError::NotFound { .. }) = &got {
            self.0.still_there().await?;
        }
        got
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.0.ready().await?;
        self.0.store.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        let this = self.0.clone();
        let begin = async move { this.ready().await.map(|()| this.store.delete_stream(locations)) };
        stream::once(begin).try_flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let (this, prefix) = (self.0.clone(), prefix.cloned());
        let begin = async move { this.ready().await.map(|()| this.store.list(prefix.as_ref())) };
        stream::once(begin).try_flatten().boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let (this, prefix, offset) = (self.0.clone(), prefix.cloned(), offset.clone());
        let begin = async move { this.ready().await.map(|()| this.store.list_with_offset(prefix.as_ref(), &offset)) };
        stream::once(begin).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.0.ready().await?;
        self.0.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.0.ready().await?;
        self.0.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> StoreResult<()> {
        self.0.ready().await?;
        self.0.store.rename_opts(from, to, options).await
    }
}

impl fmt::Display for MarkedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.url, f)
    }
}

/// The store behind it is not shown: what it holds is its business.
impl fmt::Debug for MarkedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarkedStore")
            .field("url", &self.0.url)
            .field("destination", &self.0.destination)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use devicevault_testkit::clock::ManualClock;
    use object_store::memory::InMemory;

    use super::*;

    fn url() -> StoreUrl {
        "s3://bucket/prefix".parse().unwrap()
    }

    #[tokio::test]
    async fn nothing_is_done_at_a_place_that_is_not_the_destinations() {
        let (store, clock): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), Arc::new(ManualClock::default()));
        let open = |id: &str| MarkedStore::open(store.clone(), &url(), &id.into(), clock.clone());
        let at = Path::from("a/b");
        let told = |e: StoreError| fault::of_store("look", "a/b", e);
        let e = told(open("main").put(&at, "x".into()).await.unwrap_err());
        assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
        assert!(e.hint_text().is_some());
        let listed: Result<Vec<_>, _> = open("main").list(None).try_collect().await;
        assert!(listed.is_err() && store.head(&at).await.is_err());
        let main = MarkedStore::init(store.clone(), &url(), &"main".into(), clock.clone()).await.unwrap();
        main.put(&at, "x".into()).await.unwrap();
        assert_eq!(MarkedStore::destination_of(&*store, &url()).await.unwrap(), Some("main".into()));
        open("main").get(&at).await.unwrap();
        assert_eq!(told(open("other").get(&at).await.unwrap_err()).kind(), ErrorKind::Conflict);
        let e = MarkedStore::init(store.clone(), &url(), &"other".into(), clock.clone()).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Conflict);
    }

    #[tokio::test]
    async fn what_lies_there_without_a_marker_can_be_looked_at() {
        let (store, clock): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), Arc::new(ManualClock::default()));
        let main = MarkedStore::init(store.clone(), &url(), &"main".into(), clock.clone()).await.unwrap();
        main.put(&Path::from("a/b"), "x".into()).await.unwrap();
        let bare = MarkedStore::unmarked(store.clone(), &url(), &"main".into(), clock.clone());
        assert_eq!(bare.marked().await.unwrap(), Some("main".into()));
        store.delete(&Path::from(MARKER)).await.unwrap();
        clock.advance(TRUST * 2);
        assert_eq!(bare.marked().await.unwrap(), None);
        bare.head(&Path::from("a/b")).await.unwrap();
        assert!(matches!(bare.head(&Path::from("a/c")).await, Err(StoreError::NotFound { .. })));
        assert_eq!(bare.list(None).count().await, 1);
    }

    #[tokio::test]
    async fn an_emptied_place_is_not_one_of_lost_objects() {
        let (store, clock): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), Arc::new(ManualClock::default()));
        let main = MarkedStore::init(store.clone(), &url(), &"main".into(), clock.clone()).await.unwrap();
        let at = Path::from("a/b");
        assert!(matches!(main.get(&at).await, Err(StoreError::NotFound { .. })));
        store.delete(&Path::from(MARKER)).await.unwrap();
        clock.advance(TRUST + Duration::from_secs(1));
        let e = fault::of_store("look", "a/b", main.get(&at).await.unwrap_err());
        assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
    }

    #[tokio::test]
    async fn a_marker_of_any_other_form_is_told() {
        let (store, clock): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), Arc::new(ManualClock::default()));
        let huge = vec![b' '; MAX_MARKER as usize + 1];
        for bad in [b"".as_slice(), b"{}", b"\xff", &huge] {
            store.put(&Path::from(MARKER), PutPayload::from(bad.to_vec())).await.unwrap();
            let main = MarkedStore::open(store.clone(), &url(), &"main".into(), clock.clone());
            let e = fault::of_store("look", "a", main.get(&Path::from("a")).await.unwrap_err());
            // It says nothing of the copies, as damage would.
            assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
            assert!(e.to_string().contains("not a marker"), "{e}");
        }
    }
}
