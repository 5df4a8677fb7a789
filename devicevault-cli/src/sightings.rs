//! Telling destinations how long their versions were valid: what a rebuilt catalog knows it from.

use devicevault_core::run::Backup;
use devicevault_core::{DestinationId, StorageBackend, sightings};

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
