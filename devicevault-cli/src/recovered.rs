//! What runs had stored that were cut off before they could record it: taken into the catalog before the next ones begin.
//!
//! A process that is killed leaves at worst copies that no record names. Retention would never come to them, and the next
//! run would store the same again. Looking for them costs two questions to the catalog where no run was cut off.

use std::collections::{BTreeMap, BTreeSet};

use devicevault_core::catalog::{CatalogExt as _, RunQuery};
use devicevault_core::rebuild::{Unrecorded, unrecorded};
use devicevault_core::run::{Run, RunState};
use devicevault_core::{DestinationId, ErrorKind, Result, RunId, StorageBackend, Timestamp};
use devicevault_storage::regular;
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::files;
use crate::instance::Instance;
use crate::ui::human;

/// Name of the file in a home.
pub(crate) const FILE: &str = "recovered.json";
/// What was cut off longer ago than this before the first look is left to `catalog check`.
const FIRST: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);
/// No run goes on for longer than this.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(2 * 24 * 3600);
/// A run that has begun is in the catalog after this.
const SLOWEST: std::time::Duration = std::time::Duration::from_secs(10 * 60);
/// A note of more destinations than anybody has is nobody's.
const LONGEST_FILE: u64 = 1 << 20;

/// When each destination was last looked through, and when the oldest run had begun that was under way then.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Looked {
    at: BTreeMap<DestinationId, Timestamp>,
    #[serde(default)]
    begun: BTreeMap<DestinationId, Timestamp>,
}

/// A destination that can be read: its identity, its name, and its backend.
pub(crate) type Place<'a> = (&'a DestinationId, &'a str, &'a dyn StorageBackend);

/// Records what runs that were cut off stored at these destinations. It holds nothing else up: what cannot be done now is
/// told, and done by the next one.
pub(crate) async fn record(context: &Context, instance: &Instance, places: &[Place<'_>]) {
    if !instance.is_home() || places.is_empty() {
        return;
    }
    match look(context, instance, places).await {
        Ok(found) => tell(context, places, &found),
        Err(e) => context.ui.warn(&format!(
            "what runs had stored that were cut off could not be looked for: {}",
            e.to_record().message
        )),
    }
}

async fn look(context: &Context, instance: &Instance, places: &[Place<'_>]) -> Result<Unrecorded> {
    // Closes runs of processes that died.
    instance.catalog.pending().await?;
    let now = context.clock().now();
    let mut looked = read(instance, now);
    let first = now.checked_sub(FIRST).unwrap_or(Timestamp::MIN);
    let since = |looked: &Looked, id: &DestinationId| looked.at.get(id).copied().unwrap_or(first);
    let earliest = places.iter().map(|(id, ..)| since(&looked, id)).min().unwrap_or(first);
    // What was over at the last look was seen then: only what was under way can have been cut off since, and what began.
    let longest = |at: Timestamp| at.checked_sub(LONGEST).unwrap_or(Timestamp::MIN);
    let begun = |id: &DestinationId| looked.begun.get(id).copied().unwrap_or_else(|| longest(since(&looked, id)));
    let oldest = places.iter().map(|(id, ..)| begun(id)).min().unwrap_or(first);
    let under_way = oldest_under_way(instance, now).await?.max(longest(now));
    let ended = cut_off(instance, earliest, oldest).await?;
    let mut found = Unrecorded::default();
    if !ended.is_empty() {
        let runs: BTreeMap<RunId, Timestamp> = ended.iter().map(|run| (run.id, run.start.started_at)).collect();
        let at = places.iter().map(|(id, _, backend)| ((*id).clone(), *backend)).collect::<Vec<_>>();
        found = unrecorded(&*instance.catalog, &at, &runs).await?;
        found.adoptable.write(&*instance.catalog, &*instance.inventory).await?;
    }
    looked.at.extend(places.iter().map(|(id, ..)| ((*id).clone(), now)));
    looked.begun.extend(places.iter().map(|(id, ..)| ((*id).clone(), under_way)));
    let text = serde_json::to_vec(&looked).unwrap_or_default();
    files::replace_private(&instance.home.join(FILE), &text)?;
    Ok(found)
}

/// What was noted; nothing, where that cannot be read: looking once more costs time, and changes nothing. Nor is anything
/// that is to come, which a clock that was ahead has written.
fn read(instance: &Instance, now: Timestamp) -> Looked {
    let path = instance.home.join(FILE);
    let is_ours = path.symlink_metadata().is_ok_and(|m| m.is_file() && m.len() <= LONGEST_FILE);
    let text = if is_ours { regular::read(&path).unwrap_or_default() } else { Vec::new() };
    let mut looked: Looked = serde_json::from_slice(&text).unwrap_or_default();
    looked.at.retain(|_, at| *at <= now);
    looked.begun.retain(|id, begun| looked.at.get(id).is_some_and(|at| *begun <= *at));
    looked
}

/// When the oldest run began that may not be over.
async fn oldest_under_way(instance: &Instance, now: Timestamp) -> Result<Timestamp> {
    let mut oldest = now.checked_sub(SLOWEST).unwrap_or(Timestamp::MIN);
    for state in [RunState::Queued, RunState::Collecting, RunState::Storing] {
        let mut query = RunQuery::default();
        query.state = Some(state);
        let mut runs = instance.catalog.every_run(&query);
        while let Some(run) = runs.try_next().await? {
            oldest = oldest.min(run.start.started_at);
        }
    }
    Ok(oldest)
}

/// Runs that began after one time and ended after another without being able to say what they had done.
async fn cut_off(instance: &Instance, since: Timestamp, begun: Timestamp) -> Result<Vec<Run>> {
    let mut found = Vec::new();
    for state in [RunState::Failed, RunState::Cancelled] {
        let mut query = RunQuery::default();
        query.state = Some(state);
        let mut runs = instance.catalog.every_run(&query);
        while let Some(run) = runs.try_next().await?.filter(|run| run.start.started_at >= begun) {
            let was_cut_off = run.error.as_ref().is_some_and(|e| e.kind == ErrorKind::Cancelled);
            if was_cut_off && run.finished_at.is_some_and(|at| at >= since) {
                found.push(run);
            }
        }
    }
    Ok(found)
}

fn tell(context: &Context, places: &[Place<'_>], found: &Unrecorded) {
    let recorded = found.adoptable.backups.len();
    if recorded > 0 {
        let were = if recorded == 1 { "was" } else { "were" };
        let versions = human::count(recorded, "version");
        context.ui.note(&format!("{versions} {were} recorded that runs had stored which were cut off"));
    }
    let at: BTreeSet<&DestinationId> = found.others.iter().map(|(id, _)| id).collect();
    for id in at {
        let name = places.iter().find(|(place, ..)| *place == id).map_or(id.as_str(), |(_, name, _)| *name);
        let versions = human::count(found.others.iter().filter(|(place, _)| place == id).count(), "version");
        context.ui.warn(&format!(
            "{name} holds {versions} of runs that were cut off, and anybody may have written there: \
             `devicevault catalog check {name}` shows what no record names, --adopt records it"
        ));
    }
}
