//! The k-th call to a file fails, once or with all that follow, for every k.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{Kind, line, records};

/// The calls that read what a disk holds.
const READS: &[&str] = &["read", "pread64", "getdents64", "statx", "newfstatat", "fstat"];

/// Those of the calls that a full disk refuses.
const ROOM: &[&str] = &[
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
    "mkdir",
    "mkdirat",
];

/// As many of each call are made by the thread for files before any that counts: `strace` counts the calls of a name in each
/// thread, and what another thread does when the process starts is not to fail with it.
const FIRST: usize = 40;

/// As many by the thread that waits: what little it asks of files itself is told from the other's calls by that.
const LAST: usize = 400;

/// The calls that are made so often.
const MADE_FIRST: &[&str] = &["openat", "read", "pread64", "write", "statx", "newfstatat", "fstat"];

/// See [`FIRST`].
pub(super) fn in_the_thread_for_files() {
    calls_that_do_not_count(FIRST);
    let Ok(null) = std::fs::File::options().write(true).open("/dev/null") else { return };
    for _ in 0..FIRST {
        let _ = std::io::Write::write(&mut &null, &[0]);
    }
}

/// See [`LAST`]. What it writes is for the parent, and is not to fail at all.
pub(super) fn in_the_thread_that_waits() {
    calls_that_do_not_count(LAST);
}

fn calls_that_do_not_count(times: usize) {
    for _ in 0..times {
        // All of them may have to fail.
        let _ = std::fs::metadata("/dev/null");
        let _ = rustix::fs::stat("/dev/null");
        let Ok(zero) = std::fs::File::open("/dev/zero") else { continue };
        let _ = std::io::Read::read(&mut &zero, &mut [0]);
        let _ = zero.read_at(&mut [0], 0);
        let _ = rustix::fs::fstat(&zero);
    }
}

/// How calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    Once,
    ForEver,
    /// From then on there is no room.
    Full,
}

/// A call of the recording, and how many of each name its thread had made up to it.
struct Point {
    name: String,
    made: HashMap<String, usize>,
}

impl Failing {
    fn calls(self) -> Vec<&'static str> {
        if self == Self::Full { ROOM.to_vec() } else { [super::CHANGES, READS].concat() }
    }

    /// What `strace` is told for it.
    fn inject(self, at: &Point) -> Vec<String> {
        let one = |name: &str, when: String| {
            let error = if self == Self::Full { "ENOSPC" } else { "EIO" };
            ["-e".to_owned(), format!("inject=?{name}:error={error}:when={when}")]
        };
        if self == Self::Once {
            return one(&at.name, at.made[&at.name].to_string()).into();
        }
        let from = |name: &str| {
            let first = if MADE_FIRST.contains(&name) { FIRST } else { 0 };
            (at.made.get(name).copied().unwrap_or(0) + usize::from(name != at.name)).max(first + 1)
        };
        self.calls().into_iter().flat_map(|name| one(name, format!("{}+", from(name)))).collect()
    }
}

/// The calls that touch the folder, with how they are to be met.
fn points(log: &str, folder: &Path, how: Failing) -> Vec<Point> {
    let folder = folder.display().to_string();
    let all = line::calls(log);
    let mut made: BTreeMap<&str, HashMap<String, usize>> = BTreeMap::new();
    let mut points = Vec::new();
    for call in &all {
        *made.entry(&call.thread).or_default().entry(call.name.clone()).or_default() += 1;
        if how.calls().contains(&call.name.as_str()) && call.touches(&folder) {
            points.push((&*call.thread, Point { name: call.name.clone(), made: made[&*call.thread].clone() }));
        }
    }
    // Of what another thread has not done, what the one for files has.
    let of = |thread: &str| points.iter().filter(|(t, _)| *t == thread).count();
    let busiest = made.keys().copied().max_by_key(|thread| of(thread)).unwrap_or_default();
    let mut last = HashMap::new();
    let mut met = Vec::new();
    for (thread, mut point) in points {
        if thread == busiest {
            last.clone_from(&point.made);
        } else {
            let own = std::mem::replace(&mut point.made, last.clone());
            point.made.extend(own);
        }
        met.push(point);
    }
    met
}

async fn every_call_fails(kind: Kind, how: Failing) {
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("log");
    let calls = how.calls();
    // The database has threads of its own, and files whose names are known.
    let restricted = |folder: &Path| -> Vec<String> {
        let files = records::FILES.iter().filter(|_| kind == Kind::Catalog);
        files.flat_map(|name| ["-P".to_owned(), folder.join(name).display().to_string()]).collect()
    };
    let (folder, _) = kind.fresh().await;
    let more: Vec<String> =
        restricted(folder.path()).into_iter().chain(super::ALL_TOLD.iter().map(|&s| s.to_owned())).collect();
    let told = kind.acts(folder.path(), &log, &calls, &more.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(told.done.len(), 3, "without a fault all is kept");
    let points = points(&std::fs::read_to_string(&log).unwrap(), folder.path(), how);
    let every = std::env::var("DEVICEVAULT_EVERY").ok().and_then(|n| n.parse().ok()).unwrap_or(points.len() / 40 + 1);
    let (mut failed, mut kept, mut refused) = (0, 0, BTreeMap::new());
    for (k, point) in points.iter().enumerate().step_by(every) {
        let (folder, before) = kind.fresh().await;
        let more = [restricted(folder.path()), how.inject(point)].concat();
        let mut told = kind.acts(folder.path(), &log, &calls, &more.iter().map(String::as_str).collect::<Vec<_>>());
        failed += usize::from(String::from_utf8_lossy(&std::fs::read(&log).unwrap()).contains("(INJECTED)"));
        kept += told.done.len();
        for kind in told.refused {
            *refused.entry(kind).or_insert(0) += 1;
        }
        told.done.insert(before);
        kind.is_well(folder.path(), &told.done, &format!("{how:?}, call {k}, {}", point.name)).await;
    }
    let tried = points.len().div_ceil(every);
    eprintln!(
        "{kind:?}, {how:?}: {tried} of {} calls failed ({failed} where they were foreseen); {kept} of {} were kept all the \
         same, the others refused as {refused:?}",
        points.len(),
        3 * tried
    );
    // SQLite does not always tell why.
    let full = |kind: &str| kind == "storage_full" || how != Failing::Full;
    assert!(kind == Kind::Catalog || refused.keys().all(|kind| full(kind)), "{refused:?}");
    assert!(points.len() > 10, "{} calls are not all", points.len());
    // Which of the database's threads makes which call differs from one time to the next.
    let enough = if kind == Kind::Catalog { 6 } else { 9 };
    assert!(failed * 10 >= tried * enough, "the calls were not met");
}

macro_rules! tests {
    ($($name:ident: $kind:ident, $how:ident;)*) => {
        $(#[tokio::test]
        #[ignore = "needs strace and git"]
        async fn $name() {
            every_call_fails(Kind::$kind, Failing::$how).await;
        })*
    };
}

tests! {
    a_folder_and_an_error_once: Plain, Once;
    a_folder_and_errors_from_then_on: Plain, ForEver;
    a_folder_and_a_disk_that_is_full_from_then_on: Plain, Full;
    a_repository_and_an_error_once: Git, Once;
    a_repository_and_errors_from_then_on: Git, ForEver;
    a_repository_and_a_disk_that_is_full_from_then_on: Git, Full;
    a_spool_and_an_error_once: Spool, Once;
    a_spool_and_errors_from_then_on: Spool, ForEver;
    a_spool_and_a_disk_that_is_full_from_then_on: Spool, Full;
    a_catalog_and_an_error_once: Catalog, Once;
    a_catalog_and_errors_from_then_on: Catalog, ForEver;
    a_catalog_and_a_disk_that_is_full_from_then_on: Catalog, Full;
}
