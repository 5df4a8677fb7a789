//! Ctrl-C.

use std::process::{Command, Stdio};
use std::time::Duration;

use devicevault_testkit::sim::{Quirk, SimDevice};

use crate::person::Person;
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
    loop {
        let runs = person.asks(&["run", "list", "quick-sw", "--json"]).await.good().json();
        if runs[0]["state"] == "succeeded" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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

#[test]
fn what_a_password_command_has_started_ends_with_it() {
    for signal in ["-HUP", "-TERM"] {
        let person = Person::new();
        // A child of the shell that would outlive it, and that tells its number.
        let command = "sleep 1000 & echo $! > child; wait";
        let args = ["backup", "--host", "127.0.0.1", "--platform", "linux", "--user", "u", "--to", "backups"];
        let mut program = person.program(&args);
        program.args(["--password-command", command]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = program.spawn().unwrap();
        let asleep = loop {
            match std::fs::read_to_string(person.path("child")).ok().and_then(|n| n.trim().parse::<u32>().ok()) {
                Some(number) => break number,
                None => assert!(running.try_wait().unwrap().is_none(), "it ended by itself"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(Command::new("kill").args([signal, &running.id().to_string()]).status().unwrap().success());
        assert_eq!(running.wait().unwrap().code(), Some(130), "{signal}");
        let name = format!("/proc/{asleep}/cmdline");
        while std::fs::read(&name).is_ok_and(|line| line.starts_with(b"sleep")) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn without_a_secret_nothing_is_begun() {
    let person = Person::new();
    let args = ["backup", "--host", "127.0.0.1", "--platform", "linux", "--user", "u", "--to", "backups"];
    let done = person.program(&args).args(["--password-env", "NOT_SET"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2), "{done:?}");
}

#[test]
fn of_several_who_set_up_a_home_one_does_and_the_others_are_told() {
    let person = Person::new();
    let all: Vec<_> = (0..4)
        .map(|_| person.program(&["init"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    let ended: Vec<_> = all.into_iter().map(|c| c.wait_with_output().unwrap()).collect();
    assert_eq!(ended.iter().filter(|o| o.status.success()).count(), 1);
    for other in ended.iter().filter(|o| !o.status.success()) {
        let said = String::from_utf8_lossy(&other.stderr);
        assert!(said.contains("setting it up") || said.contains("there is a home"), "{said}");
    }
}
