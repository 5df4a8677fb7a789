//! Text backups as commits in a bare repository: what people read with `git log -p`.
//!
//! # What lies where
//! - One file per device and artefact, `[site/]device/artefact.ext`, on one branch. Names are encoded as
//!   [`names::component`](crate::names::component) does.
//! - A **suspect** text goes to `artefact+suspect.ext`, which has a history of its own: `git log -p` of the file itself
//!   shows good versions and nothing else, and the newest good one stays what the branch holds.
//! - A destination keeps one view. Given several of one artefact, all are kept and read back, as successive versions of
//!   one file.
//! - The commit's subject is [`Entry::summary`](devicevault_core::Entry::summary); its author time is when the artefact
//!   was taken. Two trailers end the message, `DeviceVault-Path` and `DeviceVault-Manifest` (JSON on one line): enough
//!   to rebuild a catalog. With [`CommitPer::Batch`], there are two for each file.
//! - A reference reads `branch:path@commit`. [`GitRepositories`] spreads devices over several repositories.
//! - `devicevault/` in the repository's folder holds locks, which folders of the tree are ours, and an index of the
//!   history that is made again when it is lost. Git leaves that folder alone.
//!
//! # What holds
//! - A [`store`](devicevault_core::StorageBackend::store) is one pack, flushed with its name, and then one move of the
//!   branch, flushed too. Killed at any moment, the repository opens, `git fsck` finds nothing but objects that nothing
//!   leads to, and the next store commits.
//! - Several processes may store into one repository; a lock that dies with its process keeps them apart. Another
//!   program may commit to the branch too: a batch is built again on top of what it finds.
//! - Every store adds a pack. Packs of like size are merged in the background when there are many, and
//!   [`maintain`](devicevault_core::StorageBackend::maintain) merges all. Readers are not disturbed, `git` neither.
//! - Nothing is deleted: [`Capability::delete`](devicevault_core::storage::Capability::delete) is `false`. Bodies above
//!   [`GitOptions::max_body`] are refused, because reading a blob holds all of it in memory, for a range too.
//!
//! ```
//! use std::sync::Arc;
//! use devicevault_core::{StorageBackend, SystemClock};
//! use devicevault_storage::git::{GitBackend, GitOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), devicevault_core::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("configs.git");
//! let options = GitOptions::default().with_author("Backup", "noc@example.net");
//! let backend = GitBackend::open(path, options, Arc::new(SystemClock)).await?;
//! assert!(backend.check().await?.is_good());
//! # Ok(())
//! # }
//! ```

mod backend;
mod branch;
mod changes;
mod control;
mod delta;
mod fault;
mod folder;
mod foreign;
mod fresh;
mod handles;
mod health;
mod history;
mod index;
mod kinship;
mod layout;
mod line;
mod listing;
mod lock;
mod many;
mod mend;
mod merge;
mod message;
mod moves;
mod objects;
mod options;
mod own;
mod pack;
mod packfile;
mod path;
mod purge;
mod push;
mod remote;
mod repack;
mod shown;
mod sightings;
mod store;
mod template;
mod tip;
mod tree;
mod unpack;
mod verify;
mod whole;
mod write;

pub use backend::GitBackend;
pub use foreign::{ForeignCommit, ForeignFile, ForeignHistory};
pub use many::GitRepositories;
pub use options::{CommitPer, GitOptions};
pub use purge::{Purge, PurgeReport, RemoveVersion, RewriteFile};
pub use push::PushReport;
pub use remote::{PushWhen, Remote, RemoteAccess, RemoteLogin, RemoteState, RemoteUrl};
pub use template::RepositoryTemplate;
pub use whole::{MendReport, Supply};
