//! Stores and catalogs that fail when they are told to.

mod backend;
mod catalog;
mod plan;

use std::sync::Arc;

pub use plan::{Fault, Operation, Plan};

/// Passes every call on to what it wraps, unless its [`Plan`] has a fault for it.
///
/// It is a [`StorageBackend`](devicevault_core::StorageBackend) over one, and a [`Catalog`](devicevault_core::Catalog)
/// over one.
///
/// ```
/// use std::sync::Arc;
/// use devicevault_core::{Error, ErrorKind, StorageBackendExt as _};
/// use devicevault_testkit::faulty::{Fault, Faulty, Operation};
/// use devicevault_testkit::{memory::MemoryBackend, samples};
///
/// # futures::executor::block_on(async {
/// let faulty = Faulty::new(Arc::new(MemoryBackend::new()));
/// let lost = Error::new(ErrorKind::Unavailable, "store backup", "the reply was lost");
/// faulty.plan().add(Fault::failing(Operation::Store, lost).after_the_effect());
///
/// let (entry, body) = samples::entry("sw1", "hostname sw1\n");
/// assert!(faulty.store_one(entry.clone(), body.clone()).await.is_err());
/// assert_eq!(faulty.inner().len(), 1); // it is there all the same
/// assert!(faulty.store_one(entry, body).await.is_ok());
/// assert_eq!(faulty.inner().len(), 1); // and once
/// # });
/// ```
#[derive(Debug)]
pub struct Faulty<T: ?Sized> {
    plan: Plan,
    inner: Arc<T>,
}

impl<T: ?Sized> Clone for Faulty<T> {
    fn clone(&self) -> Self {
        Self { plan: self.plan.clone(), inner: self.inner.clone() }
    }
}

impl<T: ?Sized> Faulty<T> {
    /// Without any fault.
    #[must_use]
    pub fn new(inner: Arc<T>) -> Self {
        Self { plan: Plan::new(), inner }
    }

    /// With these faults; other wrappers may share the plan.
    #[must_use]
    pub fn with_plan(inner: Arc<T>, plan: &Plan) -> Self {
        Self { plan: plan.clone(), inner }
    }

    /// The faults, to add to at any time.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is wrapped.
    #[must_use]
    pub fn inner(&self) -> &Arc<T> {
        &self.inner
    }
}
