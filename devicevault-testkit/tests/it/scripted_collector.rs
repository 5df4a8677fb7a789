//! The scripted collector conforms when told to, and the suite finds it out when not.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::{Collector, Error, ErrorKind, Login, Note, Result, Target};
use devicevault_testkit::conformance::{CollectorSuite, Situation, Subject};
use devicevault_testkit::scripted::{Ending, Script, ScriptedArtefact, ScriptedCollector};
use devicevault_testkit::{conformance, samples};

fn target() -> Target {
    let mut login = Login::default();
    login.username = "admin".to_owned();
    login.password = Some("correct horse battery".into());
    Target::new(samples::device("sw1"), login)
}

fn subject(script: Script) -> Subject {
    let collector = ScriptedCollector::new();
    collector.set("sw1", script);
    Subject::new(Arc::new(collector), target())
        .with_content("running-config", samples::text(1, 100_000))
        .with_content("image", samples::noise(2, 50_000))
}

fn config() -> ScriptedArtefact {
    ScriptedArtefact::text("running-config", samples::text(1, 100_000)).in_pieces_of(1000)
}

fn image() -> ScriptedArtefact {
    ScriptedArtefact::binary("image", samples::noise(2, 50_000))
}

async fn scene(situation: Situation) -> Result<Option<Subject>> {
    let cut = Error::new(ErrorKind::Incomplete, "read answer", "the device closed the connection");
    let silent = Error::new(ErrorKind::Timeout, "read answer to 'show running-config'", "the device is silent");
    let rejected = Error::new(ErrorKind::AuthRejected, "log in", "the device rejected the password");
    Ok(Some(subject(match situation {
        Situation::Good => Script::new().artefact(config()).artefact(image()),
        Situation::CutOff => Script::new().artefact(config().ending(Ending::Breaks(5000, cut))).artefact(image()),
        Situation::Stalled => Script::new().artefact(config().ending(Ending::Fails(5000, silent))).artefact(image()),
        Situation::WrongPassword => Script::new().refusing(rejected).artefact(config()),
        _ => return Ok(None),
    })))
}

#[tokio::test]
async fn the_scripted_collector_conforms() {
    let report = conformance::collector(scene).await;
    report.assert();
    assert_eq!(report.skipped().count(), 0, "{report}");
}

/// The names of the cases that a good situation like this breaks.
async fn broken(script: Script) -> Vec<&'static str> {
    let scene = async |situation| match situation {
        Situation::Good => Ok(Some(subject(script.clone()))),
        _ => Ok(None),
    };
    let report = CollectorSuite::new(&scene).with_patience(Duration::from_secs(5)).run().await;
    report.broken().map(|c| c.name).collect()
}

#[tokio::test]
async fn what_is_cut_and_ended_all_the_same_is_found_out() {
    let short = ScriptedArtefact::text("running-config", samples::text(1, 99_999));
    let found = broken(Script::new().artefact(short).artefact(image())).await;
    assert!(found.contains(&"collect") && found.contains(&"stream"), "{found:?}");
}

#[tokio::test]
async fn what_is_not_ended_is_found_out() {
    let found = broken(Script::new().artefact(image()).artefact(config().ending(Ending::Unended))).await;
    assert!(found.contains(&"collect"), "{found:?}");
    let found = broken(Script::new().artefact(config().ending(Ending::Unended)).artefact(image())).await;
    assert!(found.contains(&"collect"), "{found:?}");
}

#[tokio::test]
async fn an_artefact_twice_is_found_out() {
    let found = broken(Script::new().artefact(config()).artefact(config()).artefact(image())).await;
    assert!(found.contains(&"artefacts") && found.contains(&"collect"), "{found:?}");
}

#[tokio::test]
async fn a_told_secret_is_found_out() {
    let told = config().noting(Note::info("logged in with correct horse battery"));
    assert_eq!(broken(Script::new().artefact(told).artefact(image())).await, ["secrets"]);
}

#[tokio::test]
async fn a_collector_counts_its_conversations() {
    let collector = ScriptedCollector::new();
    collector.set("sw1", Script::new().artefact(config().ending(Ending::Hangs(10))));
    let mut sink = devicevault_testkit::recording::RecordingSink::new();
    let hangs = devicevault_testkit::cancel::cancel_after(1, collector.collect(&target(), &mut sink)).await;
    assert!(hangs.is_none());
    let count = collector.conversations_with("sw1");
    assert_eq!((count.begun, count.ended, count.open, count.peak), (1, 0, 0, 1));
    assert_eq!(collector.conversations(), count);
}
