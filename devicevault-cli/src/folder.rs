//! A folder of backups as it lies there: read by its manifests, without a catalog.

use std::path::Path;

use devicevault_core::text::InstanceKey;
use devicevault_core::{Error, Result};

use crate::archive::Archive;
use crate::collectors::Collectors;
use crate::context::Context;
use crate::instance::{Instance, KEY};
use crate::wiring::keys::Keys;
use crate::{adhoc, files, wiring};

/// What is to be read: the home's versions, or those of a folder.
///
/// # Errors
/// There is no home, or no such folder.
pub(crate) async fn archive(context: &Context, folder: Option<&Path>) -> Result<Archive> {
    match folder {
        Some(folder) => of_manifests(context, folder, |e| context.ui.warn(&e.to_record().message)).await,
        None => Archive::of_instance(context.instance().await?).await,
    }
}

/// The same, for those who look for damage: a folder's own index, where it has one, tells what should be there.
///
/// # Errors
/// As [`archive`].
pub(crate) async fn archive_with_index(
    context: &Context,
    folder: Option<&Path>,
    damaged: impl FnMut(Error),
) -> Result<Archive> {
    match folder {
        Some(folder) => {
            let state = adhoc::state(folder)?;
            if Instance::exists(&state) {
                match Instance::open(context, &state).await {
                    Ok(instance) => return Archive::of_instance(instance).await,
                    // On a read-only share or a full disk its lock cannot be written; what is there can be looked at.
                    Err(e) => context.ui.warn(&format!(
                        "its index cannot be used, so that only what is there is looked at, not what is missing: {}",
                        e.to_record().message
                    )),
                }
            }
            of_manifests(context, folder, damaged).await
        }
        None => Archive::of_instance(context.instance().await?).await,
    }
}

async fn of_manifests(context: &Context, folder: &Path, damaged: impl FnMut(Error)) -> Result<Archive> {
    // Who names a key means it: a home that is broken must not stand in the way of a recovery.
    let given = &context.given_keys;
    let home = if given.is_empty() { context.home().ok().filter(|home| Instance::exists(home)) } else { None };
    let keys = Keys::open(home, given).await?;
    let backend = wiring::open_folder(folder, context.clock().clone(), &keys).await?;
    let state = adhoc::state(folder)?;
    let collectors = Collectors::of_home(context, &state)?;
    Archive::of_manifests(collectors, key(&state)?, backend, damaged).await
}

/// The folder's own key where it is there, else one that holds for this command: under it, too, a secret that changed
/// shows.
fn key(state: &Path) -> Result<InstanceKey> {
    files::load_key(&state.join(KEY)).or_else(|_| Ok(InstanceKey::new(files::random_bytes()?)))
}
