//! Files that have no name yet, in `.tmp/`.
//!
//! There are no locks that tell a dead writer's file from a live one's: old files are removed, by the server's own clock.
//! The time of a file moves with every piece that is written to it.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use devicevault_core::{ErrorKind, Result};
use uuid::Uuid;

use super::{FileKind, Found, RemoteStore, Server, Writer, marker};

/// The folder of files without a name, in the root.
pub(super) const STAGING: &str = ".tmp";

/// A file that is being written and has no name yet. Dropping it removes it, as far as a drop can.
#[derive(Debug)]
pub(super) struct StagedWriter<S: Server> {
    writer: S::Writer,
    file: Leaving<S>,
}

/// A file that is written, and flushed where the server does; it has no name yet. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Staged<S: Server> {
    file: Leaving<S>,
    pub(super) found: Found,
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
struct Leaving<S: Server> {
    store: RemoteStore<S>,
    path: String,
    stays: bool,
}

impl<S: Server> StagedWriter<S> {
    /// Begins a file. `first`: the folder is being made a destination, and has no marker yet.
    pub(super) async fn begin(store: &RemoteStore<S>, first: bool) -> Result<Self> {
        let mut tries = 0;
        loop {
            let path = format!("{STAGING}/{}", Uuid::now_v7().simple());
            match store.server().create(&path).await {
                Ok(writer) => {
                    let file = Leaving { store: store.clone(), path, stays: false };
                    return Ok(Self { writer, file });
                }
                Err(e) if e.kind() == ErrorKind::NotFound && tries < 2 => {
                    tries += 1;
                    // An empty folder is also what is under a share that is not mounted: nothing is made there.
                    if !first {
                        marker::check(store).await?;
                    }
                    store.server().make_folder(STAGING).await?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.writer.write(bytes).await
    }

    pub(super) async fn finish(self) -> Result<Staged<S>> {
        match self.writer.finish().await {
            Ok(found) => Ok(Staged { file: self.file, found }),
            Err(e) => {
                self.file.remove().await;
                Err(e)
            }
        }
    }

    /// Removes it, and waits for that.
    pub(super) async fn discard(self) {
        // Closed first: some servers do not remove what is open.
        drop(self.writer);
        self.file.remove().await;
    }
}

impl<S: Server> Staged<S> {
    /// A file with this content.
    pub(super) async fn of(store: &RemoteStore<S>, content: Bytes, first: bool) -> Result<Self> {
        let mut writer = StagedWriter::begin(store, first).await?;
        if let Err(e) = writer.write(content).await {
            writer.discard().await;
            return Err(e);
        }
        writer.finish().await
    }

    pub(super) fn path(&self) -> &str {
        &self.file.path
    }

    /// It went where it belongs: there is nothing to remove.
    pub(super) fn named(mut self) {
        self.file.stays = true;
    }

    /// Removes it, and waits for that.
    pub(super) async fn discard(self) {
        self.file.remove().await;
    }
}

impl<S: Server> Leaving<S> {
    async fn remove(mut self) {
        self.stays = true;
        remove_quietly(&self.store, &self.path).await;
    }
}

impl<S: Server> Drop for Leaving<S> {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.stays {
            let (store, path) = (self.store.clone(), std::mem::take(&mut self.path));
            runtime.spawn(async move { remove_quietly(&store, &path).await });
        }
    }
}

/// What stays is removed by a sweep.
async fn remove_quietly<S: Server>(store: &RemoteStore<S>, path: &str) {
    if let Err(e) = store.server().remove(path).await {
        tracing::debug!(path, error = %e, "a staging file stays");
    }
}

/// What time it is at the server, by a file that is made for that.
pub(super) async fn server_time<S: Server>(store: &RemoteStore<S>) -> Result<Option<DateTime<Utc>>> {
    let staged = Staged::of(store, Bytes::from_static(b"what time is it"), false).await?;
    let time = staged.found.modified;
    staged.discard().await;
    Ok(time)
}

/// Removes files, and locks, that are older; the number of bytes that they held.
pub(super) async fn sweep<S: Server>(store: &RemoteStore<S>, older_than: Duration) -> Result<u64> {
    marker::check(store).await?;
    let server = store.server();
    let Some(entries) = server.list(STAGING).await? else { return Ok(0) };
    if entries.is_empty() {
        return Ok(0);
    }
    let Some(now) = server_time(store).await? else { return Ok(0) };
    let longest = i64::try_from(older_than.as_secs()).unwrap_or(i64::MAX);
    let mut freed = 0;
    for (name, found) in entries {
        // What has no time is never old.
        if found.modified.is_none_or(|t| now.signed_duration_since(t).num_seconds() <= longest) {
            continue;
        }
        let path = format!("{STAGING}/{name}");
        let removed = match found.kind {
            FileKind::Folder => server.remove_folder(&path).await,
            _ => server.remove(&path).await,
        };
        match removed {
            Ok(()) if found.kind != FileKind::Folder => freed += found.size,
            Ok(()) => {}
            Err(e) => tracing::debug!(path, error = %e, "a stale staging file stays"),
        }
    }
    Ok(freed)
}
