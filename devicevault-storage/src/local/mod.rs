//! A folder as an [`ObjectStore`](object_store::ObjectStore), made for backups.
//!
//! # What is promised
//! - **Atomic.** An object is there whole or not at all: it is written in `.tmp/`, which no listing shows, flushed, and
//!   only then given its name. [`PutMode::Create`](object_store::PutMode) never replaces what is there, between
//!   threads, processes and hosts.
//! - **Durable.** When a call returns, the bytes, the name and every folder on the way to it have been flushed; a
//!   deletion too. [`LocalStore::put_many`] does so for many objects in one step: write all, flush all, name all, flush
//!   each folder once.
//! - **Confined.** Paths are resolved beneath the folder, and symbolic links beneath it are refused, not followed
//!   (`openat2(2)` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`; elsewhere component by component with
//!   `O_NOFOLLOW`). The folder itself may be reached through a link.
//! - **Private.** Files are 0600, folders 0700.
//! - **The right folder.** A marker file names the destination. Where it is absent, as in the mount point of a share
//!   that is not mounted, or names another, [`LocalStore::open`] refuses.
//! - **Tidy.** What a process that died left in `.tmp/` is removed by the next one that opens the folder. Live
//!   processes hold a file lock and are left alone.
//!
//! Dropping a future leaves each object either stored or absent.

mod get;
mod list;
mod marker;
mod place;
mod remove;
mod root;
mod staging;
mod store;
mod upload;

use std::collections::HashMap;
use std::path::{Path as FolderPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use devicevault_core::{DestinationId, Error, ErrorKind, Result};

pub use place::{Content, Placement};
pub use staging::{StagedFile, StagedWriter};

use crate::fault;
use root::Root;
use staging::Area;

/// A folder that keeps objects; see the [module](self) for what is promised. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: Arc<Root>,
    /// Where this store writes before it names; made when it is first needed, so that reading needs no permission to
    /// write.
    area: Arc<Mutex<Option<Arc<Area>>>>,
    /// Folders that are known to be flushed into those above them, by their inode.
    anchored: Arc<Mutex<HashMap<String, u64>>>,
    destination: DestinationId,
}

impl LocalStore {
    /// Makes the folder the home of a destination: creates it where it is missing, and the marker in it. Does nothing
    /// more than [`open`](Self::open) where it is that already.
    ///
    /// # Errors
    /// `Conflict` when the folder belongs to another destination; what the file system refuses.
    pub async fn init(folder: impl Into<PathBuf>, destination: &DestinationId) -> Result<Self> {
        let (folder, destination) = (folder.into(), destination.clone());
        blocking(move || {
            let made = std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
                .create(&folder);
            made.map_err(|e| fault::of_io("create destination folder", folder.display(), e))?;
            let store = Self::at(&folder, &destination)?;
            marker::create(&store)?;
            store.sweep_now();
            Ok(store)
        })
        .await?
    }

    /// Opens a folder that [`init`](Self::init) has made.
    ///
    /// # Errors
    /// `Unavailable` when the folder or its marker is not there, `Conflict` when it belongs to another destination.
    pub async fn open(folder: impl Into<PathBuf>, destination: &DestinationId) -> Result<Self> {
        let (folder, destination) = (folder.into(), destination.clone());
        blocking(move || {
            let store = Self::at(&folder, &destination)?;
            marker::check(&store)?;
            store.sweep_now();
            Ok(store)
        })
        .await?
    }

    /// Opens a folder as it lies there, to read what it holds: nothing is looked for that says whose it is.
    /// [`marked`](Self::marked) tells it.
    ///
    /// # Errors
    /// `NotFound` when the folder is not there.
    pub async fn unmarked(folder: impl Into<PathBuf>, destination: &DestinationId) -> Result<Self> {
        let (folder, destination) = (folder.into(), destination.clone());
        let opened = move || {
            Self::at(&folder, &destination).map_err(|e| match folder.try_exists() {
                Ok(false) => e.as_kind(ErrorKind::NotFound),
                _ => e,
            })
        };
        blocking(opened).await?
    }

    /// The destination that the folder's marker names now; `None` where there is none.
    ///
    /// # Errors
    /// `Corrupt` when its marker is damaged.
    pub async fn marked(&self) -> Result<Option<DestinationId>> {
        let store = self.clone();
        blocking(move || marker::found(&store)).await?
    }

    /// The destination that a folder is the home of; `None` where it is none's.
    ///
    /// # Errors
    /// `Unavailable` when the folder is not there, `Corrupt` when its marker is damaged.
    pub async fn destination_of(folder: impl Into<PathBuf>) -> Result<Option<DestinationId>> {
        let folder = folder.into();
        // The marker is read as it is: which destination is looked for does not matter.
        blocking(move || marker::found(&Self::at(&folder, &DestinationId::from(""))?)).await?
    }

    /// Removes what dead processes left behind in `.tmp/`; the number of bytes that it held.
    ///
    /// # Errors
    /// What the file system refuses.
    pub async fn sweep(&self) -> Result<u64> {
        let store = self.clone();
        let swept = blocking(move || staging::sweep(&store.root)).await?;
        swept.map_err(|e| fault::of_io("remove stale staging files", self.folder().display(), e))
    }

    /// Bytes that an unprivileged user can still write to the file system.
    ///
    /// # Errors
    /// What the file system refuses.
    pub async fn free_space(&self) -> Result<u64> {
        let root = self.root.clone();
        let free = blocking(move || root.free_space()).await?;
        free.map_err(|e| fault::of_io("ask for free space", self.folder().display(), e))
    }

    /// Whether the file system flushes folders: without that, a new name may not survive a power cut.
    ///
    /// # Errors
    /// What the file system refuses.
    pub async fn flushes_folders(&self) -> Result<bool> {
        let root = self.root.clone();
        let flushed = blocking(move || root.flush_dir("")).await?;
        flushed.map_err(|e| fault::of_io("flush folder", self.folder().display(), e))
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &FolderPath {
        self.root.path()
    }

    /// The destination that it is the home of.
    #[must_use]
    pub fn destination(&self) -> &DestinationId {
        &self.destination
    }

    fn at(folder: &FolderPath, destination: &DestinationId) -> Result<Self> {
        let root = Root::open(folder).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new(ErrorKind::Unavailable, "open destination folder", "the folder is not there")
                    .with("path", folder.display())
                    .hint("mount the share that holds it, or make it a destination first")
            }
            _ => fault::of_io("open destination folder", folder.display(), e),
        })?;
        Ok(Self {
            root: Arc::new(root),
            area: Arc::default(),
            anchored: Arc::default(),
            destination: destination.clone(),
        })
    }

    /// The staging area of this store, made on first use.
    fn area(&self) -> std::io::Result<Arc<Area>> {
        let mut area = self.area.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = &*area
            && there.is_there()
        {
            return Ok(there.clone());
        }
        let made = Arc::new(Area::create(&self.root)?);
        *area = Some(made.clone());
        Ok(made)
    }

    /// A folder that cannot be tidied can still be read.
    fn sweep_now(&self) {
        if let Err(e) = staging::sweep(&self.root) {
            tracing::debug!(folder = %self.folder().display(), error = %e, "stale staging files stay");
        }
    }
}

/// Runs file operations where they may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let lost = |e| Error::new(ErrorKind::Internal, "access folder", "the task that did it was lost").because(e);
    tokio::task::spawn_blocking(work).await.map_err(lost)
}
