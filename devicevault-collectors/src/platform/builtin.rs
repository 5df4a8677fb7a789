//! The platforms that this program brings along: every file of `platforms/`.

/// Their texts, by file name; `build.rs` writes the list.
pub(super) const FILES: &[&str] = include!(concat!(env!("OUT_DIR"), "/platforms.rs"));
