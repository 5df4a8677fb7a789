//! A storage backend: a folder per backup, with the manifest and the bytes in it.

use std::io::{ErrorKind as IoKind, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::body::{ByteStream, read_to_vec};
use devicevault_core::storage::{Capability, Health, ListFilter, Usage, UsageFilter, Verdict, VerifyDepth};
use devicevault_core::{Body, Digest, Entry, Error, ErrorKind, Manifest, Result, StorageBackend, StorageRef};
use futures::StreamExt as _;
use futures::stream::BoxStream;

/// Texts are smaller.
const MAX_BODY: u64 = 4 << 20;

/// Keeps each backup in a folder named by the hash of what makes it one: run, artefact and view.
#[derive(Debug)]
pub struct Cabinet {
    root: PathBuf,
    next: AtomicU64,
}

impl Cabinet {
    /// Keeps everything below this folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        for folder in [root.join("kept"), root.join("staging")] {
            std::fs::create_dir_all(&folder).map_err(|e| fault("open cabinet", &folder, e))?;
        }
        Ok(Self { root: root.to_owned(), next: AtomicU64::new(0) })
    }

    /// A path that nothing stands at.
    fn staging(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.root.join("staging").join(format!("{}-{number}", uuid::Uuid::now_v7()))
    }

    /// The folder that a reference names, which is 64 hexadecimal digits and nothing else.
    fn drawer(&self, at: &StorageRef, operation: &'static str) -> Result<PathBuf> {
        let folder = self.root.join("kept").join(at.as_str());
        let named = at.as_str().len() == 64 && at.as_str().bytes().all(|b| b.is_ascii_hexdigit());
        if named && folder.is_dir() { Ok(folder) } else { Err(missing(operation, at)) }
    }

    async fn keep(&self, entry: &Entry, body: &dyn Body) -> Result<StorageRef> {
        let manifest = &entry.manifest;
        let at = StorageRef(Digest::of(format!("{:?}", entry.id()).as_bytes()).to_string());
        let kept = self.root.join("kept").join(at.as_str());
        if kept.is_dir() {
            return Ok(at);
        }
        if manifest.size > MAX_BODY {
            return Err(Error::new(ErrorKind::TooLarge, "store backup", "the cabinet takes 4 MiB at most"));
        }
        let differs = |why| Error::new(ErrorKind::Incomplete, "store backup", why);
        let read = read_to_vec(body.read(None), manifest.size).await;
        let content = read.map_err(|e| match e.kind() {
            ErrorKind::TooLarge => differs("the body is longer than its manifest says"),
            _ => e,
        })?;
        if content.len() as u64 != manifest.size || Digest::of(&content) != manifest.sha256 {
            return Err(differs("the body is not what its manifest says"));
        }
        // From here on nothing waits, so nothing can be cancelled half-way.
        let staging = self.staging();
        let write = || {
            std::fs::create_dir(&staging)?;
            for (name, bytes) in [("content", content.as_slice()), ("manifest.json", &serde_json::to_vec(manifest)?)] {
                let mut file = std::fs::File::create_new(staging.join(name))?;
                file.write_all(bytes)?;
                file.sync_all()?;
            }
            match std::fs::rename(&staging, &kept) {
                // Somebody else stored the same entry at the same time.
                Err(_) if kept.is_dir() => std::fs::remove_dir_all(&staging),
                renamed => renamed,
            }?;
            std::fs::File::open(self.root.join("kept"))?.sync_all()
        };
        write().map_err(|e| fault("store backup", &kept, e))?;
        Ok(at)
    }

    fn manifest(&self, at: &StorageRef, operation: &'static str) -> Result<Manifest> {
        let file = self.drawer(at, operation)?.join("manifest.json");
        let text = std::fs::read(&file).map_err(|e| fault(operation, &file, e))?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::new(ErrorKind::Corrupt, operation, "the manifest is damaged").because(e))
    }

    fn all(&self, filter: &ListFilter) -> Result<Vec<(StorageRef, Manifest)>> {
        let folder = self.root.join("kept");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(|e| fault("list backups", &folder, e))? {
            let name = entry.map_err(|e| fault("list backups", &folder, e))?.file_name();
            let at = StorageRef(name.to_string_lossy().into_owned());
            match self.manifest(&at, "list backups") {
                Ok(manifest) if filter.matches(&manifest) => found.push((at, manifest)),
                Ok(_) => {}
                // It was deleted in between.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }
}

fn missing(operation: &'static str, at: &StorageRef) -> Error {
    Error::new(ErrorKind::NotFound, operation, "there is no such backup").with("reference", at.0.escape_debug())
}

fn fault(operation: &'static str, path: &Path, e: std::io::Error) -> Error {
    let kind = if e.kind() == IoKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Unavailable };
    Error::new(kind, operation, "the cabinet cannot be used").with("path", path.display()).because(e)
}

#[async_trait]
impl StorageBackend for Cabinet {
    fn capability(&self) -> Capability {
        let mut capability = Capability::default();
        capability.delete = true;
        capability.durable = true;
        capability.put_if_absent = true;
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
        let manifest = self.manifest(at, "read backup")?;
        let file = self.drawer(at, "read backup")?.join("content");
        let corrupt = |why| Error::new(ErrorKind::Corrupt, "read backup", why).with("reference", at);
        let content = std::fs::read(&file).map_err(|e| corrupt("its bytes cannot be read").because(e))?;
        if Digest::of(&content) != manifest.sha256 {
            return Err(corrupt("its bytes are not those that were stored"));
        }
        Ok(Body::read(&Bytes::from(content), range))
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        self.manifest(at, "read manifest")
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        let items = self.all(&filter).map_or_else(|e| vec![Err(e)], |found| found.into_iter().map(Ok).collect());
        futures::stream::iter(items).boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        let delete = |at: &StorageRef| {
            let Ok(folder) = self.drawer(at, "delete backup") else { return Ok(()) };
            // It vanishes in one step, and is taken apart where nobody looks.
            let aside = self.staging();
            let gone = std::fs::rename(&folder, &aside).and_then(|()| std::fs::remove_dir_all(&aside));
            gone.map_err(|e| fault("delete backup", &folder, e))
        };
        refs.iter().map(delete).collect()
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        let manifest = match self.manifest(at, "verify backup") {
            Ok(manifest) => manifest,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Verdict::Missing),
            Err(e) => return Ok(Verdict::Damaged(vec![e.to_string()])),
        };
        let Ok(content) = std::fs::read(self.drawer(at, "verify backup")?.join("content")) else {
            return Ok(Verdict::Missing);
        };
        let mut wrong = Vec::new();
        for told in [Some(&manifest), expect].into_iter().flatten() {
            if content.len() as u64 != told.size {
                wrong.push(format!("it has {} bytes instead of {}", content.len(), told.size));
            } else if depth > VerifyDepth::Size && Digest::of(&content) != told.sha256 {
                wrong.push(format!("its hash is not {}", told.sha256));
            }
        }
        Ok(if wrong.is_empty() { Verdict::Good(depth) } else { Verdict::Damaged(wrong) })
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        let mut usage = Usage::default();
        for (_, manifest) in self.all(&ListFilter::default())? {
            if filter.device.as_ref().is_none_or(|d| *d == manifest.source.device) {
                usage.backups += 1;
                usage.content_bytes += manifest.size;
                usage.stored_bytes += manifest.size;
            }
        }
        Ok(usage)
    }

    async fn check(&self) -> Result<Health> {
        let mut health = Health::default();
        let probe = self.staging();
        let written = std::fs::write(&probe, b"probe").and_then(|()| std::fs::remove_file(&probe));
        let detail =
            written.as_ref().err().map_or_else(|| "a file was written and removed".to_owned(), ToString::to_string);
        health.push("write", written.is_ok(), detail);
        Ok(health)
    }
}
