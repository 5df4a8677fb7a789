//! What is taken out of a Git destination's history.

use std::process::Stdio;
use std::time::Duration;

use devicevault_testkit::sim::{SimDevice, Simulated};
use serde_json::Value;

use crate::repositories::git;
use crate::sight::devices;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn what_is_purged_is_gone_and_the_catalog_knows_it_whenever_it_is_killed() {
    let (fleet, person) = devices([SimDevice::cisco_ios("sw1"), SimDevice::cisco_ios("sw2")]).await;
    person.moves_in(&fleet).await;
    for _ in 0..3 {
        fleet.devices().iter().for_each(Simulated::change_something);
        person.asks(&["backup", "--all", "--quiet"]).await.good();
    }
    let purge = ["git", "purge", "git", "--device", "sw1"];
    let shown = person.asks(&purge).await.good();
    assert!(shown.err.contains("nothing was done"), "{shown:?}");
    let copies = |all: &Value, at: &str| {
        let copies = all.as_array().unwrap().iter().flat_map(|v| v["copies"].as_array().unwrap());
        copies.filter(|c| c["destination"] == at || c.as_str() == Some(at)).count()
    };
    let yes = ["git", "purge", "git", "--device", "sw1", "--yes"];
    let repo = person.path("home/git");
    let left = || git(&repo, &["log", "--oneline", "main", "--", "sw1", "zurich/sw1"]);
    for wait in [30, 60, 100, 150, 200, 300] {
        let mut child = person.program(&yes).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // A repair finds it missing, and does not bring it back.
        let gone = left().is_empty();
        person.asks(&["verify", "--repair", "--quiet"]).await;
        assert!(!gone || left().is_empty(), "killed after {wait} ms: a repair brought it back");
    }
    person.asks(&yes).await.good();
    assert!(
        !person.path("home/purging.json").exists()
            || std::fs::read_to_string(person.path("home/purging.json")).unwrap() == "{}"
    );
    assert_eq!(git(&repo, &["log", "--oneline", "main", "--", "sw1", "zurich/sw1"]), "");
    git(&repo, &["fsck", "--full", "--strict"]);
    person.asks(&["verify", "--quiet"]).await.good();
    let one = person.asks(&["history", "sw1", "--json"]).await.good().json();
    let two = person.asks(&["history", "sw2", "--json"]).await.good().json();
    assert_eq!((copies(&one, "git"), copies(&one, "store")), (0, one.as_array().unwrap().len()), "{one}");
    assert_eq!(copies(&two, "git"), two.as_array().unwrap().len(), "{two}");
    // The next backup goes on, and stores the device that is still backed up.
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    person.asks(&["verify", "--quiet"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_something_was_taken_out_of_is_given_for_no_original() {
    let (fleet, person) = devices([SimDevice::cisco_ios("sw1")]).await;
    person.moves_in(&fleet).await;
    let add = ["destination", "add", "all", "--kind", "git", "--view", "original", "--path", "all"];
    person.asks(&add).await.good();
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    person.asks(&["git", "purge", "all", "--pattern", "spanning-tree", "--yes"]).await.good();
    let original = ["show", "sw1", "--view", "original"];
    let shown = person.asks(&original).await.good().out;
    assert!(shown.contains("spanning-tree") && !shown.contains("<purged>"), "{shown}");
    let restore = ["restore", "sw1", "running-config", "--to", "one.cfg"];
    let refused = person.asks(&[&restore[..], &["--from", "all"]].concat()).await.ended(1);
    assert!(refused.err.contains("clean at all"), "{refused:?}");
    person.asks(&["verify", "--quiet"]).await.good();
    person.asks(&["destination", "add", "off", "--kind", "plain", "--path", "off"]).await.good();
    let copied = person.asks(&["destination", "copy", "all", "off"]).await;
    assert!(copied.code != 0 && copied.err.contains("no original there"), "{copied:?}");
    person.asks(&restore).await.good();
    assert_eq!(std::fs::read_to_string(person.path("one.cfg")).unwrap(), shown);
    // A catalog that is made anew knows it too.
    std::fs::rename(person.path("home/catalog.db"), person.path("lost.db")).unwrap();
    person.asks(&["catalog", "rebuild", "--from", "home/store", "--from", "all"]).await;
    assert_eq!(person.asks(&original).await.good().out, shown);
    // The next backup stores what the device still has.
    person.asks(&["backup", "--all", "--quiet"]).await;
    person.asks(&["verify", "--quiet"]).await.good();
}
