//! Time as a trait, so that nothing else reads the wall clock and tests need not sleep.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use async_trait::async_trait;
pub use jiff::Timestamp;

/// Wall time, monotonic time and sleep.
#[async_trait]
pub trait Clock: Debug + Send + Sync {
    /// Wall time in UTC, to the microsecond (what every record can hold).
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary origin; never goes back.
    fn monotonic(&self) -> Duration;
    /// Waits. Dropping the future ends the wait.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock: the only place in the project that reads it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
    fn now(&self) -> Timestamp {
        to_micros(Timestamp::now())
    }

    #[allow(clippy::disallowed_methods, reason = "the one place where the monotonic clock is read")]
    fn monotonic(&self) -> Duration {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        ORIGIN.get_or_init(Instant::now).elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Cuts a time to whole microseconds, the resolution of records.
#[must_use]
pub fn to_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
