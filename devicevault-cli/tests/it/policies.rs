//! Policies: which devices go where, and that each device is asked once whatever selects it.

use std::collections::BTreeSet;

use devicevault_testkit::sim::{Fleet, SimDevice};
use serde_json::Value;

use crate::person::{Answer, Person};
use crate::sight::devices;

/// Four switches, two at each site; the home has a second sealed store.
async fn home() -> (Fleet, Person) {
    let (fleet, person) = devices((0..4).map(|i| SimDevice::cisco_ios(format!("sw{i}")))).await;
    person.moves_in(&fleet).await;
    for (i, site) in ["zurich", "zurich", "bern", "bern"].into_iter().enumerate() {
        person.asks(&["device", "edit", &format!("sw{i}"), "--site", site]).await.good();
    }
    person.asks(&["destination", "add", "offsite", "--kind", "plain", "--path", "offsite"]).await.good();
    (fleet, person)
}

/// `artefact@destination` of everything that a round stored of a device.
fn went(round: &Value, device: &str) -> BTreeSet<String> {
    let rows = round.as_array().unwrap().iter().filter(|r| r["device"] == device);
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let copies = rows.flat_map(|r| {
        let copies = r["copies"].as_array().unwrap().iter();
        copies.map(|c| format!("{}@{}", text(&r["artefact"]), text(&c["destination"]))).collect::<Vec<_>>()
    });
    copies.collect()
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_go_where_their_policies_send_them_and_the_others_everywhere() {
    let (fleet, person) = home().await;
    let zurich = ["--site", "zurich", "--artefact", "running-config", "--to", "store", "--metadata", "owner=noc"];
    person.asks(&[&["policy", "add", "zurich"][..], &zurich].concat()).await.good();
    let second = ["policy", "add", "sw0-too", "--device", "sw0", "--artefact", "inventory", "--to", "offsite"];
    person.asks(&second).await.good();
    let round = person.asks(&["backup", "--all", "--json"]).await.good().json();
    assert_eq!(fleet.stats().logins, 4, "each device is asked once");
    assert_eq!(went(&round, "sw0"), set(&["running-config@store", "inventory@offsite"]));
    assert_eq!(went(&round, "sw1"), set(&["running-config@store"]));
    let everywhere = went(&round, "sw2");
    assert_eq!(everywhere.len(), 3 * 3, "{everywhere:?}");
    let history = person.asks(&["history", "sw1", "--json"]).await.good().json();
    assert_eq!(history[0]["metadata"]["owner"], "noc");

    // By name: its devices alone, and only where it sends them.
    let round = person.asks(&["backup", "--policy", "sw0-too", "--json"]).await.good().json();
    assert_eq!((went(&round, "sw0"), round.as_array().unwrap().len()), (set(&["inventory@offsite"]), 1));
    let round = person.asks(&["backup", "--policy", "zurich", "sw1", "--json"]).await.good().json();
    assert_eq!((went(&round, "sw1"), round.as_array().unwrap().len()), (set(&["running-config@store"]), 1));

    let shown = person.asks(&["policy", "show", "zurich", "--json"]).await.good().json();
    assert_eq!((&shown["selected"][0], &shown["selected"][1]), (&"sw0".into(), &"sw1".into()), "{shown}");
    assert!(person.asks(&["policy", "list"]).await.good().out.contains("site zurich"));
    // Out of force, its devices go by the default.
    person.asks(&["policy", "edit", "zurich", "--enabled", "no"]).await.good();
    let round = person.asks(&["backup", "sw1", "--json"]).await.good().json();
    assert_eq!(went(&round, "sw1").len(), 3 * 3);
    person.asks(&["policy", "remove", "zurich", "sw0-too"]).await.good();
    assert_eq!(person.asks(&["policy", "list", "--json"]).await.good().json(), Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_without_anything_to_restore_from_is_refused_unless_it_is_meant() {
    let (_fleet, person) = home().await;
    let refused = |answer: Answer, text: &str| assert!(answer.err.contains(text), "{answer:?}");
    let texts = ["policy", "add", "texts", "--site", "bern", "--to", "git"];
    refused(person.asks(&texts).await.ended(2), "--without-original");
    person.asks(&[&texts[..], &["--without-original"]].concat()).await.good();
    let round = person.asks(&["backup", "--site", "bern", "--json"]).await.good().json();
    assert!(went(&round, "sw2").iter().all(|w| w.ends_with("@git")), "{round}");

    person.asks(&["policy", "add", "zurich", "--site", "zurich", "--to", "offsite", "--to", "git"]).await.good();
    // It relies on that destination alone.
    let answer = person.asks(&["destination", "disable", "offsite"]).await.ended(2);
    refused(answer, "zurich");
    refused(person.asks(&["destination", "remove", "git"]).await.ended(1), "a policy names it");
    refused(person.asks(&["policy", "edit", "zurich", "--to", "git"]).await.ended(2), "--without-original");
    person.asks(&["destination", "disable", "offsite", "--without-original"]).await.good();
    // Its devices cannot be backed up as they should, and that is told; the others are.
    let answer = person.asks(&["backup", "--all"]).await.ended(3);
    refused(answer, "no destination keeps the original");

    for (args, text) in [
        (&["policy", "add", "x", "--to", "stoer"][..], "did you mean store?"),
        (&["policy", "add", "x", "--device", "nobody"], "no device of this name"),
        (&["policy", "add", "x", "--credential", "nobody"], "no credential of this name"),
        (&["policy", "add", "zurich"], "of this name already"),
        (&["policy", "show", "zurch"], "did you mean zurich?"),
        (&["backup", "--policy", "zurch"], "did you mean zurich?"),
        (&["policy", "edit", "nobody", "--to", "git"], "no policy of this name"),
    ] {
        refused(person.asks(args).await.ended(1), text);
    }
    refused(person.asks(&["policy", "add", "x", "--artefact", "../x"]).await.ended(2), "artefact");
    refused(person.asks(&["policy", "add", "x", "--option", "retention.lost=3"]).await.ended(2), "retention.lost");
    refused(person.asks(&["policy", "add", "x", "--option", "retenshun.last=3"]).await.ended(2), "retenshun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_for_what_no_device_has_is_no_backup_that_went_well() {
    let (_fleet, person) = home().await;
    let slip = ["--artefact", "running-confg", "--to", "store"];
    let answer = person.asks(&[&["policy", "add", "p4"][..], &slip].concat()).await.ended(2);
    assert!(
        answer.err.contains("running-confg") && answer.err.contains("there is: inventory, running-config"),
        "{answer:?}"
    );
    person.write("x.toml", "[[policy]]\nname = \"p4\"\nartefacts = [\"running-confg\"]\n");
    let answer = person.asks(&["apply", "-f", "x.toml", "--dry-run"]).await.ended(2);
    assert!(answer.err.contains("x.toml, line: 1") && answer.err.contains("running-confg"), "{answer:?}");
    assert_eq!(person.asks(&["policy", "list", "--json"]).await.good().json(), Value::Array(Vec::new()));

    // Where its devices come later, nobody can know.
    let answer = person.asks(&[&["policy", "add", "p4", "--site", "geneva"][..], &slip].concat()).await.good();
    assert!(answer.err.contains("selects no device yet"), "{answer:?}");
    person.asks(&["device", "edit", "sw0", "--site", "geneva"]).await.good();
    let answer = person.asks(&["backup", "sw0"]).await.ended(2);
    assert!(answer.err.contains("none of the artefacts that are asked for"), "{answer:?}");
    let answer = person.asks(&["backup", "--all"]).await.ended(3);
    assert!(answer.err.contains("sw0") && !answer.out.contains("unchanged"), "{answer:?}");
    assert!(answer.err.contains("3 succeeded, 1 failed"), "{answer:?}");
    let answer = person.asks(&["policy", "edit", "p4", "--metadata", "a=b"]).await.ended(2);
    assert!(answer.err.contains("running-confg"), "{answer:?}");
    person.asks(&["policy", "edit", "p4", "--artefact", "running-config"]).await.good();
    person.asks(&["backup", "--all"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_some_of_its_devices_do_not_have_is_told_and_fails_nothing_for_ever() {
    let (_fleet, person) = home().await;
    person.asks(&["device", "add", "srv1", "--host", "127.0.0.1", "--platform", "linux", "--user", "x"]).await.good();
    let add = ["policy", "add", "mix", "--artefact", "startup-config", "--to", "store"];
    let answer = person.asks(&add).await.good();
    assert!(answer.err.contains("srv1 has no such artefact"), "{answer:?}");
    let answer = person.asks(&["backup", "--all"]).await.good();
    assert!(answer.err.contains("not backed up: srv1") && answer.err.contains("1 left out"), "{answer:?}");
    assert!(answer.out.contains("left out"), "{answer:?}");
    // Whoever has it run at night learns it too.
    let quiet = person.asks(&["backup", "--all", "--quiet"]).await.good();
    assert!(quiet.out.is_empty() && quiet.err.contains("not backed up: srv1"), "{quiet:?}");
    let rows = person.asks(&["backup", "--all", "--json"]).await.good().json();
    let row = rows.as_array().unwrap().iter().find(|r| r["device"] == "srv1").unwrap();
    assert_eq!((&row["status"], &row["run"]), (&"left_out".into(), &Value::Null));
    let summary = person.asks(&["backup", "--all", "--summary", "--json"]).await.good().json();
    assert_eq!(summary["left_out"], serde_json::json!(["srv1"]));
    let nothing = person.asks(&["backup", "--failed"]).await.good();
    assert!(
        !nothing.err.contains("0 devices") && nothing.err.contains("no device was backed up; 1 left out"),
        "{nothing:?}"
    );
    // Whoever names it is told that nothing can be done.
    let answer = person.asks(&["backup", "srv1"]).await.ended(2);
    assert!(answer.err.contains("none of the artefacts that are asked for"), "{answer:?}");

    // A slip in a policy that had no device yet is told, though another policy backs the device up.
    let slip = ["policy", "add", "later", "--site", "geneva", "--artefact", "running-confg", "--to", "store"];
    person.asks(&slip).await.good();
    person.asks(&["device", "edit", "sw0", "--site", "geneva"]).await.good();
    let answer = person.asks(&["backup", "--all"]).await.ended(3);
    assert!(answer.err.contains("running-confg") && answer.err.contains("policy: later"), "{answer:?}");
    person.asks(&["policy", "edit", "later", "--artefact", "running-config"]).await.good();
    person.asks(&["backup", "--all"]).await.good();
}

#[test]
fn file_rules_for_an_artefact_that_nobody_has_are_told() {
    let person = Person::new();
    person.run(&["init"]).good();
    let rules = ["--option", "file_rules.state.magic=gzip", "--option", "file_rules.stat.max_size=1KB"];
    let add = ["device", "add", "fw1", "--host", "192.0.2.1", "--platform", "linux", "--collector", "sftp"];
    let file = ["--option", "files.state=/var/lib/state"];
    let told = person.run(&[&add[..], &file, &rules].concat()).good().err;
    assert!(
        told.contains("device fw1: there are file rules for stat, and no such artefact; there is: state"),
        "{told}"
    );
    let edit = ["device", "edit", "fw1", "--option", "file_rules.stat.max_size=2KB"];
    assert!(person.run(&edit).good().err.contains("file rules for stat"));
    let policy = ["policy", "add", "files", "--platform", "linux"];
    let told = person.run(&[&policy[..], &rules].concat()).good().err;
    assert!(told.contains("policy files: there are file rules for stat,"), "{told}");
    person.write(
        "fw2.toml",
        "[[device]]\nname = \"fw2\"\nhost = \"192.0.2.2\"\nplatform = \"linux\"\ncollector = \"sftp\"\n\
         options = { \"files.state\" = \"/x\", \"file_rules.sate.magic\" = \"gzip\" }\n",
    );
    let told = person.run(&["apply", "-f", "fw2.toml"]).good().err;
    assert!(told.contains("device fw2: there are file rules for sate,"), "{told}");
}
