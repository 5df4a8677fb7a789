//! What a person took for good, shown as that where a destination shows the present: a repository whose files people read.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::body::StoredBody;
use devicevault_core::run::{Backup, Outcome};
use devicevault_core::verification::may_be_looked_at;
use devicevault_core::{Entry, Result, RunId, StorageBackendExt as _, Transform};

use crate::context::Context;
use crate::instance::{Instance, OpenDestination};

/// Has such destinations show a version in the place of the good ones, where it is the last good one now. What goes wrong
/// is told: the version is accepted all the same.
pub(crate) async fn show(context: &Context, instance: &Instance, backup: &Backup) {
    let shown = async {
        let latest = instance.catalog.latest(&backup.device, &backup.artefact).await?;
        let Some(now) = latest.reference.filter(|b| b.id == backup.id) else { return Ok(()) };
        for place in instance.destinations_where(|d| now.copies.iter().any(|c| c.destination == d.id)).await? {
            if let Err(e) = show_at(instance, &place, &now).await {
                let why = e.to_record().message;
                context.ui.warn(&format!(
                    "destination {}: it goes on showing the version before, until the next change: {why}",
                    place.config.name
                ));
            }
        }
        Ok::<_, devicevault_core::Error>(())
    };
    if let Err(e) = shown.await {
        context.ui.warn(&format!("where the present is shown, it is the version before: {}", e.to_record().message));
    }
}

async fn show_at(instance: &Instance, place: &OpenDestination, backup: &Backup) -> Result<()> {
    let backend = place.backend.as_ref().map_err(Clone::clone)?;
    let copy = backup.copies.iter().find(|c| c.destination == place.config.id && may_be_looked_at(c));
    let Some((copy, at)) = copy.and_then(|c| Some((c, c.storage_ref.clone()?))) else { return Ok(()) };
    if !backend.capability().ordered {
        return Ok(());
    }
    let mut manifest = backend.stat(&at).await?;
    if manifest.suspect.is_empty() {
        return Ok(());
    }
    let body = Arc::new(StoredBody::new(backend.clone(), at, manifest.size));
    manifest.accepted.append(&mut manifest.suspect);
    manifest.quarantined = false;
    // Another copy of the same backup, and the one that counts: it comes after the first.
    manifest.run = RunId(uuid::Uuid::now_v7());
    manifest.taken_at = manifest.taken_at.checked_add(Duration::from_micros(1)).unwrap_or(manifest.taken_at);
    manifest.transforms.retain(|t| !matches!(t, Transform::Compressed { .. } | Transform::Sealed { .. }));
    let mut entry = Entry::new(manifest);
    entry.summary = format!("{}: {} accepted", backup.device_name, backup.artefact);
    let mut copy = copy.clone();
    copy.storage_ref = Some(backend.store_one(entry, body).await?);
    copy.stored_at = instance.now();
    let mut shown = backup.clone();
    shown.copies = vec![copy];
    instance.catalog.record(backup.run, vec![Outcome::Backup(shown)]).await
}
