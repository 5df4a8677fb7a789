//! An object that is uploaded in parts.

use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind};
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use tokio::sync::{Mutex, oneshot};

use super::fault::store_error;
use super::staging::StagedWriter;
use super::store::put_result;
use super::{RemoteStore, Server};

/// Parts go one after the other into a file that has no name yet; completing it closes and names it. The file keeps many
/// requests in flight, so that a part need not be there before the next is sent. Dropping the upload removes it.
#[derive(Debug)]
pub(super) struct Upload<S: Server> {
    store: RemoteStore<S>,
    location: Path,
    /// Parts that are being written hold it too. `None` within: a part failed.
    writer: Option<Arc<Mutex<Option<StagedWriter<S>>>>>,
    /// Is told when the last part has been written.
    last: Option<oneshot::Receiver<()>>,
}

impl<S: Server> Upload<S> {
    pub(super) async fn begin(store: RemoteStore<S>, location: Path) -> Result<Self> {
        store.may_write(location.as_ref(), true).await?;
        let writer = StagedWriter::begin(&store, false).await;
        let writer = writer.map_err(|e| store_error(S::KIND, location.as_ref(), e))?;
        Ok(Self { store, location, writer: Some(Arc::new(Mutex::new(Some(writer)))), last: None })
    }
}

fn over<S: Server>(location: &Path) -> object_store::Error {
    let why = "the upload is over, or a part of it failed";
    store_error(S::KIND, location.as_ref(), Error::new(ErrorKind::Conflict, "upload object", why))
}

#[async_trait]
impl<S: Server> MultipartUpload for Upload<S> {
    /// Writing begins at once, whether the future is polled or not; parts are written in the order of the calls.
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(writer) = self.writer.clone() else {
            let e = over::<S>(&self.location);
            return Box::pin(std::future::ready(Err(e)));
        };
        let (tell, told) = oneshot::channel();
        let (before, location) = (self.last.replace(told), self.location.clone());
        let running = tokio::spawn(async move {
            if let Some(before) = before {
                // Told, or dropped with a part that failed.
                let _ = before.await;
            }
            let mut place = writer.lock().await;
            let Some(mut file) = place.take() else { return Err(over::<S>(&location)) };
            for chunk in data {
                if let Err(e) = file.write(chunk).await {
                    file.discard().await;
                    return Err(store_error(S::KIND, location.as_ref(), e));
                }
            }
            *place = Some(file);
            drop(place);
            let _ = tell.send(());
            Ok(())
        });
        let location = self.location.clone();
        Box::pin(async move { running.await.unwrap_or_else(|_| Err(over::<S>(&location))) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let writer = self.writer.take().ok_or_else(|| over::<S>(&self.location))?;
        if let Some(last) = self.last.take() {
            let _ = last.await;
        }
        let file = writer.lock().await.take().ok_or_else(|| over::<S>(&self.location))?;
        let path = self.location.as_ref();
        let staged = file.finish().await.map_err(|e| store_error(S::KIND, path, e))?;
        self.store.name_over(staged, path).await.map(|found| put_result(&found))
    }

    async fn abort(&mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        if let Some(last) = self.last.take() {
            let _ = last.await;
        }
        if let Some(file) = writer.lock().await.take() {
            file.discard().await;
        }
        Ok(())
    }
}
