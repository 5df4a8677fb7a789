//! Files that are not there, not ours, not whole, too new, in use; disks that are full.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use devicevault_core::run::Outcome;
use devicevault_core::{Catalog as _, Error, ErrorKind, Inventory as _, Retry, RunId};
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
use devicevault_testkit::samples;
use proptest::prelude::*;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{all_backups, open, place, second};

async fn refused(path: &Path) -> Error {
    SqliteCatalog::open(path, SqliteOptions::default()).await.unwrap_err()
}

/// The file without the catalog, to do to it what should not be done.
async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

async fn meddle(path: &Path, sql: &'static str) {
    let mut db = raw(path).await;
    sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

async fn put(catalog: &SqliteCatalog, device: &str, padding: usize) -> Result<(), Error> {
    let run = RunId::generate();
    let mut backup = samples::backup(device, "running-config", run, second(1), &["main"]);
    backup.metadata = [("padding".to_owned(), "x".repeat(padding))].into();
    catalog.record(run, vec![Outcome::Backup(backup)]).await
}

/// A closed catalog with a hundred backups.
async fn filled(path: &Path) {
    let catalog = open(path).await;
    for n in 0..100 {
        put(&catalog, &format!("d{n}"), 1000).await.unwrap();
    }
    catalog.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_and_what_stands_beside_it_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/devicevault/catalog.db");
    let catalog = open(&path).await;
    put(&catalog, "a", 1).await.unwrap();
    let mut seen = Vec::new();
    let mut look = vec![folder.path().join("state")];
    while let Some(path) = look.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let mode = meta.permissions().mode() & 0o777;
        assert_eq!(mode, if meta.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        seen.push(path.file_name().unwrap().to_string_lossy().into_owned());
        if meta.is_dir() {
            look.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db.d", "instances", "open.lock"] {
        assert!(seen.iter().any(|s| s == name), "{name} of {seen:?}");
    }
    let health = catalog.check().await.unwrap();
    assert!(health.is_good(), "{health:?}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let health = catalog.check().await.unwrap();
    assert_eq!(health.probes.iter().filter(|p| !p.good).map(|p| p.name.as_str()).collect::<Vec<_>>(), ["permissions"]);
}

#[tokio::test]
async fn opening_makes_nothing_where_nothing_is() {
    let (folder, path) = place();
    let e = refused(&path).await;
    assert_eq!((e.kind(), e.message()), (ErrorKind::NotFound, "there is no catalog"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let e = refused(folder.path()).await;
    assert_eq!(e.kind(), ErrorKind::Config);
    let e = SqliteCatalog::create(path.join("x"), SqliteOptions::default()).await;
    assert!(e.is_ok(), "folders above it are made");
    let e = SqliteCatalog::create(path.join("x/y"), SqliteOptions::default()).await.unwrap_err();
    assert_ne!(e.kind(), ErrorKind::Internal, "a file where a folder should be: {e:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn one_file_under_two_names_is_one_catalog() {
    let (folder, path) = place();
    let catalog = open(&path).await;
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let other = open(&link).await;
    assert_eq!(catalog.path(), other.path());
    let minute = Duration::from_secs(60);
    assert!(catalog.lease(&"a".into(), minute).await.unwrap().is_some());
    assert!(other.lease(&"a".into(), minute).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_no_catalog_is_told_and_left_alone() {
    let (_folder, path) = place();
    for (content, message) in [
        (&b"just a text, long enough to be none of the others"[..], "the file is not an SQLite database"),
        (&b""[..], "the file is empty; a catalog never is"),
        (&b"SQLite format 3\0"[..], "the file is not an SQLite database"),
        (&[b'x'; 5000][..], "the file is not an SQLite database"),
    ] {
        fs::write(&path, content).unwrap();
        let e = refused(&path).await;
        assert_eq!((e.kind(), e.message()), (ErrorKind::Corrupt, message));
        let e = SqliteCatalog::create(&path, SqliteOptions::default()).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    fs::remove_file(&path).unwrap();
    meddle(&path, "CREATE TABLE bookmarks (url TEXT)").await;
    let before = fs::read(&path).unwrap();
    let e = refused(&path).await;
    assert_eq!((e.kind(), e.message()), (ErrorKind::Config, "the file is a database of another program"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_file_is_refused_and_left_as_it_is(
        start in prop::sample::select(vec![&b""[..], b"SQLite format 3\0", b"SQLite format 3\0\x10\x00\x01\x01\x00\x40\x20\x20"]),
        rest in proptest::collection::vec(any::<u8>(), 1..6000),
    ) {
        let (_folder, path) = place();
        let content = [start, &rest].concat();
        fs::write(&path, &content).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let e = runtime.block_on(refused(&path));
        prop_assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Config), "{:?}", e);
        prop_assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_corrupt_wherever_it_was_cut() {
    let (_folder, path) = place();
    filled(&path).await;
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() > 100_000);
    for len in [0, 1, 99, 100, 4095, 4096, 8192, 50_000, whole.len() - 4096, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        let e = refused(&path).await;
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{len}: {e:?}");
        assert!(e.hint_text().is_some());
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(all_backups(&open(&path).await).await.len(), 100);
}

#[tokio::test]
async fn pages_that_were_overwritten_are_found_by_the_check() {
    let (_folder, path) = place();
    filled(&path).await;
    let mut bytes = fs::read(&path).unwrap();
    let third = bytes.len() / 3;
    bytes[third..third + 20_000].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    match SqliteCatalog::open(&path, SqliteOptions::default()).await {
        Err(e) => assert_eq!(e.kind(), ErrorKind::Corrupt),
        Ok(catalog) => match catalog.check().await {
            Err(e) => assert_eq!(e.kind(), ErrorKind::Corrupt),
            Ok(health) => {
                assert!(health.probes.iter().any(|p| p.name == "integrity" && !p.good), "{health:?}");
                assert!(!health.is_good());
            }
        },
    }
}

#[tokio::test]
async fn records_without_what_they_refer_to_are_found_by_the_check() {
    let (_folder, path) = place();
    filled(&path).await;
    meddle(&path, "PRAGMA foreign_keys = OFF; DELETE FROM backups WHERE device = 'd7'").await;
    let health = open(&path).await.check().await.unwrap();
    let bad: Vec<_> = health.probes.iter().filter(|p| !p.good).collect();
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].detail, "a record of copies refers to one of backups that is not there");
}

#[tokio::test]
async fn a_catalog_for_newer_programs_is_refused_and_one_that_is_readable_is_not() {
    let (_folder, path) = place();
    filled(&path).await;
    meddle(&path, "INSERT INTO schema_history VALUES (7, 1, 'devicevault 2.0.0', 0)").await;
    let catalog = open(&path).await;
    put(&catalog, "a", 1).await.unwrap();
    // The next release migrates it while this one has it open.
    meddle(&path, "INSERT INTO schema_history VALUES (8, 9, 'devicevault 3.0.0', 0)").await;
    let e = put(&catalog, "a", 1).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    drop(catalog);
    let before = fs::read(&path).unwrap();
    let e = refused(&path).await;
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert_eq!(e.message(), "a newer release wrote this catalog, and this one cannot read it");
    assert_eq!(e.hint_text(), Some("upgrade this program"));
    let context: Vec<_> = e.context().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let has = |name: &str, value: &str| context.contains(&(name.to_owned(), value.to_owned()));
    assert!(has("schema", "8") && has("readable by", "9") && has("this release", "5"), "{context:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn many_that_create_it_at_once_have_one() {
    let (_folder, path) = place();
    let all = futures::future::join_all((0..12).map(|_| open(&path))).await;
    for (n, catalog) in all.iter().enumerate() {
        put(catalog, &format!("d{n}"), 1).await.unwrap();
    }
    assert_eq!(all_backups(&all[0]).await.len(), 12);
}

#[tokio::test]
async fn a_writer_in_the_way_is_waited_for_and_then_told() {
    let (_folder, path) = place();
    let options = SqliteOptions::default().with_busy_timeout(Duration::from_millis(200));
    let catalog = SqliteCatalog::create(&path, options).await.unwrap();
    let mut other = raw(&path).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let (a, b) = tokio::join!(put(&catalog, "a", 1), put(&catalog, "b", 1));
    for e in [a.unwrap_err(), b.unwrap_err()] {
        assert_eq!((e.kind(), e.message()), (ErrorKind::Unavailable, "another process is writing the catalog"));
        assert!(matches!(e.retry(), Retry::After(_)));
    }
    // Readers do not mind.
    assert!(all_backups(&catalog).await.is_empty());
    let (waited, done) = tokio::join!(put(&catalog, "a", 1), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        sqlx::raw_sql("COMMIT").execute(&mut other).await
    });
    waited.unwrap();
    done.unwrap();
}

#[tokio::test]
async fn somebody_who_opens_it_is_waited_for_and_then_told() {
    let (folder, path) = place();
    let options = SqliteOptions::default().with_busy_timeout(Duration::from_millis(100));
    drop(SqliteCatalog::create(&path, options.clone()).await.unwrap());
    let held = fs::OpenOptions::new().write(true).open(folder.path().join("catalog.db.d/open.lock")).unwrap();
    held.lock().unwrap();
    let e = SqliteCatalog::open(&path, options.clone()).await.unwrap_err();
    assert_eq!(
        (e.kind(), e.message()),
        (ErrorKind::Unavailable, "another process is opening or migrating the catalog")
    );
    drop(held);
    SqliteCatalog::open(&path, options.with_busy_timeout(Duration::MAX).with_readers(0)).await.unwrap();
}

#[tokio::test]
async fn a_closed_catalog_has_no_log_and_answers_no_more() {
    let (folder, path) = place();
    let catalog = open(&path).await;
    put(&catalog, "a", 1).await.unwrap();
    catalog.close().await;
    catalog.close().await;
    assert!(!folder.path().join("catalog.db-wal").exists());
    assert_eq!(put(&catalog, "b", 1).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(catalog.destinations().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(catalog.pending().await.unwrap_err().message(), "the catalog was closed");
    drop(catalog);
    assert_eq!(fs::read_dir(folder.path().join("catalog.db.d/instances")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_was_left_of_a_creation_that_died_is_no_hindrance() {
    let (folder, path) = place();
    fs::write(folder.path().join("catalog.db.new"), "half of something").unwrap();
    fs::write(folder.path().join("catalog.db.new-journal"), "half of something").unwrap();
    let catalog = open(&path).await;
    put(&catalog, "a", 1).await.unwrap();
    assert!(!folder.path().join("catalog.db.new").exists());
}

/// A file system of its own, unmounted when it is dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).status();
        assert!(mount.unwrap().success());
        Self(folder)
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "needs root"]
async fn a_full_disk_takes_nothing_half_and_recovers() {
    let disk = Mounted::new("size=1500k");
    let path = disk.0.path().join("catalog.db");
    let catalog = open(&path).await;
    put(&catalog, "first", 10).await.unwrap();
    let mut kept = 1;
    let e = loop {
        match put(&catalog, "more", 50_000).await {
            Ok(()) => kept += 1,
            Err(e) => break e,
        }
        assert!(kept < 1000);
    };
    assert_eq!((e.kind(), e.message()), (ErrorKind::StorageFull, "there is no space left for the catalog"), "{e:?}");
    assert_eq!(all_backups(&catalog).await.len(), kept);
    // One that is too large does not keep a small one beside it from being stored.
    let huge = put(&catalog, "huge", 3_000_000);
    let small = put(&catalog, "small", 10);
    let (huge, small) = tokio::join!(huge, small);
    assert_eq!(huge.unwrap_err().kind(), ErrorKind::StorageFull);
    kept += usize::from(small.is_ok());
    assert_eq!(all_backups(&catalog).await.len(), kept);
    disk.remount("size=20m");
    put(&catalog, "after", 50_000).await.unwrap();
    assert_eq!(all_backups(&catalog).await.len(), kept + 1);
    assert!(catalog.check().await.unwrap().is_good());
    drop(catalog);
    let other = Mounted::new("size=16k");
    let e = SqliteCatalog::create(other.0.path().join("catalog.db"), SqliteOptions::default()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StorageFull, "{e:?}");
    assert!(!other.0.path().join("catalog.db").exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "needs root"]
async fn a_file_system_that_cannot_be_written_is_told() {
    let disk = Mounted::new("size=4m");
    let path = disk.0.path().join("catalog.db");
    let catalog = open(&path).await;
    put(&catalog, "a", 10).await.unwrap();
    catalog.close().await;
    drop(catalog);
    disk.remount("ro");
    let e = refused(&path).await;
    assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{e:?}");
    let e = SqliteCatalog::create(disk.0.path().join("new.db"), SqliteOptions::default()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{e:?}");
}
