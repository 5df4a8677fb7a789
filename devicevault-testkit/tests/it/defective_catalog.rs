//! The catalog suite finds each of these defects out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::catalog::{CopyKey, Latest, Lease, Page, Paged, PendingCopy, Query, RunQuery};
use devicevault_core::run::{Backup, NewRun, Outcome, Run, RunState};
use devicevault_core::{
    BackupId, Catalog, DestinationId, DeviceId, Error, ErrorKind, ErrorRecord, Result, RunId, StorageRef, TaskId,
    Timestamp,
};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::conformance::CatalogSuite;
use devicevault_testkit::memory::MemoryCatalog;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Defect {
    None,
    ARunForEachCall,
    LeasesForAll,
    LeasesForEver,
    AnybodyReleases,
    HalfRecords,
    OneAtATime,
    ForgetsOtherCopies,
    InventsLastSeen,
    SuspectIsReference,
    CountsPages,
    SkipsTies,
    ForgetsNothing,
    MarksEverywhere,
    WaitsForNothing,
    NeverInterrupted,
    IgnoresUntil,
    LosesTheLog,
    PinnedForEver,
    AcceptsNothing,
}

#[derive(Debug)]
struct Defective {
    inner: MemoryCatalog,
    defect: Defect,
}

impl Defective {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }
}

#[async_trait]
impl Catalog for Defective {
    async fn begin(&self, run: &NewRun) -> Result<RunId> {
        let mut run = run.clone();
        if self.is(Defect::ARunForEachCall) {
            run.task_id = TaskId::generate();
        }
        self.inner.begin(&run).await
    }

    async fn lease(&self, device: &DeviceId, ttl: Duration) -> Result<Option<Lease>> {
        let ttl = if self.is(Defect::LeasesForEver) { Duration::MAX } else { ttl };
        match self.inner.lease(device, ttl).await? {
            None if self.is(Defect::LeasesForAll) => self.inner.lease(&DeviceId(format!("{device}+")), ttl).await,
            lease => Ok(lease),
        }
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>> {
        self.inner.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        if self.is(Defect::AnybodyReleases) {
            // As after a restart: what anybody held is free.
            drop(self.inner.reopened());
        }
        self.inner.release(lease).await
    }

    async fn advance(&self, run: RunId, state: RunState) -> Result<()> {
        self.inner.advance(run, state).await
    }

    async fn latest(&self, device: &DeviceId, artefact: &str) -> Result<Latest> {
        let mut latest = self.inner.latest(device, artefact).await?;
        if self.is(Defect::SuspectIsReference) && latest.suspect.is_some() {
            latest.reference = latest.suspect.take();
        }
        Ok(latest)
    }

    async fn record(&self, run: RunId, outcomes: Vec<Outcome>) -> Result<()> {
        match self.defect {
            Defect::HalfRecords => {
                for outcome in outcomes {
                    self.inner.record(run, vec![outcome]).await?;
                }
                Ok(())
            }
            Defect::OneAtATime => {
                for outcome in outcomes {
                    self.inner.record(run, vec![outcome]).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            _ => {
                let mut changed = Vec::new();
                for outcome in outcomes {
                    changed.push(match outcome {
                        Outcome::Backup(b) if self.is(Defect::ForgetsOtherCopies) => {
                            let mut query = Query::default();
                            query.id = Some(b.id);
                            for known in self.inner.find(&query, Page::first(1)).await?.items {
                                for copy in known.copies {
                                    let refs: Vec<_> = copy.storage_ref.into_iter().collect();
                                    self.inner.forget(&copy.destination, &refs).await?;
                                }
                            }
                            Outcome::Backup(b)
                        }
                        Outcome::Extended { backup, destinations, seen } if self.is(Defect::InventsLastSeen) => {
                            // It cannot be lowered beneath the trait: raised beyond measure is as wrong.
                            let seen = seen + Duration::from_secs(1_000_000);
                            Outcome::Extended { backup, destinations, seen }
                        }
                        Outcome::End(mut run) if self.is(Defect::LosesTheLog) => {
                            run.log.clear();
                            Outcome::End(run)
                        }
                        other => other,
                    });
                }
                self.inner.record(run, changed).await
            }
        }
    }

    async fn find(&self, query: &Query, page: Page) -> Result<Paged<Backup>> {
        let mut query = query.clone();
        if self.is(Defect::IgnoresUntil) {
            query.until = None;
        }
        if self.is(Defect::CountsPages) || self.is(Defect::SkipsTies) {
            let everything = self.inner.find(&query, Page::first(u32::MAX)).await?.items;
            let limit = page.limit as usize;
            let begin = match &page.after {
                None => 0,
                Some(_) if self.is(Defect::SkipsTies) => {
                    let seen: i64 = page.after.as_deref().unwrap_or_default().parse().map_err(|_| cursor())?;
                    let older = everything.iter().position(|b| b.first_seen.as_microsecond() < seen);
                    older.unwrap_or(everything.len())
                }
                Some(after) => after.parse().map_err(|_| cursor())?,
            };
            let items: Vec<_> = everything.iter().skip(begin).take(limit).cloned().collect();
            let more = begin + items.len() < everything.len();
            let last = items.last().map(|b| b.first_seen.as_microsecond().to_string());
            let next = if self.is(Defect::SkipsTies) { last } else { Some((begin + items.len()).to_string()) };
            return Ok(Paged { items, next: next.filter(|_| more) });
        }
        self.inner.find(&query, page).await
    }

    async fn runs(&self, query: &RunQuery, page: Page) -> Result<Paged<Run>> {
        self.inner.runs(query, page).await
    }

    async fn verified(&self, at: &CopyKey, found: std::result::Result<Timestamp, ErrorRecord>) -> Result<()> {
        self.inner.verified(at, found).await
    }

    async fn mark(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()> {
        if self.is(Defect::MarksEverywhere) {
            for other in ["main", "outer"] {
                self.inner.mark(&other.into(), refs).await?;
            }
        }
        self.inner.mark(destination, refs).await
    }

    async fn forget(&self, destination: &DestinationId, refs: &[StorageRef]) -> Result<()> {
        if self.is(Defect::ForgetsNothing) {
            return Ok(());
        }
        self.inner.forget(destination, refs).await
    }

    async fn pin(&self, backup: BackupId, pinned: bool) -> Result<bool> {
        self.inner.pin(backup, pinned || self.is(Defect::PinnedForEver)).await
    }

    async fn accept(&self, backup: BackupId) -> Result<bool> {
        if self.is(Defect::AcceptsNothing) {
            return Ok(true);
        }
        self.inner.accept(backup).await
    }

    async fn pending(&self) -> Result<Vec<PendingCopy>> {
        match self.defect {
            Defect::WaitsForNothing => self.inner.pending().await.map(|_| Vec::new()),
            Defect::NeverInterrupted => Ok(Vec::new()),
            _ => self.inner.pending().await,
        }
    }
}

fn cursor() -> Error {
    Error::new(ErrorKind::Config, "read cursor", "it is none of this catalog's")
}

/// The cases that a catalog of this defect breaks.
async fn broken(defect: Defect) -> Vec<&'static str> {
    let clock = ManualClock::new();
    let places = Mutex::new(HashMap::<String, MemoryCatalog>::new());
    let open = async |place: &str| {
        let mut places = places.lock().unwrap();
        let inner = match places.get(place) {
            Some(before) => before.reopened(),
            None => MemoryCatalog::with_clock(Arc::new(clock.clone())),
        };
        places.insert(place.to_owned(), inner.clone());
        Ok(Arc::new(Defective { inner, defect }) as Arc<dyn Catalog>)
    };
    let report = CatalogSuite::new(&open).with_clock(&clock).run().await;
    report.broken().map(|c| c.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_defect_breaks_the_case_that_is_about_it() {
    let expected = [
        (Defect::None, &[][..]),
        (Defect::ARunForEachCall, &["begin-again", "begin-at-once"]),
        (Defect::LeasesForAll, &["lease"]),
        (Defect::LeasesForEver, &["lease-expiry"]),
        (Defect::AnybodyReleases, &["lease-release"]),
        (Defect::PinnedForEver, &["pin"]),
        (Defect::AcceptsNothing, &["accept", "quarantine"]),
        (Defect::HalfRecords, &["atomic-error"]),
        (Defect::OneAtATime, &["atomic-error", "atomic-cancel"]),
        (Defect::ForgetsOtherCopies, &["copies-merged"]),
        (Defect::InventsLastSeen, &["extended", "extended-backwards"]),
        (Defect::SuspectIsReference, &["latest-suspect"]),
        (Defect::CountsPages, &["pages-while-recording"]),
        (Defect::SkipsTies, &["pages"]),
        (Defect::ForgetsNothing, &["forget"]),
        (Defect::MarksEverywhere, &["mark"]),
        (Defect::WaitsForNothing, &["pending"]),
        (Defect::NeverInterrupted, &["interrupted"]),
        (Defect::IgnoresUntil, &["find"]),
        (Defect::LosesTheLog, &["end"]),
    ];
    for (defect, cases) in expected {
        let found = broken(defect).await;
        assert_eq!(found.is_empty(), defect == Defect::None, "{defect:?}: {found:?}");
        for case in cases {
            assert!(found.contains(case), "{defect:?} does not break {case}: {found:?}");
        }
    }
}
