//! The folder of a server as the trait of object stores has it.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use devicevault_core::{Error, ErrorKind};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode, Result,
};

use super::fault::{link_in_the_way, not_a_folder, store_error};
use super::staging::{STAGING, Staged, StagedWriter};
use super::{FileKind, Found, RemoteStore, Server, get, list, remove, upload};
use crate::marker::MARKER;

#[async_trait]
impl<S: Server> ObjectStore for RemoteStore<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let replace = match &options.mode {
            PutMode::Overwrite => true,
            PutMode::Create => false,
            PutMode::Update(_) => return Err(not_implemented::<S>("put with PutMode::Update")),
        };
        if !options.attributes.is_empty() {
            return Err(not_implemented::<S>("put with attributes"));
        }
        refuse_reserved::<S>(location)?;
        let path = location.as_ref();
        let staged = Staged::of(self, payload.into(), false).await.map_err(|e| store_error(S::KIND, path, e))?;
        let found = match replace {
            true => self.name_over(staged, path).await?,
            false => self.name_new(staged, path).await?,
        };
        Ok(put_result(&found))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return Err(not_implemented::<S>("multipart upload with attributes"));
        }
        refuse_reserved::<S>(location)?;
        Ok(Box::new(upload::Upload::begin(self.clone(), location.clone()).await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        refuse_reserved::<S>(location)?;
        get::get(self, location, &options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        remove::stream(self.clone(), locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        list::all(self.clone(), prefix.map(|p| p.as_ref().to_owned()).unwrap_or_default())
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = prefix.map(|p| p.as_ref().to_owned()).unwrap_or_default();
        let mut found = list::folder(self, &folder).await?;
        // Whoever looks into it is told that it is a link.
        found.folders.append(&mut found.links);
        Ok(ListResult { common_prefixes: found.folders, objects: found.objects, extensions: Default::default() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        refuse_reserved::<S>(from)?;
        refuse_reserved::<S>(to)?;
        let replace = options.mode == CopyMode::Overwrite;
        // The protocols have no step for it: the bytes come here and go back.
        let _alone = self.0.copying.lock().await;
        let (meta, mut bytes) = get::open(self, from).await?;
        self.may_write(to.as_ref(), replace).await?;
        let fail = |e| store_error(S::KIND, from.as_ref(), e);
        let mut writer = StagedWriter::begin(self, false).await.map_err(fail)?;
        let mut copied = 0;
        loop {
            let sent = match futures::StreamExt::next(&mut bytes).await {
                None => break,
                Some(Ok(chunk)) => {
                    let chunk: Bytes = chunk;
                    copied += chunk.len() as u64;
                    writer.write(chunk).await
                }
                Some(Err(e)) => Err(e),
            };
            if let Err(e) = sent {
                writer.discard().await;
                return Err(fail(e));
            }
        }
        if copied != meta.size {
            writer.discard().await;
            return Err(fail(Error::new(ErrorKind::Incomplete, "copy object", "it changed while it was read")));
        }
        let staged = writer.finish().await.map_err(fail)?;
        match replace {
            true => self.name_over(staged, to.as_ref()).await.map(drop),
            false => self.name_new(staged, to.as_ref()).await.map(drop),
        }
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        refuse_reserved::<S>(from)?;
        refuse_reserved::<S>(to)?;
        let replace = options.target_mode == RenameTargetMode::Overwrite;
        let moved = self.move_object(from.as_ref(), to.as_ref(), replace).await;
        moved.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => store_error(S::KIND, to.as_ref(), e),
            _ => store_error(S::KIND, from.as_ref(), e),
        })
    }
}

impl<S: Server> RemoteStore<S> {
    /// Refuses what will not come to its name, before it is sent.
    pub(super) async fn may_write(&self, path: &str, replace: bool) -> Result<()> {
        let operation = "write object";
        let looked = self.look_at(operation, path).await.map_err(|e| store_error(S::KIND, path, e))?;
        let refusal = match looked.map(|f| f.kind) {
            None => return Ok(()),
            Some(FileKind::File | FileKind::Unknown) if replace => return Ok(()),
            Some(FileKind::Link) => link_in_the_way(operation, path),
            Some(FileKind::Folder | FileKind::Other) => not_a_folder(operation, path),
            Some(FileKind::File | FileKind::Unknown) => super::fault::there_already(operation, path),
        };
        Err(store_error(S::KIND, path, refusal))
    }
}

impl<S: Server> fmt::Display for RemoteStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

/// Whether this first component of a path is the store's own.
pub(super) fn is_reserved(first: &str) -> bool {
    first == STAGING || first == MARKER
}

/// Refuses what is the store's own, and the root itself.
pub(super) fn refuse_reserved<S: Server>(location: &Path) -> Result<()> {
    let path = location.as_ref();
    let first = path.split('/').next().unwrap_or_default();
    if path.is_empty() || is_reserved(first) {
        let e = Error::new(ErrorKind::Config, "use path", "the path is reserved for the store itself");
        return Err(store_error(S::KIND, path, e));
    }
    Ok(())
}

/// As good as size and time of change are.
pub(super) fn etag(found: &Found) -> Option<String> {
    let modified = found.modified?;
    Some(format!("\"{:x}-{:x}-{:x}\"", modified.timestamp(), modified.timestamp_subsec_nanos(), found.size))
}

pub(super) fn object_meta(location: Path, found: &Found) -> ObjectMeta {
    ObjectMeta {
        location,
        // What has no time is never old enough to be tidied away.
        last_modified: found.modified.unwrap_or(DateTime::<Utc>::MAX_UTC),
        size: found.size,
        e_tag: etag(found),
        version: None,
    }
}

pub(super) fn put_result(found: &Found) -> PutResult {
    PutResult { e_tag: etag(found), version: None, extensions: Default::default() }
}

fn not_implemented<S: Server>(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented { operation: operation.to_owned(), implementer: S::KIND.to_owned() }
}
