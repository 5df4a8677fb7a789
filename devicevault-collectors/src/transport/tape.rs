//! What goes over the wire, kept with its times: for recordings, for finding out how a device behaves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::{Note, Result, Target};
use tokio::time::Instant;

use super::{Dialer, Greeting, Link, RunEnd, Running, Terminal};
use crate::platform::Platform;

/// Something that happened on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wire {
    /// The connection is open and logged in to, as far as the protocol does that.
    Connected(Greeting),
    /// A terminal of this many columns and rows was opened.
    Shell(u32, u32),
    /// A command was given without a terminal.
    Exec(String),
    /// These bytes were typed. They may be a password.
    Sent(Bytes),
    /// These bytes came.
    Received(Bytes),
    /// The command without a terminal ended.
    Ended(RunEnd),
    /// The device closed the terminal.
    Closed,
}

/// Something that happened, and when, counted from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
    /// Since the tape was made.
    pub at: Duration,
    /// What.
    pub what: Wire,
}

/// Keeps what happened on the wire. Clones are the same tape.
#[derive(Debug, Clone)]
pub struct Tape(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    moments: Vec<Moment>,
    bytes: usize,
    cut: bool,
}

impl Tape {
    /// An empty one, that keeps no more than so many bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Inner { started: Instant::now(), most, kept: Mutex::default() }))
    }

    /// What happened so far.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        self.kept().moments.clone()
    }

    /// Whether something was left out because the tape is full.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.kept().cut
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, what: Wire) {
        let at = self.0.started.elapsed();
        let mut kept = self.kept();
        if let Wire::Sent(bytes) | Wire::Received(bytes) = &what {
            if kept.bytes + bytes.len() > self.0.most {
                kept.cut = true;
                return;
            }
            kept.bytes += bytes.len();
        }
        kept.moments.push(Moment { at, what });
    }
}

/// Dials by another dialer and keeps what happens on a [`Tape`].
#[derive(Debug, Clone)]
pub struct TapeDialer {
    dialer: Arc<dyn Dialer>,
    tape: Tape,
}

impl TapeDialer {
    /// Around that dialer, onto that tape.
    #[must_use]
    pub fn new(dialer: Arc<dyn Dialer>, tape: Tape) -> Self {
        Self { dialer, tape }
    }
}

#[async_trait]
impl Dialer for TapeDialer {
    async fn dial(&self, target: &Target, platform: &Platform) -> Result<Box<dyn Link>> {
        let link = self.dialer.dial(target, platform).await?;
        self.tape.keep(Wire::Connected(link.greeting()));
        Ok(Box::new(Taped { inner: link, tape: self.tape.clone() }))
    }
}

/// A link, a terminal or a command whose bytes are kept.
#[derive(Debug)]
struct Taped<T> {
    inner: T,
    tape: Tape,
}

#[async_trait]
impl Link for Taped<Box<dyn Link>> {
    fn greeting(&self) -> Greeting {
        self.inner.greeting()
    }

    fn is_logged_in(&self) -> bool {
        self.inner.is_logged_in()
    }

    fn reach_time(&self) -> Duration {
        self.inner.reach_time()
    }

    fn notes(&self) -> Vec<Note> {
        self.inner.notes()
    }

    async fn shell(&mut self, columns: u32, rows: u32) -> Result<Box<dyn Terminal>> {
        let inner = self.inner.shell(columns, rows).await?;
        self.tape.keep(Wire::Shell(columns, rows));
        Ok(Box::new(Taped { inner, tape: self.tape.clone() }))
    }

    async fn exec(&mut self, command: &str) -> Result<Box<dyn Running>> {
        let inner = self.inner.exec(command).await?;
        self.tape.keep(Wire::Exec(command.to_owned()));
        Ok(Box::new(Taped { inner, tape: self.tape.clone() }))
    }

    async fn close(&mut self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Terminal for Taped<Box<dyn Terminal>> {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        let read = self.inner.read().await?;
        self.tape.keep(read.clone().map_or(Wire::Closed, Wire::Received));
        Ok(read)
    }

    fn read_now(&mut self) -> Result<Option<Bytes>> {
        let read = self.inner.read_now()?;
        if let Some(bytes) = &read {
            self.tape.keep(Wire::Received(bytes.clone()));
        }
        Ok(read)
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.tape.keep(Wire::Sent(bytes.clone()));
        self.inner.write(bytes).await
    }

    fn aside(&self) -> u64 {
        self.inner.aside()
    }

    fn awaits_verdict(&self) -> bool {
        self.inner.awaits_verdict()
    }
}

#[async_trait]
impl Running for Taped<Box<dyn Running>> {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        let read = self.inner.read().await?;
        let what = read.clone().map_or_else(|| Wire::Ended(self.inner.end()), Wire::Received);
        self.tape.keep(what);
        Ok(read)
    }

    fn end(&self) -> RunEnd {
        self.inner.end()
    }

    fn awaits_verdict(&self) -> bool {
        self.inner.awaits_verdict()
    }
}
