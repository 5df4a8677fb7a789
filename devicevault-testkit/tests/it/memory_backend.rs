//! The store in memory keeps every promise of a backend, and the suite finds it out when it does not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use devicevault_core::{StorageBackend, StorageRef};
use devicevault_testkit::conformance::{BackendSuite, Damage};
use devicevault_testkit::memory::MemoryBackend;

/// Stores by the name of their place.
#[derive(Default)]
struct Places(Mutex<HashMap<String, MemoryBackend>>);

impl Places {
    fn open(&self, place: &str, make: impl Fn() -> MemoryBackend) -> MemoryBackend {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(place.to_owned()).or_insert_with(make).clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_backend_conforms() {
    let places = Places::default();
    let open = async |place: &str| Ok(Arc::new(places.open(place, MemoryBackend::new)) as Arc<dyn StorageBackend>);
    let damage =
        async |place: &str, at: &StorageRef, how: Damage| Ok(places.open(place, MemoryBackend::new).damage(at, how));
    let report = BackendSuite::new(&open).with_damage(&damage).run().await;
    report.assert();
    let skipped: Vec<_> = report.skipped().map(|c| c.name).collect();
    assert_eq!(skipped, ["too-large", "no-delete"], "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_adapts_to_what_a_backend_cannot_do() {
    let places = Places::default();
    let make = || MemoryBackend::new().without_delete().with_max_body(1 << 20).with_max_batch(1);
    let open = async |place: &str| Ok(Arc::new(places.open(place, make)) as Arc<dyn StorageBackend>);
    let report = BackendSuite::new(&open).run().await;
    report.assert();
    assert!(report.skipped().any(|c| c.name == "delete") && report.skipped().any(|c| c.name == "damage"));
}
