//! Artefacts that a device need not have, once it had them.

use std::sync::Arc;

use devicevault_core::run::{ArtefactStatus, Run, RunState};
use devicevault_core::{ArtifactInfo, View};
use devicevault_testkit::memory::MemoryBackend;

use crate::doubles::{House, Script, Step, config, destination, house, job};

const NAME: &str = "startup-config";

fn with() -> Vec<Step> {
    let there = vec![Step::Begin(ArtifactInfo::text(NAME).optional()), Step::Write("hostname a\nend\n"), Step::End];
    [config("hostname a\nend\n"), there].concat()
}

fn without(certain: bool) -> Vec<Step> {
    [config("hostname a\nend\n"), vec![Step::Absent(NAME, certain)]].concat()
}

async fn runs(house: &House, conversations: Vec<Vec<Step>>) -> Vec<Run> {
    let count = conversations.len();
    let job = job(Script::new(conversations), vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]);
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(house.engine.back_up(&job).await.unwrap());
    }
    runs
}

fn told(run: &Run) -> bool {
    let failed = run.artefacts.iter().any(|a| a.artefact == NAME && a.status == ArtefactStatus::Failed);
    assert_eq!(failed, run.state == RunState::Partial, "{run:?}");
    failed
}

#[tokio::test]
async fn what_was_never_there_is_not_missed() {
    for run in runs(&house(), vec![without(true), without(false)]).await {
        assert!(!told(&run) && run.log.iter().any(|n| n.text.contains(NAME)));
    }
}

#[tokio::test]
async fn what_the_device_says_to_have_no_more_is_told_once() {
    let of = runs(&house(), vec![with(), without(true), without(true), with(), without(true), without(false)]).await;
    assert_eq!(of.iter().map(told).collect::<Vec<_>>(), [false, true, false, false, true, true]);
}

#[tokio::test]
async fn what_vanished_behind_words_that_nobody_knows_is_told_until_it_is_back() {
    let of = runs(&house(), vec![with(), without(false), without(false), with(), without(false), without(true)]).await;
    assert_eq!(of.iter().map(told).collect::<Vec<_>>(), [false, true, true, false, true, false]);
    let error = of[1].artefacts.iter().find_map(|a| a.error.as_ref()).unwrap();
    assert!(error.hint.is_some() && of[2].artefacts.iter().all(|a| a.artefact != NAME || a.backup.is_none()));
}
