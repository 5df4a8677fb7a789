//! The index of runs, backups and copies, and the inventory, in one SQLite file.
//!
//! [`SqliteCatalog`] implements [`Catalog`](devicevault_core::Catalog) and
//! [`Inventory`](devicevault_core::Inventory). Statements, rows and changes are written in SQL that PostgreSQL takes
//! too (`$1`, `ON CONFLICT … DO UPDATE … WHERE`, row values) and name the database only through `db`; what is SQLite's
//! own stands in `sqlite`: the file, its lock files, its one writer, its migrations.
//!
//! # What is promised
//! - Whatever returned `Ok` is on the disk: write-ahead log, `synchronous = FULL`.
//! - Changes that wait at the same time share one transaction and one flush; each has a savepoint of its own, so that
//!   one that fails takes nobody with it.
//! - Several processes may have the file open. Every open catalog holds a lock file that ends with its process,
//!   however it ends: its leases are free at once, and its runs are closed by the next one that looks.
//! - The file is readable by its owner alone, and holds references to secrets, or secrets that
//!   were sealed before they came here.

mod change;
mod copies;
mod db;
mod devices;
mod lease;
mod named;
mod paging;
mod read;
mod record;
mod rows;
mod runs;
mod select;
mod sqlite;
mod statements;
mod sums;

pub use sqlite::{CatalogWatch, SetAside, SqliteCatalog, SqliteOptions};
