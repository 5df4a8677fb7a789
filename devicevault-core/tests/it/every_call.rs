//! A run that is stopped at any of its calls, to a destination or to the catalog, is made good by the next one.

use std::sync::Arc;

use devicevault_core::catalog::{Page, Query};
use devicevault_core::engine::{Destination, Job};
use devicevault_core::run::CopyStatus;
use devicevault_core::text::InstanceKey;
use devicevault_core::{Catalog as _, Engine, Error, ErrorKind, StorageBackend, StorageBackendExt as _, View};
use devicevault_testkit::cancel::cancel_after;
use devicevault_testkit::faulty::{Fault, Faulty, Plan};
use devicevault_testkit::memory::MemoryBackend;

use crate::doubles::*;

const TEXT: &str = "hostname a\nend\n";
const NAMES: [&str; 2] = ["a", "b"];

/// A house with two places, each of which keeps what it was given.
struct Stopped {
    house: House,
    places: [MemoryBackend; 2],
}

impl Stopped {
    fn new() -> Self {
        Self { house: house(), places: [MemoryBackend::new(), MemoryBackend::new()] }
    }

    fn job(&self, over: impl Fn(MemoryBackend) -> Arc<dyn StorageBackend>) -> Job {
        let place =
            |n: usize| -> Arc<Destination> { destination(NAMES[n], over(self.places[n].clone()), View::Original) };
        job(Script::new(vec![config(TEXT)]), vec![place(0), place(1)])
    }

    /// The program is started again, and finds everything well.
    async fn next_is_good(&self, when: &str) {
        let catalog = Arc::new(self.house.catalog.reopened());
        let engine = Engine::builder(catalog.clone(), InstanceKey::new([5; 32])).build();
        let run = engine.back_up(&self.job(|place| Arc::new(place))).await.unwrap_or_else(|e| panic!("{when}: {e:?}"));
        assert!(run.state.is_good(), "{when}: {run:?}");
        let all = catalog.find(&Query::default(), Page::first(10)).await.unwrap().items;
        assert_eq!((all.len(), all[0].copies.len()), (1, 2), "{when}: {all:?}");
        for copy in &all[0].copies {
            assert!(matches!(copy.status, CopyStatus::Stored | CopyStatus::Extended), "{when}: {copy:?}");
            let place = &self.places[NAMES.iter().position(|n| *n == copy.destination.as_str()).unwrap()];
            let bytes = place.read_all(copy.storage_ref.as_ref().unwrap(), 1000).await.unwrap();
            assert_eq!(bytes, TEXT.as_bytes(), "{when}");
        }
    }
}

#[tokio::test]
async fn a_run_that_fails_at_any_call_is_made_good_by_the_next() {
    let mut counted = Vec::new();
    for how in ["once", "once, after its effect", "for ever"] {
        let mut calls = 0;
        for k in 1.. {
            let it = Stopped::new();
            let plan = Plan::new();
            let mut fault = Fault::failing_any(Error::new(ErrorKind::Unavailable, "test", "it is away")).at_call(k);
            fault = match how {
                "once" => fault,
                "for ever" => fault.for_ever(),
                _ => fault.after_the_effect(),
            };
            plan.add(fault);
            let catalog = Arc::new(Faulty::with_plan(it.house.catalog.clone(), &plan));
            let engine = Engine::builder(catalog, InstanceKey::new([5; 32])).build();
            let job = it.job(|place| Arc::new(Faulty::with_plan(Arc::new(place), &plan)));
            // It may fail, or find another way.
            let _ = engine.back_up(&job).await;
            drop((job, engine));
            if plan.all_calls() < k {
                break;
            }
            calls = k;
            it.next_is_good(&format!("{how}, call {k}")).await;
        }
        assert!(calls >= 6, "{calls}");
        counted.push((how, calls));
    }
    println!("a run failed at every one of its calls: {counted:?}");
}

#[tokio::test]
async fn a_run_that_is_dropped_at_any_point_is_made_good_by_the_next() {
    let mut points = 0;
    for polls in 0.. {
        let it = Stopped::new();
        let engine = Engine::builder(it.house.catalog.clone(), InstanceKey::new([5; 32])).build();
        let job = it.job(|place| Arc::new(place));
        let done = cancel_after(polls, engine.back_up(&job)).await;
        drop((job, engine));
        it.next_is_good(&format!("dropped after {polls} polls")).await;
        if done.is_some() {
            break;
        }
        points = polls + 1;
    }
    println!("a run was dropped at each of {points} points");
    assert!(points >= 2, "{points}");
}
