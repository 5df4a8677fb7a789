//! What every implementation of a trait promises, as cases that can be run against it.
//!
//! Each suite opens the implementation again and again at named *places*: a place first heard of is empty, a place
//! asked for again is the same one opened anew, as after a restart. The suites adapt to what an implementation says it
//! can do, and report what they left out and why.
//!
//! ```
//! # use std::collections::HashMap;
//! # use std::sync::{Arc, Mutex};
//! use devicevault_core::StorageBackend;
//! use devicevault_testkit::{conformance, memory::MemoryBackend};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let places = Mutex::new(HashMap::<String, MemoryBackend>::new());
//! let report = conformance::backend(async |place: &str| {
//!     let backend = places.lock().unwrap().entry(place.to_owned()).or_default().clone();
//!     Ok(Arc::new(backend) as Arc<dyn StorageBackend>)
//! })
//! .await;
//! report.assert(); // panics with a line for every broken promise
//! # }
//! ```

mod backend;
mod case;
mod catalog;
mod collector;
mod inventory;
mod place;
mod report;
mod spool;

pub use backend::{BackendSuite, Damage, Damager, backend};
pub use catalog::{CatalogSuite, catalog};
pub use collector::{CollectorSuite, Scene, Situation, Subject, collector};
pub use inventory::{InventorySuite, inventory};
pub use place::Opener;
pub use report::{CaseReport, Finding, Report};
pub use spool::{SpoolSuite, spool};
