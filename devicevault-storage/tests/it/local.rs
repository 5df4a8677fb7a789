//! The folder as an object store.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path as FolderPath;

use bytes::Bytes;
use devicevault_core::{DestinationId, ErrorKind};
use devicevault_storage::local::{Content, LocalStore, Placement};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, integration};
use tempfile::TempDir;

async fn store() -> (TempDir, LocalStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::init(folder.path(), &"main".into()).await.unwrap();
    (folder, store)
}

fn place(location: &str, content: &'static str, replace: bool) -> Placement {
    Placement {
        location: Path::from(location),
        content: Content::Bytes(Bytes::from_static(content.as_bytes())),
        replace,
    }
}

async fn read(store: &LocalStore, at: &str) -> Result<Bytes, Error> {
    store.get(&Path::from(at)).await?.bytes().await
}

async fn listed(store: &LocalStore) -> Vec<String> {
    store.list(None).map_ok(|m| m.location.to_string()).try_collect().await.unwrap()
}

fn staged_files(folder: &FolderPath) -> usize {
    let count = |d: std::fs::ReadDir| d.count();
    let areas = std::fs::read_dir(folder.join(".tmp")).map(|d| d.flatten().collect::<Vec<_>>()).unwrap_or_default();
    areas.iter().filter_map(|a| std::fs::read_dir(a.path()).ok()).map(count).sum()
}

#[tokio::test]
async fn the_suite_of_object_store_passes() {
    let (_folder, store) = store().await;
    integration::put_get_delete_list(&store).await;
    integration::get_opts(&store).await;
    integration::list_uses_directories_correctly(&store).await;
    integration::list_with_delimiter(&store).await;
    integration::rename_and_copy(&store).await;
    integration::copy_if_not_exists(&store).await;
    integration::copy_rename_nonexistent_object(&store).await;
    integration::stream_get(&store).await;
    integration::put_opts(&store, false).await;
    integration::list_with_offset_exclusivity(&store).await;
    integration::multipart_race_condition(&store, true).await;
    integration::multipart_out_of_order(&store).await;
    assert!(integration::get_nonexistent_object(&store, None).await.is_err());
}

#[tokio::test]
async fn files_and_folders_are_for_the_owner_alone() {
    let (folder, store) = store().await;
    store.put(&Path::from("a/b/c.txt"), "x".into()).await.unwrap();
    let mut upload = store.put_multipart(&Path::from("a/d.bin")).await.unwrap();
    upload.put_part("y".into()).await.unwrap();
    upload.complete().await.unwrap();
    for (path, mode) in [
        ("a", 0o700),
        ("a/b", 0o700),
        ("a/b/c.txt", 0o600),
        ("a/d.bin", 0o600),
        (".tmp", 0o700),
        (".devicevault-destination", 0o600),
    ] {
        assert_eq!(std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
}

#[tokio::test]
async fn a_folder_belongs_to_one_destination() {
    let (folder, store) = store().await;
    let main = DestinationId::from("main");
    assert_eq!(store.destination(), &main);
    LocalStore::open(folder.path(), &main).await.unwrap();
    LocalStore::init(folder.path(), &main).await.unwrap();
    let other = "other".into();
    assert_eq!(LocalStore::open(folder.path(), &other).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(LocalStore::init(folder.path(), &other).await.unwrap_err().kind(), ErrorKind::Conflict);

    let unmounted = tempfile::tempdir().unwrap();
    let e = LocalStore::open(unmounted.path(), &main).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.to_string().contains("mounted") && e.hint_text().is_some(), "{e:?}");
    assert_eq!(std::fs::read_dir(unmounted.path()).unwrap().count(), 0, "nothing is filled underneath");
    let gone = unmounted.path().join("gone");
    assert_eq!(LocalStore::open(&gone, &main).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!gone.exists());

    let bare = LocalStore::unmarked(unmounted.path(), &main).await.unwrap();
    assert_eq!(bare.marked().await.unwrap(), None);
    assert_eq!(LocalStore::unmarked(folder.path(), &other).await.unwrap().marked().await.unwrap(), Some(main.clone()));
    assert_eq!(LocalStore::unmarked(&gone, &main).await.unwrap_err().kind(), ErrorKind::NotFound);

    let marker = folder.path().join(".devicevault-destination");
    for (text, kind) in [
        ("", ErrorKind::Corrupt),
        ("nonsense", ErrorKind::Corrupt),
        (r#"{"format":9,"readable_by":9,"destination":"main"}"#, ErrorKind::Unsupported),
    ] {
        std::fs::write(&marker, text).unwrap();
        assert_eq!(LocalStore::open(folder.path(), &main).await.unwrap_err().kind(), kind, "{text}");
        assert_eq!(LocalStore::init(folder.path(), &main).await.unwrap_err().kind(), kind, "{text}");
    }
    std::fs::remove_file(&marker).unwrap();
    symlink("/etc/hostname", &marker).unwrap();
    assert_eq!(LocalStore::open(folder.path(), &main).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_make_a_destination_at_once_all_find_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/deep");
    let made = futures::future::join_all((0..16).map(|_| {
        let path = path.clone();
        tokio::spawn(async move { LocalStore::init(path, &"main".into()).await })
    }))
    .await;
    assert!(made.into_iter().all(|m| m.unwrap().is_ok()));
}

#[tokio::test]
async fn planted_links_are_refused_and_nothing_outside_is_touched() {
    let (folder, store) = store().await;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("secret");
    std::fs::write(&target, "outside").unwrap();
    symlink(outside.path(), folder.path().join("site")).unwrap();
    symlink(&target, folder.path().join("file")).unwrap();
    symlink(outside.path().join("new"), folder.path().join("dangling")).unwrap();
    store.put(&Path::from("real/object"), "x".into()).await.unwrap();
    symlink(&target, folder.path().join("real/final")).unwrap();

    for at in ["site/secret", "site/new", "site/sub/new", "file", "dangling", "real/final"] {
        let at = Path::from(at);
        for mode in [PutMode::Overwrite, PutMode::Create] {
            let e = store.put_opts(&at, "evil".into(), mode.into()).await.unwrap_err();
            assert!(matches!(e, Error::PermissionDenied { .. }), "{at}: {e}");
        }
        let mut upload = store.put_multipart(&at).await.unwrap();
        upload.put_part("evil".into()).await.unwrap();
        assert!(upload.complete().await.is_err(), "{at}");
        assert!(store.copy(&Path::from("real/object"), &at).await.is_err(), "{at}");
        assert!(store.rename(&Path::from("real/object"), &at).await.is_err(), "{at}");
        let e = store.get(&at).await.unwrap_err();
        assert!(matches!(e, Error::PermissionDenied { .. }), "{at}: {e}");
        assert!(store.delete(&at).await.is_err(), "{at}");
    }
    assert!(store.list(Some(&Path::from("site"))).try_collect::<Vec<_>>().await.is_err());
    assert_eq!(listed(&store).await, ["real/object"]);
    assert_eq!(std::fs::read(&target).unwrap(), b"outside");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(staged_files(folder.path()), 0);
}

#[tokio::test]
async fn a_staging_folder_that_is_a_link_is_refused() {
    let (folder, store) = store().await;
    drop(store);
    let outside = tempfile::tempdir().unwrap();
    std::fs::remove_dir_all(folder.path().join(".tmp")).unwrap();
    symlink(outside.path(), folder.path().join(".tmp")).unwrap();
    let store = LocalStore::open(folder.path(), &"main".into()).await.unwrap();
    let e = store.put(&Path::from("a"), "x".into()).await.unwrap_err();
    assert!(matches!(e, Error::PermissionDenied { .. }), "{e}");
    assert!(store.sweep().await.is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_the_stores_own_is_out_of_reach() {
    let (_folder, store) = store().await;
    store.put(&Path::from("a"), "x".into()).await.unwrap();
    for own in [".tmp/x", ".tmp", ".devicevault-destination", ".devicevault-destination/x", ""] {
        let own = Path::from(own);
        assert!(store.put(&own, "x".into()).await.is_err(), "{own}");
        assert!(store.put_multipart(&own).await.is_err(), "{own}");
        assert!(store.get(&own).await.is_err(), "{own}");
        assert!(store.delete(&own).await.is_err(), "{own}");
        assert!(store.copy(&Path::from("a"), &own).await.is_err(), "{own}");
        assert!(store.rename(&Path::from("a"), &own).await.is_err(), "{own}");
    }
    assert!(store.list(Some(&Path::from(".tmp"))).next().await.is_none());
    assert_eq!(listed(&store).await, ["a"]);
}

#[tokio::test]
async fn foreign_things_are_not_listed_and_do_not_block() {
    let (folder, store) = store().await;
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    std::fs::write(folder.path().join("mine"), "x").unwrap();
    assert_eq!(listed(&store).await, ["mine"]);
    assert!(matches!(read(&store, "pipe").await.unwrap_err(), Error::NotFound { .. }));
    assert!(matches!(read(&store, "mine/x").await.unwrap_err(), Error::NotFound { .. }));
    assert!(store.put(&Path::from("mine/x"), "x".into()).await.is_err());
    assert!(store.put(&Path::from("empty"), "x".into()).await.is_err());
}

#[tokio::test]
async fn a_batch_has_a_verdict_per_set() {
    let (folder, store) = store().await;
    store.put(&Path::from("there"), "old".into()).await.unwrap();
    std::fs::create_dir(folder.path().join("is-a-folder")).unwrap();
    let verdicts = store
        .put_many(vec![
            vec![place("a/1", "1", false), place("a/1.m", "m", false)],
            vec![place("b/2", "2", false), place("there", "new", false)],
            vec![place("c/3", "3", true), place("is-a-folder", "x", true)],
            vec![],
            vec![place("there", "newer", true)],
            vec![place(".tmp/x", "x", true)],
        ])
        .await;
    assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true, true, false]);
    assert!(matches!(verdicts[1], Err(Error::AlreadyExists { .. })));
    assert_eq!(listed(&store).await, ["there", "a/1", "a/1.m", "b/2", "c/3"]);
    store.settle(&Path::from("a/1")).await.unwrap();
    let names = ["a/1", "a", "a/2", "x/y", "there/x"].map(Path::from);
    assert_eq!(store.taken(names.into()).await, [true, true, false, false, true]);
    assert_eq!(read(&store, "there").await.unwrap(), "newer");
    assert_eq!(staged_files(folder.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_creates() {
    let (_folder, store) = store().await;
    for round in 0..20 {
        let at = Path::from(format!("d{round}/x"));
        let wins = futures::future::join_all((0..8).map(|i| {
            let (store, at) = (store.clone(), at.clone());
            tokio::spawn(
                async move { store.put_opts(&at, format!("{i}").into(), PutMode::Create.into()).await.is_ok() },
            )
        }))
        .await;
        assert_eq!(wins.into_iter().filter(|w| *w.as_ref().unwrap()).count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_empty_meanwhile_are_made_again() {
    let (_folder, store) = store().await;
    let churn = |i: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..100 {
                let at = Path::from(format!("site/device/{i}-{n}"));
                store.put(&at, "x".into()).await.unwrap();
                store.delete(&at).await.unwrap();
            }
        })
    };
    for task in [churn(1), churn(2), churn(3)] {
        task.await.unwrap();
    }
    assert!(!store.folder().join("site").exists(), "empty folders are removed");
    assert!(store.folder().exists());
}

#[tokio::test]
async fn a_range_of_a_large_object() {
    let (_folder, store) = store().await;
    let data: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let at = Path::from("large");
    store.put(&at, data.clone().into()).await.unwrap();
    for range in [0..1, 0..262_144, 262_143..262_145, 999_999..1_000_000, 5..999_999] {
        let got = store.get_range(&at, range.start..range.end).await.unwrap();
        assert_eq!(got, data[range.start as usize..range.end as usize]);
    }
    let got = store.get_ranges(&at, &[0..3, 700_000..700_003]).await.unwrap();
    assert_eq!(got, [&data[0..3], &data[700_000..700_003]]);
    assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), data);
}

#[tokio::test]
async fn an_object_that_shrinks_while_it_is_read_is_an_error() {
    let (folder, store) = store().await;
    store.put(&Path::from("x"), vec![1; 600_000].into()).await.unwrap();
    let mut stream = store.get(&Path::from("x")).await.unwrap().into_stream();
    stream.next().await.unwrap().unwrap();
    std::fs::OpenOptions::new().write(true).open(folder.path().join("x")).unwrap().set_len(300_000).unwrap();
    assert!(stream.try_collect::<Vec<_>>().await.is_err());
}

#[tokio::test]
async fn an_upload_that_is_dropped_or_aborted_leaves_nothing() {
    let (folder, store) = store().await;
    let mut upload = store.put_multipart(&Path::from("x")).await.unwrap();
    upload.put_part("abc".into()).await.unwrap();
    assert_eq!(staged_files(folder.path()), 1);
    drop(upload);
    let mut upload = store.put_multipart(&Path::from("x")).await.unwrap();
    upload.put_part("abc".into()).await.unwrap();
    upload.abort().await.unwrap();
    assert!(upload.put_part("x".into()).await.is_err());
    assert!(upload.complete().await.is_err());
    assert_eq!(staged_files(folder.path()), 0);
    assert!(listed(&store).await.is_empty());
}

#[tokio::test]
async fn a_staging_area_that_was_removed_is_made_again() {
    let (folder, store) = store().await;
    store.put(&Path::from("a"), "x".into()).await.unwrap();
    std::fs::remove_dir_all(folder.path().join(".tmp")).unwrap();
    store.put(&Path::from("b"), "x".into()).await.unwrap();
    assert_eq!(listed(&store).await, ["a", "b"]);
}

#[tokio::test]
async fn closing_leaves_no_staging_area() {
    let (folder, store) = store().await;
    store.put(&Path::from("a"), "x".into()).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join(".tmp")).unwrap().count(), 2);
    drop(store);
    assert_eq!(std::fs::read_dir(folder.path().join(".tmp")).unwrap().count(), 0);
}
