//! Artefacts that a device need not have, and had.

use super::{Inner, Job};
use crate::catalog::{Page, RunQuery};
use crate::{ArtifactInfo, DeviceId, Error, ErrorKind, Result, RunId};

/// An artefact that a device need not have and shows none of.
pub(super) struct Absent {
    pub(super) info: ArtifactInfo,
    pub(super) why: Error,
    /// It said so in words that are known to mean that.
    pub(super) certain: bool,
}

/// What no run of so many speaks of vanished long ago.
const RUNS: u32 = 100;

/// Those of the artefacts that are absent which the device had, as failures: a version that is current would stay that
/// without a word. Where the device says that there is none, that is told once; where its words may mean anything, as long
/// as it lasts.
pub(super) async fn missed(
    engine: &Inner,
    job: &Job,
    now: RunId,
    absent: Vec<Absent>,
) -> Result<Vec<(ArtifactInfo, Error)>> {
    let device = &job.target.device.id;
    let mut missed = Vec::new();
    for Absent { info, why, certain } in absent {
        if engine.catalog.latest(device, &info.name).await?.reference.is_none() {
            continue;
        }
        let Some(was_there) = was_there(engine, device, now, &info.name).await? else { continue };
        if certain && !was_there {
            continue;
        }
        let (what, hint) = if certain {
            ("the device had one until now", "its versions are kept, and it is not told again")
        } else {
            (
                "the device had one, and what it says now may mean anything",
                "where it is not to have one any more, name what is to be taken: `--artefact` of a policy",
            )
        };
        let e = Error::new(ErrorKind::NotFound, "collect artefact", what)
            .because(why)
            .with("artefact", &info.name)
            .hint(hint);
        // What was there is expected to be there.
        missed.push((ArtifactInfo { mandatory: true, ..info }, e));
    }
    Ok(missed)
}

/// Whether the last run that speaks of an artefact kept it; nothing where none does.
async fn was_there(engine: &Inner, device: &DeviceId, now: RunId, artefact: &str) -> Result<Option<bool>> {
    let query = RunQuery { device: Some(device.clone()), ..RunQuery::default() };
    let runs = engine.catalog.runs(&query, Page::first(RUNS)).await?.items;
    let mut told = runs.iter().filter(|run| run.id != now).flat_map(|run| &run.artefacts);
    Ok(told.find(|a| a.artefact == artefact).map(|a| a.backup.is_some()))
}
