//! A sealed store that somebody changed: every change is found, by looking and by reading, and nothing of it is believed.

use std::path::{Path, PathBuf};

use crate::keys::{copy, home, take_kit};
use crate::person::{Person, files_below};
use crate::sight::switch;

/// A copy of a sealed store, and the key to it.
struct Copied(Person);

impl Copied {
    async fn new() -> Self {
        let (_fleet, person) = home().await;
        let stranger = Person::new();
        std::fs::copy(take_kit(&person, "kit.txt"), stranger.path("kit.txt")).unwrap();
        copy(&person.path("home/store"), &stranger.path("copy"));
        Self(stranger)
    }

    /// The file of a device's configuration that ends so.
    fn file(&self, device: &str, end: &str) -> PathBuf {
        let all = files_below(&self.0.path("copy").join(device).join("running-config"));
        all.into_iter().map(|(path, _)| path).find(|p| p.to_string_lossy().ends_with(end)).unwrap()
    }

    /// With other bytes in a file, it is told; with those of before, all is good again.
    fn finds(&self, path: &Path, bytes: &[u8], what: &str) {
        let good = std::fs::read(path).unwrap();
        std::fs::write(path, bytes).unwrap();
        let verified = self.0.run(&["verify", "--from", "copy", "--kek-file", "kit.txt"]);
        assert_eq!(verified.code, 3, "{what}: {verified:?}");
        // Reading a part meets the damage or does not need what is damaged; reading all always meets it.
        let to = ["--from", "copy", "--kek-file", "kit.txt", "--to", "out.cfg"];
        let read = self.0.run(&[&["download", "core-sw1:running-config"][..], &to].concat());
        assert!(read.code == 1 && read.err.contains("error:"), "{what}: {read:?}");
        let left: Vec<_> = files_below(&self.0.path("")).into_iter().map(|(p, _)| p).collect();
        assert!(!left.iter().any(|p| p.to_string_lossy().contains("out.cfg")), "{what}: {left:?}");
        std::fs::write(path, good).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_were_flipped_or_cut_off_are_found() {
    let copied = Copied::new().await;
    for end in [".dvo", ".manifest.json"] {
        let path = copied.file("core-sw1", end);
        let good = std::fs::read(&path).unwrap();
        // Everything in the header and at the end, and places between.
        let step = good.len() / 12;
        let places = [0, 4, 5, 6, 7, 8, 24, 40, 88, 95, 96, 127, 128, good.len() - 17, good.len() - 2];
        for at in places.into_iter().chain((0..12).map(|i| i * step)) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            copied.finds(&path, &bad, &format!("{end}: byte {at}"));
        }
        for length in [0, 1, 127, 128, 144, good.len() / 2, good.len() - 2] {
            copied.finds(&path, &good[..length], &format!("{end}: cut at {length}"));
        }
    }
    copied.0.run(&["verify", "--from", "copy", "--kek-file", "kit.txt"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_exchanged_or_doubled_are_found() {
    let copied = Copied::new().await;
    for end in [".dvo", ".manifest.json"] {
        let (own, other) = (copied.file("core-sw1", end), copied.file("core-sw2", end));
        let (good, others) = (std::fs::read(&own).unwrap(), std::fs::read(other).unwrap());
        copied.finds(&own, &others, &format!("{end} of another device"));
        copied.finds(&own, &[&good[..], &good].concat(), &format!("{end} twice"));
    }
    // Both files of another backup are that backup, whatever the path says: nothing of ours is read for it.
    let damaged = copied.file("core-sw1", ".dvo");
    std::fs::remove_file(damaged).unwrap();
    let verified = copied.0.run(&["verify", "--from", "copy", "--kek-file", "kit.txt"]).ended(3);
    assert!(verified.out.contains("its content is not"), "{verified:?}");
    // What is left is restored, and told to be not all.
    let kit = ["--from", "copy", "--kek-file", "kit.txt"];
    let answer = copied.0.run(&[&["restore", "core-sw1", "--to", "left/"][..], &kit].concat()).ended(3);
    assert!(answer.err.contains("may be what is damaged") && answer.err.contains("running-config"), "{answer:?}");
    copied.0.run(&[&["restore", "core-sw2", "--to", "other/"][..], &kit].concat()).good();
    // What is damaged is not taken for what never was.
    for what in [&["download", "core-sw1:running-config", "--to", "x"][..], &["show", "core-sw1", "--at", "2099-01-01"]]
    {
        let answer = copied.0.run(&[what, &["--from", "copy", "--kek-file", "kit.txt"]].concat()).ended(1);
        assert!(answer.err.contains("may be among those that are damaged"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_taken_away_or_covered_up_is_told() {
    let copied = Copied::new().await;
    let person = &copied.0;
    let kit = ["--from", "copy", "--kek-file", "kit.txt"];
    let (content, manifest) = (copied.file("core-sw1", ".dvo"), copied.file("core-sw1", ".manifest.json"));
    std::fs::File::options().write(true).open(&content).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let good = std::fs::read(&manifest).unwrap();
    let told = |what: &str| {
        let verified = person.run(&[&["verify"][..], &kit].concat()).ended(3);
        assert!(verified.out.contains(what), "{verified:?}");
        let restored = person.run(&[&["restore", "core-sw1", "--to", "left/", "--force"][..], &kit].concat()).ended(3);
        assert!(restored.err.contains(what) && restored.err.contains("may be what is damaged"), "{restored:?}");
        let shown = person.run(&[&["history", "core-sw1"][..], &kit].concat());
        assert!(shown.err.contains(what), "{shown:?}");
        let blind = person.run(&["verify", "--from", "copy", "--depth", "size"]).ended(3);
        assert!(blind.out.contains(what), "{blind:?}");
    };
    std::fs::remove_file(&manifest).unwrap();
    told("its manifest is not");
    std::fs::copy(copied.file("core-sw2", ".manifest.json"), &manifest).unwrap();
    told("that of another backup");
    std::fs::write(&manifest, good).unwrap();
    // A whole folder that was copied is told, and counts once.
    copy(&person.path("copy/core-sw2"), &person.path("copy/core-sw3"));
    let verified = person.run(&[&["verify"][..], &kit].concat()).ended(3);
    assert!(verified.out.contains("lies at another place") && verified.err.contains("6 copies good"), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_damage_is_found_as_well() {
    let copied = Copied::new().await;
    let path = copied.file("core-sw1", ".dvo");
    let mut bad = std::fs::read(&path).unwrap();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&path, bad).unwrap();
    let verified = copied.0.run(&["verify", "--from", "copy", "--depth", "stored"]).ended(3);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    assert!(verified.out.contains(&name[..20]) && verified.out.contains("damaged"), "{verified:?}");
    copied.0.run(&["verify", "--from", "copy", "--depth", "size"]).good();
    std::fs::remove_file(&path).unwrap();
    let verified = copied.0.run(&["verify", "--from", "copy", "--depth", "size"]).ended(3);
    assert!(verified.out.contains("missing"), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_in_the_clear_is_not_believed_where_backups_are_sealed() {
    let copied = Copied::new().await;
    let person = &copied.0;
    let (fleet, forger) = switch().await;
    forger.backs_up(&fleet.devices()[0], &[]).await.good();
    for (path, bytes) in files_below(&forger.path("backups/core-sw1/running-config")) {
        std::fs::write(person.path("copy/core-sw1/running-config").join(path.file_name().unwrap()), bytes).unwrap();
    }
    for kit in [&["--kek-file", "kit.txt"][..], &[]] {
        let from = [&["--from", "copy"][..], kit].concat();
        let verified = person.run(&[&["verify"][..], &from].concat());
        assert!(verified.code != 0 && !verified.out.contains("7 copies good"), "{verified:?}");
        assert!(kit.is_empty() || verified.out.contains("only what is sealed is believed"), "{verified:?}");
    }
    let kit = ["--from", "copy", "--kek-file", "kit.txt"];
    let shown = person.run(&[&["history", "core-sw1", "--json"][..], &kit].concat()).good().json();
    assert_eq!(shown.as_array().unwrap().len(), 3, "{shown}");
    let restored = person.run(&[&["restore", "core-sw1", "--to", "back/"][..], &kit].concat()).ended(3);
    assert!(restored.err.contains("only what is sealed is believed"), "{restored:?}");
    // Who says that it is theirs has it.
    let accepted = [&["verify"][..], &kit, &["--from-option", "accept_clear=yes"]].concat();
    person.run(&accepted).good();
    person.run(&[&["verify"][..], &kit, &["--from-option", "accept_clear=maybe"]].concat()).ended(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_believes_nothing_in_the_clear_of_a_copy_whose_keys_are_gone() {
    for noted in [true, false] {
        let (_fleet, person) = home().await;
        let (other, forger) = switch().await;
        forger.backs_up(&other.devices()[0], &[]).await.good();
        copy(&person.path("home/store"), &person.path("copy"));
        std::fs::remove_dir_all(person.path("copy/keys")).unwrap();
        for (path, bytes) in files_below(&forger.path("backups/core-sw1/running-config")) {
            std::fs::write(person.path("copy/core-sw1/running-config").join(path.file_name().unwrap()), bytes).unwrap();
        }
        if !noted {
            std::fs::remove_file(person.path("home/destinations.json")).unwrap();
        }
        let verified = person.run(&["verify", "--from", "copy"]).ended(3);
        assert!(verified.out.contains("only what is sealed is believed"), "{verified:?}");
        let told = person.run(&["history", "core-sw1", "--from", "copy"]).good();
        assert!(told.err.contains("keys that lay there are gone"), "{told:?}");
        let shown = person.run(&["history", "core-sw1", "--from", "copy", "--json"]).good().json();
        assert_eq!(shown.as_array().unwrap().len(), 3, "{shown}");
        let restored = person.run(&["restore", "core-sw1", "--from", "copy", "--to", "back/"]).ended(3);
        assert!(restored.err.contains("only what is sealed is believed"), "{restored:?}");
        // What is in the clear throughout is read as before, and so is what is said to be one's own.
        person.run(&["verify", "--from", "copy", "--from-option", "accept_clear=yes"]).good();
        person.run(&["verify", "--from", forger.path("backups").to_str().unwrap()]).good();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_leads_elsewhere_is_not_believed() {
    let (fleet, person) = switch().await;
    person.backs_up(&fleet.devices()[0], &[]).await.good();
    copy(&person.path("backups"), &person.path("good"));
    let index = "backups/.devicevault";
    let folder = person.path("good").display().to_string();
    person.run(&["--home", index, "destination", "edit", "folder", "--path", &folder]).good();
    let content = files_below(&person.path("backups")).into_iter().map(|(path, _)| path);
    let content = content.filter(|path| path.parent().is_some_and(|parent| parent.ends_with("running-config")));
    for path in content.filter(|path| !path.to_string_lossy().ends_with(".manifest.json")) {
        std::fs::write(path, "forged\n").unwrap();
    }
    let verified = person.run(&["verify", "--from", "backups"]).ended(3);
    assert!(verified.err.contains("has other destinations than this folder"), "{verified:?}");
    let stored = files_below(&person.path("good")).len();
    let refused = person.backs_up(&fleet.devices()[0], &[]).await.ended(1);
    assert!(refused.err.contains("has other destinations than this folder"), "{refused:?}");
    assert_eq!(files_below(&person.path("good")).len(), stored);
    // Nor one that has programs run for its keys.
    copy(&person.path("good"), &person.path("other"));
    let planted = person.path("planted");
    let source = format!(
        "[[key]]\nid = \"{}\"\nfrom = \"key\"\nat = {{ command = \"touch {}\" }}\n",
        "0".repeat(32),
        planted.display()
    );
    std::fs::write(person.path("other/.devicevault/keys.toml"), source).unwrap();
    let verified = person.run(&["verify", "--from", "other"]).good();
    assert!(verified.err.contains("it has keys") && !planted.exists(), "{verified:?}");
}
