//! The backend suite finds each of these defects out.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::body::{ByteStream, read_to_vec};
use devicevault_core::storage::{Capability, Health, ListFilter, Usage, UsageFilter, Verdict, VerifyDepth};
use devicevault_core::{Body, Digest, Entry, Error, ErrorKind, Manifest, Result, RunId, StorageBackend, StorageRef};
use devicevault_testkit::conformance::{BackendSuite, Damage};
use devicevault_testkit::memory::MemoryBackend;
use futures::StreamExt as _;
use futures::stream::BoxStream;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Defect {
    None,
    VerdictsOutOfOrder,
    TakesWrongHashes,
    KeepsWhatCame,
    NotIdempotent,
    RangesOffByOne,
    RangesRefusedBeyondTheEnd,
    FoldsCase,
    CutsNames,
    LosesMetadata,
    ListsNothingOld,
    IgnoresFilters,
    DeletesTheDevice,
    MissingCannotBeDeleted,
    AlwaysGood,
    IgnoresTheCatalog,
    ReadsDamage,
    MissingIsEmpty,
    OneBadSpoilsTheBatch,
    ForgetsAtRestart,
}

#[derive(Debug)]
struct Defective {
    inner: MemoryBackend,
    defect: Defect,
}

impl Defective {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    async fn spoilt(&self, mut entry: Entry, body: Arc<dyn Body>) -> (Entry, Arc<dyn Body>) {
        let manifest = &mut entry.manifest;
        match self.defect {
            Defect::TakesWrongHashes | Defect::KeepsWhatCame => {
                let mut came = Vec::new();
                let mut stream = body.read(None);
                while let Some(Ok(chunk)) = stream.next().await {
                    came.extend_from_slice(&chunk);
                }
                if self.is(Defect::KeepsWhatCame) || came.len() as u64 == manifest.size {
                    manifest.size = came.len() as u64;
                    manifest.sha256 = Digest::of(&came);
                    return (entry, Arc::new(Bytes::from(came)));
                }
            }
            Defect::NotIdempotent => manifest.run = RunId::generate(),
            Defect::LosesMetadata => manifest.metadata.clear(),
            Defect::FoldsCase => manifest.source.device_name = manifest.source.device_name.to_lowercase(),
            Defect::CutsNames => manifest.source.device_name = manifest.source.device_name.chars().take(64).collect(),
            _ => {}
        }
        (entry, body)
    }
}

#[async_trait]
impl StorageBackend for Defective {
    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        if self.is(Defect::OneBadSpoilsTheBatch) {
            let count = batch.len();
            for (entry, body) in &batch {
                let whole = read_to_vec(body.read(None), u64::MAX).await;
                if whole.is_ok_and(|w| Digest::of(&w) == entry.manifest.sha256 && w.len() as u64 == entry.manifest.size)
                {
                    continue;
                }
                let no = Error::new(ErrorKind::Incomplete, "store batch", "one of them is bad");
                return (0..count).map(|_| Err(no.clone())).collect();
            }
        }
        let mut spoilt = Vec::new();
        for (entry, body) in batch {
            spoilt.push(self.spoilt(entry, body).await);
        }
        let mut verdicts = self.inner.store(spoilt).await;
        if self.is(Defect::VerdictsOutOfOrder) {
            verdicts.reverse();
        }
        verdicts
    }

    async fn read(&self, at: &StorageRef, range: Option<Range<u64>>) -> Result<ByteStream<'static>> {
        let size = self.inner.stat(at).await.map_or(0, |m| m.size);
        match (self.defect, range) {
            (Defect::RangesOffByOne, Some(r)) => self.inner.read(at, Some(r.start..r.end.saturating_add(1))).await,
            (Defect::RangesRefusedBeyondTheEnd, Some(r)) if r.end > size => {
                Err(Error::new(ErrorKind::Config, "read backup", "the range is beyond the end"))
            }
            (Defect::ReadsDamage, range) => match self.inner.read(at, range).await {
                Err(e) if e.kind() == ErrorKind::Corrupt => Ok(Body::read(&Bytes::from_static(b"half"), None)),
                other => other,
            },
            (Defect::MissingIsEmpty, range) => match self.inner.read(at, range).await {
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(futures::stream::empty().boxed()),
                other => other,
            },
            (_, range) => self.inner.read(at, range).await,
        }
    }

    async fn stat(&self, at: &StorageRef) -> Result<Manifest> {
        self.inner.stat(at).await
    }

    fn list(&self, filter: ListFilter) -> BoxStream<'static, Result<(StorageRef, Manifest)>> {
        let (skip, filter) = match self.defect {
            Defect::ListsNothingOld => (1, filter),
            Defect::IgnoresFilters => (0, ListFilter::default()),
            _ => (0, filter),
        };
        self.inner.list(filter).skip(skip).boxed()
    }

    async fn delete(&self, refs: &[StorageRef]) -> Vec<Result<()>> {
        if self.is(Defect::DeletesTheDevice) {
            for at in refs {
                let Ok(gone) = self.inner.stat(at).await else { continue };
                let mut filter = ListFilter::default();
                filter.device = Some(gone.source.device);
                let all: Vec<_> =
                    self.inner.list(filter).filter_map(|r| async { r.ok().map(|(at, _)| at) }).collect().await;
                let _ = self.inner.delete(&all).await;
            }
        }
        let mut verdicts = Vec::new();
        for at in refs {
            let there = self.inner.stat(at).await.is_ok();
            verdicts.extend(self.inner.delete(std::slice::from_ref(at)).await);
            if self.is(Defect::MissingCannotBeDeleted) && !there {
                verdicts.pop();
                verdicts.push(Err(Error::new(ErrorKind::NotFound, "delete backup", "it is not there")));
            }
        }
        verdicts
    }

    async fn verify(&self, at: &StorageRef, expect: Option<&Manifest>, depth: VerifyDepth) -> Result<Verdict> {
        match self.defect {
            Defect::AlwaysGood => Ok(Verdict::Good(depth)),
            Defect::IgnoresTheCatalog => self.inner.verify(at, None, depth).await,
            _ => self.inner.verify(at, expect, depth).await,
        }
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Usage> {
        self.inner.usage(filter).await
    }

    async fn check(&self) -> Result<Health> {
        self.inner.check().await
    }
}

/// The cases that a backend of this defect breaks.
async fn broken(defect: Defect) -> Vec<&'static str> {
    let places = Mutex::new(HashMap::<String, MemoryBackend>::new());
    let open = async |place: &str| {
        let mut places = places.lock().unwrap();
        if defect == Defect::ForgetsAtRestart {
            places.remove(place);
        }
        let inner = places.entry(place.to_owned()).or_default().clone();
        Ok(Arc::new(Defective { inner, defect }) as Arc<dyn StorageBackend>)
    };
    let damage = async |place: &str, at: &StorageRef, how: Damage| Ok(places.lock().unwrap()[place].damage(at, how));
    let report = BackendSuite::new(&open).with_damage(&damage).run().await;
    report.broken().map(|c| c.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_defect_breaks_the_case_that_is_about_it() {
    let expected = [
        (Defect::None, &[][..]),
        (Defect::VerdictsOutOfOrder, &["batch", "versions"]),
        (Defect::TakesWrongHashes, &["wrong-hash"]),
        (Defect::KeepsWhatCame, &["wrong-hash", "wrong-length", "failing-body"]),
        (Defect::NotIdempotent, &["same-entry-again", "same-entry-in-a-batch", "same-entry-at-once", "cancel"]),
        (Defect::RangesOffByOne, &["ranges", "large-range"]),
        (Defect::RangesRefusedBeyondTheEnd, &["ranges"]),
        (Defect::FoldsCase, &["hostile-names"]),
        (Defect::CutsNames, &["hostile-names"]),
        (Defect::LosesMetadata, &["stat"]),
        (Defect::ListsNothingOld, &["list", "list-filters", "reopen"]),
        (Defect::IgnoresFilters, &["list-filters"]),
        (Defect::DeletesTheDevice, &["delete", "delete-shared"]),
        (Defect::MissingCannotBeDeleted, &["delete"]),
        (Defect::AlwaysGood, &["verify-expectation", "verify-missing", "damage", "delete"]),
        (Defect::IgnoresTheCatalog, &["verify-expectation"]),
        (Defect::ReadsDamage, &["damage"]),
        (Defect::MissingIsEmpty, &["missing", "delete", "foreign-references"]),
        (Defect::OneBadSpoilsTheBatch, &["wrong-hash", "wrong-length", "failing-body"]),
        (Defect::ForgetsAtRestart, &["reopen"]),
    ];
    for (defect, cases) in expected {
        let found = broken(defect).await;
        assert_eq!(found.is_empty(), defect == Defect::None, "{defect:?}: {found:?}");
        for case in cases {
            assert!(found.contains(case), "{defect:?} does not break {case}: {found:?}");
        }
    }
}
