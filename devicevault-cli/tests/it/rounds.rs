//! Backups as they should go: a first one, one without a change, one with a change.

use devicevault_testkit::sim::SimDevice;
use serde_json::Value;

use crate::person::{Answer, Person, files_below, mode};
use crate::sight::{devices, switch};

/// What became of an artefact.
#[track_caller]
fn artefact(answer: &Answer, name: &str) -> Value {
    let all = answer.json();
    all.as_array().unwrap().iter().find(|a| a["artefact"] == name).unwrap_or_else(|| panic!("{all}")).clone()
}

/// The lines that a unified difference takes away and adds.
fn changed(diff: &str) -> Vec<&str> {
    let lines = diff.lines().filter(|l| l.starts_with(['+', '-']));
    lines.filter(|l| !l.starts_with("+++") && !l.starts_with("---")).collect()
}

/// The catalog's database comes and goes with its journal.
fn is_own(file: &std::path::Path) -> bool {
    file.iter().any(|part| part == ".devicevault")
}

fn sha256(bytes: &[u8]) -> String {
    devicevault_core::Digest::of(bytes).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_fills_with_what_changed_and_nothing_else() {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1").volatile()]).await;
    let device = &fleet.devices()[0];

    let first = person.backs_up(device, &["--json"]).await.good();
    let config = artefact(&first, "running-config");
    assert_eq!((config["status"].as_str(), config["kind"].as_str()), (Some("stored"), Some("text")));
    assert_eq!(config["device"], "core-sw1");
    assert_eq!(config["error"], Value::Null);
    let path = person.path("backups").join(config["path"].as_str().unwrap());
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(config["size"], bytes.len());
    assert_eq!(config["sha256"], sha256(&bytes));
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains(std::str::from_utf8(&device.config()).unwrap().lines().next().unwrap()), "{text}");
    assert!(!text.contains("core-sw1#") && !text.contains('\r'), "{text}");

    for (file, _) in files_below(&person.path("backups")) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        assert_eq!(mode(file.parent().unwrap()), 0o700, "{}", file.display());
    }

    // Its volatile lines differ, and nothing else.
    let stored = || files_below(&person.path("backups")).into_iter().filter(|(f, _)| !is_own(f)).count();
    let files = stored();
    let second = person.backs_up(device, &["--json"]).await.good();
    let again = artefact(&second, "running-config");
    assert_eq!(again["status"], "unchanged");
    assert_eq!(
        (&again["path"], &again["sha256"], &again["size"]),
        (&config["path"], &config["sha256"], &config["size"])
    );
    assert_eq!(stored(), files);

    assert!(device.change_line("description ", "description uplink"));
    let third = person.backs_up(device, &["--json"]).await.good();
    assert_eq!(artefact(&third, "running-config")["status"], "stored");
    assert_ne!(artefact(&third, "running-config")["path"], config["path"]);

    // By the manifests alone.
    std::fs::remove_dir_all(person.path("backups/.devicevault")).unwrap();
    let diff = person.asks(&["diff", "--from", "backups"]).await.good();
    let lines = changed(&diff.out);
    assert_eq!((lines.len(), lines[1]), (2, "+ description uplink"), "{}", diff.out);
    assert!(diff.out.contains("interface GigabitEthernet1/0/1"), "the block is named: {}", diff.out);
    let sides = person.asks(&["diff", "--from", "backups", "core-sw1", "--side-by-side"]).await.good();
    assert!(sides.out.contains("│ +  description uplink"), "{}", sides.out);
    let told = person.asks(&["diff", "--from", "backups", "--json"]).await.good().json();
    assert_eq!((told["added"].as_u64(), told["removed"].as_u64(), &told["equal"]), (Some(1), Some(1), &false.into()));
    let listed = person.asks(&["history", "--from", "backups", "--artefact", "running-config", "--json"]).await.good();
    assert_eq!(listed.json().as_array().unwrap().len(), 2);
    let shown =
        person.asks(&["show", "--from", "backups", "core-sw1", "--backup", "latest~1", "--view", "original"]).await;
    assert_eq!(shown.good().out, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_keeps_originals_and_a_redacted_history() {
    let platforms = ["cisco_ios", "juniper_junos", "mikrotik_routeros", "frr", "linux"];
    let all = platforms.map(|p| SimDevice::of_platform(p, format!("{}-1", p.replace('_', "-"))).unwrap().volatile());
    let (fleet, person) = devices(all).await;
    person.moves_in(&fleet).await;

    let first = person.asks(&["backup", "--all", "--metadata", "ticket=CHG1", "--json"]).await.good().json();
    let count = |rows: &Value, status: &str| rows.as_array().unwrap().iter().filter(|r| r["status"] == status).count();
    assert_eq!(count(&first, "stored"), first.as_array().unwrap().len());
    let second = person.asks(&["backup", "--all", "--json"]).await.good().json();
    assert_eq!(count(&second, "unchanged"), second.as_array().unwrap().len(), "{second}");

    let changing = &fleet.devices()[0];
    changing.change_something();
    let third = person.asks(&["backup", changing.name()]).await.good();
    assert!(third.out.contains("changed") && third.err.contains("1 succeeded"), "{third:?}");

    let diff = person.asks(&["diff", changing.name()]).await.good();
    assert_eq!(changed(&diff.out).len(), 2, "{}", diff.out);
    let log =
        std::process::Command::new("git").arg("-C").arg(person.path("home/git")).args(["log", "-p", "-1"]).output();
    let log = String::from_utf8(log.unwrap().stdout).unwrap();
    assert_eq!(changed(&log), changed(&diff.out), "{log}");

    let history = person.asks(&["history", changing.name(), "--artefact", "running-config", "--json"]).await.good();
    let history = history.json();
    assert_eq!(history.as_array().unwrap().len(), 2);
    assert_eq!(history[1]["metadata"]["ticket"], "CHG1");
    let oldest = history[1]["id"].as_str().unwrap();
    let download = ["download", changing.name(), "--backup", oldest, "--to", "old.cfg"];
    person.asks(&download).await.good();
    person.asks(&download).await.ended(1);
    let original = person.asks(&["show", changing.name(), "--backup", oldest, "--view", "original"]).await.good().out;
    assert_eq!(std::fs::read_to_string(person.path("old.cfg")).unwrap(), original);
    assert!(person.asks(&["show", changing.name()]).await.good().out.contains("<secret:"));
    person.asks(&["download", changing.name(), fleet.devices()[1].name(), "--to", "all/"]).await.good();
    assert_eq!(files_below(&person.path("all")).len(), 2);

    let runs = person.asks(&["run", "list", "--json"]).await.good().json();
    assert_eq!(runs.as_array().unwrap().len(), 2 * platforms.len() + 1);
    assert_eq!(runs[0]["state"], "succeeded");
    let shown = person.asks(&["run", "show", runs[0]["id"].as_str().unwrap(), "--json"]).await.good().json();
    assert_eq!(shown, runs[0]);
    person.asks(&["run", "show", "latest"]).await.good();
    person.asks(&["verify"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_lacks_is_no_failure_of_others() {
    let (fleet, person) = devices([SimDevice::cisco_ios("good-sw"), SimDevice::cisco_ios("gone-sw")]).await;
    person.moves_in(&fleet).await;
    person.asks(&["device", "edit", "gone-sw", "--port", "1"]).await.good();
    let answer = person.asks(&["backup", "--all", "--retries", "0"]).await.ended(3);
    assert!(answer.err.contains("error: unreachable: 1 device") && answer.err.contains("gone-sw"), "{answer:?}");
    let failed = person.asks(&["run", "list", "--state", "failed", "--json"]).await.good().json();
    assert_eq!(failed[0]["device_name"], "gone-sw");
    let all = person.asks(&["backup", "gone-sw", "--retries", "0", "--json"]).await.ended(1).json();
    assert_eq!((&all[0]["status"], &all[0]["error_kind"]), (&"failed".into(), &"unreachable".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_artefacts_that_were_named_are_taken() {
    let (fleet, person) = switch().await;
    let answer = person.backs_up(&fleet.devices()[0], &["--artefact", "inventory", "--json"]).await.good();
    let all = answer.json();
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    assert_eq!(all[0]["artefact"], "inventory");
    person.backs_up(&fleet.devices()[0], &["--artefact", "../x"]).await.ended(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_structured_and_go_where_they_were_sent() {
    let (fleet, person) = switch().await;
    let device = &fleet.devices()[0];
    let quiet = person.backs_up(device, &["--quiet"]).await.good();
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
    let logged =
        person.backs_up(device, &["--log-format", "json", "--log-file", "log.jsonl", "-vv", "--quiet"]).await.good();
    assert_eq!(logged.err, "");
    let log = std::fs::read_to_string(person.path("log.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let ended = lines.iter().find(|l| l["event"] == "run_finished").unwrap();
    for field in ["task_id", "task_identifier", "device", "stage", "state", "duration_ms"] {
        assert!(!ended[field].is_null(), "{field}: {ended}");
    }
    let told = person.backs_up(device, &["--log-format", "text"]).await.good();
    assert!(told.err.contains("run_finished"), "{told:?}");
}

#[test]
fn a_person_may_be_asked_nothing() {
    let person = Person::new();
    // Without a terminal and without a password the device is not asked, and the run says why.
    let args = ["backup", "--host", "127.0.0.1", "--port", "1", "--platform", "linux", "--to", "backups", "--json"];
    let all = person.run(&args).ended(2).json();
    assert_eq!(all[0]["error_kind"], "config");
    assert!(all[0]["hint"].as_str().unwrap().contains("--password-env"), "{all}");
}
