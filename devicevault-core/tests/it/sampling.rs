//! A part of the copies looked at every day, over a year.

use std::collections::HashMap;
use std::time::Duration;

use devicevault_core::catalog::{CopyKey, Query};
use devicevault_core::run::Outcome;
use devicevault_core::verification::{Sample, choose};
use devicevault_core::{Catalog as _, Clock as _, DestinationId, RunId, StorageRef, Timestamp};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::memory::MemoryCatalog;
use devicevault_testkit::samples;

const DAY: Duration = Duration::from_secs(86_400);
const PLACES: [&str; 2] = ["main", "outer"];

/// When every copy that there is was last known to be good.
type Known = HashMap<CopyKey, Timestamp>;

/// Copies of so many new versions, stored now.
async fn store(catalog: &MemoryCatalog, now: Timestamp, versions: usize, known: &mut Known) {
    let run = RunId::generate();
    let backups: Vec<_> = (0..versions).map(|_| samples::backup("sw1", "running-config", run, now, &PLACES)).collect();
    for backup in &backups {
        for copy in &backup.copies {
            known.insert(CopyKey { backup: backup.id, destination: copy.destination.clone() }, now);
        }
    }
    catalog.record(run, backups.into_iter().map(Outcome::Backup).collect()).await.unwrap();
}

/// Each copy is looked at as often as the part says, whatever comes and goes meanwhile, and no day costs more than its part.
#[tokio::test]
async fn over_a_year_no_copy_is_looked_at_less_often_than_the_part_says() {
    const PART: usize = 5;
    let clock = std::sync::Arc::new(ManualClock::new());
    let catalog = MemoryCatalog::with_clock(clock.clone());
    let sample: Sample = format!("{PART}%").parse().unwrap();
    let every = Query::default();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut known = Known::new();
    store(&catalog, clock.now(), 100, &mut known).await;
    let (mut looks, mut longest) = (0, Duration::ZERO);
    for day in 1..=365 {
        clock.advance(DAY);
        let now = clock.now();
        // A few versions a day, now and then a night in which everything changes, and from the hundredth day on retention.
        let new = if day % 90 == 0 { 60 } else { rng.usize(..4) };
        store(&catalog, now, new, &mut known).await;
        if day > 100 {
            let mut oldest: Vec<CopyKey> = known.keys().cloned().collect();
            oldest.sort_by_key(|key| (key.backup, key.destination.to_string()));
            for key in oldest.into_iter().filter(|_| rng.usize(..100) == 0).take(4) {
                let at = StorageRef(format!("{}@{}", key.backup, key.destination));
                catalog.mark(&key.destination, std::slice::from_ref(&at)).await.unwrap();
                catalog.forget(&key.destination, &[at]).await.unwrap();
                known.remove(&key);
            }
        }
        let chosen = choose(&catalog, std::slice::from_ref(&every), &|_, _| true, sample, now).await.unwrap();
        for place in PLACES {
            let count = |keys: &mut dyn Iterator<Item = &CopyKey>| {
                keys.filter(|key| key.destination == DestinationId::from(place)).count()
            };
            let (there, looked_at) = (count(&mut known.keys()), count(&mut chosen.iter()));
            assert_eq!(looked_at, (there * PART).div_ceil(100), "day {day}, {place}: of {there}");
        }
        looks += chosen.len();
        for key in chosen {
            catalog.verified(&key, Ok(now)).await.unwrap();
            let before = known.insert(key, now).expect("a copy that is there");
            longest = longest.max(now.duration_since(before).unsigned_abs());
        }
        let oldest = known.values().min().copied().unwrap_or(now);
        let unseen = now.duration_since(oldest).unsigned_abs();
        assert!(unseen <= DAY * (100 / PART as u32), "day {day}: a copy was not looked at for {unseen:?}");
    }
    eprintln!("{looks} looks at {} copies in the end; none waited for more than {longest:?}", known.len());
}

/// The clock was ahead for a day, on which all were verified and some were stored: it keeps none from being looked at.
#[tokio::test]
async fn what_was_verified_after_now_was_never_verified() {
    let clock = std::sync::Arc::new(ManualClock::new());
    let catalog = MemoryCatalog::with_clock(clock.clone());
    let mut known = Known::new();
    let ahead = clock.now() + 3650 * DAY;
    for stored in [clock.now(), ahead] {
        store(&catalog, stored, 10, &mut known).await;
    }
    for key in known.keys() {
        catalog.verified(key, Ok(ahead)).await.unwrap();
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..5 {
        clock.advance(DAY);
        let now = clock.now();
        for key in choose(&catalog, &[Query::default()], &|_, _| true, Sample::Percent(20.0), now).await.unwrap() {
            catalog.verified(&key, Ok(now)).await.unwrap();
            seen.insert(key);
        }
    }
    assert_eq!(seen.len(), known.len());
}
