//! Reading objects.

use std::ops::Range;

use bytes::BytesMut;
use devicevault_core::{ByteStream, Error, ErrorKind};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, GetResultPayload, ObjectMeta, Result};

use super::fault::{not_there, store_error};
use super::store::object_meta;
use super::{FileKind, RemoteStore, Server, marker};

/// What is not longer is read before the answer, so that it holds no connection.
const AT_ONCE: u64 = 256 * 1024;

pub(super) async fn get<S: Server>(store: &RemoteStore<S>, location: &Path, options: &GetOptions) -> Result<GetResult> {
    let path = location.as_ref();
    let fail = |e| store_error(S::KIND, path, e);
    let meta = head(store, location).await?;
    options.check_preconditions(&meta)?;
    let range = match &options.range {
        Some(r) => {
            r.as_range(meta.size).map_err(|e| object_store::Error::Generic { store: S::KIND, source: Box::new(e) })?
        }
        None => 0..meta.size,
    };
    let length = range.end - range.start;
    let payload = if options.head || length == 0 {
        futures::stream::empty().boxed()
    } else {
        let bytes = read(store, path, range.clone(), meta.size).await.map_err(fail)?;
        if length <= AT_ONCE {
            let all = bytes
                .try_fold(BytesMut::new(), |mut all, chunk| async move {
                    all.extend_from_slice(&chunk);
                    Ok(all)
                })
                .await
                .map_err(fail)?;
            futures::stream::iter([Ok(all.freeze())]).boxed()
        } else {
            let path = path.to_owned();
            bytes.map_err(move |e| store_error(S::KIND, &path, e)).boxed()
        }
    };
    Ok(GetResult {
        payload: GetResultPayload::Stream(payload),
        meta,
        range,
        attributes: Default::default(),
        extensions: Default::default(),
    })
}

/// An object, whole.
pub(super) async fn open<S: Server>(
    store: &RemoteStore<S>,
    location: &Path,
) -> Result<(ObjectMeta, ByteStream<'static>)> {
    let meta = head(store, location).await?;
    let bytes = read(store, location.as_ref(), 0..meta.size, meta.size).await;
    Ok((meta, bytes.map_err(|e| store_error(S::KIND, location.as_ref(), e))?))
}

async fn head<S: Server>(store: &RemoteStore<S>, location: &Path) -> Result<ObjectMeta> {
    let (path, operation) = (location.as_ref(), "read object");
    let fail = |e| store_error(S::KIND, path, e);
    let looked = match store.look_at(operation, path).await {
        // A file where a folder should be: then there is no such object.
        Err(e) if e.kind() == ErrorKind::Conflict => None,
        other => other.map_err(fail)?,
    };
    match looked {
        Some(found) if matches!(found.kind, FileKind::File | FileKind::Unknown) => {
            Ok(object_meta(location.clone(), &found))
        }
        _ => {
            // Under a share that is not mounted everything is missing, and nothing is deleted.
            marker::check_again(store).await.map_err(fail)?;
            Err(fail(not_there(operation, path)))
        }
    }
}

/// The bytes of a range, all of them or an error.
async fn read<S: Server>(
    store: &RemoteStore<S>,
    path: &str,
    range: Range<u64>,
    size: u64,
) -> devicevault_core::Result<ByteStream<'static>> {
    let expected = range.end - range.start;
    if expected == 0 {
        return Ok(futures::stream::empty().boxed());
    }
    let bytes = store.server().read(path, range, size).await?;
    let path = path.to_owned();
    let whole = futures::stream::try_unfold((bytes, 0_u64), move |(mut bytes, mut got)| {
        let path = path.clone();
        async move {
            let next = bytes.try_next().await?;
            got += next.as_ref().map_or(0, |chunk| chunk.len() as u64);
            if got > expected || (next.is_none() && got < expected) {
                let why = format!("{got} bytes came of {expected}");
                return Err(Error::new(ErrorKind::Incomplete, "read object", why).with("path", path));
            }
            Ok(next.map(|chunk| (chunk, (bytes, got))))
        }
    });
    Ok(whole.boxed())
}
