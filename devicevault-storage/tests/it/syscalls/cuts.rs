//! A recording of what storing asks of the system, played up to each of its calls: what is left then, when the process is
//! killed or the power is cut, is a destination that lost nothing that was confirmed.

use std::collections::BTreeSet;

use super::disk::{Disk, When};
use super::{Kind, line, stored};

async fn every_prefix(kind: Kind) {
    let (folder, before) = kind.fresh().await;
    let mut disk = Disk::of(folder.path());
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("log");
    let told = kind.acts(folder.path(), &log, super::CHANGES, super::ALL_TOLD);
    assert_eq!(told.done.len(), 3);
    let mut confirmed = BTreeSet::from([before]);
    let (mut prefixes, mut states) = (0, 0);
    for call in line::calls(&std::fs::read_to_string(&log).unwrap()) {
        let text = call.args.get(1).and_then(|a| a.text.as_deref()).map(String::from_utf8_lossy);
        if call.name == "write" && call.args[0].number() == Some(1) {
            confirmed.extend(text.iter().flat_map(|t| t.lines().filter_map(stored).collect::<Vec<_>>()));
        } else if !disk.apply(&call) {
            continue;
        }
        prefixes += 1;
        for when in [When::Killed, When::PowerCut] {
            let left = tempfile::tempdir().unwrap();
            disk.write(when, left.path());
            kind.is_well(left.path(), &confirmed, &format!("{when:?} after call {prefixes}, {}", call.name)).await;
            states += 1;
        }
    }
    eprintln!("{kind:?}: {prefixes} prefixes of what was recorded, {states} disks opened, read and stored to");
    assert_eq!(confirmed.len(), 4);
    assert!(prefixes > 20, "{prefixes} calls are not all");
}

#[tokio::test]
#[ignore = "needs strace and git"]
async fn a_folder_after_every_call() {
    every_prefix(Kind::Plain).await;
}

#[tokio::test]
#[ignore = "needs strace and git"]
async fn a_spool_after_every_call() {
    every_prefix(Kind::Spool).await;
}

#[tokio::test]
#[ignore = "needs strace and git"]
async fn a_repository_after_every_call() {
    every_prefix(Kind::Git).await;
}
