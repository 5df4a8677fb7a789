//! Faults come when they are told to, and not otherwise.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::storage::{ListFilter, UsageFilter};
use devicevault_core::{Catalog, Clock, Error, ErrorKind, StorageBackend, StorageBackendExt as _};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::conformance::{BackendSuite, CatalogSuite};
use devicevault_testkit::faulty::{Fault, Faulty, Operation, Plan};
use devicevault_testkit::memory::{MemoryBackend, MemoryCatalog};
use devicevault_testkit::samples;
use futures::StreamExt as _;

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "store backup", "it is down")
}

#[tokio::test]
async fn the_kth_call_fails_once_or_for_ever() {
    let faulty = Faulty::new(Arc::new(MemoryBackend::new()));
    let store = async || {
        let (entry, body) = samples::entry("sw1", "x");
        faulty.store_one(entry, body).await.is_ok()
    };
    faulty.plan().add(Fault::failing(Operation::Store, down()).at_call(2));
    faulty.plan().add(Fault::failing(Operation::Store, down()).at_call(4).for_ever());
    let mut went = Vec::new();
    for _ in 0..6 {
        went.push(store().await);
    }
    assert_eq!(went, [true, false, true, false, false, false]);
    assert_eq!((faulty.plan().calls(Operation::Store), faulty.inner().len()), (6, 2));
    assert!(faulty.usage(UsageFilter::default()).await.is_ok());
    faulty.plan().heal();
    assert!(store().await);
}

#[tokio::test]
async fn a_reply_is_lost_after_the_effect() {
    let faulty = Faulty::new(Arc::new(MemoryBackend::new()));
    let (entry, body) = samples::entry("sw1", "content");
    faulty.plan().add(Fault::failing_any(down()).after_the_effect());
    assert!(faulty.store_one(entry.clone(), body.clone()).await.is_err());
    let at = faulty.store_one(entry, body).await.unwrap();
    assert_eq!(faulty.inner().len(), 1);

    faulty.plan().add(Fault::failing(Operation::Read, down()).after_the_effect());
    let pieces: Vec<_> = faulty.read(&at, None).await.unwrap().collect().await;
    assert!(pieces.first().is_some_and(Result::is_ok) && pieces.last().is_some_and(Result::is_err));

    faulty.plan().add(Fault::failing(Operation::List, down()));
    let listed: Vec<_> = faulty.list(ListFilter::default()).collect().await;
    assert!(listed.len() == 1 && listed[0].is_err());
    faulty.plan().add(Fault::failing(Operation::List, down()).after_the_effect());
    let listed: Vec<_> = faulty.list(ListFilter::default()).collect().await;
    assert!(listed.len() == 2 && listed[0].is_ok() && listed[1].is_err());

    faulty.plan().add(Fault::failing(Operation::Delete, down()).after_the_effect());
    assert!(faulty.delete_one(&at).await.is_err());
    assert!(faulty.inner().is_empty());
}

#[tokio::test]
async fn delays_are_slept_on_the_plans_clock() {
    let clock = ManualClock::new();
    let plan = Plan::new().with_clock(Arc::new(clock.clone()));
    let faulty = Faulty::with_plan(Arc::new(MemoryCatalog::new()), &plan);
    plan.add(Fault::delaying(Operation::Pending, Duration::from_secs(60)));
    let slow = tokio::spawn(async move { faulty.pending().await });
    clock.sleepers(1).await;
    assert!(!slow.is_finished());
    clock.advance(Duration::from_secs(60));
    slow.await.unwrap().unwrap();
    assert_eq!(clock.monotonic(), Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fault_every_call_is_passed_on() {
    let places = std::sync::Mutex::new(std::collections::HashMap::<String, MemoryBackend>::new());
    let open = async |place: &str| {
        let inner = places.lock().unwrap().entry(place.to_owned()).or_default().clone();
        Ok(Arc::new(Faulty::<dyn StorageBackend>::new(Arc::new(inner))) as Arc<dyn StorageBackend>)
    };
    BackendSuite::new(&open).run().await.assert();

    let places = std::sync::Mutex::new(std::collections::HashMap::<String, MemoryCatalog>::new());
    let open = async |place: &str| {
        let mut places = places.lock().unwrap();
        let again = places.get(place).map(MemoryCatalog::reopened).unwrap_or_default();
        places.insert(place.to_owned(), again.clone());
        Ok(Arc::new(Faulty::new(Arc::new(again))) as Arc<dyn Catalog>)
    };
    CatalogSuite::new(&open).run().await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_finds_a_backend_out_that_breaks_its_promises() {
    let open = async |_: &str| {
        // Every place is empty whenever it is opened, and fails to read a manifest once.
        let faulty = Faulty::new(Arc::new(MemoryBackend::new()));
        faulty.plan().add(Fault::failing(Operation::Stat, down()).at_call(3));
        Ok(Arc::new(faulty) as Arc<dyn StorageBackend>)
    };
    let report = BackendSuite::new(&open).run().await;
    let broken: Vec<_> = report.broken().map(|c| c.name).collect();
    for name in ["batch", "reopen", "same-entry-again", "sizes"] {
        assert!(broken.contains(&name), "{name}: {report}");
    }
    assert!(!broken.contains(&"capability"), "{report}");
    assert!(report.to_string().contains("it is down"), "{report}");
}
