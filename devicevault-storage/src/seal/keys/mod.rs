//! Keys at rest: key-encryption keys that people hold, and the epoch keys that they wrap.
//!
//! Who holds a key-encryption key implements [`KeyProvider`](devicevault_core::KeyProvider): [`Kek`] has its bytes,
//! [`PassphraseKek`] makes them of a passphrase, `TokenKek` (feature `pkcs11`) has a token use them, [`key_file`] and [`key_command`] fetch them when they are needed. A
//! plugin's provider goes into a [`Keyring`] beside these.

#[cfg(feature = "plain")]
mod adopt;
mod deferred;
mod epoch;
mod file;
#[cfg(feature = "plain")]
mod folder;
mod keyring;
mod kit;
mod passphrase;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod raw;
#[cfg(feature = "plain")]
mod rewrap;
mod secret_file;

#[cfg(feature = "plain")]
pub use adopt::adopt;
pub use deferred::Deferred;
pub use epoch::{EpochId, EpochObject};
pub use file::{FileAccess, key_command, key_file, read_key_file};
#[cfg(feature = "plain")]
pub use folder::KeyFolder;
#[cfg(feature = "plain")]
pub(crate) use folder::NAMES;
pub use keyring::Keyring;
pub use kit::{key_of_text, kit_lines};
pub use passphrase::{Passphrase, PassphraseKek};
#[cfg(feature = "pkcs11")]
pub use pkcs11::{Canary, TokenKek, TokenOptions, end_tokens};
pub use raw::Kek;
#[cfg(feature = "plain")]
pub use rewrap::{KeyPlaces, Rewrapped, opened_everywhere, rewrap};
pub use secret_file::{SecretFile, read_secret_file};

use super::crypto::Key;
