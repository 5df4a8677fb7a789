//! Notices when all who could make room in the spool wait for room themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::spool::SpoolWriter;
use crate::{Clock, Error, ErrorKind, Result, Retry};

/// Nothing moved for so long: nobody reads from a device, and nobody stores.
const STALL: Duration = Duration::from_secs(30);

/// What every conversation has in the spool.
#[derive(Debug, Clone)]
pub(super) struct Backlog {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    shares: BTreeMap<u64, Held>,
    /// When bytes last went into the spool or out of it, on the monotonic clock.
    moved_at: Duration,
}

#[derive(Debug, Default)]
struct Held {
    bytes: u64,
    waiting: bool,
}

/// One conversation's part of the spool; its bodies are gone with it.
#[derive(Debug)]
pub(super) struct Share {
    backlog: Backlog,
    id: u64,
}

impl Backlog {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Arc::default() }
    }

    pub(super) fn share(&self) -> Share {
        let mut state = self.state();
        state.next += 1;
        Share { backlog: self.clone(), id: state.next }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether this one is to give up for the others: nobody gets on, and of those who wait it has the least to lose.
    fn gives_up(&self, id: u64, now: Duration) -> bool {
        let holders = || self.shares.iter().filter(|(_, held)| held.bytes > 0);
        let least = holders().map(|(id, held)| (held.bytes, std::cmp::Reverse(*id))).min();
        now.saturating_sub(self.moved_at) >= STALL
            && holders().all(|(_, held)| held.waiting)
            // Where nobody here fills it, it is full of what is parked, and that may be delivered.
            && least.is_some_and(|(_, least)| least.0 == id)
    }
}

impl Share {
    /// Writes to the spool, and gives up where it is full of bodies of which none can become whole.
    pub(super) async fn write(&self, writer: &mut dyn SpoolWriter, chunk: Bytes) -> Result<()> {
        let bytes = chunk.len() as u64;
        let _waiting = Waiting::begin(self);
        let written = {
            let mut write = writer.write(chunk);
            loop {
                tokio::select! {
                    biased;
                    written = &mut write => break written,
                    () = self.backlog.clock.sleep(STALL) => {
                        let now = self.backlog.clock.monotonic();
                        if self.backlog.state().gives_up(self.id, now) {
                            break Err(stuck());
                        }
                    }
                }
            }
        };
        if written.is_ok() {
            let mut state = self.backlog.state();
            state.shares.entry(self.id).or_default().bytes += bytes;
            state.moved_at = self.backlog.clock.monotonic();
        }
        written
    }
}

/// Waits for the spool, until it is dropped.
struct Waiting<'a>(&'a Share);

impl<'a> Waiting<'a> {
    fn begin(share: &'a Share) -> Self {
        share.backlog.state().shares.entry(share.id).or_default().waiting = true;
        Self(share)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.backlog.state().shares.entry(self.0.id).or_default().waiting = false;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let now = self.backlog.clock.monotonic();
        let mut state = self.backlog.state();
        if state.shares.remove(&self.id).is_some() {
            state.moved_at = now;
        }
    }
}

fn stuck() -> Error {
    Error::new(ErrorKind::Unavailable, "spool artefact", "the spool is full, and none of those who fill it can go on")
        .retry_advice(Retry::After(Duration::ZERO))
        .hint("raise the spool's bound, or talk to fewer devices at a time")
}
