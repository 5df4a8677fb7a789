//! Sealed objects: compressed, encrypted, and bound to a key, in the container that `docs/format.md` specifies.
//!
//! [`seal`] turns a stream into a container; [`Sealed`] opens one, whole or in part. Keys are found through a
//! [`Keyring`]. Plaintext leaves a reader only after the tag of its segment was checked.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used))]

mod container;
mod crypto;
mod frames;
mod header;
pub mod keys;
mod secrets;
mod segments;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

#[cfg(feature = "spool")]
pub(crate) use header::Codec;
#[cfg(feature = "spool")]
pub(crate) use segments::Sealer;

pub use container::{SealOptions, Sealed, open_record, seal, seal_record, sealed_length};
pub use crypto::Key;
pub(crate) use crypto::random;
pub use header::{HEADER_LEN, Header};
pub use keys::{EpochId, EpochObject, Keyring};
pub use secrets::SealedSecrets;
