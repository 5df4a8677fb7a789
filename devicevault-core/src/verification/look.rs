//! One copy, compared with its own manifest and with the catalog's record of it.

use crate::run::{Backup, Copy, CopyStatus};
use crate::storage::{StorageBackend, Verdict, VerifyDepth};
use crate::{Error, ErrorKind, Result};

/// Whether there should be something to look at: a copy that waits, was given up or is about to go is not verified.
#[must_use]
pub fn may_be_looked_at(copy: &Copy) -> bool {
    matches!(copy.status, CopyStatus::Stored | CopyStatus::Extended | CopyStatus::Damaged)
}

/// Looks at a copy at its destination, and compares what is there with what was recorded. Without its key, a sealed copy
/// is compared as far as `depth` asks for no more than its stored bytes.
///
/// # Errors
/// What keeps it from being looked at; damage and absence are verdicts.
pub async fn verify_copy(
    backend: &dyn StorageBackend,
    backup: &Backup,
    copy: &Copy,
    depth: VerifyDepth,
) -> Result<Verdict> {
    let nowhere = || Error::new(ErrorKind::Corrupt, "verify backup", "its record does not say where it is");
    let at = copy.storage_ref.as_ref().ok_or_else(nowhere)?;
    let verdict = match backend.verify(at, None, depth).await {
        Err(e) if e.kind() == ErrorKind::NotFound => Verdict::Missing,
        other => other?,
    };
    if !verdict.is_good() {
        return Ok(verdict);
    }
    let manifest = match backend.stat(at).await {
        Ok(manifest) => manifest,
        Err(e) if e.kind() == ErrorKind::KeyUnavailable && depth < VerifyDepth::Content => return Ok(verdict),
        // It went, or was changed, between the two looks.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Verdict::Missing),
        Err(e) if e.kind() == ErrorKind::Corrupt => return Ok(Verdict::Damaged(vec![e.to_record().message])),
        Err(e) => return Err(e),
    };
    let compared = [
        ("identifier", manifest.backup == backup.id),
        ("device", manifest.source.device == backup.device),
        ("artefact", manifest.artefact == backup.artefact),
        ("view", manifest.view == copy.view),
        ("size", manifest.size == copy.size),
        ("SHA-256", manifest.sha256 == copy.sha256),
    ];
    let wrong = compared.iter().filter(|(_, same)| !same);
    let wrong: Vec<_> = wrong.map(|(what, _)| format!("its {what} is not the one that was recorded")).collect();
    Ok(if wrong.is_empty() { verdict } else { Verdict::Damaged(wrong) })
}
