//! What a store asks of the system, looked at from outside by `strace`: written down, so that the
//! power can be cut behind each.

mod cuts;
mod disk;
mod line;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::storage::{ListFilter, VerifyDepth};
use devicevault_core::{Body, Entry, StorageBackend, StorageRef};
use devicevault_storage::git::GitOptions;
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::PlainBackend;
use devicevault_testkit::samples;
use futures::TryStreamExt as _;
use tempfile::TempDir;

use crate::git::{assert_sound, open_with};
use crate::plain::{SEALED, config, options};

/// Tells a process of this test program what to store to.
const CHILD: &str = "DEVICEVAULT_TEST_SYSCALLS_CHILD";

/// The calls that change what a disk holds. Those that a machine does not have are passed over.
const CALLS: &str = "?openat,?openat2,?write,?writev,?pwrite64,?fsync,?fdatasync,?ftruncate,?fallocate,?copy_file_range,\
                     ?rename,?renameat,?renameat2,?link,?linkat,?symlinkat,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Git,
}

impl Kind {
    /// A destination that is set up and holds a backup.
    async fn fresh(self) -> (TempDir, StorageRef) {
        let folder = tempfile::tempdir().unwrap();
        if self == Self::Plain {
            drop(LocalStore::init(folder.path(), &"main".into()).await.unwrap());
        }
        let before = self.open(folder.path()).await.store(vec![config("before", &b"before\n"[..])]).await.remove(0);
        (folder, before.unwrap())
    }

    async fn open(self, folder: &Path) -> Arc<dyn StorageBackend> {
        match self {
            Self::Plain => {
                let store = LocalStore::open(folder, &"main".into()).await.unwrap();
                Arc::new(PlainBackend::in_folder(store, options(SEALED)))
            }
            // What is merged by the way is another subject.
            Self::Git => Arc::new(open_with(folder, GitOptions::default().with_auto_repack(false)).await),
        }
    }

    /// Nothing that was confirmed is lost, nothing is half, and storing goes on.
    async fn is_well(self, folder: &Path, confirmed: &BTreeSet<StorageRef>, when: &str) {
        let backend = self.open(folder).await;
        let listed: Vec<_> = backend.list(ListFilter::default()).try_collect().await.unwrap();
        for (at, manifest) in &listed {
            let verdict = backend.verify(at, Some(manifest), VerifyDepth::Content).await.unwrap();
            assert!(verdict.is_good(), "{when}: {at}: {verdict:?}");
        }
        for at in confirmed {
            assert!(listed.iter().any(|(there, _)| there == at), "{when}: {at} was confirmed and is lost");
        }
        for verdict in backend.store(batch()).await {
            let at = verdict.unwrap_or_else(|e| panic!("{when}: {e:?}"));
            assert!(backend.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good(), "{when}: {at}");
        }
        drop(backend);
        if self == Self::Git {
            assert_sound(folder);
        }
    }

    /// Has a process store a batch under `strace`, which is told more; returns what that process confirmed.
    fn stores(self, folder: &Path, log: &Path, more: &[&str]) -> BTreeSet<StorageRef> {
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-qq", "-e", "signal=none", "-e"])
            .arg(format!("trace={CALLS}"))
            .args(more)
            .arg("-o")
            .arg(log);
        strace.arg(std::env::current_exe().unwrap());
        strace.args(["--exact", "syscalls::stores_when_another_test_asks", "--nocapture", "--test-threads=1"]);
        strace.env(CHILD, format!("{self:?}|{}", folder.display())).stdin(Stdio::null()).stderr(Stdio::null());
        let done = strace.output().expect("strace is installed");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(stored).collect()
    }
}

/// What a line of the child confirms.
fn stored(line: &str) -> Option<StorageRef> {
    line.split_once("stored ").map(|(_, at)| StorageRef(at.to_owned()))
}

/// Two small ones, and one that is written in several pieces.
fn batch() -> Vec<(Entry, Arc<dyn Body>)> {
    let content = |i: u64| -> Bytes { if i == 2 { samples::noise(i, 100_000) } else { samples::text(i, 3_000) } };
    (0..3).map(|i| config(&format!("sw{i}"), content(i))).collect()
}

/// Not a test of its own: the child's side. Without a task it has nothing to do.
#[test]
fn stores_when_another_test_asks() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (kind, folder) = task.split_once('|').unwrap();
    let kind = if kind == "Git" { Kind::Git } else { Kind::Plain };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let verdicts = runtime.block_on(async { kind.open(Path::new(folder)).await.store(batch()).await });
    for at in verdicts.into_iter().flatten() {
        // In one write: cut off, it leaves whole lines.
        std::io::Write::write_all(&mut std::io::stdout(), format!("stored {at}\n").as_bytes()).unwrap();
    }
}
