//! The keys of sealed destinations: who holds them, and the epoch keys of a home.

mod expected;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::key::KekId;
use devicevault_core::{
    DestinationId, Error, ErrorKind, ExposeSecret as _, KeyProvider, Result, SecretRef, SecretString, Timestamp,
};
use devicevault_storage::local::LocalStore;
pub(crate) use devicevault_storage::seal::keys::KeyFolder;
use devicevault_storage::seal::keys::{
    Canary, Deferred, FileAccess, Kek, KeyPlaces, Passphrase, PassphraseKek, Rewrapped, TokenKek, TokenOptions, adopt,
    key_file, key_of_text, kit_lines, opened_everywhere, read_key_file, rewrap,
};
use devicevault_storage::seal::{EpochId, EpochObject, Keyring};

use super::seals;
use crate::app::BackendSettings;
use crate::files;
use crate::keys::new::{NewKey, text};
use crate::keys::sources::{KeyFrom, KeySource, KeySources};
use crate::secrets;
use expected::{Expected, Typed};

/// Folder of a home's epoch keys.
pub(crate) const KEYS: &str = "keys";
/// The key that `init` makes.
pub(crate) const KEK_FILE: &str = "kek.key";

/// Shorter passphrases are found by trying.
const SHORTEST_PASSPHRASE: usize = 12;

/// Keys that a command was given besides those of the home, and what a person typed for it. Clones share the latter.
#[derive(Debug, Clone, Default)]
pub(crate) struct GivenKeys {
    /// Key files or recovery kits.
    pub(crate) files: Vec<PathBuf>,
    /// A file whose first line is a passphrase.
    pub(crate) passphrase: Option<PathBuf>,
    /// Nobody is asked twice for a passphrase.
    pub(crate) typed: Typed,
}

impl GivenKeys {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.passphrase.is_none()
    }
}

/// The keys at hand. Nothing of them is read before it is needed. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    sources: KeySources,
    /// In the order of the sources.
    held: Vec<Arc<dyn KeyProvider>>,
    ring: Keyring,
    /// So many of the ring's holders were given with the command.
    given: usize,
    typed: Typed,
    /// Epoch keys of which the home has something that is no object: cut, or empty.
    unreadable: Vec<EpochId>,
}

impl Keys {
    /// Those that were given, and those of a home where there is one.
    ///
    /// # Errors
    /// The home's key sources or epoch keys cannot be read.
    pub(crate) async fn open(home: Option<&Path>, given: &GivenKeys) -> Result<Self> {
        let mut all: Vec<Arc<dyn KeyProvider>> = Vec::new();
        for path in &given.files {
            all.push(Arc::new(key_file(path.clone(), FileAccess::Any)));
        }
        if let Some(path) = &given.passphrase {
            let at = SecretRef::File(text(path)?);
            all.push(Arc::new(passphrase_of(Some(at), None)));
        }
        let (given, asked) = (all.len(), given.typed.clone());
        let Some(home) = home else {
            return Ok(Self { ring: Keyring::new(all), given, ..Self::default() });
        };
        let sources = KeySources::read(home)?;
        let held = sources.keys.iter().map(|s| provider(home, s, &asked)).collect::<Result<Vec<_>>>()?;
        // What costs nothing is tried before what takes a second, or asks a person.
        let is_quick = |s: &KeySource| matches!(s.from, KeyFrom::Key { .. });
        let of = |quick: bool| sources.keys.iter().zip(&held).filter(move |(s, _)| is_quick(s) == quick);
        all.extend(of(true).chain(of(false)).map(|(_, p)| p.clone()));
        let Some(folder) = home_keys(home, false).await? else {
            return Ok(Self { sources, held, ring: Keyring::new(all), given, typed: asked, ..Self::default() });
        };
        let ring = Keyring::of_home(all, folder.clone());
        let mut unreadable = Vec::new();
        for id in folder.list().await? {
            match folder.load(id).await {
                Ok(object) => object.into_iter().for_each(|object| ring.add(object)),
                Err(e) if e.kind() == ErrorKind::Corrupt => unreadable.push(id),
                Err(e) => return Err(e),
            }
        }
        Ok(Self { sources, held, ring, given, typed: asked, unreadable })
    }

    /// Makes what is missing of a home's keys: a key-encryption key, and a first epoch key under it. Whoever calls it
    /// holds the lock. `typed` is what a person typed for this command.
    ///
    /// # Errors
    /// A file cannot be written, or the key cannot be had.
    pub(crate) async fn create(home: &Path, new: &NewKey, typed: &Typed, now: Timestamp) -> Result<Self> {
        let given = GivenKeys { typed: typed.clone(), ..GivenKeys::default() };
        if !KeySources::exist(home) {
            let source = make_source(home, new, Some(KEK_FILE), &given.typed).await?;
            KeySources { keys: vec![source] }.write(home)?;
        }
        let keys = Self::open(Some(home), &given).await?;
        if keys.ring.objects().is_empty() {
            keys.new_epoch(home, now).await?;
        }
        Ok(keys)
    }

    /// Makes an epoch key that seals from now on; durable in the home when this returns.
    ///
    /// # Errors
    /// No key to wrap it can be had, or the home cannot be written.
    pub(crate) async fn new_epoch(&self, home: &Path, now: Timestamp) -> Result<EpochObject> {
        let object = self.ring.create_epoch(&self.active(), now).await?;
        let folder = home_keys(home, true).await?;
        let gone = || Error::new(ErrorKind::Internal, "store epoch key", "the home has no folder of keys");
        folder.ok_or_else(gone)?.publish(&object).await?;
        Ok(object)
    }

    /// Whether the home has keys at all.
    pub(crate) fn is_set_up(&self) -> bool {
        !self.sources.keys.is_empty()
    }

    pub(super) fn ring(&self) -> &Keyring {
        &self.ring
    }

    pub(crate) fn sources(&self) -> &KeySources {
        &self.sources
    }

    /// The home's epoch keys, oldest first.
    pub(crate) fn epochs(&self) -> Vec<EpochObject> {
        self.ring.objects()
    }

    /// Refuses a destination that another home took over; see [`Keyring::refuse_taken_over`].
    ///
    /// # Errors
    /// `Conflict`; what the destination and the home answer.
    pub(crate) async fn refuse_taken_over(&self, there: &KeyFolder) -> Result<()> {
        self.ring.refuse_taken_over(there).await
    }

    /// Refuses one where, besides, no key of this home opens anything.
    ///
    /// # Errors
    /// `Conflict`; what the destination and the home answer.
    pub(crate) async fn refuse_replaced(&self, there: &KeyFolder) -> Result<()> {
        self.ring.refuse_replaced(there).await
    }

    /// Epoch keys of which the home has something that is no object any more, and that were not found elsewhere.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = EpochId> {
        self.unreadable.iter().copied().filter(|id| self.ring.object(*id).is_none())
    }

    /// Whether what the home has is less than it had: a file of an epoch key is no object, or all of them are gone.
    pub(crate) fn lacks_epochs(&self) -> bool {
        self.is_set_up() && (self.ring.objects().is_empty() || self.unreadable().next().is_some())
    }

    /// The sources with who holds them.
    pub(crate) fn held(&self) -> impl Iterator<Item = (&KeySource, &Arc<dyn KeyProvider>)> {
        self.sources.keys.iter().zip(&self.held)
    }

    fn active(&self) -> Vec<Arc<dyn KeyProvider>> {
        self.held().filter(|(s, _)| !s.retiring).map(|(_, p)| p.clone()).collect()
    }

    /// Wraps every epoch key, at home and at destinations, as the sources have it, and lets these open none any more.
    ///
    /// # Errors
    /// See [`rewrap`].
    pub(crate) async fn settle(
        &self,
        home: &Path,
        destinations: Vec<(String, KeyFolder)>,
        retired: &[KekId],
    ) -> Result<Rewrapped> {
        let places = KeyPlaces { home: self.folder_of(home).await?, destinations };
        rewrap(&self.ring, &places, &self.active(), retired).await
    }

    /// Reads the sources and every epoch key again, at home and at destinations, and opens each by each key that stays.
    /// The destinations where that does not succeed.
    ///
    /// # Errors
    /// `Conflict` when the sources were changed meanwhile; see [`opened_everywhere`].
    pub(crate) async fn open_without_retiring(
        &self,
        home: &Path,
        destinations: Vec<(String, KeyFolder)>,
    ) -> Result<Vec<(String, Error)>> {
        if KeySources::read(home)? != self.sources {
            let why = "the keys of the home were changed meanwhile";
            return Err(Error::new(ErrorKind::Conflict, "retire key", why).hint("run the same command again"));
        }
        let mut remaining = Vec::new();
        for (source, held) in self.held().filter(|(s, _)| !s.retiring) {
            // A file is read again; nobody is asked twice.
            let is_file = source.from.file(home).is_some();
            remaining.push(if is_file { provider(home, source, &self.typed)? } else { held.clone() });
        }
        let places = KeyPlaces { home: self.folder_of(home).await?, destinations };
        opened_everywhere(&self.ring, &places, &remaining).await
    }

    /// Takes over what destinations hold of epoch keys that the home lacks, or cannot read, as far as a key at hand opens
    /// them. How many.
    ///
    /// # Errors
    /// See [`adopt`].
    pub(crate) async fn adopt(
        &self,
        home: &Path,
        destinations: Vec<(String, KeyFolder)>,
        now: Timestamp,
    ) -> Result<usize> {
        let newest = || self.ring.objects().last().map(|o| o.id);
        // A file of ours names it, whatever is in it: that one sealed here.
        let sealed = newest().max(self.unreadable.iter().copied().max());
        let places = KeyPlaces { home: self.folder_of(home).await?, destinations };
        let adopted = adopt(&self.ring, &places, &self.active()).await?;
        // An old key opens, and does not seal: neither one of another home, nor the one before a key that is gone.
        if adopted.iter().any(|id| Some(*id) > sealed) || newest().is_none() || newest() < sealed {
            self.new_epoch(home, now).await?;
        }
        Ok(adopted.len())
    }

    /// Refuses an object of the home that is damaged: it is laid over nothing.
    ///
    /// # Errors
    /// `Corrupt` where it is.
    pub(crate) async fn refuse_damaged(&self, epoch: &EpochObject) -> Result<()> {
        if !self.ring.is_damaged(epoch).await {
            return Ok(());
        }
        let why = "what the home has of this epoch key is damaged";
        let e = Error::new(ErrorKind::Corrupt, "check keys", why).with("epoch", epoch.id);
        Err(e.hint("`devicevault key check --repair` takes it from a destination that has it whole"))
    }

    async fn folder_of(&self, home: &Path) -> Result<KeyFolder> {
        let none = || Error::new(ErrorKind::Config, "wrap epoch keys", "this home has no keys");
        home_keys(home, self.is_set_up()).await?.ok_or_else(none)
    }

    /// Epoch keys at a destination that are not of this home, and that neither a key of it wraps nor one that was given.
    /// What is damaged there is nobody's.
    ///
    /// # Errors
    /// What the destination answers.
    pub(crate) async fn foreign_epochs(&self, folder: &KeyFolder) -> Result<Vec<EpochId>> {
        let mut ours: Vec<KekId> = self.sources.keys.iter().map(|s| KekId(s.id.clone())).collect();
        for given in self.ring.providers().iter().take(self.given) {
            ours.extend(given.kek().await.ok());
        }
        let mut foreign = Vec::new();
        for id in folder.list().await?.into_iter().filter(|id| self.ring.object(*id).is_none()) {
            let there = match folder.load(id).await {
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => None,
                other => other?,
            };
            if there.is_some_and(|there| ours.iter().all(|kek| !there.is_wrapped_by(kek))) {
                foreign.push(id);
            }
        }
        Ok(foreign)
    }

    /// Opens every epoch key of the home with whichever key is at hand.
    ///
    /// # Errors
    /// The first that does not open.
    pub(crate) async fn open_all(&self) -> Result<()> {
        for object in self.ring.objects() {
            self.ring.epoch(object.id).await?;
        }
        Ok(())
    }

    /// The same epoch keys with sources that are not written yet, for a kit. It opens nothing.
    pub(crate) fn with_sources(&self, sources: &KeySources) -> Self {
        Self { sources: sources.clone(), held: Vec::new(), ..self.clone() }
    }

    /// Refuses a key that opened the epoch keys once: whoever it was taken from has it still.
    ///
    /// # Errors
    /// `Conflict`.
    pub(crate) fn never_retired(&self, id: &str) -> Result<()> {
        if self.ring.objects().iter().all(|o| o.retired.iter().all(|k| k.0 != id)) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "use key",
            "it was retired: somebody may have it who is not to open anything",
        )
        .with("key", id)
        .hint("make a new one"))
    }

    /// The lines of a recovery kit, and the id of its key: the first active one that can leave its place.
    ///
    /// # Errors
    /// `Unsupported` where all keys are in tokens; the key cannot be had.
    pub(crate) async fn kit(&self, home: &Path) -> Result<(String, zeroize::Zeroizing<String>)> {
        for source in self.sources.active() {
            let kek = match &source.from {
                KeyFrom::Key { at } => read_key(home, at).await?,
                KeyFrom::Passphrase { at, .. } => {
                    let phrase = match self.typed.of(&source.id) {
                        Some(phrase) => phrase,
                        None => ask_or_read("passphrase", at.as_ref()).await?,
                    };
                    PassphraseKek::new(phrase).with_parameters(parameters(&source.from)?).derive_own().await?
                }
                KeyFrom::Token { .. } => continue,
            };
            expected::is(&source.id, kek.id())?;
            return Ok((kek.id().0.clone(), kit_lines(kek.key())));
        }
        Err(Error::new(ErrorKind::Unsupported, "write recovery kit", "every key of this home stays in its token").hint(
            "with the token all backups would be lost: add a key that can be kept on paper, `devicevault key add`",
        ))
    }
}

/// Makes a key, or looks at one that is there.
///
/// # Errors
/// It cannot be written or had.
pub(crate) async fn make_source(home: &Path, new: &NewKey, first: Option<&str>, typed: &Typed) -> Result<KeySource> {
    let (id, from) = match new {
        NewKey::Generate(path) => generate(home, path.as_deref(), first).await?,
        NewKey::Use(at) => {
            let kek = read_key(home, at).await?;
            (kek.id().clone(), KeyFrom::Key { at: at.clone() })
        }
        NewKey::Passphrase(at) => {
            let phrase = match at {
                Some(at) => ask_or_read("passphrase", Some(at)).await?,
                None => ask_twice().await?,
            };
            if phrase.expose_secret().chars().count() < SHORTEST_PASSPHRASE {
                let why = format!("the passphrase has fewer than {SHORTEST_PASSPHRASE} characters");
                return Err(Error::new(ErrorKind::Config, "use passphrase", why)
                    .hint("short ones are found by trying: take several words"));
            }
            let p = Passphrase::generate()?;
            let kek = PassphraseKek::new(phrase.clone()).with_parameters(p.clone()).derive_own().await?;
            if at.is_none() {
                typed.keep(&kek.id().0, phrase);
            }
            let (salt, memory_kib, passes, lanes) = (p.salt, p.memory_kib, p.passes, p.lanes);
            (kek.id().clone(), KeyFrom::Passphrase { at: at.clone(), salt, memory_kib, passes, lanes })
        }
        NewKey::Token { module, token, key, pin } => {
            let options = TokenOptions::new(module, token, key, ask_or_read("PIN of the token", pin.as_ref()).await?);
            let kek = TokenKek::new(options);
            let canary = kek.canary().await?.to_string();
            let (module, token, key, pin) = (module.clone(), token.clone(), key.clone(), pin.clone());
            (kek.kek().await?, KeyFrom::Token { module, token, key, pin, canary })
        }
    };
    Ok(KeySource { id: id.0, retiring: false, from })
}

async fn generate(home: &Path, path: Option<&Path>, first: Option<&str>) -> Result<(KekId, KeyFrom)> {
    // What was cut off before it was put to use is gone on with.
    if let (None, Some(name)) = (path, first)
        && home.join(name).exists()
    {
        let at = SecretRef::File(name.to_owned());
        return Ok((read_key(home, &at).await?.id().clone(), KeyFrom::Key { at }));
    }
    let kek = Kek::generate()?;
    let name = first.map_or_else(|| format!("kek-{}.key", kek.id()), str::to_owned);
    let path = path.map_or_else(|| home.join(name), Path::to_owned);
    let digits = zeroize::Zeroizing::new(hex::encode(kek.key().expose()) + "\n");
    files::write_new_private(&path, digits.as_bytes())?;
    let at = SecretRef::File(text(path.strip_prefix(home).unwrap_or(&path))?);
    Ok((kek.id().clone(), KeyFrom::Key { at }))
}

/// Whoever holds a key of the home. It wraps nothing unless the key is the one that it was.
fn provider(home: &Path, source: &KeySource, typed: &Typed) -> Result<Arc<dyn KeyProvider>> {
    let (described, id) = (source.from.describe(), source.id.clone());
    let unavailable = move |e: Error| key_unavailable(e).with("key", &id);
    let held: Arc<dyn KeyProvider> = match source.from.clone() {
        KeyFrom::Key { at } => {
            let home = home.to_owned();
            Arc::new(Deferred::new(described, move || {
                let (home, at, unavailable) = (home.clone(), at.clone(), unavailable.clone());
                async move {
                    let kek = read_key(&home, &at).await.map_err(unavailable)?;
                    Ok(Arc::new(kek) as Arc<dyn KeyProvider>)
                }
            }))
        }
        KeyFrom::Passphrase { at: Some(at), .. } => Arc::new(passphrase_of(Some(at), Some(parameters(&source.from)?))),
        KeyFrom::Passphrase { at: None, .. } => {
            Arc::new(typed_passphrase(&source.id, parameters(&source.from)?, typed.clone()))
        }
        KeyFrom::Token { module, token, key, pin, canary } => {
            let canary = Canary::from_hex(&canary).ok_or_else(|| {
                Error::new(ErrorKind::Config, "read key sources", "a canary is not one").with("key", &source.id)
            })?;
            Arc::new(Deferred::new(described, move || {
                let (module, token, key, pin) = (module.clone(), token.clone(), key.clone(), pin.clone());
                let (canary, unavailable) = (canary.clone(), unavailable.clone());
                async move {
                    let pin = ask_or_read("PIN of the token", pin.as_ref()).await.map_err(unavailable)?;
                    let kek = TokenKek::new(TokenOptions::new(module, token, key, pin)).with_canary(canary);
                    Ok(Arc::new(kek) as Arc<dyn KeyProvider>)
                }
            }))
        }
    };
    Ok(Arc::new(Expected::new(&source.id, held)))
}

/// Whatever kept a key from being fetched: a backup that needs it cannot be read, and is not damaged.
fn key_unavailable(e: Error) -> Error {
    match e.kind() {
        ErrorKind::KeyUnavailable => e,
        _ => Error::new(ErrorKind::KeyUnavailable, "fetch key", "its source gives none").because(e),
    }
}

fn passphrase_of(at: Option<SecretRef>, parameters: Option<Passphrase>) -> Deferred {
    let described = at.as_ref().map_or_else(|| "passphrase, asked for".to_owned(), secrets::place);
    Deferred::new(described, move || {
        let (at, parameters) = (at.clone(), parameters.clone());
        async move {
            let phrase = ask_or_read("passphrase", at.as_ref()).await.map_err(key_unavailable)?;
            let kek = PassphraseKek::new(phrase);
            let kek = parameters.into_iter().fold(kek, PassphraseKek::with_parameters);
            Ok(Arc::new(kek) as Arc<dyn KeyProvider>)
        }
    })
}

/// A passphrase that a person types: once for a command, however many ask.
fn typed_passphrase(id: &str, parameters: Passphrase, typed: Typed) -> Deferred {
    let id = id.to_owned();
    Deferred::new("passphrase, asked for", move || {
        let (id, parameters, typed) = (id.clone(), parameters.clone(), typed.clone());
        async move {
            let known = typed.of(&id);
            let phrase = match &known {
                Some(phrase) => phrase.clone(),
                None => ask_or_read("passphrase", None).await.map_err(key_unavailable)?,
            };
            let kek = PassphraseKek::new(phrase.clone()).with_parameters(parameters);
            if known.is_none() && kek.kek().await?.0 == id {
                typed.keep(&id, phrase);
            }
            Ok(Arc::new(kek) as Arc<dyn KeyProvider>)
        }
    })
}

fn parameters(from: &KeyFrom) -> Result<Passphrase> {
    match from {
        KeyFrom::Passphrase { salt, memory_kib, passes, lanes, .. } => {
            Ok(Passphrase { salt: salt.clone(), memory_kib: *memory_kib, passes: *passes, lanes: *lanes })
        }
        _ => Err(Error::new(ErrorKind::Internal, "derive key", "it is not a passphrase's")),
    }
}

async fn read_key(home: &Path, at: &SecretRef) -> Result<Kek> {
    if let SecretRef::File(path) = at {
        return read_key_file(&home.join(path), FileAccess::OwnerOnly).await;
    }
    let digits = secrets::first_line("key", at).await?;
    let key = key_of_text(digits.expose_secret()).map_err(|e| e.with("from", secrets::place(at)))?;
    Ok(Kek::raw(key).from_source(secrets::place(at)))
}

async fn ask_or_read(what: &'static str, at: Option<&SecretRef>) -> Result<SecretString> {
    match at {
        Some(at) => secrets::first_line(what, at).await,
        None => ask(format!("The {what}: ")).await,
    }
}

async fn ask_twice() -> Result<SecretString> {
    let first = ask("The new passphrase: ".to_owned()).await?;
    let second = ask("Once more: ".to_owned()).await?;
    if first.expose_secret() == second.expose_secret() && !first.expose_secret().is_empty() {
        return Ok(first);
    }
    Err(Error::new(ErrorKind::Config, "ask for passphrase", "it was not the same twice, or was empty"))
}

async fn ask(prompt: String) -> Result<SecretString> {
    let cannot = |why: &str| {
        Error::new(ErrorKind::KeyUnavailable, "ask for passphrase", why.to_owned())
            .hint("run this on a terminal, or name a file, a command or an environment variable that gives it")
    };
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(cannot("it has to be asked for, and there is no terminal"));
    }
    let asked = tokio::task::spawn_blocking(move || rpassword::prompt_password(prompt)).await;
    let asked =
        asked.map_err(|e| Error::new(ErrorKind::Internal, "ask for passphrase", "it was cut off").because(e))?;
    asked.map(SecretString::from).map_err(|e| cannot("the terminal cannot be read").because(e))
}

/// The folder of a home's epoch keys; `None` where there is none and it is not to be made.
async fn home_keys(home: &Path, make: bool) -> Result<Option<KeyFolder>> {
    let (path, id) = (home.join(KEYS), DestinationId::from("keys"));
    if !make && !path.exists() {
        return Ok(None);
    }
    let store = if make { LocalStore::init(path, &id).await? } else { LocalStore::open(path, &id).await? };
    Ok(Some(KeyFolder::of_home(Arc::new(store))))
}

/// Whether a destination seals what it keeps: one on which there is no word does, unless the home has no key.
pub(crate) fn is_sealed(config: &DestinationConfig) -> bool {
    seals(config)
}

/// The folder of epoch keys at a destination.
///
/// # Errors
/// The destination is not there.
pub(crate) async fn destination_keys(settings: BackendSettings) -> Result<KeyFolder> {
    let opened = super::places::Objects::of(&settings).await;
    Ok(opened.map_err(|e| e.with("destination", &settings.config.name))?.keys())
}
