//! How much room destinations take: what they say themselves, kept for the next time.

use std::collections::BTreeMap;
use std::path::Path;

use devicevault_core::statistics::StatisticsQuery;
use devicevault_core::storage::UsageFilter;
use devicevault_core::{DestinationId, Result, Timestamp};
use devicevault_storage::regular;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::files;
use crate::instance::Instance;

/// Where it is kept, in the home.
const FILE: &str = "catalog.db.usage.json";

/// What a destination said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// Bytes of contents.
    pub(super) content_bytes: u64,
    /// Bytes that are kept for them.
    pub(super) stored_bytes: u64,
    /// When that was.
    pub(super) at: Timestamp,
}

/// What was said the last time. What cannot be read is asked anew some day.
pub(super) fn kept(home: &Path) -> BTreeMap<DestinationId, Measured> {
    let text = regular::read(&home.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Asks the destinations that are meant.
///
/// # Errors
/// The inventory cannot be read. A destination that does not answer is told and left out.
pub(super) async fn ask(
    context: &Context,
    instance: &Instance,
    query: &StatisticsQuery,
) -> Result<BTreeMap<DestinationId, Measured>> {
    let mut all = BTreeMap::new();
    let open = instance.destinations_where(|d| query.destination.as_ref().is_none_or(|id| *id == d.id)).await?;
    for destination in open {
        let mut filter = UsageFilter::default();
        filter.device.clone_from(&query.device);
        let usage = match &destination.backend {
            Ok(backend) => backend.usage(filter).await,
            Err(e) => Err(e.clone()),
        };
        match usage {
            Ok(usage) => {
                let (content_bytes, stored_bytes) = (usage.content_bytes, usage.stored_bytes);
                all.insert(destination.config.id, Measured { content_bytes, stored_bytes, at: instance.now() });
            }
            Err(e) => context.ui.warn(&format!("{}: {}", destination.config.name, e.to_record().message)),
        }
    }
    if query.device.is_none() {
        let mut known = kept(&instance.home);
        known.extend(all.clone());
        let text = serde_json::to_vec(&known).unwrap_or_default();
        if let Err(e) = files::replace_private(&instance.home.join(FILE), &text) {
            tracing::warn!(event = "usage_not_kept", error = %e.to_record().message);
        }
    }
    Ok(all)
}
