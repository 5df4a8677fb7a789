//! A device in memory: what it answers to each command, and how it misbehaves. For tests of platforms and sessions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use devicevault_core::{Error, ErrorKind, Result, Target};

use super::{Dialer, Link, RunEnd, Running, Terminal};
use crate::platform::Platform;

/// The device: a greeting, a prompt and answers.
///
/// It reads what is typed only at its prompt, as most network systems do, unless
/// [`echo_at_once`](Replay::echo_at_once) says otherwise.
#[derive(Debug, Clone)]
#[must_use]
pub struct Replay {
    greeting: Vec<Piece>,
    prompt: Vec<u8>,
    answers: Vec<(String, Vec<Piece>)>,
    unknown: Vec<u8>,
    logout: String,
    chunk: usize,
    exec: bool,
    exec_status: Option<u32>,
    echo: bool,
    at_once: bool,
    deaf_while_busy: bool,
    redraws: bool,
    wrapped: usize,
    ends: Option<(usize, Piece)>,
}

/// A part of what a device sends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// Bytes.
    Text(Vec<u8>),
    /// Silence.
    Pause(Duration),
    /// A pager: this text, then the device waits for a key, then this text erases it.
    Pager(Vec<u8>, Vec<u8>),
    /// A question that is answered by a line, which is not echoed.
    Question(Vec<u8>),
    /// Nothing is sent: from now on, this is the prompt.
    Prompt(Vec<u8>),
    /// At the end of an answer: this comes together with its prompt and behind it, and no other prompt follows.
    Behind(Vec<u8>),
    /// The connection is cut.
    Cut,
    /// Nothing more, for ever.
    Stall,
    /// The device closes the session.
    Hangup,
}

impl Replay {
    /// A device that shows `prompt` and knows no command but `exit`.
    pub fn new(prompt: impl Into<Vec<u8>>) -> Self {
        Self {
            greeting: Vec::new(),
            prompt: prompt.into(),
            answers: Vec::new(),
            unknown: b"% Invalid input detected at '^' marker.\r\n".to_vec(),
            logout: "exit".to_owned(),
            chunk: usize::MAX,
            exec: true,
            exec_status: Some(0),
            echo: true,
            at_once: false,
            deaf_while_busy: false,
            redraws: false,
            wrapped: usize::MAX,
            ends: None,
        }
    }

    /// What comes before the first prompt.
    pub fn greeting(mut self, pieces: Vec<Piece>) -> Self {
        self.greeting = pieces;
        self
    }

    /// The answer to a command, in place of an earlier one; the prompt follows by itself.
    pub fn answer(mut self, command: impl Into<String>, pieces: Vec<Piece>) -> Self {
        let command = command.into();
        self.answers.retain(|(known, _)| *known != command);
        self.answers.push((command, pieces));
        self
    }

    /// Sends no more than so many bytes at a time, with the smallest of pauses between.
    pub fn chunk(mut self, bytes: usize) -> Self {
        self.chunk = bytes.max(1);
        self
    }

    /// The command that ends the session, in place of `exit`.
    pub fn logout_by(mut self, command: impl Into<String>) -> Self {
        self.logout = command.into();
        self
    }

    /// What commands without a terminal end with, where they are known; `None`: the channel closes without a word.
    pub fn exec_status(mut self, status: Option<u32>) -> Self {
        self.exec_status = status;
        self
    }

    /// Refuses commands without a terminal.
    pub fn without_exec(mut self) -> Self {
        self.exec = false;
        self
    }

    /// Does not echo.
    pub fn without_echo(mut self) -> Self {
        self.echo = false;
        self
    }

    /// The terminal echoes what is typed at once, also into an answer; the device's editor echoes it again.
    pub fn echo_at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// Throws away what is typed while an answer is under way.
    pub fn deaf_while_busy(mut self) -> Self {
        self.deaf_while_busy = true;
        self
    }

    /// Draws its prompt anew on the same line, without an echo, where a command prints nothing.
    pub fn redraws_prompt(mut self) -> Self {
        self.redraws = true;
        self
    }

    /// Once so many bytes were sent in a shell, whatever they were, the session ends so: by a [`Piece::Cut`], a
    /// [`Piece::Hangup`] or a [`Piece::Stall`].
    pub fn ends_after(mut self, bytes: usize, end: Piece) -> Self {
        self.ends = Some((bytes, end));
        self
    }

    /// Breaks its echo at this column, whatever the terminal's width.
    pub fn echo_wrapped(mut self, columns: usize) -> Self {
        self.wrapped = columns.max(2);
        self
    }

    fn echo_of(&self, line: &str) -> Vec<u8> {
        let mut echo = Vec::with_capacity(line.len() + 2);
        for (n, byte) in line.bytes().enumerate() {
            echo.push(byte);
            if (n + 1) % self.wrapped == 0 {
                echo.extend_from_slice(b" \r");
            }
        }
        echo.extend_from_slice(b"\r\n");
        echo
    }

    fn pieces(&self, command: &str) -> Option<&[Piece]> {
        self.answers.iter().find(|(c, _)| c == command).map(|(_, p)| p.as_slice())
    }
}

/// Dials the same device in memory for every target.
#[derive(Debug, Clone)]
pub struct ReplayDialer {
    device: Arc<Replay>,
    typed: Arc<Mutex<Vec<String>>>,
}

impl ReplayDialer {
    /// For this device.
    #[must_use]
    pub fn new(device: Replay) -> Self {
        Self { device: Arc::new(device), typed: Arc::default() }
    }

    /// What was typed or run so far, line by line.
    #[must_use]
    pub fn typed(&self) -> Vec<String> {
        self.typed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Dialer for ReplayDialer {
    async fn dial(&self, _target: &Target, _platform: &Platform) -> Result<Box<dyn Link>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Link for ReplayDialer {
    async fn shell(&mut self, _columns: u32, _rows: u32) -> Result<Box<dyn Terminal>> {
        let mut session = Session {
            dialer: self.clone(),
            prompt: self.device.prompt.clone(),
            out: VecDeque::new(),
            typed: BytesMut::new(),
            sent: 0,
            closed: false,
        };
        session.out.extend(self.device.greeting.iter().cloned());
        session.prompt();
        Ok(Box::new(session))
    }

    async fn exec(&mut self, command: &str) -> Result<Box<dyn Running>> {
        if !self.device.exec {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "open channel",
                "the device runs no commands without a terminal",
            ));
        }
        self.typed.lock().unwrap_or_else(PoisonError::into_inner).push(command.to_owned());
        let known = self.device.pieces(command);
        let status = if known.is_none() { Some(1) } else { self.device.exec_status };
        let end = RunEnd { status, ..RunEnd::default() };
        Ok(Box::new(Command { out: known.unwrap_or_default().iter().cloned().collect(), end }))
    }
}

#[derive(Debug)]
struct Command {
    out: VecDeque<Piece>,
    end: RunEnd,
}

#[async_trait]
impl Running for Command {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.out.pop_front() {
                None => return Ok(None),
                Some(Piece::Text(text)) => return Ok(Some(text.into())),
                Some(Piece::Pause(time)) => tokio::time::sleep(time).await,
                Some(Piece::Stall) => std::future::pending().await,
                Some(Piece::Cut) => return Err(cut()),
                Some(Piece::Hangup) => return Ok(None),
                Some(Piece::Pager(..) | Piece::Question(_) | Piece::Prompt(_) | Piece::Behind(_)) => {}
            }
        }
    }

    fn end(&self) -> RunEnd {
        self.end.clone()
    }
}

#[derive(Debug)]
struct Session {
    dialer: ReplayDialer,
    prompt: Vec<u8>,
    out: VecDeque<Piece>,
    typed: BytesMut,
    sent: usize,
    closed: bool,
}

/// What there is to be read.
enum Ready {
    Bytes(Bytes),
    After(Duration),
    Nothing,
    Closed,
    Cut,
}

impl Session {
    fn text(&mut self, text: impl Into<Vec<u8>>) {
        self.out.push_back(Piece::Text(text.into()));
    }

    fn prompt(&mut self) {
        self.text(self.prompt.clone());
    }

    fn ready(&mut self) -> Ready {
        let left = match &self.dialer.device.ends {
            Some((bytes, end)) if self.sent >= *bytes => {
                return match end {
                    Piece::Cut => Ready::Cut,
                    Piece::Hangup => Ready::Closed,
                    _ => Ready::Nothing,
                };
            }
            Some((bytes, _)) => bytes - self.sent,
            None => usize::MAX,
        };
        loop {
            match self.out.front_mut() {
                Some(Piece::Text(text)) => {
                    let chunk = self.dialer.device.chunk.min(text.len()).min(left);
                    let bytes: Vec<u8> = text.drain(..chunk).collect();
                    if text.is_empty() {
                        self.out.pop_front();
                    } else {
                        self.out.push_front(Piece::Pause(Duration::from_millis(1)));
                    }
                    if bytes.is_empty() {
                        continue;
                    }
                    self.sent += bytes.len();
                    return Ready::Bytes(bytes.into());
                }
                Some(Piece::Pause(time)) => {
                    let time = *time;
                    self.out.pop_front();
                    return Ready::After(time);
                }
                Some(Piece::Pager(shown, _)) if !shown.is_empty() => {
                    let shown = std::mem::take(shown);
                    return Ready::Bytes(shown.into());
                }
                Some(Piece::Question(asked)) if !asked.is_empty() => {
                    let asked = std::mem::take(asked);
                    return Ready::Bytes(asked.into());
                }
                Some(Piece::Pager(_, erase)) => {
                    if self.typed.is_empty() {
                        return Ready::Nothing;
                    }
                    let _ = self.typed.split_to(1);
                    let erase = std::mem::take(erase);
                    self.out.pop_front();
                    self.out.push_front(Piece::Text(erase));
                }
                Some(Piece::Question(_)) => {
                    let Some(_) = self.line() else { return Ready::Nothing };
                    self.out.pop_front();
                    self.out.push_front(Piece::Text(b"\r\n".to_vec()));
                }
                Some(Piece::Prompt(prompt)) => {
                    self.prompt = std::mem::take(prompt);
                    self.out.pop_front();
                    // It stands behind its answer by now, as the one before.
                    if let Some(Piece::Text(next)) = self.out.back_mut() {
                        next.clone_from(&self.prompt);
                    }
                }
                Some(Piece::Behind(text)) => {
                    let text = std::mem::take(text);
                    self.out.pop_front();
                    self.out.push_front(Piece::Text(text));
                }
                Some(Piece::Cut) => return Ready::Cut,
                Some(Piece::Stall) => return Ready::Nothing,
                Some(Piece::Hangup) => return Ready::Closed,
                None if self.closed => return Ready::Closed,
                None => {
                    let Some(line) = self.line() else { return Ready::Nothing };
                    self.run(&line);
                }
            }
        }
    }

    /// The next whole line that was typed.
    fn line(&mut self) -> Option<String> {
        let end = self.typed.iter().position(|b| matches!(*b, b'\r' | b'\n'))?;
        let mut line = self.typed.split_to(end + 1);
        if line.ends_with(b"\r") && self.typed.starts_with(b"\n") {
            line.extend_from_slice(&self.typed.split_to(1));
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        self.dialer.typed.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        Some(line)
    }

    fn run(&mut self, line: &str) {
        let device = self.dialer.device.clone();
        if device.redraws && (line.is_empty() || device.pieces(line).is_some_and(<[Piece]>::is_empty)) {
            self.text("\r\x1b[K");
            return self.prompt();
        }
        if device.echo {
            self.text(device.echo_of(line));
        } else {
            self.text("\r\n");
        }
        let command = line.trim();
        if command == device.logout {
            self.closed = true;
            return;
        }
        match device.pieces(command) {
            Some(pieces) => self.out.extend(pieces.iter().cloned()),
            None if command.is_empty() => {}
            None => self.text(device.unknown.clone()),
        }
        match self.out.pop_back() {
            Some(Piece::Behind(text)) => self.text([self.prompt.as_slice(), &text].concat()),
            last => {
                self.out.extend(last);
                self.prompt();
            }
        }
    }
}

#[async_trait]
impl Terminal for Session {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.ready() {
                Ready::Bytes(bytes) => return Ok(Some(bytes)),
                Ready::After(time) => tokio::time::sleep(time).await,
                Ready::Nothing => std::future::pending().await,
                Ready::Closed => return Ok(None),
                Ready::Cut => return Err(cut()),
            }
        }
    }

    fn read_now(&mut self) -> Result<Option<Bytes>> {
        if matches!(self.out.front(), Some(Piece::Pause(_))) {
            return Ok(None);
        }
        match self.ready() {
            Ready::Bytes(bytes) => Ok(Some(bytes)),
            Ready::After(time) => {
                self.out.push_front(Piece::Pause(time));
                Ok(None)
            }
            Ready::Nothing | Ready::Closed => Ok(None),
            Ready::Cut => Err(cut()),
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let device = self.dialer.device.clone();
        let busy = !self.out.is_empty();
        if busy && device.at_once {
            let echoed = String::from_utf8_lossy(&bytes).replace('\n', "\r\n").into_bytes();
            self.out.push_front(Piece::Text(echoed));
        }
        if !(busy && device.deaf_while_busy) || matches!(self.out.front(), Some(Piece::Pager(..) | Piece::Question(_)))
        {
            self.typed.extend_from_slice(&bytes);
        }
        Ok(())
    }
}

fn cut() -> Error {
    Error::new(ErrorKind::Incomplete, "talk to device", "the connection was closed")
}
