//! How often something is tried again, and after how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Retry};

/// Exponential back-off with jitter. Only what may pass is tried again: see [`Error::retry`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// Wait before the second try; doubled for each further one.
    pub base: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// What asks for a longer wait than this is given up at once: a run does not stand still for it.
    pub patience: Duration,
    /// Part of a wait that is drawn by chance, from 0 (none) to 1 (all): spreads devices that failed together.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    /// Three tries, 1 s doubled up to 60 s, half of it by chance; nothing that asks for more than 30 s.
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_secs(1),
            max: Duration::from_secs(60),
            patience: Duration::from_secs(30),
            jitter: 0.5,
        }
    }
}

impl RetryPolicy {
    /// One try and no more.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// Sets the number of tries.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the wait before the second try.
    #[must_use]
    pub fn with_base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// How long to wait after try number `attempt` (from 1) failed with `error`; `None`: give up.
    #[must_use]
    pub fn wait(&self, attempt: u32, error: &Error) -> Option<Duration> {
        let Retry::After(least) = error.retry() else { return None };
        if attempt >= self.attempts || least > self.patience {
            return None;
        }
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        let full = doubled.min(self.max);
        let jitter = self.jitter.clamp(0.0, 1.0);
        let drawn = full.mul_f64(1.0 - jitter * fastrand::f64());
        // What the other side asked for counts where it is longer than our own first step.
        Some(if least > self.base { drawn.max(least) } else { drawn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_pass_is_not_tried_again() {
        let policy = RetryPolicy::default();
        for kind in [ErrorKind::AuthRejected, ErrorKind::HostKeyRejected, ErrorKind::Config, ErrorKind::Corrupt] {
            assert_eq!(policy.wait(1, &Error::new(kind, "x", "y")), None);
        }
        let e = Error::new(ErrorKind::Timeout, "x", "y");
        assert!(policy.wait(1, &e).is_some() && policy.wait(2, &e).is_some() && policy.wait(3, &e).is_none());
        assert_eq!(RetryPolicy::never().wait(1, &e), None);
        let full = Error::new(ErrorKind::StorageFull, "x", "y").retry_advice(Retry::After(Duration::from_secs(60)));
        assert_eq!(policy.wait(1, &full), None);
    }

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(attempt in 1u32..100, base in 0u64..100_000, max in 0u64..100_000, jitter in -1.0f64..2.0) {
            let policy = RetryPolicy { attempts: 1000, base: Duration::from_millis(base), max: Duration::from_millis(max), patience: Duration::MAX, jitter };
            let e = Error::new(ErrorKind::Unavailable, "x", "y").retry_advice(Retry::After(Duration::ZERO));
            prop_assert!(policy.wait(attempt, &e).unwrap() <= policy.max);
        }
    }
}
