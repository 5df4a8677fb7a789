//! A catalog that is lost comes back out of what destinations hold; where the two do not agree is told.

use std::path::Path;

use devicevault_testkit::sim::{Fleet, SimDevice};
use serde_json::{Value, json};

use crate::person::{PASSWORD, Person, files_below};
use crate::sight::{devices, switch};

/// Versions as a rebuilt catalog can know them, of all destinations or of one.
fn versions(all: &Value, of: Option<&str>) -> Vec<Value> {
    let mut kept = Vec::new();
    for mut version in all.as_array().unwrap().clone() {
        let copies = version["copies"].as_array_mut().unwrap();
        copies.retain(|c| of.is_none_or(|d| c["destination"] == d));
        for copy in copies.iter_mut() {
            let fields = copy.as_object_mut().unwrap();
            // When it was stored, tried and verified is told by no manifest.
            ["stored_at", "attempts", "verified_at", "error"].iter().for_each(|f| drop(fields.remove(*f)));
            if fields["status"] == "extended" {
                fields.insert("status".to_owned(), json!("stored"));
            }
        }
        let redacted_only = copies.iter().all(|c| c["view"] != "original");
        if copies.is_empty() {
            continue;
        }
        if redacted_only {
            // The size of the original is told by no redacted text.
            version.as_object_mut().unwrap().remove("size");
        }
        kept.push(version);
    }
    kept
}

fn lose_the_catalog(person: &Person) {
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(person.path("home").join(file));
    }
    std::fs::remove_dir_all(person.path("home/catalog.db.d")).unwrap();
}

async fn history(person: &Person) -> Value {
    person.asks(&["history", "--json", "--limit", "1000"]).await.good().json()
}

/// A, B and A again, one that is suspect, one that was accepted, one that is pinned, all seen again; at a sealed store, a
/// clear one, a Git repository of redacted texts, and one for each group.
async fn with_a_history() -> (Fleet, Person) {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1").size(32 << 10)]).await;
    person.moves_in(&fleet).await;
    let clear = ["destination", "add", "clear", "--kind", "plain", "--path", "home/clear", "--seal", "no"];
    person.asks(&clear).await.good();
    let groups = ["destination", "add", "groups", "--kind", "git", "--path", "home/groups"];
    person.asks(&[&groups[..], &["--option", "repository={group}"]].concat()).await.good();
    let backs_up = async || drop(person.asks(&["backup", "core-sw1", "--quiet"]).await);
    let device = &fleet.devices()[0];
    let shrink = |lines: usize| {
        device.change(move |config| {
            let all: Vec<&[u8]> = config.split_inclusive(|b| *b == b'\n').collect();
            *config = [all[..lines].concat(), all[all.len() - 2..].concat()].concat();
        });
    };
    let first = device.config().to_vec();
    for n in [0, 1] {
        device.change_line("description ", &format!("description uplink {n}"));
        backs_up().await;
    }
    device.change(move |config| *config = first);
    backs_up().await;
    person.asks(&["retention", "pin", "core-sw1", "--backup", "latest~1"]).await.good();
    shrink(60);
    backs_up().await;
    person.asks(&["accept", "core-sw1"]).await.good();
    shrink(5);
    backs_up().await;
    backs_up().await;
    (fleet, person)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_catalog_comes_back_from_each_destination_with_its_validity() {
    let (fleet, person) = with_a_history().await;
    let before = history(&person).await;
    let all = before.as_array().unwrap();
    assert!(all.iter().any(|v| v["pinned"] == true), "{before}");
    assert!(all.iter().any(|v| !v["suspect"].as_array().unwrap().is_empty()), "{before}");
    assert!(all.iter().any(|v| v["first_seen"] != v["last_seen"]), "{before}");

    let sources: [&[&str]; 5] = [&["store"], &["clear"], &["git"], &["groups"], &["git", "clear", "store", "groups"]];
    for from in sources {
        lose_the_catalog(&person);
        let folders: Vec<String> = from.iter().map(|d| format!("home/{d}")).collect();
        let mut args = vec!["catalog", "rebuild", "--json"];
        folders.iter().for_each(|f| args.extend(["--from", f]));
        let told = person.asks(&args).await.good().json();
        assert_eq!((&told["devices"], &told["without_login"]), (&1.into(), &json!(["core-sw1"])), "{told}");
        assert!(told["refused"].as_array().unwrap().is_empty() && told["from"] == json!(from), "{told}");
        let after = history(&person).await;
        let of = if from.len() == 1 { Some(from[0]) } else { None };
        let (want, got) = (versions(&before, of), versions(&after, of));
        assert!(want.len() >= 5 && want.len() == got.len(), "{from:?}: {} {}", want.len(), got.len());
        for (want, got) in want.iter().zip(&got) {
            assert_eq!(want, got, "{from:?}");
        }
        let destinations = person.asks(&["destination", "list", "--json"]).await.good().json();
        assert_eq!(destinations.as_array().unwrap().len(), from.len(), "{destinations}");
        person.asks(&["verify", "--quiet"]).await.good();
        person.asks(&["catalog", "check", "--quiet"]).await.good();
    }

    // What came back is gone on with.
    let device = &fleet.devices()[0];
    let port = device.addr().port().to_string();
    let login = ["--user", device.username(), "--password-env", PASSWORD, "--port", &port];
    person.asks(&[&["device", "edit", "core-sw1"], &login[..]].concat()).await.good();
    let versions = history(&person).await.as_array().unwrap().len();
    person.asks(&["backup", "core-sw1", "--quiet"]).await;
    let after = history(&person).await;
    let configs = |all: &Value| all.as_array().unwrap().iter().filter(|v| v["artefact"] == "running-config").count();
    assert_eq!(configs(&after), configs(&before), "{versions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_with_backups_is_replaced_or_added_to_only_when_told() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    let before = history(&person).await;
    let refused = person.asks(&["catalog", "rebuild", "--from", "store"]).await.ended(1);
    assert!(refused.err.contains("it has backups") && refused.err.contains("--into"), "{}", refused.err);
    assert_eq!(history(&person).await, before);
    let would = person.asks(&["catalog", "rebuild", "--from", "store", "--dry-run", "--json"]).await.good().json();
    assert!(would["backups"].as_u64().unwrap() > 0);

    let told = person.asks(&["catalog", "rebuild", "--from", "store", "--into", "--json"]).await.good().json();
    assert_eq!((&told["backups"], &told["copies"]), (&0.into(), &0.into()), "{told}");
    assert_eq!(history(&person).await, before);

    let told = person.asks(&["catalog", "rebuild", "--from", "store", "--from", "git", "--replace", "--json"]).await;
    let told = told.good().json();
    assert!(Path::new(told["kept_as"].as_str().unwrap()).is_file(), "{told}");
    assert!(told["without_login"].as_array().unwrap().is_empty(), "devices were taken over: {told}");
    assert_eq!(versions(&history(&person).await, None), versions(&before, None));
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();

    // Not a database at all.
    std::fs::write(person.path("home/catalog.db"), "nonsense").unwrap();
    let _ = std::fs::remove_file(person.path("home/catalog.db-wal"));
    person.asks(&["history"]).await.ended(1);
    let told = person.asks(&["catalog", "rebuild", "--from", "home/store", "--replace"]).await.good();
    assert!(told.err.contains("cannot be read"), "{}", told.err);
    assert!(!history(&person).await.as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_record_names_and_what_no_destination_holds_is_told() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    let before = history(&person).await;
    person.asks(&["catalog", "check"]).await.good();
    // A catalog of before the next change: what came then is not in it.
    for file in ["catalog.db", "catalog.db-wal"] {
        let _ = std::fs::copy(person.path("home").join(file), person.path(file));
    }
    fleet.devices()[0].change_line("description ", "description elsewhere");
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    let newer = history(&person).await;
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(person.path("home").join(file));
        let _ = std::fs::copy(person.path(file), person.path("home").join(file));
    }
    assert_eq!(history(&person).await, before);
    // And one that is gone from the store.
    let old = before.as_array().unwrap().iter().find(|v| v["artefact"] == "running-config").unwrap().clone();
    let copies = old["copies"].as_array().unwrap();
    let at = copies.iter().find(|c| c["destination"] == "store").unwrap()["storage_ref"].as_str().unwrap();
    let file = person.path("home/store").join(at);
    let gone = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();

    let found = person.asks(&["catalog", "check", "--json"]).await.ended(3).json();
    let of = |name: &str| found.as_array().unwrap().iter().find(|r| r["destination"] == name).unwrap().clone();
    assert_eq!(of("store")["missing"][0]["backup"], old["id"], "{found}");
    assert!(!of("store")["strays"].as_array().unwrap().is_empty() && of("git")["missing"] == json!([]), "{found}");
    let adopted = person.asks(&["catalog", "check", "--adopt", "--json"]).await.ended(3).json();
    assert!(adopted.as_array().unwrap().iter().all(|r| r["adopted"].as_u64() > Some(0)), "{adopted}");
    std::fs::write(&file, gone).unwrap();
    person.asks(&["catalog", "check"]).await.good();
    person.asks(&["verify", "--quiet"]).await.good();
    assert_eq!(versions(&history(&person).await, None).len(), versions(&newer, None).len());
    person.asks(&["catalog", "check", "nonesuch"]).await.ended(1);
}

/// Its address may be another device's by now.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_removed_comes_back_disabled() {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1"), SimDevice::cisco_ios("gone")]).await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let enabled = async || {
        let all = person.asks(&["device", "list", "--json"]).await.good().json();
        let enabled = all.as_array().unwrap().iter().filter(|d| d["enabled"] == true);
        enabled.map(|d| d["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for how in ["--into", "--replace"] {
        person.asks(&["device", "remove", "gone"]).await.good();
        let told = person.asks(&["catalog", "rebuild", how, "--from", "store", "--json"]).await.good().json();
        assert_eq!((&told["devices"], &told["removed"]), (&1.into(), &json!(["gone"])), "{how}: {told}");
        assert_eq!(enabled().await, ["core-sw1"], "{how}");
    }
    // Of a catalog that is gone nobody knows who was removed from it.
    person.asks(&["device", "remove", "gone"]).await.good();
    lose_the_catalog(&person);
    let told = person.asks(&["catalog", "rebuild", "--from", "home/store", "--json"]).await.good().json();
    assert_eq!((&told["devices"], &told["removed"]), (&2.into(), &json!([])), "{told}");
}

/// The disk of a store was full, or a copy of it broke off: what a listing names is not all there.
#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_cut_off_come_back_as_damaged() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    let add = ["destination", "add", "off", "--kind", "plain", "--path", "off", "--seal", "no"];
    person.asks(&add).await.good();
    for file in ["catalog.db", "catalog.db-wal"] {
        let _ = std::fs::copy(person.path("home").join(file), person.path(file));
    }
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    let contents = files_below(&person.path("off/core-sw1")).into_iter().map(|(path, _)| path);
    let contents: Vec<_> = contents.filter(|p| !p.to_string_lossy().ends_with(".manifest.json")).collect();
    for (content, length) in contents.iter().zip([0, 20]) {
        std::fs::OpenOptions::new().write(true).open(content).unwrap().set_len(length).unwrap();
    }
    let cut = contents.len().min(2);
    let are_damaged = async || {
        let known = history(&person).await;
        let copies = known.as_array().unwrap().iter().flat_map(|v| v["copies"].as_array().unwrap());
        copies.filter(|c| c["destination"] == "off" && c["status"] == "damaged").count()
    };

    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(person.path("home").join(file));
        let _ = std::fs::copy(person.path(file), person.path("home").join(file));
    }
    let told = person.asks(&["catalog", "check", "off", "--json"]).await.ended(3).json();
    let strays = told[0]["strays"].as_array().unwrap();
    assert_eq!(strays.iter().filter(|s| s["damaged"].is_string()).count(), cut, "{told}");
    let adopted = person.asks(&["catalog", "check", "--adopt"]).await.ended(3);
    assert!(adopted.out.contains("damaged") && adopted.err.contains("verify --repair"), "{adopted:?}");
    assert_eq!(are_damaged().await, cut);

    lose_the_catalog(&person);
    let from = ["catalog", "rebuild", "--from", "off", "--from", "home/store", "--json"];
    let told = person.asks(&from).await.ended(3).json();
    assert_eq!(told["damaged"].as_array().unwrap().len(), cut, "{told}");
    assert_eq!(are_damaged().await, cut);
    person.asks(&["verify", "--repair", "--quiet"]).await.good();
    person.asks(&["verify", "--quiet"]).await.good();
    assert_eq!(are_damaged().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_nobody_wrote_are_refused_and_named() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    let clear = ["destination", "add", "clear", "--kind", "plain", "--path", "home/clear", "--seal", "no"];
    person.asks(&clear).await.good();
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    let before = history(&person).await;
    let manifest = |folder: &str| {
        let all = files_below(&person.path(folder)).into_iter().map(|(f, _)| f);
        all.filter(|f| f.to_string_lossy().contains("/running-config/"))
            .find(|f| f.to_string_lossy().ends_with(".json"))
    };
    let good = manifest("home/clear").unwrap();
    let (folder, text) = (good.parent().unwrap(), std::fs::read_to_string(&good).unwrap());
    let put = |name: &str, text: &[u8]| {
        std::fs::write(folder.join(format!("2026-01-01T00-00-00Z-{name}.cfg.manifest.json")), text).unwrap();
        std::fs::write(folder.join(format!("2026-01-01T00-00-00Z-{name}.cfg.zst")), "content").unwrap();
    };
    put("00000000", b"");
    put("11111111", &vec![b'{'; 3 << 20]);
    put("22222222", text.replace("\"core-sw1\"", "\"core-sw2\"").as_bytes());
    // A manifest and its content, whole, in the place of another device's.
    let other = person.path("home/clear/core-sw2/running-config");
    std::fs::create_dir_all(&other).unwrap();
    for file in [&good, &person.path("home/clear").join(content_of(&before))] {
        std::fs::copy(file, other.join(file.file_name().unwrap())).unwrap();
    }
    // A device or a site may have the name of the folder of keys.
    std::fs::create_dir_all(person.path("home/clear/keys/running-config")).unwrap();
    // What is not sealed has no place in a sealed store.
    let sealed = person.path("home/store/core-sw3/running-config");
    std::fs::create_dir_all(&sealed).unwrap();
    for file in [&good, &person.path("home/clear").join(content_of(&before))] {
        std::fs::copy(file, sealed.join(file.file_name().unwrap())).unwrap();
    }
    lose_the_catalog(&person);
    let told = person.asks(&["catalog", "rebuild", "--from", "home/clear", "--from", "home/store", "--json"]).await;
    let told = told.ended(3).json();
    let refused = told["refused"].as_array().unwrap();
    for name in ["00000000", "11111111", "22222222", "core-sw3"] {
        let named = |r: &&Value| r["at"].as_str().is_some_and(|at| at.contains(name));
        assert!(refused.iter().any(|r| named(&r)), "{name}: {told}");
    }
    assert_eq!((refused.len(), &told["surplus"]), (4, &1.into()), "{told}");
    let after = history(&person).await;
    let without_git = |all: &Value| {
        let mut all = versions(all, None);
        for v in &mut all {
            v["copies"].as_array_mut().unwrap().retain(|c| c["destination"] != "git");
        }
        all
    };
    assert_eq!(without_git(&after), without_git(&before));
    let devices = person.asks(&["device", "list", "--json"]).await.good().json();
    assert_eq!(devices.as_array().unwrap().len(), 1, "{devices}");
}

/// Where the clear copy of the running configuration is.
fn content_of(history: &Value) -> String {
    let config = history.as_array().unwrap().iter().find(|v| v["artefact"] == "running-config").unwrap();
    let copies = config["copies"].as_array().unwrap();
    copies.iter().find(|c| c["destination"] == "clear").unwrap()["storage_ref"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_fails_or_is_only_tried_leaves_no_catalog_behind() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    lose_the_catalog(&person);
    let none = || !person.path("home/catalog.db").exists() && !person.path("home/catalog.db.d").exists();
    for dry_run in [&["--dry-run"][..], &[]] {
        let nowhere = [&["catalog", "rebuild", "--from", "nowhere"][..], dry_run].concat();
        person.asks(&nowhere).await.ended(1);
        assert!(none());
    }
    let would = person.asks(&["catalog", "rebuild", "--from", "store", "--dry-run", "--json"]).await.good().json();
    assert!(would["backups"].as_u64().unwrap() > 0 && none(), "{would}");
    let refused = person.asks(&["history", "core-sw1"]).await.ended(2);
    assert!(refused.err.contains("no DeviceVault home"), "{refused:?}");
    person.asks(&["catalog", "rebuild", "--from", "store"]).await.good();
    person.asks(&["show", "core-sw1", "--view", "original"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_stays_in_force_until_the_one_that_replaces_it_is_whole() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    let before = history(&person).await;
    let names = || {
        let all = std::fs::read_dir(person.path("home")).unwrap().map(|e| e.unwrap().file_name());
        all.map(|n| n.to_string_lossy().into_owned()).filter(|n| n.contains(".new") || n.contains("replaced")).count()
    };
    let replace = ["catalog", "rebuild", "--replace", "--from"];
    // A slip, a key that is not there, a store that is away.
    let slip = person.asks(&[&replace[..], &["nostore"]].concat()).await.ended(1);
    assert!(slip.err.contains("no such folder"), "{slip:?}");
    assert_eq!((history(&person).await, names()), (before.clone(), 0));
    std::fs::rename(person.path("home/store"), person.path("away")).unwrap();
    person.asks(&[&replace[..], &["store"]].concat()).await.ended(1);
    std::fs::rename(person.path("away"), person.path("home/store")).unwrap();
    assert_eq!((history(&person).await, names()), (before.clone(), 0));
    std::fs::rename(person.path("home/kek.key"), person.path("kek.key")).unwrap();
    assert_ne!(person.asks(&[&replace[..], &["store"]].concat()).await.code, 0);
    std::fs::rename(person.path("kek.key"), person.path("home/kek.key")).unwrap();
    let after = history(&person).await;
    assert_eq!((versions(&after, None), names()), (versions(&before, None), 0));
    let runs = person.asks(&["run", "list", "--json"]).await.good().json();
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
    // And with all at hand it is replaced.
    person.asks(&[&replace[..], &["store", "--from", "git"]].concat()).await.good();
    assert_eq!((versions(&history(&person).await, None), names()), (versions(&before, None), 1));
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_a_catalog_is_replaced_is_not_lost() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    // Held, it lets the rebuild go on until all of the catalog of now was taken over.
    let keys = std::fs::OpenOptions::new().create(true).append(true).open(person.path("home/keys.lock")).unwrap();
    keys.lock().unwrap();
    let replace = ["catalog", "rebuild", "--replace", "--from", "store", "--from", "git"];
    let mut rebuilding = person.program(&replace);
    let rebuilding = std::thread::spawn(move || rebuilding.output().unwrap());
    let begun = || {
        let beside = std::fs::read_dir(person.path("home")).unwrap().map(|e| e.unwrap().path());
        let mut beside = beside.filter(|p| p.to_string_lossy().contains("catalog.db.new-"));
        beside.any(|folder| folder.join("catalog.db").exists())
    };
    while !begun() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let add = ["device", "add", "z1", "--host", "192.0.2.1", "--platform", "cisco_ios"];
    person.asks(&add).await.good();
    drop(keys);
    let refused = rebuilding.join().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("nothing was changed"), "{told}");
    let has = async || person.asks(&["device", "list", "--json"]).await.good().out.contains("z1");
    assert!(has().await);
    person.asks(&replace).await.good();
    assert!(has().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_place_takes_no_catalog_away() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let before = history(&person).await;
    // The marker and the keys are there, and nothing else.
    std::fs::rename(person.path("home/store/core-sw1"), person.path("gone")).unwrap();
    let replace = ["catalog", "rebuild", "--replace", "--from", "store"];
    let refused = person.asks(&replace).await.ended(1);
    assert!(refused.err.contains("nothing comes back"), "{refused:?}");
    assert_eq!(history(&person).await, before);
    let names = std::fs::read_dir(person.path("home")).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(names.filter(|n| n.to_string_lossy().contains("replaced")).count(), 0);
    std::fs::rename(person.path("gone"), person.path("home/store/core-sw1")).unwrap();
    person.asks(&replace).await.good();
    assert_eq!(history(&person).await.as_array().unwrap().len(), before.as_array().unwrap().len());
    // Less than was known there is told.
    let folder = std::fs::read_dir(person.path("home/store/core-sw1/running-config")).unwrap();
    let manifest = folder.map(|e| e.unwrap().path()).find(|p| p.to_string_lossy().contains(".manifest.")).unwrap();
    std::fs::remove_file(manifest).unwrap();
    // A check before makes it a damaged copy of the catalog: it is no less gone.
    person.asks(&["verify"]).await.ended(3);
    let told = person.asks(&replace).await.ended(3);
    assert!(told.err.contains("1 copy that the catalog of before knew"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_only_copy_is_damaged_says_so_to_who_reads_it() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["destination", "disable", "git"]).await.good();
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let before = person.asks(&["show", "core-sw1", "--view", "original"]).await.good().out;
    fleet.devices()[0].change_something();
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let folder = std::fs::read_dir(person.path("home/store/core-sw1/running-config")).unwrap();
    let contents = folder.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "dvo"));
    let newest = contents.max_by_key(|p| p.metadata().unwrap().modified().unwrap()).unwrap();
    std::fs::File::options().write(true).open(newest).unwrap().set_len(100).unwrap();
    person.asks(&["catalog", "rebuild", "--replace", "--from", "store"]).await.ended(3);
    for command in [
        &["show", "core-sw1"][..],
        &["show", "core-sw1", "--view", "original"],
        &["download", "core-sw1:running-config", "--to", "got.cfg"],
        &["diff", "core-sw1"],
    ] {
        let told = person.asks(command).await.ended(1);
        let says = ["is damaged", "100 bytes are stored", "latest~1"];
        assert!(says.iter().all(|s| told.err.contains(s)), "{command:?}: {told:?}");
    }
    let shown = ["show", "core-sw1", "--backup", "latest~1", "--view", "original"];
    assert_eq!(person.asks(&shown).await.good().out, before);
}
