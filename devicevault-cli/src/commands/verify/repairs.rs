//! Repairing what was found damaged or missing.

use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::catalog::CopyKey;
use devicevault_core::engine::{Destination, Repair};
use devicevault_core::event::NoEvents;
use devicevault_core::{Engine, Error, Result};
use futures::{StreamExt as _, stream};
use serde::Serialize;

use super::Found;
use crate::context::Context;
use crate::destinations::ready;
use crate::instance::Instance;
use crate::round::{self, RoundOptions};
use crate::ui::progress::counter;
use crate::views;

/// Copies that are repaired at a time.
const AT_ONCE: usize = 4;

/// What became of a copy that was to be repaired.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub(super) enum Repaired {
    /// It was stored anew.
    Repaired { from: String, storage_ref: String },
    /// It could not be, and why.
    NotRepaired { why: String, hint: Option<String> },
}

impl Repaired {
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Repaired { .. })
    }
}

/// Repairs what is damaged or missing among what was found, out of all destinations of the instance, those that nothing
/// new is stored at too.
///
/// # Errors
/// The inventory, the spool or the catalog cannot be used.
pub(super) async fn repair(context: &Context, instance: &Instance, found: &mut Found) -> Result<()> {
    let wanted = found.bad.iter().filter(|b| b.key.is_some()).count();
    if wanted == 0 {
        return Ok(());
    }
    let engine = round::engine(
        instance,
        &RoundOptions::default(),
        Arc::new(NoEvents),
        context.clock().clone(),
        instance.spool().await?,
    );
    let open = instance.destinations_where(|_| true).await?;
    let places: Vec<_> = open.into_iter().map(|d| ready(d.config, d.backend, context.clock()).destination).collect();
    let names = instance.destination_configs().await?;
    let counter = counter(&context.ui, wanted, "repairs");
    // Where the order of storing is the order of versions, they come one by one, the oldest first.
    let is_ordered =
        |key: &CopyKey| places.iter().any(|p| *p.id() == key.destination && p.backend().capability().ordered);
    let mut keys: Vec<(usize, CopyKey)> =
        found.bad.iter().enumerate().filter_map(|(n, bad)| Some((n, bad.key.clone()?))).collect();
    keys.sort_by_key(|(_, key)| key.backup);
    let (in_order, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(_, key)| is_ordered(key));
    let mut all = Vec::with_capacity(wanted);
    for (keys, at_once) in [(in_order, 1), (others, AT_ONCE)] {
        let each = keys.into_iter().map(|(n, key)| {
            let (engine, places) = (&engine, &places);
            async move { (n, one(engine, instance, places, &key).await) }
        });
        let mut done = stream::iter(each).buffered(at_once);
        while let Some(one) = done.next().await {
            all.push(one);
            counter.inc(1);
        }
    }
    counter.finish_and_clear();
    for (n, one) in all {
        let Some(bad) = found.bad.get_mut(n) else { continue };
        bad.repair = Some(match one {
            Ok(Repair::Stored { from, at }) => Repaired::Repaired {
                from: names.get(&from).map_or_else(|| from.to_string(), |d| d.name.clone()),
                storage_ref: at.to_string(),
            },
            Ok(Repair::Good) => Repaired::Repaired {
                from: bad.destination.clone(),
                storage_ref: bad.storage_ref.clone().unwrap_or_default(),
            },
            Ok(Repair::Failed(e)) | Err(e) => not(&e),
            Ok(_) => not(&Error::new(devicevault_core::ErrorKind::Internal, "repair copy", "an unknown outcome")),
        });
    }
    Ok(())
}

fn not(e: &Error) -> Repaired {
    Repaired::NotRepaired { why: e.message().to_owned(), hint: e.hint_text().map(str::to_owned) }
}

async fn one(engine: &Engine, instance: &Instance, places: &[Arc<Destination>], key: &CopyKey) -> Result<Repair> {
    let make = |manifest: &devicevault_core::Manifest, original: Bytes, view| {
        views::make(&instance.collectors, &instance.key, manifest, original, view).map(Bytes::from)
    };
    engine.repair(places, key, Some(&make)).await
}
