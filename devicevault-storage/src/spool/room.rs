//! How many bytes are left.

use std::sync::atomic::{AtomicU64, Ordering};

use devicevault_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;

/// Counts bytes and lets writers wait for some.
#[derive(Debug)]
pub(super) struct Room {
    capacity: u64,
    used: AtomicU64,
    freed: Notify,
}

impl Room {
    pub(super) fn new(capacity: u64, used: u64) -> Self {
        Self { capacity, used: AtomicU64::new(used), freed: Notify::new() }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Takes `bytes`, of which the caller holds `held` already; waits until they are there.
    pub(super) async fn take(&self, bytes: u64, held: u64) -> Result<()> {
        if held + bytes > self.capacity {
            return Err(Error::new(ErrorKind::TooLarge, "spool artefact", "it is larger than the spool")
                .with("spool bytes", self.capacity)
                .hint("raise spool.capacity in the configuration"));
        }
        loop {
            let freed = self.freed.notified();
            let fits = |used: u64| Some(used + bytes).filter(|sum| *sum <= self.capacity);
            if self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok() {
                return Ok(());
            }
            freed.await;
        }
    }

    /// Takes `bytes` where they are there at once.
    pub(super) fn try_take(&self, bytes: u64) -> Result<()> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.capacity);
        match self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(()),
            Err(used) => {
                Err(Error::new(ErrorKind::QuotaExceeded, "park backup", "the spool is full of what waits already")
                    .with("bytes", used)
                    .with("limit", self.capacity)
                    .hint("mend the destinations that things wait for, or raise spool.parked in the configuration"))
            }
        }
    }

    /// What is used as somebody counted it.
    pub(super) fn set(&self, used: u64) {
        self.used.store(used, Ordering::Release);
        self.freed.notify_waiters();
    }

    pub(super) fn give_back(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        // The closure always answers, so the update always happens.
        let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        self.freed.notify_waiters();
    }
}
