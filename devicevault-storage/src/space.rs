//! Free space that a destination, or the spool, leaves to others.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::layer::Layer;
use devicevault_core::storage::Health;
use devicevault_core::{Body, ByteStream, Entry, Error, ErrorKind, Result, StorageBackend, StorageRef, size_text};
use futures::stream::StreamExt as _;

/// A body that is longer is looked after while it is stored: the file system is asked again after so many bytes.
const STEP: u64 = 16 << 20;

/// How much is to stay free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keep {
    /// So many bytes.
    Bytes(u64),
    /// This part of the file system, in percent.
    Percent(f64),
}

impl std::str::FromStr for Keep {
    type Err = Error;

    /// `5%` or `10 GiB`.
    fn from_str(text: &str) -> Result<Self> {
        let keep = match text.trim().strip_suffix('%') {
            Some(part) => part.trim().parse().ok().filter(|p| *p > 0.0 && *p < 100.0).map(Self::Percent),
            None => devicevault_core::parse_size(text).map(Self::Bytes),
        };
        keep.ok_or_else(|| {
            Error::new(ErrorKind::Config, "read option", "it says of no space how much is to stay free")
                .with("value", text.escape_debug())
                .hint("write 5% or 10 GiB")
        })
    }
}

impl std::fmt::Display for Keep {
    /// As it is read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(n) => write!(f, "{n}"),
            Self::Percent(part) => write!(f, "{part}%"),
        }
    }
}

impl Keep {
    fn bytes(self, of: u64) -> u64 {
        match self {
            Self::Bytes(n) => n,
            // What is lost to rounding is far below what matters.
            Self::Percent(part) => (of as f64 * part / 100.0) as u64,
        }
    }
}

/// A backend in a folder that refuses, as [`QuotaExceeded`](ErrorKind::QuotaExceeded), what would leave less free space
/// than is to be kept: before a batch is stored, and while a large body is.
#[derive(Debug)]
pub struct FreeSpace {
    inner: Arc<dyn StorageBackend>,
    guard: Guard,
}

/// Looks after the free space of a file system.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    folder: PathBuf,
    keep: Keep,
}

impl FreeSpace {
    /// Keeps space free on the file system of this folder.
    #[must_use]
    pub fn new(inner: Arc<dyn StorageBackend>, folder: impl Into<PathBuf>, keep: Keep) -> Arc<Self> {
        Arc::new(Self { inner, guard: Guard::new(folder.into(), keep) })
    }
}

/// What is free for us and what there is in all, in bytes.
fn space(folder: &Path) -> Result<(u64, u64)> {
    let fs = rustix::fs::statvfs(folder)
        .map_err(|e| crate::fault::of_io("ask for free space", folder.display(), e.into()))?;
    Ok((fs.f_bavail.saturating_mul(fs.f_frsize), fs.f_blocks.saturating_mul(fs.f_frsize)))
}

impl Guard {
    pub(crate) fn new(folder: PathBuf, keep: Keep) -> Self {
        Self { folder, keep }
    }

    /// Refuses `more` bytes that would go below what is to stay free.
    async fn admit(&self, more: u64) -> Result<()> {
        let hint = "free some space, apply retention, or lower the option space.keep";
        self.admit_to("store backup", more).await.map_err(|e| e.hint(hint))
    }

    /// The same, for something else than a destination.
    pub(crate) async fn admit_to(&self, operation: &'static str, more: u64) -> Result<()> {
        let folder = self.folder.clone();
        let asked = tokio::task::spawn_blocking(move || space(&folder)).await;
        let ended = |e| Error::new(ErrorKind::Internal, "ask for free space", "the worker thread ended").because(e);
        let (free, all) = asked.map_err(ended)??;
        let keep = self.keep.bytes(all);
        if free.saturating_sub(more) >= keep && free >= keep {
            return Ok(());
        }
        Err(Error::new(ErrorKind::QuotaExceeded, operation, "less space would stay free than is to be kept")
            .with("path", self.folder.display())
            .with("free", size_text(free))
            .with("to be kept", size_text(keep))
            .with("needed", size_text(more)))
    }
}

/// A body whose reader asks again and again whether there is space.
#[derive(Debug)]
struct Guarded {
    body: Arc<dyn Body>,
    guard: Guard,
}

impl Body for Guarded {
    fn len(&self) -> u64 {
        self.body.len()
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        let state = (self.body.read(range), self.guard.clone(), 0_u64);
        futures::stream::unfold(state, |(mut stream, guard, since)| async move {
            let chunk = stream.next().await?;
            let since = since + chunk.as_ref().map_or(0, |c| c.len() as u64);
            if since < STEP {
                return Some((chunk, (stream, guard, since)));
            }
            let chunk = match guard.admit(0).await {
                Ok(()) => chunk,
                Err(e) => Err(e),
            };
            Some((chunk, (stream, guard, 0)))
        })
        .boxed()
    }
}

#[async_trait]
impl Layer for FreeSpace {
    fn inner(&self) -> &dyn StorageBackend {
        &*self.inner
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let mut coming = 0_u64;
        let mut admitted = Vec::new();
        let mut verdicts = Vec::with_capacity(batch.len());
        for (entry, body) in batch {
            let size = entry.manifest.size;
            match self.guard.admit(coming.saturating_add(size)).await {
                Ok(()) => {
                    coming = coming.saturating_add(size);
                    let guarded: Arc<dyn Body> =
                        if size > STEP { Arc::new(Guarded { body, guard: self.guard.clone() }) } else { body };
                    admitted.push((entry, guarded));
                    verdicts.push(None);
                }
                Err(e) => verdicts.push(Some(Err(e))),
            }
        }
        let stored = if admitted.is_empty() { Vec::new() } else { self.inner.store(admitted).await };
        let mut stored = stored.into_iter();
        let silent = || Err(Error::new(ErrorKind::Internal, "store backup", "the backend gave no verdict"));
        verdicts.into_iter().map(|v| v.unwrap_or_else(|| stored.next().unwrap_or_else(silent))).collect()
    }

    /// With a probe of the space that is to be kept.
    async fn check(&self) -> Result<Health> {
        let mut health = self.inner.check().await?;
        match self.guard.admit(0).await {
            Ok(()) => health.push("space to be kept", true, "as much is free as is to be kept"),
            Err(e) => health.push("space to be kept", false, e.to_record().message),
        }
        Ok(health)
    }
}

#[cfg(test)]
mod tests {
    use devicevault_core::StorageBackendExt as _;
    use devicevault_testkit::memory::MemoryBackend;
    use devicevault_testkit::samples;

    use super::*;

    #[test]
    fn what_is_to_stay_free_is_read() {
        assert_eq!("5%".parse::<Keep>().unwrap(), Keep::Percent(5.0));
        assert_eq!("1 GiB".parse::<Keep>().unwrap(), Keep::Bytes(1 << 30));
        for keep in [Keep::Bytes(7), Keep::Percent(2.5)] {
            assert_eq!(keep.to_string().parse::<Keep>().unwrap(), keep);
        }
        for bad in ["", "100%", "0%", "much", "-5"] {
            assert_eq!(bad.parse::<Keep>().unwrap_err().kind(), ErrorKind::Config, "{bad}");
        }
    }

    #[tokio::test]
    async fn what_would_leave_too_little_is_refused_and_the_rest_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryBackend::new());
        let (entry, body) = samples::entry("sw1", "hostname sw1\n");
        let all = FreeSpace::new(store.clone(), folder.path(), Keep::Bytes(u64::MAX));
        let e = all.store_one(entry.clone(), body.clone()).await.unwrap_err();
        assert_eq!((e.kind(), store.len()), (ErrorKind::QuotaExceeded, 0));
        let health = StorageBackend::check(&*all).await.unwrap();
        assert!(health.probes.iter().any(|p| p.name == "space to be kept" && !p.good));
        let little = FreeSpace::new(store.clone(), folder.path(), Keep::Bytes(1));
        little.store_one(entry, body).await.unwrap();
        assert_eq!(store.len(), 1);
    }

    #[tokio::test]
    async fn a_large_body_is_stopped_in_its_middle() {
        let folder = tempfile::tempdir().unwrap();
        let large = bytes::Bytes::from(vec![7; 40 << 20]);
        let guard = Guard::new(folder.path().to_owned(), Keep::Bytes(u64::MAX));
        let chunks: Vec<bytes::Bytes> = large.chunks(1 << 20).map(bytes::Bytes::copy_from_slice).collect();
        #[derive(Debug)]
        struct Chunks(Vec<bytes::Bytes>);
        impl Body for Chunks {
            fn len(&self) -> u64 {
                self.0.iter().map(|c| c.len() as u64).sum()
            }
            fn read(&self, _range: Option<Range<u64>>) -> ByteStream<'static> {
                futures::stream::iter(self.0.clone().into_iter().map(Ok)).boxed()
            }
        }
        let guarded = Guarded { body: Arc::new(Chunks(chunks)), guard };
        let mut read = guarded.read(None);
        let mut good = 0;
        let e = loop {
            match read.next().await.unwrap() {
                Ok(chunk) => good += chunk.len(),
                Err(e) => break e,
            }
        };
        assert_eq!((e.kind(), good), (ErrorKind::QuotaExceeded, 15 << 20));
    }
}
