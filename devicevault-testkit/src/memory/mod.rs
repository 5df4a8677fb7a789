//! Implementations that keep everything in memory.

mod backend;
mod catalog;
mod inventory;
mod paging;
mod records;

pub use backend::MemoryBackend;
pub use catalog::MemoryCatalog;
pub use inventory::MemoryInventory;
