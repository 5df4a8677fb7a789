//! The marker of a folder of a server.

use devicevault_core::{DestinationId, Error, ErrorKind, Result};
use futures::TryStreamExt as _;
use object_store::Error as StoreError;

use super::staging::Staged;
use super::{RemoteStore, Server, fault};
use crate::marker::{MARKER, MAX_MARKER, Marker};

/// How long a marker that was seen is taken to be there still, in seconds.
const SEEN_FOR: u64 = 5;

/// Makes folder and marker, or checks those that are there. Of two at once, both find the same.
pub(super) async fn create<S: Server>(store: &RemoteStore<S>) -> Result<()> {
    store.server().make_root().await?;
    if read(store).await?.is_none() {
        let staged = Staged::of(store, Marker::of(&store.0.destination).to_json().into(), true).await?;
        match store.name_new(staged, MARKER).await {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(e) => return Err(crate::fault::of_store("mark destination folder", store.place(), e)),
        }
    }
    check(store).await
}

/// Refuses a folder that is not this destination's.
pub(super) async fn check<S: Server>(store: &RemoteStore<S>) -> Result<()> {
    let Some(marker) = read(store).await? else {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "open destination",
            format!("the folder holds no {MARKER}, or is not there: the share may not be mounted at the server"),
        )
        .with("path", store.place())
        .with("destination", &store.0.destination)
        .hint(
            "mount the share there; where its marker was lost, `devicevault destination test NAME --repair` lays it there \
             again; a folder that is to become a destination has to be made one first",
        ));
    };
    marker.check(&store.0.destination, store.place())?;
    if let Ok(mut seen) = store.0.seen.lock() {
        *seen = Some(store.0.clock.monotonic());
    }
    Ok(())
}

/// The same, unless it was done a moment ago: what is missing is gone only where the marker is there.
pub(super) async fn check_again<S: Server>(store: &RemoteStore<S>) -> Result<()> {
    let seen = store.0.seen.lock().ok().and_then(|seen| *seen);
    let now = store.0.clock.monotonic();
    if seen.is_some_and(|seen| now.saturating_sub(seen).as_secs() < SEEN_FOR) {
        return Ok(());
    }
    check(store).await
}

/// The destination that the marker names, where there is one.
pub(super) async fn found<S: Server>(store: &RemoteStore<S>) -> Result<Option<DestinationId>> {
    Ok(read(store).await?.map(|marker| marker.destination))
}

async fn read<S: Server>(store: &RemoteStore<S>) -> Result<Option<Marker>> {
    let (server, operation) = (store.server(), "read destination marker");
    let looked = server.look(vec![MARKER.to_owned()]).await?.into_iter().next().flatten();
    let Some(looked) = looked else { return Ok(None) };
    if looked.kind == super::FileKind::Link {
        return Err(fault::link_in_the_way(operation, &store.place()));
    }
    if looked.size > MAX_MARKER {
        return Err(Error::new(ErrorKind::Corrupt, operation, "it is too long to be one").with("path", store.place()));
    }
    let stream = match server.read(MARKER, 0..looked.size, looked.size).await {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let json: Vec<u8> = stream
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await?;
    Marker::from_json(&json, store.place()).map(Some)
}
