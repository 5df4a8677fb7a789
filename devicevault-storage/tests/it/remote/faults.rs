//! Lines that break, servers that go away, writers that are killed.

use std::net::SocketAddr;
use std::path::Path as FolderPath;
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::storage::{Budget, VerifyDepth};
use devicevault_core::{Clock as _, ErrorKind, StorageBackend as _, StorageBackendExt as _, SystemClock};
use devicevault_ssh::{Credentials, HostKeyPolicy, HostKeysInMemory};
use devicevault_storage::plain::PlainBackend;
use devicevault_storage::sftp::{SftpOptions, SftpServer, SftpStore};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::relay::{Relay, Trouble};
use devicevault_testkit::samples;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode};

use super::sshd::Sshd;
use super::{Peer, main, staged_files};
use crate::plain::{SEALED, ZSTD, config, files, listed, options};

async fn over(server: &Sshd, folder: &FolderPath, at: SocketAddr) -> devicevault_core::Result<SftpStore> {
    let options = server.options(folder.to_str().unwrap(), at).with_timeout(Duration::from_secs(20));
    SftpStore::open(SftpServer::new(options), &main(), Arc::new(SystemClock)).await
}

/// The line breaks after every so many bytes, in either direction: what is there is whole, and the next attempt succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs sshd and ssh-keygen"]
async fn wherever_the_line_breaks_nothing_half_is_there() {
    let (server, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let there = Arc::new(server.init(folder.path()).await);
    let direct = PlainBackend::kept(there.clone(), options(SEALED));
    direct.publish_keys().await.unwrap();
    let content = samples::noise(7, 300_000);
    let (mut broken, mut stored) = (0, 0);
    for cut in 0..24_u64 {
        for from_client in [true, false] {
            let bytes = if from_client { 2_500 + cut * 15_000 } else { 2_000 + cut * 300 };
            let relay = Relay::to(server.addr());
            let relay = match from_client {
                true => relay.with_from_client(Trouble::CutAfter(bytes)),
                false => relay.with_from_server(Trouble::CutAfter(bytes)),
            };
            let relay = relay.start().await.unwrap();
            let (entry, body) = config(&format!("sw{cut}-{from_client}"), content.clone());
            let tried = match over(&server, folder.path(), relay.addr()).await {
                Ok(store) => {
                    PlainBackend::kept(Arc::new(store), options(SEALED)).store_one(entry.clone(), body.clone()).await
                }
                Err(e) => Err(e),
            };
            match &tried {
                Ok(_) => stored += 1,
                Err(e) => {
                    broken += 1;
                    let passing = [ErrorKind::Unavailable, ErrorKind::Unreachable, ErrorKind::Timeout];
                    assert!(passing.contains(&e.kind()), "{cut} {from_client}: {e:?}");
                }
            }
            for at in listed(&direct).await.keys() {
                let verdict = direct.verify(at, None, VerifyDepth::Content).await.unwrap();
                assert!(verdict.is_good(), "{at} after a cut at {bytes}: {verdict:?}");
            }
            let at = direct.store_one(entry, body).await.unwrap();
            assert_eq!(direct.read_all(&at, 1 << 20).await.unwrap(), content);
            assert!(direct.delete_one(&at).await.is_ok());
        }
    }
    eprintln!("{} cuts: {broken} attempts broke, {stored} had been done", broken + stored);
    assert!(broken >= 20, "{broken} of {}", broken + stored);
    // Content of an attempt that broke before its manifest is all that may be left, until maintenance comes by.
    let left = files(folder.path());
    assert!(left.keys().all(|path| path.extension().is_some_and(|e| e == "dvo")), "{left:?}");
    let later = ManualClock::at(SystemClock.now() + Duration::from_secs(48 * 3600));
    let later = PlainBackend::kept(there, options(SEALED).with_clock(Arc::new(later)));
    let mut budget = Budget::default();
    budget.unnamed = true;
    later.maintain(budget).await.unwrap();
    assert!(files(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs sshd and ssh-keygen"]
async fn a_connection_that_died_while_idle_is_replaced() {
    let (server, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    drop(server.init(folder.path()).await);
    let relay = Relay::to(server.addr()).start().await.unwrap();
    let store = over(&server, folder.path(), relay.addr()).await.unwrap();
    for round in 0..4 {
        let at = Path::from(format!("a/{round}"));
        store.put(&at, "x".into()).await.unwrap();
        relay.cut();
        // A question, a new file and a listing each find the way by themselves.
        match round {
            0 => drop(store.head(&at).await.unwrap()),
            1 => assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "x"),
            2 => drop(store.list_with_delimiter(Some(&Path::from("a"))).await.unwrap()),
            _ => store.delete(&at).await.unwrap(),
        }
    }
}

/// Silence is not waited for for ever, and does not hold up what comes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs sshd and ssh-keygen"]
async fn a_server_that_falls_silent_is_given_up() {
    let (server, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    drop(server.init(folder.path()).await);
    let relay = Relay::to(server.addr()).with_from_server(Trouble::SilentAfter(8_000)).start().await.unwrap();
    let options = server.options(folder.path().to_str().unwrap(), relay.addr()).with_timeout(Duration::from_secs(2));
    let store = SftpStore::open(SftpServer::new(options), &main(), Arc::new(SystemClock)).await.unwrap();
    let mut failed = None;
    for round in 0..200 {
        if let Err(e) = store.put(&Path::from(format!("a/{round}")), "x".into()).await {
            failed = Some(e);
            break;
        }
    }
    assert!(format!("{:?}", failed.unwrap()).contains("did not answer"));
    // Over another connection, which is as good as the first one was.
    store.put(&Path::from("b"), "x".into()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs sshd and ssh-keygen"]
async fn what_refuses_the_login_is_tried_once_and_told() {
    let (server, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let reach =
        async |options: SftpOptions| SftpStore::open(SftpServer::new(options), &main(), Arc::new(SystemClock)).await;
    let at = folder.path().to_str().unwrap();

    let wrong =
        server.options(at, server.addr()).with_credentials(Credentials::new("root").with_password("hunter2-no"));
    let e = reach(wrong).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AuthRejected, "{e:?}");
    assert!(e.hint_text().is_some() && !format!("{e:?}").contains("hunter2"), "{e:?}");

    let mut strict = server.options(at, server.addr()).with_ssh(|o| o.with_host_key(HostKeyPolicy::Strict));
    strict.host_keys = Arc::new(HostKeysInMemory::default());
    let e = reach(strict).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::HostKeyRejected, "{e:?}");
    assert!(format!("{e:?}").contains("SHA256:"), "{e:?}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let e = reach(server.options(at, nobody)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unreachable, "{e:?}");
    assert!(format!("{e:?}").contains("this destination's server"), "{e:?}");
}

/// A file system of its own, unmounted at the end.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn small() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m,mode=0700", "devicevault-test"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "a tmpfs cannot be mounted");
        Self(folder)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs sshd, ssh-keygen and root to mount a tmpfs"]
async fn a_full_disk_is_told_leaves_nothing_half_and_passes() {
    let (server, disk) = (Sshd::start(), Mounted::small());
    let folder = disk.0.path();
    let backend = PlainBackend::kept(Arc::new(server.init(folder).await), options(ZSTD));
    let (entry, body) = config("sw0", &b"before"[..]);
    let before = backend.store_one(entry, body).await.unwrap();
    let (large, content) = config("large", samples::noise(1, 12 << 20));
    let e = backend.store_one(large, content).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StorageFull, "{e:?}");
    assert!(e.message().contains("full") && e.hint_text().is_some(), "{e:?}");
    assert_eq!(listed(&backend).await.len(), 1);
    assert_eq!(staged_files(folder), 0);
    let (small, content) = config("small", samples::noise(1, 1 << 20));
    backend.store_one(small, content).await.unwrap();
    assert_eq!(backend.read_all(&before, 100).await.unwrap(), b"before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs sshd and ssh-keygen"]
async fn a_lost_answer_does_not_make_two_of_one() {
    let (server, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let direct = server.init(folder.path()).await;
    // The answer to the naming is lost somewhere around here.
    for bytes in (3_000..6_000).step_by(150) {
        let relay = Relay::to(server.addr()).with_from_server(Trouble::CutAfter(bytes)).start().await.unwrap();
        let at = Path::from(format!("d/{bytes}"));
        let told = match over(&server, folder.path(), relay.addr()).await {
            Ok(store) => store.put_opts(&at, "first".into(), PutMode::Create.into()).await.is_ok(),
            Err(_) => false,
        };
        let second = direct.put_opts(&at, "second".into(), PutMode::Create.into()).await;
        let content = direct.get(&at).await.unwrap().bytes().await.unwrap();
        // Told so or not, what came first stays.
        assert_eq!(content, if second.is_ok() { "second" } else { "first" });
        assert!(!(told && second.is_ok()), "{bytes}");
    }
}
