//! A folder or store of backups as it lies there: read by its manifests, without a catalog.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use devicevault_core::text::InstanceKey;
use devicevault_core::{Error, Result, StorageBackend};

use crate::archive::Archive;
use crate::collectors::Collectors;
use crate::context::Context;
use crate::instance::{Instance, KEY};
use crate::place::Place;
use crate::wiring::found;
use crate::wiring::keys::Keys;
use crate::{adhoc, files, wiring};

/// What is to be read: the home's versions, or those of a place.
///
/// # Errors
/// There is no home, or no such place.
pub(crate) async fn archive(context: &Context, place: Option<&Place>) -> Result<Archive> {
    match place {
        Some(place) => of_manifests(context, place, |e| context.ui.warn(&e.to_record().message)).await,
        None => Archive::of_instance(context.instance().await?).await,
    }
}

/// The same, for those who look for damage: a folder's own index, where it has one, tells what should be there.
///
/// # Errors
/// As [`archive`].
pub(crate) async fn archive_with_index(
    context: &Context,
    place: Option<&Place>,
    damaged: impl FnMut(Error),
) -> Result<Archive> {
    match place {
        Some(place) => {
            let state = place.folder().map(|folder| Ok::<_, Error>((folder, adhoc::state(folder)?))).transpose()?;
            if let Some((folder, state)) = state.filter(|(_, state)| Instance::exists(state)) {
                match adhoc::index(context, folder, &state).await {
                    Ok(instance) => return Archive::of_instance(instance).await,
                    // On a read-only share or a full disk its lock cannot be written; what is there can be looked at. So it can
                    // where somebody laid an index there that leads elsewhere.
                    Err(e) => context.ui.warn(&format!(
                        "its index cannot be used, so that only what is there is looked at, not what is missing: {}",
                        e.to_record().message
                    )),
                }
            }
            of_manifests(context, place, damaged).await
        }
        None => Archive::of_instance(context.instance().await?).await,
    }
}

async fn of_manifests(context: &Context, place: &Place, damaged: impl FnMut(Error)) -> Result<Archive> {
    // An option that such a place does not have is refused, whatever lies there.
    place.accepts_clear()?;
    // Who names a key means it: a home that is broken must not stand in the way of a recovery.
    let given = &context.given_keys;
    let home = if given.is_empty() { context.home().ok().filter(|home| Instance::exists(home)) } else { None };
    let keys = Keys::open(home, given).await?;
    let repository = place.folder().map(found::repository_at).transpose()?.flatten();
    let backend: Arc<dyn StorageBackend> = match (place.folder(), repository) {
        (Some(folder), Some(config)) => found::open_found(&config, folder, &keys, context.clock().clone()).await?,
        _ => Arc::new(wiring::open_place(context, place, &keys).await?),
    };
    let state = match place.folder() {
        Some(folder) => adhoc::state(folder)?,
        None => context.home().map_or_else(|_| PathBuf::new(), Path::to_owned),
    };
    let collectors = Collectors::of_home(context, &state)?;
    Archive::of_manifests(context, collectors, key(place)?, backend, damaged).await
}

/// A folder's own key where it is there, else one that holds for this command: under it, too, a secret that changed shows.
fn key(place: &Place) -> Result<InstanceKey> {
    let own = place.folder().map(|folder| files::load_key(&adhoc::state(folder)?.join(KEY)));
    own.and_then(Result::ok).map_or_else(|| Ok(InstanceKey::new(files::random_bytes()?)), Ok)
}
