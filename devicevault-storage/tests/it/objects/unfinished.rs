//! Uploads in parts whose program was killed.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::StorageBackend as _;
use devicevault_core::storage::Budget;
use devicevault_storage::objects;
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::cloud::{Double, Fault};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};

use super::{plain, servers};
use crate::plain::{SEALED, crash, options};

/// The name of content as ours is.
const OURS: &str = "sw1/firmware/2026-11-21T01-24-44Z-3f2a9c1d.bin.zst";
const BACK: Duration = Duration::from_secs(3 * 86_400);

async fn maintained(settings: &objects::StoreSettings, clock: Arc<ManualClock>) -> Vec<String> {
    let backend = plain(settings, options(SEALED).with_clock(clock)).await.unwrap();
    backend.maintain(Budget::default()).await.unwrap().done
}

fn now() -> ManualClock {
    ManualClock::at(devicevault_core::Clock::now(&devicevault_core::SystemClock))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_upload_left_is_given_up_and_nothing_else() {
    let double = Double::start().await;
    let (program, folder) = (std::env::current_exe().unwrap(), tempfile::tempdir().unwrap());
    let mut parts = 0;
    double.plan(move |r| {
        parts += u32::from(r.verb() == "part");
        (parts > 4).then_some(Fault::Stall(Duration::from_secs(600)))
    });
    let mut command = crash::child(&program, "large-at", folder.path(), SEALED, &["s3", &double.endpoint()]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    while double.held().uploads.values().map(std::collections::BTreeMap::len).sum::<usize>() < 4 {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    double.plan(|_| None);
    let left = double.held().uploads.keys().next().unwrap().clone();
    let place = left.split_once('-').unwrap().1.split('/').next().unwrap().to_owned();
    let others = [format!("7-{place}/not ours.bin"), format!("8-elsewhere/{OURS}"), format!("9-{place}-too/{OURS}")];
    for other in &others {
        double.held().uploads.insert(other.clone(), [(1, "part".into())].into());
    }
    let settings = servers::settings("s3", &double.endpoint(), &place);
    // It may be somebody's who is still at it.
    let clock = Arc::new(now());
    assert!(maintained(&settings, clock.clone()).await.is_empty());
    assert_eq!(double.held().uploads.len(), 4);
    clock.advance(BACK);
    assert_eq!(maintained(&settings, clock.clone()).await, ["gave up 1 uploads in parts that broke off"]);
    let held: Vec<_> = double.held().uploads.keys().cloned().collect();
    assert_eq!(held, others);

    // A store that refuses the question is told of, and keeps nothing else from being done.
    double.plan(|r| (r.verb() == "list uploads").then_some(Fault::Answer(501, "NotImplemented")));
    let told = maintained(&settings, clock).await;
    assert!(told.len() == 1 && told[0].starts_with("could not look for uploads that broke off"), "{told:?}");
}

/// Over a server of others: an upload that is begun, and forgotten as by a kill.
async fn is_given_up(server: &servers::Server) {
    let settings = server.settings("left");
    let store = objects::open(&settings).await.unwrap();
    let mut left = Vec::new();
    for name in [OURS.to_owned(), OURS.replace("sw1", "sw 2+%"), OURS.replace("sw1", "z\u{fc}rich")] {
        let mut upload = store.put_multipart(&Path::parse(name).unwrap()).await.unwrap();
        upload.put_part(PutPayload::from(vec![7; 5 << 20])).await.unwrap();
        left.push(upload);
    }
    // Moto says of every upload that it was begun in 2010.
    let clock = Arc::new(now());
    let told = maintained(&settings, clock.clone()).await;
    assert_eq!(told, ["gave up 3 uploads in parts that broke off"]);
    assert!(maintained(&settings, clock).await.is_empty());
    for mut upload in left {
        assert!(upload.complete().await.is_err(), "it is still there");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn as_moto_has_it() {
    is_given_up(&servers::moto()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs s3s-fs"]
async fn as_s3s_has_it() {
    // It cannot tell them, which is said.
    let server = servers::s3s();
    let told = maintained(&server.settings("left"), Arc::new(now())).await;
    assert_eq!(told, ["could not look for uploads that broke off: list broken uploads: the store answered 501"]);
}
