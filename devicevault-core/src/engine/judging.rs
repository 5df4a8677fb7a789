//! Whether an artefact is suspect beside the versions that were kept before it.

use super::Job;
use super::destination::Destination;
use super::intake::Collected;
use crate::catalog::Latest;
use crate::run::{Backup, Copy, CopyStatus, Quarantine};
use crate::text::told_marks;

/// Why an artefact is suspect: what the text itself shows, a size that collapsed, and one that shrank although the device
/// says that the text is longer. (Without a backup to compare with, that alone is told and not believed: releases differ in
/// what they count.)
pub(super) fn reasons(it: &Collected, latest: &Latest) -> Vec<String> {
    let mut why = it.suspect.clone();
    let Some(last) = &latest.reference else { return why };
    let size = it.original.size;
    if size < last.size / 2 {
        why.push(format!("it has {size} bytes, under half of the {} of the last backup", last.size));
    }
    if let Some(length) = it.short
        && size < last.size - last.size / 10
    {
        let came = format!("{} came, and the last backup has {}", length.arrived, last.size);
        why.push(format!("the device says that it has {} bytes; {came}", length.stated));
    }
    why
}

/// Why the last good version was suspect before a person took it for good: what was stored of it says so. Nothing of one
/// that no person ever looked at: its like is judged by rules of today.
pub(super) async fn was_accepted(job: &Job, latest: &Latest) -> Vec<String> {
    let Some(reference) = &latest.reference else { return Vec::new() };
    for destination in &job.destinations {
        let copy = reference.copies.iter().find(|c| is_good_at(c, destination));
        let Some(at) = copy.and_then(|c| c.storage_ref.as_ref()) else { continue };
        // One that cannot be asked is no witness.
        let Ok(manifest) = destination.backend().stat(at).await else { continue };
        return if manifest.backup == reference.id {
            [manifest.suspect, manifest.accepted].concat()
        } else {
            Vec::new()
        };
    }
    Vec::new()
}

/// Reasons that a person took for good, and the others. Where the content is the same, that is all of them; else such as
/// name a line that the accepted version had as well, and not at its end. (An end that is missing, or a size, says nothing
/// of the next time.)
pub(super) fn told_apart(
    why: Vec<String>,
    before: &[String],
    it: &Collected,
    latest: &Latest,
) -> (Vec<String>, Vec<String>) {
    let same = latest.reference.as_ref().filter(|b| b.content == it.content);
    if same.is_some_and(|b| !before.is_empty() || b.quarantine == Some(Quarantine::Released)) {
        return (why, Vec::new());
    }
    let known: Vec<&str> = before.iter().flat_map(|b| told_marks(b)).collect();
    why.into_iter().partition(|reason| {
        let marks = told_marks(reason);
        !marks.is_empty() && marks.iter().all(|mark| known.contains(mark))
    })
}

/// Which file rules it breaks. A content that a person released breaks none as long as it is the reference.
pub(super) fn breaches(it: &Collected, latest: &Latest) -> Vec<String> {
    let released = |b: &Backup| b.quarantine == Some(Quarantine::Released) && b.content == it.content;
    if latest.reference.as_ref().is_some_and(released) { Vec::new() } else { it.breaches.clone() }
}

/// Whether a copy is one that this destination can be relied upon for.
pub(super) fn is_good_at(copy: &Copy, destination: &Destination) -> bool {
    copy.destination == *destination.id()
        && (copy.view == destination.view())
        && matches!(copy.status, CopyStatus::Stored | CopyStatus::Extended)
}
