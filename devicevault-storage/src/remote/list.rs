//! Listing objects, several folders at a time.

use devicevault_core::ErrorKind;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt as _, TryStreamExt as _};
use object_store::path::{Path, PathPart};
use object_store::{ObjectMeta, Result};

use super::fault::store_error;
use super::store::{is_reserved, object_meta};
use super::{FileKind, RemoteStore, Server, marker};

/// What a folder holds.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) folders: Vec<Path>,
    /// What a symbolic link has the name of. There may be objects behind it, which nobody sees.
    pub(super) links: Vec<Path>,
    pub(super) objects: Vec<ObjectMeta>,
}

/// Every object beneath a folder. As many folders are in memory as are asked for at a time.
pub(super) fn all<S: Server>(store: RemoteStore<S>, from: String) -> BoxStream<'static, Result<ObjectMeta>> {
    let at_once = store.features().at_once.max(1);
    let begun = (vec![from], FuturesUnordered::new());
    futures::stream::try_unfold(begun, move |(mut waiting, mut asked)| {
        let store = store.clone();
        async move {
            while asked.len() < at_once
                && let Some(next) = waiting.pop()
            {
                let store = store.clone();
                asked.push(async move { folder(&store, &next).await });
            }
            let Some(listed) = asked.try_next().await? else { return Ok(None) };
            waiting.extend(listed.folders.into_iter().rev().map(String::from));
            let objects = futures::stream::iter(listed.objects.into_iter().map(Ok));
            Ok::<_, object_store::Error>(Some((objects, (waiting, asked))))
        }
    })
    .try_flatten()
    .boxed()
}

/// One folder, by name. What is not there, and what is not a folder, is empty.
pub(super) async fn folder<S: Server>(store: &RemoteStore<S>, at: &str) -> Result<Listed> {
    let fail = |e| store_error(S::KIND, at, e);
    let mut listed = Listed::default();
    if is_reserved(at.split('/').next().unwrap_or_default()) {
        return Ok(listed);
    }
    if !at.is_empty() && store.features().tells_links {
        match store.look_at("list folder", at).await {
            Ok(Some(found)) if matches!(found.kind, FileKind::Folder | FileKind::Unknown) => {}
            Err(e) if e.kind() != ErrorKind::Conflict => return Err(fail(e)),
            _ => {
                marker::check_again(store).await.map_err(fail)?;
                return Ok(listed);
            }
        }
    }
    let entries = store.server().list(at).await.map_err(fail)?;
    if entries.as_ref().is_none_or(Vec::is_empty) {
        marker::check_again(store).await.map_err(fail)?;
    }
    for (name, found) in entries.unwrap_or_default() {
        // Neither names that no object can have nor anything but files and folders was put here by a store.
        if name == "." || name == ".." || PathPart::parse(&name).is_err() || (at.is_empty() && is_reserved(&name)) {
            continue;
        }
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        let Ok(location) = Path::parse(&path) else { continue };
        match found.kind {
            FileKind::Folder => listed.folders.push(location),
            FileKind::File => {
                let mut meta = object_meta(location, &found);
                // The time in a listing may be less exact than that of the file.
                meta.e_tag = None;
                listed.objects.push(meta);
            }
            FileKind::Link => listed.links.push(location),
            FileKind::Other | FileKind::Unknown => {}
        }
    }
    listed.folders.sort_unstable();
    listed.objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
    Ok(listed)
}
