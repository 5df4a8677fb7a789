//! The collector against devices in memory and over SSH on loopback.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod conformance;
mod ends;
mod files;
mod hops;
mod messages;
mod misbehaving;
mod names;
mod platforms;
#[path = "../../../devicevault-ssh/tests/it/relay.rs"]
mod relay;
mod replayed;
mod secrets;
#[path = "../../../devicevault-ssh/tests/it/server.rs"]
mod server;
mod sessions;
mod simulated;
mod telnet;
mod texts;
mod tools;
mod traps;
mod unreadable;
mod whole;
