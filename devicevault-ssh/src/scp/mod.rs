//! Files by the copy protocol of old: a program `scp` on the device, run over a channel of its own for each file.
//!
//! Many devices know this and no SFTP. It knows no listing, no attributes and no second look, so that less can be said
//! of what came; where there is a choice, [`SftpSession`](crate::SftpSession) is the better one.

mod channel;
mod error;
mod sink;
mod source;
mod wire;

pub use error::ScpError;
pub use sink::ScpWriter;
pub use source::ScpReader;
