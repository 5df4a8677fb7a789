//! Channels as streams of bytes.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::time::timeout;

use crate::connection::Farewell;
use crate::{Result, SshError};

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtySize {
    /// Wide enough that nothing is wrapped.
    pub columns: u32,
    /// High enough that what pages by the terminal's height does not page.
    pub rows: u32,
}

impl Default for PtySize {
    /// 512 by 1000.
    fn default() -> Self {
        Self { columns: 512, rows: 1000 }
    }
}

/// A shell on a terminal: bytes to it, bytes from it.
pub struct Shell {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    farewell: Farewell,
    first: Option<Bytes>,
    ended: bool,
    aside: u64,
}

impl Shell {
    pub(crate) async fn open(channel: Channel<Msg>, size: PtySize, farewell: Farewell) -> Result<Self> {
        let (mut read, write) = channel.split();
        let step = "open a shell";
        let lost = |e: russh::Error| SshError::closed(step, e);
        // Both requests go out together; their answers come in order (RFC 4254, section 5.4).
        write.request_pty(true, "vt100", size.columns, size.rows, 0, 0, &[]).await.map_err(lost)?;
        write.request_shell(true).await.map_err(lost)?;
        let mut answers = 0;
        let mut first = None;
        while answers < 2 {
            match read.wait().await {
                Some(ChannelMsg::Success) => answers += 1,
                // A shell without a terminal is worth having.
                Some(ChannelMsg::Failure) if answers == 0 => answers += 1,
                Some(ChannelMsg::Failure) => return Err(SshError::Refused { what: "a shell" }),
                // Some servers send the banner before they answer.
                Some(ChannelMsg::Data { data }) => {
                    first = Some(data);
                    break;
                }
                Some(ChannelMsg::Close) | None => {
                    return Err(SshError::Closed { step, said: farewell.said(), source: None });
                }
                Some(_) => {}
            }
        }
        Ok(Self { read, write, farewell, first, ended: false, aside: 0 })
    }

    /// The next bytes; `None` when the device closed the shell.
    ///
    /// Cancel safe: a dropped future has taken nothing.
    ///
    /// # Errors
    /// `Closed` when the connection broke before the shell was closed.
    pub async fn read(&mut self) -> Result<Option<Bytes>> {
        if let Some(data) = self.first.take() {
            return Ok(Some(data));
        }
        loop {
            if self.ended {
                return Ok(None);
            }
            match self.read.wait().await {
                Some(ChannelMsg::Data { data }) => return Ok(Some(data)),
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    self.aside += data.len() as u64;
                    return Ok(Some(data));
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) => self.ended = true,
                Some(_) => {}
                None => {
                    return Err(SshError::Closed { step: "read", said: self.farewell.said(), source: None });
                }
            }
        }
    }

    /// How many of the bytes so far came as standard error (RFC 4254, section 5.2), which a terminal does not tell
    /// apart: servers that have one send none.
    #[must_use]
    pub fn aside(&self) -> u64 {
        self.aside
    }

    /// What has arrived already; `None` when that is nothing.
    ///
    /// # Errors
    /// As [`read`](Shell::read).
    pub fn read_now(&mut self) -> Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        self.read().now_or_never().unwrap_or(Ok(None))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.write.data_bytes(bytes).await.map_err(|e| SshError::Closed {
            step: "write",
            said: self.farewell.said(),
            source: Some(std::sync::Arc::new(e)),
        })
    }
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shell").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// A part of what a command gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Standard output.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
}

/// A command that runs without a terminal.
pub struct Exec {
    read: ChannelReadHalf,
    // Dropping it would close the channel.
    _write: ChannelWriteHalf<Msg>,
    farewell: Farewell,
    first: Option<Output>,
    status: Option<u32>,
    signal: Option<String>,
    ended: bool,
}

/// How long an exit status is waited for once the output has ended.
const CLOSING: Duration = Duration::from_secs(1);

impl Exec {
    pub(crate) async fn open(channel: Channel<Msg>, command: &str, farewell: Farewell) -> Result<Self> {
        let (read, write) = channel.split();
        let step = "run a command";
        write.exec(true, command).await.map_err(|e| SshError::closed(step, e))?;
        let mut exec = Self { read, _write: write, farewell, first: None, status: None, signal: None, ended: false };
        loop {
            match exec.read.wait().await {
                Some(ChannelMsg::Success) => return Ok(exec),
                Some(ChannelMsg::Failure) => return Err(SshError::Refused { what: "to run a command" }),
                Some(ChannelMsg::Close) | None => {
                    return Err(SshError::Closed { step, said: exec.farewell.said(), source: None });
                }
                Some(ChannelMsg::Data { data }) => {
                    exec.first = Some(Output::Stdout(data));
                    return Ok(exec);
                }
                Some(_) => {}
            }
        }
    }

    /// The next part; `None` when the command has ended and all that it wrote was read.
    ///
    /// # Errors
    /// `Closed` when the connection broke before the server said that there is no more.
    pub async fn read(&mut self) -> Result<Option<Output>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            let next = match self.ended {
                false => self.read.wait().await,
                // Most servers close by themselves, at once; some wait for the client to do so.
                true => match timeout(CLOSING, self.read.wait()).await {
                    Ok(next @ Some(_)) => next,
                    _ => return Ok(None),
                },
            };
            match next {
                Some(ChannelMsg::Data { data }) => return Ok(Some(Output::Stdout(data))),
                Some(ChannelMsg::ExtendedData { data, .. }) => return Ok(Some(Output::Stderr(data))),
                Some(ChannelMsg::ExitStatus { exit_status }) => self.status = Some(exit_status),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => self.signal = Some(format!("{signal_name:?}")),
                // The exit status may come after the end of the output.
                Some(ChannelMsg::Eof) => self.ended = true,
                Some(ChannelMsg::Close) => return Ok(None),
                Some(_) => {}
                None => {
                    return Err(SshError::Closed { step: "read", said: self.farewell.said(), source: None });
                }
            }
        }
    }

    /// Exit status, where the server told one.
    #[must_use]
    pub fn status(&self) -> Option<u32> {
        self.status
    }

    /// Name of the signal that ended the command.
    #[must_use]
    pub fn signal(&self) -> Option<&str> {
        self.signal.as_deref()
    }
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec").field("status", &self.status).finish_non_exhaustive()
    }
}
