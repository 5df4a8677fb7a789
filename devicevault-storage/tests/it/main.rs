//! Tests of the storage crate from outside.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails by it, and tells its figures"
)]

#[cfg(feature = "sqlite")]
mod catalog;
#[cfg(feature = "git")]
mod git;
#[cfg(all(feature = "plain", unix))]
mod local;
#[cfg(all(feature = "cloud", unix))]
mod objects;
#[cfg(all(feature = "plain", unix))]
mod plain;
#[cfg(all(any(feature = "sftp", feature = "ftp"), unix))]
mod remote;
#[cfg(all(feature = "git", feature = "spool", feature = "sqlite", target_os = "linux"))]
mod syscalls;
#[cfg(all(feature = "pkcs11", feature = "plain", unix))]
mod tokens;
