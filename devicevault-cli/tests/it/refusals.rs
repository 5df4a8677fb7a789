//! Logins and host keys that are not accepted, and devices that do not answer.

use devicevault_testkit::sim::{Quirk, SimDevice};

use crate::person::{PASSWORD, Person, files_below};
use crate::sight::{devices, switch};

/// Nothing but what the program keeps for itself is in the folder of backups.
#[track_caller]
fn assert_nothing_stored(person: &Person) {
    for (file, _) in files_below(&person.path("backups")) {
        let path = file.strip_prefix(person.path("backups")).unwrap().to_owned();
        assert!(path.to_string_lossy().starts_with('.'), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once() {
    let (fleet, _) = switch().await;
    let device = &fleet.devices()[0];
    let person = Person::new().with_password("not the password");
    let answer = person.backs_up(device, &["--retries", "5"]).await.ended(1);
    assert_eq!(device.stats().password_attempts, 1);
    assert!(answer.err.contains("auth_rejected: 1 device") && answer.err.contains("did not accept"), "{answer:?}");
    assert!(!answer.err.contains("not the password"));
    assert_nothing_stored(&person);
    let all = person.backs_up(device, &["--json"]).await.ended(1).json();
    assert_eq!(all[0]["status"], "failed");
    assert_eq!(all[0]["artefact"], serde_json::Value::Null);
    assert_eq!(all[0]["error_kind"], "auth_rejected");
    assert_eq!(device.stats().password_attempts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_key_is_refused_with_both_fingerprints() {
    let (fleet, person) = switch().await;
    let device = &fleet.devices()[0];
    person.backs_up(device, &[]).await.good();
    let known = device.fingerprint();
    device.change_host_key();
    let logins = device.stats().logins;
    for _ in 0..2 {
        let answer = person.backs_up(device, &["--retries", "3"]).await.ended(1);
        assert!(answer.err.contains(&known) && answer.err.contains(&device.fingerprint()), "{answer:?}");
        assert!(answer.err.contains("host_key_rejected"), "{answer:?}");
    }
    assert_eq!(device.stats().logins, logins, "no password goes to a server with another key");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_host_keys_are_met_as_was_said() {
    let (fleet, person) = switch().await;
    let device = &fleet.devices()[0];
    let answer = person.backs_up(device, &["--host-key", "strict"]).await.ended(1);
    assert!(answer.err.contains(&device.fingerprint()), "{answer:?}");
    let other = format!("SHA256:{}", "A".repeat(43));
    person.backs_up(device, &["--host-key", &other]).await.ended(1);
    person.backs_up(device, &["--host-key", "always"]).await.ended(2);
    assert_eq!(device.stats().password_attempts, 0);
    assert_nothing_stored(&person);
    person.backs_up(device, &["--host-key", &device.fingerprint()]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_falls_silent_names_the_command() {
    let quirk = Quirk::Stall { command: "show running-config".to_owned(), after: 1000 };
    let (fleet, person) = devices([SimDevice::cisco_ios("silent-sw").quirk(quirk)]).await;
    let answer = person.backs_up(&fleet.devices()[0], &["--timeout", "1s", "--json"]).await.ended(1);
    let text = answer.out.clone();
    assert!(text.contains("show running-config") && text.contains("timeout"), "{text}");
    assert_nothing_stored(&person);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_cut_off_leaves_nothing() {
    let quirk = Quirk::CutOff { command: "show running-config".to_owned(), after: 1000 };
    let (fleet, person) = devices([SimDevice::cisco_ios("cut-sw").quirk(quirk)]).await;
    person.backs_up(&fleet.devices()[0], &["--json"]).await.ended(1);
    assert_nothing_stored(&person);
    fleet.devices()[0].set_quirks([]);
    person.backs_up(&fleet.devices()[0], &[]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["device", "edit", "core-sw1", "--port", "1"]).await.good();
    person.asks(&["backup", "core-sw1", "--retries", "1"]).await.ended(1);
    let runs = person.asks(&["run", "list", "--json"]).await.good().json();
    let attempts: Vec<_> = runs.as_array().unwrap().iter().map(|r| r["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [2, 1]);
    assert_eq!(runs[0]["task_identifier"], runs[1]["task_identifier"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_fails_its_device_and_no_other() {
    let (fleet, person) = devices([SimDevice::linux("a"), SimDevice::linux("b")]).await;
    person.moves_in(&fleet).await;
    person.asks(&["device", "edit", "b", "--password-env", "NOT_SET_ANYWHERE"]).await.good();
    let answer = person.asks(&["backup", "--all"]).await.ended(3);
    assert!(answer.err.contains("NOT_SET_ANYWHERE") && !answer.err.contains(PASSWORD), "{answer:?}");
    assert_eq!(fleet.device("b").unwrap().stats().connections, 0);
}
