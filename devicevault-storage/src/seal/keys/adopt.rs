//! Epoch keys of a destination that the home lacks, taken over into it.

use std::sync::Arc;

use devicevault_core::key::KeyProvider;
use devicevault_core::{ErrorKind, Result};

use super::epoch::EpochId;
use super::rewrap::load_whole;
use super::{KeyPlaces, Keyring};

/// Takes over into the home what destinations hold of epoch keys that it lacks, or has damaged, as far as a key at hand
/// opens them, each wrapped besides by every one of `wanted`; then it is laid at its destination like that. What opened it
/// before does so still. Whoever calls it sees to it that none of these seals: they are old.
///
/// It may stop anywhere, and goes on when it is run again. Destinations that do not answer are left out.
///
/// # Errors
/// `wanted` cannot be had, or the home cannot be written.
pub async fn adopt(ring: &Keyring, places: &KeyPlaces, wanted: &[Arc<dyn KeyProvider>]) -> Result<Vec<EpochId>> {
    let mut adopted = Vec::new();
    for (_, folder) in &places.destinations {
        let there = folder.list().await.unwrap_or_default();
        for id in there {
            let Ok(Some(mut object)) = load_whole(folder, id).await else { continue };
            let own = ring.object(id);
            if let Some(own) = &own
                && (*own == object || !ring.is_damaged(own).await || ring.is_damaged(&object).await)
            {
                continue;
            }
            let key = match object.open(ring.providers()).await {
                Ok(key) => key,
                Err(e) if matches!(e.kind(), ErrorKind::KeyUnavailable | ErrorKind::Corrupt) => continue,
                Err(e) => return Err(e),
            };
            for provider in wanted {
                if !object.is_wrapped_by(&provider.kek().await?) {
                    object.add(&key, &**provider).await?;
                }
            }
            match own {
                None => places.home.publish(&object).await?,
                Some(own) => {
                    object.revision = object.revision.max(own.revision);
                    places.home.replace(&object).await?;
                }
            }
            ring.add(object);
            adopted.push(id);
        }
    }
    // Another destination may have them too, or have kept back what was laid there.
    for (_, folder) in &places.destinations {
        let there = folder.list().await.unwrap_or_default();
        for object in adopted.iter().filter(|id| there.contains(*id)).filter_map(|id| ring.object(*id)) {
            // Whoever brings keys up to date tells what keeps them back there.
            let _ = folder.publish(&object).await;
        }
    }
    Ok(adopted)
}
