//! A home made anew out of a store and a kit, and keys that are nowhere any more.

use std::path::PathBuf;

use devicevault_testkit::sim::{Fleet, Simulated};

use crate::keys::{copy, home, kits, take_kit};
use crate::person::Person;

/// The epoch key objects in a folder, oldest first.
fn epochs(folder: PathBuf) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|p| p.extension().is_some_and(|e| e == "json") && !p.ends_with("names.json"));
    found.sort();
    found
}

/// Tells a rebuilt home again how its devices are reached.
pub(crate) fn log_in(fleet: &Fleet, person: &Person) {
    for device in fleet.devices() {
        let (port, user) = (device.addr().port().to_string(), device.username());
        let login = ["--user", user, "--password-env", crate::person::PASSWORD, "--port", &port];
        person.run(&[&["device", "edit", device.name()][..], &login].concat()).good();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_and_its_kit_make_a_home_that_goes_on() {
    let (fleet, person) = home().await;
    let kit = take_kit(&person, "kit.txt");
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    copy(&person.path("home/store"), &person.path("store"));
    std::fs::rename(person.path("home"), person.path("gone")).unwrap();

    let rebuilt = person.run(&["--kek-file", kit.to_str().unwrap(), "catalog", "rebuild", "--from", "store"]).good();
    assert!(rebuilt.err.contains("2 epoch keys that destinations alone had"), "{rebuilt:?}");
    let new = take_kit(&person, "new.txt");
    // The kit is put away again.
    std::fs::rename(&kit, person.path("safe.txt")).unwrap();
    person.run(&["key", "check"]).good();
    let verified = person.run(&["verify"]).good();
    log_in(&fleet, &person);
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    person.run(&["verify"]).good();
    person.run(&["key", "check"]).good();

    // The new kit opens all of it, the old one what was stored until then.
    let nobody = Person::new();
    copy(&person.path("store"), &nobody.path("store"));
    copy(&new, &nobody.path("new.txt"));
    copy(&person.path("safe.txt"), &nobody.path("old.txt"));
    let with = |kit: &str| nobody.run(&["verify", "--from", "store", "--kek-file", kit]);
    with("new.txt").good();
    with("old.txt").ended(3);
    assert!(verified.err.contains("good"), "{verified:?}");
    // A rotation ends, too.
    person.run(&["key", "rotate", "--scope", "kek"]).good();
    person.run(&["key", "check", "--repair"]);
    person.run(&["verify"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_comes_back_and_what_stays_closed_waits_for_its_key() {
    let (fleet, person) = home().await;
    let kit = take_kit(&person, "kit.txt");
    let kit = kit.to_str().unwrap();
    person.run(&["key", "add", "--generate", "second.key"]).good();
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let first = person.run(&["key", "list", "--json"]).good().json()["keys"][0]["id"].as_str().unwrap().to_owned();
    let (second, store) = (person.path("second.key"), person.path("home/store"));
    // The later epoch key opens by the second key alone; or is gone; or is cut.
    let newest = epochs(store.join("keys")).pop().unwrap();
    let whole = std::fs::read_to_string(&newest).unwrap();
    let mut object: serde_json::Value = serde_json::from_str(&whole).unwrap();
    object["wraps"].as_array_mut().unwrap().retain(|w| w["kek"] != *first);
    let id = newest.file_stem().unwrap().to_str().unwrap();
    for found in [Some(serde_json::to_string(&object).unwrap()), None, Some("{\"half".to_owned())] {
        let other = Person::new();
        copy(&store, &other.path("store"));
        let there = other.path("store/keys").join(newest.file_name().unwrap());
        match &found {
            Some(text) => std::fs::write(&there, text).unwrap(),
            None => std::fs::remove_file(&there).unwrap(),
        }
        let rebuilt = other.run(&["--kek-file", kit, "catalog", "rebuild", "--from", "store"]).ended(3);
        assert!(rebuilt.out.contains(id) && rebuilt.out.contains("2 copies stay closed"), "{rebuilt:?}");
        assert!(rebuilt.err.contains("6 versions") && rebuilt.err.contains("--into"), "{rebuilt:?}");
        assert_eq!(std::fs::read_to_string(&there).ok(), found);
        other.run(&["verify"]).good();
        let checked = other.run(&["key", "check"]).ended(3);
        assert!(checked.out.contains("2 copies cannot be opened"), "{checked:?}");
        // A rotation leaves what it cannot open as it is.
        other.run(&["key", "rotate", "--scope", "kek"]);
        assert_eq!(std::fs::read_to_string(&there).ok(), found);

        if found.as_ref().is_none_or(|text| text.contains("half")) {
            std::fs::write(&there, &whole).unwrap();
        }
        let with = ["--kek-file", second.to_str().unwrap()];
        other.run(&[&with[..], &["key", "check", "--repair"]].concat());
        other.run(&[&with[..], &["catalog", "rebuild", "--into", "--from", "store"]].concat()).good();
        other.run(&["verify"]).good();
        let history = other.run(&["history", "--json"]).good().json();
        assert_eq!(history.as_array().unwrap().len(), 8, "{history}");
        take_kit_if_any(&other);
        other.run(&["key", "check"]).good();
    }
    // Where nothing opens, nothing is made.
    let other = Person::new();
    other.write("other.key", &"ab".repeat(32));
    let refused = other.run(&["--kek-file", "other.key", "catalog", "rebuild", "--from", store.to_str().unwrap()]);
    assert!(refused.code == 1 && !other.path("home").exists(), "{refused:?}");
}

fn take_kit_if_any(person: &Person) {
    kits(person).iter().for_each(|kit| std::fs::remove_file(kit).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_destination_comes_back_into_the_catalog_with_its_keys() {
    let (fleet, person) = home().await;
    person.run(&["destination", "add", "nas", "--kind", "plain", "--path", "nas"]).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    copy(&person.path("home"), &person.path("older"));
    person.run(&["destination", "remove", "nas"]).good();
    person.run(&["key", "rotate", "--scope", "kek"]).good();
    person.run(&["catalog", "rebuild", "--into", "--from", "nas"]).good();
    assert!(!person.path("home/removed.json").exists());
    let (here, there) = (epochs(person.path("home/keys")), epochs(person.path("nas/keys")));
    assert_eq!(std::fs::read(&here[0]).unwrap(), std::fs::read(&there[0]).unwrap());
    take_kit_if_any(&person);
    person.run(&["key", "check"]).good();
    person.run(&["verify"]).good();
    // A home that is older than that is refused, by every way.
    let older = |command: &[&str]| person.run(&[&["--home", "older"][..], command].concat());
    older(&["destination", "remove", "nas"]).good();
    for command in [
        &["catalog", "rebuild", "--into", "--from", "nas"][..],
        &["destination", "add", "nas", "--kind", "plain", "--path", "nas"],
    ] {
        let refused = older(command).ended(1);
        assert!(refused.err.contains("another home took this place over"), "{refused:?}");
        assert!(!older(&["destination", "list"]).good().out.contains("nas"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_key_that_the_home_cannot_read_is_taken_from_a_destination() {
    let (fleet, person) = home().await;
    take_kit(&person, "kit.txt");
    let ours = epochs(person.path("home/keys")).remove(0);
    let good = std::fs::read_to_string(&ours).unwrap();
    for damage in [Some(&good[..100]), Some(""), Some("[]"), None] {
        match damage {
            Some(text) => std::fs::write(&ours, text).unwrap(),
            None => std::fs::remove_file(&ours).unwrap(),
        }
        let told = person.run(&["key", "list"]).good();
        assert!(told.err.contains("put right from destinations"), "{told:?}");
        assert_eq!(std::fs::read_to_string(&ours).unwrap(), good);
        assert!(!person.run(&["key", "check"]).good().err.contains("put right"));
    }
    // Where it is nowhere, only what needs it fails, and nothing is sealed under an older one.
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let (here, there) = (epochs(person.path("home/keys")), epochs(person.path("home/store/keys")));
    std::fs::write(here.last().unwrap(), "").unwrap();
    std::fs::remove_file(there.last().unwrap()).unwrap();
    let id = here.last().unwrap().file_stem().unwrap().to_str().unwrap();
    fleet.devices().iter().for_each(Simulated::change_something);
    let backup = person.asks(&["backup", "--all", "--quiet"]).await.good();
    assert!(backup.err.contains(&format!("epoch key {id} cannot be read")), "{backup:?}");
    assert_eq!(epochs(person.path("home/keys")).len(), here.len() + 1);
    person.run(&["verify"]).ended(3);
    let checked = person.run(&["key", "check"]).ended(3);
    assert!(checked.out.contains(&format!("epoch key {id}")), "{checked:?}");
    person.run(&["key", "rotate", "--scope", "kek"]).good();
    person.run(&["show", "core-sw1"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_key_that_is_nowhere_is_missed_by_the_check() {
    let (fleet, person) = home().await;
    take_kit(&person, "kit.txt");
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    person.run(&["key", "check"]).good();
    let (here, there) = (epochs(person.path("home/keys")), epochs(person.path("home/store/keys")));
    assert_eq!((here.len(), there.len()), (2, 2));
    let aside = person.path("aside.json");
    std::fs::rename(&here[0], &aside).unwrap();
    // The store has it still: it is taken back.
    let alone = person.run(&["key", "check"]).ended(3);
    assert!(alone.out.contains("there alone"), "{alone:?}");
    let repaired = person.run(&["key", "check", "--repair"]).good();
    assert!(repaired.err.contains("1 epoch key that destinations alone had is taken over"), "{repaired:?}");
    assert_eq!(epochs(person.path("home/keys")), here);

    // The home alone has it: who has but the store and the kit opens nothing of that, and it is laid there.
    std::fs::remove_file(&there[0]).unwrap();
    let alone = person.run(&["key", "check"]).ended(3);
    assert!(alone.out.contains("open by this home alone"), "{alone:?}");
    person.run(&["key", "check", "--repair"]).good();
    assert_eq!(epochs(person.path("home/store/keys")), there);

    std::fs::remove_file(&here[0]).unwrap();
    std::fs::remove_file(&there[0]).unwrap();
    let checked = person.run(&["key", "check"]).ended(3);
    assert!(checked.out.contains("6 copies cannot be opened"), "{checked:?}");
    assert!(checked.out.contains(here[0].file_name().unwrap().to_str().unwrap()), "{checked:?}");
    std::fs::copy(&aside, &here[0]).unwrap();
    person.run(&["key", "check", "--repair"]).good();
    person.run(&["verify"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_rebuild_left_goes_with_the_next_one_or_with_maintenance() {
    let (_fleet, person) = home().await;
    let left = person.path("home/catalog.db.new-killed012345");
    for command in [&["catalog", "rebuild", "--replace", "--from", "store"][..], &["destination", "maintain"]] {
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("catalog.db"), "half").unwrap();
        person.run(&["destination", "maintain", "--dry-run"]);
        assert!(left.exists());
        person.run(command).good();
        assert!(!left.exists(), "{command:?}");
    }
    let kept = || {
        let all = std::fs::read_dir(person.path("home")).unwrap().map(|e| e.unwrap().file_name());
        all.filter(|n| n.to_string_lossy().starts_with("catalog.db.replaced-")).count()
    };
    let before = kept();
    for _ in 0..3 {
        person.run(&["catalog", "rebuild", "--replace", "--from", "store"]).good();
    }
    assert_eq!(kept(), before + 3, "none takes the place of another");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_yet_is_told_with_what_is() {
    let (fleet, person) = home().await;
    let early = person.run(&["download", "core-sw1", "--at", "2020-01-01", "--to", "x"]).ended(1);
    assert!(early.err.contains("hint: the first version is of 20"), "{early:?}");
    let none = person.run(&["verify", "--site", "TYPO"]).ended(2);
    assert!(none.err.contains("no device fits"), "{none:?}");
    person.run(&["destination", "add", "nas", "--kind", "plain", "--path", "nas"]).good();
    std::fs::rename(person.path("nas"), person.path("away")).unwrap();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.ended(3);
    std::fs::rename(person.path("away"), person.path("nas")).unwrap();
    let args = ["restore", "core-sw1", "running-config", "--from", "nas", "--to", "x.cfg"];
    let waits = person.run(&args).ended(1);
    assert!(waits.err.contains("waits to be delivered") && waits.err.contains("store has it"), "{waits:?}");
    person.run(&["run", "deliver"]).good();
    person.run(&args).good();
}

#[test]
fn two_new_destinations_of_one_place_are_refused_before_it_is_made() {
    let person = Person::new();
    person.run(&["init", "--quiet"]).good();
    let one = |name: &str, path: &str| {
        format!(
            "[[destination]]\nname = \"{name}\"\nkind = \"plain\"\nview = \"original\"\noptions = {{ path = \"{path}\" }}\n"
        )
    };
    person.write("two.toml", &(one("a1", "../same") + &one("a2", "../home/../same/")));
    for dry in [&["--dry-run"][..], &[]] {
        let refused = person.run(&[&["apply", "-f", "two.toml"][..], dry].concat()).ended(1);
        assert!(refused.err.contains("two destinations would have one place"), "{refused:?}");
        assert!(refused.err.contains("line"), "{refused:?}");
    }
    assert!(!person.path("same").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_whose_commit_is_missing_is_put_back_and_goes_on() {
    let (fleet, person) = home().await;
    copy(&person.path("home/git"), &person.path("before"));
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    // As a copy has it that took the packs before a store and the branch after it.
    let (git, branch) = (person.path("home/git"), "refs/heads/main");
    let read = |folder: &str| std::fs::read_to_string(person.path(folder).join(branch)).unwrap().trim().to_owned();
    let (newest, whole) = (read("home/git"), read("before"));
    assert_ne!(newest, whole);
    std::fs::rename(&git, person.path("after")).unwrap();
    copy(&person.path("before"), &git);
    std::fs::copy(person.path("after").join(branch), git.join(branch)).unwrap();

    fleet.devices().iter().for_each(Simulated::change_something);
    let round = person.asks(&["backup", "--all"]).await.ended(3);
    assert!(round.err.contains("destination maintain"), "{round:?}");
    let foretold = person.run(&["destination", "maintain", "git", "--dry-run"]).good();
    assert!(foretold.err.contains("would be put back") && read("home/git") == newest, "{foretold:?}");
    let put = person.run(&["destination", "maintain", "git"]).good();
    for says in [&newest, &whole, "is put back to"] {
        assert!(put.err.contains(says), "{says}: {put:?}");
    }
    assert_eq!(read("home/git"), whole);
    // What was stored after that is gone there, and comes from where it is, in order.
    person.run(&["verify", "--destination", "git"]).ended(3);
    person.run(&["verify", "--repair"]).good();
    assert!(read("home/git") != whole);
    person.asks(&["backup", "--all"]).await.good();
    person.run(&["verify"]).good();
    let again = person.run(&["destination", "maintain", "git"]).good();
    assert!(!again.err.contains("put back"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_that_a_home_was_made_with_is_taken_away_by_its_id() {
    let (_fleet, person) = home().await;
    let kit = take_kit(&person, "kit.txt");
    let first = person.run(&["key", "list", "--json"]).good().json()["keys"][0]["id"].as_str().unwrap().to_owned();
    let (other, kit) = (Person::new(), kit.to_str().unwrap());
    copy(&person.path("home/store"), &other.path("store"));
    other.run(&["--kek-file", kit, "catalog", "rebuild", "--from", "store"]).good();
    other.run(&["verify", "--from", "store", "--kek-file", kit]).good();
    let removed = other.run(&["key", "remove", &first]).good();
    assert!(removed.err.contains(&format!("key {first} opens nothing any more")), "{removed:?}");
    take_kit_if_any(&other);
    other.run(&["key", "check"]).good();
    other.run(&["verify"]).good();
    let retired = other.run(&["verify", "--from", "store", "--kek-file", kit]).ended(1);
    assert!(retired.err.contains("the key at hand was retired"), "{retired:?}");
    other.run(&["key", "remove", &first]).ended(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_destination_sealed_before_it_was_told_not_to_opens_by_the_keys_of_now() {
    let (fleet, person) = home().await;
    let old = take_kit(&person, "old.txt");
    person.run(&["destination", "add", "nas", "--kind", "plain", "--path", "nas"]).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    person.run(&["destination", "edit", "nas", "--seal", "no"]).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    // While it is away nobody knows what it needs: the old key stays.
    std::fs::rename(person.path("nas"), person.path("away")).unwrap();
    let waits = person.run(&["key", "rotate", "--scope", "kek"]).ended(3);
    assert!(waits.err.contains("nas") && waits.err.contains("keep the old one"), "{waits:?}");
    std::fs::rename(person.path("away"), person.path("nas")).unwrap();
    person.run(&["key", "rotate", "--scope", "kek"]).good();
    let new = take_kit(&person, "new.txt");
    assert_eq!(
        std::fs::read(&epochs(person.path("nas/keys"))[0]).unwrap(),
        std::fs::read(&epochs(person.path("home/keys"))[0]).unwrap()
    );
    let from = |kit: &PathBuf| {
        let from = ["--from", "./nas", "--from-option", "accept_clear=yes", "--kek-file", kit.to_str().unwrap()];
        person.run(&[&["verify"][..], &from].concat())
    };
    from(&new).good();
    assert_ne!(from(&old).code, 0);
    person.run(&["verify"]).good();
    // The check counts it, and says where its key is gone.
    let check = person.run(&["key", "check"]).good();
    assert!(check.out.contains("destination nas"), "{check:?}");
    std::fs::remove_file(&epochs(person.path("nas/keys"))[0]).unwrap();
    std::fs::write(person.path("nas/keys").join(format!("{}.json", uuid())), "{").unwrap();
    let check = person.run(&["key", "check"]).ended(3);
    assert!(check.out.contains("open by this home alone"), "{check:?}");
    let data = person.run(&["key", "rotate", "--scope", "data"]).ended(3);
    assert!(data.err.contains("nas") && data.err.contains("seals no more"), "{data:?}");
}

/// The name of an epoch key that nobody has.
fn uuid() -> &'static str {
    "01a20039-545c-7041-bc5f-7ba85acec567"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_in_the_clear_without_its_content_is_named_by_a_restore() {
    let (_fleet, person) = home().await;
    person.run(&["destination", "add", "open", "--kind", "plain", "--path", "open", "--seal", "no"]).good();
    person.run(&["destination", "copy", "store", "open"]).good();
    let gone = crate::person::files_below(&person.path("open")).into_iter().map(|(path, _)| path);
    let gone = gone.filter(|p| !p.to_string_lossy().ends_with(".manifest.json"));
    let gone = gone.filter(|p| p.to_string_lossy().contains("core-sw1/startup-config")).collect::<Vec<_>>();
    assert_eq!(gone.len(), 1);
    std::fs::remove_file(&gone[0]).unwrap();
    for home in ["home", "none"] {
        let restored = person.run(&["--home", home, "restore", "core-sw1", "--from", "./open", "--to", home]);
        if home == "none" {
            assert!(restored.code == 3 && restored.err.contains("startup-config"), "{restored:?}");
        }
    }
    let all = person.run(&["restore", "core-sw1", "--from", "open", "--to", "all"]);
    assert!(all.code != 0 && all.err.contains("startup-config"), "{all:?}");
}

#[test]
fn a_folder_in_the_place_of_the_configuration_is_not_passed_over() {
    let person = Person::new();
    person.run(&["init"]).good();
    std::fs::create_dir(person.path("home/devicevault.toml")).unwrap();
    let refused = person.run(&["device", "list"]).ended(2);
    assert!(refused.err.contains("is no file") && refused.err.contains("devicevault.toml"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_home_has_no_key_without_a_kit_wherever_it_was_cut_off() {
    let (_fleet, person) = home().await;
    let old = take_kit(&person, "old.txt");
    copy(&person.path("home/store"), &person.path("store"));
    std::fs::rename(person.path("home"), person.path("gone")).unwrap();
    let rebuild = |more: &[&str]| {
        let with_kit = ["--kek-file", old.to_str().unwrap(), "catalog", "rebuild", "--from", "store"];
        person.run(&[&with_kit[..], more].concat())
    };
    rebuild(&[]).good();
    let kit = kits(&person).remove(0);
    let opens_all =
        || person.run(&["--home", "none", "verify", "--from", "store", "--kek-file", kit.to_str().unwrap()]);
    opens_all().good();

    // Cut off before the kit was whole: no key is in force.
    for part in ["keys.toml", "recovery"] {
        let path = if part == "recovery" { kit.clone() } else { person.path("home").join(part) };
        std::fs::remove_file(path).unwrap();
    }
    std::fs::remove_dir_all(person.path("home/keys")).unwrap();
    std::fs::create_dir(&kit).unwrap();
    let cut = rebuild(&["--into"]);
    assert!(cut.code != 0 && !person.path("home/keys.toml").exists(), "{cut:?}");
    std::fs::remove_dir(&kit).unwrap();
    let resumed = rebuild(&["--into"]).good();
    assert!(resumed.err.contains("the recovery kit is") && kit.is_file(), "{resumed:?}");
    opens_all().good();

    // Cut off after it, at any step: the same command goes on, and tells of the kit.
    for gone in [&["keys.toml", "keys"][..], &["keys"], &[]] {
        for part in gone {
            let path = person.path("home").join(part);
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
        }
        let resumed = rebuild(&["--into"]).good();
        assert!(resumed.err.contains("the recovery kit is") && kit.is_file(), "{gone:?}: {resumed:?}");
        opens_all().good();
        let check = person.run(&["key", "check"]).ended(3);
        assert!(check.out.contains("still lies on this machine"), "{check:?}");
    }
    std::fs::remove_file(&kit).unwrap();
    person.run(&["key", "check"]).good();
    assert!(!rebuild(&["--into"]).good().err.contains("recovery kit is"));
    person.run(&["verify"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_that_was_cut_off_is_told_by_each_round() {
    let (fleet, person) = home().await;
    let old = take_kit(&person, "old.txt");
    copy(&person.path("home/store"), &person.path("store"));
    std::fs::rename(person.path("home"), person.path("gone")).unwrap();
    let with_kit = ["--kek-file", old.to_str().unwrap()];
    person.run(&[&with_kit[..], &["catalog", "rebuild", "--from", "store"]].concat()).good();
    log_in(&fleet, &person);
    let new = take_kit(&person, "new.txt");
    let told = async || {
        let round = person.asks(&["backup", "--all"]).await.good();
        round.err.contains("no key at hand opens") && round.err.contains("key check --repair")
    };
    assert!(!told().await);
    // As one that ended before it took over what the kit opens.
    for key in epochs(person.path("gone/store/keys")) {
        let name = key.file_name().unwrap();
        std::fs::remove_file(person.path("home/keys").join(name)).unwrap();
        std::fs::copy(&key, person.path("store/keys").join(name)).unwrap();
    }
    assert!(told().await && told().await);
    person.run(&[&with_kit[..], &["key", "check", "--repair"]].concat());
    assert!(!told().await);
    person.run(&["--home", "none", "verify", "--from", "store", "--kek-file", new.to_str().unwrap()]).good();
}
