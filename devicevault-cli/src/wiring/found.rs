//! Destinations as they are found, on disk or in a store, without anything that knows them.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::catalog::{CatalogExt as _, RunQuery};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::run::RunState;
use devicevault_core::{Catalog, Clock, Error, ErrorKind, Result, StorageBackend, View};
use devicevault_storage::catalog::{CatalogWatch, SqliteCatalog, SqliteOptions};
use devicevault_storage::git::{GitBackend, GitOptions, GitRepositories};
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_storage::seal::EpochId;

use super::git::{BRANCH, REPOSITORY};
use super::keys::Keys;
use super::places::Objects;
use super::{ACCEPT_CLEAR, GIT, OPAQUE_NAMES, PLAIN, SEAL, Store, is_yes, store};
use crate::app::BackendSettings;
use crate::files;

/// A repository's `HEAD` is shorter than this.
const MAX_HEAD: u64 = 4096;

/// The destination that a folder is the home of: its kind, name and settings as far as the folder tells. Which view it
/// keeps is told by its manifests.
///
/// # Errors
/// `NotFound` where there is no such folder, `Config` where it is the home of none.
pub(crate) async fn destination_at(folder: &Path) -> Result<DestinationConfig> {
    let fail = |kind, why: &str| Error::new(kind, "find destination", why).with("path", folder.display());
    if !folder.is_dir() {
        return Err(fail(ErrorKind::NotFound, "there is no such folder, and no destination of this name"));
    }
    if let Some(config) = repository_at(folder)? {
        return Ok(config);
    }
    let id = LocalStore::destination_of(folder).await?.ok_or_else(|| {
        fail(ErrorKind::Config, "it is the home of no destination").hint(
            "name a plain destination's folder, a bare Git repository or a folder of those; of a copy, hidden files are a part",
        )
    })?;
    let mut config = DestinationConfig::new(id.0.clone(), PLAIN, View::Original).with_option("compression", "zstd");
    let keys = folder.join("keys");
    if holds_keys(&keys)? {
        config = config.with_option(SEAL, "yes");
        if keys.join("names.json").is_file() {
            config = config.with_option(OPAQUE_NAMES, "yes");
        }
    } else {
        config = config.with_option(SEAL, "no");
    }
    Ok(config)
}

/// Whether a folder is what Git keeps a repository in.
pub(crate) fn is_repository(folder: &Path) -> bool {
    folder.join("HEAD").is_file() && folder.join("objects").is_dir()
}

/// The same, where the folder is a Git repository or one of those.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn repository_at(folder: &Path) -> Result<Option<DestinationConfig>> {
    let name = || folder.file_name().map_or_else(|| GIT.to_owned(), |n| n.to_string_lossy().into_owned());
    if is_repository(folder) {
        let config = DestinationConfig::new(name().trim_end_matches(".git"), GIT, View::Redacted);
        return Ok(Some(match branch_of(folder)? {
            Some(branch) => config.with_option(BRANCH, branch),
            None => config,
        }));
    }
    let template = GitRepositories::template_of(folder)?;
    Ok(template.map(|template| {
        DestinationConfig::new(name(), GIT, View::Redacted).with_option(REPOSITORY, template.to_string())
    }))
}

/// The branch that a repository was made for, where that is another than usual.
fn branch_of(folder: &Path) -> Result<Option<String>> {
    let path = folder.join("HEAD");
    let mut head = String::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_HEAD).read_to_string(&mut head));
    read.map_err(|e| files::failed(&e, "find destination", "the repository's HEAD cannot be read", &path))?;
    let branch = head.trim_end().strip_prefix("ref: refs/heads/").map(str::to_owned);
    Ok(branch.filter(|branch| *branch != GitOptions::default().branch))
}

/// Whether a folder `keys` is that of a sealed store, and not of a site or a device that has this name.
fn holds_keys(folder: &Path) -> Result<bool> {
    let is_key = |stem: &str| stem == "names" || stem.parse::<EpochId>().is_ok();
    let stem = |path: &PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned());
    Ok(files::entries(folder)?.iter().filter_map(stem).any(|stem| is_key(&stem)))
}

/// The destination that a store is the home of, as [`destination_at`] tells it of a folder. How the store is reached is
/// kept with it.
///
/// # Errors
/// `Config` where it is the home of none, or its options are wrong; what the store answers.
pub(crate) async fn destination_in(mut settings: BackendSettings) -> Result<DestinationConfig> {
    settings.any_destination = true;
    let objects = Objects::of(&settings).await?;
    let none = || Error::new(ErrorKind::Config, "find destination", "it is the home of no destination");
    let id = objects.destination().ok_or_else(none)?.clone();
    let mut config = settings.config;
    config.name.clone_from(&id.0);
    config.id = id;
    let mut set = |name: &str, value: &str| drop(config.options.insert(name.to_owned(), value.to_owned()));
    set("compression", "zstd");
    let keys = objects.keys();
    if !keys.list().await?.is_empty() {
        set(SEAL, "yes");
        if keys.hides_names().await? {
            set(OPAQUE_NAMES, "yes");
        }
    } else {
        set(SEAL, "no");
    }
    Ok(config)
}

/// Opens what [`destination_in`] found, to be read as [`open_found`] reads a folder.
///
/// # Errors
/// It cannot be opened.
pub(crate) async fn open_store(settings: BackendSettings) -> Result<Arc<dyn StorageBackend>> {
    let options = reading(&settings.config, &settings.keys, settings.clock.clone());
    Ok(Arc::new(Objects::of(&settings).await?.plain(options)))
}

/// Opens what [`destination_at`] found, to be read with whatever keys are at hand. In a sealed one, what is not sealed is
/// not believed.
///
/// # Errors
/// It cannot be opened.
pub(crate) async fn open_found(
    config: &DestinationConfig,
    folder: &Path,
    keys: &Keys,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn StorageBackend>> {
    // Whoever made a copy of it may have written an index for it.
    let git = GitOptions::default().with_own_index(false);
    if let Some(template) = config.options.get(REPOSITORY) {
        return Ok(Arc::new(GitRepositories::open(folder, template.parse()?, git, clock)?));
    }
    if config.kind == GIT {
        let options = match config.options.get(BRANCH) {
            Some(branch) => git.with_branch(branch),
            None => git,
        };
        return Ok(Arc::new(GitBackend::open(folder, options, clock).await?));
    }
    let options = reading(config, keys, clock);
    Ok(Arc::new(PlainBackend::in_folder(LocalStore::open(folder, &config.id).await?, options)))
}

fn reading(config: &DestinationConfig, keys: &Keys, clock: Arc<dyn Clock>) -> PlainOptions {
    let options = PlainOptions::default().with_clock(clock).without_times().with_keyring(keys.ring().clone());
    let is = |name: &str| config.options.get(name).is_some_and(|word| is_yes(word));
    let options = if is(SEAL) { options.with_sealing(keys.ring().clone()) } else { options };
    if is(ACCEPT_CLEAR) { options.with_accept_clear(true) } else { options }
}

/// A catalog that is to be replaced: what it knows is taken over, and it is kept aside when another one is there.
#[derive(Debug)]
pub(crate) struct Replaced {
    path: PathBuf,
    /// What it knows; `None` where it cannot be read.
    pub(crate) store: Option<Store>,
    /// Begun before anything of it was taken over.
    watch: Option<CatalogWatch>,
}

/// Others who have the catalog open at the end are waited for so long.
const PATIENCE: Duration = Duration::from_secs(10);

impl Replaced {
    /// Opens it. Of one that cannot be opened, nothing is known.
    ///
    /// # Errors
    /// `Conflict` while a run is under way.
    pub(crate) async fn open(path: PathBuf, clock: Arc<dyn Clock>) -> Result<Self> {
        match SqliteCatalog::open(&path, SqliteOptions::default().with_clock(clock)).await {
            Ok(catalog) => {
                let watch = catalog.watch().await?;
                still_runs(&catalog).await?;
                Ok(Self { path, store: Some(store(catalog)), watch: Some(watch) })
            }
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Config) => {
                tracing::warn!(error = %e, "the catalog that is to be replaced cannot be read");
                Ok(Self { path, store: None, watch: None })
            }
            Err(e) => Err(e),
        }
    }

    /// Puts another one, which nobody has open, in its place; until then it is in force. It is found at `aside` then.
    ///
    /// # Errors
    /// `Conflict` where anything was written into it since it was opened, or another command has it open; the files cannot
    /// be renamed.
    pub(crate) async fn give_way(self, to: &Path, aside: &Path) -> Result<()> {
        // Until the new one has its name, nobody can write into this one any more.
        let _alone = match (&self.store, self.watch) {
            (Some(store), Some(watch)) => Some(store.file.set_aside(watch, PATIENCE).await?),
            _ => None,
        };
        let failed = |e: &std::io::Error| {
            crate::files::failed(e, "set catalog aside", "it cannot be renamed; nothing was changed", &self.path)
        };
        // One name more, so that there is a catalog at every moment; where a file system has no such names, almost.
        if std::fs::hard_link(&self.path, aside).is_err() {
            std::fs::rename(&self.path, aside).map_err(|e| failed(&e))?;
        }
        for suffix in ["-wal", "-shm"] {
            let of = |p: &Path| PathBuf::from(format!("{}{suffix}", p.display()));
            match std::fs::rename(of(&self.path), of(aside)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(&e)),
                _ => {}
            }
        }
        std::fs::rename(to, &self.path).map_err(|e| {
            // Where it has but one name, it gets its own back.
            let _ = std::fs::rename(aside, &self.path);
            failed(&e)
        })
    }
}

async fn still_runs(catalog: &dyn Catalog) -> Result<()> {
    for state in [RunState::Queued, RunState::Collecting, RunState::Storing] {
        let mut query = RunQuery::default();
        query.state = Some(state);
        if let Some(run) = catalog.newest_run(&query).await? {
            return Err(Error::new(ErrorKind::Conflict, "set catalog aside", "a run is under way")
                .with("device", &run.start.device_name)
                .hint("wait for it, or interrupt it"));
        }
    }
    Ok(())
}
