//! Keys that are not what they were taken for: another one at the same place, those of another home, those of before.

use std::path::Path;

use devicevault_testkit::sim::{Fleet, Simulated};

use crate::keys::{copy, home, kits, take_kit};
use crate::person::{Answer, Person};

async fn changed(fleet: &Fleet, person: &Person) {
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
}

/// With a store and a kit alone.
fn verifies(store: &Path, kit: &Path) -> Answer {
    let nobody = Person::new();
    copy(store, &nobody.path("store"));
    copy(kit, &nobody.path("kit.txt"));
    nobody.run(&["verify", "--from", "store", "--kek-file", "kit.txt"])
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_at_the_place_of_ours_wraps_nothing_and_makes_no_kit() {
    let (fleet, person) = home().await;
    let kit = take_kit(&person, "kit.txt");
    let good = std::fs::read_to_string(person.path("home/kek.key")).unwrap();
    let put = |text: &str| {
        person.write("home/kek.key", text);
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(person.path("home/kek.key"), private).unwrap();
    };
    put(&"ab".repeat(32));
    for command in [
        &["key", "rotate", "--scope", "epoch"][..],
        &["key", "rotate", "--scope", "kek"],
        &["key", "rotate", "--scope", "data"],
        &["key", "export", "--to", "other.txt"],
        &["key", "add", "--generate", "second.key"],
    ] {
        let refused = person.run(command).ended(1);
        let says = ["another key lies where this one was", "none of the keys at hand opens it"];
        assert!(says.iter().any(|says| refused.err.contains(says)), "{command:?}: {refused:?}");
    }
    assert!(!person.path("other.txt").exists());
    put(&good);
    let keys = person.run(&["key", "list", "--json"]).good().json();
    assert_eq!(keys["epochs"].as_array().unwrap().len(), 1, "{keys}");
    changed(&fleet, &person).await;
    verifies(&person.path("home/store"), &kit).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_a_home_undoes_no_rotation() {
    let (fleet, person) = home().await;
    take_kit(&person, "old.txt");
    person.run(&["destination", "add", "nas", "--kind", "plain", "--path", "nas"]).good();
    changed(&fleet, &person).await;
    copy(&person.path("home"), &person.path("older"));
    person.run(&["key", "rotate", "--scope", "kek"]).good();
    let kit = take_kit(&person, "new.txt");
    let older = |command: &[&str]| person.run(&[&["--home", "older"][..], command].concat());
    older(&["destination", "test", "nas"]);
    let backup = person.asks(&["--home", "older", "backup", "--all", "--retries", "0"]).await;
    assert!(backup.code != 0 && backup.err.contains("another home took this place over"), "{backup:?}");
    verifies(&person.path("nas"), &kit).good();
    for command in [
        &["key", "rotate", "--scope", "kek"][..],
        &["key", "rotate", "--scope", "epoch"],
        &["key", "add", "--generate", "second.key"],
    ] {
        let refused = older(command).ended(1);
        assert!(
            refused.err.contains("another home took this place over") && refused.err.contains("nas"),
            "{refused:?}"
        );
    }
    verifies(&person.path("nas"), &kit).good();
    // Nor does it thin out what the newer one keeps.
    let files = crate::person::files_below(&person.path("nas")).len();
    let applied = older(&["retention", "apply", "--destination", "nas", "--allow-mass-deletion"]);
    assert_eq!(crate::person::files_below(&person.path("nas")).len(), files, "{applied:?}");
    let check = older(&["key", "check", "--repair"]).ended(3);
    assert!(check.out.contains("nas"), "{check:?}");
    verifies(&person.path("nas"), &kit).good();
    // Who means it says so.
    older(&["key", "check", "--repair", "--over"]);
    verifies(&person.path("nas"), &person.path("old.txt")).good();
    person.run(&["key", "check", "--repair", "--over"]);
    verifies(&person.path("nas"), &kit).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_epoch_key_that_is_gone_or_foreign_keeps_nobody_from_the_others() {
    let (fleet, person) = home().await;
    let kit = take_kit(&person, "kit.txt");
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    changed(&fleet, &person).await;
    let newest = person.run(&["show", "core-sw1", "--view", "original"]).good().out;
    let keys = person.path("home/store/keys");
    let mut objects: Vec<_> = std::fs::read_dir(&keys).unwrap().map(|e| e.unwrap().path()).collect();
    objects.retain(|p| p.extension().is_some_and(|e| e == "json") && !p.ends_with("names.json"));
    objects.sort();
    assert_eq!(objects.len(), 2);
    copy(&person.path("home/store"), &person.path("copy"));
    let first = person.path("copy/keys").join(objects[0].file_name().unwrap());
    let from = ["--from", "copy", "--kek-file", kit.to_str().unwrap()];
    let asked = |what: &[&str]| person.run(&[what, &from[..]].concat());
    for damage in ["", "{\"half"] {
        if damage.is_empty() {
            std::fs::remove_file(&first).unwrap();
        } else {
            std::fs::write(&first, damage).unwrap();
        }
        let shown = asked(&["show", "core-sw1", "--view", "original"]).good();
        assert_eq!(shown.out, newest);
        let listed = asked(&["history", "core-sw1", "--artefact", "running-config"]).good();
        assert!(listed.err.contains("epoch"), "{listed:?}");
        let restored = asked(&["restore", "core-sw1", "running-config", "--to", "x.cfg", "--force"]).ended(3);
        assert_eq!(std::fs::read_to_string(person.path("x.cfg")).unwrap(), newest, "{restored:?}");
        asked(&["verify"]).ended(3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_whose_new_key_is_lost_is_given_up() {
    let (fleet, person) = home().await;
    let kit = take_kit(&person, "old.txt");
    person.run(&["destination", "add", "nas", "--kind", "plain", "--path", "nas"]).good();
    changed(&fleet, &person).await;
    std::fs::rename(person.path("nas"), person.path("away")).unwrap();
    person.run(&["key", "rotate", "--scope", "kek", "--generate", "stick.key"]).ended(3);
    std::fs::remove_file(person.path("stick.key")).unwrap();
    take_kit(&person, "lost.txt");
    std::fs::rename(person.path("away"), person.path("nas")).unwrap();
    let keys = person.run(&["key", "list", "--json"]).good().json();
    let new = keys["keys"].as_array().unwrap().iter().find(|k| k["retiring"] != true).unwrap();
    person.run(&["key", "remove", new["id"].as_str().unwrap()]).good();
    person.run(&["key", "check"]);
    changed(&fleet, &person).await;
    person.run(&["verify"]).good();
    verifies(&person.path("nas"), &kit).good();
    verifies(&person.path("home/store"), &kit).good();
    person.run(&["key", "rotate", "--scope", "kek"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_is_warned_of_another_ones_backups_in_the_clear() {
    let (fleet, one) = home().await;
    let other = Person::new();
    other.run(&["init", "--quiet"]).good();
    for (name, kind, more) in [("clear", "plain", &["--seal", "no"][..]), ("read", "git", &[])] {
        let place = one.path(name);
        let add = [&["destination", "add", name, "--kind", kind, "--path", place.to_str().unwrap()], more].concat();
        let alone = one.run(&add).good();
        assert!(!alone.err.contains("another home"), "{alone:?}");
        changed(&fleet, &one).await;
        let added = other.run(&add).good();
        assert!(added.err.contains(&format!("at {name} are backups of another home")), "{added:?}");
        one.run(&["destination", "remove", name]).good();
        let again = one.run(&add).good();
        assert!(!again.err.contains("another home"), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_homes_do_not_share_a_sealed_place_by_mistake() {
    let (fleet, person) = home().await;
    let other = Person::new();
    let place = person.path("nas");
    let add = ["destination", "add", "offsite", "--kind", "plain", "--path", place.to_str().unwrap()];
    person.run(&add).good();
    changed(&fleet, &person).await;
    let kit = take_kit(&person, "kit.txt");
    other.run(&["init", "--quiet"]).good();
    let refused = other.run(&add).ended(1);
    assert!(refused.err.contains("another home seals") && refused.err.contains("--kek-file"), "{refused:?}");
    other.write(
        "a.toml",
        &format!(
            "[[destination]]\nname = \"offsite\"\nkind = \"plain\"\noptions = {{ path = \"{}\" }}\n",
            place.display()
        ),
    );
    other.run(&["apply", "-f", "a.toml"]);
    let keys = std::fs::read_dir(place.join("keys")).unwrap().count();
    verifies(&place, &kit).good();
    assert_eq!(std::fs::read_dir(place.join("keys")).unwrap().count(), keys, "nothing was laid there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_opens_by_the_kit_of_then_and_that_is_told() {
    let (fleet, person) = home().await;
    let kit = take_kit(&person, "old.txt");
    let old = person.run(&["key", "list", "--json"]).good().json()["keys"][0]["id"].as_str().unwrap().to_owned();
    let add = ["destination", "add", "nas", "--kind", "plain", "--path", "nas"];
    person.run(&add).good();
    changed(&fleet, &person).await;
    let removed = person.run(&["destination", "remove", "nas"]).good();
    assert!(removed.err.contains(&old) && removed.err.contains("keep that kit"), "{removed:?}");
    let rotated = person.run(&["key", "rotate", "--scope", "kek"]).good();
    let at = person.path("nas").display().to_string();
    for says in [&at, &old, "keep the kit of that key", "keep the old one for the destinations that were removed"] {
        assert!(rotated.err.contains(says), "{says}: {rotated:?}");
    }
    assert!(!rotated.err.contains("destroy the old one"), "{rotated:?}");
    // It may be the last copy of that key.
    assert!(person.path("home/kek.key").exists());
    verifies(&person.path("nas"), &kit).good();
    let new = take_kit(&person, "new.txt");
    verifies(&person.path("nas"), &new).ended(1);
    let check = person.run(&["key", "check"]).good();
    assert!(check.out.contains("removed nas") && check.out.contains(&old), "{check:?}");

    // There again, it opens by the new one, all of it.
    person.run(&add).good();
    verifies(&person.path("nas"), &new).good();
    verifies(&person.path("nas"), &kit).ended(1);
    assert!(!person.run(&["key", "check"]).good().out.contains("removed nas"));

    // In the middle of a rotation, while it is away: the old key alone opens it for certain.
    std::fs::rename(person.path("nas"), person.path("away")).unwrap();
    person.run(&["key", "rotate", "--scope", "kek"]).ended(3);
    person.run(&["destination", "remove", "nas"]).good();
    let rotated = person.run(&["key", "rotate", "--scope", "kek"]).good();
    assert!(rotated.err.contains("keep the kit of that key"), "{rotated:?}");
    verifies(&person.path("away"), &new).good();

    // Until nobody needs it any more.
    let keys = person.run(&["key", "list", "--json"]).good().json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    let note = std::fs::read_to_string(person.path("home/removed.json")).unwrap();
    let key = serde_json::from_str::<serde_json::Value>(&note).unwrap()["places"][0]["keys"][0].clone();
    person.run(&["key", "remove", key.as_str().unwrap()]).good();
    assert!(!person.path("home/removed.json").exists());
    assert!(!person.path(&format!("home/kek-{}.key", key.as_str().unwrap())).exists());
    person.run(&["key", "check"]);
    person.run(&["verify", "--destination", "store"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_force_is_never_taken_for_one_that_went() {
    let (fleet, person) = home().await;
    let old = std::fs::read_to_string(person.path("home/kek.key")).unwrap();
    let ids = || {
        let keys = person.run(&["key", "list", "--json"]).good().json();
        keys["keys"].as_array().unwrap().iter().map(|k| k["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let add = ["destination", "add", "nas", "--kind", "plain", "--path", "nas"];
    // The file that stayed for what was removed is taken away, and the next key gets its name.
    person.run(&add).good();
    changed(&fleet, &person).await;
    person.run(&["destination", "remove", "nas"]).good();
    person.run(&["key", "rotate", "--scope", "kek"]).good();
    std::fs::rename(person.path("home/kek.key"), person.path("stick.key")).unwrap();
    person.run(&["key", "rotate", "--scope", "kek", "--generate", "home/kek.key"]).good();
    person.run(&["--kek-file", "stick.key", "destination", "add", "nas", "--kind", "plain", "--path", "nas"]).good();
    assert_ne!(std::fs::read_to_string(person.path("home/kek.key")).unwrap(), old);
    person.run(&["verify"]).good();

    // Of one that was away while a key was added, either may be the only one that opens it.
    std::fs::rename(person.path("nas"), person.path("away")).unwrap();
    person.run(&["key", "add", "--generate", "second.key"]).ended(3);
    let removed = person.run(&["destination", "remove", "nas"]).good();
    assert!(removed.err.contains("the kits of all of them"), "{removed:?}");
    let first = &ids()[0];
    let told = person.run(&["key", "remove", first]).good();
    assert!(told.err.contains("keep the kit of that key") && told.err.contains(first), "{told:?}");
    assert!(person.path("home/kek.key").exists());

    // Something new at its place says nothing of what was there.
    person.run(&add).good();
    assert!(person.path("home/kek.key").exists() && person.path("home/removed.json").exists());

    // Where it is unknown what is needed, nothing is replaced.
    let (before, kits_before) = (ids(), kits(&person));
    person.write("home/removed.json", "{");
    person.run(&["key", "rotate", "--scope", "kek"]).ended(2);
    assert_eq!((ids(), kits(&person)), (before, kits_before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_still_alive_takes_nothing_from_the_one_that_was_made_of_its_store() {
    let (fleet, person) = home().await;
    let kit = take_kit(&person, "kit.txt");
    let (other, store) = (Person::new(), person.path("home/store"));
    let rebuild = ["--kek-file", kit.to_str().unwrap(), "catalog", "rebuild", "--from", store.to_str().unwrap()];
    other.run(&rebuild).good();
    let new = take_kit(&other, "new.txt");
    verifies(&store, &new).good();
    for command in [&["key", "add", "--generate", "second.key"][..], &["key", "rotate", "--scope", "kek"]] {
        let refused = person.run(command).ended(1);
        assert!(refused.err.contains("another home took this place over"), "{refused:?}");
        verifies(&store, &new).good();
    }
    let check = person.run(&["key", "check"]).ended(3);
    assert!(check.out.contains("another home took this place over"), "{check:?}");
    // Its backups are taken, with a warning; it deletes nothing of the other's, and replaces no record of the other's.
    let of_store = |pattern: &str| {
        let mut files = crate::person::files_below(&store);
        files.retain(|(path, _)| path.to_string_lossy().contains(pattern));
        files
    };
    let (manifests, sightings) = (of_store(".manifest.json"), of_store("sightings"));
    fleet.devices().iter().for_each(Simulated::change_something);
    let backup = person.asks(&["backup", "--all"]).await.good();
    assert!(backup.err.contains("another home took this place over"), "{backup:?}");
    let after = of_store(".manifest.json");
    assert_eq!(after.len(), manifests.len() + 2);
    person.run(&["destination", "edit", "store", "--option", "retention.last=1"]).good();
    let applied = person.run(&["retention", "apply", "--allow-mass-deletion"]);
    assert!(applied.code != 0 && applied.err.contains("another home took this place over"), "{applied:?}");
    assert_eq!((of_store(".manifest.json").len(), of_store("sightings")), (after.len(), sightings));
    verifies(&store, &new).good();
    other.run(&["verify"]).good();
    // Who means it says so.
    person.run(&["key", "check", "--repair", "--over"]);
    person.run(&["retention", "apply", "--allow-mass-deletion"]).good();
    assert!(of_store(".manifest.json").len() < after.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_epoch_key_of_the_home_is_laid_over_no_good_one() {
    let (_fleet, person) = home().await;
    let kit = take_kit(&person, "kit.txt");
    let object = |place: &str| {
        let entries = std::fs::read_dir(person.path(place)).unwrap().map(|e| e.unwrap().path());
        entries.filter(|p| p.extension().is_some_and(|e| e == "json")).find(|p| !p.ends_with("names.json")).unwrap()
    };
    let (ours, theirs) = (object("home/keys"), object("home/store/keys"));
    let good = std::fs::read_to_string(&ours).unwrap();
    let flip = |text: &str| {
        let at = text.find("\"wrapped\"").unwrap() + 20;
        let other = if &text[at..=at] == "0" { "1" } else { "0" };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    };
    std::fs::write(&ours, flip(&good)).unwrap();
    let over = person.run(&["key", "check", "--repair", "--over"]);
    assert!(over.code != 0 && over.err.contains("is damaged"), "{over:?}");
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), good);
    person.run(&["key", "check"]).ended(3);
    person.run(&["key", "check", "--repair"]).good();
    assert_eq!(std::fs::read_to_string(&ours).unwrap(), good);
    verifies(&person.path("home/store"), &kit).good();
    person.run(&["verify"]).good();

    // Where it is damaged there too, nothing becomes worse.
    std::fs::write(&ours, flip(&good)).unwrap();
    std::fs::write(&theirs, flip(&good)).unwrap();
    person.run(&["key", "check", "--repair"]).ended(3);
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), flip(&good));

    // What is no object at all is put right likewise.
    std::fs::write(&theirs, &good).unwrap();
    std::fs::write(&ours, &good[..good.len() / 2]).unwrap();
    person.run(&["key", "check", "--repair"]).good();
    person.run(&["verify"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_of_a_key_that_stays_is_not_called_a_new_one() {
    let (_fleet, person) = home().await;
    person.run(&["key", "add", "--generate", "second.key"]).good();
    let keys = person.run(&["key", "list", "--json"]).good().json();
    let second = keys["keys"][1]["id"].as_str().unwrap();
    let removed = person.run(&["key", "remove", second]).good();
    assert!(removed.err.contains("which this home had before") && !removed.err.contains("new one"), "{removed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gives_a_key_lies_in_no_destination() {
    let (_fleet, person) = home().await;
    person.write("home/store/inside.key", &"ab".repeat(32));
    for option in [&["--use-file", "home/store/inside.key"], &["--passphrase-file", "home/store/inside.key"]] {
        for command in [&["key", "add"][..], &["key", "rotate", "--scope", "kek"]] {
            let refused = person.run(&[command, &option[..]].concat()).ended(1);
            assert!(refused.err.contains("within a destination") && refused.err.contains("store"), "{refused:?}");
        }
    }
    let bare = Person::new();
    bare.run(&["init"]).good();
    std::fs::remove_dir_all(bare.path("home/keys")).unwrap();
    std::fs::remove_file(bare.path("home/keys.toml")).unwrap();
    bare.write("home/store/inside.key", &"ab".repeat(32));
    let refused = bare.run(&["key", "init", "--use-file", "home/store/inside.key"]).ended(1);
    assert!(refused.err.contains("within a destination"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sealed_once_and_was_removed_needs_its_key_at_hand_or_away() {
    for is_away in [false, true] {
        let (_fleet, person) = home().await;
        let kit = take_kit(&person, "old.txt");
        let add = ["destination", "add", "nas", "--kind", "plain", "--path", "nas"];
        person.run(&add).good();
        person.run(&["destination", "copy", "store", "nas"]).good();
        person.run(&["destination", "edit", "nas", "--seal", "no"]).good();
        if is_away {
            std::fs::rename(person.path("nas"), person.path("away")).unwrap();
            person.run(&["key", "rotate", "--scope", "kek"]).ended(3);
            std::fs::remove_file(crate::keys::kits(&person).remove(0)).unwrap();
        }
        let removed = person.run(&["destination", "remove", "nas"]).good();
        assert!(removed.err.contains("keep that kit"), "{removed:?}");
        let rotated = person.run(&["key", "rotate", "--scope", "kek"]).good();
        assert!(rotated.err.contains("keep the kit of that key"), "{rotated:?}");
        assert!(!rotated.err.contains("destroy the old one"), "{rotated:?}");
        assert!(person.path("home/kek.key").exists() && person.path("home/removed.json").exists());
        if is_away {
            std::fs::rename(person.path("away"), person.path("nas")).unwrap();
        }
        verifies(&person.path("nas"), &kit).good();

        // There again without sealing, what it sealed once has the keys of now, and the old one is needed no more.
        let new = take_kit(&person, "new.txt");
        person.run(&[&add[..], &["--seal", "no"]].concat()).good();
        assert!(!person.path("home/kek.key").exists() && !person.path("home/removed.json").exists());
        verifies(&person.path("nas"), &new).good();
        person.run(&["key", "check"]).good();
    }
    // One that never sealed needs none.
    let (fleet, person) = home().await;
    person.run(&["destination", "add", "open", "--kind", "plain", "--path", "open", "--seal", "no"]).good();
    changed(&fleet, &person).await;
    let removed = person.run(&["destination", "remove", "open"]).good();
    assert!(!removed.err.contains("opens by key") && !person.path("home/removed.json").exists(), "{removed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_another_home_seals_is_refused_without_its_marker_too() {
    let (fleet, person) = home().await;
    person.run(&["destination", "add", "nas", "--kind", "plain", "--path", "nas"]).good();
    changed(&fleet, &person).await;
    person.run(&["--home", "other", "init"]).good();
    let marker = person.path("nas/.devicevault-destination");
    std::fs::remove_file(&marker).unwrap();
    let before = crate::person::files_below(&person.path("nas")).len();
    let add = |name: &str| {
        person.run(&["--home", "other", "destination", "add", name, "--kind", "plain", "--path", "nas"]).ended(1)
    };
    for name in ["nas", "archive"] {
        let refused = add(name);
        assert!(refused.err.contains("another home seals what it keeps there"), "{refused:?}");
    }
    // What cannot be listed is not taken for empty.
    std::fs::rename(person.path("nas/keys"), person.path("keys")).unwrap();
    std::os::unix::fs::symlink(person.path("keys"), person.path("nas/keys")).unwrap();
    let refused = add("nas");
    assert!(refused.err.contains("list epoch keys"), "{refused:?}");
    std::fs::remove_file(person.path("nas/keys")).unwrap();
    std::fs::rename(person.path("keys"), person.path("nas/keys")).unwrap();
    assert_eq!(crate::person::files_below(&person.path("nas")).len(), before, "nothing was laid there");
    // Its own home has it back.
    person.run(&["destination", "test", "nas", "--repair"]).good();
    person.run(&["verify", "--destination", "nas"]).good();
}
