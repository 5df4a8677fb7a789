//! Destinations of an instance made ready for the engine: opened and tested.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::engine::{Destination, RetryPolicy};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::storage::{Health, Probe};
use devicevault_core::{Clock, Error, ErrorKind, Result, StorageBackend};
use futures::{StreamExt as _, stream};

use crate::context::Context;
use crate::instance::OpenDestination;
use crate::unready::UnreadyBackend;
use crate::wiring;

/// What is to be tried again only after this long holds no run up: it waits in the spool.
const PATIENCE: Duration = Duration::from_secs(10);
/// Destinations that are tested at a time.
const TESTS_AT_ONCE: usize = 8;

/// A destination as runs use it.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) config: DestinationConfig,
    /// Of one that is not ready, every call ends in its error.
    pub(crate) destination: Arc<Destination>,
    /// Why it is not ready.
    pub(crate) error: Option<Error>,
}

impl Ready {
    /// Whether it let everybody wait and did not answer.
    pub(crate) fn is_silent(&self) -> bool {
        self.error.as_ref().is_some_and(|e| e.kind() == ErrorKind::Timeout)
    }
}

/// Tests what was opened. One that is not ready delays nothing else: what it is to have waits for it.
pub(crate) async fn test_all(context: &Context, open: Vec<OpenDestination>) -> Vec<Ready> {
    stream::iter(open).map(|d| test(context, d)).buffered(TESTS_AT_ONCE).collect().await
}

async fn test(context: &Context, open: OpenDestination) -> Ready {
    let name = open.config.name.clone();
    let backend = match open.backend {
        Ok(backend) => match faults(context, &name, &backend).await {
            None => Ok(backend),
            Some(e) => Err(e),
        },
        Err(e) => Err(e),
    };
    ready(open.config, backend.map_err(|e| e.with("destination", name)), context.clock())
}

/// What was opened, untested.
pub(crate) fn ready(
    config: DestinationConfig,
    backend: Result<Arc<dyn StorageBackend>>,
    clock: &Arc<dyn Clock>,
) -> Ready {
    let mut retry = RetryPolicy::default();
    retry.patience = PATIENCE;
    let (backend, retry, error): (Arc<dyn StorageBackend>, _, _) = match backend {
        Ok(backend) => (backend, retry, None),
        Err(e) => (UnreadyBackend::new(e.clone()), RetryPolicy::never(), Some(e)),
    };
    let options = wiring::queue_options(&config).with_retry(retry).with_look_again(true);
    let destination = Destination::new(config.id.clone(), backend, options, clock.clone());
    Ready { config, destination, error }
}

/// What keeps a destination from being used.
async fn faults(context: &Context, name: &str, backend: &Arc<dyn StorageBackend>) -> Option<Error> {
    let health = match backend.check().await {
        Ok(health) => health,
        Err(e) => return Some(e),
    };
    let (faults, advice) = sorted(&health);
    if !advice.is_empty() {
        let text = format!("destination {name}: {}", told(&advice));
        let is_grave = advice.iter().any(|probe| probe.name == ANOTHER_HOME);
        if is_grave { context.ui.alert(&text) } else { context.ui.warn(&text) }
    }
    (!faults.is_empty()).then(|| Error::new(ErrorKind::Unavailable, "test destination", told(&faults)))
}

/// Probes that say how safe a store is, not whether it works: what fails there is told, and no reason to go without a
/// backup.
const ADVICE: [&str; 10] = [
    "durability",
    "free space",
    "remote",
    "reach remote",
    "put-if-absent",
    "delete",
    "clock",
    "quota",
    "space to be kept",
    ANOTHER_HOME,
];
/// Two homes go on with one place: neither's retention is what it was.
const ANOTHER_HOME: &str = "another home";

/// The probes that failed: those that keep a destination from being used, and those that are advice.
pub(crate) fn sorted(health: &Health) -> (Vec<&Probe>, Vec<&Probe>) {
    health.probes.iter().filter(|p| !p.good).partition(|p| !ADVICE.contains(&p.name.as_str()))
}

fn told(probes: &[&Probe]) -> String {
    probes.iter().map(|p| format!("{}: {}", p.name, p.detail)).collect::<Vec<_>>().join("; ")
}
