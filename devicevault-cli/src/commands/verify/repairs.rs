//! Repairing what was found damaged or missing.

use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::catalog::CopyKey;
use devicevault_core::engine::{Destination, GoodCopy, Repair};
use devicevault_core::event::NoEvents;
use devicevault_core::{Engine, Error, Manifest, Result, View};
use futures::{StreamExt as _, stream};
use serde::Serialize;

use super::Found;
use crate::context::Context;
use crate::destinations::ready;
use crate::instance::Instance;
use crate::purging;
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
    let repairs = Repairs::of(context, instance).await?;
    let names = instance.destination_configs().await?;
    let counter = counter(&context.ui, wanted, "repairs");
    // Where the order of storing is the order of versions, they come one by one, the oldest first.
    let is_ordered =
        |key: &CopyKey| repairs.places.iter().any(|p| *p.id() == key.destination && p.backend().capability().ordered);
    let mut keys: Vec<(usize, CopyKey)> =
        found.bad.iter().enumerate().filter_map(|(n, bad)| Some((n, bad.key.clone()?))).collect();
    keys.sort_by_key(|(_, key)| key.backup);
    let (in_order, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(_, key)| is_ordered(key));
    let mut all = Vec::with_capacity(wanted);
    for (keys, at_once) in [(in_order, 1), (others, AT_ONCE)] {
        let each = keys.into_iter().map(|(n, key)| {
            let repairs = &repairs;
            async move { (n, repairs.one(&key).await) }
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

/// All destinations of an instance, those that nothing new is stored at too, and who takes copies from one to another.
pub(crate) struct Repairs<'a> {
    instance: &'a Instance,
    engine: Engine,
    places: Vec<Arc<Destination>>,
}

impl<'a> Repairs<'a> {
    /// # Errors
    /// The inventory or the spool cannot be used.
    pub(crate) async fn of(context: &Context, instance: &'a Instance) -> Result<Self> {
        let (options, clock) = (RoundOptions::default(), context.clock().clone());
        let engine = round::engine(instance, &options, Arc::new(NoEvents), clock, instance.spool().await?);
        let open = instance.destinations_where(|_| true).await?;
        let places = open.into_iter().map(|d| ready(d.config, d.backend, context.clock()).destination).collect();
        Ok(Self { instance, engine, places })
    }

    fn make(&self, manifest: &Manifest, original: Bytes, view: View) -> Result<Bytes> {
        views::make(&self.instance.collectors, &self.instance.key, manifest, original, view).map(Bytes::from)
    }

    async fn one(&self, key: &CopyKey) -> Result<Repair> {
        purging::refuse(&self.instance.home, &key.destination)?;
        let make = |manifest: &Manifest, original: Bytes, view: View| self.make(manifest, original, view);
        self.engine.repair(&self.places, key, Some(&make)).await
    }

    /// What a copy can be stored anew out of; see [`Engine::good_copy`].
    pub(crate) async fn good_copy(&self, key: &CopyKey) -> Result<GoodCopy> {
        let make = |manifest: &Manifest, original: Bytes, view: View| self.make(manifest, original, view);
        self.engine.good_copy(&self.places, key, Some(&make)).await
    }
}
