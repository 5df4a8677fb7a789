//! What goes wrong with a device, and what is left of it.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::catalog::{Page, RunQuery};
use devicevault_core::engine::Limits;
use devicevault_core::run::{ArtefactStatus, Run, RunState};
use devicevault_core::{ArtifactInfo, Catalog, ErrorKind, View};
use devicevault_testkit::memory::MemoryBackend;

use crate::doubles::*;

#[tokio::test]
async fn what_was_begun_and_not_ended_is_incomplete_and_stored_nowhere() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let script = Script::new(vec![vec![Step::Begin(config_info()), Step::Write("hostname a\n")]]);
    let run =
        house.engine.back_up(&job(script, vec![destination("d", backend.clone(), View::Original)])).await.unwrap();
    assert_eq!(run.state, RunState::Failed);
    assert_eq!(run.artefacts[0].error.as_ref().unwrap().kind, ErrorKind::Incomplete);
    assert!(backend.is_empty());
}

#[tokio::test]
async fn a_cut_after_one_artefact_keeps_that_one() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let mut steps = config("hostname a\nend\n");
    steps.extend([
        Step::Begin(ArtifactInfo::text("inventory")),
        Step::Write("Version 1"),
        Step::Die(ErrorKind::Incomplete),
    ]);
    let script = Script::new(vec![steps]);
    let run = house
        .engine
        .back_up(&job(script.clone(), vec![destination("d", backend.clone(), View::Original)]))
        .await
        .unwrap();
    assert_eq!((run.state, script.asked()), (RunState::Partial, 3));
    let by_name = |n: &str| run.artefacts.iter().find(|a| a.artefact == n).unwrap();
    // By the first attempt: it is as new to whoever asked.
    assert!(by_name("running-config").status == ArtefactStatus::Stored && by_name("running-config").first, "{run:?}");
    assert_eq!(by_name("inventory").status, ArtefactStatus::Failed);
    assert_eq!(backend.len(), 1);
    let next = Script::new(vec![config("hostname a\nend\n")]);
    let run = house.engine.back_up(&job(next, vec![destination("d", backend, View::Original)])).await.unwrap();
    assert_eq!((run.state, run.artefacts[0].status), (RunState::Unchanged, ArtefactStatus::Unchanged));
}

#[tokio::test]
async fn what_the_first_attempt_stored_is_new_when_the_second_ends_well() {
    let house = house();
    let inventory = || [Step::Begin(ArtifactInfo::text("inventory")), Step::Write("Version 1")];
    let cut = [config("hostname a\nend\n"), inventory().into(), vec![Step::Die(ErrorKind::Incomplete)]].concat();
    let whole = [config("hostname a\nend\n"), inventory().into(), vec![Step::End]].concat();
    let changed = [config("hostname b\nend\n"), inventory().into(), vec![Step::End]].concat();
    let d = destination("d", Arc::new(MemoryBackend::new()), View::Original);
    let back_up =
        async |conversations| house.engine.back_up(&job(Script::new(conversations), vec![d.clone()])).await.unwrap();
    let told = |run: &Run| -> Vec<_> { run.artefacts.iter().map(|a| (a.status, a.first)).collect() };
    let run = back_up(vec![cut.clone(), whole.clone()]).await;
    assert_eq!((run.state, run.start.attempt), (RunState::Succeeded, 2));
    assert_eq!(told(&run), [(ArtefactStatus::Stored, true); 2]);
    // What comes between two attempts is new in the second alone, and what neither stored is unchanged.
    let run = back_up(vec![cut, changed.clone()]).await;
    assert_eq!(told(&run), [(ArtefactStatus::Stored, false), (ArtefactStatus::Unchanged, false)]);
    let again = [changed[..3].to_vec(), vec![Step::Die(ErrorKind::Timeout)]].concat();
    let run = back_up(vec![again, changed]).await;
    assert_eq!((run.state, told(&run)), (RunState::Unchanged, vec![(ArtefactStatus::Unchanged, false); 2]));
}

#[tokio::test]
async fn a_refused_optional_artefact_is_no_failure_and_a_mandatory_one_is() {
    let house = house();
    let refused = |info: ArtifactInfo| {
        let mut steps = config("hostname a\nend\n");
        steps.extend([Step::Begin(info), Step::Fail(ErrorKind::Refused)]);
        Script::new(vec![steps])
    };
    let d = || vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)];
    let optional = house.engine.back_up(&job(refused(ArtifactInfo::text("licence").optional()), d())).await.unwrap();
    assert_eq!(optional.state, RunState::Succeeded);
    let script = refused(ArtifactInfo::text("startup-config"));
    let mandatory = house.engine.back_up(&job(script.clone(), d())).await.unwrap();
    assert_eq!((mandatory.state, script.asked()), (RunState::Partial, 1), "a refusal does not pass by waiting");
}

#[tokio::test]
async fn a_mandatory_artefact_that_never_came_is_missed() {
    let house = house();
    let script = Script::expecting(
        vec![config("end\n")],
        vec![config_info(), ArtifactInfo::text("startup-config"), ArtifactInfo::text("x").optional()],
    );
    let run = house
        .engine
        .back_up(&job(script, vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]))
        .await
        .unwrap();
    assert_eq!(run.state, RunState::Partial);
    assert_eq!(
        run.artefacts.iter().map(|a| a.artefact.as_str()).collect::<Vec<_>>(),
        ["running-config", "startup-config"]
    );
}

#[tokio::test]
async fn a_device_that_has_nothing_of_what_is_asked_for_was_not_backed_up() {
    let house = house();
    let script = Script::expecting(vec![vec![]], vec![ArtifactInfo::text("startup-config").optional()]);
    let backend = Arc::new(MemoryBackend::new());
    let d = destination("d", backend.clone(), View::Original);
    let run = house.engine.back_up(&job(script, vec![d])).await.unwrap();
    assert_eq!((run.state, run.error.unwrap().kind), (RunState::Failed, ErrorKind::NotFound));
    assert_eq!(backend.len(), 0);
}

#[tokio::test]
async fn rejected_credentials_are_tried_once_and_a_timeout_three_times() {
    for (kind, asked) in [(ErrorKind::AuthRejected, 1), (ErrorKind::HostKeyRejected, 1), (ErrorKind::Timeout, 3)] {
        let house = house();
        let script = Script::new(vec![vec![Step::Die(kind)]]);
        let run = house
            .engine
            .back_up(&job(script.clone(), vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]))
            .await
            .unwrap();
        assert_eq!((run.state, script.asked()), (RunState::Failed, asked), "{kind}");
        let error = run.error.unwrap();
        assert_eq!(error.kind, kind);
        assert!(error.message.contains("device: sw1"), "{}", error.message);
        let runs = house.catalog.runs(&RunQuery::default(), Page::first(10)).await.unwrap().items;
        assert_eq!(runs.len(), asked);
        assert!(
            runs.iter()
                .all(|r| r.start.task_identifier == runs[0].start.task_identifier && r.state == RunState::Failed)
        );
        let mut tasks: Vec<_> = runs.iter().map(|r| r.start.task_id).collect();
        tasks.dedup();
        assert_eq!(tasks.len(), asked);
    }
}

#[tokio::test]
async fn a_text_over_the_limit_is_refused() {
    let mut limits = Limits::default();
    limits.max_text = 10_000;
    let house = house_with(limits);
    let backend = Arc::new(MemoryBackend::new());
    let script = Script::new(vec![vec![Step::Begin(config_info()), Step::WriteMany(20_000), Step::End]]);
    let run = house
        .engine
        .back_up(&job(script.clone(), vec![destination("d", backend.clone(), View::Original)]))
        .await
        .unwrap();
    assert_eq!((run.state, run.error.unwrap().kind, script.asked()), (RunState::Failed, ErrorKind::TooLarge, 1));
    assert!(backend.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_never_ends_is_cut_at_the_deadline() {
    let house = house();
    let script = Script::new(vec![vec![Step::Begin(config_info()), Step::Wait(Duration::from_secs(1 << 30))]]);
    let run = house
        .engine
        .back_up(&job(script.clone(), vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]))
        .await
        .unwrap();
    assert_eq!((run.state, run.error.unwrap().kind, script.asked()), (RunState::Failed, ErrorKind::Timeout, 3));
}

#[tokio::test]
async fn calls_out_of_order_are_a_defect_that_is_told() {
    let house = house();
    for steps in [
        vec![Step::End],
        vec![Step::Write("x")],
        [config("end\n"), config("end\n")].concat(),
        vec![Step::Begin(config_info()), Step::Begin(config_info())],
    ] {
        let script = Script::new(vec![steps]);
        let run = house
            .engine
            .back_up(&job(script, vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]))
            .await
            .unwrap();
        assert_eq!(run.error.unwrap().kind, ErrorKind::Internal);
    }
}
