//! Deleting objects.

use std::collections::BTreeSet;

use devicevault_core::ErrorKind;
use futures::stream::{BoxStream, StreamExt as _};
use object_store::Result;
use object_store::path::Path;

use super::fault::{not_there, store_error};
use super::place::{above, parent};
use super::store::refuse_reserved;
use super::{FileKind, RemoteStore, Server, marker};

/// How many deletions share the flushes of their folders.
const DELETIONS_AT_ONCE: usize = 128;

/// Deletes objects; a verdict each, in order.
pub(super) fn stream<S: Server>(
    store: RemoteStore<S>,
    locations: BoxStream<'static, Result<Path>>,
) -> BoxStream<'static, Result<Path>> {
    locations
        .ready_chunks(DELETIONS_AT_ONCE)
        .then(move |batch| {
            let store = store.clone();
            async move { futures::stream::iter(remove(&store, batch).await) }
        })
        .flatten()
        .boxed()
}

async fn remove<S: Server>(store: &RemoteStore<S>, batch: Vec<Result<Path>>) -> Vec<Result<Path>> {
    let at_once = store.features().at_once.max(1);
    let one = |location: Result<Path>| async move {
        let location = location?;
        refuse_reserved::<S>(&location)?;
        let path = location.as_ref();
        unlink(store, path).await.map_err(|e| store_error(S::KIND, path, e))?;
        Ok(location)
    };
    let mut verdicts: Vec<Result<Path>> = futures::stream::iter(batch).map(one).buffered(at_once).collect().await;
    let folders: BTreeSet<String> = verdicts.iter().flatten().map(|l| parent(l.as_ref()).to_owned()).collect();
    for folder in &folders {
        match store.flush_folder(folder).await {
            Ok(()) => {}
            // Somebody else emptied and removed it: what was in it is gone.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => {
                for verdict in &mut verdicts {
                    if verdict.as_ref().is_ok_and(|l| parent(l.as_ref()) == folder) {
                        *verdict = Err(store_error(S::KIND, folder, e.clone()));
                    }
                }
            }
        }
    }
    for folder in &folders {
        remove_if_empty(store, folder).await;
    }
    verdicts
}

async fn unlink<S: Server>(store: &RemoteStore<S>, path: &str) -> devicevault_core::Result<()> {
    let operation = "delete object";
    let looked = match store.look_at(operation, path).await {
        Err(e) if e.kind() == ErrorKind::Conflict => None,
        other => other?,
    };
    // Removing a link would not touch what it leads to, but it is not ours: it has been refused.
    if !looked.is_some_and(|f| matches!(f.kind, FileKind::File | FileKind::Unknown)) {
        marker::check_again(store).await?;
        return Err(not_there(operation, path));
    }
    store.server().remove(path).await
}

/// Removes a folder and those above it as far as they are empty; they are made again when something comes.
async fn remove_if_empty<S: Server>(store: &RemoteStore<S>, folder: &str) {
    let chain: Vec<&str> = above(folder).chain((!folder.is_empty()).then_some(folder)).collect();
    for at in chain.into_iter().rev() {
        if store.server().remove_folder(at).await.is_err() {
            return;
        }
        store.anchored().remove(at);
    }
}
