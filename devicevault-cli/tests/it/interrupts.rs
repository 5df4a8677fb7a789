//! Ctrl-C.

use std::process::{Command, Stdio};
use std::time::Duration;

use devicevault_testkit::sim::{Quirk, SimDevice};

use crate::sight::devices;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_one_cancels_and_is_recorded() {
    let stalled = Quirk::Stall { command: "show running-config".to_owned(), after: 500 };
    let (fleet, person) =
        devices([SimDevice::cisco_ios("quick-sw"), SimDevice::cisco_ios("stalled-sw").quirk(stalled)]).await;
    person.moves_in(&fleet).await;
    let mut program = person.program(&["backup", "--all", "--json"]);
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Both have been asked for their configuration, and the quick one is done with.
    let logins = || {
        fleet.device("stalled-sw").unwrap().stats().commands > 2 && fleet.device("quick-sw").unwrap().stats().open == 0
    };
    while !logins() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| rows.as_array().unwrap().iter().find(|r| r["device"] == name).unwrap().clone();
    assert_eq!(of("quick-sw")["status"], "stored");
    assert_eq!(of("stalled-sw")["status"], "cancelled");

    let runs = person.asks(&["run", "list", "stalled-sw", "--json"]).await.good().json();
    assert_eq!(runs[0]["state"], "cancelled");
    // Nobody holds the device.
    fleet.device("stalled-sw").unwrap().set_quirks([]);
    person.asks(&["backup", "stalled-sw"]).await.good();
}
