//! No room left.

use std::process::{Command, Stdio};

use devicevault_testkit::sim::{Quirk, SimDevice, Simulated};

use crate::person::{Answer, PASSWORD, Person, files_below};
use crate::sight::devices;

/// Versions of backups in a folder: their manifests.
fn manifests(person: &Person) -> usize {
    files_below(&person.path("backups")).iter().filter(|(f, _)| f.to_string_lossy().ends_with(".manifest.json")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_is_a_failure_that_leaves_nothing_half() {
    let (fleet, person) = devices([SimDevice::cisco_ios("large-sw").size(1 << 20)]).await;
    let device = &fleet.devices()[0];
    person.backs_up(device, &["--artefact", "inventory"]).await.good();
    let before = manifests(&person);
    // A limit on the size of files, whose signal is ignored: writing beyond it fails as on a full disk.
    let program = assert_cmd::cargo::cargo_bin!("devicevault").display().to_string();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\"", &program])
        .args(Person::ad_hoc(device, &[]));
    limited.args(["--artefact", "running-config"]).current_dir(person.path("")).env(PASSWORD, device.password());
    let answer = tokio::task::spawn_blocking(move || Answer::of(limited)).await.unwrap().ended(1);
    assert!(answer.err.contains("error:"), "{answer:?}");
    assert_eq!(manifests(&person), before);
    person.asks(&["verify", "--from", "backups"]).await.good();
    person.backs_up(device, &[]).await.good();
    assert_eq!(manifests(&person), before + 2);
}

/// A small file system in memory, gone with its test.
struct SmallDisk(std::path::PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount a file system in memory"]
async fn a_full_disk_is_a_failure_that_leaves_nothing_half() {
    let (fleet, person) = devices([SimDevice::cisco_ios("large-sw").size(700 << 10)]).await;
    let device = &fleet.devices()[0];
    std::fs::create_dir(person.path("backups")).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=2M", "tmpfs"]).arg(person.path("backups"));
    assert!(mount.status().unwrap().success(), "a file system in memory");
    let disk = SmallDisk(person.path("backups"));
    person.backs_up(device, &["--artefact", "inventory"]).await.good();
    let before = manifests(&person);
    // The log of the catalog may give some room back, but not as much as the configuration takes.
    let filler = std::fs::write(person.path("backups/filler"), vec![0; 2 << 20]);
    assert!(filler.is_err(), "the disk is full");
    let answer = person.backs_up(device, &["--artefact", "running-config"]).await.ended(1);
    assert!(answer.err.contains("space") || answer.err.contains("full"), "{answer:?}");
    assert_eq!(manifests(&person), before);
    std::fs::remove_file(person.path("backups/filler")).unwrap();
    person.backs_up(device, &["--artefact", "running-config"]).await.good();
    assert_eq!(manifests(&person), before + 1);
    person.asks(&["verify", "--from", "backups"]).await.good();
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount a file system in memory"]
async fn a_full_disk_keeps_nobody_from_reading_after_a_kill() {
    let quirk = Quirk::Stall { command: "show running-config".to_owned(), after: 1000 };
    let (fleet, person) = devices([SimDevice::cisco_ios("sw1"), SimDevice::cisco_ios("stuck-sw").quirk(quirk)]).await;
    std::fs::create_dir(person.path("home")).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=16M", "tmpfs"]).arg(person.path("home"));
    assert!(mount.status().unwrap().success(), "a file system in memory");
    let disk = SmallDisk(person.path("home"));
    person.moves_in(&fleet).await;
    person.asks(&["backup", "sw1", "--quiet"]).await.good();
    let mut cut_off =
        person.program(&["backup", "stuck-sw"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while fleet.devices()[1].stats().logins == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    cut_off.kill().unwrap();
    cut_off.wait().unwrap();
    assert!(std::fs::write(person.path("home/filler"), vec![0; 16 << 20]).is_err(), "the disk is full");
    for read in [&["history", "sw1"][..], &["show", "sw1"], &["device", "list"], &["run", "list"]] {
        person.asks(read).await.good();
    }
    std::fs::remove_file(person.path("home/filler")).unwrap();
    let runs = person.asks(&["run", "list", "--json"]).await.good().out;
    assert!(runs.contains("stuck-sw"), "{runs}");
    person.asks(&["backup", "sw1", "--quiet"]).await.good();
    drop(disk);
}

/// Bytes that are in use on the disk of a folder.
fn used(folder: &std::path::Path) -> u64 {
    let found = rustix::fs::statvfs(folder).unwrap();
    (found.f_blocks - found.f_bfree) * found.f_frsize
}

/// A configuration that no compression makes smaller than a disk.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let line = |rng: &mut fastrand::Rng| {
        let word: String = std::iter::repeat_with(|| rng.alphanumeric()).take(60).collect();
        format!(" remark {word}\n")
    };
    std::iter::repeat_with(|| line(&mut rng)).take(bytes / 69).flat_map(String::into_bytes).collect()
}

fn grows(device: &Simulated, seed: u64) {
    let lines = noise(3 << 20, seed);
    device.change(|config| {
        let end = config.windows(5).rposition(|w| w == b"\nend\n").unwrap() + 1;
        let first = config.windows(8).position(|w| w == b" remark ").unwrap_or(end);
        config.splice(first..end, lines);
    });
}

/// Room that is left when a run begins that would need more than 4 MiB.
const ROOM: [u64; 8] = [0, 4 << 10, 40 << 10, 128 << 10, 384 << 10, 768 << 10, 1 << 20, 1536 << 10];

/// A sealed store and a Git repository on a small disk that is full but for so much, again and again; everything else of
/// the home is on the same disk, or on one with room. Returns the most bytes that a run left behind.
async fn runs_out(all_of_it: bool) -> u64 {
    let (fleet, person) = devices([SimDevice::cisco_ios("large-sw").size(8 << 10)]).await;
    let device = &fleet.devices()[0];
    let small = person.path(if all_of_it { "home" } else { "small" });
    std::fs::create_dir(&small).unwrap();
    let mut mount = Command::new("mount");
    assert!(mount.args(["-t", "tmpfs", "-o", "size=96M", "tmpfs"]).arg(&small).status().unwrap().success());
    let disk = SmallDisk(small.clone());
    person.moves_in(&fleet).await;
    if !all_of_it {
        for name in ["store", "git"] {
            person.asks(&["destination", "disable", name, "--without-original"]).await.good();
        }
        person.asks(&["destination", "add", "full", "--kind", "plain", "--path", "small/store"]).await.good();
        person.asks(&["destination", "add", "full-git", "--kind", "git", "--path", "small/git"]).await.good();
    }
    person.asks(&["backup", "large-sw", "--quiet"]).await.good();
    let mut most = 0;
    for (round, room) in ROOM.iter().enumerate() {
        grows(device, round as u64);
        // What is there now stays; the rest but this much is taken.
        let filler = small.join("filler");
        let total = rustix::fs::statvfs(&small).unwrap();
        let free = total.f_bfree * total.f_frsize;
        std::fs::write(&filler, vec![0; usize::try_from(free.saturating_sub(*room)).unwrap()]).unwrap();
        let before = used(&small);
        let answer = person.asks(&["backup", "large-sw", "--retries", "0", "--json"]).await;
        assert!([1, 3].contains(&answer.code), "{room}: {answer:?}");
        let told = format!("{}{}", answer.out, answer.err);
        assert!(told.contains("space") || told.contains("full"), "{room}: {answer:?}");
        let left = used(&small).saturating_sub(before);
        assert!(left < 1 << 20, "with {room} bytes free, {left} bytes were left behind");
        most = most.max(left);
        // Room again: the next run needs no help, and what was there before is there.
        std::fs::remove_file(&filler).unwrap();
        person.asks(&["backup", "large-sw", "--quiet"]).await.good();
        person.asks(&["verify", "--quiet"]).await.good();
        let text = person.asks(&["show", "large-sw", "--view", "original"]).await.good().out;
        let config = String::from_utf8(device.config().to_vec()).unwrap();
        assert!(text.contains(config.lines().rev().find(|l| l.starts_with(" remark ")).unwrap()));
        let git = if all_of_it { "home/git" } else { "small/git" };
        let fsck = Command::new("git").arg("-C").arg(person.path(git)).args(["fsck", "--full"]).output().unwrap();
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
    }
    drop(disk);
    most
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and git to mount a file system in memory"]
async fn destinations_without_room_take_nothing_half_and_all_once_there_is_some() {
    let most = runs_out(false).await;
    println!("{} runs without room, at most {most} bytes left behind by one", ROOM.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and git to mount a file system in memory"]
async fn a_home_without_room_takes_nothing_half_and_all_once_there_is_some() {
    let most = runs_out(true).await;
    println!("{} runs without room, at most {most} bytes left behind by one", ROOM.len());
}
