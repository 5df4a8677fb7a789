//! SSH for network devices: connect, authenticate, check host keys, open channels.
//!
//! - [`connect`] keeps a bound on each step, offers each credential once, and explains what failed: a refused login,
//!   a changed host key with both fingerprints, a negotiation without common algorithm with both lists and the
//!   [`Profile`] that would work.
//! - A [`Route`] leads over jump hosts ([`Hop`]), each with a login, a profile and a host key of its own, or by a
//!   [`ProxyCommand`]. [`HopLogins`] keep what a jump host refused from being tried for every server behind it.
//! - Host keys are remembered by a [`HostKeyStore`]: a [`KnownHostsFile`] that OpenSSH can share, or memory.
//!   [`HostKeyPolicy`] says how an unknown one is met; a changed one is always an error.
//! - A [`Connection`] opens a [`Shell`] on a terminal, or runs a command by [`Exec`]; both move bytes as they come.
//! - Files are read and written by an [`SftpSession`], many requests in flight, or where a device has no SFTP by
//!   [`Connection::scp_read`] and [`Connection::scp_write`].
//! - A [`KeyAgent`] lets a program that takes no key but in a file use one that is in memory alone.
//!
//! This crate is the only one that names russh. It knows nothing of prompts, vendors or backups, and no type of russh
//! stands in its interface.

mod auth;
mod channel;
mod connection;
mod credentials;
mod error;
mod host_key;
mod kexinit;
mod overhear;
mod profile;
mod route;
mod scp;
mod sftp;

pub use auth::{Asked, KeyAgent, asked, private_key_is_of_hardware, private_key_opens};
pub use channel::{Exec, Output, PtySize, Shell};
pub use connection::{Connection, Endpoint, Gate, Options, connect, connect_by, connect_over};
pub use credentials::{Agent, Credentials};
pub use error::{Cause, HostKeyFault, Result, SshError};
pub use host_key::{
    Forgotten, HostKey, HostKeyPolicy, HostKeyStore, HostKeysInMemory, Imported, KnownHostsFile, Recorded, RefusedLine,
};
pub use profile::{Algorithms, Profile};
pub use route::{Environment, Hop, HopLogins, ProxyCommand, Route, Tunnel};
pub use scp::{ScpError, ScpReader, ScpWriter};
pub use sftp::{
    Attributes, CreateOptions, DirEntry, FileType, Match, Matches, Pattern, ReadOptions, SftpError, SftpReader,
    SftpSession, SftpWriter, Space,
};

/// The port of SSH where none is named (RFC 4251).
pub const SSH_PORT: u16 = 22;
