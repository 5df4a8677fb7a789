//! Several writers of one entry at once, over a store whose put-if-absent lets more than one of them through: whoever was
//! told that it is stored reads it from then on.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use devicevault_core::storage::{Budget, Verdict, VerifyDepth};
use devicevault_core::{Body, Entry, StorageBackend as _, StorageBackendExt as _, StorageRef};
use devicevault_storage::plain::PlainBackend;
use devicevault_testkit::cloud::{Double, Fault};
use devicevault_testkit::samples;

use super::{plain, servers};
use crate::plain::{OPAQUE, SEALED, Way, ZSTD, config, listed, options};

const MAX: u64 = 1 << 30;

/// What a round of writers came to.
#[derive(Debug, Default)]
struct Counted {
    stored: AtomicU32,
    failed: AtomicU32,
    reads: AtomicU32,
    replaced: AtomicU32,
}

async fn reads(backend: &PlainBackend, at: &StorageRef, content: &[u8], counted: &Counted) {
    assert!(backend.read_all(at, MAX).await.unwrap() == content, "{at}");
    counted.reads.fetch_add(1, Ordering::Relaxed);
}

/// Writers of one entry, each with a program of its own; those that are told that it is stored read it until all are done,
/// and once more when all is tidied up.
async fn write_at_once(double: &Double, way: Way, content: &[u8], writers: usize, timeout: &str, counted: &Counted) {
    let settings = servers::settings("s3", &double.endpoint(), "dv").with_option("timeout", timeout);
    let mut backends = Vec::new();
    for _ in 0..writers {
        // The first one sets the place and its keys up.
        let backend = plain(&settings, options(way)).await.unwrap();
        backend.publish_keys().await.unwrap();
        backends.push(backend);
    }
    let (entry, body): (Entry, std::sync::Arc<dyn Body>) = config("sw1", content.to_vec());
    let (waiting, all_done) = (AtomicU32::new(u32::try_from(writers).unwrap()), AtomicBool::new(false));
    let one = async |backend: &PlainBackend| {
        let stored = backend.store_one(entry.clone(), body.clone()).await;
        if waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            all_done.store(true, Ordering::Release);
        }
        let Ok(at) = stored else {
            counted.failed.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        counted.stored.fetch_add(1, Ordering::Relaxed);
        loop {
            let last = all_done.load(Ordering::Acquire);
            reads(backend, &at, content, counted).await;
            if last {
                return Some(at);
            }
        }
    };
    let told: Vec<_> = futures::future::join_all(backends.iter().map(one)).await.into_iter().flatten().collect();
    assert!(!told.is_empty(), "nobody was told that it is stored");
    // What a server that was given up carries out late.
    while double.is_busy() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    double.plan(|_| None);
    for maintained in [false, true] {
        if maintained {
            backends[0].maintain(Budget::default()).await.unwrap();
        }
        for at in &told {
            reads(&backends[0], at, content, counted).await;
            let verdict = backends[1].verify(at, None, VerifyDepth::Content).await.unwrap();
            assert_eq!(verdict, Verdict::Good(VerifyDepth::Content));
        }
        assert_eq!(listed(&backends[0]).await.len(), 1);
    }
    let contents = double.held().objects.keys().filter(|k| k.contains("Z-") && !k.ends_with(".json")).count();
    assert_eq!(contents, 1, "what lost is tidied up");
    counted.replaced.fetch_add(double.replaced(), Ordering::Relaxed);
}

/// Requests that take their time, each another one: the same for the same seed.
fn uneven(double: &Double, seed: u64, most: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    double.plan(move |_| Some(Fault::Stall(Duration::from_millis(rng.u64(..most)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_get_through_at_once_are_both_stored() {
    let counted = Counted::default();
    for seed in 0..6 {
        for way in [ZSTD, SEALED] {
            let double = Double::racing(Duration::from_millis(2)).await;
            uneven(&double, seed, 15);
            write_at_once(&double, way, &samples::text(seed, 4000), 4, "120", &counted).await;
        }
    }
    eprintln!("{counted:?}");
    assert_eq!(counted.failed.into_inner(), 0);
    assert!(counted.replaced.into_inner() > 0, "nobody got through beside another");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_content_of_several_writers_in_parts_is_stored() {
    let counted = Counted::default();
    for (seed, ways) in [(0, [ZSTD, SEALED]), (1, [OPAQUE, SEALED])] {
        for way in ways {
            let double = Double::racing(Duration::from_millis(2)).await;
            uneven(&double, seed, 40);
            write_at_once(&double, way, &samples::noise(seed, 12 << 20), 3, "120", &counted).await;
            assert!(double.held().uploads.is_empty(), "parts of an upload were left");
        }
    }
    eprintln!("{counted:?}");
    assert_eq!(counted.failed.into_inner(), 0);
}

/// A write whose connection broke, and that the server carries out all the same, long after: behind another's.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_comes_late_takes_nothing_away() {
    let counted = Counted::default();
    for seed in 0..6 {
        for way in [ZSTD, SEALED] {
            let double = Double::racing(Duration::from_millis(2)).await;
            let mut manifests = 0;
            double.plan(move |r| {
                let manifest = r.verb() == "put" && r.key.ends_with(".manifest.json");
                manifests += u64::from(manifest);
                (manifest && manifests == 1).then_some(Fault::Late(Duration::from_millis(150 + 100 * seed)))
            });
            write_at_once(&double, way, &samples::text(seed, 4000), 3, "120", &counted).await;
        }
    }
    eprintln!("{counted:?}");
    assert_eq!(counted.failed.into_inner(), 0);
    assert!(counted.replaced.into_inner() > 0, "nothing came late");
}

/// Two programs that come first, each of which looks for the key of names before the other has stored it; at a store that
/// keeps what is there, and at one that replaces it.
#[tokio::test(flavor = "multi_thread")]
async fn two_that_come_first_at_once_make_the_same_opaque_names() {
    for conditions in [true, false] {
        let double = Double::with(Duration::ZERO, conditions, 0).await;
        let settings = servers::settings("s3", &double.endpoint(), "dv");
        let (one, two) =
            (plain(&settings, options(OPAQUE)).await.unwrap(), plain(&settings, options(OPAQUE)).await.unwrap());
        let mut looks = 0;
        double.plan(move |r| {
            let of_names = r.verb() == "get" && r.key.ends_with("keys/names.json");
            looks += u32::from(of_names);
            (of_names && looks <= 2).then_some(Fault::Answer(404, "NoSuchKey"))
        });
        let store = async |backend: &PlainBackend, text: &str| {
            let (entry, body) = config("sw1", text.to_owned());
            backend.store_one(entry, body).await.unwrap()
        };
        let (first, second) = tokio::join!(store(&one, "one\n"), store(&two, "two\n"));
        let later = store(&plain(&settings, options(OPAQUE)).await.unwrap(), "three\n").await;
        let folder = |at: &StorageRef| at.as_str().rsplit_once('/').map(|(folder, _)| folder.to_owned());
        assert_eq!(folder(&first), folder(&second), "conditions: {conditions}");
        assert_eq!(folder(&first), folder(&later), "conditions: {conditions}");
        let kept = double.held().objects.keys().filter(|key| key.ends_with("keys/names.json")).count();
        assert_eq!((kept, listed(&one).await.len()), (1, 3));
    }
}
