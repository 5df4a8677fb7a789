//! A storage backend of one's own: each backup is one file, its manifest in the first line and its bytes behind it.
//!
//! The test at the end holds it to the trait's contract with the suite that the shipped backends are held to.

use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::body::{ByteStream, read_to_vec};
use devicevault_core::storage::{Capability, Health, ListFilter, Usage, UsageFilter, Verdict, VerifyDepth};
use devicevault_core::{Body, Digest, Entry, Error, ErrorKind, Manifest, Result, StorageBackend, StorageRef};
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};

/// The largest body that it takes: it reads them whole.
const MAX_BODY: u64 = 4 << 20;

/// Keeps backups in a folder.
#[derive(Debug)]
pub struct Shelf(PathBuf);

impl Shelf {
    /// Keeps them in this folder, made where it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| fault("open shelf", folder, e))?;
        Ok(Self(folder.to_owned()))
    }

    /// The file that a reference names: 64 hexadecimal digits, so that it leads nowhere else.
    fn file(&self, at: &StorageRef) -> Result<PathBuf> {
        let ours = at.as_str().len() == 64 && at.as_str().bytes().all(|b| b.is_ascii_hexdigit());
        let missing = || Error::new(ErrorKind::NotFound, "find backup", "there is no such backup");
        ours.then(|| self.0.join(at.as_str())).ok_or_else(missing)
    }

    async fn keep(&self, entry: &Entry, body: &dyn Body) -> Result<StorageRef> {
        // The same entry has the same name, so that storing it again finds it.
        let at = StorageRef(Digest::of(format!("{:?}", entry.id()).as_bytes()).to_string());
        let (file, m) = (self.file(&at)?, &entry.manifest);
        if file.exists() {
            return Ok(at);
        }
        if m.size > MAX_BODY {
            return Err(Error::new(ErrorKind::TooLarge, "store backup", "the shelf takes 4 MiB at most"));
        }
        let content = read_to_vec(body.read(None), MAX_BODY).await?;
        if content.len() as u64 != m.size || Digest::of(&content) != m.sha256 {
            return Err(Error::new(ErrorKind::Incomplete, "store backup", "the body is not what its manifest says"));
        }
        let line = serde_json::to_vec(m).map_err(|e| {
            Error::new(ErrorKind::Internal, "store backup", "the manifest does not serialise").because(e)
        })?;
        let write = || {
            let mut draft = tempfile::NamedTempFile::new_in(&self.0)?;
            draft.write_all(&[&line, &b"\n"[..], &content].concat())?;
            draft.as_file().sync_all()?;
            draft.persist(&file).map_err(|e| e.error)?;
            fs::File::open(&self.0)?.sync_all()
        };
        write().map(|()| at).map_err(|e| fault("store backup", &file, e))
    }

    fn load(&self, at: &StorageRef) -> Result<(Manifest, Bytes)> {
        let file = self.file(at)?;
        let all = Bytes::from(fs::read(&file).map_err(|e| fault("read backup", &file, e))?);
        let damaged = || Error::new(ErrorKind::Corrupt, "read backup", "its manifest is damaged").with("reference", at);
        let end = all.iter().position(|b| *b == b'\n').ok_or_else(damaged)?;
        let manifest = serde_json::from_slice(&all[..end]).map_err(|e| damaged().because(e))?;
        Ok((manifest, all.slice(end + 1..)))
    }

    fn all(&self) -> Result<Vec<StorageRef>> {
        let entries = fs::read_dir(&self.0).map_err(|e| fault("list backups", &self.0, e))?;
        let names = entries.flatten().map(|e| StorageRef(e.file_name().to_string_lossy().into_owned()));
        Ok(names.filter(|at| self.file(at).is_ok()).collect())
    }
}

fn fault(operation: &'static str, path: &Path, e: std::io::Error) -> Error {
    let kind = match e.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, operation, "the shelf cannot be used").with("path", path.display()).because(e)
}

/// Where the bytes are not those of the manifest.
fn faults(told: &Manifest, bytes: &[u8], depth: VerifyDepth) -> Option<String> {
    if bytes.len() as u64 != told.size {
        return Some(format!("it has {} bytes instead of {}", bytes.len(), told.size));
    }
    let wrong = depth > VerifyDepth::Size && Digest::of(bytes) != told.sha256;
    wrong.then(|| format!("its hash is not {}", told.sha256))
}

#[async_trait]
impl StorageBackend for Shelf {
    fn capability(&self) -> Capability {
        let mut capability = Capability::default();
        capability.delete = true;
        capability.durable = true;
        capability.max_body = Some(MAX_BODY);
        capability
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let mut verdicts = Vec::new();
        for (entry, body) in batch {
            verdicts.push(self.keep(&entry, &*body).await);
        }
        verdicts
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        let (manifest, bytes) = self.load(at)?;
        match faults(&manifest, &bytes, VerifyDepth::Content) {
            None => Ok(bytes.read(range)),
            Some(why) => Err(Error::new(ErrorKind::Corrupt, "read backup", why).with("reference", at)),
        }
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        Ok(self.load(at)?.0)
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        let refs = match self.all() {
            Ok(refs) => refs,
            Err(e) => return stream::once(async { Err(e) }).boxed(),
        };
        let found = refs.into_iter().map(|at| self.load(&at).map(|(m, _)| (at, m)));
        let wanted = found.filter(|f| match f {
            Ok((_, m)) => filter.matches(m),
            // It was deleted since the folder was read.
            Err(e) => e.kind() != ErrorKind::NotFound,
        });
        stream::iter(wanted.collect::<Vec<_>>()).boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        let delete = |at: &StorageRef| match self.file(at).map(|file| (fs::remove_file(&file), file)) {
            Ok((Err(e), file)) if e.kind() != std::io::ErrorKind::NotFound => Err(fault("delete backup", &file, e)),
            // What is missing is deleted, and what is no reference of ours was never here.
            _ => Ok(()),
        };
        refs.iter().map(delete).collect()
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        let (manifest, bytes) = match self.load(at) {
            Ok(found) => found,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Verdict::Missing),
            Err(e) if e.kind() == ErrorKind::Corrupt => return Ok(Verdict::Damaged(vec![e.to_string()])),
            Err(e) => return Err(e),
        };
        let told = [Some(&manifest), expect].into_iter().flatten();
        let wrong: Vec<String> = told.filter_map(|m| faults(m, &bytes, depth)).collect();
        Ok(if wrong.is_empty() { Verdict::Good(depth) } else { Verdict::Damaged(wrong) })
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        let mut wanted = ListFilter::default();
        wanted.device = filter.device;
        let add = |mut sum: Usage, (_, m): (StorageRef, Manifest)| async move {
            sum.backups += 1;
            sum.content_bytes += m.size;
            sum.stored_bytes += m.size;
            Ok(sum)
        };
        self.list(wanted).try_fold(Usage::default(), add).await
    }

    async fn check(&self) -> Result<Health> {
        let mut health = Health::default();
        let tried = tempfile::NamedTempFile::new_in(&self.0).and_then(|mut f| f.write_all(b"probe"));
        let detail = tried.as_ref().err().map_or_else(|| "a file was written".to_owned(), ToString::to_string);
        health.push("write", tried.is_ok(), detail);
        Ok(health)
    }
}

#[cfg(test)]
mod tests {
    use devicevault_testkit::conformance::BackendSuite;

    use super::*;

    #[tokio::test]
    async fn it_keeps_every_promise_of_a_backend() {
        let folder = tempfile::tempdir().unwrap();
        let open =
            async |place: &str| Ok(Arc::new(Shelf::open(&folder.path().join(place))?) as Arc<dyn StorageBackend>);
        BackendSuite::new(&open).run().await.assert();
    }
}
