//! Which call fails, and how.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use devicevault_core::{Clock, Error, Result, SystemClock};

/// A method of [`StorageBackend`](devicevault_core::StorageBackend) or [`Catalog`](devicevault_core::Catalog).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is the method of its name")]
#[non_exhaustive]
pub enum Operation {
    Store,
    Read,
    Stat,
    List,
    Delete,
    Verify,
    Usage,
    Maintain,
    Check,
    NoteSightings,
    Sightings,
    Begin,
    Lease,
    Renew,
    Release,
    Advance,
    Latest,
    Record,
    Find,
    Runs,
    Verified,
    Mark,
    Forget,
    Pin,
    Accept,
    Pending,
    Statistics,
}

/// One thing that goes wrong.
#[derive(Debug, Clone)]
#[must_use]
pub struct Fault {
    operation: Option<Operation>,
    call: u64,
    lasting: bool,
    after: bool,
    delay: Duration,
    hangs: bool,
    error: Option<Error>,
}

impl Fault {
    fn new(operation: Option<Operation>) -> Self {
        Self { operation, call: 1, lasting: false, after: false, delay: Duration::ZERO, hangs: false, error: None }
    }

    /// The next call of this operation fails, and has no effect.
    pub fn failing(operation: Operation, error: Error) -> Self {
        Self { error: Some(error), ..Self::new(Some(operation)) }
    }

    /// The next call of any operation fails, and has no effect.
    pub fn failing_any(error: Error) -> Self {
        Self { error: Some(error), ..Self::new(None) }
    }

    /// The next call of this operation takes so much longer.
    pub fn delaying(operation: Operation, delay: Duration) -> Self {
        Self { delay, ..Self::new(Some(operation)) }
    }

    /// The next call of this operation never returns.
    pub fn hanging(operation: Operation) -> Self {
        Self { hangs: true, ..Self::new(Some(operation)) }
    }

    /// Not the next call, but the one of this number from now on; 1 is the next.
    pub fn at_call(mut self, number: u64) -> Self {
        self.call = number.max(1);
        self
    }

    /// That call and all after it.
    pub fn for_ever(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// The call has its effect first: its reply is what is lost or late.
    pub fn after_the_effect(mut self) -> Self {
        self.after = true;
        self
    }
}

/// The faults of one or more wrappers, and what was called. Clones are the same plan.
#[derive(Debug, Clone)]
pub struct Plan {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    calls: BTreeMap<Operation, u64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Plan {
    /// Nothing goes wrong.
    #[must_use]
    pub fn new() -> Self {
        Self { clock: Arc::new(SystemClock), state: Arc::default() }
    }

    /// Delays are slept on this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// One fault more.
    pub fn add(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// How often this operation was called.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.state().calls.get(&operation).copied().unwrap_or_default()
    }

    /// How often any operation was called.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.state().calls.values().sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and takes the fault that it meets: the first that was added.
    pub(super) fn call(&self, operation: Operation) -> Met {
        let mut state = self.state();
        *state.calls.entry(operation).or_default() += 1;
        let mut met = None;
        state.faults.retain_mut(|fault| {
            if fault.operation.is_some_and(|o| o != operation) {
                return true;
            }
            if fault.call > 1 {
                fault.call -= 1;
                return true;
            }
            if met.is_some() {
                return true;
            }
            met = Some(fault.clone());
            fault.lasting
        });
        Met { fault: met, clock: self.clock.clone() }
    }
}

/// What a call meets.
pub(super) struct Met {
    fault: Option<Fault>,
    clock: Arc<dyn Clock>,
}

impl Met {
    /// Before the effect. An error means: have none.
    pub(super) async fn before(&self) -> Result<()> {
        self.at(false).await
    }

    /// After the effect. An error means: tell it instead of the reply.
    pub(super) async fn after(&self) -> Result<()> {
        self.at(true).await
    }

    async fn at(&self, after: bool) -> Result<()> {
        let Some(fault) = self.fault.as_ref().filter(|f| f.after == after) else { return Ok(()) };
        if !fault.delay.is_zero() {
            self.clock.sleep(fault.delay).await;
        }
        if fault.hangs {
            std::future::pending::<()>().await;
        }
        fault.error.clone().map_or(Ok(()), Err)
    }
}
