//! Against vsftpd, in clear text and over TLS.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::storage::{Budget, ListFilter};
use devicevault_core::{ErrorKind, StorageBackend as _, StorageBackendExt as _, SystemClock};
use devicevault_storage::ftp::{FtpOptions, FtpSecurity, FtpServer, FtpStore};
use devicevault_testkit::samples;
use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use super::vsftpd::Vsftpd;
use super::{Peer as _, main};
use crate::plain::{ZSTD, config, files};

fn clear() -> Vsftpd {
    Vsftpd::start(FtpSecurity::ClearText, "")
}

fn explicit() -> Vsftpd {
    Vsftpd::start(FtpSecurity::Explicit, "")
}

fn implicit() -> Vsftpd {
    Vsftpd::start(FtpSecurity::Implicit, "")
}

mod in_clear_text {
    use super::super::folder::against;
    use super::clear;

    against!(
        folder: clear(),
        #[ignore = "needs vsftpd, openssl and root"]
        the_suite_of_object_store_passes,
        files_and_folders_are_for_the_owner_alone,
        a_folder_belongs_to_one_destination,
        what_goes_away_is_not_taken_for_deleted,
        what_is_the_stores_own_is_out_of_reach,
        foreign_things_are_not_listed_and_do_not_block,
        one_of_many_creates,
        one_folder_is_made_by_many,
        folders_that_empty_meanwhile_are_made_again,
        ranges_of_a_large_object,
        an_upload_that_is_aborted_or_fails_leaves_nothing,
        old_leavings_are_swept,
    );
    against!(
        plain: clear(),
        #[ignore = "needs vsftpd, openssl and root"]
        the_suite_passes_in_the_clear,
        a_body_that_fails_leaves_nothing_however_far_it_came,
        writers_of_the_same_entries_meet,
        the_connection_test_passes,
    );
}

mod over_tls {
    use super::super::folder::against;
    use super::explicit;

    against!(
        folder: explicit(),
        #[ignore = "needs vsftpd, openssl and root"]
        the_suite_of_object_store_passes,
        files_and_folders_are_for_the_owner_alone,
        one_of_many_creates,
        one_folder_is_made_by_many,
        ranges_of_a_large_object,
        an_upload_that_is_aborted_or_fails_leaves_nothing,
    );
    against!(
        plain: explicit(),
        #[ignore = "needs vsftpd, openssl and root"]
        the_suite_passes_sealed,
        the_connection_test_passes,
    );
    against!(
        measure: explicit(),
        #[ignore = "needs vsftpd, openssl and root"]
        a_large_body_goes_there_and_back,
    );
}

mod over_implicit_tls {
    use super::super::folder::against;
    use super::implicit;

    against!(
        folder: implicit(),
        #[ignore = "needs vsftpd, openssl and root"]
        ranges_of_a_large_object,
        what_is_the_stores_own_is_out_of_reach,
    );
}

/// What a login, a certificate and a name are refused for, and what that means.
#[tokio::test]
#[ignore = "needs vsftpd, openssl and root"]
async fn what_refuses_the_connection_is_told() {
    let (server, folder) = (explicit(), tempfile::tempdir().unwrap());
    let at = folder.path().to_str().unwrap();
    let reach = async |options: FtpOptions| {
        let server = FtpServer::new(options).unwrap();
        FtpStore::open(server, &main(), Arc::new(SystemClock)).await.map(drop).unwrap_err()
    };
    let e = reach(server.options(at).with_password("hunter2-no")).await;
    assert_eq!(e.kind(), ErrorKind::AuthRejected, "{e:?}");
    assert!(!format!("{e:?}").contains("hunter2") && e.hint_text().is_some(), "{e:?}");

    let mut strangers = server.options(at);
    strangers.authorities = None;
    let e = reach(strangers).await;
    assert_eq!(e.kind(), ErrorKind::HostKeyRejected, "{e:?}");
    assert!(e.hint_text().unwrap().contains("ca_file"), "{e:?}");

    let e = reach(clear().options(at).with_security(FtpSecurity::Explicit)).await;
    assert_eq!(e.kind(), ErrorKind::Unsupported, "{e:?}");
    assert!(e.message().contains("TLS"), "{e:?}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let e = reach(server.options(at).with_port(nobody.port())).await;
    assert_eq!(e.kind(), ErrorKind::Unreachable, "{e:?}");

    let e = FtpServer::new(server.options("a\r\nDELE b")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
}

/// However much of its share of the thread a task has used up, what it asks reaches the server.
#[tokio::test]
#[ignore = "needs vsftpd, openssl and root"]
async fn what_a_busy_task_asks_is_sent() {
    let (server, folder) = (explicit(), tempfile::tempdir().unwrap());
    server.own(folder.path());
    server.init(folder.path()).await;
    let options = server.options(folder.path().to_str().unwrap()).with_timeout(Duration::from_secs(5));
    let store = FtpStore::open(FtpServer::new(options).unwrap(), &main(), Arc::new(SystemClock)).await.unwrap();
    let at = Path::from("kept");
    store.put(&at, "x".into()).await.unwrap();
    let logins = server.logins();
    // Steps of a turn that tokio gives a task, and how many of them are left.
    for left in 0..24 {
        tokio::task::yield_now().await;
        for _ in left..128 {
            tokio::task::coop::consume_budget().await;
        }
        let found = store.head(&at).await;
        assert!(found.is_ok(), "with {left} steps left: {found:?}");
        assert_eq!(server.logins(), logins, "with {left} steps left a connection was given up");
    }
}

/// More writers than connections, and a server that allows fewer than we would like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs vsftpd, openssl and root"]
async fn few_connections_serve_many() {
    let (server, folder) = (Vsftpd::start(FtpSecurity::ClearText, "max_per_ip=2"), tempfile::tempdir().unwrap());
    server.own(folder.path());
    let store = server.init(folder.path()).await;
    let puts = (0..12).map(|i| {
        let store = store.clone();
        async move {
            let at = Path::from(format!("a/{i}"));
            store.put(&at, vec![i as u8; 500_000].into()).await?;
            store.get(&at).await?.bytes().await
        }
    });
    for (i, got) in futures::future::join_all(puts).await.into_iter().enumerate() {
        assert!(got.unwrap() == vec![i as u8; 500_000]);
    }
    let copies = (0..6).map(|i| {
        let store = store.clone();
        async move { store.copy(&Path::from(format!("a/{i}")), &Path::from(format!("b/{i}"))).await }
    });
    assert!(futures::future::join_all(copies).await.into_iter().all(|c| c.is_ok()));
}

/// Commands cannot be smuggled in by names.
#[tokio::test]
#[ignore = "needs vsftpd, openssl and root"]
async fn names_are_only_names() {
    let (server, folder) = (clear(), tempfile::tempdir().unwrap());
    server.own(folder.path());
    let store = server.init(folder.path()).await;
    store.put(&Path::from("kept"), "x".into()).await.unwrap();
    for name in ["-la", "*", "a b", "~", "é", "%0a", "[x]", "\"q\"", "'"] {
        let at = Path::from(format!("f/{name}"));
        store.put(&at, "x".into()).await.unwrap();
        assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "x", "{name}");
        let found = store.list_with_delimiter(Some(&Path::from("f"))).await.unwrap();
        assert_eq!(found.objects.iter().map(|o| &o.location).collect::<Vec<_>>(), [&at]);
        store.delete(&at).await.unwrap();
    }
    for name in ["x\r\nDELE kept", "x\ny", "x\0y", "x\ry"] {
        let Ok(at) = Path::parse(format!("f/{name}")) else { continue };
        assert!(store.put(&at, "x".into()).await.is_err(), "{name:?}");
        assert!(store.get(&at).await.is_err() && store.delete(&at).await.is_err(), "{name:?}");
    }
    assert_eq!(store.get(&Path::from("kept")).await.unwrap().bytes().await.unwrap(), "x");
}

fn mode(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

fn to_root(path: &std::path::Path) {
    std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
}

/// The server confirms the listing of a folder that it may not open, and has one code for what is missing and what is
/// forbidden.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs vsftpd, openssl and root"]
async fn a_folder_that_is_shut_is_neither_empty_nor_missing() {
    let (server, folder) = (clear(), tempfile::tempdir().unwrap());
    server.own(folder.path());
    let store = server.init(folder.path()).await;
    let at = Path::from("site/device/x");
    store.put(&at, "x".into()).await.unwrap();
    store.put(&Path::from("open/x"), "x".into()).await.unwrap();
    let empty_one = folder.path().join("empty");
    std::fs::create_dir(&empty_one).unwrap();
    mode(&empty_one, 0o755);
    let site = folder.path().join("site");
    to_root(&site);
    let empty = async |at: &str| {
        let found = store.list_with_delimiter(Some(&Path::from(at))).await;
        found.map(|found| found.objects.is_empty() && found.common_prefixes.is_empty())
    };
    let denied = |e: object_store::Error| matches!(e, object_store::Error::PermissionDenied { .. });
    for shut in [0o700, 0o711] {
        mode(&site, shut);
        assert!(denied(empty("site").await.unwrap_err()), "{shut:o}");
        // By name everything is there that may be entered.
        let got = store.get(&at).await;
        assert_eq!(got.is_ok(), shut == 0o711, "{shut:o}: {got:?}");
        assert!(got.err().is_none_or(denied), "{shut:o}");
        assert_eq!(empty("site/device").await.is_ok(), shut == 0o711, "{shut:o}");
        for absent in ["other", "other/device", "empty"] {
            assert!(empty(absent).await.unwrap(), "{shut:o} {absent}");
        }
        let gone = store.get(&Path::from("other/device/x")).await.unwrap_err();
        assert!(matches!(gone, object_store::Error::NotFound { .. }), "{gone:?}");
    }
    mode(&site, 0o755);
    assert!(!empty("site").await.unwrap() && store.get(&at).await.is_ok());
    // The destination's own folder, which the server may enter and not read.
    to_root(folder.path());
    mode(folder.path(), 0o711);
    assert!(denied(empty("").await.unwrap_err()));
}

/// One manifest and one folder that the server does not give are told, and the rest is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs vsftpd, openssl and root"]
async fn what_the_server_may_not_read_keeps_nobody_from_the_rest() {
    let (server, folder) = (clear(), tempfile::tempdir().unwrap());
    server.own(folder.path());
    let backend = super::plain::backend(&server, folder.path(), ZSTD).await;
    for i in 0..4 {
        let (entry, body) = config(&format!("sw{i}"), samples::text(i, 300));
        backend.store_one(entry, body).await.unwrap();
    }
    let manifests = || {
        let all = files(folder.path()).into_keys().filter(|p| p.to_string_lossy().ends_with("manifest.json"));
        all.map(|p| folder.path().join(p)).collect::<Vec<_>>()
    };
    to_root(&manifests()[0]);
    let walk = async || {
        let all: Vec<_> = backend.list(ListFilter::default()).collect().await;
        let told: Vec<_> = all.iter().filter_map(|r| r.as_ref().err()).map(devicevault_core::Error::kind).collect();
        (all.len() - told.len(), told)
    };
    assert_eq!(walk().await, (3, vec![ErrorKind::Corrupt]));
    let last = manifests()[3].clone();
    let last = last.ancestors().find(|p| p.parent() == Some(folder.path())).unwrap();
    to_root(last);
    mode(last, 0o700);
    assert_eq!(walk().await, (2, vec![ErrorKind::Corrupt; 2]));
    assert!(backend.maintain(Budget::default()).await.unwrap().done.iter().any(|d| d.contains("passed over")));
    // Nothing is given any more.
    for manifest in manifests() {
        to_root(&manifest);
    }
    assert_eq!(walk().await, (0, vec![ErrorKind::PermissionDenied]));
}
