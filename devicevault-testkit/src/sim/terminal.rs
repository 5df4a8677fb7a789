//! What a device reads and writes on a channel: lines with echo, texts with pages.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};

use super::personality::Pager;
use super::quirk::{Fate, Manners};
use super::server::LEAVE;
use super::socket::Cut;
use super::state::State;
use super::stats::count;
use super::storm::stormy;

/// The client is gone, or the connection was cut.
#[derive(Debug)]
pub(super) struct Gone;

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) columns: u32,
    pub(super) rows: u32,
}

/// A line longer than this is cut: a device has no room for more.
const LONGEST_LINE: usize = 64 * 1024;
/// So much of a text is written at once.
const CHUNK: usize = 16 * 1024;

/// A channel with a person or a program at its other end.
pub(super) struct Terminal {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    cut: Cut,
    pub(super) device: Arc<State>,
    pub(super) manners: Manners,
    pub(super) size: Option<Size>,
    line_end: &'static [u8],
    input: VecDeque<u8>,
    input_ended: bool,
    after_cr: bool,
    /// How many bytes at the front of the input were echoed when they arrived.
    echoed: usize,
    /// Echo of what arrived while an answer is written.
    echo: Vec<u8>,
    busy: bool,
}

impl Terminal {
    pub(super) fn new(
        read: ChannelReadHalf,
        write: ChannelWriteHalf<Msg>,
        device: Arc<State>,
        cut: Cut,
        size: Option<Size>,
    ) -> Self {
        let line_end = if size.is_some() { b"\r\n" } else { device.personality().line_end() };
        let manners = Manners::of(&device.quirks());
        Self {
            read,
            write,
            cut,
            device,
            manners,
            size,
            line_end,
            input: VecDeque::new(),
            input_ended: false,
            after_cr: false,
            echoed: 0,
            echo: Vec::new(),
            busy: true,
        }
    }

    /// How many rows of the screen a line takes.
    fn rows(&self, length: usize) -> u32 {
        let columns = self.size.map_or(0, |s| s.columns as usize);
        let rows = length.checked_div(columns).map_or(1, |_| length.div_ceil(columns).max(1));
        u32::try_from(rows).unwrap_or(u32::MAX)
    }

    /// Closes the channel, with an exit status.
    pub(super) async fn close(self, status: u32) {
        // Where the client is gone there is nobody to tell.
        let _ = self.write.exit_status(status).await;
        let _ = self.write.eof().await;
        let _ = self.write.close().await;
    }

    /// Takes what the client sent.
    fn take(&mut self, message: Option<ChannelMsg>) -> Result<(), Gone> {
        match message {
            Some(ChannelMsg::Data { data }) => {
                if self.busy && self.manners.echo_at_once && self.size.is_some() {
                    self.echoed = self.input.len() + data.len();
                    for byte in &data {
                        match byte {
                            b'\r' | b'\n' => self.echo.extend_from_slice(b"\r\n"),
                            _ => self.echo.push(*byte),
                        }
                    }
                }
                self.input.extend(data);
            }
            Some(ChannelMsg::WindowChange { col_width, row_height, .. }) => {
                self.size = Some(Size { columns: col_width, rows: row_height });
            }
            Some(ChannelMsg::Eof) => self.input_ended = true,
            Some(ChannelMsg::Close) | None => return Err(Gone),
            Some(_) => {}
        }
        Ok(())
    }

    /// Waits, and goes on listening.
    pub(super) async fn rest(&mut self, time: Duration) -> Result<(), Gone> {
        if time.is_zero() {
            return Ok(());
        }
        let over = tokio::time::sleep(time);
        tokio::pin!(over);
        loop {
            let message = tokio::select! {
                () = &mut over => return Ok(()),
                message = self.read.wait() => message,
            };
            self.take(message)?;
            self.flush_echo().await?;
        }
    }

    /// Says nothing any more, until the client is gone.
    pub(super) async fn stall(&mut self) -> Result<(), Gone> {
        loop {
            let message = self.read.wait().await;
            self.take(message)?;
        }
    }

    /// Writes bytes as they are, in the pieces that the device likes.
    pub(super) async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        let mut bytes = bytes.into();
        match self.manners.pieces {
            None => self.put(bytes).await?,
            Some((size, pause)) => {
                while !bytes.is_empty() {
                    let piece = bytes.split_to(size.min(bytes.len()));
                    self.put(piece).await?;
                    self.rest(pause).await?;
                }
            }
        }
        self.flush_echo().await
    }

    async fn flush_echo(&mut self) -> Result<(), Gone> {
        if self.echo.is_empty() {
            return Ok(());
        }
        let echo = std::mem::take(&mut self.echo);
        self.put(echo.into()).await
    }

    /// Writes, and listens while the client's window is full: it may be waiting for us to read.
    async fn put(&mut self, bytes: Bytes) -> Result<(), Gone> {
        count(&self.device.counters.bytes, bytes.len() as u64);
        let mut came = Vec::new();
        {
            let sending = self.write.data_bytes(bytes);
            tokio::pin!(sending);
            loop {
                tokio::select! {
                    biased;
                    sent = &mut sending => {
                        sent.map_err(|_| Gone)?;
                        break;
                    }
                    message = self.read.wait() => match message {
                        None | Some(ChannelMsg::Close) => return Err(Gone),
                        message => came.push(message),
                    },
                }
            }
        }
        came.into_iter().try_for_each(|message| self.take(message))
    }

    /// Reads a line as a person types it, and echoes it. `None`: the input has ended.
    pub(super) async fn read_line(&mut self, shown: bool, prompt: usize) -> Result<Option<Vec<u8>>, Gone> {
        self.busy = false;
        let line = self.typed(shown, prompt).await;
        self.busy = true;
        line
    }

    async fn typed(&mut self, shown: bool, prompt: usize) -> Result<Option<Vec<u8>>, Gone> {
        let mut line: Vec<u8> = Vec::new();
        let mut echo: Vec<u8> = Vec::new();
        let silent = self.manners.no_echo || self.size.is_none();
        loop {
            let Some(byte) = self.input.pop_front() else {
                if !echo.is_empty() {
                    self.send(std::mem::take(&mut echo)).await?;
                } else if self.input_ended {
                    return Ok(None);
                } else {
                    let message = self.read.wait().await;
                    self.take(message)?;
                }
                continue;
            };
            let was_echoed = self.echoed > 0;
            self.echoed = self.echoed.saturating_sub(1);
            if byte == b'\n' && std::mem::take(&mut self.after_cr) {
                continue;
            }
            self.after_cr = byte == b'\r';
            let quiet = silent || was_echoed;
            let erase = |line: &mut Vec<u8>, echo: &mut Vec<u8>, until: usize| {
                while line.len() > until {
                    line.pop();
                    if shown && !quiet {
                        echo.extend_from_slice(b"\x08 \x08");
                    }
                }
            };
            match byte {
                b'\r' | b'\n' => {
                    if !quiet {
                        echo.extend_from_slice(b"\r\n");
                    }
                    self.send(echo).await?;
                    return Ok(Some(line));
                }
                // Backspace and delete, Ctrl-U, Ctrl-W.
                0x08 | 0x7f => {
                    let until = line.len().saturating_sub(1);
                    erase(&mut line, &mut echo, until);
                }
                0x15 => erase(&mut line, &mut echo, 0),
                0x17 => {
                    let word = line.trim_ascii_end().iter().rposition(|b| *b == b' ').map_or(0, |at| at + 1);
                    erase(&mut line, &mut echo, word);
                }
                // Ctrl-C gives the line up; Ctrl-D on an empty line leaves; Ctrl-Z ends.
                0x03 => {
                    echo.extend_from_slice(if quiet { b"" } else { b"^C\r\n" });
                    self.send(echo).await?;
                    return Ok(Some(Vec::new()));
                }
                0x04 if line.is_empty() => return Ok(None),
                0x1a => {
                    echo.extend_from_slice(if quiet { b"" } else { b"^Z\r\n" });
                    self.send(echo).await?;
                    return Ok(Some(b"end".to_vec()));
                }
                0x20.. if line.len() < LONGEST_LINE => {
                    line.push(byte);
                    if shown && !quiet {
                        echo.push(byte);
                        let wrapped = self.manners.echo_wrapped.map(usize::from);
                        if wrapped.is_some_and(|columns| (prompt + line.len()).is_multiple_of(columns)) {
                            echo.extend_from_slice(b" \r");
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// One key, as a pager waits for. `None`: the input has ended.
    async fn key(&mut self) -> Result<Option<u8>, Gone> {
        loop {
            if let Some(byte) = self.input.pop_front() {
                self.echoed = self.echoed.saturating_sub(1);
                if byte == b'\n' && std::mem::take(&mut self.after_cr) {
                    continue;
                }
                self.after_cr = byte == b'\r';
                return Ok(Some(byte));
            }
            if self.input_ended {
                return Ok(None);
            }
            let message = self.read.wait().await;
            self.take(message)?;
        }
    }

    /// Writes a text whose lines are ended by LF: page by page, and as its fate will have it.
    pub(super) async fn print(
        &mut self,
        text: &[u8],
        pages: Option<(Pager, u32)>,
        own_prompt: Option<(&[u8], Duration)>,
        fate: &Fate,
    ) -> Result<(), Gone> {
        let mut out = Out { buffer: Vec::with_capacity(CHUNK.min(text.len() + 64)), sent: 0, fate };
        let mut left = pages.map(|(_, rows)| rows.saturating_sub(1));
        let rounds = if fate.endless { usize::MAX } else { 1 };
        for round in 0..rounds {
            let mut lines = text.split_inclusive(|b| *b == b'\n').enumerate().peekable();
            while let Some((number, raw)) = lines.next() {
                let (line, ended) = raw.strip_suffix(b"\n").map_or((raw, false), |line| (line, true));
                if self.manners.ansi {
                    stormy(line, round + number, &mut out.buffer);
                } else {
                    out.buffer.extend_from_slice(line);
                }
                if let Some((_, pause)) = own_prompt.filter(|(prompt, _)| *prompt == line) {
                    out.flush(self).await?;
                    self.rest(pause).await?;
                }
                if ended {
                    out.buffer.extend_from_slice(self.line_end);
                }
                if out.buffer.len() >= CHUNK {
                    out.flush(self).await?;
                }
                left = left.map(|l| l.saturating_sub(self.rows(line.len())));
                if let (Some(0), Some((pager, rows))) = (left, pages)
                    && (lines.peek().is_some() || fate.endless)
                {
                    out.buffer.extend_from_slice(pager.marker.as_bytes());
                    out.flush(self).await?;
                    let key = self.key().await?;
                    out.buffer.extend_from_slice(pager.erase.as_bytes());
                    match key {
                        Some(b' ') => left = Some(rows.saturating_sub(1)),
                        Some(b'\r' | b'\n') => left = Some(1),
                        _ => return out.flush(self).await,
                    }
                }
            }
        }
        out.flush(self).await
    }
}

/// A text on its way out.
struct Out<'f> {
    buffer: Vec<u8>,
    sent: u64,
    fate: &'f Fate,
}

impl Out<'_> {
    async fn flush(&mut self, terminal: &mut Terminal) -> Result<(), Gone> {
        let mut bytes = std::mem::take(&mut self.buffer);
        let bound = self.fate.cut_off.or(self.fate.stall).map(|at| at.saturating_sub(self.sent));
        let ends_here = bound.is_some_and(|bound| bytes.len() as u64 >= bound);
        if let Some(bound) = bound.filter(|_| ends_here) {
            bytes.truncate(usize::try_from(bound).unwrap_or(usize::MAX));
        }
        self.sent += bytes.len() as u64;
        if !bytes.is_empty() {
            terminal.send(bytes).await?;
        }
        if !ends_here {
            return Ok(());
        }
        if self.fate.cut_off.is_none() {
            return terminal.stall().await;
        }
        terminal.rest(LEAVE).await?;
        terminal.cut.now();
        Err(Gone)
    }
}
