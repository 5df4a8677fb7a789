//! What simulated devices were asked.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// TCP connections.
    pub connections: u64,
    /// Passwords that were tried, right and wrong, by any method.
    pub password_attempts: u64,
    /// The most passwords that were looked at at a time.
    pub passwords_at_once: u64,
    /// Secrets that were given to `enable`, right and wrong.
    pub enable_attempts: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Shells that were opened.
    pub shells: u64,
    /// Commands that were run, in shells and without.
    pub commands: u64,
    /// Bytes that were written to channels.
    pub bytes: u64,
    /// Connections that are open.
    pub open: u64,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.password_attempts += other.password_attempts;
        self.passwords_at_once = self.passwords_at_once.max(other.passwords_at_once);
        self.enable_attempts += other.enable_attempts;
        self.logins += other.logins;
        self.shells += other.shells;
        self.commands += other.commands;
        self.bytes += other.bytes;
        self.open += other.open;
    }
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: AtomicU64,
    pub(super) password_attempts: AtomicU64,
    pub(super) passwords_at_once: AtomicU64,
    pub(super) passwords_now: AtomicU64,
    pub(super) enable_attempts: AtomicU64,
    pub(super) logins: AtomicU64,
    pub(super) shells: AtomicU64,
    pub(super) commands: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) open: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn read(&self) -> Stats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            connections: of(&self.connections),
            password_attempts: of(&self.password_attempts),
            passwords_at_once: of(&self.passwords_at_once),
            enable_attempts: of(&self.enable_attempts),
            logins: of(&self.logins),
            shells: of(&self.shells),
            commands: of(&self.commands),
            bytes: of(&self.bytes),
            open: of(&self.open),
        }
    }
}
