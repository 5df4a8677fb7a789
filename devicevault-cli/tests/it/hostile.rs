//! Names, folders and texts that mean harm.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;

use devicevault_testkit::sim::SimDevice;

use crate::person::{Answer, Person, files_below};
use crate::sight::{devices, switch};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_leads_nowhere_else() {
    let (fleet, person) = switch().await;
    let device = &fleet.devices()[0];
    for name in ["../../etc/x", "..", "/etc/x", "a\nb"] {
        let answer = person.backs_up(device, &["--name", name]).await.ended(2);
        assert!(answer.err.contains("check device name"), "{answer:?}");
    }
    println!("4 names of devices were refused");
    assert!(!person.path("backups").exists(), "nothing was begun");
    assert_eq!(device.stats().connections, 0);
    person.backs_up(device, &["--name", "Zürich 3: ..x%"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_link_is_not_followed() {
    let (fleet, person) = switch().await;
    let device = &fleet.devices()[0];
    std::fs::create_dir(person.path("elsewhere")).unwrap();
    // The first run makes the folder; then a link takes the place of the device's own.
    person.backs_up(device, &["--name", "other"]).await.good();
    symlink(person.path("elsewhere"), person.path("backups/core-sw1")).unwrap();
    let answer = person.backs_up(device, &[]).await.ended(1);
    assert!(answer.err.contains("error:"), "{answer:?}");
    assert!(files_below(&person.path("elsewhere")).is_empty(), "nothing outside is touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_link_in_place_of_the_index_is_not_followed() {
    let (fleet, person) = switch().await;
    std::fs::create_dir(person.path("elsewhere")).unwrap();
    std::fs::create_dir(person.path("backups")).unwrap();
    symlink(person.path("elsewhere"), person.path("backups/.devicevault")).unwrap();
    person.backs_up(&fleet.devices()[0], &[]).await.ended(1);
    assert!(files_below(&person.path("elsewhere")).is_empty());
    assert_eq!(fleet.stats().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_found_before_any_device_is_asked() {
    let (fleet, person) = switch().await;
    let device = &fleet.devices()[0];
    person.write("file", "in the way");
    let answer = person.backs_up(device, &["--to", "file/backups"]).await.ended(1);
    assert!(answer.err.contains("file/backups"), "{answer:?}");

    let locked = person.path("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
    let args = Person::ad_hoc(device, &["--to", "locked/backups"]);
    let mut program = person.program(&args.iter().map(String::as_str).collect::<Vec<_>>());
    // No folder is locked to root.
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        std::fs::set_permissions(person.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
        program.uid(65534).gid(65534);
    }
    let answer = tokio::task::spawn_blocking(move || Answer::of(program)).await.unwrap().ended(1);
    assert!(answer.err.contains("locked/backups") && answer.err.contains("Permission denied"), "{answer:?}");
    assert_eq!(device.stats().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_mounted_is_not_filled_underneath() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "core-sw1"]).await.good();
    // What an unmounted share looks like.
    std::fs::rename(person.path("home/store"), person.path("home/away")).unwrap();
    std::fs::create_dir(person.path("home/store")).unwrap();
    fleet.devices()[0].change_something();
    let answer = person.asks(&["backup", "core-sw1"]).await.ended(3);
    assert!(answer.err.contains("mount"), "{answer:?}");
    assert!(files_below(&person.path("home/store")).is_empty());
    std::fs::remove_dir(person.path("home/store")).unwrap();
    std::fs::rename(person.path("home/away"), person.path("home/store")).unwrap();
    person.asks(&["backup", "core-sw1"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_says_steers_no_terminal() {
    let device = SimDevice::linux("odd").ssh_banner("\u{1b}[2J welcome \u{202e}").greeting("\u{1b}]0;owned\u{7}");
    let (fleet, person) = devices([device]).await;
    fleet.devices()[0].change(|text| text.extend_from_slice(b"# \x1b[31mred\x1b[0m\n"));
    let first = person.backs_up(&fleet.devices()[0], &[]).await.good();
    fleet.devices()[0].change(|text| text.extend_from_slice(b"# \x1b[32mgreen\n"));
    let second = person.backs_up(&fleet.devices()[0], &[]).await.good();
    for answer in [&first, &second] {
        assert!(!answer.out.contains('\u{1b}') && !answer.err.contains('\u{1b}'), "{answer:?}");
    }
    // Two columns are for reading; a unified difference in a pipe is for `patch`.
    let read =
        person.asks(&["diff", "--from", "backups", "--artefact", "network-config", "--side-by-side"]).await.good();
    assert!(!read.out.contains('\u{1b}') && read.out.contains("\\u{1b}[32mgreen"), "{}", read.out);
    let piped = person.asks(&["diff", "--from", "backups", "--artefact", "network-config"]).await.good();
    assert!(piped.out.contains("+# \u{1b}[32mgreen"), "{}", piped.out);
}
