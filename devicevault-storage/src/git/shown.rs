//! Whether the branch shows what was stored last: somebody else may have changed or removed a file of ours in it.

use std::sync::PoisonError;

use devicevault_core::Result;
use git2::{Oid, Repository};

use super::folder::Folder;
use super::index::{device_key, folder_key};
use super::path::Version;
use super::store::Store;
use super::{branch, history, moves, own, verify};

impl Store {
    /// What is wrong with the file of a version that is the newest of its artefact: the branch has another text there, or
    /// none. Nothing where a newer one of the device has its place by now, or another device, for which it was put aside.
    pub(super) fn not_shown(&self, repo: &Repository, at: &Version) -> Result<Option<String>> {
        if at.branch != self.options.branch {
            return Ok(None);
        }
        let Some(tip) = branch::tip(repo, &self.options.refname())?.filter(|tip| *tip != at.commit) else {
            return Ok(None);
        };
        let stored = verify::blob(repo, at)?;
        if self.shown_at(repo, tip, &at.path)? == Some(stored) {
            return Ok(None);
        }
        let manifest = verify::manifest(repo, at)?;
        let device = &manifest.source.device;
        let (folder, file) = at.path.rsplit_once('/').unwrap_or(("", &at.path));
        // Of the device, what came after it, newest first; and whose the folder is by now.
        let (later, holder) = self.indexed(repo, |index| {
            let later = index.of_device(device).take_while(|r| r.commit != at.commit).collect::<Vec<_>>();
            let holder = index.records().iter().rev().find(|r| r.is_backup() && r.folder == folder_key(folder));
            (later, holder.map(|r| r.device))
        })?;
        let is_taken = holder.is_some_and(|holder| holder != device_key(device));
        let aside = moves::aside(folder, device_key(device));
        let was_put_aside = own::noted(&self.layout, &self.options.branch)?.has(&aside);
        // Earlier releases put nothing aside for a device that was new; and the other device may have been purged since.
        // Nothing notes it in a clone: there it counts where nobody put another text in its place.
        if (is_taken && !was_put_aside)
            || (self.shown_at(repo, tip, &format!("{aside}/{file}"))? == Some(stored)
                && (was_put_aside || self.shown_at(repo, tip, &at.path)?.is_none()))
        {
            return Ok(None);
        }
        for record in &later {
            for (newer_at, newer) in history::manifests(repo, &at.branch, record.commit, device.as_str())? {
                let path = Version::parse(&newer_at)?.path;
                let (newer_folder, newer_file) = path.rsplit_once('/').unwrap_or(("", &path));
                if newer.source.device != *device {
                    continue;
                }
                // A newer version of it; or its file moved along with another of the device's, which may be put aside by now.
                let aside = moves::aside(newer_folder, device_key(device));
                let shows = |folder: &str| -> Result<bool> {
                    Ok(self.shown_at(repo, tip, &format!("{folder}/{file}"))? == Some(stored))
                };
                if newer_file == file || shows(newer_folder)? || shows(&aside)? {
                    return Ok(None);
                }
            }
        }
        let what = match self.shown_at(repo, tip, &at.path)? {
            Some(_) if !is_taken => "shows another text in its place",
            _ => "does not show it any more",
        };
        Ok(Some(format!("branch {} {what}: somebody else changed {}", at.branch, at.path)))
    }

    /// The file at a path in the tree of the branch. Folders that were read are remembered until the branch moves.
    fn shown_at(&self, repo: &Repository, tip: Oid, path: &str) -> Result<Option<Oid>> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = match shown.take() {
            Some((at, folder)) if at == tip => folder,
            _ => Folder::root(repo, Some(tip))?,
        };
        let (_, folder) = shown.insert((tip, folder));
        folder.find(repo, &path.split('/').collect::<Vec<_>>())
    }
}
