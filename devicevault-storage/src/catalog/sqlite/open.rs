//! Opens and creates the file, one process at a time.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use devicevault_core::{Clock, Error, ErrorKind, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::SqliteOptions;
use super::fault::Fault;
use super::file::{Place, at_path, create_private, flush_folder, lock_file, private_folder, refuse_empty};
use super::migrate::{self, MIGRATIONS};

/// How often a process looks whether another one has done opening.
pub(super) const POLL: Duration = Duration::from_millis(20);

fn options(place: &Place) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&place.catalog)
        .foreign_keys(true)
        // Sorting and the like leave nothing in a folder that others can read.
        .pragma("temp_store", "MEMORY")
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
}

pub(super) fn reader_options(place: &Place) -> SqliteConnectOptions {
    options(place).read_only(true)
}

/// How the writer connects, at first and again after a fault.
#[derive(Debug, Clone)]
pub(super) struct WriterOptions {
    place: Place,
    busy_timeout: Duration,
    schema: i64,
}

impl WriterOptions {
    pub(super) fn catalog(&self) -> &Path {
        &self.place.catalog
    }

    /// The schema that this release knows.
    pub(super) fn schema(&self) -> i64 {
        self.schema
    }

    pub(super) async fn connect(&self) -> sqlx::Result<SqliteConnection> {
        options(&self.place)
            .busy_timeout(self.busy_timeout)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", "67108864")
            .pragma("cache_size", "-16384")
            .connect()
            .await
    }
}

/// An open file: the writer's connection, and a lock that keeps others from opening it until it is dropped.
pub(super) struct Opened {
    pub(super) place: Place,
    pub(super) writer: SqliteConnection,
    pub(super) options: WriterOptions,
    pub(super) _opening: File,
}

/// Finds, checks, creates if wanted, and migrates the file.
pub(super) async fn open(path: &Path, create: bool, with: &SqliteOptions) -> Result<Opened> {
    let operation = if create { "create catalog" } else { "open catalog" };
    let place = Place::find(path, create, operation)?;
    let told = |e| at_path(operation, &place.catalog, e);
    private_folder(&place.instances()).map_err(told)?;
    let opening = lock(&place, with.busy_timeout, operation).await?;
    if !fs::exists(&place.catalog).map_err(told)? {
        // With `create` only: else it was found above.
        make(&place, &*with.clock).await?;
    }
    refuse_empty(&place, operation)?;
    let schema = migrate::newest(MIGRATIONS);
    // SQLite counts in milliseconds, and has 31 bits for them.
    let busy_timeout = with.busy_timeout.min(Duration::from_millis(i32::MAX as u64));
    let options = WriterOptions { place: place.clone(), busy_timeout, schema };
    let writer = prepare(&options, &*with.clock, operation).await.map_err(|e| e.tell(operation, &place.catalog))?;
    Ok(Opened { place, writer, options, _opening: opening })
}

/// Changing the journal mode cannot wait for others, and of two that migrate one must not: so one opens at a time.
async fn lock(place: &Place, patience: Duration, operation: &'static str) -> Result<File> {
    let path = place.folder().join("open.lock");
    let told = |e| at_path(operation, &path, e);
    let file = lock_file(&path).map_err(told)?;
    let locked = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
                Err(TryLockError::Error(e)) => return Err(told(e)),
            }
        }
    };
    match tokio::time::timeout(patience, locked).await {
        Ok(locked) => locked.map(|()| file),
        Err(_) => {
            let what = "another process is opening or migrating the catalog";
            let e = Error::new(ErrorKind::Unavailable, operation, what).with("catalog", place.catalog.display());
            Err(e.hint("try again when it is done"))
        }
    }
}

async fn prepare(
    options: &WriterOptions,
    clock: &dyn Clock,
    operation: &'static str,
) -> Result<SqliteConnection, Fault> {
    // Nothing is written before it is known that this is a catalog, and one for this release.
    let mut look = self::options(&options.place).busy_timeout(options.busy_timeout).connect().await?;
    let found = migrate::read(&mut look, operation).await?;
    migrate::readable(found, options.schema, operation)?;
    refuse_cut_off(&mut look, &options.place, operation).await?;
    look.close().await?;
    let mut writer = options.connect().await?;
    if found.schema < options.schema {
        migrate::migrate(&mut writer, &options.place, MIGRATIONS, clock).await?;
    }
    Ok(writer)
}

/// SQLite refuses a file that lacks whole pages, and reads what is missing of the last one as zeros.
async fn refuse_cut_off(db: &mut SqliteConnection, place: &Place, operation: &'static str) -> Result<(), Fault> {
    let told = |e| at_path(operation, &place.catalog, e);
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *db).await?;
    let page_size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(db).await?;
    // What was written since may be in the log alone.
    let log = fs::metadata(place.beside("-wal")).map_or(0, |m| m.len());
    let len = fs::metadata(&place.catalog).map_err(told)?.len();
    if log == 0 && len < pages.saturating_mul(page_size).unsigned_abs() {
        let e = Error::new(ErrorKind::Corrupt, operation, "the file is shorter than it says: it was cut off");
        return Err(e.hint("restore the catalog from a copy, or rebuild it from the destinations").into());
    }
    Ok(())
}

/// Makes the file under another name and gives it its own when it is whole: no catalog is ever empty.
async fn make(place: &Place, clock: &dyn Clock) -> Result<()> {
    const OPERATION: &str = "create catalog";
    let unfinished = Place { catalog: place.beside(".new") };
    let told = |e| at_path(OPERATION, &place.catalog, e);
    let remove = |path: PathBuf| match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(told(e)),
        _ => Ok(()),
    };
    // Left by a process that died here.
    remove(unfinished.catalog.clone())?;
    remove(unfinished.beside("-journal"))?;
    let file = create_private(&unfinished.catalog).map_err(told)?;
    let filled = async {
        let mut db = options(&unfinished).synchronous(SqliteSynchronous::Full).connect().await?;
        migrate::migrate(&mut db, &unfinished, MIGRATIONS, clock).await?;
        db.close().await?;
        Ok::<_, Fault>(())
    };
    if let Err(e) = filled.await {
        // The error that is told is why it was not made.
        let _ = remove(unfinished.catalog.clone());
        return Err(e.tell(OPERATION, &place.catalog));
    }
    file.sync_all().map_err(told)?;
    fs::rename(&unfinished.catalog, &place.catalog).map_err(told)?;
    flush_folder(place.catalog.parent().unwrap_or(Path::new("/"))).map_err(told)
}
