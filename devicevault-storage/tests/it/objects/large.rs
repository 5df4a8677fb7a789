//! 250 MB over each store in flat memory, and what several requests at a time gain over a slow line.

use std::time::Duration;

use devicevault_core::{Clock as _, StorageBackend as _, SystemClock};
use devicevault_storage::objects::StoreSettings;
use devicevault_testkit::cloud::Double;
use devicevault_testkit::samples;
use futures::StreamExt as _;

use super::{plain, servers};
use crate::plain::{SEALED, ZSTD, config, crash, measure, options};

/// Stores and reads it in a process of its own, so that its peak of memory is its own.
async fn in_flat_memory(scheme: &str, endpoint: &str) {
    for way in [ZSTD, SEALED] {
        let (program, folder) = (std::env::current_exe().unwrap(), tempfile::tempdir().unwrap());
        let mut command = crash::child(&program, "large-at", folder.path(), way, &[scheme, endpoint]);
        let status = tokio::task::spawn_blocking(move || command.stdout(std::process::Stdio::null()).status()).await;
        assert!(status.unwrap().unwrap().success());
    }
}

/// The part that the child plays.
pub(crate) async fn store_large(scheme: &str, endpoint: &str, way: crate::plain::Way) {
    let settings: StoreSettings = servers::settings(scheme, endpoint, &format!("{way:?}").replace(['{', '}', ' '], ""));
    let backend = plain(&settings, options(way)).await.unwrap();
    measure::round_trip(&backend, &format!("250 MB at {scheme}://"), way).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_the_double_has_it() {
    for scheme in ["s3", "gs"] {
        in_flat_memory(scheme, &Double::start().await.endpoint()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn as_moto_has_it() {
    in_flat_memory("s3", &servers::moto().endpoint()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs s3s-fs"]
async fn as_s3s_has_it() {
    in_flat_memory("s3", &servers::s3s().endpoint()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azurite"]
async fn as_azurite_has_it() {
    in_flat_memory("az", &servers::azurite().endpoint()).await;
}

/// Many small backups over a line that takes 50 ms for each answer: one after the other, and as the engine hands them over.
#[tokio::test(flavor = "multi_thread")]
async fn over_a_slow_line_many_are_on_their_way_at_once() {
    const ENTRIES: u64 = 64;
    let double = Double::with(Duration::from_millis(50), true, 0).await;
    let backend = plain(&servers::settings("s3", &double.endpoint(), "dv"), options(SEALED)).await.unwrap();
    backend.publish_keys().await.unwrap();
    let batch = |round: u64| -> Vec<_> {
        (0..ENTRIES).map(|i| config(&format!("sw{i}-{round}"), samples::text(i + 1000 * round, 20_000))).collect()
    };
    let start = SystemClock.monotonic();
    for (entry, body) in batch(0).into_iter().take(8) {
        assert!(backend.store(vec![(entry, body)]).await[0].is_ok());
    }
    let one_by_one = (SystemClock.monotonic() - start).as_secs_f64() / 8.;
    let start = SystemClock.monotonic();
    assert!(backend.store(batch(1)).await.iter().all(Result::is_ok));
    let at_once = (SystemClock.monotonic() - start).as_secs_f64() / ENTRIES as f64;
    let start = SystemClock.monotonic();
    let found = backend.list(devicevault_core::storage::ListFilter::default()).count().await;
    let listed = (SystemClock.monotonic() - start).as_secs_f64() / found as f64;
    eprintln!(
        "50 ms an answer: stored one by one {:.0} ms each, as a batch {:.1} ms each ({:.0} times as fast); listed {:.1} ms each",
        one_by_one * 1e3,
        at_once * 1e3,
        one_by_one / at_once,
        listed * 1e3
    );
    // What is waited for does not depend on how busy the machine is: three answers one after the other.
    assert!(one_by_one >= 0.15, "{one_by_one}");
    assert!(at_once < one_by_one / 3., "{at_once} beside {one_by_one}");
}
