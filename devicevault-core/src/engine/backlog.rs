//! Notices when all who could make room in the spool wait for room themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::spool::SpoolWriter;
use crate::{Body, Clock, Error, ErrorKind, Result, Retry};

/// Nothing moved for so long while it is full: nobody reads from a device, and nobody stores.
const STALL: Duration = Duration::from_secs(2);

/// What every conversation has in the spool.
#[derive(Debug, Clone)]
pub(super) struct Backlog {
    clock: Arc<dyn Clock>,
    /// Of the spool, where it says it.
    capacity: Option<u64>,
    state: Arc<Mutex<State>>,
    /// Somebody has what it waited for, or is gone.
    moved: Arc<Notify>,
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
    pub(super) fn new(clock: Arc<dyn Clock>, capacity: Option<u64>) -> Self {
        Self { clock, capacity, state: Arc::default(), moved: Arc::default() }
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
        let least = self.holders().map(|(id, held)| (held.bytes, std::cmp::Reverse(*id))).min();
        now.saturating_sub(self.moved_at) >= STALL
            && self.holders().all(|(_, held)| held.waiting)
            // Where nobody here fills it, it is full of what is parked, and that may be delivered.
            && least.is_some_and(|(_, least)| least.0 == id)
    }

    fn holders(&self) -> impl Iterator<Item = (&u64, &Held)> {
        self.shares.iter().filter(|(_, held)| held.bytes > 0)
    }

    /// Whether bytes would have to wait, as far as what was given to the spool tells.
    fn is_full(&self, bytes: u64, capacity: u64) -> bool {
        self.shares.values().map(|held| held.bytes).sum::<u64>().saturating_add(bytes) > capacity
    }

    fn held(&self, id: u64) -> u64 {
        self.shares.get(&id).map_or(0, |held| held.bytes)
    }
}

impl Share {
    /// Writes to the spool. What can never fit is refused at once, and where it is full of bodies of which none can become
    /// whole one gives up.
    pub(super) async fn write(&self, writer: &mut dyn SpoolWriter, chunk: Bytes) -> Result<()> {
        let bytes = chunk.len() as u64;
        self.admit(bytes).await?;
        self.watched(writer.write(chunk)).await?;
        let mut state = self.backlog.state();
        state.shares.entry(self.id).or_default().bytes += bytes;
        Ok(())
    }

    /// Ends a body: its last bytes wait for room as the others did.
    pub(super) async fn finish(&self, writer: Box<dyn SpoolWriter>) -> Result<Arc<dyn Body>> {
        self.watched(writer.finish()).await
    }

    /// Refuses what does not fit beside what this one has. Who has nothing yet takes nothing from those who cannot go on.
    async fn admit(&self, bytes: u64) -> Result<()> {
        let Some(capacity) = self.backlog.capacity else { return Ok(()) };
        loop {
            let mut moved = std::pin::pin!(self.backlog.moved.notified());
            moved.as_mut().enable();
            {
                let state = self.backlog.state();
                let held = state.held(self.id);
                if held.saturating_add(bytes) > capacity {
                    return Err(never(capacity));
                }
                let goes_on = held > 0 || !state.is_full(bytes, capacity) || !state.holders().any(|(_, h)| h.waiting);
                if goes_on {
                    return Ok(());
                }
            }
            moved.await;
        }
    }

    /// Waits for the spool, and gives up for the others where nobody gets on.
    async fn watched<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let _waiting = Waiting::begin(self);
        let mut work = std::pin::pin!(work);
        let mut told = false;
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = self.backlog.clock.sleep(STALL) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(event = "spool_full", "a conversation waits for room in the spool: spool.capacity");
                    }
                    let now = self.backlog.clock.monotonic();
                    let state = self.backlog.state();
                    if state.gives_up(self.id, now) {
                        // What it has itself leaves no room for the rest: what is sealed is a little longer.
                        let alone = self.backlog.capacity.filter(|_| state.holders().count() == 1);
                        break Err(alone.map_or_else(stuck, never));
                    }
                }
            }
        };
        if done.is_ok() {
            self.backlog.state().moved_at = self.backlog.clock.monotonic();
        }
        done
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
        self.0.backlog.moved.notify_waiters();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let now = self.backlog.clock.monotonic();
        let mut state = self.backlog.state();
        if state.shares.remove(&self.id).is_some() {
            state.moved_at = now;
        }
        drop(state);
        self.backlog.moved.notify_waiters();
    }
}

fn never(capacity: u64) -> Error {
    let why = "what the device gives is larger than the spool: it is held there until it is stored";
    Error::new(ErrorKind::TooLarge, "spool artefact", why)
        .with("spool.capacity in bytes", capacity)
        .hint("raise spool.capacity in the configuration, or collect less of the device in one run")
}

fn stuck() -> Error {
    Error::new(ErrorKind::Unavailable, "spool artefact", "the spool is full, and none of those who fill it can go on")
        .retry_advice(Retry::After(Duration::ZERO))
        .hint("raise spool.capacity in the configuration, or talk to fewer devices at a time")
}
