//! What is stored where, and what is only seen again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use devicevault_core::catalog::{Page, Query};
use devicevault_core::run::{ArtefactStatus, CopyStatus, RunState};
use devicevault_core::{ArtifactInfo, Catalog, Digest, ErrorKind, View};
use devicevault_testkit::memory::MemoryBackend;

use crate::doubles::*;

#[tokio::test]
async fn a_first_backup_a_volatile_change_and_a_real_one() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let d = destination("main", backend.clone(), View::Original);
    let script = Script::new(vec![
        config("! Time 1\r\nhostname a\r\nend\r\n"),
        config("! Time 2\r\nhostname a\r\nend\r\n"),
        config("! Time 3\r\nhostname b\r\nend\r\n"),
    ]);
    let job = job(script, vec![d]);

    let first = house.engine.back_up(&job).await.unwrap();
    assert_eq!((first.state, first.artefacts[0].status), (RunState::Succeeded, ArtefactStatus::Stored));
    assert!(first.artefacts[0].first);
    let (manifest, text) = stored(&backend).remove(0);
    assert_eq!(text, "! Time 1\nhostname a\nend\n");
    assert_eq!((manifest.sha256, manifest.size), (Digest::of(text.as_bytes()), text.len() as u64));
    assert_eq!(first.artefacts[0].sha256, Some(manifest.sha256));

    let second = house.engine.back_up(&job).await.unwrap();
    assert_eq!((second.state, second.artefacts[0].status), (RunState::Unchanged, ArtefactStatus::Unchanged));
    assert_eq!(second.artefacts[0].backup, first.artefacts[0].backup);
    assert_eq!(backend.len(), 1);

    let third = house.engine.back_up(&job).await.unwrap();
    assert_eq!(third.state, RunState::Succeeded);
    assert_eq!(backend.len(), 2);
    let all = house.catalog.find(&Query::default(), Page::first(10)).await.unwrap().items;
    assert_eq!(all.len(), 2);
    assert!(all[1].last_seen > all[1].first_seen && all[1].last_seen <= all[0].last_seen);
}

#[tokio::test]
async fn each_destination_keeps_its_view_and_only_that_views_hash() {
    let house = house();
    let [original, clean, redacted] =
        [View::Original, View::Clean, View::Redacted].map(|v| (Arc::new(MemoryBackend::new()), v));
    let destinations = [&original, &clean, &redacted].map(|(b, v)| destination(v.as_str(), b.clone(), *v)).to_vec();
    let text = "! Time 1\nsnmp community s3cret\nend\n";
    let run = house.engine.back_up(&job(Script::new(vec![config(text)]), destinations)).await.unwrap();
    assert_eq!(run.state, RunState::Succeeded);

    let (om, ot) = stored(&original.0).remove(0);
    let (cm, ct) = stored(&clean.0).remove(0);
    let (rm, rt) = stored(&redacted.0).remove(0);
    assert_eq!((ot.as_str(), ct.as_str()), (text, "snmp community s3cret\nend\n"));
    assert!(rt.starts_with("snmp community <secret:") && rt.ends_with(">\nend\n"), "{rt}");
    let json = String::from_utf8(rm.to_json()).unwrap();
    for other in [&om, &cm] {
        assert!(!json.contains(&other.sha256.to_string()));
        assert_eq!((other.content, other.backup), (rm.content, rm.backup));
    }
    assert!(!json.contains("s3cret"));
    assert_eq!(rm.sha256, Digest::of(rt.as_bytes()));
}

#[tokio::test]
async fn binaries_stay_out_of_destinations_that_keep_no_originals() {
    let house = house();
    let (originals, redacted) = (Arc::new(MemoryBackend::new()), Arc::new(MemoryBackend::new()));
    let destinations =
        vec![destination("o", originals.clone(), View::Original), destination("r", redacted.clone(), View::Redacted)];
    let info = ArtifactInfo::binary("firmware");
    let script = Script::expecting(
        vec![vec![Step::Begin(info.clone()), Step::Write("\0\x01community x\r\n"), Step::End]],
        vec![info],
    );
    let run = house.engine.back_up(&job(script, destinations)).await.unwrap();
    assert_eq!(run.state, RunState::Succeeded);
    assert_eq!(stored(&originals)[0].1, "\0\x01community x\r\n");
    assert!(redacted.is_empty());
}

#[tokio::test]
async fn a_destination_that_was_down_is_caught_up_by_the_next_round() {
    let house = house();
    let good = Arc::new(MemoryBackend::new());
    let flaky = Down::new(3);
    let destinations =
        vec![destination("good", good.clone(), View::Original), destination("flaky", flaky.clone(), View::Original)];
    let job = job(Script::new(vec![config("hostname a\nend\n")]), destinations);

    let first = house.engine.back_up(&job).await.unwrap();
    assert_eq!(first.state, RunState::Partial);
    let failed = first.artefacts[0].copies.iter().find(|c| c.status == CopyStatus::Failed).unwrap();
    assert_eq!((failed.destination.as_str(), failed.attempts), ("flaky", 3));
    assert_eq!(failed.error.as_ref().unwrap().kind, ErrorKind::Unavailable);

    let second = house.engine.back_up(&job).await.unwrap();
    assert_eq!(second.state, RunState::Succeeded);
    assert_eq!(second.artefacts[0].backup, first.artefacts[0].backup, "the same backup, one more copy");
    assert_eq!((good.len(), flaky.inner.len()), (1, 1));

    let third = house.engine.back_up(&job).await.unwrap();
    assert_eq!(third.state, RunState::Unchanged);
    let backups = house.catalog.find(&Query::default(), Page::first(10)).await.unwrap().items;
    assert_eq!((backups.len(), backups[0].copies.len()), (1, 2));
    assert!(backups[0].copies.iter().all(|c| matches!(c.status, CopyStatus::Stored | CopyStatus::Extended)));
}

#[tokio::test]
async fn a_destination_that_fails_once_is_tried_again_without_asking_the_device() {
    let house = house();
    let flaky = Down::new(2);
    let script = Script::new(vec![config("hostname a\nend\n")]);
    let run = house
        .engine
        .back_up(&job(script.clone(), vec![destination("d", flaky.clone(), View::Original)]))
        .await
        .unwrap();
    assert_eq!(run.state, RunState::Succeeded);
    assert_eq!(run.artefacts[0].copies[0].attempts, 3);
    assert_eq!((script.asked(), flaky.calls.load(Ordering::SeqCst)), (1, 3));
}

#[tokio::test]
async fn content_that_comes_back_is_a_backup_of_its_own() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let script = Script::new(
        ["a", "b", "a"]
            .map(|h| {
                config(match h {
                    "a" => "hostname a\nend\n",
                    _ => "hostname b\nend\n",
                })
            })
            .to_vec(),
    );
    let job = job(script, vec![destination("d", backend.clone(), View::Original)]);
    for _ in 0..3 {
        assert_eq!(house.engine.back_up(&job).await.unwrap().state, RunState::Succeeded);
    }
    assert_eq!(house.catalog.find(&Query::default(), Page::first(10)).await.unwrap().items.len(), 3);
}

#[tokio::test]
async fn what_nothing_could_be_restored_from_is_refused() {
    let house = house();
    let script = Script::new(vec![config("end\n")]);
    let redacted = destination("r", Arc::new(MemoryBackend::new()), View::Redacted);
    let mut only_redacted = job(script.clone(), vec![redacted.clone()]);
    assert_eq!(house.engine.back_up(&only_redacted).await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(house.engine.back_up(&job(script.clone(), vec![])).await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(
        house.engine.back_up(&job(script.clone(), vec![redacted.clone(), redacted])).await.unwrap_err().kind(),
        ErrorKind::Config
    );
    assert_eq!(script.asked(), 0);
    only_redacted.without_original = true;
    assert!(house.engine.back_up(&only_redacted).await.unwrap().state.is_good());
}

#[tokio::test]
async fn a_clock_that_was_ahead_once_does_not_keep_its_version_the_latest() {
    let manual = Arc::new(devicevault_testkit::clock::ManualClock::new());
    let catalog = Arc::new(devicevault_testkit::memory::MemoryCatalog::with_clock(manual.clone()));
    let key = devicevault_core::text::InstanceKey::new([7; 32]);
    let engine = devicevault_core::Engine::builder(catalog.clone(), key).clock(manual.clone()).build();
    let backend = Arc::new(MemoryBackend::new());
    let job = job(
        Script::new(vec![config("hostname a\nend\n"), config("hostname b\nend\n"), config("hostname b\nend\n")]),
        vec![destination("main", backend.clone(), View::Original)],
    );
    let right = devicevault_core::Clock::now(&*manual);
    manual.set(right + std::time::Duration::from_secs(365 * 86_400));
    engine.back_up(&job).await.unwrap();
    manual.set(right);
    assert_eq!(engine.back_up(&job).await.unwrap().state, RunState::Succeeded);
    let newest = catalog.find(&Query::default(), Page::first(1)).await.unwrap().items.remove(0);
    let at = newest.copies[0].storage_ref.clone().unwrap();
    let bytes = devicevault_core::StorageBackendExt::read_all(&*backend, &at, 1000).await.unwrap();
    assert_eq!(bytes, b"hostname b\nend\n");
    assert!(newest.last_seen >= newest.first_seen);
    // And what is there is found again, instead of being stored with every run.
    assert_eq!(engine.back_up(&job).await.unwrap().state, RunState::Unchanged);
    assert_eq!(backend.len(), 2);
}

#[tokio::test]
async fn a_destination_gets_only_the_artefacts_that_go_there() {
    let house = house();
    let (all, some, none) =
        (Arc::new(MemoryBackend::new()), Arc::new(MemoryBackend::new()), Arc::new(MemoryBackend::new()));
    let destinations = vec![
        destination("all", all.clone(), View::Original),
        destination("some", some.clone(), View::Original),
        destination("none", none.clone(), View::Original),
    ];
    let mut job = job(Script::new(vec![config("hostname a\nend\n")]), destinations);
    let only = |name: &str| devicevault_core::engine::Selection::Only([name.to_owned()].into());
    job.takes = [("some".into(), only("running-config")), ("none".into(), only("inventory"))].into();
    let run = house.engine.back_up(&job).await.unwrap();
    assert_eq!((run.state, all.len(), some.len(), none.len()), (RunState::Succeeded, 1, 1, 0));
    assert_eq!(run.artefacts[0].copies.len(), 2);
}
