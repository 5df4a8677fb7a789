//! A file to a device: `scp -t`.

use bytes::Bytes;

use super::channel::{ScpChannel, YES};
use super::error::ScpError;
use crate::Connection;

/// A file that a device's `scp` takes.
///
/// Only [`close`](Self::close) says that it arrived whole. Dropping this closes the channel, and what arrived so far may
/// be left at the device.
#[derive(Debug)]
pub struct ScpWriter {
    channel: ScpChannel,
    size: u64,
    left: u64,
}

impl Connection {
    /// Offers a file of this size in bytes, with permissions such as `0o600`, to a device's `scp`.
    ///
    /// # Errors
    /// As [`scp_read`](Self::scp_read).
    pub async fn scp_write(&self, path: &str, size: u64, mode: u32) -> Result<ScpWriter, ScpError> {
        let mut channel = ScpChannel::open(self, "-t", path).await?;
        channel.answer().await?;
        // The other side takes the name only where the path is a folder.
        let name = path.rsplit(['/', ':']).find(|n| !n.is_empty() && *n != "." && *n != "..").unwrap_or("file");
        channel.send(format!("C{:04o} {size} {name}\n", mode & 0o7777)).await?;
        channel.answer().await?;
        Ok(ScpWriter { channel, size, left: size })
    }
}

impl ScpWriter {
    /// Sends bytes. Waits while the device takes no more.
    ///
    /// # Errors
    /// `Incomplete` for more than was offered; `Ssh` when the connection breaks.
    pub async fn write(&mut self, data: Bytes) -> Result<(), ScpError> {
        let length = data.len() as u64;
        if length > self.left {
            let why = format!("{} bytes were offered, and there are more", self.size);
            return Err(ScpError::incomplete(&self.channel.path, why));
        }
        if let Err(lost) = self.channel.send(data).await {
            // It may have said why before it went.
            self.channel.answer().await?;
            return Err(lost);
        }
        self.left -= length;
        Ok(())
    }

    /// Says that this was all, and waits for the device to say that it has it.
    ///
    /// # Errors
    /// `Incomplete` for less than was offered; `Refused`, `PermissionDenied`, … in the device's words.
    pub async fn close(mut self) -> Result<(), ScpError> {
        if self.left > 0 {
            let why = format!("{} bytes were offered, and {} were not given", self.size, self.left);
            return Err(ScpError::incomplete(&self.channel.path, why));
        }
        self.channel.send(YES).await?;
        self.channel.answer().await?;
        self.channel.finish().await;
        match self.channel.status() {
            None | Some(0) => Ok(()),
            Some(status) => {
                let why = format!("the device's scp ended with exit status {status}");
                Err(ScpError::incomplete(&self.channel.path, why))
            }
        }
    }
}
