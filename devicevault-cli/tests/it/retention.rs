//! What is kept and why, and versions that a person takes for good.

use devicevault_testkit::sim::SimDevice;

use crate::sight::devices;

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_was_meant_to_shrink_is_accepted_and_is_the_reference_from_then_on() {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1").size(32 << 10)]).await;
    let device = &fleet.devices()[0];
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    let not = person.asks(&["accept", "core-sw1"]).await.ended(1);
    assert!(not.err.contains("it is not suspect"), "{}", not.err);

    device.change(|config| {
        let lines: Vec<&[u8]> = config.split_inclusive(|b| *b == b'\n').collect();
        let (head, tail) = (lines[..40].concat(), lines[lines.len() - 2..].concat());
        *config = [head, tail].concat();
    });
    for _ in 0..2 {
        let rows = person.asks(&["backup", "core-sw1", "--json"]).await.json();
        let config = rows.as_array().unwrap().iter().find(|r| r["artefact"] == "running-config").unwrap().clone();
        assert_eq!(config["status"], "suspect", "{rows}");
    }
    // What is put back is the good one before, and it is told that there is a newer one.
    for at in [&[][..], &["--at", "2099-01-01"]] {
        for what in [&["core-sw1"][..], &["core-sw1", "running-config"]] {
            let all = [&["restore"][..], what, &["--to", "back/", "--force"], at].concat();
            let restored = person.asks(&all).await.good();
            assert!(restored.err.contains("1 newer version is suspect and was passed over"), "{restored:?}");
        }
    }
    let accepted = person.asks(&["accept", "core-sw1", "--json"]).await.good().json();
    assert_eq!(accepted["artefact"], "running-config");
    assert!(!accepted["was_suspect_because"].as_array().unwrap().is_empty());
    let rows = person.asks(&["backup", "core-sw1", "--json"]).await.good().json();
    assert!(rows.as_array().unwrap().iter().all(|r| r["status"] == "unchanged"), "{rows}");
    let versions = person.asks(&["history", "core-sw1", "--artefact", "running-config", "--json"]).await.good().json();
    assert_eq!(versions.as_array().unwrap().len(), 2);
    person.asks(&["accept", "core-sw1"]).await.ended(1);
    person.asks(&["accept", "nobody"]).await.ended(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_says_why_each_version_stays_and_nothing_that_is_wanted_goes() {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1")]).await;
    person.moves_in(&fleet).await;
    for n in 0..3 {
        fleet.devices()[0].change_line("description ", &format!("description uplink {n}"));
        person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    }
    let shown = person.asks(&["retention", "show"]).await.good();
    assert!(shown.out.contains("last 10, 30 days") && shown.out.contains("the default"), "{}", shown.out);
    assert!(shown.out.contains("cannot be deleted there"), "git keeps its history: {}", shown.out);

    let pinned = person.asks(&["retention", "pin", "core-sw1", "--backup", "latest~2", "--json"]).await.good().json();
    let plan = person.asks(&["retention", "apply", "--dry-run", "--json"]).await.good().json();
    let store = plan.as_array().unwrap().iter().find(|d| d["status"] == "planned").unwrap();
    assert_eq!((&store["goes"], &store["deleted"]), (&0.into(), &0.into()), "{plan}");
    let versions = store["versions"].as_array().unwrap();
    let why = |id: &serde_json::Value| versions.iter().find(|v| v["backup"] == *id).unwrap()["reason"].clone();
    assert_eq!(why(&pinned["backup"]), "pinned");
    assert!(
        versions.iter().any(|v| v["reason"] == "the newest")
            && versions.iter().any(|v| v["reason"] == "among the last")
    );
    assert!(plan.as_array().unwrap().iter().any(|d| d["status"] == "kept"));

    let applied = person.asks(&["retention", "apply"]).await.good();
    assert!(applied.err.contains("0 versions deleted") && applied.err.contains("keeps its history"), "{}", applied.err);
    person.asks(&["retention", "unpin", "core-sw1", "--backup", "latest~2"]).await.good();
    person.asks(&["verify", "--quiet"]).await.good();
    let none = person.asks(&["retention", "apply", "--destination", "elsewhere"]).await.ended(1);
    assert!(none.err.contains("no enabled destination"), "{}", none.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_do_not_delete_at_once() {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1")]).await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    let mut options = std::fs::OpenOptions::new();
    let other = options.create(true).truncate(false).write(true).open(person.path("home/retention.lock")).unwrap();
    other.lock().unwrap();
    let refused = person.asks(&["retention", "apply"]).await.ended(1);
    assert!(refused.err.contains("another command applies the retention"), "{refused:?}");
    person.asks(&["retention", "apply", "--dry-run"]).await.good();
    // One that only waits goes on with what is there by then.
    let mut waits = person.program(&["retention", "apply"]).spawn().unwrap();
    drop(other);
    assert!(tokio::task::spawn_blocking(move || waits.wait()).await.unwrap().unwrap().success());
}
