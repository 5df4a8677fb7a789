//! Writing a file with many requests in flight.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::attributes::Attributes;
use super::error::SftpError;
use super::exchange::{Exchange, Pending};
use super::session::{FSYNC, OpenHandle, accepted, unexpected};
use super::wire::{Reply, Request, Status};

/// How a file is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Fail where there is a file of that name; without it, that file is emptied.
    pub exclusive: bool,
    /// Permissions of a new file; the server's own unless set.
    pub permissions: Option<u32>,
}

impl Default for CreateOptions {
    /// Readable by the owner alone; in place of what is there.
    fn default() -> Self {
        Self { exclusive: false, permissions: Some(0o600) }
    }
}

impl CreateOptions {
    /// Fails where there is a file of that name.
    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Sets the permissions of a new file.
    #[must_use]
    pub fn with_permissions(mut self, permissions: u32) -> Self {
        self.permissions = Some(permissions);
        self
    }
}

/// A file that is being written.
///
/// [`close`](Self::close) alone says that everything arrived. A writer that is dropped, or whose future was dropped or
/// failed, leaves a file of unknown content: remove it.
#[derive(Debug)]
pub struct SftpWriter {
    handle: OpenHandle,
    path: Vec<u8>,
    offset: u64,
    chunk: usize,
    can_sync: bool,
    unanswered: VecDeque<(Pending, usize)>,
    bytes_unanswered: usize,
}

/// Bytes that may be without an answer: what OpenSSH's window takes, twice.
const MOST_AHEAD: usize = 4 << 20;

impl SftpWriter {
    pub(super) fn new(exchange: Arc<Exchange>, handle: Bytes, path: &[u8], chunk: u32, can_sync: bool) -> Self {
        Self {
            handle: OpenHandle { exchange, handle },
            path: path.to_vec(),
            offset: 0,
            chunk: (chunk as usize).max(1),
            can_sync,
            unanswered: VecDeque::new(),
            bytes_unanswered: 0,
        }
    }

    /// What was written so far, in bytes.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.offset
    }

    /// Appends. Waits while too much is without an answer.
    ///
    /// # Errors
    /// Of this write or an earlier one: `Refused`, such as for a full disk; the session's own.
    pub async fn write(&mut self, mut data: Bytes) -> Result<(), SftpError> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(self.chunk));
            while self.bytes_unanswered + piece.len() > MOST_AHEAD && !self.unanswered.is_empty() {
                self.settle_one().await?;
            }
            let request = Request::Write { handle: &self.handle.handle, offset: self.offset, data: &piece };
            let answer = self.handle.exchange.send(&request, 0).await?;
            self.unanswered.push_back((answer, piece.len()));
            self.bytes_unanswered += piece.len();
            self.offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Waits until everything so far has arrived and is durable at the server.
    ///
    /// # Errors
    /// `Unsupported` where the server does not offer `fsync@openssh.com`; as [`write`](Self::write).
    pub async fn sync(&mut self) -> Result<(), SftpError> {
        self.settle().await?;
        if !self.can_sync {
            return Err(SftpError::Unsupported { what: "fsync@openssh.com" });
        }
        self.handle.sync(&self.path).await
    }

    /// Waits until everything has arrived, and closes the file.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn close(mut self) -> Result<(), SftpError> {
        self.settle().await?;
        self.handle.close().await
    }

    /// Makes it durable if `sync` is set, closes it and waits until everything has arrived: as [`sync`](Self::sync) and
    /// [`close`](Self::close), in one round trip. What the server then says of the file.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub async fn finish(mut self, sync: bool) -> Result<Attributes, SftpError> {
        if sync && !self.can_sync {
            return Err(SftpError::Unsupported { what: FSYNC });
        }
        let exchange = self.handle.exchange.clone();
        // A server takes the requests for a file in their order (section 6), so that these stand behind every write.
        let flush = Request::Extended { name: FSYNC, arguments: &[&self.handle.handle] };
        let mut flushing = if sync { Some(exchange.send(&flush, 0).await?) } else { None };
        let mut looking = exchange.send(&Request::HandleStat { handle: &self.handle.handle }, 0).await?;
        let mut closing = exchange.send(&Request::Close { handle: &self.handle.handle }, 0).await?;
        self.handle.handle.clear();
        self.settle().await?;
        if let Some(flushing) = &mut flushing {
            accepted(&flushing.answer().await?, "to flush", &self.path)?;
        }
        let looked = looking.answer().await?;
        accepted(&closing.answer().await?, "to close", &self.path)?;
        match looked {
            Reply::Attributes(attributes) => Ok(attributes),
            Reply::Status(Status { code: Status::UNSUPPORTED, .. }) => Ok(Attributes::default()),
            other => Err(unexpected(&other, "to look at", &self.path)),
        }
    }

    async fn settle(&mut self) -> Result<(), SftpError> {
        while !self.unanswered.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), SftpError> {
        let Some((answer, _)) = self.unanswered.front_mut() else { return Ok(()) };
        let reply = answer.answer().await?;
        if let Some((_, length)) = self.unanswered.pop_front() {
            self.bytes_unanswered -= length;
        }
        accepted(&reply, "to write", &self.path)
    }
}
