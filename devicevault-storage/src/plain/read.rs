//! Reading backups and their manifests; deleting them.

use std::collections::HashSet;
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

/// How many manifests are read at once: on a disk, and a network away.
const READS_AT_ONCE: (usize, usize) = (8, 32);

impl Plain {
    /// How many manifests are read at once.
    pub(super) fn reads_at_once(&self) -> usize {
        if self.in_folder() { READS_AT_ONCE.0 } else { READS_AT_ONCE.1 }
    }

    /// A backup: where its content is, and its record. Of one that was sealed anew, the reference names content of before.
    pub(super) async fn located(&self, at: &StorageRef) -> Result<(Path, Record)> {
        let found = self.file_of(&layout::content_path(at)?).await?;
        let record = self.opened(found.file).await.map_err(|e| e.with("path", found.manifest))?;
        Ok((found.content, record))
    }

    /// The manifest file of this content.
    pub(super) async fn file_of(&self, content: &Path) -> Result<ManifestOf> {
        let (mut missing, mut foreign) = (None, None);
        for manifest in layout::manifest_paths(content) {
            match self.load(&manifest).await {
                Ok((file, _)) => {
                    if let Some(content) = same_backup(content, &manifest, file.stored()) {
                        return Ok(ManifestOf { content, manifest, file });
                    }
                    foreign = foreign.or(layout::content_of(&manifest, &file.stored().object).err());
                }
                Err(e) if e.kind() == ErrorKind::NotFound => missing = Some(e),
                Err(e) => return Err(e),
            }
        }
        if let Some(foreign) = foreign {
            return Err(foreign);
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
        let (content, record) = self.located(at).await?;
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
        let found: Vec<Result<Option<Doomed>>> = futures::stream::iter(contents.clone())
            .map(|content| async move {
                match content {
                    Some(content) => self.doomed(&content).await,
                    None => Ok(None),
                }
            })
            .buffered(self.reads_at_once())
            .collect()
            .await;
        // The manifest first: without it there is no backup, whatever else is left.
        let named = |f: &Result<Option<Doomed>>| f.as_ref().ok().and_then(Option::as_ref).map(|d| d.manifest.clone());
        let removed = self.remove_each(found.iter().map(named).collect()).await;
        let verdicts: Vec<Result<()>> = found
            .iter()
            .zip(removed)
            .map(|(found, gone)| found.as_ref().map(drop).map_err(Clone::clone).and(gone))
            .collect();
        let bare = verdicts.iter().zip(contents).map(|(v, content)| content.filter(|_| v.is_ok())).collect();
        let removed = self.remove_each(bare).await;
        // Of one that was sealed anew, the content has another name than the reference.
        let moved = |f: Result<Option<Doomed>>| f.ok().flatten().and_then(|d| d.moved);
        let moved = found.into_iter().zip(&verdicts).map(|(f, v)| moved(f).filter(|_| v.is_ok())).collect();
        let removed = removed.into_iter().zip(self.remove_each(moved).await).map(|(a, b)| a.and(b));
        verdicts.into_iter().zip(removed).map(|(manifest, content)| manifest.and(content)).collect()
    }

    /// What goes with this content; a damaged manifest counts.
    async fn doomed(&self, content: &Path) -> Result<Option<Doomed>> {
        for manifest in layout::manifest_paths(content) {
            match self.load(&manifest).await {
                Ok((file, _)) => {
                    if let Some(at) = same_backup(content, &manifest, file.stored()) {
                        return Ok(Some(Doomed { manifest, moved: Some(at).filter(|at| at != content) }));
                    }
                }
                Err(e) if e.kind() == ErrorKind::Corrupt => return Ok(Some(Doomed { manifest, moved: None })),
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Removes objects; a verdict each, in order. What is missing, or not named, is removed.
    pub(super) async fn remove_each(&self, objects: Vec<Option<Path>>) -> Vec<Result<()>> {
        let named: Vec<Path> = objects.iter().flatten().cloned().collect();
        let deleting = self.store.delete_stream(futures::stream::iter(named.clone().into_iter().map(Ok)).boxed());
        let done: Vec<_> = deleting.collect().await;
        let of_named: Vec<Result<()>> = if done.len() == named.len() {
            named.iter().zip(done).map(|(path, done)| gone(path, done)).collect()
        } else {
            // A store that deletes many in one request gives one answer when that fails.
            let (mut confirmed, mut failure) = (HashSet::new(), None);
            for done in done {
                match done {
                    Ok(path) => drop(confirmed.insert(path)),
                    Err(e) => failure = failure.or(Some(e)),
                }
            }
            let silent = || Error::new(ErrorKind::Unavailable, "delete backup", "the store gave no answer");
            let failure = failure.map_or_else(silent, |e| fault::of_store("delete backup", &self.store, e));
            let verdict = |path: &Path| if confirmed.contains(path) { Ok(()) } else { Err(failure.clone()) };
            named.iter().map(verdict).collect()
        };
        let mut of_named = of_named.into_iter();
        objects.into_iter().map(|object| object.and_then(|_| of_named.next()).unwrap_or(Ok(()))).collect()
    }
}

fn gone(path: &Path, done: std::result::Result<Path, StoreError>) -> Result<()> {
    match done {
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(e) => Err(fault::of_store("delete backup", path, e)),
    }
}

/// The manifest file of some content.
pub(super) struct ManifestOf {
    /// Where the content is.
    pub(super) content: Path,
    pub(super) manifest: Path,
    pub(super) file: ManifestFile,
}

/// What goes with a backup.
struct Doomed {
    manifest: Path,
    /// The content, where it has another name than the reference.
    moved: Option<Path>,
}

/// Where a manifest says that its content is, if it is the manifest of this content, or of what takes its place.
fn same_backup(content: &Path, manifest: &Path, stored: &Stored) -> Option<Path> {
    let at = layout::sibling(manifest, &stored.object)?;
    let of_family = layout::family(at.as_ref()).is_some_and(|f| Some(f) == layout::family(content.as_ref()));
    (at == *content || of_family).then_some(at)
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
