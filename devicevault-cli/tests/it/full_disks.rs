//! No room left.

use std::process::Command;

use devicevault_testkit::sim::SimDevice;

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
#[ignore = "needs root"]
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
