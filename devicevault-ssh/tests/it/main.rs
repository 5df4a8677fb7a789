//! What needs files, processes or servers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod expired;
mod files;
mod identities;
mod known_hosts;
mod legacy;
mod relay;
mod routes;
mod scp_hostile;
mod scripted;
mod server;
mod sftp_hostile;
mod sshd;
mod strangers;
