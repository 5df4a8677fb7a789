//! What the benchmarks share: how time, processor time, memory and the disk are measured.
#![allow(clippy::unwrap_used, reason = "programs that print figures, and end when they cannot")]

mod measure;

pub use measure::{Cpu, Flushes, cpu_of, median, peak_mib, timed};
