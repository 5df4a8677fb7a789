//! Which folders of the tree are ours: those in which devices were stored here. What others push may be merged beside
//! them and never into them, so that nobody who may push to a remote decides what is read as a device's configuration.
//!
//! It is noted in a file beside the objects and not told by commits, which others can write as well. Where the file is
//! not there, as in a repository of an earlier release, it is made of what was stored on our side of merges.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::ErrorKind as Io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use devicevault_core::Result;
use git2::{Oid, Repository};

use super::index::{Index, folder_key};
use super::layout::{Layout, sync_folder, write_new};
use super::{fault, history, message, objects};
use crate::regular;

/// The first line of the file.
const HEAD: &str = "DeviceVault folders of a Git branch, format 1";

/// Folders of the tree, as Git shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Folders(BTreeSet<String>);

impl Folders {
    /// Whether it is one of them.
    pub(super) fn has(&self, folder: &str) -> bool {
        self.0.contains(folder)
    }

    /// Whether one of them is beneath it; the root is empty.
    pub(super) fn are_beneath(&self, folder: &str) -> bool {
        if folder.is_empty() {
            return !self.0.is_empty();
        }
        let beneath = format!("{folder}/");
        self.0.range(beneath.clone()..).next().is_some_and(|first| first.starts_with(&beneath))
    }
}

/// The folders of a branch that are ours.
#[derive(Debug, Default)]
pub(super) struct Own(Mutex<Option<Folders>>);

impl Own {
    /// Notes folders, before something is stored in them. `index` knows the whole branch.
    pub(super) fn add<'f>(
        &self,
        at: (&Layout, &str),
        repo: &Repository,
        index: &Index,
        folders: impl Iterator<Item = &'f str>,
    ) -> Result<()> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&str> = folders.filter(|f| known.as_ref().is_none_or(|k| !k.has(f))).collect();
        if new.is_empty() {
            return Ok(());
        }
        // Another process may have noted some meanwhile.
        let mut all = read_or_make(at, repo, index)?;
        let before = all.0.len();
        all.0.extend(new.into_iter().map(str::to_owned));
        let path = at.0.own_folders(at.1);
        if all.0.len() > before || !path.exists() {
            write(&path, &all)?;
        }
        *known = Some(all);
        Ok(())
    }

    /// All of them.
    pub(super) fn folders(&self, at: (&Layout, &str), repo: &Repository, index: &Index) -> Result<Folders> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = read_or_make(at, repo, index)?;
        // Once something of others is followed, it cannot be made any more.
        let path = at.0.own_folders(at.1);
        if !path.exists() {
            write(&path, &all)?;
        }
        *known = Some(all.clone());
        Ok(all)
    }
}

/// Those that were noted: nothing is made of history, and nothing written.
pub(super) fn noted(layout: &Layout, branch: &str) -> Result<Folders> {
    Ok(read(&layout.own_folders(branch))?.unwrap_or_default())
}

fn read_or_make((layout, branch): (&Layout, &str), repo: &Repository, index: &Index) -> Result<Folders> {
    match read(&layout.own_folders(branch))? {
        Some(folders) => Ok(folders),
        None => stored_here(layout, repo, index),
    }
}

/// `None`: there is no such file, or it is none of ours.
fn read(path: &Path) -> Result<Option<Folders>> {
    let text = match regular::read_to_string(path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), Io::NotFound | Io::InvalidData) => return Ok(None),
        Err(e) => return Err(fault::io("read folders of devices", path, e)),
    };
    let mut lines = text.lines();
    Ok((lines.next() == Some(HEAD)).then(|| Folders(lines.filter(|l| !l.is_empty()).map(str::to_owned).collect())))
}

fn write(path: &Path, folders: &Folders) -> Result<()> {
    let failed = |e| fault::io("note folders of devices", path, e);
    let staged = path.with_extension(uuid::Uuid::now_v7().simple().to_string());
    let mut text = format!("{HEAD}\n");
    for folder in &folders.0 {
        text.push_str(folder);
        text.push('\n');
    }
    let written = write_new(&staged, text.as_bytes()).and_then(|()| fs::rename(&staged, path));
    if let Err(e) = written {
        let _ = fs::remove_file(&staged);
        return Err(failed(e));
    }
    path.parent().map_or(Ok(()), sync_folder)
}

/// The folders in which something was stored by commits that were not merged in: of a merge that is made here, our side
/// comes first.
fn stored_here(layout: &Layout, repo: &Repository, index: &Index) -> Result<Folders> {
    let Some(tip) = index.tip() else { return Ok(Folders::default()) };
    let ours = history::first_parents(layout, repo, tip, None)?;
    let mut newest: HashMap<u32, Oid> = HashMap::new();
    for record in index.records().iter().filter(|r| r.is_backup() && ours.contains(&r.commit)) {
        newest.insert(record.folder, record.commit);
    }
    let mut folders = BTreeSet::new();
    for commit in newest.values().copied().collect::<HashSet<Oid>>() {
        // What cannot be read is told by who needs it.
        let Ok(commit) = objects::commit(repo, commit) else { continue };
        for trailer in message::trailers(commit.message_raw_bytes()) {
            if let Some((folder, _)) = trailer.path.rsplit_once('/')
                && newest.get(&folder_key(folder)) == Some(&commit.id())
            {
                folders.insert(folder.to_owned());
            }
        }
    }
    Ok(Folders(folders))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Folders {
        Folders(names.iter().map(|n| (*n).to_owned()).collect())
    }

    #[test]
    fn a_folder_is_above_what_is_in_it_and_nothing_else() {
        let folders = of(&["sw1", "zurich/sw1", "zurich-2/sw1"]);
        assert!(folders.has("sw1") && !folders.has("zurich"));
        assert!(folders.are_beneath("") && folders.are_beneath("zurich") && folders.are_beneath("zurich-2"));
        assert!(!folders.are_beneath("sw1") && !folders.are_beneath("zuric") && !folders.are_beneath("zurich/sw1"));
        assert!(!of(&[]).are_beneath(""));
    }

    #[test]
    fn what_is_noted_reads_back_and_another_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folders-x");
        assert_eq!(read(&path).unwrap(), None);
        for folders in [of(&[]), of(&["sw1", "zurich/sw%2F1"])] {
            write(&path, &folders).unwrap();
            assert_eq!(read(&path).unwrap(), Some(folders));
        }
        for other in [&b""[..], b"sw1\n", b"\xff\xfe"] {
            fs::write(&path, other).unwrap();
            assert_eq!(read(&path).unwrap(), None);
        }
    }
}
