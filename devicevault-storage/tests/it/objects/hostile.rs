//! Stores that answer late, wrongly, twice, or not at all, and what is done to objects behind our back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::storage::{Budget, ListFilter, Verdict, VerifyDepth};
use devicevault_core::{
    Body, Entry, Error, ErrorKind, Result, Retry, StorageBackend as _, StorageBackendExt as _, StorageRef,
};
use devicevault_storage::objects::StoreSettings;
use devicevault_storage::plain::PlainBackend;
use devicevault_testkit::cloud::{Double, Fault};
use devicevault_testkit::samples;
use futures::StreamExt as _;

use super::{plain, servers};
use crate::plain::{SEALED, Way, ZSTD, config, listed, options};

/// Two parts and some.
const LARGE: usize = 12 << 20;
const MAX: u64 = 1 << 30;

fn settings(double: &Double) -> StoreSettings {
    servers::settings("s3", &double.endpoint(), "dv")
}

async fn at(double: &Double, way: Way) -> PlainBackend {
    let backend = plain(&settings(double), options(way)).await.unwrap();
    backend.publish_keys().await.unwrap();
    backend
}

type Given = (Entry, Arc<dyn Body>);

/// Stores an entry: the same one, each time that it is given.
async fn store(backend: &PlainBackend, (entry, body): &Given) -> Result<StorageRef> {
    backend.store_one(entry.clone(), body.clone()).await
}

fn given(content: &[u8]) -> Given {
    config("sw1", content.to_vec())
}

/// One backup, whole, and nothing that was begun beside it.
async fn holds_one(double: &Double, backend: &PlainBackend, at: &StorageRef, content: &[u8]) {
    assert_eq!(listed(backend).await.len(), 1);
    assert_eq!(backend.read_all(at, MAX).await.unwrap(), content);
    assert_eq!(backend.verify(at, None, VerifyDepth::Content).await.unwrap(), Verdict::Good(VerifyDepth::Content));
    assert!(nothing_is_left(double), "parts of an upload were left");
}

/// Of an upload whose beginning was never answered nobody knows the name: it has no parts.
fn nothing_is_left(double: &Double) -> bool {
    double.held().uploads.values().all(BTreeMap::is_empty)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_request_leaves_nothing_half_and_the_next_attempt_works() {
    for (content, fault) in [
        (samples::text(1, 3000), Fault::Answer(403, "AccessDenied")),
        (samples::text(1, 3000), Fault::LoseReply),
        (samples::text(1, 3000), Fault::DoneAndAnswer(500, "InternalError")),
        (samples::text(1, 3000), Fault::Twice),
        (samples::noise(1, LARGE), Fault::Twice),
        (samples::noise(1, LARGE), Fault::Answer(403, "AccessDenied")),
        (samples::noise(1, LARGE), Fault::LoseReply),
    ] {
        for way in [ZSTD, SEALED] {
            let (mut k, mut failed, entry) = (0, 0, given(&content));
            loop {
                k += 1;
                let double = Double::start().await;
                let backend = at(&double, way).await;
                let before = double.log().len();
                let mut count = 0;
                double.plan(move |_| {
                    count += 1;
                    (count == k).then_some(fault)
                });
                let first = store(&backend, &entry).await;
                let asked = double.log().len() - before;
                double.plan(|_| None);
                assert!(nothing_is_left(&double), "{fault:?} at request {k}: parts were left");
                failed += u32::from(first.is_err());
                let again = store(&backend, &entry).await.unwrap();
                assert!(first.is_err() || first.as_ref().ok() == Some(&again), "{first:?}");
                holds_one(&double, &backend, &again, &content).await;
                if asked < k {
                    break;
                }
            }
            eprintln!(
                "{} bytes, {way:?}, {fault:?}: at each of {} requests, {failed} attempts failed",
                content.len(),
                k - 1
            );
        }
    }
}

/// As buckets with an object lock want it.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_carries_its_hash_where_that_is_asked_for() {
    let double = Double::start().await;
    let mut settings = settings(&double);
    settings.options.insert("checksum".to_owned(), "sha256".to_owned());
    let backend = plain(&settings, options(ZSTD)).await.unwrap();
    let content = samples::text(1, 3000);
    double.plan(|r| {
        let is_bare = r.method == "PUT" && !r.headers.contains_key("x-amz-checksum-sha256");
        is_bare.then_some(Fault::Answer(400, "InvalidRequest"))
    });
    let stored = store(&backend, &given(&content)).await.unwrap();
    holds_one(&double, &backend, &stored, &content).await;
}

/// Portals, gateways under repair and consoles answer everything by a page.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_place_of_an_answer_is_none() {
    let faults = [301, 302, 303, 307, 308].map(Fault::Elsewhere);
    for (content, way) in [(samples::text(1, 3000), ZSTD), (samples::noise(1, LARGE), SEALED)] {
        let (double, given) = (Double::start().await, given(&content));
        let backend = at(&double, way).await;
        for fault in faults.into_iter().chain([Fault::Page]) {
            double.plan(move |r| ["PUT", "POST"].contains(&r.method.as_str()).then_some(fault));
            store(&backend, &given).await.unwrap_err();
            double.plan(|_| None);
            assert!(listed(&backend).await.is_empty(), "{fault:?}");
        }
        let stored = store(&backend, &given).await.unwrap();
        for fault in faults.into_iter().chain([Fault::Page]) {
            // Of everything, the marker too, as somebody who begins now meets it.
            double.plan(move |r| (r.method == "GET").then_some(fault));
            let late = plain(&settings(&double), options(way)).await;
            assert!(late.is_err(), "{fault:?}");
            let verdict = backend.verify(&stored, None, VerifyDepth::Content).await;
            assert!(verdict.as_ref().map_or(true, |v| !v.is_good()), "{fault:?}: {verdict:?}");
            let mut found = backend.list(ListFilter::default());
            assert!(found.next().await.is_some_and(|one| one.is_err()), "{fault:?}: an empty store");
        }
        double.plan(|_| None);
        holds_one(&double, &backend, &stored, &content).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_answers_is_told_with_when_to_come_back() {
    let double = Double::start().await;
    let backend = at(&double, ZSTD).await;
    let mut told = 0;
    for (status, code, kind, later) in [
        (503, "SlowDown", ErrorKind::RateLimited, Some(5)),
        (500, "InternalError", ErrorKind::Unavailable, None),
        (503, "ServiceUnavailable", ErrorKind::Unavailable, None),
        (507, "XMinioStorageFull", ErrorKind::StorageFull, Some(60)),
        (403, "SignatureDoesNotMatch", ErrorKind::AuthRejected, None),
        (403, "AccessDenied", ErrorKind::PermissionDenied, None),
        (404, "NoSuchBucket", ErrorKind::Unavailable, None),
    ] {
        double.plan(move |r| (r.verb() == "put").then_some(Fault::Answer(status, code)));
        let e: Error = store(&backend, &given(b"abc")).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{e:?}");
        assert!(e.message().contains(code), "{e:?}");
        match (later, e.retry()) {
            (Some(seconds), Retry::After(wait)) => assert!(wait >= Duration::from_secs(seconds), "{e:?}"),
            (Some(_), Retry::Never) => panic!("{e:?}"),
            (None, retry) => {
                let never = matches!(kind, ErrorKind::AuthRejected | ErrorKind::PermissionDenied);
                assert_eq!(retry == Retry::Never, never, "{e:?}");
            }
        }
        told += 1;
    }
    eprintln!("{told} answers were told as what they are");
    // A single one of them is no reason to fail.
    double.fault_at("put", 1, Fault::Answer(503, "SlowDown"));
    store(&backend, &given(b"abc")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_silent_is_given_up() {
    let double = Double::start().await;
    let backend = plain(&settings(&double).with_option("timeout", "1"), options(ZSTD)).await.unwrap();
    double.plan(|r| (r.verb() == "put").then_some(Fault::Stall(Duration::from_secs(600))));
    assert_eq!(store(&backend, &given(b"abc")).await.unwrap_err().kind(), ErrorKind::Timeout);
    let gone = {
        let other = Double::start().await;
        settings(&other)
    };
    let e = plain(&gone, options(ZSTD)).await.unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Unreachable | ErrorKind::Unavailable), "{e:?}");
    eprintln!("a store that is silent, and one that is gone: 2 errors");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_lags_behind_loses_nothing() {
    let double = Double::start().await;
    let backend = at(&double, SEALED).await;
    double.plan(|r| (r.verb() == "list").then_some(Fault::Stale));
    let entry = given(b"abc");
    let first = store(&backend, &entry).await.unwrap();
    assert_eq!(store(&backend, &entry).await.unwrap(), first);
    assert_eq!(backend.read_all(&first, MAX).await.unwrap(), b"abc");
    // The manifest is what came last: without it the content may look like a leaving, and is not taken for one.
    backend.maintain(Budget::default()).await.unwrap();
    let listings = double.log().iter().filter(|verb| **verb == "list").count();
    double.plan(|_| None);
    holds_one(&double, &backend, &first, b"abc").await;
    eprintln!("{listings} listings lagged behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_or_has_another_etag_is_never_taken_for_whole() {
    let (mut whole, mut refused) = (0, 0);
    for (content, fault) in
        [(samples::noise(2, 300_000), Fault::Truncate), (samples::noise(2, 300_000), Fault::WrongEtag)]
    {
        for way in [ZSTD, SEALED] {
            let double = Double::start().await;
            let backend = at(&double, way).await;
            let at = store(&backend, &given(&content)).await.unwrap();
            for k in 1..6 {
                double.fault_at("get", k, fault);
                match backend.read_all(&at, MAX).await {
                    Ok(read) => {
                        assert_eq!(read, content);
                        whole += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            // From now on every answer is so.
            double.plan(move |r| (r.verb() == "get").then_some(fault));
            match backend.read_all(&at, MAX).await {
                Ok(read) => assert_eq!(read, content),
                Err(e) => assert!(
                    matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Timeout),
                    "{e:?}"
                ),
            }
            double.plan(|_| None);
            holds_one(&double, &backend, &at, &content).await;
        }
    }
    eprintln!("{} answers were bad: {whole} readings were whole all the same, {refused} refused", whole + refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_behind_our_back_is_reported() {
    for way in [ZSTD, SEALED] {
        let double = Double::start().await;
        let backend = at(&double, way).await;
        let mut stored = Vec::new();
        for (i, text) in
            [samples::text(1, 2000), samples::text(2, 2000), samples::text(3, 2000), samples::text(4, 2000)]
                .into_iter()
                .enumerate()
        {
            let (entry, body) = config(&format!("sw{i}"), text);
            stored.push(backend.store_one(entry, body).await.unwrap());
        }
        {
            let mut held = double.held();
            let key = |at: &StorageRef| format!("dv/{at}");
            let mut manifest: Vec<_> = held.objects.keys().filter(|k| k.ends_with(".manifest.json")).cloned().collect();
            manifest.sort();
            // The content deleted; cut off; another, older one in its place.
            held.objects.remove(&key(&stored[0]));
            let cut = held.objects[&key(&stored[1])].slice(..100);
            held.objects.insert(key(&stored[1]), cut);
            let older = held.objects[&key(&stored[3])].clone();
            held.objects.insert(key(&stored[2]), older);
        }
        for depth in [VerifyDepth::Stored, VerifyDepth::Content] {
            let verdict = async |at: &StorageRef| backend.verify(at, None, depth).await.unwrap();
            assert_eq!(verdict(&stored[0]).await, Verdict::Missing);
            assert!(matches!(verdict(&stored[1]).await, Verdict::Damaged(_)));
            assert!(matches!(verdict(&stored[2]).await, Verdict::Damaged(_)), "{way:?} {depth:?}");
            assert_eq!(verdict(&stored[3]).await, Verdict::Good(depth));
        }
        let listed: Vec<_> = backend.list(ListFilter::default()).collect().await;
        let (found, gone): (Vec<_>, Vec<_>) = listed.into_iter().partition(Result::is_ok);
        assert_eq!((found.len(), gone.len()), (3, 1));
        assert_eq!(gone[0].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
        eprintln!("{way:?}: 1 object was deleted, 1 cut off, 1 exchanged: 3 of 3 told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_of_many_writers_is_one_backup() {
    let double = Double::start().await;
    let backend = at(&double, SEALED).await;
    let content = samples::text(7, 5000);
    let entry = given(&content);
    let all = futures::future::join_all((0..16).map(|_| store(&backend, &entry))).await;
    let first = all[0].clone().unwrap();
    assert!(all.iter().all(|one| one.as_ref().ok() == Some(&first)), "{all:?}");
    holds_one(&double, &backend, &first, &content).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_deleted_though_one_request_for_many_fails() {
    let double = Double::start().await;
    let backend = at(&double, ZSTD).await;
    let batch: Vec<_> = (0..40).map(|i| config(&format!("sw{i}"), samples::text(i, 300))).collect();
    let stored: Vec<_> = backend.store(batch).await.into_iter().map(Result::unwrap).collect();
    double.plan(|r| (r.verb() == "bulk delete").then_some(Fault::Answer(403, "AccessDenied")));
    let refused = backend.delete(&stored).await;
    assert!(refused.iter().all(|r| r.as_ref().is_err_and(|e| e.kind() == ErrorKind::PermissionDenied)), "{refused:?}");
    double.plan(|_| None);
    assert_eq!(listed(&backend).await.len(), 40);
    assert!(backend.delete(&stored).await.iter().all(Result::is_ok));
    assert!(listed(&backend).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_dropped_is_told_to_the_store() {
    let double = Double::start().await;
    let backend = at(&double, ZSTD).await;
    // The first part does not get through; the upload has begun.
    double.plan(|r| (r.verb() == "part").then_some(Fault::Stall(Duration::from_secs(600))));
    let entry = given(&samples::noise(1, LARGE));
    let storing = tokio::time::timeout(Duration::from_secs(600), store(&backend, &entry));
    let begun = async {
        while !double.log().contains(&"part") {
            tokio::task::yield_now().await;
        }
    };
    futures::future::select(Box::pin(storing), Box::pin(begun)).await;
    while !double.log().contains(&"abort") {
        tokio::task::yield_now().await;
    }
}

/// What a store refuses of one object is that object's, and the rest is read.
#[tokio::test(flavor = "multi_thread")]
async fn one_object_that_is_refused_keeps_nobody_from_the_rest() {
    for (status, code) in [(403, "InvalidObjectState"), (403, "AccessDenied"), (400, "KMS.DisabledException")] {
        for way in [ZSTD, SEALED] {
            let double = Double::start().await;
            let backend = at(&double, way).await;
            several(&backend, 5).await;
            // The first of the walk, and the last one.
            for refused in ["/sw0/", "/sw4/"] {
                double.plan(move |r| {
                    let is_manifest = r.key.contains(refused) && r.key.ends_with(".manifest.json");
                    (r.verb() == "get" && is_manifest).then_some(Fault::Answer(status, code))
                });
                let (found, told) = walked(&backend).await;
                assert_eq!((found, told.len()), (4, 1), "{told:?}");
                assert_eq!(told[0].kind(), ErrorKind::Corrupt, "{told:?}");
                assert!(
                    format!("{:?}", told[0]).contains(&refused[1..]) && told[0].message().contains(code),
                    "{told:?}"
                );
                let verdicts: Vec<_> = backend.verify_unopened(VerifyDepth::Size).collect().await;
                let good = verdicts.iter().filter(|v| matches!(v, Ok((_, Verdict::Good(_))))).count();
                let damaged = verdicts.iter().filter(|v| matches!(v, Ok((_, Verdict::Damaged(_))))).count();
                assert_eq!((good, damaged), (4, 1), "{verdicts:?}");
            }
            double.plan(|_| None);
            assert_eq!(listed(&backend).await.len(), 5);
        }
    }
}

/// A store that gives nothing, or nothing any more, is not one whose objects are all damaged.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_everything_is_no_damage() {
    let double = Double::start().await;
    let backend = at(&double, ZSTD).await;
    several(&backend, 40).await;
    // From this manifest on, all but the marker.
    let gives = |given: usize| {
        let mut gets = 0;
        double.plan(move |r| {
            let is_manifest = r.verb() == "get" && r.key.ends_with(".manifest.json");
            gets += usize::from(is_manifest);
            (is_manifest && gets > given).then_some(Fault::Answer(403, "AccessDenied"))
        });
    };
    for given in [0, 1, 20, 39] {
        gives(given);
        let (found, told) = walked(&backend).await;
        assert!(found <= given, "{found}");
        assert_eq!(told.last().unwrap().kind(), ErrorKind::PermissionDenied, "{given}: {told:?}");
        assert!(given > 0 || told.len() == 1, "{told:?}");
        gives(given);
        let verdicts: Vec<_> = backend.verify_unopened(VerifyDepth::Size).collect().await;
        assert!(verdicts.last().unwrap().is_err(), "{verdicts:?}");
    }
    // A key that is refused is about nobody's object.
    double.plan(|r| {
        (r.verb() == "get" && r.key.contains("/sw7/")).then_some(Fault::Answer(403, "SignatureDoesNotMatch"))
    });
    let (_, told) = walked(&backend).await;
    assert!(told.iter().any(|e| e.kind() == ErrorKind::AuthRejected), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_breaks_off_is_never_taken_for_whole() {
    let double = Double::start().await;
    let backend = at(&double, ZSTD).await;
    // Two objects each in one folder: more than one page.
    for i in 0..30 {
        store(&backend, &given(&samples::text(i, 200))).await.unwrap();
    }
    assert_eq!(listed(&backend).await.len(), 30);
    double.plan(|r| (r.verb() == "list").then_some(Fault::Cut));
    let (found, told) = walked(&backend).await;
    assert_eq!((found, told.len()), (0, 1), "{told:?}");
    assert_eq!(told[0].kind(), ErrorKind::Incomplete, "{told:?}");
    assert!(told[0].message().contains("breaks off") && told[0].hint_text().is_some(), "{told:?}");
    assert!(backend.foretell(Budget::default()).await.is_err());
}

async fn several(backend: &PlainBackend, count: u64) {
    let batch = (0..count).map(|i| config(&format!("sw{i}"), samples::text(i, 300))).collect();
    assert!(backend.store(batch).await.iter().all(Result::is_ok));
}

/// How many backups a listing shows, and what it tells besides.
async fn walked(backend: &PlainBackend) -> (usize, Vec<Error>) {
    let all: Vec<_> = backend.list(ListFilter::default()).collect().await;
    let (found, told): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    (found.len(), told.into_iter().filter_map(Result::err).collect())
}
