//! Deleting and renaming objects, durably.

use std::collections::BTreeSet;
use std::io;

use object_store::Result;
use object_store::path::Path;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::LocalStore;
use super::place::{move_new, refuse_replacing};
use super::root::{above, is_link, open_file, split};
use super::store::{failed, lost, refuse_reserved};
use crate::fault::symbolic_link;

/// Deletes objects and flushes each folder once; a verdict each, in order.
pub(super) async fn remove(store: LocalStore, batch: Vec<Result<Path>>) -> Vec<Result<Path>> {
    let count = batch.len();
    match tokio::task::spawn_blocking(move || remove_now(&store, batch)).await {
        Ok(verdicts) => verdicts,
        Err(e) => {
            let text = e.to_string();
            let mut first = Some(lost(e));
            let again = || failed("delete objects", "", io::Error::other(text.clone()));
            (0..count).map(|_| Err(first.take().unwrap_or_else(again))).collect()
        }
    }
}

fn remove_now(store: &LocalStore, batch: Vec<Result<Path>>) -> Vec<Result<Path>> {
    let mut folders = BTreeSet::new();
    let mut verdicts: Vec<Result<Path>> = Vec::with_capacity(batch.len());
    for location in batch {
        let verdict = location.and_then(|location| {
            refuse_reserved(&location)?;
            unlink(store, location.as_ref()).map_err(|e| failed("delete object", location.as_ref(), e))?;
            folders.insert(split(location.as_ref()).0.to_owned());
            Ok(location)
        });
        verdicts.push(verdict);
    }
    for folder in &folders {
        let flushed = match store.root.flush_dir(folder) {
            // Somebody else emptied and removed it: what was in it is gone.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other,
        };
        if let Err(e) = flushed {
            let code = e.raw_os_error();
            for verdict in &mut verdicts {
                if verdict.as_ref().is_ok_and(|l| split(l.as_ref()).0 == folder) {
                    let again = code.map_or_else(|| io::Error::from(e.kind()), io::Error::from_raw_os_error);
                    *verdict = Err(failed("flush folder", folder, again));
                }
            }
        }
    }
    for folder in &folders {
        remove_if_empty(store, folder);
    }
    verdicts
}

fn unlink(store: &LocalStore, path: &str) -> io::Result<()> {
    let (folder, name) = split(path);
    let dir = match store.root.dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Err(io::ErrorKind::NotFound.into()),
        other => other?,
    };
    // Removing a link would not touch what it points to, but it is not ours.
    if is_link(&dir, name) {
        return Err(symbolic_link());
    }
    match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => Err(io::ErrorKind::NotFound.into()),
        other => Ok(other?),
    }
}

/// Removes a folder and those above it as far as they are empty; they are made again when something comes.
fn remove_if_empty(store: &LocalStore, folder: &str) {
    let chain: Vec<&str> = above(folder).skip(1).chain((!folder.is_empty()).then_some(folder)).collect();
    for at in chain.into_iter().rev() {
        let (parent, name) = split(at);
        let Ok(dir) = store.root.dir(parent) else { return };
        if rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR).is_err() {
            return;
        }
    }
}

/// Renames an object and flushes both folders.
pub(super) fn rename(store: &LocalStore, from: &Path, to: &Path, replace: bool) -> Result<()> {
    let (old_folder, old) = split(from.as_ref());
    let (new_folder, new) = split(to.as_ref());
    let work = || {
        let source = store.root.dir(old_folder)?;
        open_file(&source, old)?;
        let target = store.root.make_dir(new_folder)?;
        if replace {
            refuse_replacing(&target, new)?;
            rustix::fs::renameat(&source, old, &target, new)?;
        } else {
            move_new(&source, old, &target, new)?;
        }
        for folder in above(new_folder).chain([new_folder, old_folder]) {
            store.root.flush_dir(folder)?;
        }
        Ok(())
    };
    let path = || format!("{from} -> {to}");
    work().map_err(|e: io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => failed("rename object", to.as_ref(), e),
        io::ErrorKind::NotFound => failed("rename object", from.as_ref(), e),
        _ => failed("rename object", &path(), e),
    })
}
