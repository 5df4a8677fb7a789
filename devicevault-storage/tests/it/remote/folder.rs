//! What every such store does, whichever its server.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path as FolderPath;
use std::sync::Arc;

use devicevault_core::{DestinationId, ErrorKind, SystemClock};
use devicevault_storage::remote::{RemoteStore, Server};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, integration};

use super::{Peer, main, staged_files};

async fn listed<S: Server>(store: &RemoteStore<S>) -> Vec<String> {
    let mut all: Vec<String> = store.list(None).map_ok(|m| m.location.to_string()).try_collect().await.unwrap();
    all.sort_unstable();
    all
}

/// What object_store tries of its own stores.
pub(super) async fn the_suite_of_object_store_passes<P: Peer>(peer: &P, folder: &FolderPath) {
    let store = peer.init(folder).await;
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
    assert_eq!(staged_files(folder), 0);
}

pub(super) async fn files_and_folders_are_for_the_owner_alone<P: Peer>(peer: &P, folder: &FolderPath) {
    let home = folder.join("new/home");
    let store = peer.init(&home).await;
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
        assert_eq!(std::fs::metadata(home.join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
}

pub(super) async fn a_folder_belongs_to_one_destination<P: Peer>(peer: &P, folder: &FolderPath) {
    let home = folder.join("home");
    let clock = || Arc::new(SystemClock);
    let open = async |folder: &FolderPath, id: &str| {
        RemoteStore::open(peer.server(folder), &DestinationId::from(id), clock()).await.map(drop).map_err(|e| e.kind())
    };
    let init = async |folder: &FolderPath, id: &str| {
        RemoteStore::init(peer.server(folder), &DestinationId::from(id), clock()).await.map(drop).map_err(|e| e.kind())
    };
    assert_eq!(open(&home, "main").await, Err(ErrorKind::Unavailable));
    assert!(!home.exists());
    init(&home, "main").await.unwrap();
    init(&home, "main").await.unwrap();
    open(&home, "main").await.unwrap();
    assert_eq!(open(&home, "other").await, Err(ErrorKind::Conflict));
    assert_eq!(init(&home, "other").await, Err(ErrorKind::Conflict));
    let found = RemoteStore::destination_of(peer.server(&home), clock()).await.unwrap();
    assert_eq!(found, Some(main()));

    let unmounted = folder.join("unmounted");
    std::fs::create_dir(&unmounted).unwrap();
    assert_eq!(open(&unmounted, "main").await, Err(ErrorKind::Unavailable));
    assert_eq!(std::fs::read_dir(&unmounted).unwrap().count(), 0, "nothing is filled underneath");
    assert_eq!(RemoteStore::destination_of(peer.server(&unmounted), clock()).await.unwrap(), None);
    let bare = RemoteStore::unmarked(peer.server(&unmounted), &main(), clock()).await.unwrap();
    assert_eq!(bare.marked().await.unwrap(), None);
    let absent = bare.get(&Path::from("a")).await.map(drop).unwrap_err();
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
    assert!(bare.put(&Path::from("a"), "x".into()).await.is_err(), "to be read alone");
    assert_eq!(std::fs::read_dir(&unmounted).unwrap().count(), 0);

    for (text, kind) in [
        ("", ErrorKind::Corrupt),
        ("nonsense", ErrorKind::Corrupt),
        (r#"{"format":9,"readable_by":9,"destination":"main"}"#, ErrorKind::Unsupported),
    ] {
        std::fs::write(home.join(".devicevault-destination"), text).unwrap();
        assert_eq!(open(&home, "main").await, Err(kind), "{text}");
        assert_eq!(init(&home, "main").await, Err(kind), "{text}");
    }
}

/// The share goes away while the store is open: what is under its mount point is an empty folder.
pub(super) async fn what_goes_away_is_not_taken_for_deleted<P: Peer>(peer: &P, folder: &FolderPath) {
    let home = folder.join("home");
    drop(peer.init(&home).await);
    let store = peer.open(&home).await.unwrap();
    let at = Path::from("a/b");
    store.put(&at, "x".into()).await.unwrap();
    std::fs::rename(&home, folder.join("elsewhere")).unwrap();
    std::fs::create_dir(&home).unwrap();
    // What was seen a moment ago is believed for a moment.
    let store = match peer.open(&home).await {
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Unavailable);
            store
        }
        Ok(_) => panic!("an empty folder was opened"),
    };
    let e = store.put(&at, "y".into()).await.unwrap_err();
    assert!(matches!(e, Error::Generic { .. }) && format!("{e}").contains("mounted"), "{e}");
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0);
    let absent = std::time::Duration::from_secs(6);
    tokio::time::sleep(absent).await;
    for e in [
        store.get(&at).await.map(drop).unwrap_err(),
        store.delete(&at).await.unwrap_err(),
        store.list(None).try_collect::<Vec<_>>().await.map(drop).unwrap_err(),
        store.list_with_delimiter(Some(&Path::from("a"))).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(e, Error::Generic { .. }), "{e}");
    }
    std::fs::remove_dir(&home).unwrap();
    std::fs::rename(folder.join("elsewhere"), &home).unwrap();
    assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "x");
}

pub(super) async fn planted_links_are_refused_and_nothing_outside_is_touched<P: Peer>(peer: &P, folder: &FolderPath) {
    let (home, outside) = (folder.join("home"), folder.join("outside"));
    std::fs::create_dir(&outside).unwrap();
    let store = peer.init(&home).await;
    let target = outside.join("secret");
    std::fs::write(&target, "outside").unwrap();
    symlink(&outside, home.join("site")).unwrap();
    symlink(&target, home.join("file")).unwrap();
    symlink(outside.join("new"), home.join("dangling")).unwrap();
    store.put(&Path::from("real/object"), "x".into()).await.unwrap();
    symlink(&target, home.join("real/final")).unwrap();

    for at in ["site/secret", "site/new", "site/sub/new", "file", "dangling", "real/final"] {
        let at = Path::from(at);
        for mode in [PutMode::Overwrite, PutMode::Create] {
            let e = store.put_opts(&at, "evil".into(), mode.into()).await.unwrap_err();
            assert!(matches!(e, Error::PermissionDenied { .. }), "{at}: {e}");
        }
        let e = store.put_multipart(&at).await.map(drop).unwrap_err();
        assert!(matches!(e, Error::PermissionDenied { .. }), "{at}: {e}");
        assert!(store.copy(&Path::from("real/object"), &at).await.is_err(), "{at}");
        assert!(store.rename(&Path::from("real/object"), &at).await.is_err(), "{at}");
        let e = store.get(&at).await.unwrap_err();
        assert!(matches!(e, Error::PermissionDenied { .. }), "{at}: {e}");
        assert!(store.delete(&at).await.is_err(), "{at}");
    }
    assert!(store.list(Some(&Path::from("site"))).try_collect::<Vec<_>>().await.is_err());
    assert_eq!(listed(&store).await, ["real/object"]);
    assert_eq!(std::fs::read(&target).unwrap(), b"outside");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(staged_files(&home), 0);
}

pub(super) async fn what_is_the_stores_own_is_out_of_reach<P: Peer>(peer: &P, folder: &FolderPath) {
    let store = peer.init(folder).await;
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

pub(super) async fn foreign_things_are_not_listed_and_do_not_block<P: Peer>(peer: &P, folder: &FolderPath) {
    let store = peer.init(folder).await;
    std::fs::create_dir(folder.join("empty")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    std::fs::write(folder.join("mine"), "x").unwrap();
    assert_eq!(listed(&store).await, ["mine"]);
    if peer.tells_links() {
        assert!(store.put(&Path::from("pipe"), "x".into()).await.is_err());
    }
    assert!(matches!(store.get(&Path::from("pipe")).await.unwrap_err(), Error::NotFound { .. }));
    assert!(matches!(store.get(&Path::from("mine/x")).await.unwrap_err(), Error::NotFound { .. }));
    assert!(matches!(store.delete(&Path::from("mine/x")).await.unwrap_err(), Error::NotFound { .. }));
    assert!(store.put(&Path::from("mine/x"), "x".into()).await.is_err());
    assert!(store.put(&Path::from("empty"), "x".into()).await.is_err());
    assert_eq!(staged_files(folder), 0);
}

/// Eight writers with a connection each, one name: one creates it, and what it wrote is what stays.
pub(super) async fn one_of_many_creates<P: Peer>(peer: &P, folder: &FolderPath) {
    drop(peer.init(folder).await);
    let stores = futures::future::join_all((0..8).map(|_| async { peer.open(folder).await.unwrap() })).await;
    for round in 0..5 {
        let at = Path::from(format!("d{round}/x"));
        let tried = futures::future::join_all(stores.iter().enumerate().map(|(i, store)| {
            let at = at.clone();
            async move { store.put_opts(&at, format!("{i}").into(), PutMode::Create.into()).await }
        }))
        .await;
        let wins: Vec<_> = tried.iter().enumerate().filter(|(_, t)| t.is_ok()).map(|(i, _)| i.to_string()).collect();
        assert_eq!(wins.len(), 1, "{tried:?}");
        for e in tried.iter().filter_map(|t| t.as_ref().err()) {
            assert!(matches!(e, Error::AlreadyExists { .. }), "{e}");
        }
        assert_eq!(stores[0].get(&at).await.unwrap().bytes().await.unwrap(), wins[0]);
    }
    assert_eq!(staged_files(folder), 0);
}

/// Four that make the same new folder a destination: all find it made, whoever of them was first with each step.
pub(super) async fn one_folder_is_made_by_many<P: Peer>(peer: &P, folder: &FolderPath) {
    for round in 0..25 {
        let place = folder.join(format!("site/{round}"));
        futures::future::join_all((0..4).map(|_| peer.init(&place))).await;
        assert_eq!(staged_files(&place), 0);
    }
}

pub(super) async fn folders_that_empty_meanwhile_are_made_again<P: Peer>(peer: &P, folder: &FolderPath) {
    let store = peer.init(folder).await;
    let churn = |i: usize| {
        let store = store.clone();
        async move {
            for n in 0..10 {
                let at = Path::from(format!("site/device/{i}-{n}"));
                store.put(&at, "x".into()).await.unwrap();
                store.delete(&at).await.unwrap();
            }
        }
    };
    tokio::join!(churn(1), churn(2), churn(3));
    assert!(!folder.join("site").exists(), "empty folders are removed");
    assert!(folder.exists());
}

pub(super) async fn ranges_of_a_large_object<P: Peer>(peer: &P, folder: &FolderPath) {
    let store = peer.init(folder).await;
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
    // Read half and dropped, often: nothing stays occupied.
    for _ in 0..30 {
        let mut stream = store.get(&at).await.unwrap().into_stream();
        stream.next().await.unwrap().unwrap();
    }
    assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), data);
    store.put(&Path::from("none"), "".into()).await.unwrap();
    assert_eq!(store.get(&Path::from("none")).await.unwrap().bytes().await.unwrap(), "");
}

pub(super) async fn an_upload_that_is_aborted_or_fails_leaves_nothing<P: Peer>(peer: &P, folder: &FolderPath) {
    let store = peer.init(folder).await;
    let at = Path::from("x");
    let mut upload = store.put_multipart(&at).await.unwrap();
    upload.put_part("abc".into()).await.unwrap();
    assert_eq!(staged_files(folder), 1);
    upload.abort().await.unwrap();
    assert_eq!(staged_files(folder), 0);
    assert!(upload.put_part("x".into()).await.is_err());
    assert!(upload.complete().await.is_err());
    // Dropped: removed as soon as may be.
    let mut upload = store.put_multipart(&at).await.unwrap();
    upload.put_part("abc".into()).await.unwrap();
    drop(upload);
    while staged_files(folder) > 0 {
        tokio::task::yield_now().await;
    }
    assert!(listed(&store).await.is_empty());
}

/// What a killed writer leaves is removed once it is old; what is being written stays.
pub(super) async fn old_leavings_are_swept<P: Peer>(peer: &P, folder: &FolderPath) {
    use std::time::{Duration, UNIX_EPOCH};
    let store = peer.init(folder).await;
    store.put(&Path::from("a"), "x".into()).await.unwrap();
    let mut upload = store.put_multipart(&Path::from("b")).await.unwrap();
    upload.put_part("half".into()).await.unwrap();
    let dead = folder.join(".tmp/0197c2a06d5c70008000000000000001");
    std::fs::write(&dead, "12345").unwrap();
    std::fs::File::options()
        .write(true)
        .open(&dead)
        .unwrap()
        .set_modified(UNIX_EPOCH + Duration::from_secs(1))
        .unwrap();
    assert_eq!(store.sweep(Duration::from_secs(3600)).await.unwrap(), 5);
    assert_eq!(staged_files(folder), 1);
    upload.complete().await.unwrap();
    assert_eq!(listed(&store).await, ["a", "b"]);
    assert_eq!(store.sweep(Duration::from_secs(3600)).await.unwrap(), 0);
}

/// Runs each of these against a peer, in a folder of its own.
macro_rules! against {
    ($what:ident: $peer:expr, #[$needs:meta] $($test:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[$needs]
        async fn $test() {
            let (peer, folder) = ($peer, tempfile::tempdir().unwrap());
            crate::remote::Peer::own(&peer, folder.path());
            crate::remote::$what::$test(&peer, &folder.path().canonicalize().unwrap()).await;
        })*
    };
}
pub(super) use against;
