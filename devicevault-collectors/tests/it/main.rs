//! The collector against devices in memory and over SSH on loopback.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod conformance;
mod platforms;
mod replayed;
mod simulated;
mod texts;
