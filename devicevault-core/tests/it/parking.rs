//! Destinations that are down: what waits, in which order it arrives, and that no device is asked twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use devicevault_core::catalog::{Page, Query};
use devicevault_core::run::{CopyStatus, RunState};
use devicevault_core::spool::{MemorySpool, ParkId, Parked, Spool, SpoolWriter};
use devicevault_core::text::InstanceKey;
use devicevault_core::{Body, Catalog, Engine, Result, View};
use devicevault_testkit::memory::{MemoryBackend, MemoryCatalog};

use crate::doubles::{job as job_of, *};

/// A spool that outlives the engine, as one on disk outlives the process.
#[derive(Debug, Clone)]
struct Lasting(MemorySpool, Arc<std::sync::atomic::AtomicBool>);

#[async_trait]
impl Spool for Lasting {
    fn is_durable(&self) -> bool {
        true
    }
    /// The time of everything is over, or of nothing.
    fn is_overdue(&self, _item: &Parked) -> bool {
        self.1.load(Ordering::SeqCst)
    }
    async fn create(&self) -> Result<Box<dyn SpoolWriter>> {
        self.0.create().await
    }
    async fn park(&self, item: &Parked, body: Arc<dyn Body>) -> Result<ParkId> {
        self.0.park(item, body).await
    }
    async fn pending(&self) -> Result<Vec<(ParkId, Parked)>> {
        self.0.pending().await
    }
    async fn open(&self, id: ParkId) -> Result<Arc<dyn Body>> {
        self.0.open(id).await
    }
    async fn remove(&self, id: ParkId) -> Result<()> {
        self.0.remove(id).await
    }
}

struct Parking {
    catalog: Arc<MemoryCatalog>,
    spool: Arc<Lasting>,
}

impl Parking {
    fn new() -> Self {
        Self {
            catalog: Arc::new(MemoryCatalog::new()),
            spool: Arc::new(Lasting(MemorySpool::new(1 << 20), Arc::default())),
        }
    }

    /// A process over the same catalog and spool.
    fn engine(&self) -> Engine {
        Engine::builder(self.catalog.clone(), InstanceKey::new([5; 32])).spool(self.spool.clone()).build()
    }

    async fn waiting(&self) -> usize {
        self.spool.pending().await.unwrap().len()
    }
}

const ALWAYS: usize = usize::MAX;

#[tokio::test]
async fn a_destination_that_is_down_is_caught_up_without_asking_the_device() {
    let parking = Parking::new();
    let (good, down) = (Arc::new(MemoryBackend::new()), Down::new(ALWAYS));
    let destinations =
        vec![destination("good", good.clone(), View::Original), destination("down", down.clone(), View::Redacted)];
    let script = Script::new(vec![config("hostname a\ncommunity x\nend\n"), config("hostname b\ncommunity x\nend\n")]);
    let job = job(script.clone(), destinations.clone());
    for _ in 0..3 {
        let run = parking.engine().back_up(&job).await.unwrap();
        assert_eq!(run.state, RunState::Partial);
        assert!(run.artefacts[0].copies.iter().any(|c| c.status == CopyStatus::Pending));
    }
    // Two contents wait; the third run saw the second again.
    assert_eq!((parking.waiting().await, good.len(), script.asked()), (2, 2, 3));
    assert_eq!(parking.engine().deliver(&destinations).await.unwrap().waiting, 2);

    down.refuse.store(0, Ordering::SeqCst);
    let delivery = parking.engine().deliver(&destinations).await.unwrap();
    assert_eq!((delivery.delivered, delivery.waiting, delivery.failed.len()), (2, 0, 0));
    assert_eq!((parking.waiting().await, script.asked()), (0, 3));
    let arrived = stored(&down.inner);
    assert_eq!(arrived.len(), 2);
    assert!(arrived.iter().all(|(m, t)| m.view == View::Redacted && t.contains("community <secret:")));
    let backups = parking.catalog.find(&Query::default(), Page::first(10)).await.unwrap().items;
    assert!(
        backups.iter().all(|b| b.copies.len() == 2
            && b.copies.iter().all(|c| matches!(c.status, CopyStatus::Stored | CopyStatus::Extended))),
        "{backups:#?}"
    );
    assert_eq!(parking.engine().back_up(&job).await.unwrap().state, RunState::Unchanged);
}

/// What waits is of the view that was kept when it was taken: where secrets are left out since, they stay out.
#[tokio::test]
async fn what_waits_does_not_bring_back_what_is_left_out_since() {
    let parking = Parking::new();
    let down = Down::new(ALWAYS);
    let before = vec![destination("git", down.clone(), View::Original)];
    let text = "hostname a\ncommunity x\nend\n";
    let script = Script::new(vec![config(text), config(text)]);
    parking.engine().back_up(&job(script.clone(), before)).await.unwrap();
    assert_eq!(parking.waiting().await, 1);

    down.refuse.store(0, Ordering::SeqCst);
    let store = destination("store", Arc::new(MemoryBackend::new()), View::Original);
    let now = vec![destination("git", down.clone(), View::Redacted), store];
    let delivery = parking.engine().deliver(&now).await.unwrap();
    assert_eq!((delivery.delivered, delivery.waiting, parking.waiting().await), (0, 0, 0));
    assert!(delivery.failed[0].1.message().contains("keeps the redacted view by now"), "{:?}", delivery.failed);
    assert!(stored(&down.inner).is_empty());
    // The next run stores what the device has in the view of today.
    parking.engine().back_up(&job(script, now)).await.unwrap();
    let arrived = stored(&down.inner);
    assert!(arrived.iter().all(|(m, t)| m.view == View::Redacted && t.contains("community <secret:")), "{arrived:?}");
    assert_eq!(arrived.len(), 1);
}

#[tokio::test]
async fn versions_arrive_in_the_order_of_their_taking() {
    let parking = Parking::new();
    let down = Down::new(ALWAYS);
    let destinations = vec![destination("down", down.clone(), View::Original)];
    let script = Script::new(
        ["a", "b", "c"]
            .map(|h| {
                config(match h {
                    "a" => "hostname a\nend\n",
                    "b" => "hostname b\nend\n",
                    _ => "hostname c\nend\n",
                })
            })
            .to_vec(),
    );
    let job = job(script, destinations);
    parking.engine().back_up(&job).await.unwrap();
    parking.engine().back_up(&job).await.unwrap();
    down.refuse.store(0, Ordering::SeqCst);
    // The next run of the device takes along what waits.
    let run = parking.engine().back_up(&job).await.unwrap();
    assert_eq!(run.state, RunState::Succeeded);
    assert_eq!(parking.waiting().await, 0);
    let mut arrived: Vec<_> = stored(&down.inner);
    arrived.sort_by_key(|(m, _)| m.taken_at);
    assert_eq!(arrived.iter().map(|(_, t)| &t[..10]).collect::<Vec<_>>(), ["hostname a", "hostname b", "hostname c"]);
    let latest = parking.catalog.latest(&"sw1".into(), "running-config").await.unwrap().reference.unwrap();
    assert_eq!(Some(latest.id), run.artefacts[0].backup);
}

#[tokio::test]
async fn what_was_parked_before_its_record_is_recorded_with_its_delivery() {
    let parking = Parking::new();
    let down = Down::new(0);
    let destinations = vec![destination("down", down.clone(), View::Original)];
    let body = bytes::Bytes::from_static(b"hostname a\nend\n");
    let device = devicevault_testkit::samples::device("sw9");
    let manifest = devicevault_testkit::samples::manifest(&device, "running-config", &body);
    let entry = devicevault_core::Entry::new(manifest.clone());
    parking.spool.park(&Parked { destination: "down".into(), entry, attempts: 3 }, Arc::new(body)).await.unwrap();
    assert_eq!(parking.engine().deliver(&destinations).await.unwrap().delivered, 1);
    let found = parking.catalog.find(&Query::default(), Page::first(10)).await.unwrap().items;
    assert_eq!((found.len(), found[0].id), (1, manifest.backup));
}

#[tokio::test]
async fn what_the_spool_gave_up_is_recorded_and_stored_anew() {
    let parking = Parking::new();
    let (good, down) = (Arc::new(MemoryBackend::new()), Down::new(ALWAYS));
    let destinations =
        vec![destination("good", good, View::Original), destination("down", down.clone(), View::Original)];
    let job = job(Script::new(vec![config("hostname a\nend\n")]), destinations.clone());
    parking.engine().back_up(&job).await.unwrap();
    let (id, _) = parking.spool.pending().await.unwrap().remove(0);
    parking.spool.remove(id).await.unwrap();
    let delivery = parking.engine().deliver(&destinations).await.unwrap();
    assert_eq!((delivery.lost, delivery.waiting, delivery.delivered), (1, 0, 0));
    let found = parking.catalog.find(&Query::default(), Page::first(10)).await.unwrap().items;
    let lost = found[0].copies.iter().find(|c| c.destination == "down".into()).unwrap();
    assert_eq!(lost.status, CopyStatus::Failed);
    assert_eq!(parking.engine().deliver(&destinations).await.unwrap().lost, 0);
    down.refuse.store(0, Ordering::SeqCst);
    assert_eq!(parking.engine().back_up(&job).await.unwrap().state, RunState::Succeeded);
}

#[tokio::test]
async fn what_waited_too_long_is_tried_once_more_before_it_is_given_up() {
    let parking = Parking::new();
    let (good, down) = (Arc::new(MemoryBackend::new()), Down::new(ALWAYS));
    let destinations =
        vec![destination("good", good, View::Original), destination("down", down.clone(), View::Original)];
    let script = Script::new(vec![config("hostname a\nend\n"), config("hostname b\nend\n")]);
    let job = job_of(script, destinations.clone());
    parking.engine().back_up(&job).await.unwrap();
    parking.engine().back_up(&job).await.unwrap();
    parking.spool.1.store(true, Ordering::SeqCst);
    // It is back.
    down.refuse.store(0, Ordering::SeqCst);
    let delivery = parking.engine().deliver(&destinations).await.unwrap();
    assert_eq!((delivery.delivered, delivery.lost, delivery.failed.len()), (2, 0, 0));
    assert_eq!(stored(&down.inner).len(), 2);
    // It is not.
    let parking = Parking::new();
    let down = Down::new(ALWAYS);
    let destinations = vec![destination("down", down, View::Original)];
    let job = job_of(Script::new(vec![config("hostname a\nend\n")]), destinations.clone());
    parking.engine().back_up(&job).await.unwrap();
    parking.spool.1.store(true, Ordering::SeqCst);
    let delivery = parking.engine().deliver(&destinations).await.unwrap();
    assert_eq!((delivery.delivered, delivery.waiting, delivery.failed.len(), parking.waiting().await), (0, 0, 1, 0));
    let found = parking.catalog.find(&Query::default(), Page::first(10)).await.unwrap().items;
    let given_up = &found[0].copies[0];
    assert_eq!(given_up.status, CopyStatus::Failed);
    let error = given_up.error.as_ref().unwrap();
    assert!(format!("{error:?}").contains("tried once more"), "{error:?}");
}
