//! Opaque names: they stay so whatever becomes of their record, of the destination and of the home.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use devicevault_testkit::sim::{Fleet, Simulated};

use crate::keys::{home, take_kit};
use crate::person::Person;
use crate::recovery::log_in;

/// The folders in which backups lie.
fn folders_of_backups(store: &Path) -> BTreeSet<PathBuf> {
    let files = crate::person::files_below(store).into_iter().map(|(path, _)| path);
    let manifests = files.filter(|p| p.to_string_lossy().ends_with(".manifest.json"));
    manifests.map(|p| p.parent().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_record_of_opaque_names_is_made_again_as_it_was() {
    let (fleet, person) = home().await;
    let add = ["destination", "add", "nas", "--kind", "plain", "--path", "nas", "--option", "opaque_names=yes"];
    person.run(&add).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let folders = || folders_of_backups(&person.path("nas"));
    let before = folders();
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    std::fs::remove_file(person.path("nas/keys/names.json")).unwrap();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    assert!(person.path("nas/keys/names.json").exists());
    assert_eq!(folders(), before);
    person.run(&["verify"]).good();
}

/// A home with a destination of opaque names, and the folders in which its backups lie.
async fn home_with_opaque_names() -> (Fleet, Person, BTreeSet<PathBuf>) {
    let (fleet, person) = home().await;
    let add = ["destination", "add", "nas", "--kind", "plain", "--path", "nas", "--option", "opaque_names=yes"];
    person.run(&add).good();
    person.run(&["destination", "copy", "store", "nas"]).good();
    let folders = folders_of_backups(&person.path("nas"));
    (fleet, person, folders)
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_names_stay_so_where_the_destination_is_added_again() {
    let (fleet, person, folders) = home_with_opaque_names().await;
    person.run(&["destination", "remove", "nas"]).good();
    let add = ["destination", "add", "nas", "--kind", "plain", "--path", "nas"];
    let refused = person.run(&[&add[..], &["--option", "opaque_names=no"]].concat());
    assert!(refused.code != 0 && refused.err.contains("opaque_names=yes"), "{refused:?}");
    // A definition says it, or nothing is added.
    let place = person.path("nas").display().to_string();
    let said = format!(
        "[[destination]]\nname = \"nas\"\nkind = \"plain\"\nview = \"original\"\noptions = {{ path = \"{place}\" }}\n"
    );
    std::fs::write(person.path("nas.toml"), said).unwrap();
    let refused = person.run(&["apply", "--file", "nas.toml"]);
    assert!(refused.code != 0 && refused.err.contains("opaque_names=yes"), "{refused:?}");
    // Beside a damaged record nothing is added.
    let (record, whole) = (person.path("nas/keys/names.json"), person.path("names.json"));
    std::fs::rename(&record, &whole).unwrap();
    for damage in [0, 300 << 10] {
        std::fs::write(&record, vec![b' '; damage]).unwrap();
        let refused = person.run(&add);
        assert!(refused.code != 0 && refused.err.contains("keys/names.json"), "{refused:?}");
    }
    std::fs::rename(&whole, &record).unwrap();
    let added = person.run(&add).good();
    assert!(added.err.contains("opaque_names=yes"), "{added:?}");
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    assert_eq!(folders_of_backups(&person.path("nas")), folders);
    person.run(&["verify"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_names_stay_so_in_a_new_home_also_without_their_record() {
    for damage in [None, Some(""), Some("{}")] {
        let (fleet, person, folders) = home_with_opaque_names().await;
        let kit = take_kit(&person, "kit.txt");
        std::fs::rename(person.path("home"), person.path("gone")).unwrap();
        let record = person.path("nas/keys/names.json");
        match damage {
            None => std::fs::remove_file(&record).unwrap(),
            Some(text) => std::fs::write(&record, text).unwrap(),
        }
        let rebuild = ["--kek-file", kit.to_str().unwrap(), "catalog", "rebuild", "--from", "nas"];
        let rebuilt = person.run(&rebuild).good();
        assert_eq!(rebuilt.err.contains("names.json, is gone"), damage.is_none(), "{rebuilt:?}");
        take_kit(&person, "new.txt");
        log_in(&fleet, &person);
        fleet.devices().iter().for_each(Simulated::change_something);
        let mut stored = person.asks(&["backup", "--all", "--quiet"]).await;
        if damage.is_some() {
            assert!(stored.code != 0, "{stored:?}");
            assert_eq!(folders_of_backups(&person.path("nas")), folders);
            std::fs::remove_file(&record).unwrap();
            stored = person.run(&["run", "deliver"]);
        }
        stored.good();
        assert_eq!(folders_of_backups(&person.path("nas")), folders);
        person.run(&["verify"]).good();
    }
}
