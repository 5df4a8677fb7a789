//! A device that answers as it was recorded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::{Error, ErrorKind, Result, Target};

use super::{Dialer, Greeting, Link, RunEnd, Running, Terminal};
use crate::platform::Platform;
use crate::recording::{Recording, USERNAME, last_line};

/// Plays a recording, for whatever target.
///
/// A command that the recording knows is answered wherever it stands in it, in any order and as often as asked; an empty
/// line is answered by the prompt. What it does not know is refused as Cisco's systems do, and listed in
/// [`missing`](RecordedDialer::missing).
#[derive(Debug, Clone)]
pub struct RecordedDialer {
    recording: Arc<Recording>,
    missing: Arc<Mutex<Vec<String>>>,
}

/// What a device says to a command that it does not know.
const UNKNOWN: &str = "% Invalid input detected at '^' marker.\r\n";
/// What leaves a session on most systems.
const GOODBYES: [&str; 5] = ["exit", "quit", "logout", "bye", "q"];

impl RecordedDialer {
    /// Of this recording.
    #[must_use]
    pub fn new(recording: Recording) -> Self {
        Self { recording: Arc::new(recording), missing: Arc::default() }
    }

    /// The commands that were given and that the recording does not know, each once.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.lacking().clone()
    }

    fn lacking(&self) -> MutexGuard<'_, Vec<String>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lacks(&self, command: &str) {
        let mut missing = self.lacking();
        if !missing.iter().any(|m| m == command) {
            missing.push(command.to_owned());
        }
    }
}

#[async_trait]
impl Dialer for RecordedDialer {
    async fn dial(&self, _: &Target, _: &Platform) -> Result<Box<dyn Link>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Link for RecordedDialer {
    fn greeting(&self) -> Greeting {
        let recording = &self.recording;
        Greeting::default().with_version(recording.version.clone()).with_banner(recording.banner.clone())
    }

    fn is_logged_in(&self) -> bool {
        // Whoever typed a login had not been logged in before.
        self.recording.steps.iter().all(|s| s.exec || s.line() != USERNAME)
    }

    async fn shell(&mut self, _: u32, _: u32) -> Result<Box<dyn Terminal>> {
        let opening = Bytes::copy_from_slice(&self.recording.opening);
        if opening.is_empty() && self.recording.steps.iter().all(|s| s.exec) {
            return Err(Error::new(ErrorKind::Unsupported, "open shell", "the recording holds no terminal session"));
        }
        let prompt = last_line(&opening).to_vec();
        Ok(Box::new(Session {
            dialer: self.clone(),
            out: VecDeque::from([opening]),
            prompt,
            typed: String::new(),
            next: 0,
            closed: false,
        }))
    }

    async fn exec(&mut self, command: &str) -> Result<Box<dyn Running>> {
        let execs = || self.recording.steps.iter().filter(|s| s.exec);
        if execs().next().is_none() {
            let message = "the recording holds no commands without a terminal";
            return Err(Error::new(ErrorKind::Unsupported, "open channel", message));
        }
        let step = execs().find(|s| s.line() == command);
        if step.is_none() {
            self.lacks(command);
        }
        let end = RunEnd { status: step.map_or(Some(127), |s| s.status), ..RunEnd::default() };
        Ok(Box::new(Command { out: step.map(|s| Bytes::copy_from_slice(&s.receive)), end }))
    }
}

#[derive(Debug)]
struct Command {
    out: Option<Bytes>,
    end: RunEnd,
}

#[async_trait]
impl Running for Command {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        Ok(self.out.take().filter(|b| !b.is_empty()))
    }

    fn end(&self) -> RunEnd {
        self.end.clone()
    }
}

#[derive(Debug)]
struct Session {
    dialer: RecordedDialer,
    out: VecDeque<Bytes>,
    /// The line that the cursor stands on.
    prompt: Vec<u8>,
    typed: String,
    /// The step that comes next, if all goes as it was recorded.
    next: usize,
    closed: bool,
}

impl Session {
    /// Answers what was typed, as far as it is whole.
    fn answer(&mut self) {
        let recording = self.dialer.recording.clone();
        while !self.typed.is_empty() && !self.closed {
            let next = recording.steps.get(self.next);
            // A key is answered at once, where it was recorded.
            let key = next.filter(|s| !s.exec && s.line() == s.send && self.typed.starts_with(&s.send));
            if let Some(step) = key {
                self.typed.drain(..step.send.len());
                self.play(self.next);
                continue;
            }
            let Some(end) = self.typed.find(['\r', '\n']) else { return };
            let crlf = self.typed.get(end..).is_some_and(|t| t.starts_with("\r\n"));
            let line: String = self.typed.drain(..end + if crlf { 2 } else { 1 }).collect();
            // Blanks that no pager took stand before a command.
            let line = line.trim_end_matches(['\r', '\n']).trim_start_matches(' ').to_owned();
            self.line(&recording, &line);
        }
    }

    fn line(&mut self, recording: &Recording, line: &str) {
        let fits =
            |i: &usize| recording.steps.get(*i).is_some_and(|s| !s.exec && s.send != s.line() && s.line() == line);
        if recording.steps.get(self.next).is_some_and(|s| !s.exec && s.is_credential()) || fits(&self.next) {
            return self.play(self.next);
        }
        if line.is_empty() {
            let prompt = self.prompt.clone();
            self.out.push_back(Bytes::from_static(b"\r\n"));
            self.out.push_back(prompt.into());
            return;
        }
        let later = (self.next..recording.steps.len()).find(fits);
        if let Some(i) = later.or_else(|| (0..self.next).find(fits)) {
            return self.play(i);
        }
        if GOODBYES.contains(&line) {
            self.closed = true;
            return;
        }
        self.dialer.lacks(line);
        self.out.push_back(Bytes::from(format!("{line}\r\n{UNKNOWN}")));
        self.out.push_back(self.prompt.clone().into());
    }

    fn play(&mut self, index: usize) {
        let Some(step) = self.dialer.recording.steps.get(index) else { return };
        self.next = index + 1;
        self.out.push_back(Bytes::copy_from_slice(&step.receive));
        if !step.receive.is_empty() {
            self.prompt = last_line(&step.receive).to_vec();
        }
        self.closed = step.ends;
    }

    fn take(&mut self) -> Option<Bytes> {
        while let Some(bytes) = self.out.pop_front() {
            if !bytes.is_empty() {
                return Some(bytes);
            }
        }
        None
    }
}

#[async_trait]
impl Terminal for Session {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        match self.take() {
            None if self.closed => Ok(None),
            None => std::future::pending().await,
            some => Ok(some),
        }
    }

    fn read_now(&mut self) -> Result<Option<Bytes>> {
        Ok(self.take())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if self.closed {
            return Err(Error::new(ErrorKind::Incomplete, "talk to device", "the session is closed"));
        }
        self.typed.push_str(&String::from_utf8_lossy(&bytes));
        self.answer();
        Ok(())
    }
}
