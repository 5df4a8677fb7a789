//! Whether a backup is still what was stored.

use std::sync::Arc;

use devicevault_core::storage::{Verdict, VerifyDepth};
use devicevault_core::{Digest, Error, ErrorKind, Manifest, Result, StorageRef};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};

use super::read::ManifestOf;
use super::record::{Record, Stored};
use super::refused::{Given, path_of};
use super::walk::{apart, unnamed};
use super::{Plain, chain, layout};
use crate::fault;

impl Plain {
    /// Every backup, as far as it can be checked without opening it.
    pub(super) fn verify_unopened(
        self: Arc<Self>,
        depth: VerifyDepth,
    ) -> BoxStream<'static, Result<(StorageRef, Verdict)>> {
        let (plain, depth, at_once) = (self.clone(), depth.min(VerifyDepth::Stored), self.reads_at_once());
        let given = Arc::new(Given::default());
        let noted = given.clone();
        let of_folder = move |objects: Result<Vec<ObjectMeta>>| {
            let objects = match objects {
                Ok(objects) => objects,
                Err(e) => return futures::stream::iter([Err(e)]).boxed(),
            };
            let (plain, other, noted) = (plain.clone(), plain.clone(), noted.clone());
            let nameless =
                futures::stream::iter(unnamed(&objects)).map(move |object| apart(other.clone().lost(object)));
            futures::stream::iter(objects.into_iter().filter(|o| layout::is_manifest(o.location.as_ref())))
                .map(move |manifest| apart(plain.clone().unopened(manifest.location, depth, noted.clone())))
                .buffered(at_once)
                .chain(nameless.buffered(at_once))
                .try_filter_map(|found| std::future::ready(Ok(found)))
                .boxed()
        };
        let found = self.clone().folders().map_ok(of_folder).try_flatten().boxed();
        // What lies under a name has a verdict of its own.
        let verdict = |e: Error| match path_of(&e) {
            Some(path) if e.kind() == ErrorKind::Corrupt => {
                Ok((StorageRef(path), Verdict::Damaged(vec![e.message().to_owned()])))
            }
            _ => Err(e),
        };
        self.told_apart(given, found).map(move |found| found.or_else(verdict)).boxed()
    }

    async fn unopened(
        self: Arc<Self>,
        manifest: Path,
        depth: VerifyDepth,
        given: Arc<Given>,
    ) -> Result<Option<(StorageRef, Verdict)>> {
        let damaged = |e: &Error| Ok(Some((StorageRef(manifest.to_string()), damaged_manifest(e))));
        let file = match self.load(&manifest).await.map_err(|e| self.unread(&manifest, e)) {
            Ok((file, _)) => {
                self.gave(&given, &manifest);
                file
            }
            // It was deleted since the folder was read.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Corrupt => return damaged(&e),
            Err(e) => return Err(e),
        };
        let content = match layout::content_of(&manifest, &file.stored().object) {
            Ok(content) => content,
            Err(e) => return damaged(&e),
        };
        let at = StorageRef(content.to_string());
        let verdict = self.verify(&at, None, depth).await?;
        Ok(Some((at, verdict)))
    }

    async fn lost(self: Arc<Self>, object: ObjectMeta) -> Result<Option<(StorageRef, Verdict)>> {
        let at = StorageRef(object.location.to_string());
        let lost = self.nameless(object).await?;
        Ok(lost.map(|e| (at, Verdict::Damaged(vec![e.message().to_owned()]))))
    }

    /// Without a key, a sealed backup is checked down to its stored bytes, and not against `expect`.
    pub(super) async fn verify(
        self: &Arc<Self>,
        at: &StorageRef,
        expect: Option<&Manifest>,
        depth: VerifyDepth,
    ) -> Result<Verdict> {
        Ok(self.looked(at, expect, depth).await?.0)
    }

    /// The same at a glance, for who relies on it: what is closed for good is not.
    pub(super) async fn look_at(self: &Arc<Self>, at: &StorageRef) -> Result<Verdict> {
        match self.looked(at, None, VerifyDepth::Size).await? {
            // Where the key that seals is away as well, both may come back.
            (verdict, Some(closed)) if verdict.is_good() && self.options.sealed && self.form().await.is_ok() => {
                Err(Error::new(
                    ErrorKind::NotFound,
                    "look at copy",
                    "no key at hand opens it, and what is stored now opens",
                )
                .with("path", at)
                .because(closed))
            }
            (verdict, _) => Ok(verdict),
        }
    }

    async fn looked(
        self: &Arc<Self>,
        at: &StorageRef,
        expect: Option<&Manifest>,
        depth: VerifyDepth,
    ) -> Result<(Verdict, Option<Error>)> {
        match self.look(at, expect, depth).await? {
            good if good.0.is_good() => Ok(good),
            // It may have been sealed anew meanwhile, which puts another content in its place.
            _ => self.look(at, expect, depth).await,
        }
    }

    /// What is found; and why it was not opened, where that was not asked for.
    async fn look(
        self: &Arc<Self>,
        at: &StorageRef,
        expect: Option<&Manifest>,
        depth: VerifyDepth,
    ) -> Result<(Verdict, Option<Error>)> {
        let found = match layout::content_path(at) {
            Ok(content) => self.file_of(&content).await,
            Err(e) => Err(e),
        };
        let ManifestOf { content, file, .. } = match found.map_err(|e| self.out_of_reach(e)) {
            Ok(found) => found,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok((Verdict::Missing, None)),
            Err(e) if e.kind() == ErrorKind::Corrupt => return Ok((damaged_manifest(&e), None)),
            Err(e) => return Err(e),
        };
        let stored = file.stored().clone();
        let record = match self.opened(file).await {
            Err(e) if e.kind() == ErrorKind::Corrupt => return Ok((damaged_manifest(&e), None)),
            other => other,
        };
        let is_sealed = stored.header.is_some();
        let mut wrong = match (&record, expect) {
            (Ok(record), Some(expected)) => differences(&record.manifest, expected),
            _ => Vec::new(),
        };
        let size = match self.store.head(&content).await {
            Ok(meta) => meta.size,
            Err(object_store::Error::NotFound { .. }) => return Ok((Verdict::Missing, None)),
            Err(e) => match self.out_of_reach(fault::of_store("verify backup", &content, e)) {
                e if e.kind() == ErrorKind::Corrupt => {
                    return Ok((Verdict::Damaged(vec![e.message().to_owned()]), None));
                }
                e => return Err(e),
            },
        };
        if size != stored.size {
            wrong.push(format!("{size} bytes are stored, the manifest says {}", stored.size));
        } else if depth == VerifyDepth::Stored || (depth > VerifyDepth::Stored && (!is_sealed || record.is_err())) {
            // What is sealed is checked to the last byte by being opened.
            wrong.extend(self.stored_faults(&content, &stored).await?);
        }
        let mut closed = None;
        let record = match record {
            Ok(record) => Some(record),
            Err(e) if e.kind() == ErrorKind::KeyUnavailable && (depth < VerifyDepth::Content || !wrong.is_empty()) => {
                closed = Some(e);
                None
            }
            Err(e) => return Err(e),
        };
        // What is damaged below need not be opened to be called so.
        if let Some(record) = record
            && wrong.is_empty()
            && depth >= VerifyDepth::Content
        {
            wrong.extend(self.content_faults(&content, &record).await?);
        }
        Ok((if wrong.is_empty() { Verdict::Good(depth) } else { Verdict::Damaged(wrong) }, closed))
    }

    /// What a failing disk does not give, and what lies behind a link, is lost to whoever wants it back: damaged.
    fn out_of_reach(&self, e: Error) -> Error {
        if !self.in_folder() || !fault::is_bad_medium(&e) && !fault::is_symbolic_link(&e) {
            return e;
        }
        Error::new(ErrorKind::Corrupt, "verify backup", format!("it cannot be read: {}", e.message())).because(e)
    }

    async fn stored_faults(&self, content: &Path, stored: &Stored) -> Result<Option<String>> {
        let hash_all = async {
            let mut stream = self.stored(content, stored, None).await?;
            let mut hash = Sha256::new();
            while let Some(chunk) = stream.try_next().await? {
                hash.update(&chunk);
            }
            Ok(Digest(hash.finalize().into()))
        };
        Ok(match damage_of(hash_all.await.map_err(|e| self.out_of_reach(e)))? {
            Ok(found) if found == stored.sha256 => None,
            Ok(found) => Some(format!("the stored bytes hash to {found}, the manifest says {}", stored.sha256)),
            Err(what) => Some(what),
        })
    }

    async fn content_faults(self: &Arc<Self>, content: &Path, record: &Record) -> Result<Option<String>> {
        // As it is in the store, it has just been hashed.
        if chain::is_as_is(&record.manifest) && record.stored.sha256 == record.manifest.sha256 {
            return Ok(None);
        }
        let read_all = async {
            let mut opened = self.view(content, record).await?;
            while let Some(chunk) = opened.next().await {
                chunk?;
            }
            Ok(())
        };
        Ok(damage_of(read_all.await.map_err(|e| self.out_of_reach(e)))?.err())
    }
}

fn damaged_manifest(e: &Error) -> Verdict {
    Verdict::Damaged(vec![format!("the manifest: {}", e.message())])
}

/// Damage is a finding; anything else is a verification that could not be done.
fn damage_of<T>(done: Result<T>) -> Result<std::result::Result<T, String>> {
    match done {
        Ok(value) => Ok(Ok(value)),
        Err(e) if e.kind() == ErrorKind::Corrupt => Ok(Err(e.message().to_owned())),
        Err(e) => Err(e),
    }
}

/// Where the store's manifest is not what the catalog expects.
fn differences(found: &Manifest, expected: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, found: String, expected: String| {
        if found != expected {
            wrong.push(format!("{what} is {found}, the catalog says {expected}"));
        }
    };
    compare("the size", found.size.to_string(), expected.size.to_string());
    compare("the hash", found.sha256.to_string(), expected.sha256.to_string());
    compare("the backup", found.backup.to_string(), expected.backup.to_string());
    compare("the run", found.run.to_string(), expected.run.to_string());
    compare("the artefact", found.artefact.escape_debug().to_string(), expected.artefact.escape_debug().to_string());
    compare("the view", found.view.to_string(), expected.view.to_string());
    wrong
}
