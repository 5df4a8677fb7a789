//! The folder as the trait of object stores has it.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::{BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode, Result,
};

use super::place::{Content, Placement, replaces};
use super::staging::STAGING;
use super::{LocalStore, get, list, marker, remove, upload};

/// How many deletions share their flushes.
const DELETIONS_AT_ONCE: usize = 128;

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let replace = replaces(&options.mode)?;
        if !options.attributes.is_empty() {
            return Err(not_implemented("put with attributes"));
        }
        let placement = Placement { location: location.clone(), content: Content::Bytes(payload.into()), replace };
        let verdict = self.put_many(vec![vec![placement]]).await.into_iter().next();
        let mut placed = verdict.unwrap_or_else(|| Ok(Vec::new()))?;
        placed.pop().ok_or_else(|| failed("write object", location.as_ref(), io::Error::other("no verdict")))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return Err(not_implemented("multipart upload with attributes"));
        }
        refuse_reserved(location)?;
        Ok(Box::new(upload::Upload::begin(self.clone(), location.clone()).await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        refuse_reserved(location)?;
        get::get(self.clone(), location.clone(), options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .ready_chunks(DELETIONS_AT_ONCE)
            .then(move |batch| {
                let store = store.clone();
                async move { futures::stream::iter(remove::remove(store, batch).await) }
            })
            .flatten()
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        list::all(self.clone(), prefix.map(|p| p.as_ref().to_owned()).unwrap_or_default())
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = prefix.map(|p| p.as_ref().to_owned()).unwrap_or_default();
        let mut found = list::folder(self.clone(), folder).await?;
        // Whoever looks into it is told that it is a link.
        found.folders.append(&mut found.links);
        Ok(ListResult { common_prefixes: found.folders, objects: found.objects, extensions: Default::default() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        refuse_reserved(from)?;
        let replace = options.mode == CopyMode::Overwrite;
        let content = Content::Staged(get::copy_to_staging(self.clone(), from.clone()).await?);
        let placement = Placement { location: to.clone(), content, replace };
        self.put_many(vec![vec![placement]]).await.into_iter().collect::<Result<Vec<_>>>().map(drop)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        refuse_reserved(from)?;
        refuse_reserved(to)?;
        let replace = options.target_mode == RenameTargetMode::Overwrite;
        let (store, from, to) = (self.clone(), from.clone(), to.clone());
        tokio::task::spawn_blocking(move || remove::rename(&store, &from, &to, replace)).await.map_err(lost)?
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.folder().display())
    }
}

/// Whether this first component of a path is the store's own.
pub(super) fn is_reserved(first: &str) -> bool {
    first == STAGING || first == marker::MARKER
}

/// Refuses what is the store's own, and the root itself.
pub(super) fn refuse_reserved(location: &Path) -> Result<()> {
    let path = location.as_ref();
    let first = path.split('/').next().unwrap_or_default();
    if path.is_empty() || is_reserved(first) {
        let why = io::Error::new(io::ErrorKind::InvalidInput, "the path is reserved for the store itself");
        return Err(failed("use path", path, why));
    }
    Ok(())
}

/// Like a web server's: changes whenever the file is replaced.
pub(super) fn etag(meta: &Metadata) -> String {
    format!("\"{:x}-{:x}-{:x}-{:x}\"", meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len())
}

pub(super) fn object_meta(location: Path, meta: &Metadata) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: modified(meta.mtime(), meta.mtime_nsec()),
        size: meta.len(),
        e_tag: Some(etag(meta)),
        version: None,
    }
}

pub(super) fn modified(seconds: i64, nanos: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, u32::try_from(nanos).unwrap_or(0)).unwrap_or_default()
}

/// What an error of the file system is to a caller of the trait.
pub(super) fn failed(operation: &'static str, path: &str, e: io::Error) -> Error {
    let kind = e.kind();
    let source = Box::new(FolderError { operation, path: path.to_owned(), source: e });
    match kind {
        io::ErrorKind::NotFound => Error::NotFound { path: path.to_owned(), source },
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: path.to_owned(), source },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path: path.to_owned(), source },
        _ => Error::Generic { store: "folder", source },
    }
}

pub(super) fn lost(e: tokio::task::JoinError) -> Error {
    Error::Generic { store: "folder", source: Box::new(e) }
}

pub(super) fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "folder".to_owned() }
}

#[derive(Debug)]
struct FolderError {
    operation: &'static str,
    path: String,
    source: io::Error,
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {:?}", self.operation, self.path)
    }
}

impl std::error::Error for FolderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
