//! The known_hosts file: what it keeps, whoever writes it.

use std::sync::Arc;

use devicevault_ssh::{Endpoint, HostKey, HostKeyStore, KnownHostsFile, Recorded};

const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

fn key(text: &str) -> HostKey {
    HostKey::from_openssh(text).unwrap()
}

#[tokio::test]
async fn an_entry_is_there_for_every_later_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/known_hosts");
    let (first, second) = (KnownHostsFile::new(&path), KnownHostsFile::new(&path));
    let (plain, other_port) = (Endpoint::new("R1.example.net", 22), Endpoint::new("r1.example.net", 2222));
    assert_eq!(second.recorded(&plain).await.unwrap(), Recorded::nothing());
    first.record(&plain, &key(A)).await.unwrap();
    first.record(&other_port, &key(B)).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("r1.example.net {A}\n[r1.example.net]:2222 {B}\n"));
    assert_eq!(second.recorded(&plain).await.unwrap().keys, [key(A)]);
    assert_eq!(second.recorded(&other_port).await.unwrap().keys, [key(B)]);
    let kept = second.record(&plain, &key(B)).await.unwrap();
    assert_eq!(kept.keys, [key(A)], "the first key stays");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[tokio::test]
async fn a_line_that_a_crash_cut_off_spoils_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    std::fs::write(&path, format!("r1 {A}\nr2 ssh-ed25519 AAAAC3Nz")).unwrap();
    let store = KnownHostsFile::new(&path);
    let r2 = Endpoint::new("r2", 22);
    assert_eq!(store.recorded(&r2).await.unwrap(), Recorded::nothing());
    store.record(&r2, &key(B)).await.unwrap();
    let again = KnownHostsFile::new(&path);
    assert_eq!(again.recorded(&r2).await.unwrap().keys, [key(B)]);
    assert_eq!(again.recorded(&Endpoint::new("r1", 22)).await.unwrap().keys, [key(A)]);
}

#[tokio::test]
async fn what_another_program_changes_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    let store = KnownHostsFile::new(&path);
    let r1 = Endpoint::new("r1", 22);
    store.record(&r1, &key(A)).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(store.recorded(&r1).await.unwrap(), Recorded::nothing());
    std::fs::write(&path, format!("# mine\n@revoked r1 {A}\nr1 {B}\n")).unwrap();
    let seen = store.recorded(&r1).await.unwrap();
    assert_eq!((seen.keys, seen.revoked), (vec![key(B)], vec![key(A)]));
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = KnownHostsFile::new(folder.path());
    assert!(store.recorded(&Endpoint::new("r1", 22)).await.is_err());
    assert!(store.record(&Endpoint::new("r1", 22), &key(A)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_within_and_between_stores_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    let stores: Vec<_> = (0..4).map(|_| Arc::new(KnownHostsFile::new(&path))).collect();
    let writers: Vec<_> = (0..200)
        .map(|i| {
            let store = stores[i % 4].clone();
            tokio::spawn(async move {
                let chosen = if i % 2 == 0 { A } else { B };
                // Two writers for each host: both are told the same key.
                let host = Endpoint::new(format!("r{}", i / 2), 22);
                store.record(&host, &key(chosen)).await.unwrap().keys
            })
        })
        .collect();
    let mut told = Vec::new();
    for writer in writers {
        told.push(writer.await.unwrap());
    }
    for pair in told.chunks(2) {
        assert_eq!(pair[0], pair[1]);
        assert_eq!(pair[0].len(), 1);
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 100);
    for (i, pair) in told.chunks(2).enumerate() {
        let seen = KnownHostsFile::new(&path).recorded(&Endpoint::new(format!("r{i}"), 22)).await.unwrap();
        assert_eq!(&seen.keys, &pair[0]);
    }
}

#[test]
fn writers_in_two_processes_lose_nothing() {
    // The test program itself is the second process: it runs one test of its own, told by the environment.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    let me = std::env::current_exe().unwrap();
    let children: Vec<_> = (0..4)
        .map(|i| {
            std::process::Command::new(&me)
                .args(["--exact", "known_hosts::second_process", "--ignored", "--nocapture"])
                .env("KNOWN_HOSTS_UNDER_TEST", &path)
                .env("KNOWN_HOSTS_WRITER", i.to_string())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4 * 50);
}

#[tokio::test]
#[ignore = "is started by writers_in_two_processes_lose_nothing"]
async fn second_process() {
    let Ok(path) = std::env::var("KNOWN_HOSTS_UNDER_TEST") else { return };
    let writer = std::env::var("KNOWN_HOSTS_WRITER").unwrap();
    let store = KnownHostsFile::new(path);
    for i in 0..50 {
        store.record(&Endpoint::new(format!("w{writer}-r{i}"), 22), &key(A)).await.unwrap();
    }
}
