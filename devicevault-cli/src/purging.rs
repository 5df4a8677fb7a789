//! Purges that are under way, or were cut off: what they took out of a history is not to be stored there anew.

use std::collections::BTreeMap;
use std::io;

use devicevault_core::{DestinationId, Error, ErrorKind, Result};
use devicevault_storage::regular;

use crate::files;
use crate::instance::Instance;

/// Name of the file in a home.
const FILE: &str = "purging.json";

/// By destination, what was asked for.
type Purging = BTreeMap<DestinationId, String>;

/// Notes that a purge begins.
///
/// # Errors
/// The home cannot be written.
pub(crate) fn begin(instance: &Instance, destination: &DestinationId, what: String) -> Result<()> {
    let mut all = read(instance)?;
    all.insert(destination.clone(), what);
    write(instance, &all)
}

/// Notes that it is over, and that the catalog knows.
///
/// # Errors
/// The home cannot be written.
pub(crate) fn end(instance: &Instance, destination: &DestinationId) -> Result<()> {
    let mut all = read(instance)?;
    if all.remove(destination).is_some() { write(instance, &all) } else { Ok(()) }
}

/// Refuses what would bring back what a purge was taking out when it was cut off.
///
/// # Errors
/// `Conflict` while a purge of this destination is under way or cut off; the home cannot be read.
pub(crate) fn refuse(instance: &Instance, destination: &DestinationId) -> Result<()> {
    let Some(what) = read(instance)?.remove(destination) else { return Ok(()) };
    let why =
        format!("a purge of it ({what}) is under way, or was cut off: what it took out would be stored there again");
    Err(Error::new(ErrorKind::Conflict, "store copy anew", why)
        .hint("do that purge again; once it has ended, its versions are no longer looked for there"))
}

fn read(instance: &Instance) -> Result<Purging> {
    let path = instance.home.join(FILE);
    match regular::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| {
            let why = "the note of purges that are under way cannot be read";
            Error::new(ErrorKind::Config, "read purges", why).with("file", path.display()).because(e)
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Purging::new()),
        Err(e) => Err(files::failed(&e, "read purges", "it cannot be read", &path)),
    }
}

fn write(instance: &Instance, all: &Purging) -> Result<()> {
    let text = serde_json::to_vec(all)
        .map_err(|e| Error::new(ErrorKind::Internal, "note purge", "it cannot be written as JSON").because(e))?;
    files::replace_private(&instance.home.join(FILE), &text)
}
