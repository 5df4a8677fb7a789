//! A device that was given another name or site: its files move along, in a commit that does nothing else, so that
//! `git log --follow` shows all of their history.
//!
//! Where a folder is another device's into which one moves, or is stored for the first time, as where two swap their names,
//! that one's files are put aside before, in a commit of its own: they move on with what is next stored of it.

use devicevault_core::{Manifest, Result};
use git2::Repository;

use super::folder::Folder;
use super::history;
use super::index::{Index, Record, device_key, folder_key};
use super::path::Version;
use crate::names::hash_suffix;

/// The last backup of a device, where its files stand in another folder than this one.
pub(super) struct Left {
    pub(super) last: Record,
    /// Another device has the folder by now: what was in it may have been put aside.
    pub(super) is_taken: bool,
}

/// Where a device's files stand, if not in this folder. `new` are records that the index does not have yet.
///
/// What was merged in moves nothing: whoever may push to a remote could have any folder moved to where a device's texts
/// are read.
pub(super) fn left_behind(index: &Index, new: &[Record], m: &Manifest, folder: &str) -> Option<Left> {
    let last = last_of(index, new, device_key(&m.source.device))?;
    let holder = last_in(index, new, last.folder)?;
    let is_taken = holder.device != last.device;
    (last.folder != folder_key(folder) || is_taken).then_some(Left { last, is_taken })
}

/// The other device whose files stand in this folder.
pub(super) fn holder(index: &Index, new: &[Record], m: &Manifest, folder: &str) -> Option<u64> {
    let holder = last_in(index, new, folder_key(folder))?;
    let stands = last_of(index, new, holder.device)?.folder == holder.folder;
    (stands && holder.device != device_key(&m.source.device)).then_some(holder.device)
}

/// The folder beside another one where a device's files are put that was in it; no name of a site or device leads to it.
pub(super) fn aside(folder: &str, device: u64) -> String {
    format!("{folder}{}", hash_suffix(&format!("{folder} of {device:016x}")))
}

/// The last backup of a device that says where it stands.
fn last_of(index: &Index, new: &[Record], device: u64) -> Option<Record> {
    let last = new.iter().rev().find(|r| r.is_backup() && r.device == device).copied();
    last.or_else(|| index.of_device_key(device).find(|r| r.folder != 0))
}

fn last_in(index: &Index, new: &[Record], folder: u32) -> Option<Record> {
    new.iter().rev().find(|r| r.is_backup() && r.folder == folder).copied().or_else(|| index.last_in(folder))
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
