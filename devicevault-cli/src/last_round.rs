//! What rounds were to do, so that the next one can take up what they did not.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use devicevault_core::catalog::{CatalogExt as _, RunQuery};
use devicevault_core::run::RunState;
use devicevault_core::{Device, DeviceId, Error, ErrorKind, Result, Timestamp};
use devicevault_storage::regular;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::instance::Instance;
use crate::round::DeviceOutcome;

/// Name of the file in a home.
const FILE: &str = "rounds.json";
/// Devices that the catalog is asked for at a time.
const AT_ONCE: usize = 8;

/// When each device was last to be backed up, whether a round came to it or not.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rounds {
    began: BTreeMap<DeviceId, Timestamp>,
    /// Those whose last run was not good.
    #[serde(default)]
    failed: BTreeSet<DeviceId>,
}

/// Notes that a round over these devices begins. `all`: there are no others.
///
/// # Errors
/// The home cannot be written.
pub(crate) fn begin(instance: &Instance, devices: &[Device], all: bool, now: Timestamp) -> Result<()> {
    let mut rounds = read(instance).unwrap_or_default();
    if all {
        rounds.began.clear();
    }
    rounds.began.extend(devices.iter().map(|d| (d.id.clone(), now)));
    write(instance, &rounds)
}

/// Notes how a round went.
///
/// # Errors
/// The home cannot be written.
pub(crate) fn end(instance: &Instance, outcomes: &[DeviceOutcome]) -> Result<()> {
    let mut rounds = read(instance).unwrap_or_default();
    let before = rounds.failed.clone();
    for DeviceOutcome { device, run } in outcomes {
        match run {
            Ok(run) if run.state.is_good() => drop(rounds.failed.remove(&device.id)),
            // It was not asked, or not to its end: an interrupt is not its fault.
            Ok(run) if run.state == RunState::Cancelled => {}
            Err(e) if e.kind() == ErrorKind::Cancelled => {}
            Ok(_) | Err(_) => drop(rounds.failed.insert(device.id.clone())),
        }
    }
    if rounds.failed == before { Ok(()) } else { write(instance, &rounds) }
}

/// Puts those behind the others whose last round ended badly: one that accepts a connection and says nothing keeps a place
/// until its time is over.
pub(crate) fn failed_last(instance: &Instance, devices: &mut [Device]) {
    let failed = read(instance).unwrap_or_default().failed;
    devices.sort_by_key(|device| failed.contains(&device.id));
}

fn write(instance: &Instance, rounds: &Rounds) -> Result<()> {
    let text = serde_json::to_vec(rounds)
        .map_err(|e| Error::new(ErrorKind::Internal, "note round", "it cannot be written as JSON").because(e))?;
    files::replace_private(&instance.home.join(FILE), &text)
}

/// What was noted; nothing, where that cannot be read: the runs in the catalog tell the rest.
/// What is no note counts as none.
fn read(instance: &Instance) -> Result<Rounds> {
    let path = instance.home.join(FILE);
    match regular::read(&path) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Rounds::default()),
        Err(e) => Err(files::failed(&e, "read what rounds were to do", "it cannot be read", &path)),
    }
}

/// Those of the devices whose last run was not good, that were never backed up, or that the last round meant for them
/// did not come to. Runs that are under way are another process's affair.
///
/// # Errors
/// The catalog cannot be asked.
pub(crate) async fn left_over(instance: &Instance, devices: Vec<Device>) -> Result<Vec<Device>> {
    // Closes runs of processes that died.
    instance.catalog.pending().await?;
    let rounds = read(instance)?;
    let asked = stream::iter(devices).map(|device| {
        let meant = rounds.began.get(&device.id).copied();
        async move {
            let mut query = RunQuery::default();
            query.device = Some(device.id.clone());
            let last = instance.catalog.newest_run(&query).await?;
            let left = last.is_none_or(|run| {
                let missed = meant.is_some_and(|at| run.start.started_at < at);
                run.state.is_final() && (missed || !run.state.is_good())
            });
            Ok::<_, Error>(left.then_some(device))
        }
    });
    asked.buffered(AT_ONCE).try_filter_map(|device| std::future::ready(Ok(device))).try_collect().await
}
