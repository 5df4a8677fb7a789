//! A destination that is away: what it lacks waits, sealed, and arrives later without a device being asked again.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::path::Path;
use std::process::{Command, Stdio};

use devicevault_testkit::sim::{Fleet, SimDevice, Simulated};
use serde_json::Value;

use crate::person::{Person, files_below, mode};
use crate::sight::devices;

async fn home(count: usize) -> (Fleet, Person) {
    let (fleet, person) = devices((0..count).map(|i| SimDevice::cisco_ios(format!("sw{i:02}")))).await;
    person.moves_in(&fleet).await;
    (fleet, person)
}

/// Takes the Git repository away, or brings it back.
fn away(person: &Person, away: bool) {
    let (here, there) = (person.path("home/git"), person.path("git-away"));
    let (from, to) = if away { (here, there) } else { (there, here) };
    std::fs::rename(from, to).unwrap();
}

fn asked(fleet: &Fleet) -> u64 {
    fleet.stats().logins
}

fn parked(person: &Person) -> Vec<std::path::PathBuf> {
    files_below(&person.path("home/spool/parked")).into_iter().map(|(f, _)| f).collect()
}

/// Copies with this status, over all versions.
async fn copies(person: &Person, status: &str) -> usize {
    let all = person.asks(&["history", "--limit", "100000", "--json"]).await.good().json();
    let copies = all.as_array().unwrap().iter().flat_map(|b| b["copies"].as_array().unwrap());
    copies.filter(|c| c["status"] == status).count()
}

fn git(at: &Path, args: &[&str]) -> String {
    let out = Command::new("git").arg("-C").arg(at).args(args).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// What the last commit of every file is: the present configuration of its device.
fn git_is_up_to_date(fleet: &Fleet, person: &Person) {
    let repository = person.path("home/git");
    git(&repository, &["fsck", "--full"]);
    let files = git(&repository, &["ls-tree", "-r", "--name-only", "HEAD"]);
    for device in fleet.devices() {
        let path = files.lines().find(|f| f.contains(device.name()) && f.contains("running-config")).unwrap();
        let text = git(&repository, &["show", &format!("HEAD:{path}")]);
        let config = String::from_utf8_lossy(&device.config()).into_owned();
        let line = config.lines().find(|l| l.contains("description ")).unwrap();
        assert!(text.contains(line.trim()), "{}: {line} in {text}", device.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_was_away_is_caught_up_without_asking_a_device() {
    let (fleet, person) = home(3).await;
    person.asks(&["backup", "--all"]).await.good();
    away(&person, true);
    for round in 1..=2 {
        fleet.devices().iter().for_each(Simulated::change_something);
        let answer = person.asks(&["backup", "--all", "--json"]).await.ended(3).json();
        for row in answer.as_array().unwrap().iter().filter(|r| r["artefact"] == "running-config") {
            assert_eq!((&row["status"], &row["run_state"]), (&"stored".into(), &"partial".into()), "{row}");
            let copies = row["copies"].as_array().unwrap();
            let at = |name: &str| copies.iter().find(|c| c["destination"] == name).unwrap();
            assert_eq!((&at("store")["status"], &at("store")["waiting"]), (&"stored".into(), &false.into()));
            assert_eq!((&at("git")["status"], &at("git")["waiting"]), (&"pending".into(), &true.into()));
        }
        assert_eq!(copies(&person, "pending").await, 3 * round);
    }
    // Nothing of it can be read by others, or at all.
    let files = parked(&person);
    assert_eq!(files.len(), 2 * 6);
    for file in &files {
        assert_eq!((mode(file), mode(file.parent().unwrap())), (0o600, 0o700), "{}", file.display());
        let bytes = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        assert!(!bytes.contains("sw0") && !bytes.contains("hostname"), "{}", file.display());
    }
    let listed = person.asks(&["run", "list"]).await.good();
    assert_eq!(listed.out.matches("waits for git").count(), 6, "{}", listed.out);
    let shown = person.asks(&["run", "show", "latest"]).await.good().out;
    assert!(shown.contains("waiting") && shown.contains("run deliver"), "{shown}");

    // It is not there: all waits on, and that is told.
    let told = person.asks(&["run", "deliver"]).await.ended(1);
    assert!(told.err.contains("6 copies wait for git"), "{told:?}");
    let before = asked(&fleet);
    away(&person, false);
    let told = person.asks(&["run", "deliver", "--json"]).await.good().json();
    assert_eq!((&told[0]["destination"], &told[0]["delivered"]), (&"git".into(), &6.into()), "{told}");
    assert_eq!((asked(&fleet), copies(&person, "pending").await), (before, 0));
    assert!(parked(&person).is_empty());
    git_is_up_to_date(&fleet, &person);
    let shown = person.asks(&["run", "show", "latest", "--json"]).await.good().json();
    assert_eq!(shown["waiting"], Value::Array(Vec::new()));
    let shown = person.asks(&["run", "show", "latest"]).await.good().out;
    assert!(shown.contains("delivered later") && !shown.contains("run deliver"), "{shown}");
    // The next round finds nothing to do.
    let rows = person.asks(&["backup", "--all", "--json"]).await.good().json();
    assert!(rows.as_array().unwrap().iter().all(|r| r["status"] == "unchanged"), "{rows}");
    person.asks(&["verify"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_store_of_originals_may_be_away_or_its_key_and_devices_are_asked_all_the_same() {
    for lost in ["store", "kek.key"] {
        let (fleet, person) = home(2).await;
        person.asks(&["backup", "--all", "--quiet"]).await.good();
        std::fs::rename(person.path("home").join(lost), person.path("lost")).unwrap();
        // Nothing new is to be stored: nobody saw the copies there.
        let answer = person.asks(&["backup", "--all"]).await.ended(3);
        assert!(answer.err.contains("destination store: ") && answer.out.contains("not seen at store"), "{answer:?}");
        assert!(answer.err.contains("waits in the home alone"), "{answer:?}");
        assert_eq!(parked(&person), Vec::<std::path::PathBuf>::new());
        for round in 1..=2 {
            fleet.devices().iter().for_each(Simulated::change_something);
            let before = asked(&fleet);
            let answer = person.asks(&["backup", "--all", "--json"]).await.ended(3);
            assert!(asked(&fleet) > before, "{answer:?}");
            for row in answer.json().as_array().unwrap().iter().filter(|r| r["artefact"] == "running-config") {
                assert_eq!((&row["status"], &row["run_state"]), (&"stored".into(), &"partial".into()), "{row}");
                let status = |name: &str| {
                    let copies = row["copies"].as_array().unwrap();
                    copies.iter().find(|c| c["destination"] == name).unwrap()["status"].clone()
                };
                assert_eq!((status("store"), status("git")), ("pending".into(), "stored".into()));
            }
            assert_eq!(copies(&person, "pending").await, 2 * round);
        }
        git_is_up_to_date(&fleet, &person);
        let listed = person.asks(&["run", "list"]).await.good();
        assert_eq!(listed.out.matches("waits for store").count(), 4, "{listed:?}");

        std::fs::rename(person.path("lost"), person.path("home").join(lost)).unwrap();
        person.asks(&["backup", "--all", "--quiet"]).await.good();
        assert_eq!((copies(&person, "pending").await, parked(&person).len()), (0, 0));
        person.asks(&["verify", "--quiet"]).await.good();
        for device in fleet.devices() {
            let shown = person.asks(&["show", device.name(), "--view", "original"]).await.good();
            let config = String::from_utf8_lossy(&device.config()).into_owned();
            let line = config.lines().find(|l| l.contains("description ")).unwrap();
            assert!(shown.out.contains(line), "{line} in {}", shown.out);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_goes_in_the_middle_of_a_round_is_caught_up_after_any_kill() {
    const DEVICES: usize = 16;
    let (fleet, person) = home(DEVICES).await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    for kill in [false, true] {
        fleet.devices().iter().for_each(Simulated::change_something);
        let args = ["backup", "--all", "--quiet", "--sessions", "2", "--log-format", "json", "--log-level", "info"];
        let mut child = person.program(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines().map_while(Result::ok);
        let ended = lines.by_ref().filter(|l| l.contains("run_finished")).take(4).count();
        assert_eq!(ended, 4);
        away(&person, true);
        if kill {
            assert!(lines.by_ref().any(|l| l.contains("store_parked")), "nothing was parked");
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            let rest: Vec<_> = lines.collect();
            assert!(rest.iter().any(|l| l.contains("store_parked")), "{rest:#?}");
            assert_eq!(child.wait().unwrap().code(), Some(3));
        }
        // And away for the next round too.
        fleet.devices().iter().for_each(Simulated::change_something);
        person.asks(&["backup", "--all", "--quiet"]).await.ended(3);
        let others: BTreeSet<_> = store_versions(&person);
        let before = asked(&fleet);
        away(&person, false);
        person.asks(&["run", "deliver", "--quiet"]).await.good();
        assert_eq!(asked(&fleet), before);
        assert_eq!(store_versions(&person), others);
        assert_eq!((copies(&person, "pending").await, parked(&person).len()), (0, 0));
        git_is_up_to_date(&fleet, &person);
    }
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    person.asks(&["verify", "--quiet"]).await.good();
}

fn store_versions(person: &Person) -> BTreeSet<std::path::PathBuf> {
    let files = files_below(&person.path("home/store")).into_iter().map(|(f, _)| f);
    files.filter(|f| f.to_string_lossy().ends_with(".manifest.json")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_deliver_at_once_do_no_harm() {
    let (fleet, person) = home(8).await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    away(&person, true);
    for _ in 0..3 {
        fleet.devices().iter().for_each(Simulated::change_something);
        person.asks(&["backup", "--all", "--quiet"]).await.ended(3);
    }
    away(&person, false);
    let commits = || git(&person.path("home/git"), &["rev-list", "--count", "HEAD"]).trim().parse::<u32>().unwrap();
    let before = commits();
    let (backup, one, two) = tokio::join!(
        person.asks(&["backup", "--all", "--quiet"]),
        person.asks(&["run", "deliver", "--quiet"]),
        person.asks(&["run", "deliver", "--quiet"])
    );
    backup.good();
    one.good();
    two.good();
    assert_eq!((copies(&person, "pending").await, parked(&person).len()), (0, 0));
    assert_eq!(commits(), before + 3 * 8, "each version is there once");
    git_is_up_to_date(&fleet, &person);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_too_long_is_told_as_given_up() {
    let (fleet, person) = home(1).await;
    away(&person, true);
    person.asks(&["backup", "--all"]).await.ended(3);
    let waits = copies(&person, "pending").await;
    assert!(waits > 0);
    // So long has passed by now.
    person.write("home/devicevault.toml", "[spool]\nkeep = \"1ms\"\n");
    let answer = person.asks(&["run", "deliver"]).await.ended(1);
    assert!(answer.err.contains("given up for git") && !answer.err.contains("nothing waits"), "{answer:?}");
    let shown = person.asks(&["run", "show", "latest"]).await.good().out;
    assert!(shown.contains("given up") && !shown.contains("delivered later"), "{shown}");
    let shown = person.asks(&["run", "show", "latest", "--json"]).await.good().json();
    assert_eq!(shown["given_up"].as_array().unwrap().len(), waits, "{shown}");
    person.asks(&["run", "deliver"]).await.good();

    // A round tells it too, and stores what the device holds now.
    std::fs::remove_file(person.path("home/devicevault.toml")).unwrap();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all"]).await.ended(3);
    person.write("home/devicevault.toml", "[spool]\nkeep = \"1ms\"\n");
    fleet.devices().iter().for_each(Simulated::change_something);
    let answer = person.asks(&["backup", "--all"]).await.ended(3);
    assert!(answer.err.contains("given up for git"), "{answer:?}");
    away(&person, false);
    person.asks(&["backup", "--all"]).await;
    git_is_up_to_date(&fleet, &person);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_too_long_arrives_where_its_destination_is_back() {
    let (fleet, person) = home(1).await;
    away(&person, true);
    person.asks(&["backup", "--all"]).await.ended(3);
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all"]).await.ended(3);
    let waits = copies(&person, "pending").await;
    person.write("home/devicevault.toml", "[spool]\nkeep = \"1ms\"\n");
    away(&person, false);
    let delivered = person.asks(&["run", "deliver", "--json"]).await.good().json();
    assert_eq!(delivered[0]["delivered"], waits, "{delivered}");
    git_is_up_to_date(&fleet, &person);

    // Of one that is switched off, nobody can try.
    std::fs::remove_file(person.path("home/devicevault.toml")).unwrap();
    away(&person, true);
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all"]).await.ended(3);
    person.write("home/devicevault.toml", "[spool]\nkeep = \"1ms\"\n");
    person.asks(&["destination", "disable", "git"]).await.good();
    let answer = person.asks(&["run", "deliver"]).await.ended(1);
    assert!(answer.err.contains("given up for git") && parked(&person).is_empty(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lost_its_bytes_in_the_spool_is_given_up_and_keeps_nothing_waiting() {
    let (fleet, person) = home(1).await;
    away(&person, true);
    person.asks(&["backup", "--all"]).await.ended(3);
    let waits = copies(&person, "pending").await;
    let bodies = parked(&person).into_iter().filter(|f| f.ends_with("body"));
    bodies.for_each(|body| std::fs::remove_file(body).unwrap());
    away(&person, false);
    let answer = person.asks(&["run", "deliver", "--json"]).await.ended(1).json();
    assert_eq!(answer[0]["failed"].as_array().unwrap().len(), waits, "{answer}");
    assert!(parked(&person).is_empty());
    assert_eq!((copies(&person, "pending").await, copies(&person, "failed").await), (0, waits));
    let answer = person.asks(&["backup", "--all"]).await.good();
    assert!(!answer.err.contains("waits"), "{answer:?}");
    git_is_up_to_date(&fleet, &person);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_purged_while_something_waits_that_would_bring_it_back() {
    let (_fleet, person) = home(1).await;
    away(&person, true);
    person.asks(&["backup", "--all"]).await.ended(3);
    away(&person, false);
    let purge = ["git", "purge", "git", "--pattern", "hostname", "--yes"];
    let refused = person.asks(&purge).await.ended(1);
    assert!(refused.err.contains("for it") && refused.err.contains("run deliver"), "{refused:?}");
    person.asks(&["run", "deliver"]).await.good();
    person.asks(&purge).await.good();
    assert!(!git(&person.path("home/git"), &["log", "-p", "--all"]).contains("\n+hostname "));
}
