//! Reading backups and their manifests; deleting them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::{Body as _, ByteStream, Error, ErrorKind, Result, StorageRef};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetRange, ObjectStoreExt as _};

use super::envelope::{MAX_FILE, ManifestFile};
use super::record::{Record, Stored};
use super::sealing::sealed_under;
use super::{Plain, chain, layout};
use crate::codec::pieces;
use crate::fault;

/// How many manifests are read at once.
pub(super) const READS_AT_ONCE: usize = 8;

impl Plain {
    /// The record of a backup: its manifest, and what is stored.
    pub(super) async fn record(&self, at: &StorageRef) -> Result<Record> {
        let content = layout::content_path(at)?;
        let (manifest, file) = self.file_of(&content).await?;
        self.opened(file).await.map_err(|e| e.with("path", manifest))
    }

    /// The manifest file of this content, and where it is.
    pub(super) async fn file_of(&self, content: &Path) -> Result<(Path, ManifestFile)> {
        let mut missing = None;
        for manifest in layout::manifest_paths(content) {
            match self.load(&manifest).await {
                Ok((file, _)) if Some(file.stored().object.as_str()) == content.filename() => {
                    return Ok((manifest, file));
                }
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => missing = Some(e),
                Err(e) => return Err(e),
            }
        }
        let none =
            Error::new(ErrorKind::NotFound, "read manifest", "there is no such backup").with("reference", content);
        Err(missing.map_or_else(|| none.clone(), |e| none.clone().because(e)))
    }

    /// Reads a manifest file; also its length.
    pub(super) async fn load(&self, manifest: &Path) -> Result<(ManifestFile, u64)> {
        let fail = |e| fault::of_store("read manifest", manifest, e);
        let got = self.store.get(manifest).await.map_err(fail)?;
        let size = got.meta.size;
        if size > MAX_FILE {
            return Err(Error::new(ErrorKind::Corrupt, "read manifest", "it is too long to be one")
                .with("path", manifest)
                .with("size", size));
        }
        let json = got.bytes().await.map_err(fail)?;
        let file = ManifestFile::from_json(&json).map_err(|e| e.with("path", manifest))?;
        Ok((file, size))
    }

    /// The stored bytes of a backup, or a part of them. `Corrupt` when they are not there, or not all.
    pub(super) async fn stored(
        &self,
        content: &Path,
        expected: &Stored,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream<'static>> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let size_fault = |size: u64| {
            let why = format!("{size} bytes are stored, and the manifest says {}", expected.size);
            Error::new(ErrorKind::Corrupt, "read backup", why).with("path", content)
        };
        let got = match self.store.get_opts(content, options).await {
            Err(StoreError::NotFound { .. }) => {
                let why = "its bytes are gone, only the manifest is there";
                return Err(Error::new(ErrorKind::Corrupt, "read backup", why)
                    .with("path", content)
                    .hint("verify the destination, and store the backup again from another one"));
            }
            // A range may be refused because the object became too short for it.
            Err(e) => match self.store.head(content).await {
                Ok(meta) if meta.size != expected.size => return Err(size_fault(meta.size)),
                _ => return Err(fault::of_store("read backup", content, e)),
            },
            Ok(got) => got,
        };
        if got.meta.size != expected.size {
            return Err(size_fault(got.meta.size));
        }
        let path = content.clone();
        Ok(got.into_stream().map_err(move |e| fault::of_store("read backup", &path, e)).boxed())
    }

    pub(super) async fn read(
        self: &Arc<Self>,
        at: &StorageRef,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream<'static>> {
        let record = self.record(at).await?;
        let content = layout::content_path(at)?;
        let size = record.manifest.size;
        let wanted = range.map_or(0..size, |r| r.start.min(size)..r.end.min(size));
        let whole = wanted == (0..size);
        if chain::is_as_is(&record.manifest) && !whole {
            if wanted.is_empty() {
                return Ok(futures::stream::empty().boxed());
            }
            return self.stored(&content, &record.stored, Some(wanted)).await;
        }
        let path = content.clone();
        if !whole && sealed_under(&record.manifest.transforms).is_some() {
            let opened = self.unsealed(&content, &record).await.map_err(|e| e.with("path", &content))?;
            return Ok(opened.read(Some(wanted)).map_err(move |e| e.with("path", &path)).boxed());
        }
        let opened = self.view(&content, &record).await.map_err(|e| e.with("path", &content))?;
        let opened = opened.map_err(move |e| e.with("path", &path)).boxed();
        Ok(if whole { opened } else { part(opened, wanted, size) })
    }

    /// The view in stored content, whole and checked.
    pub(super) async fn view(self: &Arc<Self>, content: &Path, record: &Record) -> Result<ByteStream<'static>> {
        if sealed_under(&record.manifest.transforms).is_some() {
            let opened = self.unsealed(content, record).await?;
            return Ok(chain::checked(pieces(opened.read(None)), &record.manifest));
        }
        chain::out_of_store(self.stored(content, &record.stored, None).await?, &record.manifest)
    }

    pub(super) async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        // A reference that is not ours names nothing here, and what is missing is deleted.
        let contents: Vec<Option<Path>> = refs.iter().map(|at| layout::content_path(at).ok()).collect();
        let manifests: Vec<Result<Option<Path>>> = futures::stream::iter(contents.clone())
            .map(|content| async move {
                match content {
                    Some(content) => self.manifest_of(&content).await,
                    None => Ok(None),
                }
            })
            .buffered(READS_AT_ONCE)
            .collect()
            .await;
        // The manifest first: without it there is no backup, whatever else is left.
        let removed = self.remove_each(manifests.iter().map(|m| m.as_ref().ok().cloned().flatten()).collect()).await;
        let verdicts: Vec<Result<()>> =
            manifests.into_iter().zip(removed).map(|(found, gone)| found.and(gone)).collect();
        let bare = verdicts.iter().zip(contents).map(|(v, content)| content.filter(|_| v.is_ok())).collect();
        let removed = self.remove_each(bare).await;
        verdicts.into_iter().zip(removed).map(|(manifest, content)| manifest.and(content)).collect()
    }

    /// The manifest of this content, where there is one; a damaged one counts.
    async fn manifest_of(&self, content: &Path) -> Result<Option<Path>> {
        for manifest in layout::manifest_paths(content) {
            match self.load(&manifest).await {
                Ok((file, _)) if Some(file.stored().object.as_str()) == content.filename() => {
                    return Ok(Some(manifest));
                }
                Err(e) if e.kind() == ErrorKind::Corrupt => return Ok(Some(manifest)),
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Removes objects; a verdict each, in order. What is missing, or not named, is removed.
    pub(super) async fn remove_each(&self, objects: Vec<Option<Path>>) -> Vec<Result<()>> {
        let named: Vec<_> = objects.iter().flatten().cloned().map(Ok).collect();
        let mut done = self.store.delete_stream(futures::stream::iter(named).boxed());
        let mut verdicts = Vec::with_capacity(objects.len());
        for object in objects {
            let Some(path) = object else {
                verdicts.push(Ok(()));
                continue;
            };
            verdicts.push(match done.next().await {
                Some(Ok(_) | Err(StoreError::NotFound { .. })) => Ok(()),
                Some(Err(e)) => Err(fault::of_store("delete backup", path, e)),
                None => {
                    let why = "the store gave no answer";
                    Err(Error::new(ErrorKind::Unavailable, "delete backup", why).with("path", path))
                }
            });
        }
        verdicts
    }
}

/// A part of a stream. A part that goes to the end reads the stream to its end, so that its checks apply.
fn part(stream: ByteStream<'static>, wanted: Range<u64>, size: u64) -> ByteStream<'static> {
    let to_the_end = wanted.end == size;
    let start = Some((stream, 0_u64));
    futures::stream::try_unfold(start, move |state| {
        let wanted = wanted.clone();
        async move {
            let Some((mut stream, mut at)) = state else { return Ok(None) };
            while at < wanted.end || to_the_end {
                let Some(chunk) = stream.try_next().await? else { break };
                let chunk: Bytes = chunk;
                let len = chunk.len() as u64;
                let (from, to) = (wanted.start.clamp(at, at + len) - at, wanted.end.clamp(at, at + len) - at);
                at += len;
                if from < to {
                    // Both are at most the length of a chunk in memory, so they fit a usize.
                    let piece = chunk.slice(from as usize..to as usize);
                    return Ok(Some((piece, Some((stream, at)))));
                }
            }
            Ok(None)
        }
    })
    .boxed()
}
