//! Writers that are killed while they write.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::storage::VerifyDepth;
use devicevault_core::{StorageBackend as _, StorageRef, SystemClock};
use devicevault_storage::plain::PlainBackend;
use devicevault_storage::sftp::{SftpServer, SftpStore};
use devicevault_testkit::samples;

use super::sshd::{Sshd, options};
use super::{Peer as _, main, staged_files};
use crate::plain::{SEALED, config, files, listed};

const FOLDER: &str = "DEVICEVAULT_TEST_REMOTE_FOLDER";
const SERVER: &str = "DEVICEVAULT_TEST_REMOTE_SERVER";
const KEY: &str = "DEVICEVAULT_TEST_REMOTE_KEY";

/// What the process that is killed does; started without a part to play, there is nothing to do.
#[test]
fn as_a_child() {
    let (Ok(folder), Ok(server), Ok(key)) = (std::env::var(FOLDER), std::env::var(SERVER), std::env::var(KEY)) else {
        return;
    };
    let server: SocketAddr = server.parse().unwrap();
    let work = async {
        let server = SftpServer::new(options(&folder, server, Path::new(&key)));
        let store = SftpStore::open(server, &main(), Arc::new(SystemClock)).await.unwrap();
        let backend = PlainBackend::kept(Arc::new(store), crate::plain::options(SEALED));
        for round in 0.. {
            let mut batch: Vec<_> =
                (0..4).map(|i| config(&format!("sw{i}"), samples::text(round * 10 + i, 20_000))).collect();
            batch.push(config("large", samples::noise(round, 9_000_000)));
            for verdict in backend.store(batch).await {
                let mut out = std::io::stdout().lock();
                writeln!(out, "stored {}", verdict.unwrap()).unwrap();
                out.flush().unwrap();
            }
        }
    };
    tokio::runtime::Runtime::new().unwrap().block_on(work);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs sshd and ssh-keygen"]
async fn what_a_killed_writer_confirmed_is_there_and_nothing_is_half() {
    let (server, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let store = server.init(folder.path()).await;
    let backend = PlainBackend::kept(Arc::new(store.clone()), crate::plain::options(SEALED));
    let mut confirmed: Vec<StorageRef> = Vec::new();
    for round in 0..6_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "remote::kills::as_a_child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .env(SERVER, server.addr().to_string())
            .env(KEY, server.key())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Of five to a batch: killed in the middle of the next one, each time elsewhere.
        let told = lines.filter_map(|l| l.split_once("stored ").map(|(_, at)| StorageRef(at.to_owned())));
        confirmed.extend(told.take(5 + round));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let found = listed(&backend).await;
    for at in &confirmed {
        assert!(found.contains_key(at), "{at} was confirmed, and is not there");
    }
    for at in found.keys() {
        assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good(), "{at}");
    }
    // Content without a manifest is what a kill may leave, and files without a name.
    assert!(files(folder.path()).len() >= found.len() * 2);
    let left = staged_files(folder.path());
    // The server may still be closing what the last one had open.
    store.sweep(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(staged_files(folder.path()), left, "what is young may be somebody's");
    for file in std::fs::read_dir(folder.path().join(".tmp")).unwrap() {
        let file = std::fs::File::options().write(true).open(file.unwrap().path()).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    }
    store.sweep(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(staged_files(folder.path()), 0);
    eprintln!("{} confirmed, {} there, {left} files without a name swept", confirmed.len(), found.len());
}
