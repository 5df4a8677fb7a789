//! Sealing anew what is sealed under an earlier epoch key.
//!
//! New content is stored beside the old one, read back, opened and compared; then the manifest is replaced, in one step,
//! by one that names it; then the old content goes. Wherever this stops, a manifest names content that is whole.

use std::sync::Arc;

use devicevault_core::storage::ListFilter;
use devicevault_core::{Entry, Error, ErrorKind, Result, StorageRef};
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;

use super::Plain;
use super::chain::Form;
use super::layout::{self, Place};
use super::maintain::superseded;
use super::sealing::{Sealing, sealed_under};
use super::store::{Job, manifest_file, write_error};
use super::walk::Found;

/// What was done to a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resealed {
    /// The backup; what it was called before still names it.
    pub at: StorageRef,
    /// Whether it was written anew: otherwise it was sealed under the present epoch key already.
    pub changed: bool,
}

impl Plain {
    pub(super) fn reseal(self: Arc<Self>) -> BoxStream<'static, Result<Resealed>> {
        let begin = async move {
            let Form::Sealed(sealing) = self.form().await? else {
                return Err(Error::new(ErrorKind::Config, "seal anew", "this destination does not seal"));
            };
            let found = self.clone().whole(ListFilter::default());
            let (sealing, plain) = (Arc::new(*sealing), self.clone());
            let (beside, records) = (sealing.clone(), self.clone());
            let records = stream::once(async move {
                let seen = records.reseal_sightings(&beside).await;
                records.reseal_names(&beside).await.and(seen)
            });
            let each = found.then(move |found| {
                let (plain, sealing) = (self.clone(), sealing.clone());
                async move { plain.reseal_one(found?, &sealing).await }
            });
            // Last, so that what is listed does not change beneath the listing.
            let tidy = stream::once(async move { plain.remove_all_superseded().await });
            let last = records.chain(tidy).filter_map(|done| std::future::ready(done.err().map(Err)));
            Ok(each.chain(last))
        };
        stream::once(begin).try_flatten().boxed()
    }

    async fn reseal_one(self: &Arc<Self>, found: Found, sealing: &Sealing) -> Result<Resealed> {
        let content = layout::content_path(&found.at)?;
        let epoch = sealed_under(&found.record.manifest.transforms).map(str::to_owned);
        let done = |at: &Path, changed| Resealed { at: StorageRef(at.to_string()), changed };
        if epoch.as_deref().is_none_or(|epoch| epoch == sealing.epoch.to_string()) {
            return Ok(done(&content, false));
        }
        let at = layout::resealed(&content, sealing.epoch)?;
        let with = |e: Error| e.with("path", &content);
        let opened = self.unsealed(&content, &found.record).await.map_err(with)?;
        let here = self.file_of(&content).await?;
        let place = Place { content: at.clone(), manifest: here.manifest };
        let entry = Entry::new(found.record.manifest.clone());
        let job = Job { entry, body: Arc::new(opened), place, form: Form::Sealed(Box::new(sealing.clone())) };
        // One that was cut off may have left it whole.
        let written = match self.adopt(&job).await? {
            Some(written) => written,
            None => {
                self.put_content(&job, true).await.map_err(|e| of_content(e, &content))?;
                let back = || Error::new(ErrorKind::Corrupt, "seal anew", "what was written does not read back");
                self.adopt(&job).await?.ok_or_else(|| back().with("path", &at))?
            }
        };
        // Somebody may have deleted the backup meanwhile: then it is not to come back.
        if let Err(e) = self.file_of(&content).await {
            self.remove_each(vec![Some(at)]).await.into_iter().collect::<Result<Vec<()>>>()?;
            return Err(e);
        }
        let json = manifest_file(&job, written)?;
        self.put(&job.place.manifest, json, true).await.map_err(|e| write_error(&job.place.manifest, e))?;
        self.remove_each(vec![Some(content)]).await.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(done(&at, true))
    }

    /// What a call that was cut off before its last step left.
    async fn remove_all_superseded(self: &Arc<Self>) -> Result<()> {
        let mut folders = self.clone().folders();
        while let Some(objects) = folders.try_next().await? {
            for object in superseded(&objects?) {
                match self.file_of(&object.location).await {
                    Ok(found) if found.content != object.location => {
                        let removed = self.remove_each(vec![Some(object.location.clone())]).await;
                        removed.into_iter().collect::<Result<Vec<()>>>()?;
                    }
                    // What cannot be said of it is left alone.
                    Ok(_) | Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// A body that is not what its manifest says is damage of what is there.
fn of_content(e: Error, content: &Path) -> Error {
    match e.kind() {
        ErrorKind::Incomplete => {
            Error::new(ErrorKind::Corrupt, "seal anew", "its content is not what its manifest says")
                .with("path", content)
                .because(e)
        }
        _ => e,
    }
}
