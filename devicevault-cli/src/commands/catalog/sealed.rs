//! Whether a place seals that does not say so by its keys.

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::storage::ListFilter;
use devicevault_core::{ErrorKind, Result, StorageBackend, Transform};
use futures::StreamExt as _;

use crate::context::Context;
use crate::instance::Instance;
use crate::keys::noted;
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
    let seals = match noted::sealed(&instance.home, &config.id) {
        Some(seals) => seals,
        None => holds_sealed(backend).await?,
    };
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

/// Whether anything there is sealed.
async fn holds_sealed(backend: &dyn StorageBackend) -> Result<bool> {
    let mut all = backend.list(ListFilter::default());
    while let Some(found) = all.next().await {
        match found {
            Ok((_, m)) if m.transforms.iter().any(|t| matches!(t, Transform::Sealed { .. })) => return Ok(true),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::KeyUnavailable => return Ok(true),
            // What is damaged tells nothing, and is told by who gathers.
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}
