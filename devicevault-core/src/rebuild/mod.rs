//! A catalog out of what destinations hold: manifests and records of sightings.
//!
//! What comes back: backups, copies, validity, what was pinned and accepted, and the devices as far as their manifests
//! tell. What does not: runs, the logins of devices, policies, credentials, and when a copy was verified.
//!
//! Manifests come from stores that somebody may have written to. Each is checked before it is believed; what is refused
//! is told with its reason, and keeps nothing else from coming back. Where a sealed place knows a device or a version, what
//! others say of it decides nothing: neither what the device is, nor which version is the latest.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod assemble;
mod believed;
mod check;
mod gather;
mod named;
mod plausible;
mod unrecorded;

pub use assemble::{Rebuilt, Returned, Written};
pub use check::{Checked, Stray, check};
pub use gather::{Gathered, Refused};
pub use named::{Meant, Named};
pub use unrecorded::{Unrecorded, unrecorded};
