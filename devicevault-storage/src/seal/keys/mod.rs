//! Keys at rest: key-encryption keys that people hold, and the epoch keys that they wrap.

mod epoch;
mod kek;
mod keyring;

pub use epoch::{EpochId, EpochObject, Wrap};
pub use kek::{Kek, KekId, KekKind, Passphrase};
pub use keyring::Keyring;
