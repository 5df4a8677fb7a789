//! Purges that are under way, or were cut off: what they took out of a history is not to be stored there anew.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use devicevault_core::{DestinationId, Error, ErrorKind, Result};
use devicevault_storage::regular;

use crate::files;
use crate::keys::lock::lock_purges;

/// Name of the file in a home.
const FILE: &str = "purging.json";

/// By destination, what was asked for.
type Purging = BTreeMap<DestinationId, String>;

/// Notes that a purge begins.
///
/// # Errors
/// The home cannot be written.
pub(crate) async fn begin(home: &Path, destination: &DestinationId, what: String) -> Result<()> {
    let _alone = lock_purges(home).await?;
    let mut all = read(home)?;
    all.insert(destination.clone(), what);
    write(home, &all)
}

/// Notes that it is over, and that the catalog knows.
///
/// # Errors
/// The home cannot be written.
pub(crate) async fn end(home: &Path, destination: &DestinationId) -> Result<()> {
    let _alone = lock_purges(home).await?;
    let mut all = read(home)?;
    if all.remove(destination).is_some() { write(home, &all) } else { Ok(()) }
}

/// Refuses what would bring back what a purge was taking out when it was cut off.
///
/// # Errors
/// `Conflict` while a purge of this destination is under way or cut off; the home cannot be read.
pub(crate) fn refuse(home: &Path, destination: &DestinationId) -> Result<()> {
    let Some(what) = read(home)?.remove(destination) else { return Ok(()) };
    let why =
        format!("a purge of it ({what}) is under way, or was cut off: what it took out would be stored there again");
    Err(Error::new(ErrorKind::Conflict, "store copy anew", why)
        .hint("do that purge again; once it has ended, its versions are no longer looked for there"))
}

fn read(home: &Path) -> Result<Purging> {
    let path = home.join(FILE);
    match regular::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| {
            let why = "the note of purges that are under way cannot be read";
            Error::new(ErrorKind::Config, "read purges", why).with("file", path.display()).because(e)
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Purging::new()),
        Err(e) => Err(files::failed(&e, "read purges", "it cannot be read", &path)),
    }
}

fn write(home: &Path, all: &Purging) -> Result<()> {
    let text = serde_json::to_vec(all)
        .map_err(|e| Error::new(ErrorKind::Internal, "note purge", "it cannot be written as JSON").because(e))?;
    files::replace_private(&home.join(FILE), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_that_begin_at_once_are_both_noted() {
        let home = tempfile::tempdir().unwrap();
        let (path, other) = (home.path().to_owned(), DestinationId::from("other"));
        // As one that is between its reading and its writing.
        let first = lock_purges(&path).await.unwrap();
        let mut all = read(&path).unwrap();
        let second = {
            let (path, other) = (path.clone(), other.clone());
            tokio::spawn(async move { begin(&path, &other, "other --device b".to_owned()).await })
        };
        tokio::task::yield_now().await;
        all.insert("git".into(), "git --device a".to_owned());
        write(&path, &all).unwrap();
        drop(first);
        second.await.unwrap().unwrap();
        assert!(refuse(&path, &"git".into()).is_err() && refuse(&path, &other).is_err());
        end(&path, &other).await.unwrap();
        assert!(refuse(&path, &"git".into()).is_err() && refuse(&path, &other).is_ok());
    }
}
