//! A file from a device: `scp -f`.

use bytes::Bytes;

use super::channel::{ScpChannel, YES};
use super::error::ScpError;
use crate::Connection;

/// A file that a device's `scp` sends.
///
/// The device has said how large it is, and sends nothing before [`next`](Self::next) is called. Dropping this closes
/// the channel, not the connection.
#[derive(Debug)]
pub struct ScpReader {
    channel: ScpChannel,
    mode: u32,
    size: u64,
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
    /// Asks a device's `scp` for a file, by the protocol from before SFTP: OpenSSH's `scp -O`.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `NotAFile`, `Refused` as the device's words tell; `Unsupported` when it has no
    /// `scp`; `Protocol` when something else answers.
    pub async fn scp_read(&self, path: &str) -> Result<ScpReader, ScpError> {
        let mut channel = ScpChannel::open(self, "-f", path).await?;
        channel.send(YES).await?;
        match channel.announcement().await? {
            Some((mode, size)) => Ok(ScpReader { channel, mode, size, left: size, state: Progress::Announced }),
            None => Err(channel.ended_early().await),
        }
    }
}

impl ScpReader {
    /// Size in bytes, as the device announced it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Permissions, as the device announced them.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Exit status of the device's `scp`, where it told one before it closed. Known after the end.
    #[must_use]
    pub fn status(&self) -> Option<u32> {
        self.channel.status()
    }

    /// The next bytes. `None` means that the file is whole: exactly as many bytes came as were announced, and the
    /// device said that it read them without fault. (A file that grew while it was read is sent as long as it was at
    /// the beginning: the protocol does not tell.)
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
                    let got = self.size - self.left;
                    let why = format!("the device announced {} bytes and ended after {got}", self.size);
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
