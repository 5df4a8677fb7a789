//! Files that break a rule: kept apart or refused, never a reference, released by a person.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::body::read_to_vec;
use devicevault_core::catalog::{Page, Query};
use devicevault_core::engine::{Job, Limits};
use devicevault_core::file_rules::{CheckedFile, FileChecker, FileRules, Finding};
use devicevault_core::rebuild::Gathered;
use devicevault_core::retention::{Reason, Retention, Sweep};
use devicevault_core::run::{ArtefactStatus, Quarantine, RunState};
use devicevault_core::{ArtifactInfo, Catalog, Error, ErrorKind, Result, SystemClock, View, sightings};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::memory::{MemoryBackend, MemoryInventory};

use crate::doubles::*;

const GOOD: &str = "\u{7f}ELF a good image";
const OTHER: &str = "\u{7f}ELF another image";
const BAD: &str = "MZ not what was asked for";

fn state() -> ArtifactInfo {
    ArtifactInfo::binary("state").with_extension("img")
}

fn file(content: &'static str) -> Vec<Step> {
    vec![Step::Begin(state()), Step::Offer(content), Step::End]
}

fn rules(options: &[(&str, &str)]) -> FileRules {
    let options = options.iter().map(|(k, v)| (format!("file_rules.{k}"), (*v).to_owned())).collect();
    FileRules::from_options("policy core", &options).unwrap().unwrap()
}

fn job_with(conversations: Vec<Vec<Step>>, backend: &Arc<MemoryBackend>, rules: &[FileRules]) -> Job {
    let script = Script::expecting(conversations, vec![state()]);
    let mut job = job(script, vec![destination("d", backend.clone(), View::Original)]);
    job.file_rules = rules.to_vec();
    job
}

/// What a checker does with every file.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Rejects what holds this.
    Rejects(&'static str),
    Fails,
    Hangs,
}

#[derive(Debug)]
struct Checker {
    does: Does,
    asked: AtomicUsize,
}

impl Checker {
    fn new(does: Does) -> Arc<Self> {
        Arc::new(Self { does, asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl FileChecker for Checker {
    async fn check(&self, file: &CheckedFile) -> Result<Finding> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert_eq!((file.device.as_str(), file.artefact.as_str(), file.extension.as_str()), ("sw1", "state", "img"));
        match self.does {
            Does::Rejects(what) => {
                let bytes = read_to_vec(file.body.read(None), file.size).await?;
                let found = String::from_utf8_lossy(&bytes).contains(what);
                Ok(if found { Finding::Rejected("Found.It\u{1b}[31m\nhere".to_owned()) } else { Finding::Passed })
            }
            Does::Fails => Err(Error::new(ErrorKind::Unavailable, "check file", "it crashed")),
            Does::Hangs => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn a_file_that_breaks_a_rule_is_kept_apart_and_never_the_reference() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let conversations = vec![file(GOOD), file(BAD), file(BAD), file(GOOD)];
    let job = job_with(conversations, &backend, &[rules(&[("magic", "elf"), ("extensions", "img")])]);

    let good = house.engine.back_up(&job).await.unwrap();
    assert_eq!((good.state, good.artefacts[0].quarantined), (RunState::Succeeded, false));
    let bad = house.engine.back_up(&job).await.unwrap();
    let result = &bad.artefacts[0];
    assert_eq!((bad.state, result.status, result.word()), (RunState::Partial, ArtefactStatus::Suspect, "quarantined"));
    assert_eq!(result.suspect, ["its first bytes are not those of elf (rule of policy core)"]);
    assert!(bad.log.iter().any(|n| n.text.contains("state is in quarantine: its first bytes")), "{:?}", bad.log);
    let kept = backend.contents();
    let held = kept.iter().find(|(m, _)| Some(m.backup) == result.backup).unwrap();
    assert!(held.0.quarantined && held.1 == BAD.as_bytes(), "nothing is lost");

    let again = house.engine.back_up(&job).await.unwrap();
    assert_eq!((again.artefacts[0].backup, backend.len()), (result.backup, 2), "seen again, not stored again");
    assert!(again.artefacts[0].quarantined);
    let back = house.engine.back_up(&job).await.unwrap();
    assert_eq!((back.state, back.artefacts[0].backup), (RunState::Unchanged, good.artefacts[0].backup));

    let latest = house.catalog.latest(&"sw1".into(), "state").await.unwrap();
    assert_eq!(latest.reference.map(|b| b.id), good.artefacts[0].backup);
    let mut query = Query::default();
    query.quarantined = true;
    let found = house.catalog.find(&query, Page::first(9)).await.unwrap().items;
    assert_eq!(found.iter().map(|b| Some(b.id)).collect::<Vec<_>>(), [result.backup]);
}

#[tokio::test]
async fn a_released_content_breaks_no_rule_until_it_changes() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let conversations = vec![file(GOOD), file(BAD), file(BAD), file(OTHER), file(BAD)];
    let job = job_with(conversations, &backend, &[rules(&[("magic", "elf")])]);
    house.engine.back_up(&job).await.unwrap();
    let held = house.engine.back_up(&job).await.unwrap().artefacts[0].backup.unwrap();
    assert!(house.catalog.accept(held).await.unwrap());
    let same = house.engine.back_up(&job).await.unwrap();
    assert_eq!((same.state, same.artefacts[0].backup), (RunState::Unchanged, Some(held)));
    let latest = house.catalog.latest(&"sw1".into(), "state").await.unwrap();
    assert_eq!(latest.reference.map(|b| (b.id, b.quarantine)), Some((held, Some(Quarantine::Released))));
    // Another content is looked at anew; and so is the released one after it.
    assert_eq!(house.engine.back_up(&job).await.unwrap().state, RunState::Succeeded);
    assert!(house.engine.back_up(&job).await.unwrap().artefacts[0].quarantined);
}

#[tokio::test]
async fn new_rules_hold_for_what_was_good_before_them() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let mut job = job_with(vec![file(BAD)], &backend, &[]);
    let first = house.engine.back_up(&job).await.unwrap();
    job.file_rules = vec![rules(&[("magic", "elf")])];
    let second = house.engine.back_up(&job).await.unwrap();
    assert!(second.artefacts[0].quarantined && second.artefacts[0].backup != first.artefacts[0].backup);
    job.file_rules.clear();
    let third = house.engine.back_up(&job).await.unwrap();
    assert_eq!((third.state, third.artefacts[0].backup), (RunState::Unchanged, first.artefacts[0].backup));
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_and_the_other_artefacts_are_kept() {
    for (options, kind) in [
        (&[("magic", "elf"), ("on_breach", "refuse")][..], ErrorKind::Quarantined),
        (&[("min_size", "1KB"), ("on_breach", "refuse")], ErrorKind::Quarantined),
        (&[("extensions", "zip"), ("on_breach", "refuse")], ErrorKind::Quarantined),
        // A part of a file is no file: it is not kept in quarantine either.
        (&[("max_size", "24")], ErrorKind::TooLarge),
    ] {
        let house = house();
        let backend = Arc::new(MemoryBackend::new());
        let mut conversation = file(BAD);
        conversation.extend(config("hostname a\nend\n"));
        let job = job_with(vec![conversation], &backend, &[rules(options)]);
        let run = house.engine.back_up(&job).await.unwrap();
        assert_eq!(run.state, RunState::Partial, "{options:?}");
        let result = |name: &str| run.artefacts.iter().find(|a| a.artefact == name).unwrap();
        assert_eq!(result("running-config").status, ArtefactStatus::Stored);
        let refused = result("state");
        assert_eq!((refused.status, refused.backup), (ArtefactStatus::Failed, None));
        assert_eq!(refused.error.as_ref().map(|e| e.kind), Some(kind), "{options:?}");
        assert!(run.error.is_none() && refused.error.as_ref().unwrap().message.contains("policy core"));
        assert_eq!(stored(&backend).len(), 1, "{options:?}");
    }
}

#[tokio::test]
async fn a_size_at_the_bound_passes() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let job = job_with(vec![file(BAD)], &backend, &[rules(&[("max_size", "25"), ("min_size", "25")])]);
    assert_eq!(BAD.len(), 25);
    assert_eq!(house.engine.back_up(&job).await.unwrap().state, RunState::Succeeded);
}

#[tokio::test]
async fn what_a_checker_does_not_pass_is_kept_apart_or_refused() {
    for (does, told) in [
        (Does::Rejects("asked"), "the checker av rejects it: Found.It\\u{1b}[31m here (rule of policy core)"),
        (Does::Fails, "the checker av gave no verdict: it crashed (rule of policy core)"),
    ] {
        for refuse in [false, true] {
            let checker = Checker::new(does);
            let house = built(|b| b.checker("av", checker.clone()));
            let backend = Arc::new(MemoryBackend::new());
            let on_breach = if refuse { "refuse" } else { "quarantine" };
            let rules = [rules(&[("checker", "av"), ("on_breach", on_breach)])];
            let run = house.engine.back_up(&job_with(vec![file(BAD)], &backend, &rules)).await.unwrap();
            let result = &run.artefacts[0];
            if refuse {
                assert_eq!((run.state, backend.len()), (RunState::Failed, 0));
                assert!(result.error.as_ref().unwrap().message.contains(told), "{result:?}");
            } else {
                assert_eq!((run.state, backend.len()), (RunState::Partial, 1));
                assert_eq!(result.suspect, [told]);
            }
            assert_eq!(checker.asked.load(Ordering::SeqCst), 1);
        }
    }
    let house = built(|b| b.checker("av", Checker::new(Does::Rejects("virus"))));
    let backend = Arc::new(MemoryBackend::new());
    let run = house.engine.back_up(&job_with(vec![file(BAD)], &backend, &[rules(&[("checker", "av")])])).await.unwrap();
    assert_eq!(run.state, RunState::Succeeded);
    // One that nobody set up passes nothing.
    let run = house.engine.back_up(&job_with(vec![file(OTHER)], &backend, &[rules(&[("checker", "yara")])])).await;
    assert!(run.unwrap().artefacts[0].suspect[0].contains("there is no checker of this name"));
}

#[tokio::test(start_paused = true)]
async fn a_checker_that_hangs_ends_with_the_time_of_a_conversation() {
    let mut limits = Limits::default();
    limits.collect = Duration::from_secs(20);
    let house = built(|b| {
        let clock = Arc::new(ManualClock::new());
        let ticking = clock.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                ticking.advance(Duration::from_secs(1));
            }
        });
        b.clock(clock).limits(limits).checker("av", Checker::new(Does::Hangs))
    });
    let backend = Arc::new(MemoryBackend::new());
    let job = job_with(vec![file(BAD)], &backend, &[rules(&[("checker", "av")])]);
    let run = house.engine.back_up(&job).await.unwrap();
    assert!(run.artefacts[0].suspect[0].contains("took longer than a conversation may"), "{:?}", run.artefacts[0]);
}

#[tokio::test]
async fn retention_keeps_the_last_good_one_beside_whatever_is_in_quarantine() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let bad = ["MZ 1", "MZ 2", "MZ 3", "MZ 4"];
    let conversations = std::iter::once(GOOD).chain(bad).map(file).collect();
    let job = job_with(conversations, &backend, &[rules(&[("magic", "elf")])]);
    let good = house.engine.back_up(&job).await.unwrap().artefacts[0].backup.unwrap();
    for _ in bad {
        assert!(house.engine.back_up(&job).await.unwrap().artefacts[0].quarantined);
    }
    let last_two = Retention::from_options(&[("retention.last".to_owned(), "2".to_owned())].into()).unwrap().unwrap();
    let sweep = Sweep::new("d".into());
    let plan = sweep.plan(&*house.catalog, &SystemClock, &|_, _| last_two).await.unwrap();
    let reason = |id| plan.versions.iter().find(|v| v.id == id).map(|v| v.reason);
    assert_eq!(reason(good), Some(Reason::LastGood));
    assert_eq!(plan.going().count(), 2, "of those in quarantine, as many stay as of others");
    let swept = sweep.carry_out(&plan, &*house.catalog, &*backend).await.unwrap();
    assert_eq!((swept.deleted, backend.len()), (2, 3));
}

#[tokio::test]
async fn a_catalog_made_anew_knows_what_is_in_quarantine_and_what_was_released() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let job = job_with(vec![file(GOOD), file("MZ 1"), file("MZ 2")], &backend, &[rules(&[("magic", "elf")])]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(house.engine.back_up(&job).await.unwrap().artefacts[0].backup.unwrap());
    }
    let at = "d".into();
    let now = clock().now();
    for release in [false, true] {
        if release {
            assert!(house.catalog.accept(ids[1]).await.unwrap());
        }
        sightings::note(&*house.catalog, &MemoryInventory::new(), &at, &*backend, now, now).await.unwrap();
        let mut gathered = Gathered::new();
        gathered.gather(&at, &*backend, now, &|_| ()).await.unwrap();
        let made = gathered.assemble().backups;
        let of = |id| made.iter().find(|b| b.id == id).map(|b| (b.quarantine, b.suspect.is_empty()));
        assert_eq!(of(ids[0]), Some((None, true)));
        let second = if release { (Some(Quarantine::Released), true) } else { (Some(Quarantine::Held), false) };
        assert_eq!(of(ids[1]), Some(second));
        assert_eq!(of(ids[2]), Some((Some(Quarantine::Held), false)));
    }
}

#[tokio::test]
async fn what_is_kept_apart_and_says_no_reason_is_suspect_all_the_same() {
    let backend = MemoryBackend::new();
    let mut manifest =
        devicevault_testkit::samples::manifest(&devicevault_testkit::samples::device("sw1"), "state", b"x");
    manifest.quarantined = true;
    let body: Arc<dyn devicevault_core::Body> = Arc::new(bytes::Bytes::from_static(b"x"));
    devicevault_core::StorageBackendExt::store_one(&backend, devicevault_core::Entry::new(manifest), body)
        .await
        .unwrap();
    let mut gathered = Gathered::new();
    gathered.gather(&"d".into(), &backend, clock().now(), &|_| ()).await.unwrap();
    let made = gathered.assemble().backups;
    assert!(made[0].is_quarantined() && made[0].suspect.len() == 1, "{made:?}");
}
