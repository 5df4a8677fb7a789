//! Destinations as they are found, on disk or in a store, without anything that knows them.

use std::path::Path;
use std::sync::Arc;

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Clock, Error, ErrorKind, Result, StorageBackend, View};
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
use devicevault_storage::git::{GitBackend, GitOptions, GitRepositories};
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::{PlainBackend, PlainOptions};

use super::git::REPOSITORY;
use super::keys::Keys;
use super::places::Objects;
use super::{GIT, PLAIN, Store, is_yes, store};
use crate::app::BackendSettings;

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
    if folder.join("HEAD").is_file() && folder.join("objects").is_dir() {
        let name = folder.file_name().map_or_else(|| GIT.to_owned(), |n| n.to_string_lossy().into_owned());
        return Ok(DestinationConfig::new(name.trim_end_matches(".git"), GIT, View::Redacted));
    }
    if let Some(template) = GitRepositories::template_of(folder)? {
        let name = folder.file_name().map_or_else(|| GIT.to_owned(), |n| n.to_string_lossy().into_owned());
        let config = DestinationConfig::new(name, GIT, View::Redacted);
        return Ok(config.with_option(REPOSITORY, template.to_string()));
    }
    let id = LocalStore::destination_of(folder).await?.ok_or_else(|| {
        fail(ErrorKind::Config, "it is the home of no destination").hint(
            "name a plain destination's folder, a bare Git repository or a folder of those; of a copy, hidden files are a part",
        )
    })?;
    let mut config = DestinationConfig::new(id.0.clone(), PLAIN, View::Original).with_option("compression", "zstd");
    let keys = folder.join("keys");
    if keys.is_dir() {
        config = config.with_option("seal", "yes");
        if keys.join("names.json").is_file() {
            config = config.with_option("opaque_names", "yes");
        }
    }
    Ok(config)
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
        set("seal", "yes");
        if keys.hides_names().await? {
            set("opaque_names", "yes");
        }
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
    if let Some(template) = config.options.get(REPOSITORY) {
        return Ok(Arc::new(GitRepositories::open(folder, template.parse()?, GitOptions::default(), clock)?));
    }
    if config.kind == GIT {
        return Ok(Arc::new(GitBackend::open(folder, GitOptions::default(), clock).await?));
    }
    let options = reading(config, keys, clock);
    Ok(Arc::new(PlainBackend::in_folder(LocalStore::open(folder, &config.id).await?, options)))
}

fn reading(config: &DestinationConfig, keys: &Keys, clock: Arc<dyn Clock>) -> PlainOptions {
    let options = PlainOptions::default().with_clock(clock).with_keyring(keys.ring().clone());
    match config.options.get("seal") {
        Some(seal) if is_yes(seal) => options.with_sealing(keys.ring().clone()),
        _ => options,
    }
}

/// Moves a catalog out of the way, whole, and returns what it knew beside runs and backups: its inventory. Of one that
/// cannot be opened, nothing is known.
///
/// # Errors
/// `Conflict` while a run is under way; the files cannot be renamed.
pub(crate) async fn set_aside(path: &Path, aside: &Path, clock: Arc<dyn Clock>) -> Result<Option<Store>> {
    match SqliteCatalog::open(path, SqliteOptions::default().with_clock(clock.clone())).await {
        Ok(catalog) => {
            let open = still_runs(&catalog).await;
            catalog.close().await;
            open?;
        }
        Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Config) => {}
        Err(e) => return Err(e),
    }
    for suffix in ["", "-wal", "-shm"] {
        let of = |p: &Path| std::path::PathBuf::from(format!("{}{suffix}", p.display()));
        match std::fs::rename(of(path), of(aside)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(crate::files::failed(&e, "set catalog aside", "it cannot be renamed", path)),
            Ok(()) => {}
        }
    }
    match SqliteCatalog::open(aside, SqliteOptions::default().with_clock(clock)).await {
        Ok(catalog) => Ok(Some(store(catalog))),
        Err(e) => {
            tracing::warn!(error = %e, "the catalog that was set aside cannot be read");
            Ok(None)
        }
    }
}

async fn still_runs(catalog: &SqliteCatalog) -> Result<()> {
    use devicevault_core::Catalog as _;
    use devicevault_core::catalog::{Page, RunQuery};
    use devicevault_core::run::RunState;
    for state in [RunState::Queued, RunState::Collecting, RunState::Storing] {
        let mut query = RunQuery::default();
        query.state = Some(state);
        if let Some(run) = catalog.runs(&query, Page::first(1)).await?.items.pop() {
            return Err(Error::new(ErrorKind::Conflict, "set catalog aside", "a run is under way")
                .with("device", &run.start.device_name)
                .hint("wait for it, or interrupt it"));
        }
    }
    Ok(())
}
