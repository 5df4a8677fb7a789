//! Listing objects, folder by folder.

use std::io;

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::{Path, PathPart};
use object_store::{ObjectMeta, Result};
use rustix::fs::{AtFlags, Dir, FileType};

use super::LocalStore;
use super::store::{failed, is_reserved, lost, modified};

/// What a folder holds.
pub(super) struct Found {
    pub(super) folders: Vec<Path>,
    /// What a symbolic link has the name of. There may be objects behind it, which nobody sees.
    pub(super) links: Vec<Path>,
    pub(super) objects: Vec<ObjectMeta>,
}

/// Every object beneath a folder, in the order of the folders' names. One folder is in memory at a time.
pub(super) fn all(store: LocalStore, folder: String) -> BoxStream<'static, Result<ObjectMeta>> {
    futures::stream::try_unfold(vec![folder], move |mut waiting| {
        let store = store.clone();
        async move {
            let Some(next) = waiting.pop() else { return Ok(None) };
            let found = self::folder(store, next).await?;
            waiting.extend(found.folders.into_iter().rev().map(String::from));
            Ok::<_, object_store::Error>(Some((futures::stream::iter(found.objects.into_iter().map(Ok)), waiting)))
        }
    })
    .try_flatten()
    .boxed()
}

/// One folder, by name. What is not there, and what is not a folder, is empty.
pub(super) async fn folder(store: LocalStore, at: String) -> Result<Found> {
    let work = move || read(&store, &at).map_err(|e| failed("list folder", &at, e));
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}

fn read(store: &LocalStore, at: &str) -> io::Result<Found> {
    let mut found = Found { folders: Vec::new(), links: Vec::new(), objects: Vec::new() };
    if is_reserved(at.split('/').next().unwrap_or_default()) {
        return Ok(found);
    }
    let dir = match store.root.dir(at) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(found),
        other => other?,
    };
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        // Neither names that no object can have nor anything but files and folders was put here by a store.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name == "." || name == ".." || PathPart::parse(name).is_err() || (at.is_empty() && is_reserved(name)) {
            continue;
        }
        let path = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
        let Ok(location) = Path::parse(&path) else { continue };
        let stat = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => continue,
            other => other?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => found.folders.push(location),
            FileType::Symlink => found.links.push(location),
            FileType::RegularFile => found.objects.push(ObjectMeta {
                location,
                last_modified: modified(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
                size: u64::try_from(stat.st_size).unwrap_or(0),
                e_tag: None,
                version: None,
            }),
            _ => {}
        }
    }
    found.folders.sort_unstable();
    found.objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
    Ok(found)
}
