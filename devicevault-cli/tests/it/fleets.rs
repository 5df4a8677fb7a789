//! Many devices at a time: what is told of them, and what is taken up again.

use std::process::Command;
use std::time::Duration;

use devicevault_testkit::sim::{Quirk, SimDevice};
use serde_json::Value;

use crate::person::PASSWORD;
use crate::sight::devices;

/// The names in an array.
fn names(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_told_by_kind_and_is_all_that_is_tried_again() {
    let refused = Quirk::Refuses { command: "show running-config".to_owned() };
    let (fleet, person) = devices([
        SimDevice::cisco_ios("good-1"),
        SimDevice::cisco_ios("good-2"),
        SimDevice::cisco_ios("refuses").quirk(refused),
    ])
    .await;
    person.moves_in(&fleet).await;
    // A port that nobody listens on.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let add = ["device", "add", "gone", "--host", "127.0.0.1", "--port", &gone, "--platform", "cisco_ios"];
    person.asks(&[&add[..], &["--user", "admin", "--password-env", PASSWORD]].concat()).await.good();

    let first = person.asks(&["backup", "--all", "--retries", "0", "--summary", "--json"]).await.ended(3).json();
    assert_eq!(first["devices"], 4);
    assert_eq!(first["states"], serde_json::json!({"succeeded": 2, "partial": 1, "failed": 1}));
    let kinds: Vec<_> = first["failures"].as_array().unwrap().iter().map(|f| f["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["refused", "unreachable"], "{first}");
    assert_eq!(names(&first["failures"][1]["devices"]), ["gone"]);

    fleet.device("refuses").unwrap().set_quirks([]);
    let told = person.asks(&["backup", "--failed", "--retries", "0", "--summary"]).await.ended(3);
    assert!(
        told.out.is_empty() && told.err.contains("unreachable: 1 device") && told.err.contains("gone:"),
        "{told:?}"
    );
    assert!(told.err.contains("2 devices: 1 succeeded, 1 failed"), "{told:?}");
    assert_eq!(fleet.device("good-1").unwrap().stats().logins, 1);
    // What was never backed up is left over too.
    let new = fleet.device("good-2").unwrap().addr().port().to_string();
    let add = ["device", "add", "new", "--host", "127.0.0.1", "--port", &new, "--platform", "cisco_ios"];
    person.asks(&[&add[..], &["--user", "admin", "--password-env", PASSWORD]].concat()).await.good();
    person.asks(&["device", "remove", "gone"]).await.good();
    let last = person.asks(&["backup", "--failed", "--json"]).await.good().json();
    assert!(last.as_array().unwrap().iter().all(|r| r["device"] == "new"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_goes_last_in_the_next_round() {
    let refused = Quirk::Refuses { command: "show running-config".to_owned() };
    let (fleet, person) =
        devices([SimDevice::cisco_ios("sw1").quirk(refused), SimDevice::cisco_ios("sw2"), SimDevice::cisco_ios("sw3")])
            .await;
    person.moves_in(&fleet).await;
    let order = async || {
        let round = ["backup", "--all", "--sessions", "1", "--retries", "0", "--summary"];
        drop(person.asks(&round).await);
        let runs = person.asks(&["run", "list", "--json"]).await.good().json();
        let newest = runs.as_array().unwrap().iter().take(3).rev();
        newest.map(|run| run["device_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(order().await, ["sw1", "sw2", "sw3"]);
    fleet.device("sw1").unwrap().set_quirks([]);
    assert_eq!(order().await, ["sw2", "sw3", "sw1"]);
    assert_eq!(order().await, ["sw1", "sw2", "sw3"], "it is good again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_was_cut_off_is_taken_up_where_it_ended() {
    let slow = Quirk::ThinkTime(Duration::from_millis(400));
    let all = (0..6).map(|i| SimDevice::cisco_ios(format!("sw{i}")).quirk(slow.clone()));
    let (fleet, person) = devices(all).await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all", "--sessions", "6"]).await.good();
    assert!(fleet.devices().iter().all(|d| d.stats().logins == 1));

    let mut child = person.program(&["backup", "--all", "--sessions", "1"]).spawn().unwrap();
    while fleet.stats().logins < 8 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(Command::new("kill").args(["-KILL", &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap();
    let before = fleet.stats().logins;

    let rest = person.asks(&["backup", "--failed", "--sessions", "6", "--json"]).await.good().json();
    let mut again: Vec<_> = rest.as_array().unwrap().iter().map(|r| r["device"].as_str().unwrap()).collect();
    again.dedup();
    // The first one's run was over when the second one's began, but it may not have been recorded yet.
    let first = usize::from(again[0] == "sw0");
    assert_eq!(again[first..], ["sw1", "sw2", "sw3", "sw4", "sw5"]);
    assert_eq!(fleet.stats().logins, before + again.len() as u64);
    assert_eq!(person.asks(&["backup", "--failed", "--json"]).await.good().json(), Value::Array(vec![]));
    let none = person.asks(&["backup", "--failed"]).await.good();
    assert!(none.err.contains("nothing is left over"), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_left_alone_as_long_as_is_asked_for() {
    let (fleet, person) = devices([SimDevice::cisco_ios("sw1")]).await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all"]).await.good();
    let begun = tokio::time::Instant::now();
    let told = person.asks(&["backup", "--all", "--device-interval", "2s", "--bandwidth", "1M"]).await.good();
    assert!(told.err.contains("1 device rests yet, for "), "{told:?}");
    assert!(begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());
}
