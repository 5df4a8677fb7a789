//! Whether a place seals that does not say so by its keys.

use std::path::Path;

use devicevault_core::storage::ListFilter;
use devicevault_core::{DestinationId, ErrorKind, Result, StorageBackend, Transform};
use futures::StreamExt as _;

use super::noted;

/// Whether a place without epoch keys seals: somebody took them away, or only a part of it was copied or brought back. What
/// lies there in the clear was planted then.
///
/// # Errors
/// It cannot be listed.
pub(crate) async fn seals(home: &Path, id: &DestinationId, backend: &dyn StorageBackend) -> Result<bool> {
    match noted::sealed(home, id) {
        Some(seals) => Ok(seals),
        None => holds_sealed(backend).await,
    }
}

/// Whether anything there is sealed.
async fn holds_sealed(backend: &dyn StorageBackend) -> Result<bool> {
    let mut all = backend.list(ListFilter::default());
    while let Some(found) = all.next().await {
        match found {
            Ok((_, m)) if m.transforms.iter().any(|t| matches!(t, Transform::Sealed { .. })) => return Ok(true),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::KeyUnavailable => return Ok(true),
            // What is damaged tells nothing, and is told by who reads it.
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}
