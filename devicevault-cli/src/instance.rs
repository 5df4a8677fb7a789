//! An instance: the folder that holds a catalog, its keys and what it remembers of hosts. A home is one; an ad hoc backup
//! keeps a small one of its own beside its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devicevault_core::catalog::{CatalogExt as _, Query};
use devicevault_core::file_rules::{FileChecker, FileRules};
use devicevault_core::inventory::{DestinationConfig, Policy, Selector};
use devicevault_core::quota::{Quota, QuotaLimits};
use devicevault_core::rebuild::Named;
use devicevault_core::run::Backup;
use devicevault_core::statistics::StatisticsQuery;
use devicevault_core::text::InstanceKey;
use devicevault_core::verification::{self, ReadBack};
use devicevault_core::{
    Catalog, Device, DeviceId, Error, ErrorKind, Inventory, Result, Spool, StorageBackend, Timestamp,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::app::{BackendSettings, Open, Parts};
use crate::checker::ProgramChecker;
use crate::collectors::Collectors;
use crate::context::Context;
use crate::keys::kit;
use crate::keys::lock::lock;
use crate::keys::mended::mend;
use crate::keys::new::NewKey;
use crate::secrets::Asked;
use crate::settings::CheckerSettings;
use crate::ui::Ui;
use crate::wiring::keys::{Keys, is_sealed};
use crate::wiring::{CatalogFile, SpoolBounds};
use crate::{files, naming, wiring};

/// Name of the catalog's file.
pub(crate) const CATALOG: &str = "catalog.db";
/// Name of the key's file.
pub(crate) const KEY: &str = "instance.key";
/// Name of the file that host keys are remembered in.
pub(crate) const KNOWN_HOSTS: &str = "known_hosts";
/// Name of the folder where bytes wait for their destinations.
pub(crate) const SPOOL: &str = "spool";
/// Name of the folder with the user's own platform files.
pub(crate) const PLATFORMS: &str = "platforms";

/// Destinations that are opened at a time.
const OPENED_AT_A_TIME: usize = 16;

/// An opened instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) home: PathBuf,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) inventory: Arc<dyn Inventory>,
    /// Where both are kept.
    pub(crate) file: CatalogFile,
    pub(crate) key: InstanceKey,
    pub(crate) collectors: Collectors,
    pub(crate) keys: Keys,
    /// What was asked at the terminal.
    pub(crate) asked: Asked,
    parts: Parts,
    /// Who is told what a name means that several devices have had.
    ui: Ui,
    /// Whether what a destination cannot take waits for it.
    parks: bool,
    spool: SpoolBounds,
    /// What the configuration says of files.
    pub(crate) file_rules: Option<FileRules>,
    checkers: BTreeMap<String, CheckerSettings>,
}

/// A device that had a name once.
#[derive(Debug)]
pub(crate) struct OnceNamed {
    pub(crate) device: DeviceId,
    /// What it is called by now; of one that was removed, what it was called when it was last stored.
    pub(crate) now: String,
    /// When its newest version was first seen.
    last: Timestamp,
}

/// A destination and, where it could be opened, its backend.
#[derive(Debug)]
pub(crate) struct OpenDestination {
    pub(crate) config: DestinationConfig,
    pub(crate) backend: Result<Arc<dyn StorageBackend>>,
}

impl Instance {
    /// Whether there is one in this folder.
    pub(crate) fn exists(home: &Path) -> bool {
        home.join(CATALOG).exists()
    }

    /// Makes what is missing of an instance, with the recovery kit of its keys, the catalog last, and opens it.
    ///
    /// # Errors
    /// The folder cannot be written, or holds a file that is not ours.
    pub(crate) async fn create(context: &Context, home: &Path, destinations: &[DestinationConfig]) -> Result<Self> {
        files::make_private_folder(home)?;
        let key = files::load_or_make_key(&home.join(KEY))?;
        files::make_private_file(&home.join(KNOWN_HOSTS))?;
        let keys = if destinations.iter().any(is_sealed) {
            let _alone = lock(home).await?;
            Keys::create(home, &NewKey::Generate(None), &context.given_keys.typed, context.clock().now()).await?
        } else {
            Keys::default()
        };
        for destination in destinations {
            let clock = context.clock().clone();
            let settings = BackendSettings::new(destination.clone(), home.to_owned(), true, clock, keys.clone(), None);
            open_destination(&context.parts, settings).await?;
        }
        if keys.is_set_up() {
            // Before it is a home: there is none that nothing opens but what lies in it.
            kit::write(home, &keys, destinations, context.clock().now(), None).await?;
        }
        let store = wiring::create_catalog(&home.join(CATALOG), context.clock().clone()).await?;
        let instance = Self::assemble(context, home, store, key, keys)?;
        for destination in destinations {
            instance.inventory.put_destination(destination).await?;
        }
        Ok(instance)
    }

    /// Opens the instance in this folder.
    ///
    /// # Errors
    /// `Config` where there is none.
    pub(crate) async fn open(context: &Context, home: &Path) -> Result<Self> {
        if !Self::exists(home) {
            return Err(Error::new(ErrorKind::Config, "open home", "there is no DeviceVault home in this folder")
                .with("folder", home.display())
                .hint("set one up with `devicevault init`, or name another by --home DIR or DEVICEVAULT_HOME"));
        }
        let key = files::load_key(&home.join(KEY))?;
        let store = wiring::open_catalog(&home.join(CATALOG), context.clock().clone()).await?;
        let keys = Keys::open(Some(home), &context.given_keys).await?;
        let instance = Self::assemble(context, home, store, key, keys)?;
        if instance.keys.lacks_epochs() {
            mend(context, &instance).await;
        }
        Ok(instance)
    }

    /// A home whose catalog is gone, with an empty one in another folder: nothing is made in the home.
    ///
    /// # Errors
    /// The keys cannot be read, or the other folder not be written.
    pub(crate) async fn rehearse(context: &Context, home: &Path, scratch: &Path) -> Result<Self> {
        let key = match home.join(KEY) {
            kept if kept.exists() => files::load_key(&kept)?,
            _ => files::load_or_make_key(&scratch.join(KEY))?,
        };
        let store = wiring::create_catalog(&scratch.join(CATALOG), context.clock().clone()).await?;
        let keys = Keys::open(Some(home), &context.given_keys).await?;
        Self::assemble(context, home, store, key, keys)
    }

    fn assemble(context: &Context, home: &Path, store: wiring::Store, key: InstanceKey, keys: Keys) -> Result<Self> {
        Ok(Self {
            home: home.to_owned(),
            catalog: store.catalog,
            inventory: store.inventory,
            file: store.file,
            key,
            collectors: Collectors::of_home(context, home)?,
            keys,
            asked: Asked::default(),
            parts: context.parts.clone(),
            ui: context.ui.clone(),
            parks: true,
            spool: context.settings.spool(),
            file_rules: context.settings.file_rules().cloned(),
            checkers: context.settings.checkers().clone(),
        })
    }

    /// The same, where nothing waits for a destination: what it cannot take is a failure.
    #[must_use]
    pub(crate) fn without_parking(mut self) -> Self {
        self.parks = false;
        self
    }

    /// Whether it lasts: what an ad hoc backup keeps beside its files does without what is for later.
    pub(crate) fn is_home(&self) -> bool {
        self.parks
    }

    /// The checkers that file rules may name.
    pub(crate) fn checkers(&self) -> impl Iterator<Item = (&str, Arc<dyn FileChecker>)> {
        self.checkers.iter().map(|(name, settings)| {
            let checker: Arc<dyn FileChecker> = Arc::new(ProgramChecker::new(settings.clone(), self.home.clone()));
            (name.as_str(), checker)
        })
    }

    /// Refuses rules that name a checker which the configuration does not have.
    ///
    /// # Errors
    /// `NotFound` that names those that are alike; what is wrong with the rules.
    pub(crate) fn check_file_rules(&self, origin: &str, options: &BTreeMap<String, String>) -> Result<()> {
        let rules = FileRules::from_options(origin, options)?;
        match rules.iter().flat_map(FileRules::checkers).find(|name| !self.checkers.contains_key(*name)) {
            None => Ok(()),
            Some(unknown) => {
                let known: Vec<_> = self.checkers.keys().map(String::as_str).collect();
                let there = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
                let e = no_such("checker", unknown, known.into_iter());
                Err(e.hint(format!("checkers are set up in devicevault.toml, as [checkers.NAME]; there is: {there}")))
            }
        }
    }

    /// Where bytes wait between devices and destinations.
    ///
    /// # Errors
    /// Its folder cannot be used.
    pub(crate) async fn spool(&self) -> Result<Arc<dyn Spool>> {
        let bounds = self.spool.clone();
        wiring::open_spool(&self.home.join(SPOOL), &self.key, bounds, self.parks, self.parts.clock.clone()).await
    }

    /// Every enabled destination, opened.
    ///
    /// # Errors
    /// The inventory cannot be read. A destination that cannot be opened is among the others, with its error.
    pub(crate) async fn destinations(&self) -> Result<Vec<OpenDestination>> {
        self.destinations_where(|d| d.enabled).await
    }

    /// Some destinations, opened side by side.
    ///
    /// # Errors
    /// As [`destinations`](Self::destinations).
    pub(crate) async fn destinations_where(
        &self,
        wanted: impl Fn(&DestinationConfig) -> bool,
    ) -> Result<Vec<OpenDestination>> {
        let wanted = self.inventory.destinations().await?.into_iter().filter(|d| wanted(d));
        let open =
            wanted.map(|config| async { OpenDestination { backend: self.open_backend(&config, false).await, config } });
        // One that does not answer keeps the others waiting no longer than itself.
        Ok(stream::iter(open).buffered(OPENED_AT_A_TIME).collect().await)
    }

    /// Opens one destination; sets it up first where that is wanted.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) async fn open_backend(
        &self,
        config: &DestinationConfig,
        set_up: bool,
    ) -> Result<Arc<dyn StorageBackend>> {
        let backend = open_destination(&self.parts, self.backend_settings(config, set_up)).await;
        backend.and_then(|b| self.bounded(config, b)).map_err(|e| e.with("destination", &config.name))
    }

    /// What is to be stored there goes through the destination's quotas.
    fn bounded(&self, config: &DestinationConfig, backend: Arc<dyn StorageBackend>) -> Result<Arc<dyn StorageBackend>> {
        let limits = QuotaLimits::from_options(&config.options)?;
        if !limits.is_set() {
            return Ok(backend);
        }
        Ok(Quota::new(backend, limits, config.id.clone(), self.catalog.clone(), self.parts.clock.clone()))
    }

    /// What a destination of this instance is opened by.
    pub(crate) fn backend_settings(&self, config: &DestinationConfig, set_up: bool) -> BackendSettings {
        let (clock, inventory) = (self.parts.clock.clone(), Some(self.inventory.clone()));
        BackendSettings::new(config.clone(), self.home.clone(), set_up, clock, self.keys.clone(), inventory)
    }

    /// Refuses a kind of destination that this program does not have.
    ///
    /// # Errors
    /// `Config` that names those that it has.
    pub(crate) fn check_kind(&self, config: &DestinationConfig) -> Result<()> {
        opener(&self.parts, config).map(drop)
    }

    /// The destination of this name.
    ///
    /// # Errors
    /// `NotFound` that names those that are alike.
    pub(crate) async fn destination(&self, name: &str) -> Result<DestinationConfig> {
        let mut all = self.inventory.destinations().await?;
        match all.iter().position(|d| d.name == name) {
            Some(at) => Ok(all.swap_remove(at)),
            None => Err(no_such("destination", name, all.iter().map(|d| d.name.as_str()))),
        }
    }

    /// The policies; none where the inventory keeps none.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub(crate) async fn policies(&self) -> Result<Vec<Policy>> {
        match self.inventory.policies().await {
            Err(e) if e.kind() == ErrorKind::Unsupported => Ok(Vec::new()),
            done => done,
        }
    }

    /// The policy of this name.
    ///
    /// # Errors
    /// `NotFound` that names those that are alike.
    pub(crate) async fn policy(&self, name: &str) -> Result<Policy> {
        let mut all = self.policies().await?;
        match all.iter().position(|p| p.name == name) {
            Some(at) => Ok(all.swap_remove(at)),
            None => Err(no_such("policy", name, all.iter().map(|p| p.name.as_str()))),
        }
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// The device of this name.
    ///
    /// # Errors
    /// `NotFound` that names those that are alike.
    pub(crate) async fn device(&self, name: &str) -> Result<Device> {
        let mut selector = Selector::default();
        selector.names.insert(name.to_owned());
        if let Some(device) = self.inventory.devices(&selector).await?.into_iter().next() {
            return Ok(device);
        }
        let mut all = Selector::default();
        all.disabled = true;
        let names = self.inventory.devices(&all).await?;
        Err(no_such_device(name, names.iter().map(|d| d.name.as_str())))
    }

    /// The identity behind a name: of a device, or of one that was removed and has backups still. An identity names
    /// itself, so that a device is found too whose name another one has by now.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) async fn device_id(&self, name: &str) -> Result<DeviceId> {
        let missing = match self.device(name).await {
            Ok(device) => return Ok(device.id),
            Err(e) if e.kind() == ErrorKind::NotFound => e,
            Err(e) => return Err(e),
        };
        let mut itself = Query::default();
        itself.device = Some(DeviceId::from(name));
        if let Some(backup) = self.catalog.newest(&itself).await? {
            return Ok(backup.device);
        }
        let mut named = Named::new();
        for once in self.once_named(name).await? {
            named.hear(&once.device, name, Timestamp::MIN);
            named.hear(&once.device, &once.now, once.last);
        }
        naming::settle(&named, name, &self.ui)?.ok_or(missing)
    }

    /// Whether a device has this name, or had it.
    ///
    /// # Errors
    /// What the catalog answers.
    pub(crate) async fn is_device(&self, name: &str) -> Result<bool> {
        match self.device(name).await {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(!self.devices_once_named(name).await?.is_empty()),
            found => found.map(|_| true),
        }
    }

    /// Devices that had this name once.
    async fn once_named(&self, name: &str) -> Result<Vec<OnceNamed>> {
        let mut all = Selector::default();
        all.disabled = true;
        let mut living: BTreeMap<DeviceId, String> =
            self.inventory.devices(&all).await?.into_iter().map(|d| (d.id, d.name)).collect();
        let mut found = Vec::new();
        for device in self.devices_once_named(name).await? {
            let mut of = Query::default();
            of.device = Some(device);
            if let Some(last) = self.catalog.newest(&of).await? {
                let now = living.remove(&last.device).unwrap_or(last.device_name);
                found.push(OnceNamed { device: last.device, now, last: last.first_seen });
            }
        }
        Ok(found)
    }

    /// Others that have backups from when they had this name: removed since, or renamed.
    ///
    /// # Errors
    /// What the catalog answers.
    pub(crate) async fn namesakes(&self, name: &str, of: &DeviceId) -> Result<Vec<OnceNamed>> {
        let mut alike = self.once_named(name).await?;
        alike.retain(|once| once.device != *of);
        Ok(alike)
    }

    /// Devices that have backups from when they had this name.
    async fn devices_once_named(&self, name: &str) -> Result<BTreeSet<DeviceId>> {
        let mut wanted = StatisticsQuery::default();
        wanted.device_name = Some(name.to_owned());
        Ok(self.catalog.statistics(&wanted).await?.tallies.into_iter().map(|t| t.device).collect())
    }

    /// Every backup that a query finds, newest first.
    ///
    /// # Errors
    /// What the catalog answers.
    pub(crate) async fn find_all(&self, query: &Query, limit: usize) -> Result<Vec<Backup>> {
        self.catalog.every(query).take(limit).try_collect().await
    }

    /// Names of the destinations by their identities.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub(crate) async fn destination_configs(
        &self,
    ) -> Result<BTreeMap<devicevault_core::DestinationId, DestinationConfig>> {
        Ok(self.inventory.destinations().await?.into_iter().map(|d| (d.id.clone(), d)).collect())
    }
}

async fn open_destination(parts: &Parts, settings: BackendSettings) -> Result<Arc<dyn StorageBackend>> {
    let open = opener(parts, &settings.config)?.clone();
    let read_back = verification::on_write(&settings.config.options)?;
    let space = wiring::space::of(&settings)?;
    let backend = space.around(open(settings).await?);
    Ok(match read_back {
        Some(depth) => ReadBack::new(backend, depth),
        None => backend,
    })
}

fn opener<'a>(parts: &'a Parts, config: &DestinationConfig) -> Result<&'a Open> {
    parts.backends.get(&config.kind).ok_or_else(|| {
        let known: Vec<_> = parts.backends.keys().map(String::as_str).collect();
        Error::new(ErrorKind::Config, "open destination", "this program has no such kind of destination")
            .with("kind", config.kind.escape_debug())
            .hint(format!("it has: {}", known.join(", ")))
    })
}

/// The error for a name that no device has.
pub(crate) fn no_such_device<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    no_such("device", name, known)
}

/// The error for a name that nothing of this sort has.
pub(crate) fn no_such<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let message = format!("there is no {what} of this name");
    let e = Error::new(ErrorKind::NotFound, format!("find {what}"), message).with("name", name.escape_debug());
    let alike = alike(name, known);
    if alike.is_empty() {
        e.hint(format!("`devicevault {what} list` shows all"))
    } else {
        e.hint(format!("did you mean {}?", alike.join(" or ")))
    }
}

/// Up to three names that are a slip or two away.
pub(crate) fn alike<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<_> = known.map(|k| (similarity(name, k), k)).filter(|(s, _)| *s >= 0.7).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.dedup_by_key(|(_, k)| *k);
    near.into_iter().take(3).map(|(_, k)| k).collect()
}

fn similarity(a: &str, b: &str) -> f32 {
    similar::TextDiff::from_chars(a.to_lowercase().as_str(), b.to_lowercase().as_str()).ratio()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name() {
        let known = ["core-rtr1", "core-rtr2", "edge-sw1"];
        assert_eq!(alike("core-rt1", known.into_iter()), ["core-rtr1", "core-rtr2"]);
        assert_eq!(alike("Edge-SW1", known.into_iter()), ["edge-sw1"]);
        assert_eq!(alike("192.0.2.1", ["192.0.2.1_22"; 3].into_iter()), ["192.0.2.1_22"]);
        assert!(alike("zzz", known.into_iter()).is_empty());
    }
}
