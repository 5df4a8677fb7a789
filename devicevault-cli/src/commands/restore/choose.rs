//! Which versions are to be restored.

use std::collections::BTreeSet;
use std::time::Duration;

use devicevault_core::catalog::Query;
use devicevault_core::run::Backup;
use devicevault_core::{Error, ErrorKind, Result, Timestamp};
use jiff::tz::TimeZone;

use super::RestoreArgs;
use crate::archive::Archive;
use crate::commands::run;
use crate::quarantine;
use crate::ui::human;
use crate::versions::{self, Wanted};

/// No device has more versions than this.
const MOST: usize = 100_000;

/// Artefacts of one run are found one after the other, and by days where policies take them apart.
const A_DAY: Duration = Duration::from_hours(24);

/// What is to be restored.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) backups: Vec<Backup>,
    /// What should be there and is not, in words.
    pub(super) missing: Vec<String>,
    /// What may be meant rather than what was chosen, in words.
    pub(super) doubts: Vec<String>,
}

pub(super) async fn choose(archive: &Archive, args: &RestoreArgs, now: Timestamp) -> Result<Chosen> {
    if let Some(id) = &args.run {
        return of_run(archive, args, id).await;
    }
    let mut chosen = of_reference(archive, args).await?;
    let (until, is_time) = match args.at.as_deref().or(args.which.as_deref()) {
        None | Some("latest") => (Some(Timestamp::MAX), false),
        Some(reference) => (human::parse_time(reference, &TimeZone::system()), true),
    };
    if let Some(until) = until {
        for backup in &chosen.backups {
            let mut query = Query::default();
            query.device = Some(backup.device.clone());
            query.artefact = Some(backup.artefact.clone());
            let all = archive.versions(&query, MOST).await?;
            chosen.doubts.extend(newer(&all, backup, until));
            chosen.doubts.extend(ahead(&all, backup, now).filter(|_| is_time));
        }
    }
    chosen.doubts.extend(left_behind(&chosen.backups));
    Ok(chosen)
}

/// A clock that was ahead gave versions times that have not come yet: by a time they are not found.
fn ahead(all: &[Backup], chosen: &Backup, now: Timestamp) -> Option<String> {
    let ahead: Vec<&Backup> = all.iter().filter(|b| b.first_seen > now && b.id != chosen.id).collect();
    let newest = ahead.first()?;
    Some(format!(
        "{}: {} of times that have not come yet, since a clock was ahead: what was asked for may be among them, the newest \
         of which is {}",
        chosen.artefact,
        human::count(ahead.len(), "version"),
        newest.id,
    ))
}

/// What no run has found for a day and more, while others of the device were: it is not collected any more, or the device
/// does not have it any more.
fn left_behind(chosen: &[Backup]) -> Vec<String> {
    let Some(last) = chosen.iter().map(|b| b.last_seen).max() else { return Vec::new() };
    let old = |b: &&Backup| b.last_seen.checked_add(A_DAY).is_ok_and(|t| t < last);
    let told = |b: &Backup| {
        let (seen, last) = (human::time(b.last_seen), human::time(last));
        format!("{} was found last at {seen}, others of the device at {last}: it may be gone from there", b.artefact)
    };
    chosen.iter().filter(old).map(told).collect()
}

/// What was taken up to a time after this version, and is suspect: it may be what the device had then.
fn newer(all: &[Backup], than: &Backup, until: Timestamp) -> Option<String> {
    // Where all are suspect, the newest was taken.
    if !than.suspect.is_empty() {
        return None;
    }
    let newer: Vec<&Backup> = all
        .iter()
        .filter(|b| !b.suspect.is_empty() && b.first_seen > than.first_seen && b.first_seen <= until)
        .collect();
    let newest = newer.first()?;
    let taken = if newest.is_quarantined() { "quarantine release" } else { "accept" };
    let (are, were) = if newer.len() == 1 { ("is", "was") } else { ("are", "were") };
    Some(format!(
        "{}: {} {are} suspect and {were} passed over, the newest of {}: its identifier, {}, takes it, and \
         `devicevault {taken}` takes it for good",
        than.artefact,
        human::count(newer.len(), "newer version"),
        human::time(newest.first_seen),
        newest.id,
    ))
}

async fn of_reference(archive: &Archive, args: &RestoreArgs) -> Result<Chosen> {
    let reference = args.at.as_deref().or(args.which.as_deref()).unwrap_or("latest");
    if let Some(artefact) = &args.artefact {
        let wanted = Wanted::of(Some(&args.device), Some(artefact));
        let backup = versions::one(archive, &wanted, reference).await?;
        quarantine::check(&backup, args.quarantined)?;
        return Ok(Chosen { backups: vec![backup], missing: damaged(archive, args), doubts: Vec::new() });
    }
    let mut query = Query::default();
    query.device = Some(archive.device_id(&args.device).await?);
    let all = archive.versions(&query, MOST).await?;
    let artefacts: BTreeSet<&str> = all.iter().map(|b| b.artefact.as_str()).collect();
    let (mut backups, mut missing) = (Vec::new(), Vec::new());
    let mut first_error = None;
    for artefact in artefacts {
        let of_one: Vec<Backup> = all.iter().filter(|b| b.artefact == artefact).cloned().collect();
        match versions::pick(archive, &of_one, reference) {
            Ok(backup) => match quarantine::check(backup, args.quarantined) {
                Ok(()) => backups.push(backup.clone()),
                Err(e) => {
                    missing.push(format!("{artefact} is left out: {}", e.message()));
                    first_error.get_or_insert(e);
                }
            },
            // It was not there yet at that time.
            Err(e) if e.kind() == ErrorKind::NotFound => drop(first_error.get_or_insert(e)),
            Err(e) => return Err(e),
        }
    }
    if backups.is_empty() {
        let wanted = Wanted::of(Some(&args.device), None);
        backups.extend(versions::of_namesake(archive, &wanted, reference).await?);
    }
    if backups.is_empty() {
        return Err(first_error.unwrap_or_else(|| {
            Error::new(ErrorKind::NotFound, "restore", "there is no version yet")
                .with("device", args.device.escape_debug())
                .hint("`devicevault history` shows what there is")
        }));
    }
    missing.extend(damaged(archive, args));
    Ok(Chosen { backups, missing, doubts: Vec::new() })
}

/// What is damaged where no catalog tells what should be there: newer versions than those that were found may be among it.
fn damaged(archive: &Archive, args: &RestoreArgs) -> Vec<String> {
    let damaged = archive.damaged_of(&args.device, args.artefact.as_deref());
    damaged.into_iter().map(|why| format!("what is wanted may be what is damaged: {why}")).collect()
}

/// What a run found, what it did not change included.
async fn of_run(archive: &Archive, args: &RestoreArgs, id: &str) -> Result<Chosen> {
    let fail = |kind, why: String| Error::new(kind, "restore", why).with("run", id.escape_debug());
    let instance = archive.instance().ok_or_else(|| {
        fail(ErrorKind::Unsupported, "a folder of backups knows no runs".to_owned()).hint("give --at TIME instead")
    })?;
    let device = if id == "latest" { Some(archive.device_id(&args.device).await?) } else { None };
    let run = run::find(instance, id, device.as_ref()).await?;
    // A device that was removed may have had the name; one that was renamed had another.
    if run.start.device_name != args.device && run.start.device != archive.device_id(&args.device).await? {
        let whose = run.start.device_name.escape_debug();
        return Err(fail(ErrorKind::Config, format!("it is a run of another device: {whose}")));
    }
    let (mut backups, mut missing) = (Vec::new(), Vec::new());
    for result in run.artefacts.iter().filter(|r| args.artefact.as_ref().is_none_or(|a| *a == r.artefact)) {
        let mut query = Query::default();
        query.id = result.backup;
        let found = match result.backup {
            Some(_) => archive.versions(&query, 1).await?.pop(),
            None => None,
        };
        match found {
            Some(backup) => match quarantine::check(&backup, args.quarantined) {
                Ok(()) => backups.push(backup),
                Err(e) => missing.push(format!("{} is left out: {}", result.artefact, e.message())),
            },
            None => missing.push(match &result.error {
                Some(e) => format!("the run has no {}: {}", result.artefact, e.message),
                None => format!("{} of this run is not kept any more", result.artefact),
            }),
        }
    }
    if backups.is_empty() {
        let why = missing.first().cloned().unwrap_or_else(|| "it found nothing of this name".to_owned());
        return Err(fail(ErrorKind::NotFound, why));
    }
    Ok(Chosen { backups, missing, doubts: Vec::new() })
}
