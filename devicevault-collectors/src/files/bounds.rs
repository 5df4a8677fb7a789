//! How long a conversation about files may take.

use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result, StepLimits};
use tokio::time::{Instant, timeout};

/// The time that one artefact has: silence is bounded at each step, and the whole of it by the limit of a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    inactivity: Duration,
    total: Duration,
    deadline: Instant,
}

impl Bounds {
    /// From now on.
    pub(super) fn begin(limits: &StepLimits) -> Self {
        let now = Instant::now();
        // A limit that no clock reaches is no limit.
        let far = || now + Duration::from_secs(86_400 * 365);
        let deadline = now.checked_add(limits.command).unwrap_or_else(far);
        Self { inactivity: limits.inactivity, total: limits.command, deadline }
    }

    /// Waits for a step of which silence may last no longer than silence may.
    pub(super) async fn step<F: Future>(&self, step: &'static str, work: F) -> Result<F::Output> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = left.min(self.inactivity);
        timeout(limit, work).await.map_err(|_| match limit == self.inactivity {
            true => Error::new(ErrorKind::Timeout, step, format!("no answer within {} s", limit.as_secs_f32())),
            false => self.over(step),
        })
    }

    /// Waits for something of many steps.
    pub(super) async fn whole<F: Future>(&self, step: &'static str, work: F) -> Result<F::Output> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        timeout(left, work).await.map_err(|_| self.over(step))
    }

    fn over(&self, step: &'static str) -> Error {
        let why = format!("it took longer than {} s in all", self.total.as_secs_f32());
        Error::new(ErrorKind::Timeout, step, why).hint("raise the limit on the time of a command")
    }
}
