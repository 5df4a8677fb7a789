//! The destinations of a home, noted beside its keys: a catalog that is lost takes the inventory with it, and what is sealed
//! somewhere must not drop out of rotations because nobody remembers it.

use std::path::Path;

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{DestinationId, Result};
use devicevault_storage::regular;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::instance::Instance;
use crate::keys::elsewhere;
use crate::wiring::keys::is_sealed;
use crate::{files, wiring};

/// Name of the file in a home. It holds no secret.
pub(crate) const FILE: &str = "destinations.json";
/// A note of more destinations than anybody has is nobody's.
const LONGEST_FILE: u64 = 1 << 20;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Noted {
    destinations: Vec<DestinationConfig>,
}

/// Notes the destinations that may hold what is sealed. What cannot be written now is written by the next command.
pub(crate) async fn note(instance: &Instance) {
    if !instance.is_home() || !instance.keys.is_set_up() {
        return;
    }
    let noted = async {
        let all = instance.inventory.destinations().await?;
        let before = read(&instance.home);
        // One that seals no more has sealed what it holds.
        let has_sealed = has_sealed(&instance.home);
        let now = Noted { destinations: all.into_iter().filter(|d| is_sealed(d) || has_sealed(d)).collect() };
        if before.as_ref() == Some(&now) {
            return Ok(());
        }
        // Serialising plain data into memory has no way to fail.
        files::replace_private(&instance.home.join(FILE), &serde_json::to_vec_pretty(&now).unwrap_or_default())
    };
    if let Err(e) = noted.await {
        tracing::warn!(event = "destinations_not_noted", error = %e.to_record().message);
    }
}

/// Which destinations were noted as ones that hold what is sealed, also where they seal no more.
pub(crate) fn has_sealed(home: &Path) -> impl Fn(&DestinationConfig) -> bool {
    let noted = read(home).unwrap_or_default().destinations;
    move |config| noted.iter().any(|d| d.id == config.id)
}

/// Whether a destination was noted as one that seals, or as one that seals no more; `None`: it was not noted.
pub(crate) fn sealed(home: &Path, id: &DestinationId) -> Option<bool> {
    read(home)?.destinations.iter().find(|d| d.id == *id).map(is_sealed)
}

/// Remembers as removed what a catalog that was made anew does not know, and tells it: rotations leave it out, and keep the
/// key that opens it.
///
/// # Errors
/// What the inventory answers; the note of what was removed cannot be written.
pub(crate) async fn tell_forgotten(context: &Context, instance: &Instance) -> Result<()> {
    let known = instance.inventory.destinations().await?;
    let place = |d: &DestinationConfig| wiring::place_of(d, &instance.home);
    let is_known = |d: &DestinationConfig| known.iter().any(|k| k.id == d.id || place(k) == place(d));
    for config in read(&instance.home).unwrap_or_default().destinations.iter().filter(|d| !is_known(d)) {
        let Some(left) = elsewhere::leave(instance, config).await? else { continue };
        context.ui.warn(&format!(
            "{} was a destination, and the catalog knows it no more: what is sealed there opens by key {}, and no rotation \
             changes that until it is one again, by `devicevault catalog rebuild --into --from {}`",
            left.describe(),
            left.keys_text(),
            left.place.as_ref().unwrap_or(&left.name)
        ));
    }
    Ok(())
}

/// What was noted; `None` where there is nothing that can be read.
fn read(home: &Path) -> Option<Noted> {
    let path = home.join(FILE);
    let is_ours = path.symlink_metadata().is_ok_and(|m| m.is_file() && m.len() <= LONGEST_FILE);
    is_ours.then(|| regular::read(&path).ok())?.and_then(|text| serde_json::from_slice(&text).ok())
}
