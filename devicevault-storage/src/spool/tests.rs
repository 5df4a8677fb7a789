//! What must hold of the spool: what goes in comes out, what is parked survives, nothing is readable, nothing is left.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::body::read_to_vec;
use devicevault_core::{Entry, SystemClock};

use super::*;

async fn spool(folder: &Path, options: SpoolOptions) -> DiskSpool {
    DiskSpool::open(folder.join("spool"), Key::new([3; 32]), options, Arc::new(SystemClock)).await.unwrap()
}

async fn body(spool: &DiskSpool, content: &[u8]) -> Arc<dyn Body> {
    let mut writer = spool.create().await.unwrap();
    for chunk in content.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

async fn content(body: &dyn Body) -> Vec<u8> {
    read_to_vec(body.read(None), u64::MAX).await.unwrap()
}

fn item(taken_at: devicevault_core::Timestamp) -> Parked {
    let mut manifest =
        devicevault_testkit::samples::manifest(&devicevault_testkit::samples::device("sw1"), "running-config", b"x");
    manifest.taken_at = taken_at;
    Parked { destination: "offsite".into(), entry: Entry::new(manifest), attempts: 3 }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    let inner: Vec<_> = all.iter().filter(|p| p.is_dir()).flat_map(|p| files(p)).collect();
    all.extend(inner);
    all
}

#[tokio::test]
async fn bodies_come_back_are_private_and_go_with_their_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), SpoolOptions::default()).await;
    let secret = b"enable secret hunter2\n".repeat(100_000);
    let one = body(&spool, &secret).await;
    let two = body(&spool, b"").await;
    assert_eq!((one.len(), two.len()), (secret.len() as u64, 0));
    assert!(content(&*one).await == secret);
    assert_eq!(read_to_vec(one.read(Some(65_530..65_540)), 100).await.unwrap(), secret[65_530..65_540]);
    for path in files(&folder.path().join("spool")) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 });
        assert!(path.is_dir() || !String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("hunter2"));
    }
    assert!(spool.bytes() > secret.len() as u64);
    // A reader that is under way outlives the body.
    let late = one.read(None);
    drop((one, two));
    assert!(read_to_vec(late, u64::MAX).await.unwrap() == secret);
    assert_eq!(spool.bytes(), 0);
    assert!(files(&folder.path().join("spool")).iter().all(|p| p.is_dir() || p.ends_with("lock")));
}

#[tokio::test]
async fn what_lies_in_the_spool_is_held_in_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), SpoolOptions::default()).await;
    let small = body(&spool, b"hostname a\n").await;
    let is_body = |path: &std::path::PathBuf| !path.is_dir() && !path.ends_with("lock");
    for path in files(&folder.path().join("spool")).iter().filter(|path| is_body(path)) {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(80).unwrap();
    }
    let read = read_to_vec(small.read(None), u64::MAX).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt, "it was read from memory");
}

#[tokio::test]
async fn a_folder_that_others_could_enter_is_closed_to_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("spool");
    std::fs::create_dir_all(root.join("parked")).unwrap();
    for folder in [root.clone(), root.join("parked")] {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let _spool = spool(dir.path(), SpoolOptions::default()).await;
    for folder in [root.clone(), root.join("parked")] {
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[tokio::test]
async fn what_is_parked_outlives_its_process_and_what_is_not_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let first = spool(folder.path(), SpoolOptions::default()).await;
    let kept = body(&first, b"hostname a\n").await;
    let parked = item(SystemClock.now());
    let id = first.park(&parked, kept.clone()).await.unwrap();
    let lost = first.create().await.unwrap();
    // Another process sees what is parked, and leaves the rest of a living one alone.
    let neighbour = spool(folder.path(), SpoolOptions::default()).await;
    assert_eq!(neighbour.pending().await.unwrap(), [(id, parked.clone())]);
    assert_eq!(content(&*kept).await, b"hostname a\n");
    // As a crash would leave it: nothing is cleaned up but the lock.
    drop(kept);
    std::mem::drop(lost);
    drop(first);
    let second = spool(folder.path(), SpoolOptions::default()).await;
    let pending = second.pending().await.unwrap();
    assert_eq!(pending, [(id, parked)]);
    assert!(second.bytes() > 0);
    assert_eq!(content(&*second.open(id).await.unwrap()).await, b"hostname a\n");
    second.remove(id).await.unwrap();
    second.remove(id).await.unwrap();
    assert_eq!(second.bytes(), 0);
    assert_eq!(second.open(id).await.unwrap_err().kind(), ErrorKind::NotFound);
    drop((second, neighbour));
    assert!(spool(folder.path(), SpoolOptions::default()).await.pending().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_parked_too_long_is_overdue_and_there_for_a_last_try() {
    let folder = tempfile::tempdir().unwrap();
    let options = SpoolOptions::default().with_keep(Duration::from_secs(3600));
    let first = spool(folder.path(), options.clone()).await;
    let old = SystemClock.now().checked_sub(Duration::from_secs(7200)).unwrap();
    let overdue = item(old);
    let id = first.park(&overdue, Arc::new(Bytes::from_static(b"x"))).await.unwrap();
    assert!(!first.is_overdue(&item(SystemClock.now())));
    drop(first);
    let second = spool(folder.path(), options).await;
    assert_eq!(second.pending().await.unwrap(), [(id, overdue.clone())]);
    assert!(second.is_overdue(&overdue));
    assert_eq!(content(&*second.open(id).await.unwrap()).await, b"x");
}

#[tokio::test]
async fn a_full_spool_waits_and_what_can_never_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), SpoolOptions::default().with_capacity(1 << 20)).await;
    let first = body(&spool, &[1; 600_000]).await;
    let second = body(&spool, &[2; 600_000]);
    tokio::pin!(second);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut second).await.is_err());
    drop(first);
    assert!(content(&*second.await).await == [2; 600_000]);
    let mut huge = spool.create().await.unwrap();
    let refused = async {
        loop {
            huge.write(vec![0; 300_000].into()).await?;
        }
        #[allow(unreachable_code)]
        Ok::<(), Error>(())
    };
    assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn what_is_to_stay_free_is_left_by_bodies_and_by_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let all = spool(folder.path(), SpoolOptions::default().with_free(Some(Keep::Bytes(u64::MAX)))).await;
    let parked = item(SystemClock.now());
    let e = all.park(&parked, Arc::new(Bytes::from_static(b"x"))).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::QuotaExceeded);
    assert!(e.hint_text().is_some_and(|h| h.contains("spool.free")), "{e:?}");
    let mut writer = all.create().await.unwrap();
    writer.write(vec![0; 100].into()).await.unwrap();
    assert_eq!(writer.finish().await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert!(all.pending().await.unwrap().is_empty() && all.bytes() == 0);
    let little = spool(folder.path(), SpoolOptions::default().with_free(Some(Keep::Percent(0.000_001)))).await;
    let id = little.park(&parked, Arc::new(Bytes::from_static(b"x"))).await.unwrap();
    assert_eq!(little.pending_of(&parked.line()).await.unwrap(), [(id, parked)]);
}

#[tokio::test]
async fn what_does_not_open_is_put_aside_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let first = spool(folder.path(), SpoolOptions::default()).await;
    first.park(&item(SystemClock.now()), Arc::new(Bytes::from_static(b"x"))).await.unwrap();
    let root = folder.path().join("spool");
    let clock = Arc::new(SystemClock);
    let other = DiskSpool::open(&root, Key::new([4; 32]), SpoolOptions::default(), clock).await.unwrap();
    assert!(other.pending().await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(root.join("damaged")).unwrap().count(), 1);
    let parked = item(SystemClock.now());
    let id = other.park(&parked, Arc::new(Bytes::from_static(b"y"))).await.unwrap();
    assert_eq!(other.pending_of(&parked.line()).await.unwrap(), [(id, parked)]);
}

#[tokio::test]
async fn what_no_longer_fits_is_refused_at_once_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), SpoolOptions::default().with_parked(300_000)).await;
    let parked = item(SystemClock.now());
    let id = spool.park(&parked, Arc::new(Bytes::from(vec![1; 200_000]))).await.unwrap();
    let refused = spool.park(&parked, Arc::new(Bytes::from(vec![2; 200_000]))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
    // Bodies have room of their own.
    assert!(content(&*body(&spool, &[3; 600_000]).await).await == [3; 600_000]);
    spool.remove(id).await.unwrap();
    assert_eq!(spool.bytes(), 0);
    spool.park(&parked, Arc::new(Bytes::from(vec![2; 200_000]))).await.unwrap();
    assert_eq!(files(&folder.path().join("spool")).iter().filter(|p| p.ends_with("body")).count(), 1);
}

#[tokio::test]
async fn two_that_park_and_remove_in_one_line_do_not_lose_anything() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) =
        (spool(folder.path(), SpoolOptions::default()).await, spool(folder.path(), SpoolOptions::default()).await);
    let parked = item(SystemClock.now());
    let work = |parks: DiskSpool, removes: DiskSpool| {
        let parked = parked.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                let id = parks.park(&parked, Arc::new(Bytes::from_static(b"x"))).await.unwrap();
                assert_eq!(content(&*removes.open(id).await.unwrap()).await, b"x");
                removes.remove(id).await.unwrap();
            }
        })
    };
    let (a, b) = (work(one.clone(), two.clone()), work(two.clone(), one.clone()));
    a.await.unwrap();
    b.await.unwrap();
    assert!(one.pending().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_folder_is_a_spool_as_the_engine_expects_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = SpoolOptions::default()
        .with_capacity(devicevault_testkit::conformance::SpoolSuite::CAPACITY as u64)
        .with_keep(Duration::MAX);
    let open = async |place: &str| {
        let clock = Arc::new(SystemClock);
        let root = folder.path().join(place.replace('/', "_"));
        let spool = DiskSpool::open(root, Key::new([3; 32]), options.clone(), clock).await?;
        Ok(Arc::new(spool) as Arc<dyn Spool>)
    };
    devicevault_testkit::conformance::spool(open).await.assert();
}
