//! The spool on disk: what is parked there stays, and is whole.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::body::read_to_vec;
use devicevault_core::spool::{Parked, Spool as _};
use devicevault_core::{Result, SystemClock};
use devicevault_storage::seal::Key;
use devicevault_storage::spool::{DiskSpool, SpoolOptions};
use devicevault_testkit::samples;
use tempfile::TempDir;

use crate::plain::config;

async fn open(folder: &Path) -> Result<DiskSpool> {
    let key = Key::new([3; 32]);
    DiskSpool::open(folder.join("spool"), key, SpoolOptions::default(), Arc::new(SystemClock)).await
}

fn content(n: u64) -> Bytes {
    if n.is_multiple_of(2) { samples::text(n, 3_000) } else { samples::noise(n, 150_000) }
}

/// Spools a body and parks it.
async fn park(spool: &DiskSpool, n: u64) -> Result<String> {
    let content = content(n);
    let mut writer = spool.create().await?;
    writer.write(content.clone()).await?;
    let body = writer.finish().await?;
    let (mut entry, _) = config(&format!("sw{n}"), content);
    entry.manifest.taken_at = devicevault_core::Clock::now(&SystemClock);
    let item = Parked { destination: "offsite".into(), entry, attempts: 1 };
    Ok(spool.park(&item, body).await?.0.to_string())
}

pub(super) async fn fresh() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let before = park(&open(folder.path()).await.unwrap(), 9).await.unwrap();
    (folder, before)
}

pub(super) async fn act(folder: &Path) {
    let spool = match open(folder).await {
        Ok(spool) => spool,
        Err(e) => return super::tell(Err::<&str, _>(e)),
    };
    for n in 0..3 {
        super::tell(park(&spool, n).await);
    }
}

pub(super) async fn is_well(folder: &Path, confirmed: &BTreeSet<String>, when: &str) {
    let spool = open(folder).await.unwrap_or_else(|e| panic!("{when}: {e:?}"));
    let more = park(&spool, 4).await.unwrap_or_else(|e| panic!("{when}: {e:?}"));
    let pending = spool.pending().await.unwrap();
    for id in confirmed.iter().chain([&more]) {
        assert!(pending.iter().any(|(there, _)| there.0.to_string() == *id), "{when}: {id} was parked and is lost");
    }
    for (id, item) in pending {
        let body = spool.open(id).await.unwrap_or_else(|e| panic!("{when}: {e:?}"));
        let bytes = read_to_vec(body.read(None), u64::MAX).await.unwrap_or_else(|e| panic!("{when}: {e:?}"));
        let name = &item.entry.manifest.source.device_name;
        let expected = content(name.strip_prefix("sw").unwrap().parse().unwrap());
        assert!(bytes == expected, "{when}: what is parked as {id:?} is not what it was");
        spool.remove(id).await.unwrap_or_else(|e| panic!("{when}: {e:?}"));
    }
    assert_eq!(spool.bytes(), 0, "{when}");
}
