//! An object that is uploaded in parts.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::LocalStore;
use super::place::{Content, Placement};
use super::staging::StagedWriter;
use super::store::{failed, lost};

/// Parts go into one file that has no name yet; completing it flushes and names it. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Upload {
    store: LocalStore,
    location: Path,
    /// Parts that are being written hold it too.
    file: Option<Arc<StagedWriter>>,
    next: u64,
}

impl Upload {
    pub(super) async fn begin(store: LocalStore, location: Path) -> Result<Self> {
        let file = Some(Arc::new(store.stage().await?));
        Ok(Self { store, location, file, next: 0 })
    }

    fn over(&self) -> object_store::Error {
        let why = io::Error::other("the upload is over, or a part of it is still being written");
        failed("upload object", self.location.as_ref(), why)
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    /// Writing begins at once, whether the future is polled or not.
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(file) = self.file.clone() else {
            let e = self.over();
            return Box::pin(std::future::ready(Err(e)));
        };
        let at = self.next;
        self.next += data.content_length() as u64;
        let path = self.location.to_string();
        let write = move || {
            let chunks: Vec<Bytes> = data.into_iter().collect();
            file.write_at(&chunks, at).map_err(|e| failed("write object", &path, e))
        };
        let running = tokio::task::spawn_blocking(write);
        Box::pin(async move { running.await.map_err(lost)? })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let file = self.file.take().and_then(Arc::into_inner).ok_or_else(|| self.over())?;
        let path = self.location.to_string();
        let finish = move || file.finish().map_err(|e| failed("flush object", &path, e));
        let staged = tokio::task::spawn_blocking(finish).await.map_err(lost)??;
        let placement = Placement { location: self.location.clone(), content: Content::Staged(staged), replace: true };
        let verdict = self.store.put_many(vec![vec![placement]]).await.into_iter().next();
        verdict.unwrap_or_else(|| Ok(Vec::new()))?.pop().ok_or_else(|| self.over())
    }

    async fn abort(&mut self) -> Result<()> {
        self.file = None;
        Ok(())
    }
}
