//! The spool in memory that the core brings keeps every promise.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use devicevault_core::Spool;
use devicevault_core::spool::MemorySpool;
use devicevault_testkit::conformance::{self, SpoolSuite};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_spool_conforms() {
    let places = Mutex::new(HashMap::<String, MemorySpool>::new());
    let report = conformance::spool(async |place: &str| {
        let mut places = places.lock().unwrap();
        let spool = places.entry(place.to_owned()).or_insert_with(|| MemorySpool::new(SpoolSuite::CAPACITY)).clone();
        Ok(Arc::new(spool) as Arc<dyn Spool>)
    })
    .await;
    report.assert();
    assert_eq!(report.skipped().map(|c| c.name).collect::<Vec<_>>(), ["restart"], "{report}");
}
