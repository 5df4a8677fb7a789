//! Destinations: added, tested, changed, copied, removed, and never without something to restore from.

use devicevault_testkit::sim::{Fleet, SimDevice, Simulated};
use serde_json::Value;

use crate::person::{Person, files_below};
use crate::sight::devices;

async fn home() -> (Fleet, Person) {
    let (fleet, person) = devices((0..3).map(|i| SimDevice::cisco_ios(format!("sw{i}")))).await;
    person.moves_in(&fleet).await;
    (fleet, person)
}

async fn listed(person: &Person, name: &str) -> Value {
    let all = person.asks(&["destination", "list", "--json"]).await.good().json();
    all.as_array().unwrap().iter().find(|d| d["name"] == name).cloned().unwrap_or_default()
}

/// Versions with a good copy at a destination.
async fn versions_at(person: &Person, name: &str) -> usize {
    let all = person.asks(&["history", "--limit", "100000", "--json"]).await.good().json();
    let good = |c: &Value| c["destination"] == name && (c["status"] == "stored" || c["status"] == "extended");
    all.as_array().unwrap().iter().filter(|b| b["copies"].as_array().unwrap().iter().any(good)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_added_listed_tested_and_stored_at() {
    let (_fleet, person) = home().await;
    let added = person.asks(&["destination", "add", "offsite", "--kind", "plain", "--path", "offsite", "--json"]).await;
    let added = added.good().json();
    assert_eq!((&added["view"], &added["options"]["seal"]), (&"original".into(), &"yes".into()), "{added}");
    assert!(added["created_at"].is_string() && added["created_by"].is_string(), "{added}");
    assert_eq!(listed(&person, "offsite").await["sealed"], true);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let offsite = listed(&person, "offsite").await;
    assert_eq!(offsite["last_backup"]["status"], "stored", "{offsite}");
    assert_eq!(versions_at(&person, "offsite").await, 9);
    let shown = person.asks(&["destination", "show", "offsite"]).await.good().out;
    assert!(shown.contains("created by") && shown.contains("sw2"), "{shown}");
    let tested = person.asks(&["destination", "test", "--all", "--json"]).await.good().json();
    assert_eq!(tested.as_array().unwrap().len(), 3);
    assert!(tested.as_array().unwrap().iter().all(|t| t["usable"] == true), "{tested}");
    // Away: told as such, and the others are not.
    std::fs::rename(person.path("offsite"), person.path("away")).unwrap();
    let tested = person.asks(&["destination", "test", "--all"]).await.ended(3);
    assert!(tested.out.contains("offsite: not usable") && tested.out.contains("store: usable"), "{tested:?}");
    person.asks(&["destination", "test", "offsite"]).await.ended(1);
    // Moved: found where it is now, and only there.
    std::fs::create_dir(person.path("empty")).unwrap();
    person.asks(&["destination", "edit", "offsite", "--path", "empty"]).await.ended(1);
    person.asks(&["destination", "edit", "offsite", "--path", "away"]).await.good();
    person.asks(&["destination", "test", "offsite"]).await.good();
    person.asks(&["verify"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_before_anything_changes() {
    let (_fleet, person) = home().await;
    let refused = |answer: crate::person::Answer, text: &str| assert!(answer.err.contains(text), "{answer:?}");
    let add = |more: &[&str]| {
        let args: Vec<String> = ["destination", "add"].iter().chain(more).map(ToString::to_string).collect();
        let person = &person;
        async move { person.asks(&args.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    refused(add(&["x", "--kind", "tape"]).await.ended(2), "it has: git, plain");
    refused(add(&["x", "--kind", "plain"]).await.ended(2), "'path' is missing");
    refused(add(&["../x", "--kind", "plain", "--path", "x"]).await.ended(2), "no name for a destination");
    refused(add(&["store", "--kind", "plain", "--path", "x"]).await.ended(1), "of this name already");
    let slip = ["x", "--kind", "plain", "--path", "x", "--option", "seel=yes"];
    refused(add(&slip).await.ended(2), "has no such option");
    assert!(!person.path("x").exists());
    assert_eq!(person.asks(&["destination", "list", "--json"]).await.good().json().as_array().unwrap().len(), 2);
    refused(person.asks(&["destination", "show", "stoer"]).await.ended(1), "did you mean store?");

    for change in [
        &["destination", "disable", "store"][..],
        &["destination", "remove", "store"],
        &["destination", "edit", "store", "--view", "clean"],
    ] {
        refused(person.asks(change).await.ended(2), "--without-original");
    }
    person.asks(&["destination", "disable", "store", "--without-original"]).await.good();
    refused(person.asks(&["backup", "--all"]).await.ended(2), "no destination keeps the original");
    person.asks(&["destination", "enable", "store"]).await.good();
    person.asks(&["backup", "--all", "--quiet"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_destination_keeps_its_data_and_is_known_again() {
    let (fleet, person) = home().await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let before = files_below(&person.path("home/git")).len();
    let told = person.asks(&["destination", "remove", "git"]).await.good();
    assert!(told.err.contains("was not deleted, and stays in"), "{told:?}");
    assert_eq!(files_below(&person.path("home/git")).len(), before);
    let again = ["destination", "add", "git", "--kind", "git", "--path", "home/git"];
    assert!(person.asks(&again).await.good().err.contains("known"));
    let rows = person.asks(&["backup", "--all", "--json"]).await.good().json();
    assert!(rows.as_array().unwrap().iter().all(|r| r["status"] == "unchanged"), "{rows}");
    // The same name for another place: nothing passes for being there.
    person.asks(&["destination", "remove", "git"]).await.good();
    person.asks(&["destination", "add", "git", "--kind", "git", "--path", "other-git"]).await.good();
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let mut git = std::process::Command::new("git");
    let out = git.arg("-C").arg(person.path("other-git")).args(["ls-tree", "-r", "HEAD"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), 9);
    // Of a folder that is marked, too.
    let offsite = |path| ["destination", "add", "offsite", "--kind", "plain", "--path", path];
    person.asks(&offsite("offsite")).await.good();
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    person.asks(&["destination", "remove", "offsite"]).await.good();
    std::fs::rename(person.path("offsite"), person.path("archive")).unwrap();
    for path in ["offsite", "elsewhere"] {
        assert!(!person.asks(&offsite(path)).await.good().err.contains("known"));
        person.asks(&["backup", "--all", "--quiet"]).await.good();
        person.asks(&["verify", "--destination", "offsite"]).await.good();
        person.asks(&["destination", "remove", "offsite"]).await.good();
    }
    let other = person.asks(&["destination", "add", "b", "--kind", "plain", "--path", "archive"]).await.ended(1);
    assert!(other.err.contains("under the name that it had"), "{other:?}");
    drop(fleet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_every_version_along_once() {
    let (fleet, person) = home().await;
    person.asks(&["destination", "disable", "git"]).await.good();
    for _ in 0..3 {
        person.asks(&["backup", "--all", "--quiet"]).await.good();
        fleet.devices().iter().for_each(Simulated::change_something);
    }
    let all = versions_at(&person, "store").await;
    assert_eq!(all, 2 * 3 + 3 * 3);
    person.asks(&["destination", "add", "offsite", "--kind", "plain", "--path", "offsite"]).await.good();
    let foretold = person.asks(&["destination", "copy", "store", "offsite", "--dry-run", "--json"]).await.good().json();
    assert_eq!((&foretold["copied"], &foretold["there"]), (&all.into(), &0.into()));
    assert_eq!(versions_at(&person, "offsite").await, 0);
    // Killed at some moment, and gone on with.
    let mut child = person.program(&["destination", "copy", "store", "offsite"]).spawn().unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let done = person.asks(&["destination", "copy", "store", "offsite", "--json"]).await.good().json();
    assert_eq!(done["copied"].as_u64().unwrap() + done["there"].as_u64().unwrap(), all as u64, "{done}");
    let done = person.asks(&["destination", "copy", "store", "offsite", "--json"]).await.good().json();
    assert_eq!((&done["copied"], &done["there"]), (&0.into(), &all.into()), "{done}");
    let files = files_below(&person.path("offsite")).into_iter().map(|(f, _)| f);
    assert_eq!(files.filter(|f| f.to_string_lossy().ends_with(".manifest.json")).count(), all);

    // Into Git: redacted, each artefact in the order of its taking.
    let done = person.asks(&["destination", "copy", "offsite", "git", "--json"]).await.good().json();
    assert_eq!(done["copied"], all, "{done}");
    let git = |args: &[&str]| {
        let out = std::process::Command::new("git").arg("-C").arg(person.path("home/git")).args(args).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let path = git(&["ls-tree", "-r", "--name-only", "HEAD"]);
    let path = path.lines().find(|p| p.contains("sw0") && p.contains("running-config")).unwrap().to_owned();
    let text = git(&["show", &format!("HEAD:{path}")]);
    assert!(text.contains("description change 2") && text.contains("<secret:"), "{text}");
    // Nothing more complete comes out of it.
    let refused = person.asks(&["destination", "copy", "git", "store"]).await.ended(2);
    assert!(refused.err.contains("view cannot be made"), "{refused:?}");
    person.asks(&["verify"]).await.good();

    // A copy that the store cannot give is told, and the others go on.
    let damaged = files_below(&person.path("home/store")).into_iter().map(|(f, _)| f);
    let is_content = |f: &str| f.contains("/running-config/") && f.ends_with(".dvo");
    let damaged = damaged.filter(|f| is_content(&f.to_string_lossy())).min().unwrap();
    std::fs::write(&damaged, b"not what it was").unwrap();
    person.asks(&["destination", "add", "third", "--kind", "plain", "--path", "third"]).await.good();
    let done = person.asks(&["destination", "copy", "store", "third", "--json"]).await.ended(3).json();
    assert_eq!((&done["copied"], done["failed"].as_array().unwrap().len()), (&(all - 1).into(), 1), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_has_a_folder_of_its_own() {
    let (_fleet, person) = home().await;
    for (path, why) in [
        ("home/store/sub", "shares its folder"),
        ("home/git/objects", "shares its folder"),
        ("home", "the home lies in its folder"),
        (".", "the home lies in its folder"),
        ("home/spool/x", "keeps its own files"),
        ("home/store/../keys", "keeps its own files"),
    ] {
        let path = person.path(path).display().to_string();
        let refused = person.asks(&["destination", "add", "second", "--kind", "plain", "--path", &path]).await;
        assert!(refused.ended(1).err.contains(why), "{path}");
    }
    let (outer, inner) = (person.path("outer").display().to_string(), person.path("outer/inner").display().to_string());
    person.asks(&["destination", "add", "inner", "--kind", "plain", "--path", &inner]).await.good();
    person.asks(&["destination", "add", "outer", "--kind", "plain", "--path", &outer]).await.ended(1);
    assert!(!person.path("outer/.devicevault-destination").exists());
}

/// A destination of which nobody said whether it is sealed, as files of definitions made them in earlier releases.
#[tokio::test(flavor = "multi_thread")]
async fn one_without_a_word_on_sealing_is_sealed_and_what_it_held_in_the_clear_stays_readable() {
    let (fleet, person) = home().await;
    let add =
        ["destination", "add", "old", "--kind", "plain", "--path", "old", "--seal", "no", "--compression", "gzip"];
    person.asks(&add).await.good();
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    {
        use devicevault_core::Inventory as _;
        use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
        let catalog = SqliteCatalog::open(person.path("home/catalog.db"), SqliteOptions::default()).await.unwrap();
        let mut all = catalog.destinations().await.unwrap();
        let old = all.iter_mut().find(|d| d.name == "old").unwrap();
        old.options.remove("seal").unwrap();
        catalog.put_destination(old).await.unwrap();
        catalog.close().await;
    }
    let containers = |person: &Person| {
        files_below(&person.path("old")).iter().filter(|(_, bytes)| bytes.starts_with(b"DVO1")).count()
    };
    assert_eq!((containers(&person), listed(&person, "old").await["sealed"].clone()), (0, true.into()));
    fleet.devices()[0].change_line("description ", "description another uplink");
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    assert!(containers(&person) > 0, "what is new is sealed");
    assert_eq!(versions_at(&person, "old").await, 10);
    person.asks(&["verify", "--destination", "old"]).await.good();
    // A file that says as little changes nothing of it.
    let path = person.path("old").display().to_string();
    let text = format!(
        "[[destination]]\nname=\"old\"\nkind=\"plain\"\nview=\"original\"\noptions={{path=\"{path}\", compression=\"gzip\"}}\n"
    );
    person.write("x.toml", &text);
    let answer = person.asks(&["apply", "-f", "x.toml"]).await.good();
    assert!(
        answer.out.contains("all is as the files say") || answer.err.contains("all is as the files say"),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_sealing_is_told_and_finds_the_way_back() {
    let (_fleet, person) = home().await;
    person.asks(&["backup", "sw0", "--quiet"]).await.good();
    let answer = person.asks(&["destination", "edit", "store", "--seal", "no"]).await.good();
    assert!(answer.err.contains("in the clear") && answer.err.contains("accept_clear=yes"), "{answer:?}");
    person.asks(&["backup", "sw1", "--quiet"]).await.good();
    let answer = person.asks(&["destination", "edit", "store", "--seal", "yes"]).await.ended(1);
    assert!(answer.err.contains("--option accept_clear=yes"), "{answer:?}");
    person.asks(&["destination", "edit", "store", "--seal", "yes", "--option", "accept_clear=yes"]).await.good();
    // Taking the word away is no way to the clear.
    person.asks(&["destination", "edit", "store", "--remove-option", "seal"]).await.good();
    assert_eq!(listed(&person, "store").await["options"]["seal"], "yes");
    person.asks(&["verify"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_destination_holds_is_nothing_that_is_wrong() {
    let (_fleet, person) = home().await;
    person.asks(&["destination", "add", "off0", "--kind", "plain", "--path", "off0"]).await.good();
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    person.asks(&["destination", "remove", "off0"]).await.good();
    for more in [&[][..], &["--repair"], &["--depth", "size"]] {
        let answer = person.asks(&[&["verify"][..], more].concat()).await.good();
        assert!(answer.err.contains("9 copies at destinations that were removed"), "{answer:?}");
    }
    let found = person.asks(&["verify", "--json"]).await.good().json();
    assert_eq!(found["elsewhere"], 9, "{found}");
    person.asks(&["verify", "--sample", "100%"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_does_not_go_where_it_opens_what_lies_there() {
    let (_fleet, person) = home().await;
    for at in ["home/store/kit.txt", "home/git/kit.txt", "home/store", "home/store/../store/x/kit.txt"] {
        let answer = person.asks(&["key", "export", "--to", at]).await.ended(1);
        assert!(answer.err.contains("within a destination"), "{at}: {answer:?}");
    }
    let answer = person.asks(&["key", "add", "--generate", "home/store/y.key"]).await.ended(1);
    assert!(answer.err.contains("within a destination"), "{answer:?}");
    assert!(!person.path("home/store/kit.txt").exists() && !person.path("home/store/y.key").exists());
    person.asks(&["key", "export", "--to", "kit.txt"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_that_was_lost_is_laid_again_and_what_waited_arrives() {
    let (fleet, person) = home().await;
    for (name, more) in [("sealed", &[][..]), ("clear", &["--seal", "no"])] {
        let add = ["destination", "add", name, "--kind", "plain", "--path", name];
        person.asks(&[&add[..], more].concat()).await.good();
    }
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let marker = |name: &str| person.path(name).join(".devicevault-destination");
    let before = std::fs::read(marker("clear")).unwrap();
    ["sealed", "clear"].iter().for_each(|name| std::fs::remove_file(marker(name)).unwrap());
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await;
    assert!(listed(&person, "clear").await["waiting"].as_u64() > Some(0));
    let told = person.asks(&["destination", "test", "sealed", "clear"]).await.ended(1);
    assert_eq!(told.out.matches("`devicevault destination test NAME --repair`").count(), 2, "{told:?}");
    // An empty folder under a share that is not mounted is left as it is.
    std::fs::rename(person.path("clear"), person.path("away")).unwrap();
    std::fs::create_dir(person.path("clear")).unwrap();
    let refused = person.asks(&["destination", "test", "sealed", "clear", "--repair"]).await.ended(3);
    assert!(refused.out.contains("nothing that this home stored"), "{refused:?}");
    assert!(refused.out.contains("marker: it was gone, and was laid again"), "{refused:?}");
    assert!(files_below(&person.path("clear")).is_empty());
    std::fs::remove_dir(person.path("clear")).unwrap();
    std::fs::rename(person.path("away"), person.path("clear")).unwrap();
    person.asks(&["destination", "test", "clear", "--repair"]).await.good();
    assert_eq!(std::fs::read(marker("clear")).unwrap(), before);
    let again = person.asks(&["destination", "test", "--all", "--repair"]).await.good();
    assert!(!again.out.contains("marker"), "nothing is laid where one lies: {again:?}");
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    for name in ["sealed", "clear"] {
        assert_eq!(listed(&person, name).await["waiting"], 0);
        person.asks(&["verify", "--destination", name]).await.good();
        assert_eq!(versions_at(&person, name).await, versions_at(&person, "store").await, "{name}");
    }
}
