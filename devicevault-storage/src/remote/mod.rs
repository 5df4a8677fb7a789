//! A folder of a file server as an [`ObjectStore`](object_store::ObjectStore), made for backups.
//!
//! [`RemoteStore`] is what such stores have in common; a [`Server`] is what they differ in. Ours are
//! `sftp::SftpStore` and `ftp::FtpStore`.
//!
//! # What is promised
//! - **Atomic.** An object is there whole or not at all: it is written in `.tmp/`, which no listing shows, closed, and
//!   only then given its name. A connection that breaks leaves a file there at worst.
//! - **Nothing is replaced by accident.** [`PutMode::Create`](object_store::PutMode) gives a name in one step that fails
//!   where the name is taken, if the server can ([`Features::exclusive`]). Otherwise writers of this program hold a lock
//!   at the server meanwhile (a folder in `.tmp/`, which only one can make), and other programs are not kept away.
//! - **Durable as far as the server says so.** Where it flushes files and folders ([`Features::flushes`]), the bytes, the
//!   name and every new folder on the way to it have been flushed when a call returns. Where it does not, or files alone,
//!   what was confirmed is what the server's system has taken, and a power cut there within the next seconds may lose it.
//! - **Confined.** Symbolic links beneath the folder are refused, not followed, where the protocol tells them; the look
//!   and the deed are two requests, so that this keeps away what lies there, not who can write there meanwhile. The folder
//!   itself may be reached through a link.
//! - **The right folder.** A marker file names the destination, as in a [local folder](crate::local): where it is absent,
//!   as under a share that is not mounted, nothing is written, and what is missing is not taken for deleted.
//! - **Tidy.** What broken uploads left is removed by [`RemoteStore::sweep`] once it is old.
//!
//! Etags are made of size and time of change; most servers tell the time in whole seconds. Two contents of one length
//! that follow each other within a second have the same.
//!
//! Dropping a future leaves each object either stored or absent.

mod attempts;
mod fault;
mod get;
mod list;
mod lock;
mod marker;
mod place;
mod remove;
mod server;
mod staging;
mod store;
mod upload;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::storage::Health;
use devicevault_core::{Clock, DestinationId, Error, ErrorKind, Result};
use object_store::path::Path;

pub(crate) use attempts::Attempts;
pub use server::{Features, FileKind, Found, Server, Writer};

use crate::plain::Keep;

/// A folder of a server that keeps objects; see the [module](self) for what is promised. Cloning is cheap.
#[derive(Debug)]
pub struct RemoteStore<S: Server>(Arc<Inner<S>>);

impl<S: Server> Clone for RemoteStore<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Inner<S> {
    server: Arc<S>,
    destination: DestinationId,
    clock: Arc<dyn Clock>,
    features: OnceLock<Features>,
    /// Folders that are known to be flushed into those above them.
    anchored: Mutex<HashSet<String>>,
    /// One copy is made at a time: it may take two connections of few, and must not wait for another copy's second.
    copying: tokio::sync::Mutex<()>,
    /// When the marker was last seen, by the monotonic clock.
    seen: Mutex<Option<Duration>>,
}

/// Less free space than this is told as a fault.
const LITTLE_SPACE: u64 = 64 * 1024 * 1024;

impl<S: Server> RemoteStore<S> {
    /// Makes the folder the home of a destination: creates it where it is missing, and the marker in it. Does nothing
    /// more than [`open`](Self::open) where it is that already.
    ///
    /// # Errors
    /// `Conflict` when the folder belongs to another destination; what the server refuses.
    pub async fn init(server: S, destination: &DestinationId, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Self::over(server, destination, clock).await?;
        marker::create(&store).await?;
        Ok(store)
    }

    /// Opens a folder that [`init`](Self::init) has made.
    ///
    /// # Errors
    /// `Unavailable` when the folder or its marker is not there, `Conflict` when it belongs to another destination, what
    /// keeps the server from being reached.
    pub async fn open(server: S, destination: &DestinationId, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Self::over(server, destination, clock).await?;
        marker::check(&store).await?;
        Ok(store)
    }

    /// Opens a folder as it lies there, to read what it holds: nothing is looked for that says whose it is.
    /// [`marked`](Self::marked) tells it.
    ///
    /// # Errors
    /// What keeps the server from being reached.
    pub async fn unmarked(server: S, destination: &DestinationId, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Self::over(server, destination, clock).await?;
        if let Ok(mut seen) = store.0.seen.lock() {
            *seen = Some(Duration::MAX);
        }
        Ok(store)
    }

    /// The destination that the folder's marker names now; `None` where there is none.
    ///
    /// # Errors
    /// `Corrupt` when its marker is damaged, what keeps the server from being reached.
    pub async fn marked(&self) -> Result<Option<DestinationId>> {
        marker::found(self).await
    }

    /// Opens a folder whichever destination it is the home of, to read what it holds.
    ///
    /// # Errors
    /// `Config` when it is none's; as [`open`](Self::open).
    pub async fn open_any(server: S, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Self::over(server, &DestinationId::from(""), clock).await?;
        let Some(destination) = marker::found(&store).await? else {
            return Err(Error::new(ErrorKind::Config, "open folder of backups", "it holds no backups")
                .with("path", store.place())
                .hint("name the folder of a plain destination"));
        };
        let inner = Arc::into_inner(store.0).map(|inner| Inner { destination, ..inner });
        let lost = || Error::new(ErrorKind::Internal, "open folder of backups", "it is in use already");
        Ok(Self(Arc::new(inner.ok_or_else(lost)?)))
    }

    /// The destination that a folder is the home of; `None` where it is none's.
    ///
    /// # Errors
    /// `Corrupt` when its marker is damaged, what keeps the server from being reached.
    pub async fn destination_of(server: S, clock: Arc<dyn Clock>) -> Result<Option<DestinationId>> {
        let store = Self::over(server, &DestinationId::from(""), clock).await?;
        marker::found(&store).await
    }

    async fn over(server: S, destination: &DestinationId, clock: Arc<dyn Clock>) -> Result<Self> {
        let features = server.features().await?;
        let inner = Inner {
            server: Arc::new(server),
            destination: destination.clone(),
            clock,
            features: OnceLock::from(features),
            anchored: Mutex::default(),
            copying: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// What the server offered when the store was opened.
    #[must_use]
    pub fn features(&self) -> Features {
        self.0.features.get().copied().unwrap_or_default()
    }

    /// The destination that the folder is the home of.
    #[must_use]
    pub fn destination(&self) -> &DestinationId {
        &self.0.destination
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        self.0.server.place()
    }

    /// Removes what uploads left in `.tmp/` that broke off longer ago than this; the number of bytes that it held.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn sweep(&self, older_than: Duration) -> Result<u64> {
        staging::sweep(self, older_than).await
    }

    fn server(&self) -> &S {
        &self.0.server
    }

    fn anchored(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.anchored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<S: Server> Keep for RemoteStore<S> {
    fn durable(&self) -> bool {
        self.features().flushes
    }

    fn put_if_absent(&self) -> bool {
        self.features().exclusive
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        Self::sweep(self, older_than).await
    }

    async fn settle(&self, at: &Path) -> object_store::Result<()> {
        self.flush_way(at.as_ref()).await
    }

    async fn probe(&self, health: &mut Health) {
        let features = self.features();
        if features.flushes {
            let detail = "the server flushes files and folders: what is confirmed survives a power cut there";
            health.push("durability", true, detail);
        } else {
            health.push("durability", true, features.no_flush);
        }
        if !features.exclusive {
            health.push("two writers", true, features.no_exclusive);
        }
        if !features.replaces {
            let detail = "the server cannot replace a file in one step: backups are stored, and cannot be sealed anew";
            health.push("replace", true, detail);
        }
        if let Some(warning) = features.warning {
            health.push("encryption", true, warning);
        }
        match self.server().free_space().await {
            Ok(Some(free)) => {
                health.push("free space", free >= LITTLE_SPACE, format!("{} MiB are free", free / 1024 / 1024));
            }
            Ok(None) => health.push("free space", true, "the server does not tell"),
            Err(e) => health.push("free space", false, e.to_record().message),
        }
    }
}
