//! A device that was given another name or site: its files move along, in a commit that does nothing else, so that
//! `git log --follow` shows all of their history.

use devicevault_core::{Manifest, Result};
use git2::Repository;

use super::folder::Folder;
use super::history;
use super::index::{Index, Record, device_key, folder_key};
use super::path::Version;

/// The last backup of a device, where it stands in another folder than this one. `new` are records that the index does
/// not have yet.
///
/// A folder in which another device was stored since is that one's: `None`. What was merged in moves nothing: whoever may
/// push to a remote could have any folder moved to where a device's texts are read.
pub(super) fn left_behind(index: &Index, new: &[Record], m: &Manifest, folder: &str) -> Option<Record> {
    let device = device_key(&m.source.device);
    let last = new.iter().rev().find(|r| r.is_backup() && r.device == device).copied();
    let last = last.or_else(|| index.of_device(&m.source.device).find(|r| r.folder != 0))?;
    if last.folder == folder_key(folder) {
        return None;
    }
    let holder = new.iter().rev().chain(index.records().iter().rev()).find(|r| r.folder == last.folder)?;
    (holder.device == device).then_some(last)
}

/// The name of the folder that a record's backup stands in.
pub(super) fn folder_of(repo: &Repository, branch: &str, record: &Record) -> Result<Option<String>> {
    for (at, _) in history::manifests(repo, branch, record.commit, "")? {
        let path = Version::parse(&at)?.path;
        if let Some((folder, _)) = path.rsplit_once('/').filter(|(folder, _)| folder_key(folder) == record.folder) {
            return Ok(Some(folder.to_owned()));
        }
    }
    Ok(None)
}

/// Moves the files of a folder to another. `false`: there were none.
///
/// # Errors
/// `Conflict` where something of another sort has the new name.
pub(super) fn carry_out(repo: &Repository, root: &mut Folder, from: &str, to: &str) -> Result<bool> {
    let files = root.files(repo, &from.split('/').collect::<Vec<_>>())?;
    for (name, id) in &files {
        let old: Vec<&str> = from.split('/').chain([name.as_str()]).collect();
        let new: Vec<&str> = to.split('/').chain([name.as_str()]).collect();
        root.set(repo, &new, *id)?;
        root.remove(repo, &old)?;
    }
    Ok(!files.is_empty())
}
