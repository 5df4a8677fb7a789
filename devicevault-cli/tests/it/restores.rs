//! Putting back what was taken: whole, right, or not at all.

use std::process::{Command, Stdio};

use devicevault_testkit::sim::{Fleet, SimDevice};

use crate::person::{Answer, Person, files_below, mode};
use crate::sight::devices;

/// A home with two plain destinations and two versions of a switch.
async fn home() -> (Fleet, Person, Vec<u8>) {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1").size(8 << 10)]).await;
    person.moves_in(&fleet).await;
    person.asks(&["destination", "add", "offsite", "--kind", "plain", "--path", "offsite"]).await.good();
    person.asks(&["backup", "--all"]).await.good();
    let first = original(&person, &[]).await;
    fleet.devices()[0].change_something();
    person.asks(&["backup", "--all"]).await.good();
    (fleet, person, first)
}

async fn original(person: &Person, more: &[&str]) -> Vec<u8> {
    let show = ["show", "core-sw1:running-config", "--view", "original"];
    person.asks(&[&show[..], more].concat()).await.good().out.into_bytes()
}

fn read(person: &Person, name: &str) -> Vec<u8> {
    std::fs::read(person.path(name)).unwrap()
}

fn names(person: &Person, folder: &str) -> Vec<String> {
    let all = std::fs::read_dir(person.path(folder)).into_iter().flatten();
    let mut all: Vec<_> = all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

/// Damages every large file below a folder: not the manifests.
fn damage(person: &Person, folder: &str) {
    let mut some = false;
    for (file, mut bytes) in files_below(&person.path(folder)) {
        let name = file.display().to_string();
        if name.contains("running-config") || name.contains("/core-sw1/") {
            if name.ends_with(".json") || name.contains("manifest") {
                continue;
            }
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
                some = true;
                std::fs::write(file, bytes).unwrap();
            }
        }
    }
    assert!(some, "nothing to damage in {folder}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_artefact_or_all_of_them_now_or_then() {
    let (_fleet, person, first) = home().await;
    let second = original(&person, &[]).await;
    assert_ne!(first, second);
    person.asks(&["restore", "core-sw1", "running-config", "--to", "one.cfg"]).await.good();
    assert_eq!(read(&person, "one.cfg"), second);
    assert_eq!(mode(&person.path("one.cfg")), 0o600);
    person.asks(&["restore", "core-sw1", "running-config", "latest~1", "--to", "deep/er/"]).await.good();
    let of_first = names(&person, "deep/er").remove(0);
    assert_eq!(read(&person, &format!("deep/er/{of_first}")), first);
    assert_eq!(mode(&person.path("deep")), 0o700);

    let all = person.asks(&["restore", "core-sw1", "--to", "all", "--json"]).await.good().json();
    let all = all.as_array().unwrap().clone();
    assert!(all.len() > 1 && names(&person, "all").len() == all.len(), "{all:?}");
    assert!(all.iter().all(|r| r["view"] == "original" && r["sha256"].as_str().unwrap().len() == 64));

    // The first run, with what it took of every artefact.
    let runs = person.asks(&["run", "list", "--json"]).await.good().json();
    let oldest = runs.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let log = ["--log-file", "log.jsonl", "--log-format", "json"];
    let restore = ["restore", "core-sw1", "--run", &oldest, "--to", "run"];
    person.asks(&[&restore[..], &log].concat()).await.good();
    assert_eq!(read(&person, &format!("run/{of_first}")), first);
    assert!(String::from_utf8(read(&person, "log.jsonl")).unwrap().contains("\"restored\""));

    person.asks(&["restore", "core-sw1", "--at", "2001-01-01", "--to", "before"]).await.ended(1);
    assert!(!person.path("before").exists());
    person.asks(&["restore", "core-sw1", "--at", "2100-01-01", "--to", "after"]).await.good();
    person.asks(&["restore", "core-sw2", "--to", "other"]).await.ended(1);
    person.asks(&["restore", "core-sw1", "--run", "ffffffff", "--to", "other"]).await.ended(1);
    assert!(!person.path("other").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_stays_unless_it_is_to_be_replaced() {
    let (_fleet, person, _) = home().await;
    let restore = ["restore", "core-sw1", "running-config", "--to", "one.cfg"];
    person.write("one.cfg", "mine");
    let refused = person.asks(&restore).await.ended(1);
    assert!(refused.err.contains("--force"), "{refused:?}");
    assert_eq!(read(&person, "one.cfg"), b"mine");
    person.asks(&[&restore[..], &["--force"]].concat()).await.good();
    let good = read(&person, "one.cfg");
    // Of a link, the link; what it leads to stays.
    person.write("theirs", "theirs");
    std::fs::remove_file(person.path("one.cfg")).unwrap();
    std::os::unix::fs::symlink(person.path("theirs"), person.path("one.cfg")).unwrap();
    person.asks(&restore).await.ended(1);
    person.asks(&[&restore[..], &["--force"]].concat()).await.good();
    assert_eq!((read(&person, "one.cfg"), read(&person, "theirs")), (good, b"theirs".to_vec()));
    // One file of a set that is in the way keeps the others away too.
    person.asks(&["restore", "core-sw1", "--to", "set"]).await.good();
    let all = names(&person, "set");
    for other in &all[1..] {
        std::fs::remove_file(person.path("set").join(other)).unwrap();
    }
    person.asks(&["restore", "core-sw1", "--to", "set"]).await.ended(1);
    assert_eq!(names(&person, "set"), all[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_is_passed_over_and_told() {
    let (_fleet, person, _) = home().await;
    let good = original(&person, &[]).await;
    damage(&person, "offsite");
    let restore = ["restore", "core-sw1", "running-config"];
    let told = person.asks(&[&restore[..], &["--to", "one.cfg"]].concat()).await.good();
    assert!(told.err.contains("To put it back: ") && told.err.contains("configure replace"), "{told:?}");
    assert!(told.err.contains("the copy at offsite cannot be used") && told.err.contains("from store"), "{told:?}");
    assert_eq!(read(&person, "one.cfg"), good);
    // That destination alone has nothing good.
    let refused = person.asks(&[&restore[..], &["--to", "two.cfg", "--from", "offsite"]].concat()).await.ended(1);
    assert!(refused.err.contains("offsite"), "{refused:?}");
    person.asks(&[&restore[..], &["--to", "three.cfg", "--from", "store"]].concat()).await.good();
    damage(&person, "home/store");
    person.asks(&[&restore[..], &["--to", "four.cfg"]].concat()).await.ended(1);
    std::fs::rename(person.path("offsite"), person.path("gone")).unwrap();
    person.asks(&["restore", "core-sw1", "--to", "new/folder/"]).await.ended(1);
    assert!(!person.path("new").exists() && !person.path("two.cfg").exists() && !person.path("four.cfg").exists());
    person.asks(&[&restore[..], &["--to", "x", "--from", "nowhere"]].concat()).await.ended(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_redacted_copy_is_refused_unless_it_is_asked_for() {
    let (_fleet, person, _) = home().await;
    let from_git = ["restore", "core-sw1", "running-config", "--from", "git"];
    let refused = person.asks(&[&from_git[..], &["--to", "one.cfg"]].concat()).await.ended(1);
    assert!(refused.err.contains("redacted at git") && refused.err.contains("--view"), "{refused:?}");
    assert!(!person.path("one.cfg").exists());
    let told = person.asks(&[&from_git[..], &["--to", "one.cfg", "--view", "redacted"]].concat()).await.good();
    assert!(told.err.contains("redacted"), "{told:?}");
    assert!(String::from_utf8(read(&person, "one.cfg")).unwrap().contains("<secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_grow_leaves_nothing() {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1").size(2 << 20)]).await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all"]).await.good();
    let program = person.program(&["restore", "core-sw1", "--to", "restored"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\""]).arg(program.get_program());
    limited.args(program.get_args()).current_dir(person.path("")).stdin(Stdio::null());
    limited.env("DEVICEVAULT_HOME", person.path("home"));
    let refused = tokio::task::spawn_blocking(move || Answer::of(limited)).await.unwrap().ended(1);
    assert!(refused.err.contains("error:"), "{refused:?}");
    assert!(!person.path("restored").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_not_replaced() {
    use std::os::unix::fs::FileTypeExt as _;
    let (_fleet, person, _) = home().await;
    assert!(Command::new("mkfifo").arg(person.path("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink(person.path("pipe"), person.path("link")).unwrap();
    for to in ["pipe", "link", "/dev/null"] {
        for command in ["restore", "download"] {
            let what: &[&str] =
                if command == "restore" { &["core-sw1", "running-config"] } else { &["core-sw1:running-config"] };
            let answer = person.run(&[&[command], what, &["--to", to, "--force"]].concat()).ended(1);
            assert!(answer.err.contains("what is there is no file"), "{command} {to}: {answer:?}");
        }
    }
    assert!(person.path("pipe").metadata().unwrap().file_type().is_fifo());
    assert!(std::path::Path::new("/dev/null").metadata().unwrap().file_type().is_char_device());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_a_device_that_was_removed_open_while_another_one_has_its_name() {
    let (fleet, person, _) = home().await;
    let newest = original(&person, &[]).await;
    let old = person.asks(&["history", "core-sw1", "--artefact", "running-config", "--json"]).await.good().json();
    let (version, device) = (old[0]["id"].as_str().unwrap(), old[0]["device"].as_str().unwrap());
    let other = old[1]["id"].as_str().unwrap();
    person.asks(&["device", "remove", "core-sw1"]).await.good();
    person.asks(&["device", "import", "devices.csv"]).await.good();
    for backed_up in [false, true] {
        if backed_up {
            fleet.devices()[0].change_something();
            person.asks(&["backup", "--all", "--quiet"]).await.good();
            let told = person.asks(&["history", "core-sw1"]).await.good();
            assert!(told.err.contains(device) && !told.out.contains(&version[..13]), "{told:?}");
            assert_ne!(original(&person, &[]).await, newest);
        }
        assert_eq!(original(&person, &["--backup", version]).await, newest);
        let of_device = ["show", &format!("{device}:running-config"), "--view", "original"];
        assert_eq!(person.asks(&of_device).await.good().out.into_bytes(), newest);
        for (what, to) in [(vec!["core-sw1", "running-config", version], "a"), (vec!["core-sw1", "--at", version], "b")]
        {
            let to = format!("{to}{backed_up}/");
            let restore = [&["restore"][..], &what, &["--to", &to]].concat();
            person.asks(&restore).await.good();
            let written = format!("{to}core-sw1-running-config.cfg");
            assert_eq!(read(&person, &written), newest);
        }
        let listed = person.asks(&["history", device, "--artefact", "running-config", "--json"]).await.good().json();
        assert_eq!(listed.as_array().unwrap().len(), 2);
    }
    let differs = person.asks(&["diff", "core-sw1", other, version]).await.good();
    assert!(differs.out.contains("description"), "{differs:?}");
    // An identifier that nothing has finds nothing.
    person.asks(&["show", "core-sw1", "--backup", "ffffffff-0000"]).await.ended(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_configuration_is_put_back_is_told_of_no_inventory() {
    let (_fleet, person, _) = home().await;
    let told = person.asks(&["restore", "core-sw1", "--to", "all"]).await.good();
    assert!(told.err.contains("configure replace") && told.err.contains("last found"), "{told:?}");
    let told = person.asks(&["restore", "core-sw1", "inventory", "--to", "inventory.txt"]).await.good();
    assert!(!told.err.contains("configure replace"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_have_a_colon_in_its_name_and_a_long_one() {
    let long = "x".repeat(240);
    let (fleet, person) =
        devices([SimDevice::cisco_ios("core:x"), SimDevice::cisco_ios("core"), SimDevice::cisco_ios(&long)]).await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    for (what, hostname) in [("core:x", "core:x"), ("core:x:running-config", "core:x"), ("core:running-config", "core")]
    {
        let shown = person.asks(&["show", what]).await.good().out;
        assert!(shown.contains(&format!("hostname {hostname}\n")), "{what}");
    }
    let history = person.asks(&["history", "core:x", "--json"]).await.good().json();
    assert!(history.as_array().unwrap().iter().all(|v| v["device_name"] == "core:x") && history[0].is_object());
    person.asks(&["restore", &long, "--to", "long"]).await.good();
    person.asks(&["download", &long, "--to", "long/"]).await.ended(1);
    assert!(names(&person, "long").len() > 1 && names(&person, "long").iter().all(|n| n.len() <= 255));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_a_destination_of_the_home_for_every_command_and_a_path_is_a_folder() {
    let (_fleet, person) = crate::keys::home().await;
    let (other, stranger) = crate::sight::switch().await;
    stranger.backs_up(&other.devices()[0], &[]).await.good();
    crate::keys::copy(&stranger.path("backups"), &person.path("store"));
    let ids = |from: &str| {
        let told = person.run(&["history", "core-sw1", "--from", from, "--json"]).good().json();
        told.as_array().unwrap().iter().map(|b| b["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let ours = ids("home/store");
    assert_ne!(ours, ids("./store"));
    assert_eq!(ours, ids("store"));
    for args in [
        &["history", "core-sw1"][..],
        &["show", "core-sw1"],
        &["download", "core-sw1:running-config", "--to", "a"],
        &["restore", "core-sw1", "running-config", "--to", "b"],
        &["verify"],
        &["diff", "core-sw1"],
        &["catalog", "rebuild", "--dry-run"],
    ] {
        let told = person.run(&[args, &["--from", "store"]].concat());
        assert!(told.err.contains("store is a destination of this home, and a folder here"), "{args:?}: {told:?}");
        assert!(told.code == 0 || args[0] == "diff", "{args:?}: {told:?}");
    }
    assert_eq!(std::fs::read(person.path("a")).unwrap(), std::fs::read(person.path("b")).unwrap());
    std::fs::remove_dir_all(person.path("store")).unwrap();
    assert_eq!(ours, ids("store"));
    assert!(!person.run(&["history", "--from", "store"]).good().err.contains("warning"));
    let missing = person.run(&["history", "--from", "stroe"]).ended(1);
    assert!(
        missing.err.contains("no such destination, and no such folder") && missing.err.contains("store"),
        "{missing:?}"
    );
}
