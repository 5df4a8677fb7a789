//! What needs files, processes or servers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod known_hosts;
mod server;
mod sshd;
mod strangers;
