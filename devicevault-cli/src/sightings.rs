//! Telling destinations how long their versions were valid: what a rebuilt catalog knows it from.

use std::collections::BTreeSet;

use devicevault_core::catalog::{CatalogExt as _, Query};
use devicevault_core::run::Backup;
use devicevault_core::{DestinationId, DeviceId, Result, StorageBackend, sightings};

use crate::context::Context;
use crate::instance::Instance;

/// After a round. A destination that cannot be told is told by the next one: no backup has failed by that.
pub(crate) async fn note<'a>(
    context: &Context,
    instance: &Instance,
    destinations: impl Iterator<Item = (&'a DestinationId, &'a dyn StorageBackend)>,
) {
    let now = context.clock().now();
    for (id, backend) in destinations {
        if let Err(e) = sightings::note(&*instance.catalog, &*instance.inventory, id, backend, now, now).await {
            tracing::warn!(event = "sightings_not_noted", storage_backend = %id, error = %e.to_record().message);
        }
    }
}

/// What a person said of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// That its pin is taken away.
    Unpinned,
    /// Something else, which the catalog knows; or its device has another name.
    Otherwise,
}

/// After devices were given other names: what lies there was stored under those of before, and may be looked for without
/// the catalog.
///
/// # Errors
/// What the catalog answers. A destination that cannot be told is told by the next round.
pub(crate) async fn note_renamed(context: &Context, instance: &Instance, devices: &[DeviceId]) -> Result<()> {
    let mut told = BTreeSet::new();
    for device in devices {
        let mut newest = Query::default();
        newest.device = Some(device.clone());
        let Some(backup) = instance.catalog.newest(&newest).await? else { continue };
        // A record of a month tells the names of all.
        let month: String = backup.last_seen.to_string().chars().take("2026-11".len()).collect();
        let places: Vec<_> = backup.copies.iter().map(|c| c.destination.clone()).collect();
        if told.insert((month, places)) {
            note_of(context, instance, &backup, Said::Otherwise).await;
        }
    }
    Ok(())
}

/// After a person said something of a version that was last seen some time ago.
pub(crate) async fn note_of(context: &Context, instance: &Instance, backup: &Backup, said: Said) {
    let places = match instance.destinations_where(|d| backup.copies.iter().any(|c| c.destination == d.id)).await {
        Ok(places) => places,
        Err(e) => {
            tracing::warn!(event = "sightings_not_noted", error = %e.to_record().message);
            return;
        }
    };
    let now = context.clock().now();
    let (catalog, inventory) = (&*instance.catalog, &*instance.inventory);
    for place in places {
        let noted = match (&place.backend, said) {
            (Ok(backend), Said::Unpinned) => {
                sightings::note_unpinned(catalog, inventory, &place.config.id, &**backend, backup, now).await
            }
            (Ok(backend), Said::Otherwise) => {
                sightings::note(catalog, inventory, &place.config.id, &**backend, backup.last_seen, now).await
            }
            (Err(e), _) => Err(e.clone()),
        };
        if let Err(e) = noted {
            tracing::warn!(event = "sightings_not_noted", storage_backend = %place.config.id,
                error = %e.to_record().message);
        }
    }
}
