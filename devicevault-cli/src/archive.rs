//! What is kept, to be read: the versions of an instance by its catalog, or those of a folder by its manifests alone.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::catalog::Query;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::rebuild::{Meant, Named};
use devicevault_core::run::{Backup, Copy, CopyStatus, Quarantine};
use devicevault_core::storage::{ListFilter, StorageBackendExt as _};
use devicevault_core::text::InstanceKey;
use devicevault_core::{
    BackupId, DestinationId, DeviceId, Error, ErrorKind, Kind, Manifest, Result, StorageBackend, StorageRef, View,
};
use futures::StreamExt as _;
use tokio::sync::OnceCell;

use crate::collectors::Collectors;
use crate::context::Context;
use crate::instance::Instance;
use crate::ui::Ui;
use crate::{naming, views, wiring};

/// A text to be shown or compared is read into memory; no larger one is.
const MAX_TEXT: u64 = 256 << 20;

/// Versions and the places that hold them.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) collectors: Collectors,
    key: InstanceKey,
    places: BTreeMap<DestinationId, Place>,
    index: Index,
}

/// Who knows the versions.
#[derive(Debug)]
enum Index {
    Catalog(Box<Instance>),
    Manifests(Listed),
}

/// What a place without a catalog holds.
#[derive(Debug)]
struct Listed {
    /// All versions, newest first.
    all: Vec<Backup>,
    /// What was found damaged.
    unknown: Vec<Error>,
    /// What the devices are called, and were.
    named: Named,
    /// Who is told what a name means that several devices have had.
    ui: Ui,
}

impl Listed {
    fn device_id(&self, name: &str) -> Result<DeviceId> {
        let itself = || self.all.iter().find(|b| b.device.as_str() == name).map(|b| b.device.clone());
        match naming::settle(&self.named, name, &self.ui) {
            Ok(Some(device)) => Ok(device),
            Ok(None) => itself()
                .ok_or_else(|| crate::instance::no_such_device(name, self.all.iter().map(|b| b.device_name.as_str()))),
            Err(e) => itself().ok_or(e),
        }
    }
}

/// A destination, opened when something is first asked of it: one that does not answer keeps nobody waiting who needs
/// another.
#[derive(Debug)]
struct Place {
    name: String,
    /// How it is opened; a folder without a catalog is open.
    config: Option<DestinationConfig>,
    backend: OnceCell<Result<Arc<dyn StorageBackend>>>,
}

impl Place {
    fn is_remote(&self) -> bool {
        self.config.as_ref().is_some_and(|c| c.options.contains_key(wiring::URL))
    }
}

impl Archive {
    /// What an instance keeps.
    ///
    /// # Errors
    /// Its destinations cannot be read.
    pub(crate) async fn of_instance(instance: Instance) -> Result<Self> {
        // Also those that nothing new is stored at: what they hold can be read.
        let place = |d: DestinationConfig| {
            (d.id.clone(), Place { name: d.name.clone(), config: Some(d), backend: OnceCell::new() })
        };
        let places = instance.inventory.destinations().await?.into_iter().map(place).collect();
        Ok(Self {
            collectors: instance.collectors.clone(),
            key: instance.key.clone(),
            places,
            index: Index::Catalog(Box::new(instance)),
        })
    }

    /// What a backend lists, without a catalog.
    ///
    /// # Errors
    /// The backend cannot be listed. Manifests that cannot be read are handed to `damaged`.
    pub(crate) async fn of_manifests(
        context: &Context,
        collectors: Collectors,
        key: InstanceKey,
        backend: Arc<dyn StorageBackend>,
        mut damaged: impl FnMut(Error),
    ) -> Result<Self> {
        let id = DestinationId::from("folder");
        let mut found: BTreeMap<(DeviceId, String), Vec<(StorageRef, Manifest)>> = BTreeMap::new();
        let (mut unknown, mut named) = (Vec::new(), Named::new());
        // Under another epoch key, or another home's: it keeps nobody from the others.
        let mut closed: BTreeMap<String, (usize, Error)> = BTreeMap::new();
        let mut list = backend.list(ListFilter::default());
        while let Some(item) = list.next().await {
            match item {
                Ok((at, m)) => {
                    named.hear_manifest(&m);
                    found.entry((m.source.device.clone(), m.artefact.clone())).or_default().push((at, m));
                }
                Err(e) if e.kind() == ErrorKind::Corrupt || e.kind() == ErrorKind::Unsupported => {
                    unknown.push(e.clone());
                    damaged(e);
                }
                Err(e) if e.kind() == ErrorKind::KeyUnavailable => {
                    let epoch = e.context().find(|(name, _)| *name == "epoch").map(|(_, id)| id.to_owned());
                    closed.entry(epoch.unwrap_or_default()).or_insert((0, e)).0 += 1;
                }
                Err(e) => return Err(e),
            }
        }
        drop(list);
        for versions in found.values_mut() {
            for e in drop_doubles(versions) {
                unknown.push(e.clone());
                damaged(e);
            }
        }
        for (count, e) in closed.into_values() {
            if found.is_empty() {
                return Err(e);
            }
            let e = e.with("manifests that stay closed", count);
            unknown.push(e.clone());
            damaged(e);
        }
        for e in named.hear_all(&*backend, context.clock().now()).await? {
            let why = e.to_record().message;
            context.ui.warn(&format!("a device that was renamed may be found under the name of before alone: {why}"));
        }
        let mut all: Vec<Backup> = found.into_values().flat_map(|versions| history_of(&id, versions)).collect();
        all.sort_by_key(|b| std::cmp::Reverse((b.first_seen, b.id)));
        for backup in &mut all {
            if let Some(name) = named.name_of(&backup.device).filter(|name| *name != backup.device_name) {
                name.clone_into(&mut backup.device_name);
            }
        }
        let place = Place { name: id.to_string(), config: None, backend: OnceCell::new_with(Some(Ok(backend))) };
        let listed = Listed { all, unknown, named, ui: context.ui.clone() };
        Ok(Self { collectors, key, places: BTreeMap::from([(id, place)]), index: Index::Manifests(listed) })
    }

    /// The versions that a query finds, newest first.
    ///
    /// # Errors
    /// What the catalog answers.
    pub(crate) async fn versions(&self, query: &Query, limit: usize) -> Result<Vec<Backup>> {
        let all = match &self.index {
            Index::Catalog(instance) => return instance.find_all(query, limit).await,
            Index::Manifests(listed) => &listed.all,
        };
        let passes = |b: &&Backup| {
            query.id.is_none_or(|id| id == b.id)
                && query.device.as_ref().is_none_or(|d| *d == b.device)
                && query.artefact.as_ref().is_none_or(|a| *a == b.artefact)
                && query.since.is_none_or(|t| b.first_seen >= t)
                && query.until.is_none_or(|t| b.first_seen < t)
                && (!query.quarantined || b.is_quarantined())
        };
        Ok(all.iter().filter(passes).take(limit).cloned().collect())
    }

    /// That a version is not there, with what is known of those that cannot be read: it may be one of them.
    pub(crate) fn not_found(&self, e: Error) -> Error {
        match &self.index {
            Index::Manifests(Listed { unknown, .. }) if !unknown.is_empty() && e.kind() == ErrorKind::NotFound => e
                .with("damaged", unknown.len())
                .hint("it may be among those that are damaged: `devicevault verify --from` names them"),
            _ => e,
        }
    }

    /// What was found damaged that is, or may be, of this device and artefact, in words.
    pub(crate) fn damaged_of(&self, device: &str, artefact: Option<&str>) -> Vec<String> {
        let Index::Manifests(Listed { unknown, .. }) = &self.index else { return Vec::new() };
        let is = |e: &Error, name: &str, value: &str| {
            e.context().find(|(n, _)| *n == name).is_none_or(|(_, of)| of == value)
        };
        let may_be = |e: &&Error| is(e, "device", device) && artefact.is_none_or(|a| is(e, "artefact", a));
        unknown.iter().filter(may_be).map(ToString::to_string).collect()
    }

    /// The identity of the device of this name.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) async fn device_id(&self, name: &str) -> Result<DeviceId> {
        match &self.index {
            Index::Catalog(instance) => instance.device_id(name).await,
            Index::Manifests(listed) => listed.device_id(name),
        }
    }

    /// Whether a device has just this name.
    ///
    /// # Errors
    /// What the catalog answers.
    pub(crate) async fn is_device(&self, name: &str) -> Result<bool> {
        match &self.index {
            Index::Catalog(instance) => instance.is_device(name).await,
            Index::Manifests(listed) => Ok(!matches!(listed.named.meant(name), Meant::Nobody)),
        }
    }

    /// What a destination is called.
    pub(crate) fn place_name<'a>(&'a self, id: &'a DestinationId) -> &'a str {
        self.places.get(id).map_or(id.as_str(), |p| p.name.as_str())
    }

    /// The backend that a copy is at.
    ///
    /// # Errors
    /// The destination is not there or cannot be opened.
    pub(crate) async fn backend(&self, at: &DestinationId) -> Result<&Arc<dyn StorageBackend>> {
        let removed = || Error::new(ErrorKind::NotFound, "open destination", "it was removed").with("destination", at);
        let place = self.places.get(at).ok_or_else(removed)?;
        let open = async || match (&self.index, &place.config) {
            (Index::Catalog(instance), Some(config)) => instance.open_backend(config, false).await,
            _ => Err(removed()),
        };
        place.backend.get_or_init(open).await.as_ref().map_err(Clone::clone)
    }

    /// Whether a destination was asked for something, and could be opened.
    pub(crate) fn is_open(&self, at: &DestinationId) -> bool {
        self.places.get(at).and_then(|place| place.backend.get()).is_some_and(Result::is_ok)
    }

    /// Whether a destination is on the other side of a network. What is here is asked first.
    pub(crate) fn is_remote(&self, at: &DestinationId) -> bool {
        self.places.get(at).is_none_or(Place::is_remote)
    }

    /// The instance behind it, where there is a catalog.
    pub(crate) fn instance(&self) -> Option<&Instance> {
        match &self.index {
            Index::Catalog(instance) => Some(instance.as_ref()),
            Index::Manifests(_) => None,
        }
    }

    /// The copies that may be read, best first: those of this view, then those that it can be made from; what is damaged, as
    /// far as is known, last.
    fn sources<'a>(&self, backup: &'a Backup, view: View) -> Vec<(&'a Copy, &'a StorageRef)> {
        let mut all: Vec<_> = backup
            .copies
            .iter()
            .filter(|c| matches!(c.status, CopyStatus::Stored | CopyStatus::Extended | CopyStatus::Damaged))
            .filter(|c| c.view == view || c.view == View::Original)
            .filter_map(|c| Some((c, c.storage_ref.as_ref()?)))
            .collect();
        all.sort_by_key(|(c, _)| (is_damaged(c), c.view != view, self.is_remote(&c.destination)));
        all
    }

    /// Reads a view of a version: a stored one, else made from the original. Of a binary there is only the original.
    ///
    /// # Errors
    /// No destination has it or can be read; the first error of those that were tried.
    pub(crate) async fn read(&self, backup: &Backup, view: View) -> Result<Vec<u8>> {
        let view = if backup.kind == Kind::Binary { View::Original } else { view };
        let mut first_error = None;
        for (copy, at) in self.sources(backup, view) {
            match self.read_copy(backup, copy, at, view).await {
                Ok(bytes) => return Ok(bytes),
                // That it is damaged is told below.
                Err(_) if is_damaged(copy) => {}
                Err(e) => drop(first_error.get_or_insert(e)),
            }
        }
        Err(first_error.unwrap_or_else(|| self.none(backup, view)))
    }

    /// That there is nothing to read this view from.
    fn none(&self, backup: &Backup, view: View) -> Error {
        let is_meant = |c: &&Copy| c.view == view || c.view == View::Original;
        let damaged = backup.copies.iter().filter(is_meant).find(|c| c.status == CopyStatus::Damaged);
        let e = match damaged {
            None => Error::new(ErrorKind::NotFound, "read backup", "no destination has this view of it"),
            Some(copy) => {
                let why = copy.error.as_ref().map_or_else(String::new, |e| format!(": {}", e.message));
                Error::new(ErrorKind::Corrupt, "read backup", format!("what is stored of it is damaged{why}"))
                    .with("destination", self.place_name(&copy.destination))
                    .hint(
                        "`devicevault verify` looks at it again, and tells what else is damaged; the version before it is \
                         `--backup latest~1`",
                    )
            }
        };
        e.with("backup", backup.id).with("view", view)
    }

    async fn read_copy(&self, backup: &Backup, copy: &Copy, at: &StorageRef, view: View) -> Result<Vec<u8>> {
        let backend = self.backend(&copy.destination).await?;
        let bytes = backend.read_all(at, MAX_TEXT).await.map_err(|e| told(e, backup, copy))?;
        if copy.view == view {
            return Ok(bytes);
        }
        let manifest = backend.stat(at).await.map_err(|e| told(e, backup, copy))?;
        views::make(&self.collectors, &self.key, &manifest, Bytes::from(bytes), view)
    }

    /// Every copy of this view that may be read, best first: those that were found damaged, or are about to go, last.
    pub(crate) fn copies<'a>(&self, backup: &'a Backup, view: View) -> Vec<(&'a Copy, &'a StorageRef)> {
        let readable = [CopyStatus::Stored, CopyStatus::Extended, CopyStatus::Damaged, CopyStatus::Marked];
        let all = backup.copies.iter().filter(|c| c.view == view && readable.contains(&c.status));
        let mut all: Vec<_> = all.filter_map(|c| Some((c, c.storage_ref.as_ref()?))).collect();
        let worse = |c: &Copy| matches!(c.status, CopyStatus::Damaged | CopyStatus::Marked);
        all.sort_by_key(|(c, _)| (worse(c), self.is_remote(&c.destination)));
        all
    }

    /// A copy of this view to be read as a stream.
    ///
    /// # Errors
    /// No destination has one.
    pub(crate) async fn stored<'a>(
        &'a self,
        backup: &'a Backup,
        view: View,
    ) -> Result<(&'a Arc<dyn StorageBackend>, &'a Copy, &'a StorageRef)> {
        let view = if backup.kind == Kind::Binary { View::Original } else { view };
        let mut first_error = None;
        for (copy, at) in self.sources(backup, view).into_iter().filter(|(c, _)| c.view == view && !is_damaged(c)) {
            match self.backend(&copy.destination).await {
                Ok(backend) => return Ok((backend, copy, at)),
                Err(e) => first_error.get_or_insert(e),
            };
        }
        Err(first_error.unwrap_or_else(|| self.none(backup, view)))
    }
}

/// Leaves one of what lies at several places; what is to be told of the others. Where a backup was stored anew, by another
/// run, both are what they say.
fn drop_doubles(versions: &mut Vec<(StorageRef, Manifest)>) -> Vec<Error> {
    versions.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (mut first, mut told) = (HashMap::new(), Vec::new());
    versions.retain(|(at, m)| match first.entry((m.backup, m.run, m.view)) {
        Entry::Vacant(free) => {
            free.insert(at.clone());
            true
        }
        Entry::Occupied(known) => {
            let why = "it lies at another place as well: something was copied here, and may stand where another was";
            let e = Error::new(ErrorKind::Corrupt, "list backups", why).with("path", at).with("other", known.get());
            told.push(e.with("device", &m.source.device_name).with("artefact", &m.artefact));
            false
        }
    });
    told
}

/// As far as is known: a copy that could not be looked at for a moment counts as one.
fn is_damaged(copy: &Copy) -> bool {
    copy.status == CopyStatus::Damaged
}

fn told(e: Error, backup: &Backup, copy: &Copy) -> Error {
    e.with("backup", backup.id).with("destination", &copy.destination)
}

/// Versions out of the manifests of one artefact of one device: each is valid until the next begins.
fn history_of(at: &DestinationId, mut versions: Vec<(StorageRef, Manifest)>) -> Vec<Backup> {
    versions.sort_by_key(|(_, m)| (m.first_seen(), m.taken_at, m.backup));
    let mut by_id: BTreeMap<BackupId, Backup> = BTreeMap::new();
    for (storage_ref, m) in versions {
        let mut copy = Copy::new(at.clone(), m.view, m.size, m.sha256, m.taken_at);
        copy.status = CopyStatus::Stored;
        copy.storage_ref = Some(storage_ref);
        let backup = by_id.entry(m.backup).or_insert_with(|| {
            let mut b = Backup::new(m.backup, m.run, m.source.device.clone(), &m.artefact, m.content, m.first_seen());
            b.device_name.clone_from(&m.source.device_name);
            b.kind = m.kind;
            b.extension.clone_from(&m.extension);
            b.suspect.clone_from(&m.suspect);
            b.quarantine = m.quarantined.then_some(Quarantine::Held);
            b.metadata.clone_from(&m.metadata);
            b.size = m.size;
            b
        });
        if m.view == View::Original {
            backup.size = m.size;
        }
        backup.copies.push(copy);
    }
    by_id.into_values().collect()
}
