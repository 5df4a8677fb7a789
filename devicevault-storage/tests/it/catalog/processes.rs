//! Several processes with one file, and what one that is killed leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use devicevault_core::catalog::{Page, Query};
use devicevault_core::run::{Outcome, RunState};
use devicevault_core::{Catalog as _, ErrorKind, RunId};
use devicevault_testkit::samples;

use super::{all_backups, ended, new_run, open, place, run_of, second};

const HOUR: Duration = Duration::from_secs(3600);
const DEVICES: usize = 100;

/// This test program again, as another process: told what to do on its input, telling what it did on its error output.
struct Process {
    child: Child,
    lines: BufReader<ChildStderr>,
}

impl Process {
    fn start(act: &str, path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["catalog::processes::another_process", "--exact", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{act} {}", path.display()).unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines }
    }

    /// The next thing that it did.
    fn told(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some(told) = line.strip_prefix("told ").and_then(|t| t.strip_suffix('\n')) {
                return Some(told.to_owned());
            }
            line.clear();
        }
        None
    }

    fn go(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap(), "go").unwrap();
    }

    /// As by `kill -9`.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn device(n: usize) -> String {
    format!("sw{n:03}")
}

fn wait_for_go() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is started by the tests of this file"]
async fn another_process() {
    let mut order = String::new();
    std::io::stdin().read_line(&mut order).unwrap();
    let (act, path) = order.trim_end().split_once(' ').expect("it is started by other tests");
    let catalog = open(Path::new(path)).await;
    match act {
        "hold" => {
            for n in 0..DEVICES {
                catalog.lease(&device(n).into(), HOUR).await.unwrap().unwrap();
            }
            let run = catalog.begin(&new_run(&device(0), 1)).await.unwrap();
            eprintln!("told {run}");
            // Until it is killed, or its starter has died.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
        "race" => {
            eprintln!("told ready");
            wait_for_go();
            for n in 0..DEVICES {
                if catalog.lease(&device(n).into(), HOUR).await.unwrap().is_some() {
                    eprintln!("told {}", device(n));
                }
            }
            eprintln!("told done");
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
        "record" => {
            let one = |lane: usize| {
                let catalog = &catalog;
                async move {
                    for n in 0.. {
                        let start = new_run(&device(lane), n);
                        let run = catalog.begin(&start).await.unwrap();
                        let mut outcomes: Vec<_> = ["running-config", "startup-config"]
                            .map(|a| {
                                Outcome::Backup(samples::backup(&device(lane), a, run, second(n), &["git", "main"]))
                            })
                            .into();
                        outcomes.push(Outcome::End(ended(run, start, RunState::Succeeded)));
                        catalog.record(run, outcomes).await.unwrap();
                        eprintln!("told {run}");
                    }
                }
            };
            futures::future::join_all((0..8).map(one)).await;
        }
        "visit" => {
            catalog.close().await;
            eprintln!("told done");
        }
        other => panic!("no such act: {other}"),
    }
}

#[tokio::test]
async fn the_lease_of_a_killed_process_is_free_at_once_and_its_run_is_closed() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let mut holder = Process::start("hold", &path);
    let run: RunId = holder.told().unwrap().parse().unwrap();
    assert_eq!(catalog.lease(&device(0).into(), HOUR).await.unwrap(), None);
    catalog.pending().await.unwrap();
    assert!(!run_of(&catalog, run).await.state.is_final());
    holder.kill();
    assert!(catalog.lease(&device(0).into(), HOUR).await.unwrap().is_some());
    assert!(!run_of(&catalog, run).await.state.is_final(), "nobody has looked yet");
    catalog.pending().await.unwrap();
    let closed = run_of(&catalog, run).await;
    assert_eq!((closed.state, closed.error.unwrap().kind), (RunState::Failed, ErrorKind::Cancelled));
    // The others were freed with it, for those who look at nothing but the table.
    assert!(catalog.lease(&device(1).into(), HOUR).await.unwrap().is_some());
}

#[tokio::test]
async fn what_a_killed_process_left_is_closed_by_the_next_that_opens() {
    let (folder, path) = place();
    let mut holder = Process::start("hold", &path);
    let run: RunId = holder.told().unwrap().parse().unwrap();
    holder.kill();
    let instances = folder.path().join("catalog.db.d/instances");
    assert_eq!(std::fs::read_dir(&instances).unwrap().count(), 1);
    let catalog = open(&path).await;
    assert_eq!(run_of(&catalog, run).await.state, RunState::Failed);
    assert_eq!(std::fs::read_dir(&instances).unwrap().count(), 1, "its own, and not that of the dead");
}

/// SQLite's locks on a file are gone when its process closes any handle of that file
/// (<https://www.sqlite.org/howtocorrupt.html>, 2.2): another process would then take itself for the last one to close
/// the catalog, and remove the log that this one writes.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn opening_it_again_in_a_process_leaves_its_locks_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let (_folder, path) = place();
    let first = open(&path).await;
    let file = format!(":{} ", std::fs::metadata(&path).unwrap().ino());
    let locks = || std::fs::read_to_string("/proc/locks").unwrap().lines().filter(|l| l.contains(&file)).count();
    assert_eq!(locks(), 1);
    let second = open(&path).await;
    second.check().await.unwrap();
    assert_eq!(locks(), 1);
    drop(second);
    let _third = open(&path).await;
    assert_eq!(locks(), 1);
    assert_eq!(Process::start("visit", &path).told().unwrap(), "done");
    let run = first.begin(&new_run("a", 1)).await.unwrap();
    assert_eq!(run_of(&open(&path).await, run).await.id, run);
}

#[test]
fn of_processes_that_race_for_leases_each_gets_others() {
    for after_a_dead_holder in [false, true] {
        let (_folder, path) = place();
        let mut holder = after_a_dead_holder.then(|| Process::start("hold", &path));
        if let Some(holder) = &mut holder {
            holder.told().unwrap();
        }
        let mut racers: Vec<_> = (0..4).map(|_| Process::start("race", &path)).collect();
        for racer in &mut racers {
            assert_eq!(racer.told().unwrap(), "ready");
        }
        // It dies when all have the file open: what they find is its lease, and that nobody holds its lock.
        holder.as_mut().map(Process::kill);
        racers.iter_mut().for_each(Process::go);
        let mut winners: BTreeMap<String, usize> = BTreeMap::new();
        for racer in &mut racers {
            while let Some(won) = racer.told().filter(|t| t != "done") {
                *winners.entry(won).or_default() += 1;
            }
        }
        assert_eq!(winners.len(), DEVICES);
        assert!(winners.values().all(|n| *n == 1), "{winners:?}");
    }
}

#[tokio::test]
async fn a_process_killed_while_it_records_leaves_whole_records() {
    let (_folder, path) = place();
    let mut known = BTreeSet::new();
    for round in 0..12_u64 {
        let mut process = Process::start("record", &path);
        known.insert(process.told().unwrap());
        // At another moment in every round; no clock decides whether the test passes.
        tokio::time::sleep(Duration::from_micros(3_701 * round)).await;
        process.kill();
        while let Some(run) = process.told() {
            known.insert(run);
        }
        let catalog = open(&path).await;
        assert!(catalog.check().await.unwrap().is_good());
        let mut of_run: BTreeMap<RunId, usize> = BTreeMap::new();
        let mut page = Page::first(1000);
        loop {
            let paged = catalog.find(&Query::default(), page).await.unwrap();
            for backup in paged.items {
                assert_eq!(backup.copies.len(), 2);
                *of_run.entry(backup.run).or_default() += 1;
            }
            let Some(next) = paged.next else { break };
            page = Page::after(1000, next);
        }
        assert!(of_run.values().all(|n| *n == 2), "half a record");
        for run in &known {
            assert!(of_run.contains_key(&run.parse().unwrap()), "a run that was reported is gone");
        }
        let mut page = Page::first(1000);
        loop {
            let paged = catalog.runs(&devicevault_core::catalog::RunQuery::default(), page).await.unwrap();
            for run in paged.items {
                let whole = of_run.contains_key(&run.id);
                assert_eq!(run.state, if whole { RunState::Succeeded } else { RunState::Failed });
            }
            let Some(next) = paged.next else { break };
            page = Page::after(1000, next);
        }
    }
    assert!(!all_backups(&open(&path).await).await.is_empty());
}
