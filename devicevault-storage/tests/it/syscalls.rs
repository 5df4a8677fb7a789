//! What a store asks of the system, looked at from outside by `strace`: written down, so that the power can be cut behind
//! each call, and made to fail.

mod cuts;
mod disk;
mod errors;
mod line;
mod records;
mod spool;
mod stores;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use devicevault_core::Error;
use tempfile::TempDir;

/// Tells a process of this test program what to do, and where.
const CHILD: &str = "DEVICEVAULT_TEST_SYSCALLS_CHILD";

/// The calls that change what a disk holds.
const CHANGES: &[&str] = &[
    "openat",
    "openat2",
    "write",
    "writev",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "copy_file_range",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlinkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
];

/// Has `strace` write whole texts, and the path of each descriptor.
const ALL_TOLD: &[&str] = &["-y", "-xx", "-s", "10000000"];

/// What is kept on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Git,
    Spool,
    Catalog,
}

/// What a process said that it had done, and why it did not do the rest.
#[derive(Debug, Default)]
struct Told {
    done: BTreeSet<String>,
    /// Kinds of errors.
    refused: Vec<String>,
}

impl Kind {
    /// A place that is set up and holds something, and the name of that.
    async fn fresh(self) -> (TempDir, String) {
        match self {
            Self::Plain | Self::Git => stores::fresh(self).await,
            Self::Spool => spool::fresh().await,
            Self::Catalog => records::fresh().await,
        }
    }

    /// The child's side: three things are kept.
    async fn act(self, folder: &Path) {
        match self {
            Self::Plain | Self::Git => stores::act(self, folder).await,
            Self::Spool => spool::act(folder).await,
            Self::Catalog => records::act(folder).await,
        }
    }

    /// Nothing that was confirmed is lost, nothing is half, and more can be kept.
    async fn is_well(self, folder: &Path, confirmed: &BTreeSet<String>, when: &str) {
        match self {
            Self::Plain | Self::Git => stores::is_well(self, folder, confirmed, when).await,
            Self::Spool => spool::is_well(folder, confirmed, when).await,
            Self::Catalog => records::is_well(folder, confirmed, when).await,
        }
    }

    /// Has a process act under `strace`, which looks at some calls and is told more.
    fn acts(self, folder: &Path, log: &Path, calls: &[&str], more: &[&str]) -> Told {
        // A process that hangs is killed, with all that it started.
        let mut strace = Command::new("timeout");
        strace.args(["-s", "KILL", "240", "strace", "-f", "-qq", "-e", "signal=none", "-e"]);
        // Those that a machine does not have are passed over.
        strace.arg(format!("trace=?{}", calls.join(",?"))).args(more).arg("-o").arg(log);
        strace.arg(std::env::current_exe().unwrap());
        strace.args(["--exact", "syscalls::acts_when_another_test_asks", "--nocapture", "--test-threads=1"]);
        // Where the loader would look in a hundred folders first.
        strace.env_remove("LD_LIBRARY_PATH");
        strace.env(CHILD, format!("{self:?}|{}", folder.display())).stdin(Stdio::null()).stderr(Stdio::piped());
        let done = strace.output().expect("strace and timeout are installed");
        let complaints = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{more:?}: the process hung or panicked, {}: {complaints}", done.status);
        let mut told = Told::default();
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            told.done.extend(stored(line));
            told.refused.extend(line.split_once("refused ").map(|(_, kind)| kind.to_owned()));
        }
        told
    }
}

/// What a line of the child confirms.
fn stored(line: &str) -> Option<String> {
    line.split_once("stored ").map(|(_, at)| at.to_owned())
}

/// Tells the parent, in one write: cut off, it leaves whole lines.
fn tell(verdict: Result<impl std::fmt::Display, Error>) {
    let line = match verdict {
        Ok(at) => format!("stored {at}\n"),
        Err(e) => format!("refused {}\n", e.kind()),
    };
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
}

/// Not a test of its own: the child's side. Without a task it has nothing to do.
#[test]
fn acts_when_another_test_asks() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (kind, folder) = task.split_once('|').unwrap();
    let all = [Kind::Plain, Kind::Git, Kind::Spool, Kind::Catalog];
    let kind = all.into_iter().find(|k| format!("{k:?}") == kind).unwrap();
    // One thread for what waits for files, so that its calls come in one order.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        tokio::task::spawn_blocking(errors::in_the_thread_for_files).await.unwrap();
        errors::in_the_thread_that_waits();
        kind.act(Path::new(folder)).await;
    });
}
