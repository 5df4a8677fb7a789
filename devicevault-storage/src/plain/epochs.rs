//! Which epoch keys what is stored needs.

use std::sync::Arc;

use devicevault_core::{ErrorKind, Result};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::envelope::ManifestFile;
use super::sealing::epoch_of;
use super::{Plain, layout};
use crate::seal::EpochId;

impl Plain {
    pub(super) fn epochs(self: Arc<Self>) -> BoxStream<'static, Result<EpochId>> {
        let (plain, at_once) = (self.clone(), self.reads_at_once());
        let of_folder = move |objects: Result<Vec<ObjectMeta>>| {
            let objects = match objects {
                Ok(objects) => objects,
                Err(e) => return futures::stream::iter([Err(e)]).boxed(),
            };
            let plain = plain.clone();
            futures::stream::iter(objects.into_iter().filter(|o| layout::is_manifest(o.location.as_ref())))
                .map(move |manifest| plain.clone().epoch_at(manifest.location))
                .buffered(at_once)
                .try_filter_map(|found| std::future::ready(Ok(found)))
                .boxed()
        };
        self.folders().map_ok(of_folder).try_flatten().boxed()
    }

    /// A container and its manifest are sealed in one step, under one epoch key.
    async fn epoch_at(self: Arc<Self>, manifest: Path) -> Result<Option<EpochId>> {
        match self.load(&manifest).await {
            Ok((ManifestFile::Sealed(envelope), _)) => Ok(epoch_of(&envelope.container).ok()),
            Ok((ManifestFile::Clear(_), _)) => Ok(None),
            // Deleted since the folder was read; damaged, which is for verification to tell.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
