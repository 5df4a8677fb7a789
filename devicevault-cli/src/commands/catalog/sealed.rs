//! Whether a place seals that does not say so by its keys.

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Result, StorageBackend};

use crate::context::Context;
use crate::instance::Instance;
use crate::keys::gone;
use crate::wiring;

/// Has a place seal where keys lay once: somebody took them away, or only a part of it was brought back. Stored in the clear
/// from now on, everything would be a leak; and what lies there in the clear was planted. Whether it was changed.
///
/// # Errors
/// It cannot be listed.
pub(super) async fn seals_after_all(
    context: &Context,
    instance: &Instance,
    config: &mut DestinationConfig,
    backend: &dyn StorageBackend,
) -> Result<bool> {
    if config.kind != wiring::PLAIN || wiring::seals(config) || !instance.keys.is_set_up() {
        return Ok(false);
    }
    let seals = gone::seals(&instance.home, &config.id, backend).await?;
    if !seals {
        context.ui.warn(&format!("{}: what is stored there is not sealed", config.name));
        return Ok(false);
    }
    config.options.insert(wiring::SEAL.to_owned(), "yes".to_owned());
    context.ui.warn(&format!(
        "{}: the epoch keys that lay there are gone. It seals as before, what lies there in the clear is not believed, and \
         the next backup lays them there again",
        config.name
    ));
    Ok(true)
}
