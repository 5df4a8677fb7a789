//! Going through all backups, folder by folder.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::storage::{ListFilter, MISSING};
use devicevault_core::{Error, ErrorKind, Manifest, Result, StorageRef, Timestamp};
use futures::stream::{BoxStream, FuturesUnordered, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, ObjectStore as _, ObjectStoreExt as _};

use super::record::Record;
use super::refused::Given;
use super::{Plain, layout};
use crate::fault;

/// How many folders of a store that is a network away are listed at once.
const LISTS_AT_ONCE: usize = 16;

/// Works on a task of its own. What is asked ahead must end whether or not somebody waits for it: it may hold one of the
/// few connections to the store that whoever reads the backups found so far is waiting for.
pub(super) async fn apart<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let lost = |e| Error::new(ErrorKind::Internal, "list backups", "the task that asked the store was lost").because(e);
    tokio::spawn(work).await.map_err(lost)?
}

/// Content without a manifest may be on its way for so long: its manifest comes last.
const ON_ITS_WAY: Duration = Duration::from_secs(10 * 60);
/// Where the times of files say nothing: what is being stored now has its manifest after so long.
const SECOND_LOOK: Duration = Duration::from_secs(10);

/// What an object stands for.
#[derive(Debug)]
enum Listed {
    Backup(Box<Found>),
    /// A backup whose content is not there.
    Bare(Box<Manifest>, Error),
    /// Something that is, or was, a backup, and does not tell whose.
    Nameless(Error),
}

/// A backup that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) at: StorageRef,
    pub(super) record: Record,
    pub(super) manifest_size: u64,
}

impl Plain {
    /// The objects of each folder that are ours. A disk is read folder by folder, so that one is in memory at a time; a
    /// network away several are asked for at once. A folder that is not to be read is an error in its place, and the others
    /// follow: `Corrupt`, or over a network `PermissionDenied`, which may be about the place. An error of the place is last.
    pub(super) fn folders(self: Arc<Self>) -> BoxStream<'static, Result<Result<Vec<ObjectMeta>>>> {
        let at_once = if self.in_folder() { 1 } else { LISTS_AT_ONCE };
        let begun = Some((vec![Path::default()], FuturesUnordered::new(), true));
        futures::stream::unfold(begun, move |left| {
            let plain = self.clone();
            async move {
                let (mut waiting, mut asked, is_root) = left?;
                while asked.len() < at_once
                    && let Some(folder) = waiting.pop()
                {
                    asked.push(apart(plain.clone().folder(folder)));
                }
                let mut found: ListResult = match asked.next().await? {
                    Ok(found) => found,
                    // Without its root nothing can be said of the place.
                    Err(e) if !is_root && matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::PermissionDenied) => {
                        return Some((Ok(Err(e)), Some((waiting, asked, false))));
                    }
                    Err(e) => return Some((Err(e), None)),
                };
                // A link in place of content is told with the manifest that names it.
                let names: HashSet<&str> = found.objects.iter().map(|o| o.location.as_ref()).collect();
                let is_content = |at: &Path| layout::manifest_paths(at).any(|m| names.contains(m.as_ref()));
                found.common_prefixes.retain(|at| !is_content(at));
                found.common_prefixes.sort_unstable_by(|a, b| b.cmp(a));
                waiting.append(&mut found.common_prefixes);
                found.objects.retain(|o| layout::has_stamp(o.location.as_ref()));
                Some((Ok(Ok(found.objects)), Some((waiting, asked, false))))
            }
        })
        .boxed()
    }

    async fn folder(self: Arc<Self>, folder: Path) -> Result<ListResult> {
        let found = self.store.list_with_delimiter(Some(&folder)).await;
        let found = found.map_err(|e| fault::of_store("list backups", &folder, e));
        if folder == Path::default() { found } else { found.map_err(|e| self.unread(&folder, e)) }
    }

    /// A folder or a manifest that the place does not give, although the place is there: a link stands there, or a disk
    /// fails in one spot. It is told like damage, and the others follow. Over a network such an answer may be about the
    /// place: see [`told_apart`](Self::told_apart).
    pub(super) fn unread(&self, at: &Path, e: Error) -> Error {
        let of_the_disk = matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::Unavailable) && self.in_folder();
        if !of_the_disk && !fault::is_symbolic_link(&e) {
            return e.with("path", at);
        }
        let why = format!("it cannot be read: {}", e.message());
        Error::new(ErrorKind::Corrupt, "list backups", why).with("path", at).because(e)
    }

    /// Every backup that passes the filter, with its record. A manifest whose content is not there, one that is damaged or
    /// lies where it does not belong, and content without a manifest are errors, after which the rest follows.
    pub(super) fn records(self: Arc<Self>, filter: ListFilter) -> BoxStream<'static, Result<Found>> {
        let told = |listed| match listed {
            Listed::Backup(found) => Ok(*found),
            Listed::Bare(_, e) | Listed::Nameless(e) => Err(e),
        };
        self.listed(filter).map(move |listed| listed.and_then(told)).boxed()
    }

    /// The same for those who have nothing to do where there is no content.
    pub(super) fn whole(self: Arc<Self>, filter: ListFilter) -> BoxStream<'static, Result<Found>> {
        let whole = |listed| match listed {
            Listed::Backup(found) => Some(*found),
            Listed::Bare(..) | Listed::Nameless(_) => None,
        };
        self.listed(filter).try_filter_map(move |listed| std::future::ready(Ok(whole(listed)))).boxed()
    }

    fn listed(self: Arc<Self>, filter: ListFilter) -> BoxStream<'static, Result<Listed>> {
        let (plain, at_once) = (self.clone(), self.reads_at_once());
        let since = filter.since;
        let given = Arc::new(Given::default());
        let noted = given.clone();
        let found = self
            .clone()
            .folders()
            .map_ok(move |objects| {
                let objects = match objects {
                    Ok(objects) => objects,
                    Err(e) => return futures::stream::iter([Err(e)]).boxed(),
                };
                let noted = noted.clone();
                let sizes: HashMap<String, u64> = objects.iter().map(|o| (o.location.to_string(), o.size)).collect();
                let (plain, sizes, filter) = (plain.clone(), Arc::new(sizes), filter.clone());
                let may_pass = move |at: &Path| since.is_none_or(|t| layout::may_be_since(at.as_ref(), t));
                let mut nameless = unnamed(&objects);
                nameless.retain(|object| may_pass(&object.location));
                let manifests = objects.into_iter().map(|o| o.location);
                let manifests = manifests.filter(move |at| layout::is_manifest(at.as_ref()) && may_pass(at));
                let nameless = futures::stream::iter(nameless).map({
                    let plain = plain.clone();
                    move |object| apart(plain.clone().nameless(object))
                });
                futures::stream::iter(manifests)
                    .map(move |manifest| apart(plain.clone().found(manifest, sizes.clone(), noted.clone())))
                    .buffered(at_once)
                    .chain(nameless.buffered(at_once).map_ok(|lost| lost.map(Listed::Nameless)))
                    .try_filter_map(move |listed| {
                        let passes = |listed: &Listed| match listed {
                            Listed::Backup(found) => filter.matches(&found.record.manifest),
                            Listed::Bare(manifest, _) => filter.matches(manifest),
                            Listed::Nameless(_) => true,
                        };
                        std::future::ready(Ok(listed.filter(passes)))
                    })
                    .boxed()
            })
            .try_flatten()
            .boxed();
        self.told_apart(given, found)
    }

    async fn found(
        self: Arc<Self>,
        manifest: Path,
        sizes: Arc<HashMap<String, u64>>,
        given: Arc<Given>,
    ) -> Result<Option<Listed>> {
        let (file, manifest_size) = match self.load(&manifest).await {
            Ok(loaded) => {
                self.gave(&given, &manifest);
                loaded
            }
            // It was deleted since the folder was read.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.unread(&manifest, e)),
        };
        let content = layout::content_of(&manifest, &file.stored().object)?;
        // Reading a folder is not atomic: it may have been stored meanwhile.
        let is_there = sizes.contains_key(content.as_ref())
            || self.is_there(&content).await.map_err(|e| self.unread(&content, e))?;
        // Or deleted: the manifest goes first.
        if !is_there && !self.is_there(&manifest).await? {
            return Ok(None);
        }
        let record = self.opened(file).await.map_err(|e| e.with("path", &manifest))?;
        if !layout::is_named_after(&manifest, &record.manifest) {
            return Err(layout::of_another(&manifest));
        }
        if !is_there {
            let gone = Error::new(ErrorKind::Corrupt, "list backups", "its manifest is there, its content is not");
            let of = &record.manifest;
            let gone =
                gone.with(MISSING, content).with("device", &of.source.device_name).with("artefact", &of.artefact);
            return Ok(Some(Listed::Bare(Box::new(record.manifest), gone)));
        }
        let at = StorageRef(content.to_string());
        Ok(Some(Listed::Backup(Box::new(Found { at, record, manifest_size }))))
    }

    /// What is to be told of content without a manifest; nothing where that may be on its way, or came meanwhile.
    pub(super) async fn nameless(self: Arc<Self>, object: ObjectMeta) -> Result<Option<Error>> {
        let now = self.options.clock.now();
        let age = now.as_second().saturating_sub(object.last_modified.timestamp());
        // Whoever writes there sets a time as he likes: what is of the future is not on its way.
        if age.unsigned_abs() <= ON_ITS_WAY.as_secs() {
            let before = now.checked_sub(ON_ITS_WAY).unwrap_or(Timestamp::MIN);
            if self.options.times || layout::may_be_since(object.location.as_ref(), before) {
                return Ok(None);
            }
            // Of many that lack theirs, only those of this moment are waited for.
            let age = Duration::from_secs(age.try_into().unwrap_or(SECOND_LOOK.as_secs()));
            tokio::time::sleep(SECOND_LOOK.saturating_sub(age)).await;
        }
        for manifest in layout::manifest_paths(&object.location) {
            if self.is_there(&manifest).await? {
                return Ok(None);
            }
        }
        // Or it is not there any more: the manifest goes first.
        if !self.is_there(&object.location).await? {
            return Ok(None);
        }
        let lost = Error::new(ErrorKind::Corrupt, "list backups", "its content is there, its manifest is not");
        Ok(Some(lost.with("object", object.location)))
    }

    async fn is_there(&self, at: &Path) -> Result<bool> {
        match self.store.head(at).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(fault::of_store("list backups", at, e)),
        }
    }
}

/// The content in a folder that no manifest there is of.
pub(super) fn unnamed(objects: &[ObjectMeta]) -> Vec<ObjectMeta> {
    let names: HashSet<&str> = objects.iter().map(|o| o.location.as_ref()).collect();
    let is_named = |content: &Path| layout::manifest_paths(content).any(|m| names.contains(m.as_ref()));
    let bare = |o: &&ObjectMeta| !layout::is_manifest(o.location.as_ref()) && !is_named(&o.location);
    objects.iter().filter(bare).cloned().collect()
}
