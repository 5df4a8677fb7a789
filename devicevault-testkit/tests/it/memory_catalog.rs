//! The catalog and the inventory in memory keep every promise.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use devicevault_core::{Catalog, Inventory};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::conformance::{self, CatalogSuite};
use devicevault_testkit::memory::{MemoryCatalog, MemoryInventory};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_catalog_conforms() {
    let clock = ManualClock::new();
    let places = Mutex::new(HashMap::<String, MemoryCatalog>::new());
    let open = async |place: &str| {
        let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
        let again = match places.get(place) {
            Some(before) => before.reopened(),
            None => MemoryCatalog::with_clock(Arc::new(clock.clone())),
        };
        places.insert(place.to_owned(), again.clone());
        Ok(Arc::new(again) as Arc<dyn Catalog>)
    };
    let report = CatalogSuite::new(&open).with_clock(&clock).run().await;
    report.assert();
    assert_eq!(report.skipped().count(), 0, "{report}");

    let without_clock = CatalogSuite::new(&open).only("lease-expiry").run().await;
    assert!(!without_clock.is_good() && without_clock.broken().next().is_none(), "{without_clock}");
}

#[tokio::test]
async fn the_memory_inventory_conforms() {
    let places = Mutex::new(HashMap::<String, MemoryInventory>::new());
    let report = conformance::inventory(async |place: &str| {
        let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::new(places.entry(place.to_owned()).or_default().clone()) as Arc<dyn Inventory>)
    })
    .await;
    report.assert();
    assert_eq!(report.skipped().count(), 0, "{report}");
}
