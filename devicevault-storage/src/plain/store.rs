//! Storing a batch: content first, manifest last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::storage::EntryId;
use devicevault_core::{Body, Digest, Entry, Error, ErrorKind, Result, StorageRef, Transform};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload};
use sha2::{Digest as _, Sha256};

use super::chain::{Encoded, Form};
use super::layout::{self, Place};
use super::record::{Record, Stored};
use super::upload::{self, Parts, Upload};
use super::{Plain, chain};
use crate::fault;
use crate::seal::random;

/// How many entries are put into a store at once: a network away, most of the time of each is waiting.
const PUTS_AT_ONCE: usize = 32;

/// How long a writer waits for the decision between itself and another one, each time it is told that there is none yet.
const CONFLICTS: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];

/// How often a writer that meets another one looks again.
const MAX_MEETINGS: u32 = 8;

/// An entry on its way.
pub(super) struct Job {
    pub(super) entry: Entry,
    pub(super) body: Arc<dyn Body>,
    pub(super) place: Place,
    pub(super) form: Form,
}

impl Job {
    /// The same entry, with its content in another place.
    fn at(&self, content: Path) -> Self {
        let place = Place { content, manifest: self.place.manifest.clone() };
        Self { entry: self.entry.clone(), body: self.body.clone(), place, form: self.form.clone() }
    }
}

/// Content that is in the store, and what was done to it on the way.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) stored: Stored,
    pub(super) transforms: Vec<Transform>,
}

/// What a manifest is that lies where an entry's belongs.
enum Laid {
    /// The entry's own, by its name.
    Own(Box<Record>),
    /// That of another backup, which its key may open or not.
    Foreign(Option<Box<Record>>),
}

/// What is there already where an entry is to go.
enum Present {
    /// Nothing, or content without a manifest.
    Nothing,
    /// This entry, whole.
    Same(StorageRef),
    /// This entry, and not whole: it may be replaced. Where its content is, or was, if that can be said.
    Damaged(Option<Path>),
}

impl Plain {
    pub(super) async fn store(self: &Arc<Self>, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        // The same entry twice in a batch is one copy.
        let form = self.form().await;
        let mut first: HashMap<EntryId, usize> = HashMap::new();
        let mut verdict_of = Vec::with_capacity(batch.len());
        let mut jobs = Vec::new();
        for (entry, body) in batch {
            let id = entry.id();
            let index = *first.entry(id).or_insert(jobs.len());
            if index == jobs.len() {
                jobs.push(form.clone().and_then(|form| {
                    let place = Place::of(&self.options.template, &entry.manifest, &form)?;
                    Ok(Job { entry, body, place, form })
                }));
            }
            verdict_of.push(index);
        }
        let mut verdicts: Vec<Result<StorageRef>> = Vec::with_capacity(jobs.len());
        let mut jobs = jobs.into_iter();
        loop {
            let part: Vec<_> = jobs.by_ref().take(super::MAX_BATCH).collect();
            if part.is_empty() {
                break;
            }
            verdicts.extend(self.store_jobs(part).await);
        }
        let lost = || Err(Error::new(ErrorKind::Internal, "store backup", "there is no verdict"));
        verdict_of.into_iter().map(|i| verdicts.get(i).cloned().unwrap_or_else(lost)).collect()
    }

    #[cfg(unix)]
    async fn store_jobs(self: &Arc<Self>, jobs: Vec<Result<Job>>) -> Vec<Result<StorageRef>> {
        match &self.folder {
            Some(folder) => self.store_in_folder(folder, jobs).await,
            None => self.store_each(jobs).await,
        }
    }

    #[cfg(not(unix))]
    async fn store_jobs(self: &Arc<Self>, jobs: Vec<Result<Job>>) -> Vec<Result<StorageRef>> {
        self.store_each(jobs).await
    }

    async fn store_each(self: &Arc<Self>, jobs: Vec<Result<Job>>) -> Vec<Result<StorageRef>> {
        let one = |job: Result<Job>| async move { self.store_alone(&job?).await };
        futures::stream::iter(jobs).map(one).buffered(PUTS_AT_ONCE).collect().await
    }

    /// Stores one entry, whoever else stores it at the same time.
    pub(super) async fn store_alone(self: &Arc<Self>, job: &Job) -> Result<StorageRef> {
        if !self.in_folder() && matches!(job.form, Form::Sealed(_)) {
            return self.store_apart(job).await;
        }
        let mut meetings = 0;
        loop {
            let replace = match self.present(job).await? {
                Present::Same(at) => {
                    self.settle(&job.place.manifest).await?;
                    return Ok(at);
                }
                Present::Nothing => false,
                Present::Damaged(_) => true,
            };
            let written = match self.put_content(job, replace).await? {
                Some(written) => Some(written),
                None => match self.adopt(job).await? {
                    Some(written) => Some(written),
                    None => self.put_content(job, true).await?,
                },
            };
            let kept = || Error::new(ErrorKind::Conflict, "store backup", "the store keeps what was to be replaced");
            let json = manifest_file(job, written.ok_or_else(kept)?)?;
            match self.put(&job.place.manifest, json, replace).await {
                Ok(()) => return Ok(job.place.reference()),
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) if meetings < MAX_MEETINGS => {
                    meetings += 1;
                }
                Err(e) => return Err(write_error(&job.place.manifest, e)),
            }
        }
    }

    /// Stores one sealed entry a network away. Every writer seals under a key of its own, a store completes uploads in
    /// parts without a condition, and there are servers whose put-if-absent lets two writers through at once: so content
    /// has a name that is nobody else's, and is never replaced. Whose it is, the manifest decides, which is one object.
    async fn store_apart(self: &Arc<Self>, job: &Job) -> Result<StorageRef> {
        let mut mine: Option<(Path, Written)> = None;
        for _ in 0..=MAX_MEETINGS {
            let damaged = match self.present(job).await? {
                // What we wrote meanwhile stays for maintenance: a manifest of ours whose answer was lost may yet come to
                // be, where a store looks at the condition before it is at the write.
                Present::Same(at) => {
                    self.settle(&job.place.manifest).await?;
                    return Ok(at);
                }
                Present::Nothing => None,
                Present::Damaged(content) => Some(content),
            };
            let (content, written) = match mine.take() {
                Some((content, written)) if damaged.as_ref() != Some(&Some(content.clone())) => (content, written),
                _ => {
                    let content = layout::marked(&job.place.content, &hex::encode(random::<4>()?))?;
                    let apart = job.at(content.clone());
                    let Some(written) = self.put_content(&apart, false).await? else { continue };
                    (content, written)
                }
            };
            let json = manifest_file(job, written.clone())?;
            match self.put(&job.place.manifest, json, damaged.is_some()).await {
                Ok(()) => {
                    self.tidy(damaged.flatten()).await;
                    return Ok(StorageRef(content.to_string()));
                }
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                    mine = Some((content, written));
                }
                Err(e) => return Err(write_error(&job.place.manifest, e)),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "store backup", "other writers of the same backup were in the way")
            .with("path", &job.place.manifest))
    }

    /// Removes content that no manifest names. Whether it goes is of no weight: maintenance finds it.
    async fn tidy(&self, content: Option<Path>) {
        if content.is_some() {
            drop(self.remove_each(vec![content]).await);
        }
    }

    /// What is there of this entry.
    async fn present(&self, job: &Job) -> Result<Present> {
        let ours = &job.entry.manifest;
        let loaded = async {
            let file = self.load(&job.place.manifest).await?.0;
            // One that tells of another place is foreign, whether or not its key is at hand.
            let is_foreign = layout::content_of(&job.place.manifest, &file.stored().object).is_err();
            match self.opened(file).await {
                Ok(record) if is_foreign || !layout::is_named_after(&job.place.manifest, &record.manifest) => {
                    Ok(Laid::Foreign(Some(Box::new(record))))
                }
                Ok(record) => Ok(Laid::Own(Box::new(record))),
                Err(_) if is_foreign => Ok(Laid::Foreign(None)),
                Err(e) => Err(e),
            }
        };
        let record = match loaded.await {
            Ok(Laid::Foreign(record)) => {
                self.keep_aside(job, record.as_deref()).await?;
                return Ok(Present::Damaged(None));
            }
            Ok(Laid::Own(record)) => record,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Present::Nothing),
            Err(e) if e.kind() == ErrorKind::Corrupt => return Ok(Present::Damaged(None)),
            Err(e) => return Err(e),
        };
        let theirs = &record.manifest;
        let id = Entry::new(theirs.clone()).id();
        if id != job.entry.id() || theirs.sha256 != ours.sha256 || theirs.size != ours.size {
            return Err(Error::new(ErrorKind::Conflict, "store backup", "another backup has its place")
                .with("path", &job.place.manifest)
                .with("run", id.run));
        }
        // The first attempt may have been compressed in another way.
        let Some(content) = layout::sibling(&job.place.manifest, &record.stored.object) else {
            return Ok(Present::Damaged(None));
        };
        match self.store.head(&content).await {
            Ok(meta) if meta.size == record.stored.size => Ok(Present::Same(StorageRef(content.to_string()))),
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(Present::Damaged(Some(content))),
            Err(e) => Err(fault::of_store("store backup", &content, e)),
        }
    }

    /// The manifest of another backup was laid where this one's belongs. It is kept beside it before it is replaced, unless
    /// it also lies where it belongs: it may be the only one of its backup.
    async fn keep_aside(&self, job: &Job, foreign: Option<&Record>) -> Result<()> {
        let from = &job.place.manifest;
        let read = async |at: &Path| self.store.get(at).await?.bytes().await;
        let bytes = read(from).await.map_err(|e| fault::of_store("keep foreign manifest", from, e))?;
        let home = foreign.and_then(|f| Place::of(&self.options.template, &f.manifest, &job.form).ok());
        if let Some(home) = home.filter(|home| home.manifest != *from)
            && read(&home.manifest).await.is_ok_and(|there| there == bytes)
        {
            return Ok(());
        }
        let aside = layout::aside(from, &Digest::of(&bytes))?;
        match self.put(&aside, bytes, false).await {
            // From an earlier attempt: its name is its hash.
            Ok(()) | Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                tracing::warn!(event = "foreign_manifest_kept", path = %from, aside = %aside);
                Ok(())
            }
            Err(e) => Err(write_error(&aside, e)),
        }
    }

    /// Content is there and no manifest: a writer died, or is about to write its manifest. If it is what we have to
    /// store, it serves.
    pub(super) async fn adopt(self: &Arc<Self>, job: &Job) -> Result<Option<Written>> {
        let compression = match &job.form {
            Form::Clear(compression) => *compression,
            Form::Sealed(_) => return self.adopt_sealed(job).await,
        };
        let mut manifest = job.entry.manifest.clone();
        manifest.transforms = chain::transforms(&manifest, compression.transform());
        let got = match self.store.get(&job.place.content).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            other => other.map_err(|e| fault::of_store("store backup", &job.place.content, e))?,
        };
        let size = got.meta.size;
        let mut hash = Sha256::new();
        let path = job.place.content.clone();
        let (tell, told) = futures::channel::oneshot::channel();
        let mut tell = Some(tell);
        let mut stored = got.into_stream();
        // The stored bytes are hashed while they are opened.
        let hashed = futures::stream::poll_fn(move |cx| {
            let next = std::task::ready!(stored.poll_next_unpin(cx));
            match &next {
                Some(Ok(chunk)) => hash.update(chunk),
                Some(Err(_)) => {}
                None => {
                    if let Some(tell) = tell.take() {
                        let _ = tell.send(Digest(hash.clone().finalize().into()));
                    }
                }
            }
            std::task::Poll::Ready(next.map(|chunk| chunk.map_err(|e| fault::of_store("store backup", &path, e))))
        });
        let mut opened = chain::out_of_store(hashed.boxed(), &manifest)?;
        loop {
            match opened.next().await {
                Some(Ok(_)) => {}
                Some(Err(e)) if e.kind() == ErrorKind::Corrupt => return Ok(None),
                Some(Err(e)) => return Err(e),
                None => break,
            }
        }
        let written = |sha256| Written { stored: stored_as(job, size, sha256, None), transforms: manifest.transforms };
        Ok(told.await.ok().map(written))
    }

    /// The same for a container, under whichever epoch key it was sealed. It is read twice: hashed, then opened.
    async fn adopt_sealed(self: &Arc<Self>, job: &Job) -> Result<Option<Written>> {
        let (at, manifest) = (&job.place.content, &job.entry.manifest);
        let fail = |e| fault::of_store("store backup", at, e);
        let got = match self.store.get(at).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            other => other.map_err(fail)?,
        };
        let size = got.meta.size;
        let mut hash = Sha256::new();
        let mut bytes = got.into_stream();
        while let Some(chunk) = bytes.try_next().await.map_err(fail)? {
            hash.update(&chunk);
        }
        let mut stored = stored_as(job, size, Digest(hash.finalize().into()), None);
        let opening = async {
            let opened = self.left_sealed(at, stored.clone()).await?;
            let mut view = chain::checked(opened.read(None), manifest);
            while view.try_next().await?.is_some() {}
            Ok::<_, Error>(opened)
        };
        let opened = match opening.await {
            Ok(opened) => opened,
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => return Ok(None),
            // A key that is not at hand: what it sealed may be somebody's who is about to write the manifest.
            Err(e) => return Err(e.with("path", at)),
        };
        stored.header = Some(opened.header().digest());
        Ok(Some(Written { stored, transforms: chain::sealed_transforms(manifest, opened.header()) }))
    }

    /// Puts the content. `None`: there is content already, and it was not to be replaced.
    pub(super) async fn put_content(&self, job: &Job, replace: bool) -> Result<Option<Written>> {
        #[cfg(unix)]
        if let Some(folder) = &self.folder {
            return self.put_content_in_folder(folder, job, replace).await;
        }
        let at = &job.place.content;
        let len = job.entry.manifest.size;
        let (part_size, mut room) = (upload::part_size(len), self.room.take(len).await);
        let Encoded { mut stream, transforms, header } = encoded(job).await?;
        let (mut hash, mut size) = (Sha256::new(), 0_u64);
        let mut parts = Parts::default();
        let mut upload: Option<Upload> = None;
        let sent = async {
            while let Some(chunk) = stream.try_next().await? {
                hash.update(&chunk);
                size += chunk.len() as u64;
                parts.push(chunk);
                while let Some(full) = parts.full(part_size) {
                    let upload = match &mut upload {
                        Some(upload) => upload,
                        None if !replace && self.exists(at).await? => return Ok(None),
                        None => {
                            let begun = Upload::begin(&*self.store, at).await;
                            upload.insert(begun.map_err(|e| write_error(at, e))?)
                        }
                    };
                    upload.send(full, room).map_err(|e| write_error(at, e))?;
                    room = self.room.take(len).await;
                }
            }
            let stored = stored_as(job, size, Digest(hash.finalize().into()), header);
            let written = Written { stored, transforms };
            let last = parts.rest();
            let Some(upload) = &mut upload else {
                return match self.put_payload(at, last, replace).await {
                    Ok(()) => Ok(Some(written)),
                    Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(None),
                    Err(e) => Err(write_error(at, e)),
                };
            };
            upload.send(last, room).map_err(|e| write_error(at, e))?;
            upload.complete().await.map_err(|e| write_error(at, e))?;
            Ok(Some(written))
        };
        let done = sent.await;
        if let (Err(_), Some(upload)) = (&done, upload) {
            upload.abandon().await;
        }
        done
    }

    pub(super) async fn put(&self, at: &Path, bytes: Bytes, replace: bool) -> std::result::Result<(), StoreError> {
        self.put_payload(at, bytes.into(), replace).await
    }

    async fn put_payload(&self, at: &Path, bytes: PutPayload, replace: bool) -> std::result::Result<(), StoreError> {
        if !replace {
            let mut waits = CONFLICTS.into_iter();
            loop {
                match self.store.put_opts(at, bytes.clone(), PutMode::Create.into()).await {
                    // The store has no conditions: entries have names of their own, so that only a second attempt at the
                    // same one could meet it.
                    Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => break,
                    // Another writer is at it this moment, and it is not decided whose object stays.
                    Err(e) if fault::is_undecided(&e) => match waits.next() {
                        Some(wait) => self.options.clock.sleep(wait).await,
                        None => return Err(e),
                    },
                    // Nobody else writes there: to make room would be refused as well.
                    Err(e) if fault::is_kept(&e) => {
                        return Err(StoreError::PermissionDenied { path: at.to_string(), source: Box::new(e) });
                    }
                    other => return other.map(drop),
                }
            }
        }
        self.store.put(at, bytes).await.map(drop)
    }

    async fn exists(&self, at: &Path) -> Result<bool> {
        match self.store.head(at).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(e) => Err(fault::of_store("store backup", at, e)),
        }
    }

    /// What a retry relies upon has to be as durable as what it would have written.
    async fn settle(&self, at: &Path) -> Result<()> {
        #[cfg(unix)]
        if let Some(folder) = &self.folder {
            return folder.settle(at).await.map_err(|e| write_error(at, e));
        }
        match &self.keep {
            Some(keep) => keep.settle(at).await.map_err(|e| write_error(at, e)),
            None => Ok(()),
        }
    }
}

/// The bytes of a job as they are to be stored.
pub(super) async fn encoded(job: &Job) -> Result<Encoded> {
    chain::into_store(job.body.read(None), &job.entry.manifest, &job.form).await
}

pub(super) fn stored_as(job: &Job, size: u64, sha256: Digest, header: Option<Digest>) -> Stored {
    Stored { object: job.place.content.filename().unwrap_or_default().to_owned(), size, sha256, header }
}

/// The manifest file beside the content.
pub(super) fn manifest_file(job: &Job, written: Written) -> Result<Bytes> {
    let mut manifest = job.entry.manifest.clone();
    manifest.transforms = written.transforms;
    let record = Record { manifest, stored: written.stored };
    let json = match &job.form {
        Form::Clear(_) => record.to_json()?,
        Form::Sealed(sealing) => sealing.envelope(&record)?.to_json()?,
    };
    Ok(json.into())
}

/// An error of a write. That something is not there while it is written means that the destination itself has gone.
pub(super) fn write_error(at: &Path, e: StoreError) -> Error {
    let error = fault::of_store("store backup", at, e);
    if error.kind() == ErrorKind::NotFound {
        return Error::new(ErrorKind::Unavailable, "store backup", "the destination is no longer there")
            .with("path", at)
            .because(error);
    }
    error
}
