//! The one place where concrete collectors, stores and catalogs are named.

mod credentials;
mod defaults;
pub(crate) mod found;
mod git;
mod host_keys;
pub(crate) mod keys;
mod places;
mod reach;
mod remotes;
mod servers;
pub(crate) mod space;
pub(crate) mod visits;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use devicevault_collectors::{CliCollector, PlatformOutline, PlatformSet, ScpCollector, SftpCollector, options};
use devicevault_core::file_rules::FileRules;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::text::InstanceKey;
use devicevault_core::{
    Catalog, Clock, Collector, Device, Error, ErrorKind, Inventory, Kind, Result, Spool, StorageBackend, StorageRef,
};
use devicevault_ssh::{HostKeyPolicy, KnownHostsFile, Profile};
use devicevault_storage::catalog::{CatalogWatch, SetAside, SqliteCatalog, SqliteOptions};
use devicevault_storage::codec::Compression;
use devicevault_storage::plain::PlainBackend;
use devicevault_storage::seal::Key;
use devicevault_storage::space::Keep;
use devicevault_storage::spool::{DiskSpool, SpoolOptions};
use devicevault_testkit::sim::{Fleet, SimDevice};
use serde::{Deserialize, Serialize};

pub(crate) use self::credentials::{open_secret, private_key_opens, put_secrets, reseal_secrets};
pub(crate) use self::defaults::{check_destination, destination_defaults, fill_defaults, is_sealed_copy, seals};
pub(crate) use self::git::{Repository, has_remote, is_pushed, queue_options, repository, takes_binaries};
pub(crate) use self::host_keys::{HostKeys, Server, server, servers};
pub(crate) use self::places::{CREDENTIAL, PATH, URL, is_store, open_place, place_of, without_marker};
pub(crate) use self::reach::{
    Setting, clear, clear_text_warning, set_proxy_command, set_source_address, set_transport,
};
pub(crate) use self::servers::clear_text_store;
use crate::app::{App, BackendSettings};
pub(crate) use devicevault_storage::git::{ForeignCommit, ForeignHistory, MendReport, Purge, PurgeReport, Supply};

/// Kinds of destinations.
pub(crate) const PLAIN: &str = "plain";
pub(crate) const GIT: &str = "git";
/// What the names of file rules begin with.
const FILE_RULES: &str = "file_rules.";

/// The option that says whether a plain destination is sealed.
pub(crate) const SEAL: &str = "seal";
/// The option that lets a destination that seals read what is not sealed.
pub(crate) const ACCEPT_CLEAR: &str = "accept_clear";

/// The option that lets the paths of a sealed destination show no names.
pub(crate) const OPAQUE_NAMES: &str = "opaque_names";

/// What a plain destination has, wherever it is.
const PLAIN_OPTIONS: [&str; 7] = [PATH, URL, SEAL, "compression", "template", OPAQUE_NAMES, ACCEPT_CLEAR];

/// A catalog and an inventory over one file.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) inventory: Arc<dyn Inventory>,
    pub(crate) file: CatalogFile,
}

/// The file beneath a catalog.
#[derive(Debug, Clone)]
pub(crate) struct CatalogFile(Arc<SqliteCatalog>);

impl CatalogFile {
    /// Lets go of the file, with all that was written in it.
    pub(crate) async fn close(&self) {
        self.0.close().await;
    }

    /// Lets go of it for good, where nobody wrote into it since the watch began; nobody opens it until the answer is dropped.
    ///
    /// # Errors
    /// `Conflict` where something was written, or others keep it open.
    pub(crate) async fn set_aside(&self, watch: CatalogWatch, patience: Duration) -> Result<SetAside> {
        self.0.set_aside(watch, patience).await
    }
}

/// The backends that the program ships.
pub(crate) fn register_backends(app: App) -> App {
    app.backend(PLAIN, open_plain).backend(GIT, git::open)
}

/// Refuses settings that a kind does not have: a slip must not leave a store unsealed. Names with a dot are those of
/// features of all kinds (`retention.last`), which check them.
fn only(config: &DestinationConfig, known: &[&str]) -> Result<()> {
    match config.options.keys().find(|name| !known.contains(&name.as_str()) && !name.contains('.')) {
        None => Ok(()),
        Some(name) => Err(Error::new(ErrorKind::Config, "open destination", "its kind has no such option")
            .with("option", name.escape_debug())
            .with("kind", &config.kind)
            .hint(format!("it has: {}", known.join(", ")))),
    }
}

async fn open_plain(settings: BackendSettings) -> Result<Arc<dyn StorageBackend>> {
    Ok(Arc::new(open_sealed(settings).await?))
}

/// A destination of the kind `plain`, which alone can be sealed.
///
/// # Errors
/// Its options are wrong, its place is not there, or its key is not.
pub(crate) async fn open_sealed(settings: BackendSettings) -> Result<PlainBackend> {
    let plain = defaults::plain_options(&settings.config, &settings.keys)?.with_clock(settings.clock.clone());
    let backend = places::Objects::of(&settings).await?.plain(plain);
    if settings.set_up {
        backend.publish_keys().await?;
    }
    Ok(backend)
}

fn yes_or_no(name: &str, value: &str) -> Result<bool> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(Error::new(ErrorKind::Config, "open destination", "an option is neither yes nor no")
            .with("option", name.escape_debug())
            .with("value", value.escape_debug())),
    }
}

pub(crate) fn is_yes(value: &str) -> bool {
    value == "yes"
}

fn compression(name: &str) -> Result<Compression> {
    let all = [Compression::None, Compression::Zstd, Compression::Gzip];
    all.into_iter().find(|c| c.as_str() == name).ok_or_else(|| {
        Error::new(ErrorKind::Config, "open destination", "there is no such compression")
            .with("compression", name.escape_debug())
            .hint("it is none, zstd or gzip")
    })
}

/// Whether a text is meant as the URL of a store.
pub(crate) fn is_url(text: &str) -> bool {
    devicevault_storage::objects::StoreUrl::is_meant(text)
}

/// The file, beneath its destination's folder, that holds a copy; `None` for a destination without files.
pub(crate) fn file_of(config: &DestinationConfig, at: &StorageRef) -> Option<String> {
    (config.kind == PLAIN).then(|| at.to_string())
}

/// Opens the catalog in a file.
///
/// # Errors
/// It is not there, or not a catalog for this release.
pub(crate) async fn open_catalog(path: &Path, clock: Arc<dyn Clock>) -> Result<Store> {
    SqliteCatalog::open(path, SqliteOptions::default().with_clock(clock)).await.map(store)
}

/// Opens the catalog in a file, made where it is missing.
///
/// # Errors
/// It cannot be written.
pub(crate) async fn create_catalog(path: &Path, clock: Arc<dyn Clock>) -> Result<Store> {
    SqliteCatalog::create(path, SqliteOptions::default().with_clock(clock)).await.map(store)
}

/// How the spool is bounded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpoolBounds {
    /// Bytes of bodies on their way.
    pub(crate) capacity: u64,
    /// Bytes that may wait for destinations.
    pub(crate) parked: u64,
    /// How long they wait.
    pub(crate) keep: Duration,
    /// How much of the file system stays free.
    pub(crate) free: Option<Keep>,
}

impl Default for SpoolBounds {
    fn default() -> Self {
        let SpoolOptions { capacity, parked, keep, free, .. } = SpoolOptions::default();
        Self { capacity, parked, keep, free }
    }
}

/// Opens the spool in a folder, sealed under a key that is made of the instance's.
///
/// # Errors
/// The folder cannot be used.
pub(crate) async fn open_spool(
    folder: &Path,
    key: &InstanceKey,
    bounds: SpoolBounds,
    parks: bool,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Spool>> {
    let options = SpoolOptions::default().with_capacity(bounds.capacity).with_parked(bounds.parked);
    let options = options.with_keep(bounds.keep).with_free(bounds.free).with_parks(parks);
    Ok(Arc::new(DiskSpool::open(folder, Key::new(key.derive("spool")), options, clock).await?))
}

fn store(catalog: SqliteCatalog) -> Store {
    let catalog = Arc::new(catalog);
    Store { catalog: catalog.clone(), inventory: catalog.clone(), file: CatalogFile(catalog) }
}

/// The collectors that the program ships: for command lines, with the platforms of a folder beside the shipped ones,
/// and for files over SFTP and SCP.
///
/// # Errors
/// A platform file is wrong.
pub(crate) fn shipped_collectors(platforms: Option<&Path>, known_hosts: &Path) -> Result<Vec<Arc<dyn Collector>>> {
    let dialer = reach::dialer(Arc::new(KnownHostsFile::new(known_hosts)));
    let platforms = Arc::new(platform_set(platforms)?);
    Ok(vec![
        Arc::new(SftpCollector::new(platforms.clone(), dialer.clone())),
        Arc::new(ScpCollector::new(platforms.clone(), dialer.clone())),
        Arc::new(CliCollector::new(platforms, Arc::new(reach::transports(dialer, known_hosts)))),
    ])
}

/// Sets which SSH algorithms a device is offered.
///
/// # Errors
/// `Config` that lists the profiles.
pub(crate) fn set_ssh_profile(settings: &mut BTreeMap<String, String>, profile: &str) -> Result<()> {
    let known = Profile::ALL.map(Profile::as_str);
    if !known.contains(&profile) {
        return Err(Error::new(ErrorKind::Config, "read device options", "there is no such SSH profile")
            .with("profile", profile.escape_debug())
            .hint(format!("it is {}", known.join(", "))));
    }
    settings.insert(options::PROFILE.to_owned(), profile.to_owned());
    Ok(())
}

/// Sets how a device's host key is met: `first-use`, `strict`, or the fingerprints that it has to have.
///
/// # Errors
/// `Config` for anything else.
pub(crate) fn set_host_key(settings: &mut BTreeMap<String, String>, trust: &str) -> Result<()> {
    let (key, other) = match trust {
        "first-use" | "strict" => (options::HOST_KEY, options::FINGERPRINT),
        _ => {
            HostKeyPolicy::pinned(trust).map_err(|e| {
                Error::new(ErrorKind::Config, "read device options", e.to_string())
                    .hint("write first-use, strict, or the fingerprint SHA256:…")
            })?;
            (options::FINGERPRINT, options::HOST_KEY)
        }
    };
    settings.remove(other);
    settings.insert(key.to_owned(), trust.to_owned());
    Ok(())
}

/// Whether a device's collector logs in, so that a secret has to be at hand.
pub(crate) fn needs_login(device: &Device) -> bool {
    [CliCollector::KEY, SftpCollector::KEY, ScpCollector::KEY].contains(&device.collector.as_str())
}

/// Whether a device is talked to at its command line.
pub(crate) fn is_command_line(device: &Device) -> bool {
    device.collector == CliCollector::KEY
}

/// Refuses settings that a shipped collector does not have, and file rules that are none. What a plugin reads is the
/// plugin's to check.
///
/// # Errors
/// `Config` that names the setting.
pub(crate) fn check_options(device: &Device) -> Result<()> {
    FileRules::from_options("the device", &device.options).map_err(|e| e.with("device", &device.name))?;
    let others: &[&str] = match device.collector.as_str() {
        CliCollector::KEY => &[FILE_RULES],
        SftpCollector::KEY => &[FILE_RULES, "files.", "sftp."],
        ScpCollector::KEY => &[FILE_RULES, "files."],
        _ => return Ok(()),
    };
    options::refuse_unknown(device, others)?;
    if is_command_line(device) { options::check(device) } else { Ok(()) }
}

fn platform_set(own: Option<&Path>) -> Result<PlatformSet> {
    let set = PlatformSet::built_in();
    match own {
        Some(folder) => set.with_folder(folder),
        None => Ok(set),
    }
}

/// A platform, for people and programs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlatformSummary {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) aliases: Vec<String>,
    /// It is the user's own, not a shipped one.
    pub(crate) own: bool,
    pub(crate) artefacts: Vec<ArtefactSummary>,
}

/// What a platform collects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ArtefactSummary {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) mandatory: bool,
    pub(crate) extension: String,
    pub(crate) commands: Vec<String>,
}

impl From<PlatformOutline> for PlatformSummary {
    fn from(p: PlatformOutline) -> Self {
        let artefacts = p.artefacts.into_iter().map(|a| ArtefactSummary {
            name: a.name,
            kind: Kind::Text.to_string(),
            mandatory: a.mandatory,
            extension: a.extension,
            commands: a.commands,
        });
        let artefacts = artefacts.collect();
        Self { name: p.name, description: p.title, aliases: p.aliases, own: !p.built_in, artefacts }
    }
}

/// Every platform, by name.
///
/// # Errors
/// A platform file is wrong.
pub(crate) fn platforms(own: Option<&Path>) -> Result<Vec<PlatformSummary>> {
    Ok(platform_set(own)?.outlines().map(PlatformSummary::from).collect())
}

/// A platform by name or alias, and the text of its file.
///
/// # Errors
/// `Config` where there is none.
pub(crate) fn platform(own: Option<&Path>, name: &str) -> Result<(PlatformSummary, String)> {
    let p = platform_set(own)?.get(name)?;
    Ok((PlatformOutline::from(&*p).into(), p.text().to_owned()))
}

/// What a person does to put back a configuration of a device of this platform, where that is known.
pub(crate) fn restore_hint(own: Option<&Path>, platform: &str) -> Option<String> {
    platform_set(own).ok()?.get(platform).ok()?.restore_hint().map(str::to_owned)
}

/// Checks a platform file.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn check_platform(file: &Path) -> Result<PlatformSummary> {
    PlatformSet::check_file(file).map(|p| PlatformOutline::from(&*p).into())
}

/// The JSON Schema of platform files.
pub(crate) fn platform_schema() -> serde_json::Value {
    devicevault_collectors::platform_schema()
}

/// The reference of platform files, as Markdown.
pub(crate) fn platform_reference() -> String {
    devicevault_collectors::platform_reference()
}

/// Simulated devices for a demonstration; gone when dropped.
#[derive(Debug)]
pub(crate) struct Simulation(Fleet);

impl Simulation {
    /// Starts so many, of every platform that can be simulated.
    ///
    /// # Errors
    /// They cannot listen.
    pub(crate) async fn start(devices: u16) -> Result<Self> {
        type Make = fn(String) -> SimDevice;
        let kinds: [(&str, Make); 5] = [
            ("core-sw", SimDevice::cisco_ios),
            ("edge-rtr", SimDevice::juniper_junos),
            ("branch-gw", SimDevice::mikrotik_routeros),
            ("route-srv", SimDevice::frr),
            ("jump-host", SimDevice::linux),
        ];
        let each = (0..usize::from(devices)).zip(kinds.iter().cycle());
        let fleet = each.map(|(i, (name, make))| make(format!("{name}{}", i / kinds.len() + 1)).volatile());
        Fleet::builder().devices(fleet).start().await.map(Self)
    }

    /// Them, as an inventory knows them.
    pub(crate) fn devices(&self) -> Vec<Device> {
        let sites = ["zurich", "geneva"];
        let each = self.0.devices().iter().zip(sites.iter().cycle());
        let devices = each.map(|(simulated, site)| {
            let addr = simulated.addr();
            let mut device =
                Device::new(simulated.name(), simulated.name(), addr.ip().to_string(), simulated.platform());
            device.port = Some(addr.port());
            device.site = Some((*site).to_owned());
            device.login.username = Some(simulated.username().to_owned());
            device
        });
        devices.collect()
    }

    /// The password of all of them.
    pub(crate) fn password(&self) -> &'static str {
        devicevault_testkit::sim::PASSWORD
    }

    /// Changes the first one, and tells its name: what it says of a port, and a secret.
    pub(crate) fn change(&self) -> String {
        let Some(first) = self.0.devices().first() else { return String::new() };
        first.change_line("description ", "description uplink to the new core");
        first.change_line("snmp-server community ", "snmp-server community aN0therSecret RO MANAGEMENT");
        first.name().to_owned()
    }
}
