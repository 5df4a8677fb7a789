//! What a change may ask of the world outside its transaction.

use std::sync::Arc;

use devicevault_core::{Clock, Timestamp};
use uuid::Uuid;

use super::instance::Instance;

/// The clock, and which processes live.
#[derive(Debug)]
pub(in crate::catalog) struct Context {
    clock: Arc<dyn Clock>,
    instance: Instance,
}

impl Context {
    pub(super) fn new(clock: Arc<dyn Clock>, instance: Instance) -> Self {
        Self { clock, instance }
    }

    pub(super) fn instance(&self) -> &Instance {
        &self.instance
    }

    pub(in crate::catalog) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What this open catalog signs its leases and runs with.
    pub(in crate::catalog) fn owner(&self) -> Uuid {
        self.instance.id()
    }

    /// Whether the catalog that signed so is open no more, however it ended. In doubt it lives.
    pub(in crate::catalog) fn is_dead(&self, owner: Uuid) -> bool {
        owner != self.owner() && self.instance.is_dead(owner)
    }
}
