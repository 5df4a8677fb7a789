//! What is stored, what may be, and tidying up.

use crate::person::files_below;
use crate::sight::switch;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_added_up() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    let none = person.asks(&["stats"]).await.good();
    assert!(none.err.contains("nothing is stored yet") || none.out.contains("nothing is stored yet"), "{none:?}");
    for _ in 0..2 {
        person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    }
    let told = person.asks(&["stats", "--json"]).await.good().json();
    let places = told["destinations"].as_array().unwrap();
    assert_eq!(places.len(), 2, "{told}");
    for place in places {
        assert!(place["measured"]["stored_bytes"].as_u64().unwrap() > 0, "{told}");
        assert_eq!(place["measured"]["content_bytes"], place["content_bytes"], "{told}");
    }
    assert_eq!(told["devices"][0]["device"], "core-sw1");
    assert!(told["runs"]["unchanged_bytes"].as_u64().unwrap() > 1000, "{told}");
    let today = told["growth"].as_array().unwrap().last().unwrap();
    let all = told["growth"].as_array().unwrap().iter().map(|s| s["copies"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(told["copies"].as_u64().unwrap(), all, "{today}");
    for args in [&["stats"][..], &["stats", "--by", "device", "--per", "month"], &["stats", "--device", "core-sw1"]] {
        let shown = person.asks(args).await.good();
        assert!(shown.out.contains('█') && shown.err.contains("2 runs collected"), "{shown:?}");
    }
    let one = person.asks(&["stats", "--destination", "git", "--json"]).await.good().json();
    assert_eq!(one["destinations"].as_array().unwrap().len(), 1);
    person.asks(&["stats", "--destination", "nonesuch"]).await.ended(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_told_before_it_is_used_up_and_refuses_what_goes_over() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    let here = person.asks(&["stats", "--destination", "store", "--json"]).await.good().json()["copies"].clone();
    let quota = format!("quota.count={here}");
    person.asks(&["destination", "edit", "store", "--option", &quota]).await.good();
    let full = person.asks(&["backup", "core-sw1"]).await.good();
    assert!(full.err.contains("100 % of the quota of copies"), "{}", full.err);
    fleet.devices()[0].change_line("description ", "description one more");
    let refused = person.asks(&["backup", "core-sw1", "--json"]).await.json();
    let text = refused.to_string();
    assert!(text.contains("quota of the destination is used up"), "{text}");
    let git = person.asks(&["verify", "--destination", "git", "--json"]).await.good().json();
    assert!(git["checked"].as_u64() > here.as_u64(), "the other destination has it: {git}");
    // What was refused waits, and is delivered once there is room.
    person.asks(&["destination", "edit", "store", "--option", "quota.count=100"]).await.good();
    person.asks(&["run", "deliver"]).await.good();
    let store = person.asks(&["verify", "--destination", "store", "--json"]).await.good().json();
    assert_eq!(store["checked"], git["checked"]);
    person.asks(&["destination", "edit", "store", "--option", "quota.bytes=much"]).await.ended(2);
    person.asks(&["destination", "edit", "store", "--option", "quota.size=1"]).await.ended(2);

    // Nobody has so much.
    person.asks(&["destination", "edit", "store", "--option", "space.keep=99.999999%"]).await.good();
    fleet.devices()[0].change_line("description ", "description and one more");
    let refused = person.asks(&["backup", "core-sw1", "--json"]).await.json().to_string();
    assert!(refused.contains("less space would stay free than is to be kept"), "{refused}");
    person.asks(&["destination", "edit", "store", "--option", "space.keep=1"]).await.good();
    person.asks(&["run", "deliver"]).await.good();
    person.asks(&["verify", "--quiet"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_are_tidied_up() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    for n in 0..3 {
        fleet.devices()[0].change_line("description ", &format!("description uplink {n}"));
        person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    }
    // Content that no manifest names, of long ago.
    let left = person.path("home/store/core-sw1/running-config/2020-01-01T00-00-00Z-0a0a0a0a.cfg.dvo");
    std::fs::write(&left, vec![7; 5000]).unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800);
    std::fs::File::options().write(true).open(&left).unwrap().set_modified(long_ago).unwrap();
    // It may be the only copy of a version, and stays without a word.
    let told = person.asks(&["destination", "maintain", "store"]).await.good();
    assert!(told.err.contains("it may be the only copy of a version") && left.exists(), "{told:?}");
    let would = person.asks(&["destination", "maintain", "--unnamed", "--dry-run", "--json"]).await.good().json();
    assert!(would.to_string().contains("would remove") && would.to_string().contains("would merge"), "{would}");
    assert!(left.exists());
    let packs = || {
        let all = files_below(&person.path("home/git/objects/pack"));
        all.iter().filter(|(f, _)| f.extension().is_some_and(|e| e == "pack")).count()
    };
    let before = packs();
    let done = person.asks(&["destination", "maintain", "--unnamed", "--json"]).await.good().json();
    assert!(!left.exists() && packs() < before.max(2), "{done}");
    let freed = done.as_array().unwrap().iter().find(|d| d["destination"] == "store").unwrap()["bytes_freed"].clone();
    assert_eq!(freed, 5000, "{done}");
    person.asks(&["verify", "--quiet"]).await.good();
    let again = person.asks(&["destination", "maintain", "git", "--dry-run"]).await.good();
    assert!(again.err.contains("there is nothing to do"), "{}", again.err);
    person.asks(&["destination", "maintain", "nonesuch"]).await.ended(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_the_catalog_knows_stays_when_its_manifest_is_gone() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1", "--quiet"]).await.good();
    let store = person.path("home/store");
    let containers = || {
        let all = files_below(&store).into_iter().map(|(f, _)| f);
        all.filter(|f| f.to_string_lossy().ends_with(".dvo") && f.starts_with(store.join("core-sw1")))
            .collect::<Vec<_>>()
    };
    let before = containers();
    assert!(!before.is_empty());
    for (file, _) in files_below(&store.join("core-sw1")) {
        if file.to_string_lossy().ends_with(".manifest.json") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800);
    for file in &before {
        std::fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
    }
    for command in [&["destination", "maintain", "store", "--dry-run"][..], &["destination", "maintain", "store"]] {
        let told = person.asks(command).await.good();
        assert_eq!(told.err.matches("its manifest is gone, the catalog knows it").count(), before.len(), "{told:?}");
    }
    assert_eq!(containers(), before);
}
