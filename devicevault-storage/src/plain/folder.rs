//! Storing a batch in a folder, in one durable step.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use devicevault_core::{Digest, Error, ErrorKind, Result, StorageRef};
use futures::TryStreamExt as _;
use object_store::Error as StoreError;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::Plain;
use super::chain::Encoded;
use super::store::{Job, Written, encoded, manifest_file, stored_as, write_error};
use crate::fault;
use crate::local::{Content, LocalStore, Placement, StagedFile, StagedWriter};

/// Content of at most this many bytes waits in memory for its batch; longer content in a file.
const IN_MEMORY: usize = 64 * 1024;

/// Written to a file at a time.
const WRITE: usize = 1024 * 1024;

/// An entry that is ready to be named, or done with.
enum Ready {
    Done(Result<StorageRef>),
    Set(Box<Job>, Vec<Placement>),
}

impl Plain {
    pub(super) async fn store_in_folder(
        self: &Arc<Self>,
        folder: &LocalStore,
        jobs: Vec<Result<Job>>,
    ) -> Vec<Result<StorageRef>> {
        let mut verdicts: Vec<Option<Result<StorageRef>>> = Vec::with_capacity(jobs.len());
        let (mut waiting, mut sets) = (Vec::new(), Vec::new());
        let manifests = jobs.iter().flatten().map(|job| job.place.manifest.clone()).collect();
        let mut taken = folder.taken(manifests).await.into_iter();
        for job in jobs {
            let taken = job.is_err() || taken.next().unwrap_or(true);
            match self.ready(folder, job, taken).await {
                Ready::Done(verdict) => verdicts.push(Some(verdict)),
                Ready::Set(job, set) => {
                    waiting.push((verdicts.len(), job));
                    verdicts.push(None);
                    sets.push(set);
                }
            }
        }
        let placed = folder.put_many(sets).await;
        for ((index, job), placed) in waiting.into_iter().zip(placed) {
            let verdict = match placed {
                Ok(_) => Ok(job.place.reference()),
                // Another writer, or what one left that died: this takes looking at.
                Err(StoreError::AlreadyExists { .. }) => self.store_alone(&job).await,
                Err(e) => Err(write_error(&job.place.content, e)),
            };
            if let Some(slot) = verdicts.get_mut(index) {
                *slot = Some(verdict);
            }
        }
        let lost = || Err(Error::new(ErrorKind::Internal, "store backup", "there is no verdict"));
        verdicts.into_iter().map(|v| v.unwrap_or_else(lost)).collect()
    }

    async fn ready(self: &Arc<Self>, folder: &LocalStore, job: Result<Job>, taken: bool) -> Ready {
        let job = match job {
            Ok(job) => job,
            Err(e) => return Ready::Done(Err(e)),
        };
        // A second attempt, or something in the way: both are rare, and want to be looked at alone.
        if taken {
            return Ready::Done(self.store_alone(&job).await);
        }
        let prepare = async {
            let (content, written) = self.write(folder, &job).await?;
            let json = manifest_file(&job, written)?;
            let place = |at: &Path, content| Placement { location: at.clone(), content, replace: false };
            Ok(vec![place(&job.place.content, content), place(&job.place.manifest, Content::Bytes(json))])
        };
        match prepare.await {
            Ok(set) => Ready::Set(Box::new(job), set),
            Err(e) => Ready::Done(Err(e)),
        }
    }

    /// Puts the content alone. `None`: there is content already, and it was not to be replaced.
    pub(super) async fn put_content_in_folder(
        &self,
        folder: &LocalStore,
        job: &Job,
        replace: bool,
    ) -> Result<Option<Written>> {
        let (content, written) = self.write(folder, job).await?;
        let placement = Placement { location: job.place.content.clone(), content, replace };
        match folder.put_many(vec![vec![placement]]).await.into_iter().collect::<std::result::Result<Vec<_>, _>>() {
            Ok(_) => Ok(Some(written)),
            Err(StoreError::AlreadyExists { .. }) => Ok(None),
            Err(e) => Err(write_error(&job.place.content, e)),
        }
    }

    /// Runs a body through the chain, into memory or into a file that has no name yet.
    async fn write(&self, folder: &LocalStore, job: &Job) -> Result<(Content, Written)> {
        let at = &job.place.content;
        let Encoded { mut stream, transforms, header } = encoded(job).await?;
        let mut size = 0_u64;
        let mut buffer = BytesMut::new();
        let mut file: Option<Writing> = None;
        loop {
            let chunk = match stream.try_next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(e) => {
                    // What is written this moment goes with its file, before the caller hears of the failure.
                    if let Some(writing) = file {
                        drop(writing.idle(at).await);
                    }
                    return Err(e);
                }
            };
            size += chunk.len() as u64;
            buffer.extend_from_slice(&chunk);
            if file.is_none() && buffer.len() > IN_MEMORY {
                let writer = folder.stage().await.map_err(|e| write_error(at, e))?;
                file = Some(Writing::Idle(Box::new(Hashed { writer, hash: Sha256::new() })));
            }
            if buffer.len() >= WRITE
                && let Some(writing) = file.take()
            {
                file = Some(writing.append(buffer.split().freeze(), at).await?);
            }
        }
        let (content, hash) = match file {
            None => {
                let bytes = buffer.freeze();
                let hash = Digest::of(&bytes);
                (Content::Bytes(bytes), hash)
            }
            Some(writing) => {
                let (file, hash) = writing.append(buffer.freeze(), at).await?.finish(at).await?;
                (Content::Staged(file), hash)
            }
        };
        Ok((content, Written { stored: stored_as(job, size, hash, header), transforms }))
    }
}

/// A file, and the hash of what was written into it.
struct Hashed {
    writer: StagedWriter,
    hash: Sha256,
}

/// A file that is hashed and written in the background: while one piece is written, the next is made.
enum Writing {
    Idle(Box<Hashed>),
    Busy(JoinHandle<std::io::Result<Box<Hashed>>>),
}

impl Writing {
    async fn idle(self, at: &Path) -> Result<Box<Hashed>> {
        match self {
            Self::Idle(file) => Ok(file),
            Self::Busy(running) => written(running.await, at),
        }
    }

    async fn append(self, bytes: Bytes, at: &Path) -> Result<Self> {
        let mut file = self.idle(at).await?;
        Ok(Self::Busy(tokio::task::spawn_blocking(move || {
            file.hash.update(&bytes);
            file.writer.append(&bytes)?;
            Ok(file)
        })))
    }

    async fn finish(self, at: &Path) -> Result<(StagedFile, Digest)> {
        let Hashed { writer, hash } = *self.idle(at).await?;
        let file = written(tokio::task::spawn_blocking(move || writer.finish()).await, at)?;
        Ok((file, Digest(hash.finalize().into())))
    }
}

fn written<T>(done: std::result::Result<std::io::Result<T>, tokio::task::JoinError>, at: &Path) -> Result<T> {
    let lost = |e| Error::new(ErrorKind::Internal, "store backup", "the task that wrote was lost").because(e);
    done.map_err(lost)?.map_err(|e| fault::of_io("store backup", at, e))
}
