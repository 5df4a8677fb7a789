//! Damage is found, named, and mended by the next backup.

use crate::person::{Person, files_below};
use crate::sight::switch;

/// The stored files of an artefact, oldest first.
fn stored(person: &Person, folder: &str, artefact: &str) -> Vec<std::path::PathBuf> {
    let all = files_below(&person.path(folder)).into_iter().map(|(f, _)| f);
    let mut found: Vec<_> = all
        .filter(|f| f.to_string_lossy().contains(&format!("/{artefact}/")) && !f.to_string_lossy().ends_with(".json"))
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_named_and_mended() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1"]).await.good();
    for depth in ["size", "stored", "content"] {
        person.asks(&["verify", "--depth", depth]).await.good();
    }
    let file = stored(&person, "home/store", "running-config").remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    person.asks(&["verify", "--depth", "size"]).await.good();
    let answer = person.asks(&["verify", "--json"]).await.ended(3).json();
    assert_eq!(answer["bad"].as_array().unwrap().len(), 1, "{answer}");
    let bad = &answer["bad"][0];
    assert_eq!(
        (&bad["device"], &bad["artefact"], &bad["verdict"]),
        (&"core-sw1".into(), &"running-config".into(), &"damaged".into())
    );
    assert!(file.to_string_lossy().ends_with(bad["storage_ref"].as_str().unwrap()), "{bad}");
    let told = person.asks(&["verify", "--device", "core-sw1"]).await.ended(3);
    assert!(told.out.contains(bad["storage_ref"].as_str().unwrap()), "{told:?}");
    let shown = person.asks(&["history", "core-sw1", "--artefact", "running-config"]).await.good();
    assert!(shown.out.contains("store (damaged)"), "{}", shown.out);

    // What is damaged is no longer relied upon: the next backup stores it anew.
    person.asks(&["backup", "core-sw1"]).await.good();
    person.asks(&["verify"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_verified_with_its_index_and_without() {
    let (fleet, person) = switch().await;
    person.backs_up(&fleet.devices()[0], &[]).await.good();
    person.asks(&["verify", "--from", "backups"]).await.good();
    let file = stored(&person, "backups", "inventory").remove(0);
    std::fs::remove_file(&file).unwrap();
    let answer = person.asks(&["verify", "--from", "backups", "--json"]).await.ended(3).json();
    assert_eq!(answer["bad"][0]["verdict"], "missing", "{answer}");
    std::fs::write(&file, "something else").unwrap();
    std::fs::remove_dir_all(person.path("backups/.devicevault")).unwrap();
    let answer = person.asks(&["verify", "--from", "backups", "--json"]).await.ended(3).json();
    assert_eq!(answer["bad"][0]["verdict"], "damaged", "{answer}");
    person.asks(&["verify", "--from", "nonesuch"]).await.ended(1);
    std::fs::create_dir(person.path("empty")).unwrap();
    person.asks(&["verify", "--from", "empty"]).await.ended(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_file_is_gone_is_not_unchanged() {
    let (fleet, person) = switch().await;
    let device = &fleet.devices()[0];
    person.backs_up(device, &[]).await.good();
    for hurt in [|f: &std::path::Path| std::fs::remove_file(f), |f: &std::path::Path| std::fs::write(f, "cut")] {
        hurt(&stored(&person, "backups", "running-config")[0]).unwrap();
        let rows = person.backs_up(device, &["--json"]).await.good().json();
        let config = rows.as_array().unwrap().iter().find(|r| r["artefact"] == "running-config").unwrap().clone();
        let path = person.path("backups").join(config["path"].as_str().unwrap());
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(config["size"], bytes.len(), "{rows}");
        for file in stored(&person, "backups", "running-config").iter().filter(|f| **f != path) {
            std::fs::remove_file(file).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_home_too_a_version_whose_file_is_gone_is_stored_anew() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    for _ in 0..2 {
        let file = stored(&person, "home/store", "running-config").pop().unwrap();
        std::fs::remove_file(&file).unwrap();
        person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
        assert_eq!(stored(&person, "home/store", "running-config").len(), 1);
        let found = person.asks(&["verify", "--json"]).await.good().json();
        assert!(found["bad"].as_array().unwrap().is_empty(), "{found}");
        let shown = person.asks(&["show", "core-sw1", "--view", "original"]).await.good();
        let config = String::from_utf8(fleet.devices()[0].config().to_vec()).unwrap();
        assert!(shown.out.contains(config.trim()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_artefact_is_told_before_anything_is_begun() {
    let (fleet, person) = switch().await;
    let told = person.backs_up(&fleet.devices()[0], &["--artefact", "running-confg"]).await.ended(2);
    assert!(told.err.contains("running-confg") && told.err.contains("running-config"), "{}", told.err);
    assert_eq!(fleet.stats().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_gone_is_repaired_from_where_it_is_good() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person
        .asks(&["destination", "add", "offsite", "--kind", "plain", "--path", "home/offsite", "--seal", "no"])
        .await
        .good();
    for n in 0..2 {
        fleet.devices()[0].change_line("description ", &format!("description uplink {n}"));
        person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    }
    let contents = |folder: &str| {
        let all = [stored(&person, folder, "running-config"), stored(&person, folder, "inventory")].concat();
        all.into_iter().map(|f| std::fs::read(f).unwrap()).collect::<Vec<_>>()
    };
    let clear = contents("home/offsite");
    // One bit, one cut, one file, and one manifest of another file.
    let sealed = stored(&person, "home/store", "running-config");
    let mut bytes = std::fs::read(&sealed[0]).unwrap();
    bytes[200] ^= 4;
    std::fs::write(&sealed[0], bytes).unwrap();
    std::fs::write(&sealed[1], "cut").unwrap();
    let one = stored(&person, "home/offsite", "inventory").remove(0);
    std::fs::remove_file(one).unwrap();
    let found = person.asks(&["verify", "--destination", "store", "--json"]).await.ended(3).json();
    assert_eq!(found["bad"].as_array().unwrap().len(), 2, "{found}");
    assert!(found["bad"].as_array().unwrap().iter().all(|b| b["destination"] == "store" && b["repair"].is_null()));

    let found = person.asks(&["verify", "--repair", "--json"]).await.good().json();
    let bad = found["bad"].as_array().unwrap();
    assert_eq!(bad.len(), 3, "{found}");
    for b in bad {
        let other = if b["destination"] == "store" { "offsite" } else { "store" };
        assert_eq!((&b["repair"]["status"], &b["repair"]["from"]), (&"repaired".into(), &other.into()), "{found}");
    }
    let found = person.asks(&["verify", "--json"]).await.good().json();
    assert!(found["bad"].as_array().unwrap().is_empty(), "{found}");
    assert_eq!(contents("home/offsite"), clear);
    let shown = person.asks(&["history", "core-sw1"]).await.good();
    assert!(!shown.out.contains("damaged"), "{}", shown.out);

    // Both are damaged: it is said of each, and nothing is touched.
    for folder in ["home/store", "home/offsite"] {
        std::fs::write(stored(&person, folder, "running-config").pop().unwrap(), "nothing good").unwrap();
    }
    let told = person.asks(&["verify", "--repair", "--device", "core-sw1"]).await.ended(3);
    assert!(told.out.contains("not repaired: no other destination holds a good copy"), "{}", told.out);
    assert!(told.err.contains("0 repaired, 2 not"), "{}", told.err);
    for folder in ["home/store", "home/offsite"] {
        assert_eq!(std::fs::read(stored(&person, folder, "running-config").pop().unwrap()).unwrap(), b"nothing good");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_is_narrowed_and_sampled() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["device", "edit", "core-sw1", "--site", "zurich"]).await.good();
    person.asks(&["destination", "edit", "store", "--option", "verify.on_write=content"]).await.good();
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    person.asks(&["policy", "add", "configs", "--artefact", "running-config", "--to", "store"]).await.good();
    let checked = async |args: &[&str]| {
        let all = [&["verify", "--json"], args].concat();
        person.asks(&all).await.good().json()["checked"].as_u64().unwrap()
    };
    let all = checked(&[]).await;
    assert!(all >= 4 && all % 2 == 0, "{all}");
    assert_eq!(checked(&["--site", "zurich"]).await, all);
    // A slip is no verification that found all in order.
    person.asks(&["verify", "--site", "bern"]).await.ended(2);
    person.asks(&["verify", "--device", "core-sw1", "--site", "bern"]).await.ended(2);
    assert_eq!(checked(&["--destination", "store"]).await, all / 2);
    assert_eq!(checked(&["--policy", "configs"]).await, 1);
    assert_eq!(checked(&["--sample", "1%"]).await, 2, "one of each destination");
    assert_eq!(checked(&["--sample", "1", "--destination", "store"]).await, 1);
    person.asks(&["verify", "--sample", "0%"]).await.ended(2);
    person.asks(&["verify", "--site", "zurich", "--from", "home/store"]).await.ended(2);
    person.asks(&["verify", "--policy", "nonesuch"]).await.ended(1);
    let wrong = person.asks(&["destination", "edit", "store", "--option", "verify.on_write=deep"]).await.ended(2);
    assert!(wrong.err.contains("size, stored, content or no"), "{}", wrong.err);
}
