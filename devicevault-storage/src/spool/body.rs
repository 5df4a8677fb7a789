//! Bodies that lie in the spool.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::{Body, ByteStream, Error, ErrorKind, Result};
use futures::StreamExt as _;
use futures::stream;

use super::{Inner, blocking, of_io};
use crate::regular;
use crate::seal::{Keyring, Sealed};

/// Bytes that are read from the file at a time.
const READ: u64 = 512 << 10;

/// An opened file of the spool. Where it owns the file, the file goes with it.
#[derive(Debug)]
pub(super) struct SpoolBody {
    content: Sealed,
    path: PathBuf,
    owned: Option<(Arc<Inner>, u64)>,
}

impl SpoolBody {
    pub(super) async fn open(path: PathBuf, ring: &Keyring) -> Result<Self> {
        let at = path.clone();
        let file = blocking(move || {
            let failed = |e| of_io("read spool", &at, e);
            let file = regular::open(&at).map_err(failed)?;
            let length = file.metadata().map_err(failed)?.len();
            Ok(FileBody { file: Arc::new(file), length, path: at.clone() })
        })
        .await?;
        Ok(Self { content: Sealed::open_where_it_lies(Arc::new(file), ring).await?, path, owned: None })
    }

    /// The file, and so many bytes of room, are given back with the last handle.
    pub(super) fn owned_by(mut self, spool: Arc<Inner>, held: u64) -> Self {
        self.owned = Some((spool, held));
        self
    }
}

impl Drop for SpoolBody {
    fn drop(&mut self) {
        if let Some((spool, held)) = self.owned.take() {
            // Readers that are under way hold the file itself.
            let _ = std::fs::remove_file(&self.path);
            spool.room.give_back(held);
        }
    }
}

impl Body for SpoolBody {
    fn len(&self) -> u64 {
        self.content.len()
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        self.content.read(range)
    }
}

/// A file as it is.
#[derive(Debug)]
struct FileBody {
    file: Arc<File>,
    length: u64,
    path: PathBuf,
}

impl Body for FileBody {
    fn len(&self) -> u64 {
        self.length
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        let (from, to) = range.map_or((0, self.length), |r| (r.start, r.end.min(self.length)));
        let (file, path) = (self.file.clone(), self.path.clone());
        stream::try_unfold(from, move |at| {
            let (file, path) = (file.clone(), path.clone());
            async move {
                if at >= to {
                    return Ok(None);
                }
                let count = (to - at).min(READ);
                let chunk = blocking(move || {
                    let mut buffer = vec![0; count as usize];
                    match file.read_exact_at(&mut buffer, at) {
                        Ok(()) => Ok(Bytes::from(buffer)),
                        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                            Err(Error::new(ErrorKind::Corrupt, "read spool", "a file of the spool was cut")
                                .with("path", path.display()))
                        }
                        Err(e) => Err(of_io("read spool", &path, e)),
                    }
                })
                .await?;
                Ok(Some((chunk, at + count)))
            }
        })
        .boxed()
    }
}
