//! Time that moves when it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::{Clock, Timestamp};
use tokio::sync::{oneshot, watch};

use crate::samples;

/// A clock for tests. Clones are the same clock.
///
/// Wall time and monotonic time move together, by [`advance`](Self::advance) alone; a sleeper wakes once its time has
/// come. For tests without anything to wait for but sleepers there is [`auto_advancing`](Self::auto_advancing).
///
/// ```
/// use std::time::Duration;
/// use devicevault_core::Clock as _;
/// use devicevault_testkit::clock::ManualClock;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let clock = ManualClock::new();
/// let sleeper = tokio::spawn({
///     let clock = clock.clone();
///     async move { clock.sleep(Duration::from_secs(3600)).await }
/// });
/// clock.sleepers(1).await; // until one sleeps
/// clock.advance(Duration::from_secs(3600));
/// sleeper.await.unwrap();
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock {
    hands: Arc<Mutex<Hands>>,
    sleeping: Arc<watch::Sender<usize>>,
    auto: bool,
}

#[derive(Debug)]
struct Hands {
    start: Timestamp,
    elapsed: Duration,
    /// How often a sleeper came or went; numbers the sleepers too.
    changes: u64,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// Stands at [`samples::BEGINNING`].
    #[must_use]
    pub fn new() -> Self {
        Self::at(samples::BEGINNING)
    }

    /// Stands at this time.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        let hands = Hands { start, elapsed: Duration::ZERO, changes: 0, sleepers: BTreeMap::new() };
        Self { hands: Arc::new(Mutex::new(hands)), sleeping: Arc::new(watch::Sender::new(0)), auto: false }
    }

    /// Moves by itself to the time of the next sleeper, once other tasks have had some turns.
    ///
    /// It cannot know of work outside the runtime (a socket, a file): a sleep that stands for a time limit may then
    /// end before the work. Sleepers among themselves always wake in order.
    #[must_use]
    pub fn auto_advancing(mut self) -> Self {
        self.auto = true;
        self
    }

    /// Moves on, and wakes the sleepers whose time has come, in order.
    ///
    /// # Panics
    /// Beyond the year 9999.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.hands();
        hands.elapsed += by;
        hands.wake();
        self.sleeping.send_replace(hands.sleepers.len());
    }

    /// Sets the wall clock, ahead or back, as a person or a time server may; sleepers, who go by monotonic time, sleep on.
    ///
    /// # Panics
    /// Beyond the year 9999.
    pub fn set(&self, now: Timestamp) {
        let mut hands = self.hands();
        hands.start = now - hands.elapsed;
    }

    /// Waits until at least so many sleep on this clock.
    pub async fn sleepers(&self, at_least: usize) {
        // The sender is part of the clock: it lives as long as the wait.
        let _ = self.sleeping.subscribe().wait_for(|n| *n >= at_least).await;
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets others run, then moves to the first sleeper's time, unless somebody came or went meanwhile.
    async fn push(&self) {
        const TURNS: u32 = 64;
        loop {
            let before = self.hands().changes;
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            let mut hands = self.hands();
            if hands.changes == before
                && let Some((due, _)) = hands.sleepers.keys().next().copied()
            {
                hands.elapsed = hands.elapsed.max(due);
                hands.wake();
                self.sleeping.send_replace(hands.sleepers.len());
            }
        }
    }
}

impl Hands {
    fn wake(&mut self) {
        while let Some(first) = self.sleepers.first_entry() {
            if first.key().0 > self.elapsed {
                break;
            }
            self.changes += 1;
            // A sleeper that was dropped does not listen any more.
            let _ = first.remove().send(());
        }
    }
}

/// Takes a sleeper off the clock when it is dropped.
struct Sleeper<'a> {
    clock: &'a ManualClock,
    key: (Duration, u64),
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        let mut hands = self.clock.hands();
        if hands.sleepers.remove(&self.key).is_some() {
            hands.changes += 1;
            self.clock.sleeping.send_replace(hands.sleepers.len());
        }
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let hands = self.hands();
        hands.start + hands.elapsed
    }

    fn monotonic(&self) -> Duration {
        self.hands().elapsed
    }

    async fn sleep(&self, duration: Duration) {
        if duration.is_zero() {
            return tokio::task::yield_now().await;
        }
        let (wake, woken) = oneshot::channel();
        let sleeper = {
            let mut hands = self.hands();
            let key = (hands.elapsed.saturating_add(duration), hands.changes);
            hands.changes += 1;
            hands.sleepers.insert(key, wake);
            self.sleeping.send_replace(hands.sleepers.len());
            Sleeper { clock: self, key }
        };
        if self.auto {
            tokio::select! {
                biased;
                _ = woken => {}
                () = self.push() => {}
            }
        } else {
            let _ = woken.await;
        }
        drop(sleeper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_in_order_and_not_before_their_time() {
        let clock = ManualClock::new();
        let mut long = Box::pin(clock.sleep(Duration::from_secs(10)));
        let mut short = Box::pin(clock.sleep(Duration::from_secs(5)));
        assert!(futures::poll!(&mut long).is_pending() && futures::poll!(&mut short).is_pending());
        clock.sleepers(2).await;
        clock.advance(Duration::from_secs(4));
        assert!(futures::poll!(&mut short).is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(futures::poll!(&mut short).is_ready() && futures::poll!(&mut long).is_pending());
        drop(long);
        assert!(clock.hands().sleepers.is_empty());
        assert_eq!(clock.now(), samples::BEGINNING + Duration::from_secs(5));
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn an_auto_advancing_clock_moves_to_the_next_sleeper() {
        let clock = ManualClock::new().auto_advancing();
        let woken = std::sync::Mutex::new(Vec::new());
        let sleep = async |secs: u64| {
            clock.sleep(Duration::from_secs(secs)).await;
            woken.lock().unwrap().push((secs, clock.monotonic().as_secs()));
        };
        futures::join!(sleep(30), sleep(10), sleep(20));
        assert_eq!(*woken.lock().unwrap(), [(10, 10), (20, 20), (30, 30)]);
    }
}
