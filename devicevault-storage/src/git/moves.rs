//! A device that was given another name or site: its files move along, in a commit that does nothing else, so that
//! `git log --follow` shows all of their history.
//!
//! Where a folder is another device's into which one moves, or is stored for the first time, as where two swap their names,
//! that one's files are put aside before, in a commit of its own: they move on with what is next stored of it.

use std::collections::HashMap;

use devicevault_core::{DeviceId, ErrorKind, Manifest, Result};
use git2::{Oid, Repository};

use super::folder::Folder;
use super::history;
use super::index::{Index, Record, device_key, folder_key};
use super::path::Version;
use super::verify;
use crate::names::hash_suffix;

/// Where a device was stored last.
pub(super) struct Left {
    pub(super) last: Record,
    /// Another device has the folder by now: what was in it may have been put aside.
    pub(super) is_taken: bool,
}

/// Files of a device that are to go where it is stored now.
pub(super) struct Elsewhere {
    pub(super) folder: String,
    /// What it has where it goes is newer.
    pub(super) is_older: bool,
}

/// Where a device was stored last. `new` are records that the index does not have yet.
///
/// What was merged in moves nothing: whoever may push to a remote could have any folder moved to where a device's texts
/// are read.
pub(super) fn left_behind(index: &Index, new: &[Record], m: &Manifest) -> Option<Left> {
    let last = last_of(index, new, device_key(&m.source.device))?;
    let holder = last_in(index, new, last.folder)?;
    Some(Left { last, is_taken: holder.device != last.device })
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

/// Whether a device stored each of these files under its name: so a folder is known as one that was put aside where nothing
/// notes it, as in a clone.
pub(super) fn are_of(
    repo: &Repository,
    branch: &str,
    index: &Index,
    device: &DeviceId,
    files: &[(String, Oid)],
) -> Result<bool> {
    let mut unknown: HashMap<&str, Oid> = files.iter().map(|(name, id)| (name.as_str(), *id)).collect();
    for record in index.of_device(device).filter(|r| r.folder != 0) {
        let found = match history::manifests(repo, branch, record.commit, device.as_str()) {
            // What cannot be read vouches for nothing.
            Err(e) if e.kind() == ErrorKind::Corrupt => continue,
            found => found?,
        };
        for (at, _) in found.iter().filter(|(_, m)| m.source.device == *device) {
            let at = Version::parse(at)?;
            let name = at.path.rsplit_once('/').map_or(at.path.as_str(), |(_, name)| name);
            if let Some(id) = unknown.get(name)
                && verify::blob(repo, &at).is_ok_and(|stored| stored == *id)
            {
                unknown.remove(name);
            }
        }
        if unknown.is_empty() {
            return Ok(true);
        }
    }
    Ok(unknown.is_empty())
}

/// Moves the files of a folder to another. `false`: there were none.
///
/// # Errors
/// `Conflict` where something of another sort has the new name.
pub(super) fn carry_out(repo: &Repository, root: &mut Folder, from: &Elsewhere, to: &str) -> Result<bool> {
    let files = root.files(repo, &from.folder.split('/').collect::<Vec<_>>())?;
    for (name, id) in &files {
        let old: Vec<&str> = from.folder.split('/').chain([name.as_str()]).collect();
        let new: Vec<&str> = to.split('/').chain([name.as_str()]).collect();
        if !from.is_older || root.find(repo, &new)?.is_none() {
            root.set(repo, &new, *id)?;
        }
        root.remove(repo, &old)?;
    }
    Ok(!files.is_empty())
}
