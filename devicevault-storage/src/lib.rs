//! How DeviceVault keeps bytes and records.
//!
//! Two layers keep backups. *Where* bytes live is an [`object_store::ObjectStore`](https://docs.rs/object_store): a
//! folder ([`local`]), what a URL names ([`objects`]), or any other store that implements it. *How* they are laid out there is a
//! [`StorageBackend`](devicevault_core::StorageBackend): [`plain`] is a tree that a person can browse, with a JSON
//! manifest beside every backup; `git` keeps texts as commits in a bare repository and stands alone. `catalog` is the
//! index of runs, backups and copies in one SQLite file.
//!
//! Everything is off by default; the features `plain`, `git` and `sqlite` turn on what their names say.

#[cfg(feature = "sqlite")]
pub mod catalog;
#[cfg(feature = "plain")]
pub mod codec;
#[cfg(feature = "plain")]
mod fault;
#[cfg(feature = "ftp")]
pub mod ftp;
#[cfg(feature = "git")]
pub mod git;
#[cfg(all(feature = "plain", unix))]
pub mod local;
#[cfg(feature = "plain")]
mod marker;
pub mod names;
#[cfg(feature = "plain")]
pub mod objects;
#[cfg(feature = "plain")]
pub mod plain;
#[cfg(any(feature = "git", feature = "seal", feature = "sqlite"))]
pub mod regular;
#[cfg(any(feature = "sftp", feature = "ftp"))]
pub mod remote;
#[cfg(feature = "seal")]
pub mod seal;
#[cfg(feature = "sftp")]
pub mod sftp;
#[cfg(all(feature = "plain", unix))]
pub mod space;
#[cfg(feature = "spool")]
pub mod spool;
