//! What earlier releases wrote: homes with all that is in them, frozen in `tests/fixtures/`, one folder for each release
//! that changed a format. Today's program opens, reads, verifies and continues every one of them, for ever.
//!
//! A fixture holds a catalog, a sealed store with its keys and recovery kit, a clear one, a Git repository, the spool with
//! backups that wait for a destination that was away, `devicevault.toml`, a platform file and definitions. All secrets in
//! it are made up. `cargo xtask fixtures` writes the next one where it is missing; those that were released are never
//! changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use devicevault_testkit::sim::SimDevice;
use serde_json::Value;

use crate::person::{PASSWORD, Person, files_below};
use crate::sight::devices;

/// The one that today's program writes.
const NOW: &str = "2";
/// What was written into it, beside it.
const EXPECTED: &str = "expected.json";
/// All of one release together.
const MOST_BYTES: usize = 300_000;

/// The destinations that are at hand; `offsite` is away.
const AT: [&str; 6] = ["--destination", "store", "--destination", "clear", "--destination", "git"];

const PLATFORM: &str = r#"
name = "acme_os"
title = "Acme OS"
comment = "!"

[session]
prompt = '^[A-Za-z0-9][\w.\-]*[>#] ?$'
setup = ["terminal length 0"]

[logout]
command = "exit"

[[artefacts]]
name = "running-config"
commands = ["show running-config"]
extension = "conf"
end_marker = '^end$'
"#;

const SETTINGS: &str = r#"[backup]
sessions = 7

[spool]
keep = "30d"

[checkers.own]
command = ["/usr/local/bin/check", "{file}"]
timeout = "1m"

[file_rules]
max_size = "2GB"
"#;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Copies a folder as a home is: private.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o700)).unwrap();
}

async fn history(person: &Person) -> Value {
    person.asks(&["history", "--json", "--limit", "1000"]).await.good().json()
}

fn without_waiting(history: &Value) -> Vec<Value> {
    let mut all = history.as_array().unwrap().clone();
    for version in &mut all {
        version["copies"].as_array_mut().unwrap().retain(|c| c["destination"] != "offsite");
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_release_wrote_is_opened_read_verified_and_continued() {
    let mut releases: Vec<_> = std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()).collect();
    releases.sort();
    assert!(releases.iter().any(|r| r.ends_with(NOW)));
    for release in releases {
        let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1")]).await;
        copy(&release.join("home"), &person.path("home"));
        let expected: Value = serde_json::from_slice(&std::fs::read(release.join(EXPECTED)).unwrap()).unwrap();

        // The catalog.
        assert_eq!(history(&person).await, expected["history"], "{release:?}");
        // The stores, in their order of trust: what is recorded is there, opens and hashes to what it should.
        let found = person.asks(&[&["verify", "--json"], &AT[..]].concat()).await.good().json();
        assert_eq!(found["checked"], expected["checked"], "{found}");
        person.asks(&[&["verify", "--depth", "stored", "--quiet"], &AT[..]].concat()).await.good();
        let shown = person.asks(&["show", "core-sw1", "--view", "original", "--backup", "latest~1"]).await.good();
        assert_eq!(shown.out, expected["second_to_last"].as_str().unwrap());
        // The recovery kit opens the sealed store without the home.
        let kit = person.path("home/kit.txt").display().to_string();
        let args = ["--home", "nowhere", "verify", "--from", "home/store", "--kek-file", &kit];
        person.asks(&args).await.good();
        person.asks(&["verify", "--from", "home/clear"]).await.good();
        // Manifests and records of sightings suffice for the catalog.
        let from = ["--from", "store", "--from", "clear", "--from", "git"];
        let would =
            person.asks(&[&["catalog", "rebuild", "--dry-run", "--json"], &from[..]].concat()).await.good().json();
        assert_eq!(would["backups"].as_u64().unwrap() as usize, without_waiting(&expected["history"]).len(), "{would}");
        // Settings, a platform and definitions.
        let settings = person.asks(&["system", "config", "--json"]).await.good();
        assert!(settings.out.contains("30d") || settings.out.contains("2592000"), "{}", settings.out);
        person.asks(&["platform", "check", "home/platforms/acme_os.toml"]).await.good();
        person.asks(&["apply", "-f", "home/definitions", "--dry-run"]).await.good();

        // What waits in the spool arrives.
        std::fs::rename(person.path("home/offsite-away"), person.path("home/offsite")).unwrap();
        let delivered = person.asks(&["run", "deliver", "--json"]).await.good().json();
        assert!(delivered[0]["delivered"].as_u64() > Some(0), "{delivered}");
        // And it is gone on with.
        let device = &fleet.devices()[0];
        let (host, port) = (device.addr().ip().to_string(), device.addr().port().to_string());
        let reach = ["--host", &host, "--port", &port, "--user", device.username(), "--password-env", PASSWORD];
        person.asks(&[&["device", "edit", "core-sw1"], &reach[..]].concat()).await.good();
        device.change_line("description ", "description by a later release");
        person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
        let before: BTreeSet<_> = expected["history"].as_array().unwrap().iter().map(|v| v["id"].to_string()).collect();
        let after: BTreeSet<_> =
            history(&person).await.as_array().unwrap().iter().map(|v| v["id"].to_string()).collect();
        assert!(after.len() > before.len() && after.is_superset(&before));
        person.asks(&["verify", "--quiet"]).await.good();
        person.asks(&["catalog", "check", "--quiet"]).await.good();
    }
}

#[test]
fn fixtures_are_small() {
    for release in std::fs::read_dir(fixtures()).unwrap() {
        let bytes: usize = files_below(&release.unwrap().path()).iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes < MOST_BYTES, "{bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes tests/fixtures where they are missing"]
async fn writes_what_is_frozen() {
    let to = fixtures().join(NOW);
    assert!(!to.exists(), "{}: what is frozen stays", to.display());
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1")]).await;
    person.moves_in(&fleet).await;
    person.write("home/devicevault.toml", SETTINGS);
    let kits: Vec<_> = std::fs::read_dir(person.path("home")).unwrap().map(|e| e.unwrap().path()).collect();
    let kit = kits.iter().find(|f| f.file_name().unwrap().to_string_lossy().contains("recovery")).unwrap();
    std::fs::rename(kit, person.path("home/kit.txt")).unwrap();
    for (name, path) in [("clear", "home/clear"), ("offsite", "home/offsite")] {
        person.asks(&["destination", "add", name, "--kind", "plain", "--path", path, "--seal", "no"]).await.good();
    }
    person
        .asks(&["policy", "add", "all", "--to", "store", "--to", "clear", "--to", "git", "--to", "offsite"])
        .await
        .good();
    let rules = ["--option", "file_rules.magic=gzip, 257:7573746172", "--option", "file_rules.state.checker=own"];
    person.asks(&[&["policy", "edit", "all"], &rules[..]].concat()).await.good();
    std::fs::create_dir_all(person.path("home/platforms")).unwrap();
    person.write("home/platforms/acme_os.toml", PLATFORM.trim_start());
    let device = &fleet.devices()[0];
    let first = device.config().to_vec();
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    device.change_line("description ", "description something else");
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    person.asks(&["retention", "pin", "core-sw1"]).await.good();
    std::fs::rename(person.path("home/offsite"), person.path("home/offsite-away")).unwrap();
    device.change(move |config| *config = first);
    person.asks(&["backup", "core-sw1", "--quiet"]).await.ended(3);
    person.asks(&["export", "--to", "home/definitions"]).await.good();
    let shown = person.asks(&["show", "core-sw1", "--view", "original", "--backup", "latest~1"]).await.good();
    assert!(shown.out.contains("description something else"), "the last but one is the second");
    let checked = person.asks(&[&["verify", "--depth", "size", "--json"], &AT[..]].concat()).await.good().json();
    let expected = serde_json::json!({
        "history": history(&person).await,
        "second_to_last": shown.out,
        "checked": checked["checked"],
    });
    let home = person.path("home");
    // Whoever has it open last folds the log into the file, where there is time for it.
    for _ in 0..100 {
        if !home.join("catalog.db-wal").exists() {
            break;
        }
        history(&person).await;
    }
    assert!(!home.join("catalog.db-wal").exists(), "the catalog is whole in its file");
    let _ = std::fs::remove_dir_all(home.join("catalog.db.d"));
    copy(&home, &to.join("home"));
    std::fs::write(to.join(EXPECTED), serde_json::to_vec_pretty(&expected).unwrap()).unwrap();
}
