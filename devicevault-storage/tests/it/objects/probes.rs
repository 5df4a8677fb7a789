//! What the connection test finds out of a store.

use std::time::Duration;

use devicevault_core::StorageBackend as _;
use devicevault_core::storage::{Health, Probe};
use devicevault_testkit::cloud::{Double, Fault};

use super::{plain, servers};
use crate::plain::{SEALED, options};

async fn probed(double: &Double) -> Health {
    let settings = servers::settings("s3", &double.endpoint(), "dv");
    plain(&settings, options(SEALED)).await.unwrap().check().await.unwrap()
}

fn probe<'a>(health: &'a Health, name: &str) -> &'a Probe {
    health.probes.iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no {name} in {health:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_store_passes_and_keeps_nothing_of_it() {
    let double = Double::start().await;
    let health = probed(&double).await;
    assert!(health.probes.iter().all(|p| p.good), "{health:?}");
    for name in ["write", "put-if-absent", "read", "range", "list", "delete", "multipart", "clock", "sealing"] {
        probe(&health, name);
    }
    let held = double.held();
    assert!(held.uploads.is_empty());
    assert!(held.objects.keys().all(|k| k.starts_with("dv/keys/") || k == "dv/.devicevault-destination"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_is_found_out() {
    let double = Double::with(Duration::ZERO, false, 0).await;
    let health = probed(&double).await;
    let told = probe(&health, "put-if-absent");
    assert!(!told.good && told.detail.contains("one program at a time"), "{told:?}");
    assert!(health.probes.iter().all(|p| p.good || p.name == "put-if-absent"), "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_told() {
    for (ahead, good) in [(0, true), (60, true), (-3600, false), (7200, false)] {
        let double = Double::with(Duration::ZERO, true, ahead).await;
        let health = probed(&double).await;
        let told = probe(&health, "clock");
        assert_eq!(told.good, good, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lack_is_told_as_its_own() {
    for (verb, fault, name) in [
        ("list", Fault::Stale, "list"),
        ("part", Fault::Answer(403, "AccessDenied"), "multipart"),
        ("begin", Fault::Answer(501, "NotImplemented"), "multipart"),
        ("bulk delete", Fault::Answer(403, "AccessDenied"), "delete"),
    ] {
        let double = Double::start().await;
        double.plan(move |r| (r.verb() == verb).then_some(fault));
        let health = probed(&double).await;
        let told = probe(&health, name);
        assert!(!told.good && !told.detail.is_empty(), "{verb}: {health:?}");
        assert!(double.held().uploads.is_empty(), "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_deleted_all_else_is_good_and_tests_do_not_pile_up() {
    // By the store's clock, what is written now was left an hour ago.
    let double = Double::with(Duration::ZERO, true, -3600).await;
    double.plan(|r| (r.verb() == "bulk delete").then_some(Fault::Answer(403, "AccessDenied")));
    let lacks = |health: &Health| -> Vec<_> {
        let bad = health.probes.iter().filter(|p| !p.good && p.name != "clock");
        bad.map(|p| (p.name.clone(), p.detail.contains("retention cannot delete here"))).collect()
    };
    let first = probed(&double).await;
    assert_eq!(lacks(&first), [("delete".to_owned(), true)], "{first:?}");
    let left = double.held().objects.len();
    let second = probed(&double).await;
    assert_eq!(lacks(&second), [("delete".to_owned(), true)], "{second:?}");
    assert_eq!(double.held().objects.len(), left);
    probe(&second, "sealing");
    // What else is refused is told all the same.
    double.plan(|r| ["bulk delete", "begin"].contains(&r.verb()).then_some(Fault::Answer(403, "AccessDenied")));
    assert!(!probe(&probed(&double).await, "write").good);
}
