//! Epoch keys that a destination has lost or was put back without: the home opens its copies still, and the destination with
//! its kit would not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use devicevault_testkit::sim::{Fleet, Simulated};

use crate::keys::{copy, home, take_kit};
use crate::person::{Answer, Person};

async fn changed(fleet: &Fleet, person: &Person) -> Answer {
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all"]).await.good()
}

/// With a store and a kit alone.
fn verifies(store: &Path, kit: &Path) -> Answer {
    let nobody = Person::new();
    copy(store, &nobody.path("store"));
    copy(kit, &nobody.path("kit.txt"));
    nobody.run(&["verify", "--from", "store", "--kek-file", "kit.txt"])
}

/// The epoch keys in a folder, oldest first.
fn epochs(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    all.retain(|p| p.extension().is_some_and(|e| e == "json") && !p.ends_with("names.json"));
    all.sort();
    all
}

/// A home with copies under two epoch keys, whose kit was taken away.
async fn home_with_two() -> (Fleet, Person, PathBuf) {
    let (fleet, person) = home().await;
    let kit = take_kit(&person, "kit.txt");
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    changed(&fleet, &person).await;
    assert_eq!(epochs(&person.path("home/store/keys")).len(), 2);
    (fleet, person, kit)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_without_an_epoch_key_is_told_and_has_it_again_with_the_next_backup() {
    let (fleet, person, kit) = home_with_two().await;
    let store = person.path("home/store");
    for which in [0, 1] {
        for damage in [None, Some("{\"half")] {
            let object = epochs(&store.join("keys")).remove(which);
            match damage {
                None => std::fs::remove_file(&object).unwrap(),
                Some(text) => std::fs::write(&object, text).unwrap(),
            }
            let told = person.run(&["verify"]).ended(3);
            assert!(told.err.contains("with the recovery kit alone") && told.err.contains("store: "), "{told:?}");
            let told = person.run(&["verify", "--json"]).ended(3).json();
            assert_eq!((&told["keys"][0]["destination"], told["bad"].as_array().unwrap().len()), (&"store".into(), 0));
            person.run(&["verify", "--destination", "git"]).good();
            person.run(&["key", "check"]).ended(3);
            assert_ne!(verifies(&store, &kit).code, 0);
            let backup = changed(&fleet, &person).await;
            // What seals is laid there by whatever stores, before it does.
            assert!(which == 1 || backup.err.contains("laid there again"), "{backup:?}");
            verifies(&store, &kit).good();
            person.run(&["verify"]).good();
            person.run(&["key", "check"]).good();
            assert!(!changed(&fleet, &person).await.err.contains("laid there again"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_seals_no_more_is_told_when_its_keys_are_gone_and_has_them_again() {
    let (fleet, person, _) = home_with_two().await;
    let keys = person.path("home/store/keys");
    person.run(&["destination", "edit", "store", "--seal", "no"]).good();
    for is_noted in [true, false] {
        std::fs::remove_dir_all(&keys).unwrap();
        if !is_noted {
            std::fs::remove_file(person.path("home/destinations.json")).unwrap();
        }
        let told = person.run(&["verify"]).ended(3);
        assert!(told.err.contains("with the recovery kit alone") && told.err.contains("store: "), "{told:?}");
        if is_noted {
            let backup = changed(&fleet, &person).await;
            assert!(backup.err.contains("laid there again"), "{backup:?}");
        } else {
            person.run(&["key", "check"]).ended(3);
            person.run(&["key", "check", "--repair"]).good();
        }
        assert_eq!(epochs(&keys).len(), 2);
        person.run(&["verify"]).good();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_before_that_were_put_back_at_a_destination_are_told_and_replaced() {
    let (fleet, person, old) = home_with_two().await;
    let store = person.path("home/store");
    copy(&store.join("keys"), &person.path("older"));
    person.run(&["key", "rotate", "--scope", "kek"]).good();
    let new = take_kit(&person, "new.txt");
    let put_back = || epochs(&person.path("older")).iter().for_each(|from| copy(from, &store.join("keys")));
    put_back();
    verifies(&store, &old).good();
    let told = person.run(&["verify"]).ended(3);
    assert!(told.err.contains("with the recovery kit alone"), "{told:?}");
    let backup = changed(&fleet, &person).await;
    assert!(backup.err.contains("laid there again"), "{backup:?}");
    verifies(&store, &new).good();
    assert_ne!(verifies(&store, &old).code, 0);
    person.run(&["verify"]).good();
    put_back();
    person.run(&["key", "check"]).ended(3);
    person.run(&["key", "check", "--repair"]).good();
    verifies(&store, &new).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_lays_the_epoch_keys_that_a_destination_lacks() {
    let (_fleet, person, _) = home_with_two().await;
    let store = person.path("home/store");
    std::fs::remove_file(epochs(&store.join("keys")).remove(0)).unwrap();
    let rotated = person.run(&["key", "rotate", "--scope", "kek"]).good();
    assert!(rotated.err.contains("destroy the old one"), "{rotated:?}");
    verifies(&store, &take_kit(&person, "new.txt")).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_key_is_kept_for_an_epoch_key_that_is_lost() {
    let (_fleet, person, old) = home_with_two().await;
    let places = [person.path("home/keys"), person.path("home/store/keys")];
    let lost = epochs(&places[0]).remove(0);
    let id = lost.file_stem().unwrap().to_string_lossy().into_owned();
    copy(&lost, &person.path("found.json"));
    places.iter().for_each(|folder| std::fs::remove_file(folder.join(lost.file_name().unwrap())).unwrap());
    let first = person.run(&["key", "list", "--json"]).good().json()["keys"][0]["id"].as_str().unwrap().to_owned();
    for turn in 0..2 {
        let rotated = person.run(&["key", "rotate", "--scope", "kek"]).good();
        assert_eq!(rotated.err.contains("keep the old one for the epoch keys that are lost"), turn == 0, "{rotated:?}");
        assert_eq!(rotated.err.contains(&id) && rotated.err.contains(&first), turn == 0, "{rotated:?}");
        take_kit(&person, &format!("new{turn}.txt"));
        // It may be the last copy of that key.
        assert!(person.path("home/kek.key").exists());
        let check = person.run(&["key", "check"]).ended(3);
        assert!(check.out.contains(&format!("lost epoch key {id}")) && check.out.contains(&first), "{check:?}");
    }
    // A copy of it comes up.
    copy(&person.path("found.json"), &places[1].join(lost.file_name().unwrap()));
    let with_old = ["--kek-file", old.to_str().unwrap(), "key", "check", "--repair"];
    person.run(&with_old).good();
    assert!(!person.path("home/kek.key").exists() && !person.path("home/removed.json").exists());
    verifies(&person.path("home/store"), &person.path("new1.txt")).good();
    person.run(&["verify"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_secrets_and_the_key_of_names_are_sealed_anew_with_the_data() {
    let (fleet, person) = home().await;
    let add = ["destination", "add", "nas", "--kind", "plain", "--path", "nas", "--option", "opaque_names=yes"];
    person.run(&add).good();
    let password = person.write("pw", "s3cret-of-switches\n");
    let given = ["--password-file", password.to_str().unwrap(), "--store"];
    person.run(&[&["credential", "add", "switches", "--user", "backup"][..], &given].concat()).good();
    changed(&fleet, &person).await;
    let rotated = person.run(&["key", "rotate", "--scope", "data"]).good();
    assert!(rotated.err.contains("1 stored secret of credentials"), "{rotated:?}");

    // Without the epoch key of before, everything opens.
    for place in ["home/keys", "home/store/keys", "nas/keys"] {
        std::fs::remove_file(epochs(&person.path(place)).remove(0)).unwrap();
    }
    let objects = |person: &Person| -> BTreeMap<PathBuf, Vec<u8>> {
        crate::person::files_below(&person.path("nas")).into_iter().collect()
    };
    let folders = |person: &Person| -> std::collections::BTreeSet<PathBuf> {
        objects(person).into_keys().map(|path| path.parent().unwrap().to_owned()).collect()
    };
    let before = folders(&person);
    changed(&fleet, &person).await;
    assert_eq!(folders(&person), before);
    person.run(&["verify"]).good();
    let kept = person.run(&["key", "rotate", "--scope", "data", "--json"]).good().json();
    assert_eq!((&kept["secrets"], &kept["bad"]), (&1.into(), &serde_json::json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_a_rebuilt_catalog_was_not_told_of_keeps_its_key() {
    let (fleet, person) = home().await;
    let kit = take_kit(&person, "kit.txt");
    person.run(&["destination", "add", "nas", "--kind", "plain", "--path", "nas"]).good();
    changed(&fleet, &person).await;
    let rebuild = |more: &[&str]| person.run(&[&["catalog", "rebuild", "--from"][..], more].concat()).good();
    let lose = || {
        for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
            let _ = std::fs::remove_file(person.path("home").join(file));
        }
    };
    lose();
    let rebuilt = rebuild(&["store"]);
    assert!(rebuilt.err.contains("nas") && rebuilt.err.contains("the catalog knows it no more"), "{rebuilt:?}");
    let rotated = person.run(&["key", "rotate", "--scope", "kek"]).good();
    assert!(rotated.err.contains("keep the old one for the destinations that were removed"), "{rotated:?}");
    assert!(person.path("home/kek.key").exists());
    verifies(&person.path("nas"), &kit).good();
    rebuild(&["nas", "--into"]);
    assert!(!person.path("home/kek.key").exists());
    verifies(&person.path("nas"), &take_kit(&person, "new.txt")).good();
    person.run(&["verify"]).good();

    // What was removed, or is named, is not told of.
    lose();
    assert!(!rebuild(&["store", "--from", "nas"]).err.contains("knows it no more"));
    person.run(&["key", "add", "--generate", "second.key"]).good();
    person.run(&["destination", "remove", "nas"]).good();
    lose();
    assert!(!rebuild(&["store"]).err.contains("knows it no more"));
}

/// A copy of the store, without the later of its two epoch keys, and a home that was made of it.
async fn rebuilt_without_the_later_key(person: &Person, kit: &Path) -> (PathBuf, PathBuf) {
    copy(&person.path("home/store"), &person.path("copy"));
    let (later, aside) = (epochs(&person.path("copy/keys")).remove(1), person.path("aside.json"));
    std::fs::rename(&later, &aside).unwrap();
    std::fs::rename(person.path("home"), person.path("before")).unwrap();
    let rebuild = ["--kek-file", kit.to_str().unwrap(), "catalog", "rebuild", "--from", "copy"];
    let rebuilt = person.run(&rebuild).ended(3);
    for says in ["stay closed", "pins of those months are not known", "or --dry-run here"] {
        assert!(rebuilt.err.contains(says), "{says}: {rebuilt:?}");
    }
    assert!(rebuilt.out.contains("what was seen, pinned and accepted in 2"), "{rebuilt:?}");
    (later, aside)
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_in_a_record_that_stays_closed_are_counted_and_kept_for_its_key() {
    let (fleet, person, kit) = home_with_two().await;
    person.run(&["retention", "pin", "core-sw1", "--backup", "latest~1"]).good();
    let pins = || {
        let all = person.run(&["history", "--json"]).good().json();
        all.as_array().unwrap().iter().filter(|v| v["pinned"] == true).count()
    };
    assert_eq!(pins(), 1);
    let (later, aside) = rebuilt_without_the_later_key(&person, &kit).await;
    assert_eq!(pins(), 0);
    take_kit(&person, "new.txt");
    crate::recovery::log_in(&fleet, &person);
    // The record of the month is written anew, and again.
    for _ in 0..2 {
        changed(&fleet, &person).await;
    }
    std::fs::rename(&aside, &later).unwrap();
    let with_kit = ["--kek-file", kit.to_str().unwrap()];
    let replaced = [&with_kit[..], &["catalog", "rebuild", "--replace", "--from", "store"]].concat();
    person.run(&replaced).good();
    assert_eq!(pins(), 1);
    person.run(&["key", "rotate", "--scope", "data"]).good();
    std::fs::remove_file(&later).unwrap();
    person.run(&["catalog", "rebuild", "--replace", "--from", "store"]).good();
    assert_eq!(pins(), 1);
    // Taken away by somebody who knows of it, it does not come back, whatever is written there since.
    let all = person.run(&["history", "--json"]).good().json();
    let pinned = all.as_array().unwrap().iter().find(|v| v["pinned"] == true).unwrap();
    let (device, id) = (pinned["device_name"].as_str().unwrap(), pinned["id"].as_str().unwrap());
    person.run(&["retention", "unpin", device, "--backup", id]).good();
    crate::recovery::log_in(&fleet, &person);
    changed(&fleet, &person).await;
    person.run(&["catalog", "rebuild", "--replace", "--from", "store"]).good();
    assert_eq!(pins(), 0);
    person.run(&["retention", "pin", device, "--backup", id]).good();
    person.run(&["catalog", "rebuild", "--replace", "--from", "store"]).good();
    assert_eq!(pins(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_no_key_opens_are_counted_by_what_passes_over_them() {
    let (fleet, person, kit) = home_with_two().await;
    let (later, aside) = rebuilt_without_the_later_key(&person, &kit).await;
    // It is there, and opens by a key that is not at hand.
    let mut object: serde_json::Value = serde_json::from_slice(&std::fs::read(&aside).unwrap()).unwrap();
    object["wraps"][0]["kek"] = "00112233aabbccdd".into();
    std::fs::write(&later, object.to_string()).unwrap();
    person.run(&["destination", "add", "nas", "--kind", "plain", "--path", "nas"]).good();
    for command in [
        &["verify"][..],
        &["destination", "copy", "store", "nas"],
        &["restore", "core-sw1", "running-config", "--to", "x.cfg"],
    ] {
        let told = person.run(command).good();
        assert!(told.err.contains("2 copies there are sealed under epoch keys that no key"), "{command:?}: {told:?}");
    }
    person.run(&["verify", "--destination", "nas"]).good();
    drop(fleet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_in_the_clear_once_is_rebuilt_as_one() {
    let (fleet, person) = home().await;
    let kit = take_kit(&person, "kit.txt");
    person.run(&["destination", "add", "nas", "--kind", "plain", "--path", "nas", "--seal", "no"]).good();
    changed(&fleet, &person).await;
    person.run(&["destination", "edit", "nas", "--seal", "yes", "--option", "accept_clear=yes"]).good();
    changed(&fleet, &person).await;
    let rebuild = |home: &str, more: &[&str]| {
        let with_kit = ["--home", home, "--kek-file", kit.to_str().unwrap(), "catalog", "rebuild", "--from", "nas"];
        person.run(&[&with_kit[..], more].concat())
    };
    copy(&person.path("nas"), &person.path("second"));
    rebuild("one", &[]).ended(3);
    std::fs::remove_dir_all(person.path("nas")).unwrap();
    std::fs::rename(person.path("second"), person.path("nas")).unwrap();
    rebuild("two", &["--from-option", "region=x"]).ended(2);
    rebuild("two", &["--from-option", "accept_clear=yes"]).good();
    let versions = |home: &str| person.run(&["--home", home, "history", "--json"]).good().json();
    assert!(versions("two").as_array().unwrap().len() > versions("one").as_array().unwrap().len());
    person.run(&["--home", "two", "verify"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_key_opens_any_more_is_stored_anew_as_soon_as_there_is_a_key() {
    let (_fleet, person) = home().await;
    for lost in ["keys", "kek.key", "keys.toml"] {
        let path = person.path("home").join(lost);
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    crate::keys::kits(&person).into_iter().for_each(|kit| std::fs::remove_file(kit).unwrap());
    // Nothing can be stored, nor looked at: no run may say that all is well.
    let told = person.asks(&["backup", "--all"]).await;
    assert_ne!(told.code, 0, "{told:?}");
    person.run(&["key", "init"]).good();
    person.asks(&["backup", "--all"]).await.good();
    person.run(&["restore", "core-sw1", "--to", "out"]).good();
    person.run(&["verify", "--destination", "store"]).good();
    let again = person.asks(&["backup", "--all", "--json"]).await.good().json();
    assert!(again.as_array().unwrap().iter().all(|row| row["status"] == "unchanged"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_lost_epoch_key_closes_is_stored_anew_under_the_present_one() {
    let (_fleet, person) = home().await;
    let key = epochs(&person.path("home/store/keys")).remove(0);
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    let name = key.file_name().unwrap().to_owned();
    std::fs::remove_file(key).unwrap();
    std::fs::remove_file(person.path("home/keys").join(name)).unwrap();
    person.asks(&["backup", "--all"]).await.good();
    person.run(&["restore", "core-sw1", "--to", "out"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_keys_were_taken_away_comes_back_as_one_that_seals() {
    for noted in [true, false] {
        let (fleet, person) = home().await;
        std::fs::remove_dir_all(person.path("home/store/keys")).unwrap();
        if !noted {
            std::fs::remove_file(person.path("home/destinations.json")).unwrap();
        }
        crate::namesakes::lose_the_catalog(&person);
        let told = person.run(&["catalog", "rebuild", "--from", "home/store"]);
        assert!(told.err.contains("the epoch keys that lay there are gone"), "{told:?}");
        person.run(&["device", "import", "devices.csv", "--update"]).good();
        changed(&fleet, &person).await;
        assert!(!epochs(&person.path("home/store/keys")).is_empty());
        let clear = |(path, _): &(PathBuf, Vec<u8>)| path.extension().is_some_and(|e| e == "zst" || e == "cfg");
        assert!(!crate::person::files_below(&person.path("home/store")).iter().any(clear));
    }
}
