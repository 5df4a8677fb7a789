//! Sealed stores and their keys: what `init` makes, what the recovery kit is good for, keys added, replaced and lost.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use devicevault_testkit::sim::{Fleet, SimDevice, Simulated};

use crate::person::{Answer, Person, files_below, mode};
use crate::sight::devices;

/// A home with backups of two devices.
pub(crate) async fn home() -> (Fleet, Person) {
    let (fleet, person) = devices(["core-sw1", "core-sw2"].map(|n| SimDevice::cisco_ios(n).size(8 << 10))).await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    (fleet, person)
}

pub(crate) fn kits(person: &Person) -> Vec<PathBuf> {
    let all = std::fs::read_dir(person.path("home")).unwrap().map(|e| e.unwrap().path());
    all.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("recovery-kit-")).collect()
}

/// The one kit, taken away from the home as it should be.
pub(crate) fn take_kit(person: &Person, name: &str) -> PathBuf {
    let found = kits(person);
    assert_eq!(found.len(), 1, "{found:?}");
    let to = person.path(name);
    std::fs::rename(&found[0], &to).unwrap();
    to
}

pub(crate) fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Somebody with nothing but a copy of the store, and what they were given.
struct Stranger(Person);

impl Stranger {
    fn with_store_of(person: &Person) -> Self {
        let stranger = Person::new();
        copy(&person.path("home/store"), &stranger.path("copy"));
        Self(stranger)
    }

    fn verifies(&self, key: &[&str]) -> Answer {
        self.0.run(&[&["verify", "--from", "copy"][..], key].concat())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_store_opens_with_the_recovery_kit_alone() {
    let (fleet, person) = home().await;
    let config = String::from_utf8(fleet.devices()[0].config().to_vec()).unwrap();
    let kit = take_kit(&person, "kit.txt");
    let stranger = Stranger::with_store_of(&person);
    drop(fleet);

    // Nothing in the store tells what is in it.
    let secrets: Vec<String> = config.lines().filter(|l| l.len() > 20).map(str::to_owned).collect();
    for (file, bytes) in files_below(&stranger.0.path("copy")) {
        let bytes = String::from_utf8_lossy(&bytes).into_owned();
        for line in &secrets {
            assert!(!bytes.contains(line.trim()), "{line} in {}", file.display());
        }
    }
    // Without a key, and with another one, it says which would be needed.
    let kek = person.run(&["key", "list", "--json"]).good().json()["keys"][0]["id"].as_str().unwrap().to_owned();
    let partly = stranger.verifies(&[]).ended(3);
    assert!(partly.err.contains("6 copies good: their stored bytes are what was recorded"), "{partly:?}");
    assert!(partly.err.contains("no key is at hand") && partly.err.contains(&kek), "{partly:?}");
    assert!(partly.err.contains("no content was looked at"), "{partly:?}");
    stranger.verifies(&["--depth", "stored"]).good();
    assert!(stranger.verifies(&["--depth", "stored", "--json"]).good().json().get("not_opened").is_none());
    stranger.0.write("other.key", &"ab".repeat(32));
    let refused = stranger.verifies(&["--kek-file", "other.key"]).ended(1);
    assert!(refused.err.contains("none of the keys at hand") && refused.err.contains(&kek), "{refused:?}");

    // The kit as it is, and its four lines as somebody typed them in.
    let kit = std::fs::read_to_string(kit).unwrap();
    stranger.0.write("kit.txt", &kit);
    let lines: Vec<String> = kit.lines().filter(|l| l.starts_with("KEY ")).map(str::to_lowercase).collect();
    assert_eq!(lines.len(), 4, "{kit}");
    stranger.0.write("typed.txt", &lines.join("\n"));
    for key in ["kit.txt", "typed.txt"] {
        stranger.verifies(&["--kek-file", key]).good();
    }
    stranger.0.run(&["history", "--from", "copy", "--kek-file", "kit.txt"]).good();
    let args =
        ["download", "core-sw1:running-config", "--from", "copy", "--kek-file", "kit.txt", "--to", "restored.cfg"];
    stranger.0.run(&args).good();
    let restored = std::fs::read_to_string(stranger.0.path("restored.cfg")).unwrap();
    let tail = config.lines().rev().find(|l| l.len() > 20).unwrap();
    assert!(restored.contains(tail.trim()), "{restored}");
    assert_eq!(mode(&stranger.0.path("restored.cfg")), 0o600);

    let mistyped = kit.replacen("KEY 2  ", "KEY 2  0", 1);
    stranger.0.write("mistyped.txt", &mistyped);
    let refused = stranger.verifies(&["--kek-file", "mistyped.txt"]).ended(2);
    assert!(refused.err.contains("KEY 2 was mistyped"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_says_what_is_to_be_done_with_the_kit_and_check_whether_it_was() {
    let person = Person::new();
    let answer = person.run(&["init"]).good();
    let kit = kits(&person).remove(0);
    assert!(answer.out.contains(&text(&kit)) && answer.out.contains("delete the file"), "{answer:?}");
    for private in [&kit, &person.path("home/kek.key"), &person.path("home/keys.toml")] {
        assert_eq!(mode(private), 0o600, "{}", private.display());
    }
    let key = std::fs::read_to_string(person.path("home/kek.key")).unwrap();
    assert!(!answer.out.contains(key.trim()) && !answer.err.contains(key.trim()));
    assert!(!std::fs::read_to_string(person.path("home/keys.toml")).unwrap().contains(key.trim()));

    let check = person.run(&["key", "check"]).ended(3);
    assert!(check.out.contains("still lies on this machine"), "{check:?}");
    std::fs::remove_file(&kit).unwrap();
    person.run(&["key", "check"]).good();
    person.run(&["key", "export", "--to", "kit.txt"]).good();
    person.run(&["key", "export", "--to", "kit.txt"]).ended(1);
    assert_eq!(mode(&person.path("kit.txt")), 0o600);
    let refused = person.run(&["key", "init"]).ended(1);
    assert!(refused.err.contains("keys already"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_opens_nothing_any_more_and_the_new_kit_everything() {
    let (fleet, person) = home().await;
    let old_kit = std::fs::read_to_string(take_kit(&person, "old.txt")).unwrap();
    let old_store = Stranger::with_store_of(&person);
    let rotated = person.run(&["key", "rotate", "--scope", "kek", "--json"]).good().json();
    assert_eq!(rotated["gone"].as_array().unwrap().len(), 1, "{rotated}");
    assert!(!person.path("home/kek.key").exists(), "the old key file is gone");
    let new_kit = std::fs::read_to_string(take_kit(&person, "new.txt")).unwrap();
    person.run(&["key", "check"]).good();
    person.run(&["verify"]).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();

    let stranger = Stranger::with_store_of(&person);
    stranger.0.write("old.txt", &old_kit);
    stranger.0.write("new.txt", &new_kit);
    stranger.verifies(&["--kek-file", "new.txt"]).good();
    let refused = stranger.verifies(&["--kek-file", "old.txt"]).ended(1);
    assert!(refused.err.contains("the key at hand was retired"), "{refused:?}");
    // What was copied before the rotation opens with the old one: that is what rotation cannot undo.
    old_store.0.write("old.txt", &old_kit);
    old_store.verifies(&["--kek-file", "old.txt"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_away_is_brought_up_to_date_later() {
    let (_fleet, person) = home().await;
    let (store, away) = (person.path("home/store"), person.path("away"));
    std::fs::rename(&store, &away).unwrap();
    let rotated = person.run(&["key", "rotate", "--scope", "kek"]).ended(3);
    assert!(rotated.err.contains("not up to date"), "{rotated:?}");
    assert!(person.path("home/kek.key").exists(), "the old key is needed there still");
    std::fs::rename(&away, &store).unwrap();
    person.run(&["verify"]).good();
    let check = person.run(&["key", "check"]).ended(3);
    assert!(check.out.contains("retirement is not finished"), "{check:?}");
    person.run(&["key", "rotate", "--scope", "kek"]).good();
    assert!(!person.path("home/kek.key").exists());
    let keys = person.run(&["key", "list", "--json"]).good().json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    person.run(&["verify"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_killed_at_any_moment_is_finished_by_the_next() {
    let (_fleet, person) = home().await;
    let keys = || person.run(&["key", "list", "--json"]).good().json();
    let clock = devicevault_core::SystemClock;
    let begun = devicevault_core::Clock::monotonic(&clock);
    person.run(&["key", "rotate", "--scope", "kek", "--quiet"]).good();
    let whole = devicevault_core::Clock::monotonic(&clock) - begun;
    let (kills, mut cut_off) = (16, 0);
    for kill in 0..kills {
        let mut program = person.program(&["key", "rotate", "--scope", "kek", "--quiet"]);
        let mut child = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(whole.mul_f64((f64::from(kill) + 0.5) / f64::from(kills))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        person.run(&["verify", "--quiet"]).good();
        // Whoever has the kits that lie there now, and a copy of the store, has everything.
        let stranger = Stranger::with_store_of(&person);
        let opens = |kit: &PathBuf| stranger.verifies(&["--kek-file", &text(kit)]).code == 0;
        assert!(kits(&person).iter().any(opens), "kill {kill}: {:?}", kits(&person));
        if keys()["keys"].as_array().unwrap().iter().any(|k| k["retiring"] == true) {
            cut_off += 1;
            person.run(&["key", "rotate", "--scope", "kek", "--quiet"]).good();
        }
        let now = keys();
        assert_eq!(now["keys"].as_array().unwrap().len(), 1, "kill {kill}: {now}");
        person.run(&["verify", "--quiet"]).good();
    }
    println!("{cut_off} of {kills} rotations were cut off half way");
    kits(&person).iter().for_each(|k| std::fs::remove_file(k).unwrap());
    person.run(&["key", "check"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_commands_that_change_keys_at_once_lose_nothing() {
    let (_fleet, person) = home().await;
    person.write("phrase", "correct horse battery staple\n");
    let kek = &["key", "rotate", "--scope", "kek", "--quiet"][..];
    let epoch = &["key", "rotate", "--scope", "epoch", "--quiet"][..];
    let data = &["key", "rotate", "--scope", "data", "--quiet"][..];
    let add = &["key", "add", "--passphrase-file", "phrase", "--quiet"][..];
    let repair = &["key", "check", "--repair", "--quiet"][..];
    for pair in [[kek, data], [kek, epoch], [kek, kek], [data, kek], [repair, kek], [add, epoch]] {
        let begun = pair.map(|args| {
            let mut program = person.program(args);
            program.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        });
        for child in begun {
            let ended = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&ended.stderr).into_owned();
            let is_check = ended.status.code() == Some(3);
            let waited_too_long = told.contains("another command changes the keys");
            assert!(ended.status.success() || is_check || waited_too_long, "{pair:?}: {told}");
        }
        person.run(&["verify", "--quiet"]).good();
        let listed = person.run(&["key", "list", "--json"]).good().json();
        let epochs = listed["epochs"].as_array().unwrap().len();
        for key in listed["keys"].as_array().unwrap() {
            assert_eq!(key["opens"].as_u64(), Some(epochs as u64), "{pair:?}: {listed}");
            assert_eq!(key["retiring"], false, "{pair:?}: {listed}");
        }
        let stranger = Stranger::with_store_of(&person);
        let opens = |kit: &PathBuf| stranger.verifies(&["--kek-file", &text(kit)]).code == 0;
        assert!(kits(&person).iter().any(opens), "{pair:?}: {:?}", kits(&person));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_while_the_old_key_cannot_be_opened() {
    let (_fleet, person) = home().await;
    person.write("phrase", "correct horse battery staple\n");
    person.write("short", "x\n");
    let (kek, away) = (person.path("home/kek.key"), person.path("away.key"));
    std::fs::rename(&kek, &away).unwrap();
    let before = std::fs::read(person.path("home/keys.toml")).unwrap();
    let kits_before = kits(&person);
    let add = ["key", "add", "--passphrase-file", "phrase"];
    for args in [&["key", "rotate", "--scope", "kek"][..], &add] {
        let refused = person.run(args).ended(1);
        assert!(refused.err.contains("kek.key"), "{refused:?}");
        assert_eq!(std::fs::read(person.path("home/keys.toml")).unwrap(), before);
        assert_eq!(kits(&person), kits_before);
    }
    std::fs::rename(&away, &kek).unwrap();
    let old_kit = take_kit(&person, "old.txt");
    let short = person.run(&["key", "add", "--passphrase-file", "short"]).ended(2);
    assert!(short.err.contains("fewer than"), "{short:?}");
    assert_eq!(std::fs::read(person.path("home/keys.toml")).unwrap(), before);
    person.run(&["key", "rotate", "--scope", "kek"]).good();
    let key = std::fs::read_to_string(old_kit).unwrap();
    person.write("old.kit", &key);
    std::fs::set_permissions(person.path("old.kit"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let retired = person.run(&["key", "add", "--use-file", "old.kit"]).ended(1);
    assert!(retired.err.contains("it was retired"), "{retired:?}");
    person.run(&["verify", "--quiet"]).good();
    person.run(&["key", "rotate", "--scope", "kek", "--passphrase-file", "phrase"]).good();
    let unnamed = person.run(&["key", "rotate", "--scope", "kek"]).ended(2);
    assert!(unnamed.err.contains("lies in no file"), "{unnamed:?}");
    person.run(&["verify", "--quiet"]).good();
}

/// The epoch keys that what is stored is sealed under.
fn sealed_under(person: &Person) -> BTreeSet<String> {
    let manifests =
        files_below(&person.path("home/store")).into_iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "dvo"));
    // Bytes 8 to 23 of a container's header: see docs/format.md.
    manifests.map(|(_, bytes)| format!("{:02x?}", &bytes[8..24])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_sealed_anew_however_often_that_is_cut_off() {
    let (fleet, person) = home().await;
    for _ in 0..3 {
        fleet.devices().iter().for_each(Simulated::change_something);
        person.asks(&["backup", "--all", "--quiet"]).await.good();
    }
    let old = sealed_under(&person);
    let history = person.run(&["history"]).good().out;
    let rotated = person.run(&["key", "rotate", "--scope", "data", "--json"]).good().json();
    assert!(rotated["rewritten"].as_u64().unwrap() >= 8 && rotated["new"].is_string(), "{rotated}");
    let new = sealed_under(&person);
    assert!(new.len() == 1 && old.len() == 1 && new != old, "{old:?} {new:?}");
    person.run(&["verify"]).good();
    assert!(person.run(&["history"]).good().out == history);
    let checked = person.run(&["catalog", "check", "--json"]).good().json();
    assert_eq!(checked[0]["surplus"].as_array().unwrap().len(), 0, "{checked}");
    assert!(checked[0]["agreed"].as_u64().unwrap() >= 8, "{checked}");

    // Begun by a new epoch key, and killed again and again.
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    let mut kills = 0;
    for pause in [40, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150, 160, 170, 180] {
        let mut program = person.program(&["key", "rotate", "--scope", "data", "--quiet"]);
        let mut child = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
        person.run(&["verify", "--quiet"]).good();
        if sealed_under(&person).is_disjoint(&new) {
            break;
        }
    }
    println!("killed {kills} times");
    let mut rounds = 0;
    while !sealed_under(&person).is_disjoint(&new) {
        person.run(&["key", "rotate", "--scope", "data"]).good();
        rounds += 1;
        assert!(rounds < 3);
    }
    person.run(&["verify"]).good();
    assert!(person.run(&["history"]).good().out == history);
    // The next backup finds nothing changed, and the kit opens everything.
    let kit = take_kit(&person, "kit.txt");
    let stranger = Stranger::with_store_of(&person);
    stranger.0.write("kit.txt", &std::fs::read_to_string(kit).unwrap());
    stranger.verifies(&["--kek-file", "kit.txt"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_data_that_was_cut_off_is_gone_on_with_and_a_new_one_says_so() {
    let (_fleet, person) = home().await;
    let epochs = || person.run(&["key", "list", "--json"]).good().json()["epochs"].as_array().unwrap().len();
    // As one that was cut off before it had sealed anything anew.
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    let all = person.run(&["key", "list", "--json"]).good().json();
    let newest = all["epochs"].as_array().unwrap().iter().find(|e| e["seals"] == true).unwrap()["id"].clone();
    person.write("home/data-rotation", &format!("{}\n", newest.as_str().unwrap()));
    let data = ["key", "rotate", "--scope", "data"];
    let resumed = person.run(&data).good();
    assert!(resumed.err.contains("what an earlier rotation had left"), "{resumed:?}");
    assert_eq!(epochs(), 2);
    let again = person.run(&data).good();
    assert!(again.err.contains("under the new epoch key"), "{again:?}");
    assert_eq!(epochs(), 3);
    // A new epoch key may be the one that was seen since: what is sealed under it is sealed anew, too.
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    let before = sealed_under(&person);
    person.run(&data).good();
    assert_eq!(epochs(), 5);
    assert!(sealed_under(&person).is_disjoint(&before));
    std::fs::rename(person.path("home/store"), person.path("away")).unwrap();
    let away = person.run(&data).ended(3);
    assert!(away.err.contains("nothing was sealed anew, and no epoch key made"), "{away:?}");
    assert_eq!(epochs(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_changed_beside_a_rotation_is_changed_and_sealed_anew() {
    let (_fleet, person) = home().await;
    person.write("pw", "s3cret-of-switches\n");
    let given = ["--password-file", "pw", "--store"];
    person.run(&[&["credential", "add", "switches", "--user", "backup"][..], &given].concat()).good();
    let (mut description, mut sites) = (String::new(), BTreeSet::new());
    for turn in 0..8 {
        let (text, site) = (format!("turn {turn}"), format!("site{turn}"));
        let edit = ["credential", "edit", "switches", "--description", &text, "--site", &site];
        let replace = [&["credential", "rotate", "switches"][..], &given].concat();
        let is_edit = turn % 2 == 0;
        let change = if is_edit { &edit[..] } else { &replace[..] };
        let begun = [&["key", "rotate", "--scope", "data", "--quiet"][..], change].map(|args| {
            let mut program = person.program(args);
            program.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        });
        for child in begun {
            let ended = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&ended.stderr).into_owned();
            let again = !is_edit && told.contains("it was changed by another command meanwhile");
            assert!(ended.status.success() || again, "{change:?}: {told}");
        }
        if is_edit {
            description.clone_from(&text);
            sites.insert(site.clone());
        }
        let shown = person.run(&["credential", "show", "switches", "--json"]).good().json();
        let known: BTreeSet<String> = serde_json::from_value(shown["sites"].clone()).unwrap();
        assert_eq!((shown["description"].as_str(), &known), (Some(description.as_str()), &sites), "{shown}");
        // Nothing is left to seal anew: it is under the newest key.
        let next = person.run(&["key", "rotate", "--scope", "data", "--json"]).good().json();
        assert!(next["new"].is_string() && next["secrets"] == 1, "{change:?}: {next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_away_is_sealed_anew_later() {
    let (_fleet, person) = home().await;
    let (store, away) = (person.path("home/store"), person.path("away"));
    let old = sealed_under(&person);
    std::fs::rename(&store, &away).unwrap();
    person.run(&["key", "rotate", "--scope", "epoch"]).good();
    let refused = person.run(&["key", "rotate", "--scope", "data"]).ended(3);
    assert!(refused.err.contains("store is not done"), "{refused:?}");
    std::fs::rename(&away, &store).unwrap();
    person.run(&["key", "rotate", "--scope", "data"]).good();
    assert!(sealed_under(&person).is_disjoint(&old));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_keys_open_the_same_store_and_each_can_be_taken_away() {
    let (fleet, person) = home().await;
    let digits = "5e".repeat(32);
    person.write("phrase", "correct horse battery staple\n");
    person.write("hsm.hex", &digits);
    let with_env = |args: &[&str]| {
        let mut program = person.program(args);
        program.env("DEVICEVAULT_TEST_KEK", "7a".repeat(32));
        Answer::of(program)
    };
    let added = with_env(&["key", "add", "--passphrase-file", "phrase", "--json"]).good().json();
    assert_eq!(added["wrapped"], 1, "{added}");
    with_env(&["key", "add", "--use-env", "DEVICEVAULT_TEST_KEK"]).good();
    with_env(&["key", "add", "--use-command", "cat hsm.hex"]).good();
    with_env(&["key", "add", "--generate", "second.key"]).good();
    with_env(&["key", "add", "--use-command", "cat hsm.hex"]).ended(1);
    let toml = std::fs::read_to_string(person.path("home/keys.toml")).unwrap();
    assert!(!toml.contains(&digits) && !toml.contains("correct horse"), "{toml}");
    let all = with_env(&["key", "list", "--json"]).good().json();
    let ids: Vec<String> =
        all["keys"].as_array().unwrap().iter().map(|k| k["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 5, "{all}");
    assert_eq!(mode(&person.path("second.key")), 0o600);
    let kit = take_kit(&person, "kit.txt");
    with_env(&["key", "check"]).good();

    let stranger = Stranger::with_store_of(&person);
    stranger.0.write("phrase", "correct horse battery staple");
    stranger.0.write("wrong", "correct horse");
    stranger.verifies(&["--kek-passphrase-file", "phrase"]).good();
    let refused = stranger.verifies(&["--kek-passphrase-file", "wrong"]).ended(1);
    assert!(refused.err.contains("the passphrase is not the one") && refused.err.contains(&ids[1]), "{refused:?}");
    assert!(!refused.err.contains("horse"));

    // One that cannot be had does not stop those that can, and is told where it is asked for.
    person.run(&["verify", "--quiet"]).good();
    let check = person.run(&["key", "check"]).ended(3);
    assert!(check.out.contains("environment variable"), "{check:?}");
    // The first one goes; the others open what was and what comes.
    with_env(&["key", "remove", &ids[0]]).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    let mut backup = person.program(&["backup", "--all", "--quiet"]);
    backup.env("DEVICEVAULT_TEST_KEK", "7a".repeat(32));
    tokio::task::spawn_blocking(move || Answer::of(backup)).await.unwrap().good();
    with_env(&["verify", "--quiet"]).good();
    let stranger = Stranger::with_store_of(&person);
    stranger.0.write("kit.txt", &std::fs::read_to_string(kit).unwrap());
    stranger.verifies(&["--kek-file", "kit.txt"]).ended(1);
    stranger.verifies(&["--kek-file", &text(&person.path("second.key"))]).good();
    for id in &ids[1..4] {
        with_env(&["key", "remove", id]).good();
    }
    let last = with_env(&["key", "remove", &ids[4][..6]]).ended(1);
    assert!(last.err.contains("the last one"), "{last:?}");
    person.run(&["verify", "--quiet"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_key_seals_what_comes_and_the_old_opens_what_was() {
    let (fleet, person) = home().await;
    let epochs = || {
        let keys = person.run(&["key", "list", "--json"]).good().json();
        keys["epochs"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let rotated = person.run(&["key", "rotate", "--scope", "epoch", "--json"]).good().json();
    let all = epochs();
    assert_eq!((all.len(), rotated["new"].as_str()), (2, Some(all[1].as_str())));
    let at_store = || {
        let there = std::fs::read_dir(person.path("home/store/keys")).unwrap();
        there.filter(|e| e.as_ref().unwrap().file_name() != "names.json").count()
    };
    assert_eq!(at_store(), 1, "nothing is sealed with it there yet");
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    assert_eq!(at_store(), 2);
    person.run(&["verify", "--quiet"]).good();
    take_kit(&person, "kit.txt");
    let stranger = Stranger::with_store_of(&person);
    stranger.verifies(&["--kek-file", &text(&person.path("kit.txt"))]).good();
    person.run(&["key", "check"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_lost_damaged_or_open_to_others_is_told_and_no_backup_is_called_damaged() {
    let (fleet, person) = home().await;
    let kek = person.path("home/kek.key");
    let id = person.run(&["key", "list", "--json"]).good().json()["keys"][0]["id"].as_str().unwrap().to_owned();
    person.run(&["destination", "add", "offsite", "--kind", "plain", "--path", "offsite", "--seal", "no"]).good();
    let allow = |mode: u32| std::fs::set_permissions(&kek, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    let put = |text: &str| {
        person.write("home/kek.key", text);
        allow(0o600);
    };
    let good = std::fs::read_to_string(&kek).unwrap();
    let refused = |says: &str| {
        let shown = person.run(&["show", "core-sw1", "--view", "original"]);
        assert!(shown.code != 0 && shown.err.contains(says), "{shown:?}");
        assert!(!shown.err.contains(good.trim()));
        // One error, however many copies there are: which key, how many, and nothing of damage.
        let verify = person.run(&["verify", "--json"]).ended(3).json();
        assert_eq!(verify["bad"], serde_json::json!([]), "{verify}");
        assert_eq!(verify["unopened"][0]["copies"], 6, "{verify}");
        let told = person.run(&["verify", "--repair"]).ended(3);
        assert!(told.out.is_empty() && told.err.contains("6 copies at store could not be opened"), "{told:?}");
        assert!(told.err.contains(says) && told.err.contains(&id) && told.err.lines().count() == 3, "{told:?}");
        assert!(!told.err.contains("stores them anew") && told.err.contains("nothing was found damaged"), "{told:?}");
        let checked = person.run(&["catalog", "check"]).ended(3);
        assert!(checked.err.contains(says) && checked.err.contains("hint:"), "{checked:?}");
        let copied = person.run(&["destination", "copy", "store", "offsite"]).ended(1);
        assert!(copied.err.contains("6 copies at store could not be copied"), "{copied:?}");
        assert_eq!(copied.err.lines().filter(|l| l.contains(says)).count(), 1, "{copied:?}");
        person.run(&["verify", "--depth", "stored"]).good();
    };
    std::fs::remove_file(&kek).unwrap();
    refused("cannot be read");
    put("hunter2");
    refused("neither 64 hexadecimal digits");
    put(&"00".repeat(32));
    refused("none of the keys at hand");
    put(&good);
    allow(0o644);
    refused("others than its owner");
    // A backup that cannot be sealed is not stored in the clear.
    std::fs::remove_file(&kek).unwrap();
    person.run(&["destination", "remove", "offsite"]).good();
    fleet.devices().iter().for_each(Simulated::change_something);
    let files = files_below(&person.path("home/store")).len();
    let backup = person.asks(&["backup", "--all", "--retries", "0"]).await;
    assert_ne!(backup.code, 0, "{backup:?}");
    assert_eq!(files_below(&person.path("home/store")).len(), files);
    put(&good);
    person.asks(&["backup", "--all"]).await.good();
    person.run(&["verify"]).good();

    std::fs::write(person.path("home/keys.toml"), "[[key]]\nid = 5\n").unwrap();
    let broken = person.run(&["history"]).ended(2);
    assert!(broken.err.contains("keys.toml") && broken.err.contains("line"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_was_cut_off_keeps_its_key() {
    let person = Person::new();
    person.run(&["init"]).good();
    let key = std::fs::read_to_string(person.path("home/kek.key")).unwrap();
    for cut in [&["catalog.db"][..], &["catalog.db", "keys.toml"], &["catalog.db", "keys"]] {
        for name in cut {
            let path = person.path("home").join(name);
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
        }
        person.run(&["init"]).good();
        assert_eq!(std::fs::read_to_string(person.path("home/kek.key")).unwrap(), key);
        kits(&person).iter().for_each(|k| std::fs::remove_file(k).unwrap());
        person.run(&["key", "check"]).good();
    }
}

#[test]
fn there_is_no_home_before_its_kit_is_written() {
    let person = Person::new();
    person.run(&["init"]).good();
    let kit = kits(&person).remove(0);
    // Cut off before the kit was written.
    std::fs::remove_file(person.path("home/catalog.db")).unwrap();
    std::fs::remove_file(&kit).unwrap();
    std::fs::create_dir(&kit).unwrap();
    person.run(&["init"]).ended(1);
    assert!(person.run(&["key", "check"]).ended(2).err.contains("devicevault init"));
    std::fs::remove_dir(&kit).unwrap();
    person.run(&["init"]).good();
    assert!(kit.is_file());
}
