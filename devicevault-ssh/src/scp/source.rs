//! A file from a device: `scp -f`.

use bytes::Bytes;

use super::channel::{Announced, ScpChannel, YES};
use super::error::ScpError;
use crate::Connection;

/// A file that a device's `scp` sends.
///
/// The device has said how large it is, and sends nothing before [`next`](Self::next) is called. Dropping this closes
/// the channel, not the connection.
#[derive(Debug)]
pub struct ScpReader {
    channel: ScpChannel,
    announced: Announced,
    left: u64,
    state: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Announced,
    Receiving,
    Whole,
    Failed,
}

impl Connection {
    /// Asks a device's `scp` for a file, by the protocol from before SFTP: OpenSSH's `scp -O`. Servers that run the program
    /// `scp` are asked for its times, too; what others make of that option is not known.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `NotAFile`, `Refused` as the device's words tell; `Unsupported` when it has no
    /// `scp`; `Protocol` when something else answers.
    pub async fn scp_read(&self, path: &str) -> Result<ScpReader, ScpError> {
        /// What their servers call themselves.
        const PROGRAMS: [&str; 2] = ["OpenSSH", "dropbear"];
        let is_program = |version: &str| PROGRAMS.iter().any(|name| version.contains(name));
        let options = if self.version().is_some_and(is_program) { "-p -f" } else { "-f" };
        let mut channel = ScpChannel::open(self, options, path).await?;
        channel.send(YES).await?;
        match channel.announcement().await? {
            Some(announced) => Ok(ScpReader { channel, announced, left: announced.size, state: Progress::Announced }),
            None => Err(channel.ended_early().await),
        }
    }
}

impl ScpReader {
    /// Size in bytes, as the device announced it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.announced.size
    }

    /// When the file was changed last, in seconds since 1970, where the device said so. A file for which this, or the
    /// size, is another one when it is asked for again was written to or replaced since: the protocol itself does not tell
    /// of a file that changes while it is read.
    #[must_use]
    pub fn modified(&self) -> Option<u64> {
        self.announced.modified
    }

    /// Permissions, as the device announced them.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.announced.mode
    }

    /// Exit status of the device's `scp`, where it told one before it closed. Known after the end.
    #[must_use]
    pub fn status(&self) -> Option<u32> {
        self.channel.status()
    }

    /// The next bytes. `None` means that the file is whole: exactly as many bytes came as were announced, and the
    /// device said that it read them without fault. A file that grew while it was read is sent as long as it was at the
    /// beginning: see [`modified`](Self::modified).
    ///
    /// Cancel safe once the first bytes have come.
    ///
    /// # Errors
    /// `Incomplete` when the device tells of a fault after the content, or ends before; `Ssh` when the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ScpError> {
        let outcome = self.step().await;
        if outcome.is_err() {
            self.state = Progress::Failed;
        }
        outcome
    }

    async fn step(&mut self) -> Result<Option<Bytes>, ScpError> {
        match self.state {
            Progress::Announced => {
                self.channel.send(YES).await?;
                self.state = Progress::Receiving;
            }
            Progress::Receiving => {}
            Progress::Whole => return Ok(None),
            Progress::Failed => return Err(ScpError::incomplete(&self.channel.path, "reading failed before")),
        }
        if self.left > 0 {
            return match self.channel.some(self.left).await? {
                Some(data) => {
                    self.left -= data.len() as u64;
                    Ok(Some(data))
                }
                None => {
                    let size = self.announced.size;
                    let why = format!("the device announced {size} bytes and ended after {}", size - self.left);
                    Err(ScpError::incomplete(&self.channel.path, why))
                }
            };
        }
        match self.channel.byte().await? {
            Some(0) => {}
            Some(1 | 2) => {
                let text = self.channel.line().await?.unwrap_or_default();
                let said = crate::error::shown(&String::from_utf8_lossy(&text));
                return Err(ScpError::incomplete(&self.channel.path, format!("the device says: {said}")));
            }
            Some(_) => return Err(ScpError::incomplete(&self.channel.path, "more came than was announced")),
            None => {
                let why = "the device ended without saying that it read the file without fault";
                return Err(ScpError::incomplete(&self.channel.path, why));
            }
        }
        // It is whole now, whether or not the device waits to hear that we know.
        let _ = self.channel.send(YES).await;
        // A second file would mean that the path names several, and nobody asked for just this one.
        let more = self.channel.finish().await;
        if !more.is_empty() {
            return Err(ScpError::protocol("it goes on after the file", &more));
        }
        self.state = Progress::Whole;
        Ok(None)
    }
}
