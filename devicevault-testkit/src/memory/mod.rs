//! Implementations that keep everything in memory.

mod backend;

pub use backend::MemoryBackend;
