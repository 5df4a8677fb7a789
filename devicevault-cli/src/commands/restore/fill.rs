//! A version into a draft, from the first copy that is good.

use devicevault_core::run::{Backup, Copy, CopyStatus};
use devicevault_core::{Error, ErrorKind, Result, StorageRef, View};
use futures::StreamExt as _;

use crate::archive::Archive;
use crate::draft::Draft;

/// Where a version was read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    /// Copies that could not be used, and why.
    pub(super) passed_over: Vec<String>,
}

/// Writes a view of a version, checked against its record as a whole, from the destination that alone is meant or from
/// any. A view that nobody keeps is made from an original.
///
/// # Errors
/// No copy is good: what was wrong with the first. `NotFound` where there is none.
pub(super) async fn fill(
    archive: &Archive,
    only: Option<&str>,
    backup: &Backup,
    view: View,
    draft: &mut Draft,
) -> Result<Source> {
    let here = |c: &Copy| only.is_none_or(|name| archive.place_name(&c.destination) == name);
    let mut passed_over = Vec::new();
    let mut first_error = None;
    for (copy, at) in archive.copies(backup, view).into_iter().filter(|(c, _)| here(c)) {
        let name = archive.place_name(&copy.destination).to_owned();
        match read(archive, backup, copy, at, draft).await {
            Ok(()) => return Ok(Source { name, passed_over }),
            // The disk here is not mended by another copy.
            Err(Failed::Here(e)) => return Err(e),
            Err(Failed::There(e)) => {
                passed_over.push(format!("the copy at {name} cannot be used: {}", e.to_record().message));
                first_error.get_or_insert(e);
                draft.begin_again()?;
            }
        }
    }
    if view != View::Original && only.is_none() {
        let made = archive.read(backup, view).await;
        match made {
            Ok(bytes) => {
                draft.write(&bytes)?;
                return Ok(Source { name: "an original, from which it was made".to_owned(), passed_over });
            }
            Err(e) => drop(first_error.get_or_insert(e)),
        }
    }
    Err(first_error.unwrap_or_else(|| none(archive, only, backup, view)))
}

/// Whose fault it is.
enum Failed {
    Here(Error),
    There(Error),
}

async fn read(
    archive: &Archive,
    backup: &Backup,
    copy: &Copy,
    at: &StorageRef,
    draft: &mut Draft,
) -> Result<(), Failed> {
    let there = |e: Error| Failed::There(e.with("backup", backup.id).with("destination", &copy.destination));
    let backend = archive.backend(&copy.destination).await.map_err(there)?;
    let mut stream = backend.read(at, None).await.map_err(there)?;
    while let Some(chunk) = stream.next().await {
        draft.write(&chunk.map_err(there)?).map_err(Failed::Here)?;
    }
    let (size, sha256) = draft.written();
    if sha256 != copy.sha256 || size != copy.size {
        let e = Error::new(ErrorKind::Corrupt, "restore", "it is not what was stored")
            .with("expected SHA-256", copy.sha256)
            .with("found SHA-256", sha256)
            .hint("`devicevault verify` tells what else is damaged");
        return Err(there(e));
    }
    Ok(())
}

fn none(archive: &Archive, only: Option<&str>, backup: &Backup, view: View) -> Error {
    let waits = |c: &&Copy| c.status == CopyStatus::Pending;
    let meant = |c: &&Copy| only.is_none_or(|name| archive.place_name(&c.destination) == name) && c.view == view;
    if let Some(copy) = backup.copies.iter().filter(meant).find(waits) {
        let name = archive.place_name(&copy.destination);
        let why = format!("{name} does not have the {view} view of it yet: the copy waits to be delivered there");
        let e = Error::new(ErrorKind::NotFound, "restore", why)
            .with("artefact", &backup.artefact)
            .with("backup", backup.id);
        let others = archive.copies(backup, view);
        return e.hint(match others.first() {
            Some((c, _)) => format!(
                "`devicevault run deliver` delivers it; {} has it: leave --from away",
                archive.place_name(&c.destination)
            ),
            None => "`devicevault run deliver` delivers it, as soon as the destination is back".to_owned(),
        });
    }
    let has = |c: &&Copy| matches!(c.status, CopyStatus::Stored | CopyStatus::Extended | CopyStatus::Damaged);
    let kept: Vec<_> = backup
        .copies
        .iter()
        .filter(has)
        .map(|c| format!("{} at {}", c.view, archive.place_name(&c.destination)))
        .collect();
    let whose = only.map_or_else(|| "no destination keeps".to_owned(), |name| format!("{name} does not keep"));
    let e = Error::new(ErrorKind::NotFound, "restore", format!("{whose} the {view} view of it"))
        .with("artefact", &backup.artefact)
        .with("backup", backup.id);
    if kept.is_empty() {
        return e;
    }
    let redacted = view == View::Original && backup.copies.iter().any(|c| c.view != View::Original);
    let how = if redacted { "; with --view it is written as it is kept, and no device takes it back so" } else { "" };
    e.hint(format!("what is kept: {}{how}", kept.join(", ")))
}
