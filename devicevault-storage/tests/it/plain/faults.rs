//! Folders that do not let us: full, read-only, not ours, with links planted in them.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use devicevault_core::storage::VerifyDepth;
use devicevault_core::{ErrorKind, StorageBackend as _, StorageBackendExt as _};
use devicevault_storage::local::LocalStore;
use devicevault_testkit::bodies::ScriptedBody;
use devicevault_testkit::samples;

use super::crash::child;
use super::{ALL, SEALED, Way, ZSTD, at, config, files, fresh, listed, options};

async fn planted_links_are_refused_and_told(way: Way) {
    for planted in ["sw1", "sw1/running-config"] {
        let (folder, backend) = fresh(way).await;
        let outside = tempfile::tempdir().unwrap();
        let link = folder.path().join(planted);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(outside.path(), &link).unwrap();
        let (entry, body) = config("sw1", &b"secret"[..]);
        let e = backend.store_one(entry, body).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{e:?}");
        assert!(e.message().contains("symbolic link") && e.hint_text().is_some(), "{e:?}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

async fn a_link_in_place_of_a_file_is_neither_followed_nor_replaced(way: Way) {
    let (folder, backend) = fresh(way).await;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    let (entry, body) = config("sw1", &b"secret"[..]);
    let at = backend.store_one(entry.clone(), body.clone()).await.unwrap();
    for name in files(folder.path()).into_keys() {
        let path = folder.path().join(name);
        let kept = std::fs::read(&path).unwrap();
        for content in [Some(kept.as_slice()), Some(b"other"), None] {
            std::fs::remove_file(&path).unwrap();
            let _ = std::fs::remove_file(&target);
            if let Some(content) = content {
                std::fs::write(&target, content).unwrap();
            }
            symlink(&target, &path).unwrap();
            let e = backend.store_one(entry.clone(), body.clone()).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{e:?}");
            assert!(backend.read_all(&at, 100).await.is_err());
            assert!(!backend.verify(&at, None, VerifyDepth::Size).await.is_ok_and(|v| v.is_good()));
            assert_eq!(std::fs::read(&target).ok().as_deref(), content);
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, &kept).unwrap();
        }
    }
    assert_eq!(backend.read_all(&at, 100).await.unwrap(), b"secret");
}

async fn a_folder_that_went_away_is_unavailable(way: Way) {
    let (folder, backend) = fresh(way).await;
    std::fs::remove_dir_all(folder.path()).unwrap();
    let (entry, body) = config("sw1", &b"abc"[..]);
    let e = backend.store_one(entry, body).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
    assert!(!folder.path().exists());
}

async fn a_file_where_a_folder_should_be_is_told(way: Way) {
    let (folder, backend) = fresh(way).await;
    std::fs::write(folder.path().join("sw1"), "mine").unwrap();
    let (entry, body) = config("sw1", &b"abc"[..]);
    let (other, content) = config("sw2", &b"abc"[..]);
    let verdicts = backend.store(vec![(entry, body), (other, content)]).await;
    assert_eq!(verdicts[0].as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    assert!(verdicts[1].is_ok());
    assert_eq!(std::fs::read(folder.path().join("sw1")).unwrap(), b"mine");
}

#[tokio::test]
async fn a_body_that_fails_leaves_nothing_however_far_it_came() {
    for way in ALL {
        let (folder, backend) = fresh(way).await;
        let content = samples::noise(1, 3 << 20);
        for cut in [0, 1, 65_536, 1 << 20, (3 << 20) - 1] {
            let (entry, _) = config("sw1", content.clone());
            let body = ScriptedBody::new(content.clone()).in_pieces_of(50_000).ending_at(cut).shared();
            assert_eq!(backend.store_one(entry.clone(), body).await.unwrap_err().kind(), ErrorKind::Incomplete);
            let body = ScriptedBody::new(content.clone()).in_pieces_of(50_000).failing_at(cut).shared();
            assert!(backend.store_one(entry, body).await.is_err());
        }
        assert!(listed(&backend).await.is_empty() && files(folder.path()).is_empty());
        let staged: usize = std::fs::read_dir(folder.path().join(".tmp"))
            .unwrap()
            .filter_map(|a| std::fs::read_dir(a.unwrap().path()).ok())
            .map(Iterator::count)
            .sum();
        assert_eq!(staged, 0);
    }
}

#[test]
fn a_folder_of_somebody_else_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("main");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let backend = at(&home, options(ZSTD)).await;
        let (entry, body) = config("sw0", &b"before"[..]);
        backend.store_one(entry, body).await.unwrap();
    });
    let mode = |m| std::os::unix::fs::PermissionsExt::from_mode(m);
    for path in [folder.path(), home.as_path()] {
        std::fs::set_permissions(path, mode(0o555)).unwrap();
    }
    std::fs::set_permissions(home.join(".devicevault-destination"), mode(0o444)).unwrap();
    // The super-user may do anything: then somebody else has to try.
    let told = if rustix::process::geteuid().is_root() {
        let program = folder.path().join("child");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        std::fs::set_permissions(&program, mode(0o555)).unwrap();
        let mut command = child(&program, "refused", &home, ZSTD, &[]);
        command.current_dir("/").uid(65_534).gid(65_534);
        command.output().unwrap()
    } else {
        child(&std::env::current_exe().unwrap(), "refused", &home, ZSTD, &[]).output().unwrap()
    };
    for path in [folder.path(), home.as_path()] {
        std::fs::set_permissions(path, mode(0o755)).unwrap();
    }
    let text = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success() && text.contains("refused: permission_denied"), "{text}");
}

/// A file system of its own, unmounted at the end.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn small() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "devicevault-test"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "a tmpfs cannot be mounted");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&self, how: &str) {
        assert!(
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.path()).status().unwrap().success()
        );
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
#[ignore = "needs root to mount a tmpfs"]
async fn a_full_disk_is_told_leaves_nothing_half_and_passes() {
    for way in ALL {
        let disk = Mounted::small();
        let backend = at(disk.path(), options(way)).await;
        let (entry, body) = config("sw0", &b"before"[..]);
        let before = backend.store_one(entry, body).await.unwrap();
        std::fs::write(disk.path().join("filler"), vec![1; 1 << 20]).unwrap();
        // Larger than what is left, both in one piece and by many small ones.
        let (large, content) = config("large", samples::noise(1, 2 << 20));
        let e = backend.store_one(large.clone(), content.clone()).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::StorageFull, "{e:?}");
        assert!(e.message().contains("full") && e.hint_text().is_some());
        let batch = (0..60).map(|i| config(&format!("sw{i}"), samples::noise(i, 30_000))).collect();
        let verdicts = backend.store(batch).await;
        let stored: Vec<_> = verdicts.iter().flatten().cloned().collect();
        for e in verdicts.iter().filter_map(|v| v.as_ref().err()) {
            assert_eq!(e.kind(), ErrorKind::StorageFull, "{e:?}");
        }
        assert!(stored.len() < 60);
        let found = listed(&backend).await;
        assert_eq!(found.len(), stored.len() + 1);
        for at in found.keys() {
            assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good());
        }
        assert!(!backend.check().await.unwrap().is_good());
        backend.delete(&stored).await.into_iter().for_each(|v| v.unwrap());
        std::fs::remove_file(disk.path().join("filler")).unwrap();
        let (small, content) = config("large", samples::noise(1, 1 << 20));
        backend.store_one(small, content).await.unwrap();
        assert_eq!(backend.read_all(&before, 100).await.unwrap(), b"before");
        eprintln!("{way:?}: {} of 61 had no room, {} were stored", 61 - stored.len(), stored.len());
    }
}

#[tokio::test]
#[ignore = "needs root to mount a tmpfs"]
async fn a_read_only_disk_is_told_and_read() {
    for way in [ZSTD, SEALED] {
        read_only(way).await;
    }
}

async fn read_only(way: Way) {
    let disk = Mounted::small();
    let backend = at(disk.path(), options(way)).await;
    let (entry, body) = config("sw0", &b"before"[..]);
    let before = backend.store_one(entry, body).await.unwrap();
    drop(backend);
    disk.remount("ro");
    let folder = LocalStore::open(disk.path(), &"main".into()).await.unwrap();
    let backend = devicevault_storage::plain::PlainBackend::in_folder(folder, options(way));
    assert_eq!(backend.read_all(&before, 100).await.unwrap(), b"before");
    let (entry, body) = config("sw1", &b"after"[..]);
    let e = backend.store_one(entry, body).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{e:?}");
    assert!(e.message().contains("read-only"));
    assert_eq!(backend.delete_one(&before).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    disk.remount("rw");
}

#[tokio::test]
#[ignore = "needs root to mount a tmpfs"]
async fn an_unmounted_share_is_not_filled_underneath() {
    let disk = Mounted::small();
    drop(at(disk.path(), options(ZSTD)).await);
    LocalStore::open(disk.path(), &"main".into()).await.unwrap();
    assert!(Command::new("umount").arg(disk.path()).status().unwrap().success());
    let e = LocalStore::open(disk.path(), &"main".into()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
    eprintln!("1 share was not mounted: refused, 0 files beneath it");
}

super::both_ways! {
    planted_links_are_refused_and_told,
    a_link_in_place_of_a_file_is_neither_followed_nor_replaced,
    a_folder_that_went_away_is_unavailable,
    a_file_where_a_folder_should_be_is_told,
}
