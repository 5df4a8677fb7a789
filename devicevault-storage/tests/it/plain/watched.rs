//! A store in memory that tells what was asked of it.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};

/// A store that tells what was asked of it, and refuses what it is told to.
#[derive(Debug)]
pub(super) struct Watched {
    store: InMemory,
    pub(super) reads: Mutex<Vec<(Path, u64)>>,
    pub(super) writes: Mutex<Vec<Path>>,
    pub(super) refuse_keys: Mutex<bool>,
    /// So many more writes succeed.
    pub(super) left: Mutex<usize>,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watched")
    }
}

impl Watched {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            store: InMemory::new(),
            reads: Mutex::default(),
            writes: Mutex::default(),
            refuse_keys: Mutex::new(false),
            left: Mutex::new(usize::MAX),
        })
    }

    fn written(&self, location: &Path) -> object_store::Result<()> {
        if *self.refuse_keys.lock().unwrap() && location.as_ref().starts_with("keys/") {
            return Err(object_store::Error::PermissionDenied { path: location.to_string(), source: "no".into() });
        }
        let mut left = self.left.lock().unwrap();
        let gone = || object_store::Error::Generic { store: "watched", source: "it is gone".into() };
        *left = left.checked_sub(1).ok_or_else(gone)?;
        self.writes.lock().unwrap().push(location.clone());
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, at: &Path, what: PutPayload, how: PutOptions) -> object_store::Result<PutResult> {
        self.written(at)?;
        self.store.put_opts(at, what, how).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.written(at)?;
        self.store.put_multipart_opts(at, how).await
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> object_store::Result<GetResult> {
        let got = self.store.get_opts(at, how).await?;
        self.reads.lock().unwrap().push((at.clone(), got.range.end - got.range.start));
        Ok(got)
    }

    fn delete_stream(
        &self,
        which: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.store.delete_stream(which)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> object_store::Result<()> {
        self.store.copy_opts(from, to, how).await
    }
}
