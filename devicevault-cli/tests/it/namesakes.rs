//! Whose a text is when devices were renamed, swapped their names or had one name after each other, where no catalog tells.

use devicevault_core::{Clock as _, SystemClock, Timestamp};
use devicevault_testkit::sim::{Fleet, SimDevice};
use serde_json::Value;

use crate::keys::home;
use crate::person::{Answer, Person};
use crate::sight::devices;

pub(crate) fn lose_the_catalog(person: &Person) {
    for entry in std::fs::read_dir(person.path("home")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("catalog.db") {
            if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
        }
    }
}

fn rename(person: &Person, from: &str, to: &str) {
    person.run(&["device", "edit", from, "--rename", to]).good();
}

fn swap(person: &Person) {
    rename(person, "core-sw1", "between");
    rename(person, "core-sw2", "core-sw1");
    rename(person, "between", "core-sw2");
}

/// The versions of a device at a place, by their identifiers.
fn ids(answer: &Answer) -> Vec<String> {
    let all = answer.json();
    let mut ids: Vec<_> = all.as_array().unwrap().iter().map(|v| v["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// A destination may not have all artefacts.
fn are_among(found: &[String], all: &[String]) -> bool {
    !found.is_empty() && found.iter().all(|id| all.contains(id))
}

fn of(person: &Person, device: &str, from: &[&str]) -> Vec<String> {
    ids(&person.run(&[&["history", device, "--json"][..], from].concat()).good())
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_swapped_their_names_are_told_apart_by_each_store_alone() {
    let (_fleet, person) = home().await;
    let (first, second) = (of(&person, "core-sw1", &[]), of(&person, "core-sw2", &[]));
    assert_ne!(first, second);
    // A redacted text of the store would be masked anew each time that it is shown.
    let places = [("home/store", "original"), ("home/git", "redacted")];
    let text = |device: &str, view: &str, from: &[&str]| {
        person.run(&[&["show", device, "--view", view][..], from].concat()).good()
    };
    let before = places.map(|(_, view)| ["core-sw1", "core-sw2"].map(|device| text(device, view, &[]).out));
    assert!(before.iter().all(|[one, other]| one != other));
    swap(&person);
    for backed_up in [false, true] {
        // What each round sees says so as well.
        if backed_up {
            person.asks(&["backup", "--all", "--quiet"]).await.good();
        }
        for ((place, view), [one, other]) in places.iter().zip(&before) {
            let from = ["--from", *place];
            assert!(are_among(&of(&person, "core-sw1", &from), &second), "{place}");
            assert!(are_among(&of(&person, "core-sw2", &from), &first), "{place}");
            let shown = text("core-sw2", view, &from);
            assert_eq!(shown.out, *one, "{place}");
            assert!(shown.err.contains("another device has had too"), "{shown:?}");
            let to = format!("{}-{backed_up}.cfg", place.replace('/', "-"));
            let rest = ["--view", view, "--to", &to];
            person.run(&[&["restore", "core-sw1", "running-config"][..], &from, &rest].concat()).good();
            assert_eq!(std::fs::read_to_string(person.path(&to)).unwrap(), *other, "{place}");
        }
    }
    for (place, _) in places {
        lose_the_catalog(&person);
        let told = person.run(&["catalog", "rebuild", "--json", "--from", place]).good().json();
        assert_eq!((&told["devices"], &told["namesakes"]), (&2.into(), &Value::Array(Vec::new())), "{told}");
        assert!(are_among(&of(&person, "core-sw1", &[]), &second), "{place}");
        assert!(are_among(&of(&person, "core-sw2", &[]), &first), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_the_clear_are_heard_after_those_of_the_sealed_store() {
    let (_fleet, person) = home().await;
    let before = ["core-sw1", "core-sw2"].map(|device| of(&person, device, &[]));
    let later = Timestamp::from_second(SystemClock.now().as_second() + 72_000).unwrap();
    let mut swapped = 0;
    for entry in std::fs::read_dir(person.path("home/git/devicevault/sightings")).unwrap() {
        let path = entry.unwrap().path();
        let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        record["made_at"] = later.to_string().into();
        let names = record.get_mut("names").and_then(Value::as_object_mut);
        for name in names.into_iter().flat_map(|names| names.values_mut()) {
            *name = if name == "core-sw1" { "core-sw2" } else { "core-sw1" }.into();
            swapped += 1;
        }
        std::fs::write(&path, record.to_string()).unwrap();
    }
    assert_eq!(swapped, 2);
    lose_the_catalog(&person);
    let told =
        person.run(&["catalog", "rebuild", "--json", "--from", "home/git", "--from", "home/store"]).good().json();
    assert_eq!((&told["devices"], &told["doubted"]), (&2.into(), &0.into()), "{told}");
    assert_eq!(["core-sw1", "core-sw2"].map(|device| of(&person, device, &[])), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_before_is_found_where_one_device_alone_had_it() {
    let (_fleet, person) = home().await;
    let first = of(&person, "core-sw1", &[]);
    rename(&person, "core-sw1", "edge-sw1");
    for name in ["edge-sw1", "core-sw1"] {
        assert_eq!(of(&person, name, &["--from", "home/store"]), first);
    }
    let told = person.run(&["history", "core-sw1", "--from", "home/store"]).good();
    assert!(told.err.contains("is called edge-sw1 by now") && told.out.contains("edge-sw1"), "{told:?}");
}

/// A device that was removed, and another one that has its name since.
async fn with_a_successor() -> (Fleet, Person, Vec<String>) {
    let (fleet, person) = home().await;
    let first = of(&person, "core-sw1", &[]);
    person.run(&["device", "remove", "core-sw1"]).good();
    let device = &fleet.devices()[0];
    let port = device.addr().port().to_string();
    let add = ["device", "add", "core-sw1", "--host", "127.0.0.1", "--platform", "cisco_ios", "--port", &port];
    let login = ["--user", device.username(), "--password-env", crate::person::PASSWORD];
    person.run(&[&add[..], &login].concat()).good();
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    (fleet, person, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_had_one_name_both_come_back() {
    let (_fleet, person, first) = with_a_successor().await;
    let second = of(&person, "core-sw1", &[]);
    assert_ne!(first, second);
    let foretold = person.run(&["catalog", "rebuild", "--json", "--dry-run", "--from", "home/store"]).good().json();
    // The device that the catalog knows is not that of before.
    assert_eq!(foretold["namesakes"][0]["was"], "core-sw1", "{foretold}");
    lose_the_catalog(&person);
    let told = person.run(&["catalog", "rebuild", "--json", "--from", "home/store"]).good().json();
    assert_eq!((&told["devices"], &told["namesakes"][0]["name"]), (&3.into(), &"core-sw1-2".into()), "{told}");
    assert!(!told["without_login"].as_array().unwrap().contains(&"core-sw1-2".into()), "{told}");
    assert_eq!((of(&person, "core-sw1", &[]), of(&person, "core-sw1-2", &[])), (second, first));
    let device = person.run(&["device", "show", "core-sw1-2", "--json"]).good().json();
    assert!(device.to_string().contains("\"enabled\":false"), "{device}");
    // A second time nothing is new.
    let again = person.run(&["catalog", "rebuild", "--into", "--from", "store"]).good();
    assert!(again.err.contains("0 devices came back") && !again.err.contains("core-sw1-2"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_the_branch_of_before_and_pins_come_back() {
    let (fleet, person) = home().await;
    let before = of(&person, "core-sw1", &["--from", "home/git"]);
    let pin =
        person.run(&["retention", "pin", "core-sw1", "--json"]).good().json()["backup"].as_str().unwrap().to_owned();
    person.run(&["destination", "edit", "git", "--option", "branch=later"]).good();
    fleet.devices()[0].change_something();
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    // All that its devices hold is in it, changed or not.
    let tree = |branch: &str| {
        let mut git = std::process::Command::new("git");
        let listed = git.arg("-C").arg(person.path("home/git")).args(["ls-tree", "-r", "--name-only", branch]).output();
        String::from_utf8(listed.unwrap().stdout).unwrap()
    };
    assert!(tree("main").lines().count() > 1);
    assert_eq!(tree("later"), tree("main"));
    let copies = |person: &Person| {
        let all = person.run(&["history", "--json"]).good().json();
        let here = |c: &&Value| c["destination"] == "git";
        let mut refs: Vec<_> = all
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|v| v["copies"].as_array().unwrap().iter().filter(here).map(|c| c["storage_ref"].to_string()))
            .collect();
        refs.sort();
        refs
    };
    let all = copies(&person);
    assert!(all.iter().any(|r| r.contains("\"main:")) && all.iter().any(|r| r.contains("\"later:")), "{all:?}");
    person.run(&["catalog", "rebuild", "--replace", "--from", "git", "--from", "store"]).good();
    assert_eq!(copies(&person), all);
    person.run(&["verify"]).good();
    let listed = of(&person, "core-sw1", &["--from", "home/git"]);
    assert!(before.iter().all(|id| listed.contains(id)), "{before:?} {listed:?}");

    // A pin that the catalog lost comes back to the version that it knows.
    let pinned = |person: &Person| {
        let all = person.run(&["history", "--json"]).good().json();
        all.as_array().unwrap().iter().filter(|v| v["pinned"] == true).count()
    };
    assert_eq!(pinned(&person), 1);
    let records: Vec<_> =
        std::fs::read_dir(person.path("home/store/sightings")).unwrap().map(|e| e.unwrap().path()).collect();
    let kept: Vec<_> = records.iter().map(|path| std::fs::read(path).unwrap()).collect();
    person.run(&["retention", "unpin", "core-sw1", "--backup", &pin]).good();
    assert_eq!(pinned(&person), 0);
    for (path, bytes) in records.iter().zip(&kept) {
        std::fs::write(path, bytes).unwrap();
    }
    let told = person.run(&["catalog", "rebuild", "--json", "--into", "--from", "store"]).good().json();
    assert_eq!((&told["pinned"], pinned(&person)), (&1.into(), 1), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_place_that_is_a_destination_are_refused() {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1")]).await;
    person.moves_in(&fleet).await;
    let options = ["--from", "store", "--from-option", "accept_clear=yes"];
    for command in [&["catalog", "rebuild", "--dry-run"][..], &["restore", "core-sw1", "--to", "x"]] {
        let refused = person.run(&[command, &options].concat()).ended(2);
        assert!(
            refused.err.contains("has its own options") && refused.err.contains("destination edit store"),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_device_has_any_more_is_settled_and_told_in_the_home_too() {
    let (_fleet, person) = home().await;
    let whole = of(&person, "core-sw1", &[]);
    rename(&person, "core-sw1", "edge");
    let told = person.run(&["history", "core-sw1"]).good();
    assert!(told.err.contains("is called edge by now"), "{told:?}");
    assert_eq!(of(&person, "core-sw1", &[]), whole);
    // A second one that was called so, and has another name too by now.
    rename(&person, "core-sw2", "core-sw1");
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let history = person.run(&["history", "core-sw1"]).good();
    assert!(history.err.contains("(now edge)") && !history.err.contains("gone"), "{history:?}");
    rename(&person, "core-sw1", "other");
    let refused = person.run(&["restore", "core-sw1", "--to", "out"]);
    // Without a text that was stored under that name, the second is not among them.
    assert!(refused.err.contains("edge"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_files_give_are_told_to_the_stores_at_once() {
    let (_fleet, person) = home().await;
    let (first, second) = (of(&person, "core-sw1", &[]), of(&person, "core-sw2", &[]));
    person.run(&["export", "--to", "files"]).good();
    let path = person.path("files/devices.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let swapped = text.replace("\"core-sw1\"", "\"x\"").replace("\"core-sw2\"", "\"core-sw1\"");
    std::fs::write(&path, swapped.replace("\"x\"", "\"core-sw2\"")).unwrap();
    person.run(&["apply", "-f", "files"]).good();
    for place in ["home/store", "home/git"] {
        assert!(are_among(&of(&person, "core-sw1", &["--from", place]), &second), "{place}");
        assert!(are_among(&of(&person, "core-sw2", &["--from", place]), &first), "{place}");
    }
}
