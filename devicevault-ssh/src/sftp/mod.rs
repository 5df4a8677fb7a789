//! Files over the SSH file transfer protocol.
//!
//! [`SftpSession`] knows what the protocol's version 3 and OpenSSH's extensions to it can do; `exchange` keeps many
//! requests in flight over one channel; `wire` reads and writes packets.

mod attributes;
mod error;
mod exchange;
mod glob;
mod read;
mod session;
mod wire;
mod write;

pub use attributes::{Attributes, FileType};
pub use error::SftpError;
pub use glob::{Match, Matches, Pattern};
pub use read::{ReadOptions, SftpReader};
pub use session::{DirEntry, SftpSession, Space};
pub use write::{CreateOptions, SftpWriter};
