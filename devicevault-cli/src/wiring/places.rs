//! Where the objects of plain destinations are: in a folder, or in a store by its URL.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{DestinationId, Error, ErrorKind, Inventory, Login, LoginRef, Result, SecretRef};
use devicevault_storage::ftp::FtpStore;
use devicevault_storage::local::LocalStore;
use devicevault_storage::objects::{self, LoginSource, MarkedStore, StoreSettings, StoreUrl, Uploads};
use devicevault_storage::plain::{ClearAccess, PlainBackend, PlainOptions};
use devicevault_storage::seal::keys::KeyFolder;
use devicevault_storage::sftp::SftpStore;

use super::defaults::plain_options;
use super::keys::Keys;
use super::{PLAIN_OPTIONS, only, servers};
use crate::app::BackendSettings;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::gone;
use crate::login_args::secret_ref;
use crate::place::Place;
use crate::secrets::Secrets;
use crate::shared_logins::SharedLogins;

/// The option that names a folder.
pub(crate) const PATH: &str = "path";
/// The option that names a store.
pub(crate) const URL: &str = "url";

/// The option that names a stored credential.
pub(crate) const CREDENTIAL: &str = "credential";
/// Options that say who logs in at a store, and where the secret is found; never the secret.
const LOGIN: [&str; 9] = [
    CREDENTIAL,
    "user",
    "password_env",
    "password_file",
    "password_command",
    "key_file",
    "key_passphrase_env",
    "key_passphrase_file",
    "key_passphrase_command",
];

/// Variables that clouds set for the programs that they run begin so.
const OF_CLOUDS: [&str; 3] = ["AWS_", "AZURE_", "IDENTITY_ENDPOINT"];

/// The objects of a destination.
pub(super) enum Objects {
    Folder(LocalStore),
    /// With what finds uploads that broke off there.
    Store(MarkedStore, Option<Arc<dyn Uploads>>),
    Sftp(SftpStore),
    Ftp(FtpStore),
}

impl Objects {
    /// Opens, and sets up where that is wanted, what the options name.
    ///
    /// # Errors
    /// The options are wrong, or the place is not there.
    pub(super) async fn of(settings: &BackendSettings) -> Result<Self> {
        let (config, set_up) = (&settings.config, settings.set_up);
        let Some((url, of_store)) = check(settings)? else {
            let path = settings.path()?;
            let opened = match (settings.unmarked, set_up) {
                (true, _) => LocalStore::unmarked(path, &config.id).await,
                (false, true) => LocalStore::init(path, &config.id).await,
                (false, false) => LocalStore::open(path, &config.id).await,
            };
            return opened.map(Self::Folder);
        };
        let chosen = |(name, _): &(&String, &String)| of_store.contains(&name.as_str());
        let options = config.options.iter().filter(chosen).map(|(k, v)| (k.clone(), v.clone())).collect();
        let login = StoreLogin::of(settings, &config.options)?;
        if servers::options_of(&url).is_some() {
            return servers::open(settings, &url, &login).await;
        }
        let store = StoreSettings::new(url.clone())
            .with_options(options)
            .with_login(Arc::new(login))
            .with_folder(&settings.home)
            .with_environment(environment())
            .with_clock(settings.clock.clone());
        let uploads = objects::uploads(&store).await?;
        let store = objects::open(&store).await?;
        let id = match &settings.any_destination {
            false => config.id.clone(),
            true => MarkedStore::destination_of(&*store, &url).await?.ok_or_else(|| {
                Error::new(ErrorKind::Config, "open store of backups", "it holds no backups")
                    .with("url", &url)
                    .hint("name the URL of a plain destination, prefix and all")
            })?,
        };
        let clock = settings.clock.clone();
        let store = match (settings.unmarked, set_up) {
            (true, _) => MarkedStore::unmarked(store, &url, &id, clock),
            (false, true) => MarkedStore::init(store, &url, &id, clock).await?,
            (false, false) => MarkedStore::open(store, &url, &id, clock),
        };
        Ok(Self::Store(store, uploads))
    }

    /// Plain backups in it.
    pub(super) fn plain(self, options: PlainOptions) -> PlainBackend {
        match self {
            Self::Folder(folder) => PlainBackend::in_folder(folder, options),
            Self::Store(store, uploads) => {
                let options = uploads.into_iter().fold(options, PlainOptions::with_uploads);
                PlainBackend::over(Arc::new(store), options)
            }
            Self::Sftp(store) => PlainBackend::kept(Arc::new(store), options),
            Self::Ftp(store) => PlainBackend::kept(Arc::new(store), options),
        }
    }

    /// The destination that a store is the home of; `None` for a folder, whose marker is read otherwise.
    pub(super) fn destination(&self) -> Option<&DestinationId> {
        match self {
            Self::Folder(_) => None,
            Self::Store(store, _) => Some(store.destination()),
            Self::Sftp(store) => Some(store.destination()),
            Self::Ftp(store) => Some(store.destination()),
        }
    }

    /// The destination that the marker there names now.
    ///
    /// # Errors
    /// The marker is damaged; what the place answers.
    async fn marked(&self) -> Result<Option<DestinationId>> {
        match self {
            Self::Folder(folder) => folder.marked().await,
            Self::Store(store, _) => store.marked().await,
            Self::Sftp(store) => store.marked().await,
            Self::Ftp(store) => store.marked().await,
        }
    }

    /// The epoch keys in it.
    pub(super) fn keys(self) -> KeyFolder {
        match self {
            Self::Folder(folder) => KeyFolder::of_destination(Arc::new(folder)),
            Self::Store(store, _) => KeyFolder::of_destination(Arc::new(store)),
            Self::Sftp(store) => KeyFolder::of_destination(Arc::new(store)),
            Self::Ftp(store) => KeyFolder::of_destination(Arc::new(store)),
        }
    }
}

/// What lies at the place of a plain destination that has lost its marker, to be read; `None` where a marker is there, whose
/// ever it is.
///
/// # Errors
/// The options are wrong, the marker is damaged, or the place does not answer; `NotFound` where there is no such folder.
pub(crate) async fn without_marker(mut settings: BackendSettings) -> Result<Option<PlainBackend>> {
    settings.unmarked = true;
    let objects = Objects::of(&settings).await?;
    if objects.marked().await?.is_some() {
        return Ok(None);
    }
    let options = plain_options(&settings.config, &settings.keys)?.with_clock(settings.clock.clone());
    Ok(Some(objects.plain(options)))
}

/// Checks where a plain destination is to be, and its options; of a store, its URL and the options that it has of its own.
///
/// # Errors
/// `Config` that names what is wrong.
pub(super) fn check(settings: &BackendSettings) -> Result<Option<(StoreUrl, &'static [&'static str])>> {
    let config = &settings.config;
    let Some(url) = config.options.get(URL) else {
        only(config, &PLAIN_OPTIONS)?;
        return settings.path().map(|_| None);
    };
    if config.options.contains_key(PATH) {
        return Err(Error::new(ErrorKind::Config, "open destination", "it has both a path and a URL")
            .with("destination", &config.name)
            .hint("remove one of them: --remove-option path"));
    }
    let url: StoreUrl = url.parse()?;
    let of_store = servers::options_of(&url).map_or_else(|| objects::options_of(&url), Ok)?;
    only(config, &[&PLAIN_OPTIONS[..], &LOGIN, of_store].concat())?;
    login_of(&config.options, &settings.home)?;
    if url.scheme() == "memory" {
        return Err(Error::new(ErrorKind::Config, "open destination", "memory keeps nothing when the program ends")
            .hint("it is for programs that embed the library"));
    }
    Ok(Some((url, of_store)))
}

/// Backups in a folder or store, whichever destination it is the home of. Who names a key for it, or finds epoch keys in it,
/// reads nothing in the clear there: whoever can write there could have made it. Neither does a home that knows the place as
/// one that seals, or finds sealed backups in it: its keys were taken away, or left out of a copy.
///
/// # Errors
/// `NotFound` where there is no such place, `Config` where it holds no backups.
pub(crate) async fn open_place(context: &Context, place: &Place, keys: &Keys) -> Result<PlainBackend> {
    let clear = match (place.accepts_clear()?, context.given_keys.is_empty()) {
        (true, _) => ClearAccess::Always,
        (false, true) => ClearAccess::AsFound,
        (false, false) => ClearAccess::Never,
    };
    let (id, backend) = open_with(context, place, keys, clear).await?;
    let home = context.home().ok().filter(|_| clear == ClearAccess::AsFound && keys.is_set_up());
    let Some(home) = home else { return Ok(backend) };
    if backend.holds_keys().await? || !gone::seals(home, &id, &backend).await? {
        return Ok(backend);
    }
    context.ui.warn("the epoch keys that lay there are gone: what lies there in the clear is not believed");
    Ok(open_with(context, place, keys, ClearAccess::Never).await?.1)
}

async fn open_with(
    context: &Context,
    place: &Place,
    keys: &Keys,
    clear: ClearAccess,
) -> Result<(DestinationId, PlainBackend)> {
    let options =
        PlainOptions::default().with_clock(context.clock().clone()).with_keyring(keys.ring().clone()).with_clear(clear);
    let options = options.without_times();
    match place {
        Place::Folder { path, .. } => {
            let folder = open_folder(path).await?;
            Ok((folder.destination().clone(), Objects::Folder(folder).plain(options)))
        }
        Place::Store(config) => {
            let clock = context.clock().clone();
            let home = context.home().ok().filter(|home| Instance::exists(home));
            let known_hosts = home.map(servers::known_hosts);
            // The home is needed for its credentials alone.
            let instance = match home {
                Some(home) if config.options.contains_key(CREDENTIAL) => Some(Instance::open(context, home).await?),
                _ => None,
            };
            let folder = std::env::current_dir().unwrap_or_default();
            let keys = instance.as_ref().map_or_else(|| keys.clone(), |i| i.keys.clone());
            let inventory = instance.map(|i| i.inventory);
            let mut settings = BackendSettings::new((**config).clone(), folder, false, clock, keys, inventory);
            settings.any_destination = true;
            settings.known_hosts = known_hosts;
            let objects = Objects::of(&settings).await?;
            Ok((objects.destination().unwrap_or(&config.id).clone(), objects.plain(options)))
        }
    }
}

async fn open_folder(folder: &Path) -> Result<LocalStore> {
    let fail = |kind, why: &str| Error::new(kind, "open folder of backups", why).with("path", folder.display());
    if !folder.is_dir() {
        return Err(fail(ErrorKind::NotFound, "there is no such folder"));
    }
    let id = LocalStore::destination_of(folder).await?.ok_or_else(|| {
        fail(ErrorKind::Config, "it holds no backups").hint(
            "name the folder that `devicevault backup --to` was given, a plain destination's or a Git repository; of a \
                 copy, hidden files are a part",
        )
    })?;
    LocalStore::open(folder, &id).await
}

/// Where a destination is, for people: its folder, or its URL.
pub(crate) fn place_of(config: &DestinationConfig, home: &Path) -> Option<String> {
    match (config.options.get(URL), config.options.get(PATH)) {
        (Some(url), _) => Some(url.clone()),
        (None, Some(path)) => Some(home.join(path).display().to_string()),
        (None, None) => None,
    }
}

/// Whether a destination is a store by its URL.
pub(crate) fn is_store(config: &DestinationConfig) -> bool {
    config.options.contains_key(URL)
}

/// Who logs in, as options have it. Relative paths begin at the home.
fn login_of(options: &BTreeMap<String, String>, home: &Path) -> Result<LoginRef> {
    let text = |name: &str| options.get(name).map(String::as_str);
    let file = |name: &str| text(name).map(|f| home.join(f));
    let secret = |kind: &str| -> Result<Option<SecretRef>> {
        let (env, path, command) = (format!("{kind}_env"), format!("{kind}_file"), format!("{kind}_command"));
        let given = [&env, &path, &command].into_iter().filter(|name| options.contains_key(*name)).count();
        if given > 1 {
            return Err(Error::new(ErrorKind::Config, "open destination", "a secret is to be found in two places")
                .with("options", format!("{env}, {path}, {command}"))
                .hint("name one of them"));
        }
        secret_ref(text(&env), file(&path).as_deref(), text(&command))
    };
    let mut login = LoginRef::default();
    login.credential = text(CREDENTIAL).map(str::to_owned);
    login.username = text("user").map(str::to_owned);
    login.password = secret("password")?;
    login.private_key = secret_ref(None, file("key_file").as_deref(), None)?;
    login.passphrase = secret("key_passphrase")?;
    Ok(login)
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars().filter(|(name, _)| OF_CLOUDS.iter().any(|start| name.starts_with(start))).collect()
}

/// A login that is looked up when the store first asks for it.
pub(super) struct StoreLogin {
    refs: LoginRef,
    inventory: Option<Arc<dyn Inventory>>,
    keys: Keys,
}

impl StoreLogin {
    /// As options have it.
    ///
    /// # Errors
    /// `Config` for a secret in two places, or in one that is none.
    pub(super) fn of(settings: &BackendSettings, options: &BTreeMap<String, String>) -> Result<Self> {
        let refs = login_of(options, &settings.home)?;
        Ok(Self { refs, inventory: settings.inventory.clone(), keys: settings.keys.clone() })
    }
}

impl std::fmt::Debug for StoreLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreLogin").field("refs", &self.refs).finish_non_exhaustive()
    }
}

#[async_trait]
impl LoginSource for StoreLogin {
    async fn login(&self) -> Result<Login> {
        let shared = match &self.inventory {
            Some(inventory) if self.refs.credential.is_some() => {
                SharedLogins::of_inventory(&**inventory, &self.keys).await?
            }
            _ => SharedLogins::default(),
        };
        Secrets::with(shared).of_store(&self.refs).await
    }
}
