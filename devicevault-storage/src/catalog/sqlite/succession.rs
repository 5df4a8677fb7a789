//! A catalog that another file is to take the place of: nothing that somebody writes into it meanwhile may be lost.

use std::fmt;
use std::fs::{File, TryLockError};
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::SqliteCatalog;
use super::fault::Fault;
use super::file::{Place, at_path, lock_file};
use super::open::{self, POLL};

const OPERATION: &str = "set catalog aside";

/// Notices whether others write into a catalog; keeps nobody from it.
pub struct CatalogWatch {
    /// What others commit changes the number that it is told; what it is told by one connection alone can be compared.
    connection: SqliteConnection,
    version: i64,
}

impl fmt::Debug for CatalogWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogWatch").field("version", &self.version).finish_non_exhaustive()
    }
}

impl CatalogWatch {
    async fn is_unchanged(&mut self) -> sqlx::Result<bool> {
        Ok(version(&mut self.connection).await? == self.version)
    }
}

/// A catalog that was closed, and that nobody can open until this is dropped.
#[derive(Debug)]
pub struct SetAside {
    _opening: File,
}

impl SqliteCatalog {
    /// Begins to notice what others write.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn watch(&self) -> Result<CatalogWatch> {
        let begun = async {
            let mut connection = open::reader_options(&Place { catalog: self.path.clone() }).connect().await?;
            let version = version(&mut connection).await?;
            Ok(CatalogWatch { connection, version })
        };
        begun.await.map_err(|e: sqlx::Error| Fault::from(e).tell(OPERATION, &self.path))
    }

    /// Closes the catalog for good, so that another file can take its name: nothing was written into it since the watch
    /// began, and nobody else has it open. Others who have are waited for as long as `patience`.
    ///
    /// # Errors
    /// `Conflict` where something was written, or where others keep it open: then it stays open here, too.
    pub async fn set_aside(&self, mut watch: CatalogWatch, patience: Duration) -> Result<SetAside> {
        let place = Place { catalog: self.path.clone() };
        let path = place.folder().join("open.lock");
        let told = |e| at_path(OPERATION, &path, e);
        let opening = async {
            loop {
                // Let go of between two looks: whoever only wants to read is not kept waiting.
                let opening = lock_file(&path).map_err(told)?;
                let alone = match opening.try_lock() {
                    Ok(()) => self.context.instance().is_alone().map_err(told)?,
                    Err(TryLockError::WouldBlock) => false,
                    Err(TryLockError::Error(e)) => return Err(told(e)),
                };
                if !watch.is_unchanged().await.map_err(|e| Fault::from(e).tell(OPERATION, &self.path))? {
                    return Err(self.refused("something was written into it meanwhile"));
                }
                if alone {
                    return Ok(opening);
                }
                drop(opening);
                tokio::time::sleep(POLL).await;
            }
        };
        let waited = tokio::time::timeout(patience, opening).await;
        let opening = waited.map_err(|_| self.refused("another command has it open"))??;
        // Nothing was written by it: what it answers is no news.
        let _ = watch.connection.close().await;
        self.close().await;
        Ok(SetAside { _opening: opening })
    }

    fn refused(&self, why: &'static str) -> Error {
        Error::new(ErrorKind::Conflict, OPERATION, why)
            .with("catalog", self.path.display())
            .hint("nothing was changed; run the same command again when nothing else is under way")
    }
}

async fn version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await
}
