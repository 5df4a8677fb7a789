//! What broke a file rule: handed out only by an explicit word.

use devicevault_core::catalog::Query;
use devicevault_core::run::Backup;
use devicevault_core::statistics::{Amount, takes_room};
use devicevault_core::{DestinationId, DeviceId, Error, ErrorKind, Result};

use crate::instance::Instance;

/// No more of them are looked at.
const MOST: usize = 100_000;

/// Refuses to hand out a version that is in quarantine, unless that was asked for by its name.
///
/// # Errors
/// `Quarantined`, with the rules that it broke.
pub(crate) fn check(backup: &Backup, asked_for: bool) -> Result<()> {
    if asked_for || !backup.is_quarantined() {
        return Ok(());
    }
    let why = format!("it is in quarantine: {}", backup.suspect.join("; "));
    Err(Error::new(ErrorKind::Quarantined, "hand out version", why)
        .with("device", &backup.device_name)
        .with("artefact", &backup.artefact)
        .with("version", backup.id)
        .hint("--quarantined takes it as it is; `devicevault quarantine release` takes it for good"))
}

/// What is in quarantine, newest first.
///
/// # Errors
/// What the catalog answers.
pub(crate) async fn held(instance: &Instance, device: Option<DeviceId>) -> Result<Vec<Backup>> {
    let mut query = Query::default();
    query.device = device;
    query.quarantined = true;
    let mut found = instance.find_all(&query, MOST).await?;
    // A catalog that does not know the question answers with more.
    found.retain(Backup::is_quarantined);
    Ok(found)
}

/// How much is in quarantine.
///
/// # Errors
/// What the catalog answers.
pub(crate) async fn amount(
    instance: &Instance,
    device: Option<DeviceId>,
    destination: Option<DestinationId>,
) -> Result<Amount> {
    let mut sum = Amount::default();
    for backup in held(instance, device).await? {
        let there = backup.copies.iter().filter(|c| destination.as_ref().is_none_or(|d| *d == c.destination));
        for copy in there.filter(|c| takes_room(c)) {
            sum.add(Amount { copies: 1, content_bytes: copy.size });
        }
    }
    Ok(sum)
}
