//! Plugins of somebody else: a collector, a storage backend and a catalog, each in one file, written against nothing but
//! `devicevault-core`.

mod backend;
mod catalog;
mod collector;

pub use backend::Cabinet;
pub use catalog::{Book, Ledger};
pub use collector::Appliance;
