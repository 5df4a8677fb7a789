//! Reading objects.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, GetResultPayload, Result};

use super::LocalStore;
use super::root::{open_file, split};
use super::staging::{StagedFile, StagedWriter};
use super::store::{failed, lost, object_meta};

/// Read at a time; what is not longer is read together with opening it.
const PIECE: u64 = 256 * 1024;

pub(super) async fn get(store: LocalStore, location: Path, options: GetOptions) -> Result<GetResult> {
    tokio::task::spawn_blocking(move || get_now(&store, location, &options)).await.map_err(lost)?
}

fn get_now(store: &LocalStore, location: Path, options: &GetOptions) -> Result<GetResult> {
    let path = location.to_string();
    let fail = |e| failed("read object", &path, e);
    let file = open(store, &path).map_err(fail)?;
    let meta = object_meta(location, &file.metadata().map_err(fail)?);
    options.check_preconditions(&meta)?;
    let range = match &options.range {
        Some(r) => {
            r.as_range(meta.size).map_err(|e| object_store::Error::Generic { store: "folder", source: Box::new(e) })?
        }
        None => 0..meta.size,
    };
    let payload = if options.head {
        futures::stream::empty().boxed()
    } else if range.end - range.start <= PIECE {
        let bytes = read_piece(&file, &path, range.clone())?;
        futures::stream::iter([Ok(bytes)]).boxed()
    } else {
        stream(file, path, range.clone())
    };
    Ok(GetResult {
        payload: GetResultPayload::Stream(payload),
        meta,
        range,
        attributes: Default::default(),
        extensions: Default::default(),
    })
}

fn open(store: &LocalStore, path: &str) -> io::Result<File> {
    let (folder, name) = split(path);
    let dir = match store.root.dir(folder) {
        // A file where a folder should be: then there is no such object.
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Err(io::ErrorKind::NotFound.into()),
        other => other?,
    };
    open_file(&dir, name)
}

fn stream(file: File, path: String, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    let file = Arc::new(file);
    futures::stream::try_unfold(range, move |rest| {
        let (file, path) = (file.clone(), path.clone());
        async move {
            if rest.is_empty() {
                return Ok(None);
            }
            let piece = rest.start..rest.end.min(rest.start + PIECE);
            let next = piece.end..rest.end;
            let read = tokio::task::spawn_blocking(move || read_piece(&file, &path, piece)).await.map_err(lost)?;
            Ok(Some((read?, next)))
        }
    })
    .boxed()
}

/// Reads all of a range that is at most [`PIECE`] long.
fn read_piece(file: &File, path: &str, range: Range<u64>) -> Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    file.read_exact_at(&mut buffer, range.start).map_err(|e| failed("read object", path, e))?;
    Ok(buffer.into())
}

/// Copies an object into a file that has no name yet.
pub(super) async fn copy_to_staging(store: LocalStore, from: Path) -> Result<StagedFile> {
    let work = move || {
        let copy = || {
            let mut source = open(&store, from.as_ref())?;
            let mut writer = StagedWriter::create(store.area()?)?;
            writer.fill(&mut source)?;
            writer.finish()
        };
        copy().map_err(|e| failed("copy object", from.as_ref(), e))
    };
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}
