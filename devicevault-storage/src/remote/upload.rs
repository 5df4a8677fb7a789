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
    /// Parts that are being written hold it too.
    writer: Option<Arc<Place<S>>>,
    /// Is told when the last part has been written.
    last: Option<oneshot::Receiver<()>>,
}

/// The file, or why there is none any more: every part that comes later is told the same.
type Place<S> = Mutex<std::result::Result<StagedWriter<S>, Error>>;

impl<S: Server> Upload<S> {
    pub(super) async fn begin(store: RemoteStore<S>, location: Path) -> Result<Self> {
        store.may_write(location.as_ref(), true).await?;
        let writer = StagedWriter::begin(&store, false).await;
        let writer = writer.map_err(|e| store_error(S::KIND, location.as_ref(), e))?;
        Ok(Self { store, location, writer: Some(Arc::new(Mutex::new(Ok(writer)))), last: None })
    }
}

fn over<S: Server>(location: &Path) -> object_store::Error {
    store_error(S::KIND, location.as_ref(), ended())
}

fn ended() -> Error {
    Error::new(ErrorKind::Conflict, "upload object", "the upload is over")
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
            let failed = |e| Err(store_error(S::KIND, location.as_ref(), e));
            let mut file = match std::mem::replace(&mut *place, Err(ended())) {
                Ok(file) => file,
                Err(e) => {
                    *place = Err(e.clone());
                    return failed(e);
                }
            };
            for chunk in data {
                if let Err(e) = file.write(chunk).await {
                    *place = Err(e.clone());
                    file.discard().await;
                    return failed(e);
                }
            }
            *place = Ok(file);
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
        let path = self.location.as_ref();
        let file = std::mem::replace(&mut *writer.lock().await, Err(ended()));
        let file = file.map_err(|e| store_error(S::KIND, path, e))?;
        let staged = file.finish().await.map_err(|e| store_error(S::KIND, path, e))?;
        self.store.name_over(staged, path).await.map(|found| put_result(&found))
    }

    async fn abort(&mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        if let Some(last) = self.last.take() {
            let _ = last.await;
        }
        let file = std::mem::replace(&mut *writer.lock().await, Err(ended()));
        if let Ok(file) = file {
            file.discard().await;
        }
        Ok(())
    }
}
