//! Texts that may not be what the device holds.

use std::sync::Arc;

use devicevault_core::run::{ArtefactStatus, RunState};
use devicevault_core::{ArtifactInfo, Catalog, View};
use devicevault_testkit::memory::MemoryBackend;

use crate::doubles::*;

const LONG: &str = "hostname a\ninterface 1\ninterface 2\ninterface 3\nend\n";

#[tokio::test]
async fn a_text_without_its_end_is_stored_shown_and_not_the_reference() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let cut = "hostname a\ninterface 1\ninterface 2\ninter";
    let script = Script::new(vec![config(LONG), config(cut), config(cut), config(LONG)]);
    let job = job(script, vec![destination("d", backend.clone(), View::Original)]);

    let good = house.engine.back_up(&job).await.unwrap();
    let bad = house.engine.back_up(&job).await.unwrap();
    assert_eq!((bad.state, bad.artefacts[0].status), (RunState::Partial, ArtefactStatus::Suspect));
    assert!(bad.artefacts[0].suspect[0].contains("end marker is missing"), "{:?}", bad.artefacts[0].suspect);
    assert_eq!(backend.len(), 2);
    assert!(
        !stored(&backend).iter().find(|(m, _)| Some(m.backup) == bad.artefacts[0].backup).unwrap().0.suspect.is_empty()
    );

    let again = house.engine.back_up(&job).await.unwrap();
    assert_eq!((again.state, again.artefacts[0].backup), (RunState::Partial, bad.artefacts[0].backup));
    assert_eq!(backend.len(), 2, "seen again, not stored again");

    let back = house.engine.back_up(&job).await.unwrap();
    assert_eq!((back.state, back.artefacts[0].backup), (RunState::Unchanged, good.artefacts[0].backup));
    let latest = house.catalog.latest(&"sw1".into(), "running-config").await.unwrap();
    assert_eq!(latest.reference.map(|b| b.id), good.artefacts[0].backup);
}

#[tokio::test]
async fn what_a_person_took_for_good_is_suspect_no_more_until_it_changes() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let (cut, other) = ("hostname a\ninterface 1\n", "hostname a\ninterface 9\n");
    let script = Script::new([cut, cut, cut, other].map(config).to_vec());
    let job = job(script, vec![destination("d", backend.clone(), View::Original)]);
    let taken = house.engine.back_up(&job).await.unwrap().artefacts[0].backup.unwrap();
    assert!(house.catalog.accept(taken).await.unwrap());
    for _ in 0..2 {
        let same = house.engine.back_up(&job).await.unwrap();
        assert_eq!((same.state, same.artefacts[0].backup), (RunState::Unchanged, Some(taken)));
        assert!(same.artefacts[0].suspect.is_empty());
    }
    assert_eq!(backend.len(), 1);
    let changed = house.engine.back_up(&job).await.unwrap();
    assert_eq!((changed.state, changed.artefacts[0].status), (RunState::Partial, ArtefactStatus::Suspect));
}

#[tokio::test]
async fn a_message_that_a_person_took_for_good_is_none_in_the_next_versions() {
    let house = house();
    let backend = Arc::new(MemoryBackend::new());
    let first = "hostname a\nbanner\n% Invalid input of users is logged\na\nb\nend\n";
    let shifted = "hostname a\nvlan 1\nbanner\n% Invalid input of users is logged\na\nb\nend\n";
    let later = "hostname a\nvlan 2\nbanner\n% Invalid input of users is logged\na\nb\nend\n";
    let cut = "hostname a\nvlan 2\nbanner\n% Invalid input of users is logged\na\nb\nc\n";
    let script = Script::new([first, shifted, later, cut].map(config).to_vec());
    let job = job(script, vec![destination("d", backend.clone(), View::Original)]);
    let taken = house.engine.back_up(&job).await.unwrap();
    assert_eq!(taken.artefacts[0].suspect.len(), 1, "{:?}", taken.artefacts);
    let taken = taken.artefacts[0].backup.unwrap();
    assert!(house.catalog.accept(taken).await.unwrap());
    for _ in 0..2 {
        let next = house.engine.back_up(&job).await.unwrap();
        assert_eq!((next.state, next.artefacts[0].status), (RunState::Succeeded, ArtefactStatus::Stored));
    }
    let cut = house.engine.back_up(&job).await.unwrap();
    assert_eq!(cut.artefacts[0].suspect.len(), 1, "that it has no end was never taken for good: {:?}", cut.artefacts);
}

#[tokio::test]
async fn of_many_messages_that_a_person_took_for_good_none_is_one_in_the_next_versions() {
    let house = house();
    let of = |head: &str, peers: std::ops::Range<u32>| {
        let peers: String = peers.map(|i| format!("% Invalid input of peer {i}\n")).collect();
        config(Box::leak(format!("hostname {head}\n{peers}a\nb\nend\n").into_boxed_str()))
    };
    let script = Script::new(vec![of("a", 0..40), of("b", 0..40), of("c", 3..40), of("d", 0..41)]);
    let job = job(script, vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]);
    let first = house.engine.back_up(&job).await.unwrap();
    assert_eq!(first.artefacts[0].status, ArtefactStatus::Suspect);
    assert!(house.catalog.accept(first.artefacts[0].backup.unwrap()).await.unwrap());
    for _ in 0..2 {
        let next = house.engine.back_up(&job).await.unwrap();
        assert_eq!(next.artefacts[0].status, ArtefactStatus::Stored, "{:?}", next.artefacts);
    }
    let another = house.engine.back_up(&job).await.unwrap();
    assert_eq!(another.artefacts[0].status, ArtefactStatus::Suspect, "a line that nobody looked at");
}

#[tokio::test]
async fn what_was_taken_for_good_acquits_no_other_message_and_none_at_the_end() {
    let good = "hostname a\n% Invalid input of users is logged\nvlan 1\nvlan 2\nend\n";
    for other in [
        "hostname a\n% Invalid input of users is logged\nvlan 1\n% Invalid input: the rest is missing\nvlan 2\na\nb\nend\n",
        "hostname a\nvlan 1\nvlan 2\nvlan 3\n% Invalid input of users is logged\nend\n",
    ] {
        let house = house();
        let script = Script::new([good, other].map(config).to_vec());
        let job = job(script, vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]);
        let first = house.engine.back_up(&job).await.unwrap();
        assert_eq!(first.artefacts[0].suspect.len(), 1, "{:?}", first.artefacts);
        assert!(house.catalog.accept(first.artefacts[0].backup.unwrap()).await.unwrap());
        let next = house.engine.back_up(&job).await.unwrap();
        assert_eq!(next.artefacts[0].suspect.len(), 1, "{:?}", next.artefacts);
    }
}

#[tokio::test]
async fn a_size_that_collapsed_and_a_doubt_of_the_collector_are_suspect() {
    let house = house();
    let script = Script::new(vec![
        config(LONG),
        config("hostname a\nend\n"),
        vec![Step::Begin(config_info()), Step::Write(LONG), Step::Suspect("the prompt stood in the text"), Step::End],
    ]);
    let job = job(script, vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]);
    house.engine.back_up(&job).await.unwrap();
    let small = house.engine.back_up(&job).await.unwrap();
    assert!(small.artefacts[0].suspect[0].contains("under half"), "{:?}", small.artefacts[0].suspect);
    let doubt = house.engine.back_up(&job).await.unwrap();
    assert_eq!(doubt.artefacts[0].suspect, ["the prompt stood in the text"]);
}

#[tokio::test]
async fn a_text_that_is_shorter_than_the_device_says_is_suspect_where_it_shrank() {
    let house = house();
    let whole = "! 60 bytes\nhostname a\ninterface 1\ninterface 2\ninterface 3\ninterface 4\nend\n";
    let cut = "! 60 bytes\nhostname a\ninterface 1\ninterface 4\nend\n";
    let smaller = "! 36 bytes\nhostname a\ninterface 1\ninterface 4\nend\n";
    let script = Script::new(vec![config(whole), config(cut), config(smaller)]);
    let job = job(script, vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]);
    house.engine.back_up(&job).await.unwrap();
    let short = house.engine.back_up(&job).await.unwrap();
    assert_eq!(
        short.artefacts[0].suspect,
        ["the device says that it has 60 bytes; 39 came, and the last backup has 74"]
    );
    let meant = house.engine.back_up(&job).await.unwrap();
    assert_eq!(meant.artefacts[0].status, ArtefactStatus::Stored, "{:?}", meant.artefacts[0].suspect);
}

#[tokio::test]
async fn what_a_device_says_of_its_first_text_is_told_and_not_believed() {
    let house = house();
    let script = Script::new(vec![config("! 900 bytes\nhostname a\nend\n")]);
    let job = job(script, vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]);
    let run = house.engine.back_up(&job).await.unwrap();
    assert_eq!(run.artefacts[0].status, ArtefactStatus::Stored);
    let told = "the device says that its running-config has 900 bytes, and 15 came";
    assert!(run.log.iter().any(|n| n.text == told), "{:?}", run.log);
}

#[tokio::test]
async fn an_empty_text_is_suspect() {
    let house = house();
    let job =
        job(Script::new(vec![config("")]), vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)]);
    let run = house.engine.back_up(&job).await.unwrap();
    assert_eq!((run.state, run.artefacts[0].status), (RunState::Partial, ArtefactStatus::Suspect));
}

#[tokio::test]
async fn what_only_rules_took_for_good_is_judged_by_rules_of_today() {
    let house = house();
    let text = "hostname a\n";
    let without_rules = ArtifactInfo::text("running-config");
    let earlier = vec![Step::Begin(without_rules), Step::Write(text), Step::End];
    let job = job(
        Script::new(vec![earlier, config(text)]),
        vec![destination("d", Arc::new(MemoryBackend::new()), View::Original)],
    );
    assert_eq!(house.engine.back_up(&job).await.unwrap().artefacts[0].status, ArtefactStatus::Stored);
    let now = house.engine.back_up(&job).await.unwrap();
    assert_eq!(now.artefacts[0].status, ArtefactStatus::Suspect, "it has no end");
}
