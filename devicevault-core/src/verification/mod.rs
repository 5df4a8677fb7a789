//! Whether what was stored is still what was stored: looking at a copy, choosing which to look at, and reading back what
//! was just written. What is damaged is repaired by [`Engine::repair`](crate::Engine::repair).

mod look;
mod read_back;
mod sample;

pub use look::{may_be_looked_at, verify_copy};
pub use read_back::{ON_WRITE, ReadBack, on_write};
pub use sample::{Sample, choose};
