//! The catalog in one SQLite file.

mod check;
pub(super) mod context;
pub(super) mod fault;
mod file;
mod instance;
mod migrate;
mod open;
mod succession;
mod traits;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::{Clock, ErrorKind, Result, SystemClock};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqlitePoolOptions};

use self::context::Context;
use self::fault::Fault;
use self::instance::Instance;
pub use self::succession::{CatalogWatch, SetAside};
use self::writer::Writer;
use super::change::Change;
use super::runs::CloseInterrupted;

/// How a catalog is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// Tells when leases end.
    pub clock: Arc<dyn Clock>,
    /// How many questions are answered at the same time; at least one.
    pub readers: u32,
    /// How long to wait for another process that is writing, opening or migrating the file.
    pub busy_timeout: Duration,
}

impl Default for SqliteOptions {
    /// The machine's clock, 4 readers, 10 seconds.
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), readers: 4, busy_timeout: Duration::from_secs(10) }
    }
}

impl SqliteOptions {
    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how many questions are answered at the same time.
    #[must_use]
    pub fn with_readers(mut self, readers: u32) -> Self {
        self.readers = readers;
        self
    }

    /// Sets how long to wait for another process.
    #[must_use]
    pub fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }
}

/// The catalog and the inventory in one SQLite file.
///
/// Beside the file stands a folder of its name and `.d`: lock files of the processes that have it open, and the copies
/// made before migrations. Both are for the owner alone. The file has to be on a local file system: write-ahead logs
/// do not work across machines. A process that has it open must not open the file in any other way: on closing it, the
/// system would let go of the locks on it.
///
/// It uses the runtime that it was opened on, until it is closed or dropped.
///
/// ```
/// use devicevault_core::{Catalog, DeviceId, catalog::Query, catalog::Page};
/// use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> devicevault_core::Result<()> {
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let path = folder.path().join("catalog.db");
/// let catalog = SqliteCatalog::create(&path, SqliteOptions::default()).await?;
/// let lease = catalog.lease(&DeviceId::from("core-rtr1"), std::time::Duration::from_secs(60)).await?;
/// assert!(lease.is_some());
/// assert!(catalog.find(&Query::default(), Page::first(10)).await?.items.is_empty());
/// catalog.close().await;
/// # Ok(())
/// # }
/// ```
pub struct SqliteCatalog {
    path: PathBuf,
    readers: SqlitePool,
    writer: Writer,
    context: Arc<Context>,
}

impl fmt::Debug for SqliteCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCatalog").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteCatalog {
    /// Opens a catalog that is there.
    ///
    /// Runs of processes that died are closed, and an older schema is migrated after a copy of the file.
    ///
    /// # Errors
    /// `NotFound` when there is no file, `Corrupt` when it is damaged or none of SQLite's, `Config` when it is another
    /// program's, `Unsupported` when only newer releases read it, `PermissionDenied` when it or its folder cannot be
    /// written, `Unavailable` when another process keeps it longer than the busy timeout.
    pub async fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self> {
        Self::start(path.as_ref(), false, options).await
    }

    /// Opens a catalog, and makes it first where there is none, with the folders above it.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for `NotFound`; `StorageFull` when there is no space for it.
    pub async fn create(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self> {
        Self::start(path.as_ref(), true, options).await
    }

    async fn start(path: &Path, create: bool, options: SqliteOptions) -> Result<Self> {
        let opened = open::open(path, create, &options).await?;
        let path = opened.place.catalog.clone();
        let instance = Instance::register(&opened.place.instances())
            .map_err(|e| file::at_path("register with catalog", &path, e))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(open::reader_options(&opened.place));
        let context = Arc::new(Context::new(options.clock, instance));
        let writer = Writer::start(opened.writer, opened.options, &context);
        let catalog = Self { path, readers, writer, context };
        catalog.close_interrupted().await?;
        Ok(catalog)
    }

    /// Closes the runs of processes that have ended. Where there is no space for that, they are closed another time: who
    /// wants to read must not be kept from it.
    async fn close_interrupted(&self) -> Result<()> {
        match self.make(CloseInterrupted).await {
            // Nothing names the dead any more. A file that stays is tried again next time.
            Ok(_) => {
                if let Err(e) = self.context.instance().tidy() {
                    tracing::warn!(catalog = %self.path.display(), error = %e, "lock files of dead processes stay");
                }
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::StorageFull => {
                tracing::warn!(catalog = %self.path.display(), error = %e, "runs of dead processes stay open");
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// The file, by its true name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the changes that are under way, folds the log into the file, and lets go of it. Whatever is asked
    /// afterwards is `Unavailable`. Dropping the catalog does the same without waiting.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn make<C: Change>(&self, change: C) -> Result<C::Output> {
        self.writer.make(change).await
    }

    /// Asks, on one of the readers: what is read is of one moment.
    async fn read<T>(
        &self,
        operation: &'static str,
        ask: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault>,
    ) -> Result<T> {
        let asked = async {
            let mut tx = self.readers.begin().await?;
            let answer = ask(&mut tx).await?;
            tx.rollback().await?;
            Ok(answer)
        };
        asked.await.map_err(|e: Fault| e.tell(operation, &self.path))
    }
}
