//! Keys at rest: key-encryption keys that people hold, and the epoch keys that they wrap.
//!
//! Who holds a key-encryption key implements [`KeyProvider`](devicevault_core::KeyProvider): [`Kek`] has its bytes,
//! [`PassphraseKek`] makes them of a passphrase, [`key_file`] and [`key_command`] fetch them when they are needed. A
//! plugin's provider goes into a [`Keyring`] beside these.

mod deferred;
mod epoch;
mod file;
#[cfg(feature = "plain")]
mod folder;
mod keyring;
mod kit;
mod passphrase;
mod raw;

pub use deferred::Deferred;
pub use epoch::{EpochId, EpochObject};
pub use file::{FileAccess, key_command, key_file, read_key_file};
#[cfg(feature = "plain")]
pub use folder::KeyFolder;
pub use keyring::Keyring;
pub use kit::{key_of_text, kit_lines};
pub use passphrase::{Passphrase, PassphraseKek};
pub use raw::Kek;

use super::crypto::Key;
