//! Folders of servers as object stores.

#[cfg(feature = "sftp")]
mod asyncssh;
#[cfg(feature = "sftp")]
mod faults;
mod folder;
#[cfg(feature = "ftp")]
mod ftp;
#[cfg(feature = "sftp")]
mod kills;
mod measure;
#[cfg(feature = "ftp")]
mod parts;
mod plain;
#[cfg(feature = "sftp")]
mod sftp;
#[cfg(feature = "sftp")]
mod sshd;
#[cfg(feature = "ftp")]
mod vsftpd;

use std::path::Path;
use std::sync::Arc;

use devicevault_core::{DestinationId, SystemClock};
use devicevault_storage::remote::{RemoteStore, Server};

/// A server that runs, and the folder of this machine in which it keeps what is given to it.
trait Peer: Sync {
    type Server: Server;

    /// A client of it, whose destination is this folder.
    fn server(&self, folder: &Path) -> Self::Server;

    /// Whether it tells symbolic links from what they lead to.
    fn tells_links(&self) -> bool {
        true
    }

    /// Lets the server's user write there.
    fn own(&self, _folder: &Path) {}

    async fn init(&self, folder: &Path) -> RemoteStore<Self::Server> {
        RemoteStore::init(self.server(folder), &main(), Arc::new(SystemClock)).await.unwrap()
    }

    async fn open(&self, folder: &Path) -> devicevault_core::Result<RemoteStore<Self::Server>> {
        RemoteStore::open(self.server(folder), &main(), Arc::new(SystemClock)).await
    }
}

fn main() -> DestinationId {
    "main".into()
}

fn staged_files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join(".tmp")).map_or(0, Iterator::count)
}
