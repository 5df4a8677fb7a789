//! The channel that a remote `scp` runs on.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::future::{Either, select};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::time::timeout;

use super::error::ScpError;
use super::wire::{Control, LONGEST_LINE, command, control};
use crate::connection::Farewell;
use crate::error::shown;
use crate::{Connection, SshError};

/// A yes.
pub(super) const YES: &[u8] = b"\0";
/// What is kept of standard error, in bytes.
const MOST_ERRORS: usize = 4096;
/// How long the end of the remote program is waited for once everything was said.
const CLOSING: Duration = Duration::from_secs(1);

/// What a source says of a file before its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) modified: Option<u64>,
}

/// A running `scp`. Dropping it closes the channel, whatever was still to come.
pub(super) struct ScpChannel {
    pub(super) path: String,
    read: ChannelReadHalf,
    /// There until this is dropped.
    write: Option<ChannelWriteHalf<Msg>>,
    farewell: Farewell,
    unread: BytesMut,
    errors: Vec<u8>,
    status: Option<u32>,
    ended: bool,
}

impl fmt::Debug for ScpChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScpChannel").field("path", &self.path).field("status", &self.status).finish_non_exhaustive()
    }
}

impl ScpChannel {
    pub(super) async fn open(connection: &Connection, option: &str, path: &str) -> Result<Self, ScpError> {
        let command =
            command(option, path).map_err(|why| ScpError::Path { path: path.escape_debug().to_string(), why })?;
        let channel = connection.session().await?;
        let (read, write) = channel.split();
        let mut channel = Self {
            path: path.to_owned(),
            read,
            write: Some(write),
            farewell: connection.farewell(),
            unread: BytesMut::new(),
            errors: Vec::new(),
            status: None,
            ended: false,
        };
        let asked = match &channel.write {
            Some(write) => write.exec(true, command).await,
            None => Ok(()),
        };
        asked.map_err(|e| SshError::closed("run scp", e))?;
        loop {
            match channel.read.wait().await {
                Some(ChannelMsg::Success) => return Ok(channel),
                Some(ChannelMsg::Failure) => return Err(SshError::Refused { what: "to run scp" }.into()),
                Some(ChannelMsg::Close) | None => return Err(channel.lost("run scp")),
                // Some servers answer the request after the program has spoken.
                Some(ChannelMsg::Data { data }) => {
                    channel.unread.extend_from_slice(&data);
                    return Ok(channel);
                }
                Some(other) => channel.note(other),
            }
        }
    }

    pub(super) fn lost(&self, step: &'static str) -> ScpError {
        SshError::Closed { step, said: self.farewell.said(), source: None }.into()
    }

    /// Sends bytes, and keeps what the other side says meanwhile. It fails when the program ends before it took them.
    pub(super) async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), ScpError> {
        let lost = || SshError::Closed { step: "write", said: self.farewell.said(), source: None };
        let (Some(write), false) = (&self.write, self.ended) else { return Err(lost().into()) };
        let mut sending = pin!(write.data_bytes(bytes.into()));
        loop {
            // A channel that was closed never opens its window again: the end is seen by reading alone.
            let heard = match select(sending.as_mut(), pin!(self.read.wait())).await {
                Either::Left((sent, _)) => return sent.map_err(|_| lost().into()),
                Either::Right((heard, _)) => heard,
            };
            match heard {
                Some(ChannelMsg::Data { data }) if self.unread.len() <= LONGEST_LINE => {
                    self.unread.extend_from_slice(&data);
                }
                Some(ChannelMsg::Data { .. }) => {
                    return Err(ScpError::protocol("it talks where it should listen", &self.unread));
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                    self.ended = true;
                    return Err(lost().into());
                }
                Some(other) => note(&mut self.errors, &mut self.status, other),
            }
        }
    }

    fn note(&mut self, message: ChannelMsg) {
        note(&mut self.errors, &mut self.status, message);
    }

    /// The next bytes, up to `most`; `None` when the program says no more.
    ///
    /// Cancel safe.
    pub(super) async fn some(&mut self, most: u64) -> Result<Option<Bytes>, ScpError> {
        while self.unread.is_empty() {
            if self.ended {
                return Ok(None);
            }
            match self.read.wait().await {
                Some(ChannelMsg::Data { mut data }) => {
                    if data.len() as u64 > most {
                        let rest = data.split_off(most as usize);
                        self.unread.extend_from_slice(&rest);
                    }
                    return Ok(Some(data));
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) => self.ended = true,
                Some(other) => self.note(other),
                None => return Err(self.lost("read")),
            }
        }
        let length = most.min(self.unread.len() as u64) as usize;
        Ok(Some(self.unread.split_to(length).freeze()))
    }

    /// The next byte.
    pub(super) async fn byte(&mut self) -> Result<Option<u8>, ScpError> {
        Ok(self.some(1).await?.and_then(|b| b.first().copied()))
    }

    /// The next line, without its end; at most [`LONGEST_LINE`] bytes.
    pub(super) async fn line(&mut self) -> Result<Option<Bytes>, ScpError> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.unread.get(seen..).and_then(|b| b.iter().position(|b| *b == b'\n')) {
                let line = self.unread.split_to(seen + end).freeze();
                self.unread.advance(1);
                return Ok(Some(line));
            }
            seen = self.unread.len();
            if seen > LONGEST_LINE {
                return Err(ScpError::protocol("a line does not end", &self.unread));
            }
            if self.ended {
                return match self.unread.is_empty() {
                    true => Ok(None),
                    false => Err(ScpError::protocol("a line is cut off", &self.unread)),
                };
            }
            match self.read.wait().await {
                Some(ChannelMsg::Data { data }) => self.unread.extend_from_slice(&data),
                Some(ChannelMsg::Eof | ChannelMsg::Close) => self.ended = true,
                Some(other) => self.note(other),
                None => return Err(self.lost("read")),
            }
        }
    }

    /// Waits for a yes. A no is an error with the other side's words.
    pub(super) async fn answer(&mut self) -> Result<(), ScpError> {
        match self.byte().await? {
            Some(0) => Ok(()),
            Some(1 | 2) => {
                let text = self.line().await?.unwrap_or_default();
                Err(ScpError::refusal(&self.path, &text))
            }
            Some(other) => {
                let mut sent = vec![other];
                sent.extend_from_slice(&self.unread);
                Err(ScpError::protocol("its answer is neither yes nor no", &sent))
            }
            None => Err(self.ended_early().await),
        }
    }

    /// What file comes next; times are acknowledged. `None`: the program ended.
    pub(super) async fn announcement(&mut self) -> Result<Option<Announced>, ScpError> {
        /// Times come once for a file.
        const MOST_LINES: usize = 4;
        let mut modified = None;
        for _ in 0..MOST_LINES {
            let Some(line) = self.line().await? else { return Ok(None) };
            match control(&line).map_err(|why| ScpError::protocol(why, &line))? {
                Control::File { mode, size } => return Ok(Some(Announced { mode, size, modified })),
                Control::Folder => return Err(ScpError::refusal(&self.path, b"is a directory")),
                Control::Refusal(text) => return Err(ScpError::refusal(&self.path, text)),
                Control::Times { modified: time } => {
                    modified = Some(time);
                    self.send(YES).await?;
                }
            }
        }
        Err(ScpError::protocol("it tells of times and of no file", b""))
    }

    /// Why a program ended that had more to say.
    pub(super) async fn ended_early(&mut self) -> ScpError {
        self.drain().await;
        let said = shown(&String::from_utf8_lossy(&self.errors));
        match self.status {
            // What shells exit with for a program that is not there, or not one.
            Some(status @ (126 | 127)) => {
                ScpError::Unsupported { said: if said.is_empty() { format!("exit status {status}") } else { said } }
            }
            _ if !self.errors.is_empty() => ScpError::refusal(&self.path, &self.errors),
            Some(status) => {
                ScpError::Unsupported { said: format!("the command ended with exit status {status} and said nothing") }
            }
            None => ScpError::Unsupported { said: "the command ended and said nothing".to_owned() },
        }
    }

    /// Says that there is no more of us, and waits for the program to end. What it still says is given back.
    pub(super) async fn finish(&mut self) -> Bytes {
        if let Some(write) = &self.write {
            let _ = write.eof().await;
        }
        self.drain().await;
        self.unread.split().freeze()
    }

    /// Takes what comes until the channel is closed, or for a moment.
    async fn drain(&mut self) {
        let draining = async {
            while let Some(message) = self.read.wait().await {
                match message {
                    ChannelMsg::Close => break,
                    ChannelMsg::Data { data } if self.unread.len() < LONGEST_LINE => {
                        self.unread.extend_from_slice(&data);
                    }
                    other => self.note(other),
                }
            }
        };
        let _ = timeout(CLOSING, draining).await;
        self.ended = true;
    }

    pub(super) fn status(&self) -> Option<u32> {
        self.status
    }
}

/// Keeps what is neither content nor the end.
fn note(errors: &mut Vec<u8>, status: &mut Option<u32>, message: ChannelMsg) {
    match message {
        ChannelMsg::ExtendedData { data, .. } => {
            let room = MOST_ERRORS.saturating_sub(errors.len()).min(data.len());
            errors.extend_from_slice(data.get(..room).unwrap_or_default());
        }
        ChannelMsg::ExitStatus { exit_status } => *status = Some(exit_status),
        _ => {}
    }
}

impl Drop for ScpChannel {
    fn drop(&mut self) {
        let (Some(write), Ok(runtime)) = (self.write.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            let _ = write.close().await;
        });
    }
}
