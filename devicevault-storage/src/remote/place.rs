//! Giving objects their names.

use devicevault_core::{Error, ErrorKind, Result};
use futures::future::try_join_all;

use super::fault::{link_in_the_way, not_a_folder, store_error, there_already};
use super::staging::Staged;
use super::{FileKind, Found, RemoteStore, Server, lock, marker};

/// How often folders are made again that somebody removes because they are empty.
const MAX_TRIES: u32 = 16;

/// So many folders are known to be flushed; forgetting costs a few requests more, nothing else.
const MOST_ANCHORED: usize = 100_000;

/// How a file gets a name.
#[derive(Debug, Clone, Copy)]
enum By {
    Link,
    Rename,
    Replace,
}

impl<S: Server> RemoteStore<S> {
    /// What is under a name, now that no symbolic link lies on the way to it, as far as the server tells.
    pub(super) async fn look_at(&self, operation: &'static str, path: &str) -> Result<Option<Found>> {
        let tells_links = self.features().tells_links;
        let mut ways: Vec<String> = if tells_links { above(path).map(str::to_owned).collect() } else { Vec::new() };
        ways.push(path.to_owned());
        let mut looked = self.server().look(ways.clone()).await?;
        let target = looked.pop().flatten();
        for (way, found) in ways.iter().zip(looked) {
            match found.map(|f| f.kind) {
                Some(FileKind::Link) => return Err(link_in_the_way(operation, way)),
                Some(FileKind::File | FileKind::Other) => return Err(not_a_folder(operation, way)),
                Some(FileKind::Folder | FileKind::Unknown) => {}
                None => return Ok(None),
            }
        }
        match target.map(|f| f.kind) {
            Some(FileKind::Link) => Err(link_in_the_way(operation, path)),
            _ => Ok(target),
        }
    }

    /// Gives a file a name that must be free.
    pub(super) async fn name_new(&self, staged: Staged<S>, to: &str) -> object_store::Result<Found> {
        let (from, found) = (staged.path().to_owned(), staged.found);
        let named = async {
            self.free(to).await?;
            if self.features().exclusive {
                match self.give(By::Link, &from, to).await {
                    // The file system beneath cannot, although the server can.
                    Err(e) if e.kind() == ErrorKind::Unsupported => {}
                    other => return other,
                }
            }
            lock::locked(self, to, found.modified, async {
                self.free(to).await?;
                self.give(By::Rename, &from, to).await
            })
            .await
        };
        let named = named.await;
        self.settled(staged, to, named).await
    }

    /// Gives a file a name, in place of the file that may have it.
    pub(super) async fn name_over(&self, staged: Staged<S>, to: &str) -> object_store::Result<Found> {
        let from = staged.path().to_owned();
        let named = async {
            self.replaceable(to).await?;
            if self.features().replaces {
                return self.give(By::Replace, &from, to).await;
            }
            lock::locked(self, to, staged.found.modified, async {
                self.free(to).await.map_err(|e| match e.kind() {
                    ErrorKind::AlreadyExists => cannot_replace(to),
                    _ => e,
                })?;
                self.give(By::Rename, &from, to).await
            })
            .await
        };
        let named = named.await;
        self.settled(staged, to, named).await
    }

    /// Moves an object to another name.
    pub(super) async fn move_object(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        let operation = "rename object";
        let there = self.look_at(operation, from).await?;
        let Some(found) = there.filter(|f| matches!(f.kind, FileKind::File | FileKind::Unknown)) else {
            marker::check_again(self).await?;
            return Err(super::fault::not_there(operation, from));
        };
        if replace {
            self.replaceable(to).await?;
            self.give(By::Replace, from, to).await?;
        } else {
            self.free(to).await?;
            let linked = match self.features().exclusive {
                true => self.give(By::Link, from, to).await,
                false => Err(Error::new(ErrorKind::Unsupported, operation, "not in one step")),
            };
            match linked {
                Err(e) if e.kind() == ErrorKind::Unsupported => {
                    lock::locked(self, to, found.modified, async {
                        self.free(to).await?;
                        self.give(By::Rename, from, to).await
                    })
                    .await?;
                }
                other => other?,
            }
        }
        self.flush_new(to).await?;
        self.flush_folder(parent(from)).await
    }

    async fn free(&self, to: &str) -> Result<()> {
        let operation = "write object";
        match self.look_at(operation, to).await?.map(|f| f.kind) {
            None => Ok(()),
            Some(FileKind::Folder) => Err(not_a_folder(operation, to)),
            Some(_) => Err(there_already(operation, to)),
        }
    }

    /// A link, a folder, a device is not ours to replace.
    async fn replaceable(&self, to: &str) -> Result<()> {
        let operation = "write object";
        match self.look_at(operation, to).await?.map(|f| f.kind) {
            None | Some(FileKind::File | FileKind::Unknown) => Ok(()),
            Some(_) => Err(not_a_folder(operation, to)),
        }
    }

    /// Gives a name, and makes the folders on the way to it where they are missing.
    async fn give(&self, by: By, from: &str, to: &str) -> Result<()> {
        let server = self.server();
        let mut tries = 0;
        loop {
            let given = match by {
                By::Link => server.link(from, to).await,
                By::Rename => server.rename(from, to).await,
                By::Replace => server.replace(from, to).await,
            };
            match given {
                // Or a deletion removed the folder, which had just become empty, under our hands.
                Err(e) if e.kind() == ErrorKind::NotFound && tries < MAX_TRIES => {
                    tries += 1;
                    match self.make_folders(to).await {
                        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                        _ => {}
                    }
                }
                other => return other,
            }
        }
    }

    async fn make_folders(&self, to: &str) -> Result<()> {
        for folder in above(to) {
            if self.server().make_folder(folder).await? {
                self.anchored().remove(folder);
            }
        }
        Ok(())
    }

    /// The verdict on a file that was given its name, or not.
    async fn settled(&self, staged: Staged<S>, to: &str, named: Result<()>) -> object_store::Result<Found> {
        let found = staged.found;
        let done = match named {
            Ok(()) => {
                staged.named();
                self.flush_new(to).await
            }
            Err(e) => {
                staged.discard().await;
                Err(e)
            }
        };
        done.map(|()| found).map_err(|e| store_error(S::KIND, to, e))
    }

    /// Makes a new name durable, and every folder on the way to it that is not known to be.
    async fn flush_new(&self, path: &str) -> Result<()> {
        if !self.features().flushes {
            return Ok(());
        }
        let folder = parent(path);
        if self.anchored().contains(folder) {
            return self.server().flush_folder(folder).await;
        }
        self.flush_all(path).await?;
        let mut anchored = self.anchored();
        if anchored.len() > MOST_ANCHORED {
            anchored.clear();
        }
        anchored.insert(folder.to_owned());
        Ok(())
    }

    /// Makes the names in a folder durable, where the server can.
    pub(super) async fn flush_folder(&self, folder: &str) -> Result<()> {
        if self.features().flushes { self.server().flush_folder(folder).await } else { Ok(()) }
    }

    /// Makes a name durable, whoever gave it, and every folder on the way to it.
    pub(super) async fn flush_way(&self, path: &str) -> object_store::Result<()> {
        if !self.features().flushes {
            return Ok(());
        }
        self.flush_all(path).await.map_err(|e| store_error(S::KIND, path, e))
    }

    async fn flush_all(&self, path: &str) -> Result<()> {
        let flushes = above(path).chain([""]).map(|folder| self.server().flush_folder(folder));
        try_join_all(flushes).await.map(drop)
    }
}

/// Two steps would leave nothing of that name where the second one fails.
fn cannot_replace(path: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "write object", "the server cannot replace a file in one step")
        .with("path", path)
        .hint("use a server that can, such as OpenSSH's; backups that are stored there can be read and copied")
}

/// The folders on the way to a path, the outermost first, without the root.
pub(super) fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at))
}

/// The folder that a path is in; `""` is the root.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
