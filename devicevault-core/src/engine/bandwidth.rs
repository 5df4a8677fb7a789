//! How many bytes a second come from all devices together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Clock;

/// So much of what was not used is made up for.
const BURST: Duration = Duration::from_millis(250);

/// Hands out time on the line: each piece takes what it lasts at the rate, one behind the other.
#[derive(Debug)]
pub(super) struct Bandwidth {
    per_second: Option<u64>,
    /// When the line is free again, on the monotonic clock.
    free_at: Mutex<Duration>,
}

impl Bandwidth {
    pub(super) fn new(per_second: Option<u64>) -> Self {
        Self { per_second: per_second.map(|n| n.max(1)), free_at: Mutex::default() }
    }

    /// Waits until so many bytes are through; `paused` is told beforehand for how long. Dropping the future leaves its time
    /// unused.
    pub(super) async fn pass(&self, bytes: u64, clock: &dyn Clock, paused: &Paused) {
        let wait = self.reserve(bytes, clock.monotonic());
        if !wait.is_zero() {
            paused.add(wait);
            clock.sleep(wait).await;
        }
    }

    fn reserve(&self, bytes: u64, now: Duration) -> Duration {
        let Some(rate) = self.per_second else { return Duration::ZERO };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let lasts = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(now.saturating_sub(BURST)).saturating_add(lasts);
        free_at.saturating_sub(now)
    }
}

/// For how long one conversation waits for the line, which is not the device's time.
#[derive(Debug, Default)]
pub(super) struct Paused(AtomicU64);

impl Paused {
    fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits for so long, and for what was and is added.
    pub(super) async fn outlast(&self, time: Duration, clock: &dyn Clock) {
        let mut left = time;
        while !left.is_zero() {
            clock.sleep(left).await;
            left = Duration::from_nanos(self.0.swap(0, Ordering::Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_limit_nobody_waits() {
        assert_eq!(Bandwidth::new(None).reserve(u64::MAX, Duration::ZERO), Duration::ZERO);
        assert!(Bandwidth::new(Some(0)).reserve(u64::MAX, Duration::ZERO) > Duration::from_secs(1 << 30));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_one_burst(rate in 1u64..1_000_000, pieces in proptest::collection::vec((0u64..100_000, 0u64..500), 1..60)) {
            let line = Bandwidth::new(Some(rate));
            let (mut now, mut total, mut through) = (Duration::from_secs(1), 0, Duration::ZERO);
            for (bytes, pause) in pieces {
                now += Duration::from_millis(pause);
                through = through.max(now + line.reserve(bytes, now));
                total += bytes;
                let elapsed = through - Duration::from_secs(1) + BURST;
                prop_assert!(total as f64 <= rate as f64 * elapsed.as_secs_f64() + 1.0);
            }
        }
    }
}
