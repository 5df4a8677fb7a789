//! The marker of a destination that was lost at its place.

use devicevault_core::catalog::{CatalogExt as _, Query};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result, StorageBackend};
use futures::TryStreamExt as _;

use crate::instance::Instance;
use crate::wiring;
use crate::wiring::keys::destination_keys;

/// So many of the newest copies are looked for: one that is there tells whose the place is.
const LOOKED_FOR: usize = 20;

/// What says nothing of the next one.
const OF_ONE_COPY: [ErrorKind; 5] = [
    ErrorKind::NotFound,
    ErrorKind::Corrupt,
    ErrorKind::Unsupported,
    ErrorKind::KeyUnavailable,
    ErrorKind::PermissionDenied,
];

/// Lays the marker again where none lies, and what this home stored there does, or, where it stored nothing yet, its keys: an
/// empty folder beneath a share that is not mounted is not filled. Whether one was laid.
///
/// # Errors
/// `Conflict` where nothing there tells that the place is this home's; what the place and the catalog answer.
pub(super) async fn lay_again(instance: &Instance, config: &DestinationConfig) -> Result<bool> {
    if config.kind != wiring::PLAIN {
        return Ok(false);
    }
    let told = |e: Error| e.with("destination", &config.name);
    let Some(there) = wiring::without_marker(instance.backend_settings(config, false)).await.map_err(told)? else {
        return Ok(false);
    };
    let is_ours = match has_copies(instance, config, &there).await.map_err(told)? {
        Some(found) => found,
        None => has_keys(instance, config).await?,
    };
    if !is_ours {
        let why = "no marker lies there, and nothing that this home stored";
        return Err(told(Error::new(ErrorKind::Conflict, "lay marker again", why)).hint(
            "mount the share, or name the right place: `devicevault destination edit`; where all that it held is lost for \
             good, write the marker by hand, as the guide tells under \"The marker of a destination is gone\"",
        ));
    }
    instance.open_backend(config, true).await?;
    Ok(true)
}

/// Whether a copy lies there that the catalog knows there; `None`: it knows none.
async fn has_copies(
    instance: &Instance,
    config: &DestinationConfig,
    there: &dyn StorageBackend,
) -> Result<Option<bool>> {
    let mut query = Query::default();
    query.destination = Some(config.id.clone());
    let (mut all, mut looked) = (instance.catalog.every(&query), 0);
    while looked < LOOKED_FOR
        && let Some(backup) = all.try_next().await?
    {
        let copy = backup.copies.iter().find(|c| c.destination == config.id);
        // What waits for the place was never there.
        let Some(at) = copy.and_then(|c| c.storage_ref.as_ref()) else { continue };
        looked += 1;
        match there.stat(at).await {
            Ok(manifest) if manifest.backup == backup.id => return Ok(Some(true)),
            Err(e) if !OF_ONE_COPY.contains(&e.kind()) => return Err(e),
            _ => {}
        }
    }
    Ok((looked > 0).then_some(false))
}

/// Whether epoch keys of this home lie there, and nobody else's.
async fn has_keys(instance: &Instance, config: &DestinationConfig) -> Result<bool> {
    if !wiring::seals(config) {
        return Ok(false);
    }
    let mut settings = instance.backend_settings(config, false);
    settings.unmarked = true;
    let there = destination_keys(settings).await?.list().await.map_err(|e| e.with("destination", &config.name))?;
    let ours = instance.keys.epochs();
    Ok(!there.is_empty() && there.iter().all(|id| ours.iter().any(|known| known.id == *id)))
}
