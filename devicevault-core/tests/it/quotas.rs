//! What goes over a quota is refused, and nothing else.

use std::sync::Arc;

use devicevault_core::quota::{Quota, QuotaLimits};
use devicevault_core::run::{CopyStatus, RunState};
use devicevault_core::{ErrorKind, StorageBackend, View};
use devicevault_testkit::memory::MemoryBackend;

use crate::doubles::*;

fn limits(bytes: Option<u64>, count: Option<u64>, device_count: Option<u64>) -> QuotaLimits {
    let mut limits = QuotaLimits::default();
    (limits.bytes, limits.count, limits.device_count) = (bytes, count, device_count);
    limits
}

#[tokio::test]
async fn a_destination_whose_quota_is_used_up_fails_alone() {
    for bound in [limits(Some(30), None, None), limits(None, Some(2), None), limits(None, None, Some(2))] {
        let house = house();
        let (small, large) = (MemoryBackend::new(), MemoryBackend::new());
        let bounded = Quota::new(Arc::new(small.clone()), bound, "small".into(), house.catalog.clone(), clock());
        let places = vec![
            destination("small", bounded.clone(), View::Original),
            destination("large", Arc::new(large.clone()), View::Original),
        ];
        let texts = ["hostname a\nend\n", "hostname b\nend\n", "hostname c\nend\n", "hostname c\nend\n"];
        let script = Script::new(texts.map(config).to_vec());
        let mut runs = Vec::new();
        for _ in texts {
            runs.push(house.engine.back_up(&job(script.clone(), places.clone())).await.unwrap());
        }
        assert!(runs[0].state.is_good() && runs[1].state.is_good(), "{bound:?}");
        assert_eq!(runs[2].state, RunState::Partial, "{bound:?}");
        let of = |name: &str| runs[2].artefacts[0].copies.iter().find(|c| c.destination.as_str() == name).unwrap();
        assert_eq!(of("large").status, CopyStatus::Stored);
        let refused = of("small").error.as_ref().unwrap();
        assert_eq!((refused.kind, of("small").attempts), (ErrorKind::QuotaExceeded, 1), "it is not tried again");
        assert!(refused.message.contains("quota of the de"), "{refused:?}");
        assert_eq!((small.len(), large.len()), (2, 3));
        let probe = bounded.check().await.unwrap().probes.into_iter().find(|p| p.name == "quota").unwrap();
        assert!(!probe.good && probe.detail.contains("100 %"), "{probe:?}");
    }
}

#[tokio::test]
async fn retention_is_named_where_it_makes_room() {
    for (count, helps) in [(1, false), (2, true)] {
        let house = house();
        let bound = limits(None, Some(count), None);
        let bounded = Quota::new(Arc::new(MemoryBackend::new()), bound, "small".into(), house.catalog.clone(), clock());
        let places = vec![destination("small", bounded, View::Original)];
        let texts = ["hostname a\nend\n", "hostname b\nend\n", "hostname c\nend\n"];
        let script = Script::new(texts.map(config).to_vec());
        let mut run = None;
        for _ in 0..=count {
            run = Some(house.engine.back_up(&job(script.clone(), places.clone())).await.unwrap());
        }
        let refused = run.unwrap().artefacts[0].copies[0].error.clone().unwrap();
        let hint = refused.hint.unwrap();
        assert_eq!(hint.ends_with("apply retention"), helps, "{hint}");
        assert_eq!(hint.contains("makes no room"), !helps, "{hint}");
    }
}
