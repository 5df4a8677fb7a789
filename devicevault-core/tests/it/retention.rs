//! Retention: what is kept of any history, however often and with whatever in between it is applied.

use std::collections::BTreeSet;
use std::sync::Arc;

use devicevault_core::catalog::{CopyKey, Page, Query};
use devicevault_core::retention::{Reason, Retention, Sweep, Swept, Version, plan};
use devicevault_core::run::{Backup, Copy, CopyStatus, NewRun, Outcome, Trigger};
use devicevault_core::storage::{ListFilter, VerifyDepth};
use devicevault_core::{
    BackupId, Catalog, DestinationId, Digest, Entry, Error, ErrorKind, Kind, Manifest, ManifestSeed, Source,
    StorageBackend, StorageBackendExt as _, StorageRef, Timestamp, View,
};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::conformance::Damage;
use devicevault_testkit::faulty::{Fault, Faulty, Operation};
use devicevault_testkit::memory::{MemoryBackend, MemoryCatalog};
use futures::TryStreamExt as _;
use jiff::tz::TimeZone;
use proptest::prelude::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// 2026-01-01.
const START: i64 = 1_767_225_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn id(n: usize) -> BackupId {
    BackupId(uuid::Uuid::from_u128(n as u128 + 1))
}

/// Versions one after another, each valid for a while, with gaps.
fn histories() -> impl Strategy<Value = Vec<Version>> {
    let version = (1..40 * HOUR, 0..60 * HOUR, 0..1000_u64, 0..100_u8);
    prop::collection::vec(version, 1..60).prop_map(|all| {
        let mut now = 0;
        all.into_iter()
            .enumerate()
            .map(|(n, (gap, valid, size, luck))| {
                let mut v = Version::new(id(n), at(now + gap), size);
                v.last_seen = at(now + gap + valid);
                now += gap + valid;
                v.suspect = luck < 10;
                v.damaged = (10..20).contains(&luck);
                v.pinned = (20..25).contains(&luck);
                v.needed = (25..30).contains(&luck);
                v
            })
            .collect()
    })
}

fn wishes() -> impl Strategy<Value = Retention> {
    let small = || prop_oneof![Just(0_u32), 1..12_u32];
    let limits = (prop::option::of(1..30_u32), prop::option::of(1..9000_u64), prop::option::of(1..200_u32));
    ((small(), small(), small(), small(), small(), small(), small(), small()), limits).prop_map(|(keep, limits)| {
        let mut r = Retention::forever();
        (r.last, r.days, r.hourly, r.daily, r.weekly, r.monthly, r.yearly, r.hanoi) = keep;
        (r.max_count, r.max_size, r.max_days) = limits;
        r
    })
}

fn kept(versions: &[Version], wanted: &Retention, now: Timestamp) -> BTreeSet<BackupId> {
    plan(versions, wanted, now, &TimeZone::UTC).into_iter().filter(|d| d.reason.keeps()).map(|d| d.id).collect()
}

fn never_goes(reason: Reason) -> bool {
    matches!(reason, Reason::Pinned | Reason::Newest | Reason::LastGood | Reason::OnlyGood)
}

fn last_seen(versions: &[Version]) -> Timestamp {
    versions.iter().map(|v| v.last_seen).max().unwrap()
}

/// What was in force at a moment, among the good ones.
fn in_force(versions: &[Version], moment: Timestamp) -> Option<BackupId> {
    let begun = versions.iter().filter(|v| v.is_good() && v.first_seen <= moment);
    begun.max_by_key(|v| (v.first_seen, v.id)).map(|v| v.id)
}

proptest! {
    #[test]
    fn the_newest_the_last_good_the_pinned_and_the_needed_stay_whatever_is_wanted(
        versions in histories(), wanted in wishes(), late in 0..4000 * DAY,
    ) {
        let kept = kept(&versions, &wanted, last_seen(&versions) + std::time::Duration::from_secs(late as u64));
        prop_assert!(kept.contains(&versions.last().unwrap().id));
        for v in versions.iter().filter(|v| v.pinned || v.needed) {
            prop_assert!(kept.contains(&v.id));
        }
        if let Some(good) = versions.iter().rfind(|v| v.is_good()) {
            prop_assert!(kept.contains(&good.id));
        }
    }

    #[test]
    fn every_rule_keeps_what_it_says(versions in histories(), wanted in wishes()) {
        let wanted = Retention::forever().with_limits_of_none(wanted);
        let now = last_seen(&versions);
        let kept = kept(&versions, &wanted, now);
        if !wanted.has_keep_rule() {
            prop_assert_eq!(kept.len(), versions.len());
            return Ok(());
        }
        for v in versions.iter().rev().filter(|v| v.is_good()).take(wanted.last as usize) {
            prop_assert!(kept.contains(&v.id), "last");
        }
        for v in versions.iter().filter(|v| wanted.days > 0 && now.as_second() - v.last_seen.as_second() <= i64::from(wanted.days) * DAY) {
            prop_assert!(kept.contains(&v.id), "days");
        }
        // The ends of days and weeks, found by another way: 2026-01-01 was a Thursday.
        let today = now.as_second() / DAY;
        for back in 0..i64::from(wanted.daily) {
            let end = if back == 0 { now } else { Timestamp::from_second((today - back + 1) * DAY - 1).unwrap() };
            prop_assert!(in_force(&versions, end).is_none_or(|id| kept.contains(&id)), "daily {back}");
        }
        let week = (today + 3).div_euclid(7);
        for back in 1..i64::from(wanted.weekly) {
            let end = Timestamp::from_second(((week - back + 1) * 7 - 3) * DAY - 1).unwrap();
            prop_assert!(in_force(&versions, end).is_none_or(|id| kept.contains(&id)), "weekly {back}");
        }
    }

    #[test]
    fn limits_hold_but_for_what_never_goes(versions in histories(), wanted in wishes(), late in 0..300 * DAY) {
        let now = last_seen(&versions) + std::time::Duration::from_secs(late as u64);
        let decisions = plan(&versions, &wanted, now, &TimeZone::UTC);
        let of = |d: &devicevault_core::retention::Decision| *versions.iter().find(|v| v.id == d.id).unwrap();
        let stay: Vec<_> = decisions.iter().filter(|d| d.reason.keeps()).map(|d| (of(d), d.reason)).collect();
        let free = stay.iter().filter(|(_, r)| !never_goes(*r)).count();
        if let Some(most) = wanted.max_count {
            prop_assert!(stay.len() <= most as usize || free == 0 || free <= most as usize);
        }
        if let Some(days) = wanted.max_days {
            for (v, reason) in &stay {
                let old = now.as_second() - v.last_seen.as_second() > i64::from(days) * DAY;
                prop_assert!(!old || never_goes(*reason));
            }
        }
    }

    #[test]
    fn the_order_of_asking_does_not_matter(versions in histories(), wanted in wishes()) {
        let mut other = versions.clone();
        other.reverse();
        prop_assert_eq!(
            plan(&versions, &wanted, last_seen(&versions), &TimeZone::UTC),
            plan(&other, &wanted, last_seen(&versions), &TimeZone::UTC)
        );
    }

    /// Applied after every single backup or once at the end: what the keep rules want at the end is there.
    #[test]
    fn applying_it_often_loses_nothing_that_is_wanted_later(versions in histories(), wanted in wishes()) {
        let wanted = Retention::forever().with_limits_of_none(wanted);
        // A copy does not heal or break on the way.
        let mut left: Vec<Version> = Vec::new();
        for v in &versions {
            left.push(*v);
            let kept = kept(&left, &wanted, v.last_seen);
            left.retain(|v| kept.contains(&v.id));
        }
        let now = last_seen(&versions);
        let often = kept(&left, &wanted, now);
        let once = kept(&versions, &wanted, now);
        prop_assert!(once.is_subset(&often), "lost: {:?}", once.difference(&often).collect::<Vec<_>>());
    }
}

/// The keep rules alone.
trait KeepRules {
    fn with_limits_of_none(self, of: Retention) -> Retention;
}

impl KeepRules for Retention {
    fn with_limits_of_none(self, mut of: Retention) -> Retention {
        (of.max_count, of.max_size, of.max_days) = (None, None, None);
        of
    }
}

/// A destination with one version a day of one artefact.
struct House {
    catalog: MemoryCatalog,
    backend: MemoryBackend,
    clock: Arc<ManualClock>,
    here: DestinationId,
}

impl House {
    async fn of(days: usize) -> Self {
        let clock = Arc::new(ManualClock::at(at(0)));
        let house = Self {
            catalog: MemoryCatalog::with_clock(clock.clone()),
            backend: MemoryBackend::new(),
            clock,
            here: "main".into(),
        };
        for day in 0..days {
            house.back_up(day).await;
        }
        house
    }

    async fn back_up(&self, day: usize) {
        let seen = at(day as i64 * DAY);
        self.clock.set(seen);
        let run = self.catalog.begin(&NewRun::new("r1".into(), "r1", Trigger::Manual, seen)).await.unwrap();
        let text = format!("version {day}\n");
        let digest = Digest::of(text.as_bytes());
        let device = devicevault_core::Device::new("r1", "192.0.2.1", "cisco_ios", "cli");
        let manifest = Manifest::from(ManifestSeed {
            backup: id(day),
            run,
            source: Source::of(&device, "cli"),
            artefact: "running-config".to_owned(),
            kind: Kind::Text,
            view: View::Original,
            taken_at: seen,
            size: text.len() as u64,
            sha256: digest,
            content: digest,
        });
        let size = manifest.size;
        let at = self.backend.store_one(Entry::new(manifest), Arc::new(bytes::Bytes::from(text))).await.unwrap();
        let mut copy = Copy::new(self.here.clone(), View::Original, size, digest, seen);
        copy.status = CopyStatus::Stored;
        copy.storage_ref = Some(at);
        let mut backup = Backup::new(id(day), run, "r1".into(), "running-config", digest, seen);
        backup.copies.push(copy);
        self.catalog.record(run, vec![Outcome::Backup(backup)]).await.unwrap();
    }

    /// Has the catalog know a copy of a day's version at another destination.
    async fn copy_elsewhere(&self, day: usize) -> CopyKey {
        let mut query = Query::default();
        query.id = Some(id(day));
        let mut backup = self.catalog.find(&query, Page::first(1)).await.unwrap().items.remove(0);
        backup.copies[0].destination = "other".into();
        self.catalog.record(backup.run, vec![Outcome::Backup(backup)]).await.unwrap();
        CopyKey { backup: id(day), destination: "other".into() }
    }

    async fn left(&self) -> (usize, usize) {
        let known = self.catalog.find(&Query::default(), Page::first(1000)).await.unwrap().items.len();
        let held: Vec<_> = self.backend.list(ListFilter::default()).try_collect().await.unwrap();
        (known, held.len())
    }
}

fn last(n: u32) -> Retention {
    let mut r = Retention::forever();
    r.last = n;
    r
}

#[tokio::test]
async fn what_goes_is_gone_from_store_and_catalog() {
    let house = House::of(20).await;
    let sweep = Sweep::new(house.here.clone());
    let plan = sweep.plan(&house.catalog, &*house.clock, &|_, _| last(12)).await.unwrap();
    sweep.check(&plan).unwrap();
    let swept = sweep.carry_out(&plan, &house.catalog, &house.backend).await.unwrap();
    assert_eq!((swept.deleted, swept.spared, swept.failed.len()), (8, 0, 0));
    assert_eq!(house.left().await, (12, 12));
    // Once more, the old plan: nothing is there to delete.
    let again = sweep.carry_out(&plan, &house.catalog, &house.backend).await.unwrap();
    assert_eq!((again.deleted, again.spared), (0, 8));
}

#[tokio::test]
async fn most_of_what_is_there_goes_on_a_persons_word_only() {
    let house = House::of(100).await;
    let sweep = Sweep::new(house.here.clone());
    let plan = sweep.plan(&house.catalog, &*house.clock, &|_, _| last(3)).await.unwrap();
    let e = sweep.check(&plan).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(format!("{e:?}").contains("97"), "{e:?}");
}

#[tokio::test]
async fn a_clock_that_went_back_stops_it_and_one_that_leaps_ahead_loses_nothing() {
    let house = House::of(40).await;
    let sweep = Sweep::new(house.here.clone());
    house.clock.set(at(38 * DAY));
    let plan = sweep.plan(&house.catalog, &*house.clock, &|_, _| Retention::default()).await.unwrap();
    assert_eq!(sweep.check(&plan).unwrap_err().kind(), ErrorKind::Conflict);
    house.clock.set(at(39 * DAY));
    let today = sweep.plan(&house.catalog, &*house.clock, &|_, _| Retention::default()).await.unwrap();
    house.clock.set(at(3650 * DAY));
    let later = sweep.plan(&house.catalog, &*house.clock, &|_, _| Retention::default()).await.unwrap();
    assert_eq!(later.going().count(), today.going().count());
}

#[tokio::test]
async fn a_backup_made_while_the_clock_was_ahead_lets_nothing_go_without_a_persons_word() {
    let house = House::of(10).await;
    let sweep = Sweep::new(house.here.clone());
    let mut week = Retention::forever();
    week.days = 7;
    let plan = async || sweep.plan(&house.catalog, &*house.clock, &|_, _| week).await.unwrap();
    let kept_before = plan().await;
    assert_eq!((kept_before.going().count(), kept_before.leap), (2, None));
    sweep.check(&kept_before).unwrap();

    house.back_up(3650).await;
    let leapt = plan().await;
    assert_eq!((leapt.going().count(), leapt.leap), (10, Some((at(9 * DAY), at(3650 * DAY)))));
    assert_eq!(sweep.check_clock(&leapt).unwrap_err().kind(), ErrorKind::Conflict);
    sweep.check_amount(&leapt).unwrap();

    // The clock is right again: what was made in the future is told, and nothing that is wanted goes.
    house.clock.set(at(10 * DAY));
    let back = plan().await;
    assert_eq!(sweep.check_clock(&back).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(back.going().count(), kept_before.going().count() + 1);

    // It was right all the time: after a month of backups nobody is asked.
    for day in 3651..3681 {
        house.back_up(day).await;
        assert!(plan().await.leap.is_some(), "{day}");
    }
    house.back_up(3682).await;
    assert_eq!(plan().await.leap, None);
}

#[tokio::test]
async fn a_sweep_that_was_cut_off_is_finished_by_the_next() {
    let house = House::of(20).await;
    let sweep = Sweep::new(house.here.clone());
    let plan = sweep.plan(&house.catalog, &*house.clock, &|_, _| last(12)).await.unwrap();
    let found = house.catalog.find(&Query::default(), Page::first(1000)).await.unwrap().items;
    let going: BTreeSet<_> = plan.going().map(|p| p.id).collect();
    let refs: Vec<_> =
        found.iter().filter(|b| going.contains(&b.id)).map(|b| b.copies[0].storage_ref.clone().unwrap()).collect();
    // Killed after marking, with some of the bytes gone.
    house.catalog.mark(&house.here, &refs).await.unwrap();
    house.backend.delete(&refs[..3]).await;
    let next = sweep.plan(&house.catalog, &*house.clock, &|_, _| last(12)).await.unwrap();
    assert_eq!((next.unfinished.len(), next.going().count()), (8, 0));
    sweep.carry_out(&next, &house.catalog, &house.backend).await.unwrap();
    assert_eq!(house.left().await, (12, 12));
}

#[tokio::test]
async fn what_was_marked_and_is_wanted_again_stays() {
    let house = House::of(20).await;
    let elsewhere = house.copy_elsewhere(2).await;
    let sweep = Sweep::new(house.here.clone());
    let plan = async |wanted: Retention| sweep.plan(&house.catalog, &*house.clock, &|_, _| wanted).await.unwrap();
    // Killed after marking: nothing was deleted.
    let going: BTreeSet<_> = plan(last(12)).await.going().map(|p| p.id).collect();
    let found = house.catalog.find(&Query::default(), Page::first(1000)).await.unwrap().items;
    let here = |b: &Backup| b.copies.iter().find(|c| c.destination == house.here).unwrap().storage_ref.clone().unwrap();
    let refs: Vec<_> = found.iter().filter(|b| going.contains(&b.id)).map(here).collect();
    house.catalog.mark(&house.here, &refs).await.unwrap();
    let before = plan(last(12)).await;
    assert_eq!((before.unfinished.len(), before.regained.len()), (8, 0));
    // One is pinned, of another the copy elsewhere turns out to be damaged.
    house.catalog.pin(id(1), true).await.unwrap();
    let damage = devicevault_core::Error::new(ErrorKind::Corrupt, "verify", "flipped").to_record();
    house.catalog.verified(&elsewhere, Err(damage)).await.unwrap();
    let now = plan(last(12)).await;
    assert_eq!((now.unfinished.len(), now.regained.len()), (6, 2));
    // The rules were changed: all stay.
    assert_eq!(plan(last(20)).await.regained.len(), 8);
    let swept = sweep.carry_out(&now, &house.catalog, &house.backend).await.unwrap();
    assert_eq!(swept.deleted, 6);
    assert_eq!(house.left().await, (14, 14));
    let after = plan(last(12)).await;
    assert_eq!((after.versions.len(), after.unfinished.len(), after.regained.len()), (14, 0, 0));
}

#[tokio::test]
async fn what_is_pinned_or_seen_or_last_since_the_plan_is_spared() {
    let house = House::of(20).await;
    let sweep = Sweep::new(house.here.clone());
    let plan = sweep.plan(&house.catalog, &*house.clock, &|_, _| last(12)).await.unwrap();
    house.catalog.pin(id(0), true).await.unwrap();
    let found = house.catalog.find(&Query::default(), Page::first(1)).await.unwrap().items;
    let swept = sweep.carry_out(&plan, &house.catalog, &house.backend).await.unwrap();
    assert_eq!((swept.deleted, swept.spared), (7, 1));

    // The newest is found damaged between plan and deed.
    let house = House::of(20).await;
    let plan = sweep.plan(&house.catalog, &*house.clock, &|_, _| last(1)).await.unwrap();
    let key = CopyKey { backup: found[0].id, destination: house.here.clone() };
    let damage = devicevault_core::Error::new(ErrorKind::Corrupt, "verify", "flipped").to_record();
    house.catalog.verified(&key, Err(damage)).await.unwrap();
    let swept = sweep.carry_out(&plan, &house.catalog, &house.backend).await.unwrap();
    assert_eq!((swept.deleted, swept.spared), (0, 19));
}

#[tokio::test]
async fn what_a_damaged_copy_elsewhere_could_be_repaired_from_stays() {
    use CopyStatus::{Damaged, Extended, Failed, Marked, Pending, Stored};
    use View::{Original, Redacted};
    let house = House::of(1).await;
    let backup = house.catalog.find(&Query::default(), Page::first(1)).await.unwrap().items.remove(0);
    // The views here and elsewhere, how the copies elsewhere stand, and whether the copy here has to stay.
    for (here, elsewhere, needed) in [
        (Original, &[(Original, Stored)][..], false),
        (Original, &[(Original, Damaged)], true),
        (Original, &[(Redacted, Damaged)], true),
        (Redacted, &[(Original, Damaged)], false),
        (Redacted, &[(Redacted, Damaged)], true),
        (Original, &[(Original, Pending)], true),
        (Original, &[(Original, Failed)], true),
        (Original, &[(Original, Pending), (Original, Stored)], false),
        (Original, &[(Redacted, Pending), (Redacted, Failed), (Original, Marked)], false),
        (Redacted, &[(Original, Pending)], false),
        // What else is believed to be good may be away, or damaged as well.
        (Original, &[(Original, Damaged), (Original, Extended)], true),
        (Original, &[(Original, Damaged), (Redacted, Stored)], true),
        (Original, &[(Original, Damaged), (Original, Failed), (Original, Marked)], true),
        (Redacted, &[(Redacted, Damaged), (Original, Stored)], true),
    ] {
        let mut backup = backup.clone();
        backup.copies[0].view = here;
        for (at, (view, status)) in elsewhere.iter().enumerate() {
            let mut copy = backup.copies[0].clone();
            (copy.destination, copy.view, copy.status) = (format!("d{at}").as_str().into(), *view, *status);
            backup.copies.push(copy);
        }
        let version = Version::of(&backup, &backup.copies[0], |_| true).unwrap();
        assert_eq!(version.needed, needed, "{here:?} beside {elsewhere:?}");
    }
}

#[tokio::test]
async fn a_copy_that_is_needed_elsewhere_since_the_plan_is_spared() {
    let house = House::of(20).await;
    let elsewhere = house.copy_elsewhere(0).await;
    let sweep = Sweep::new(house.here.clone());
    let plan = async || sweep.plan(&house.catalog, &*house.clock, &|_, _| last(12)).await.unwrap();
    let before = plan().await;
    assert_eq!(before.going().count(), 8);
    let damage = devicevault_core::Error::new(ErrorKind::Corrupt, "verify", "flipped").to_record();
    house.catalog.verified(&elsewhere, Err(damage)).await.unwrap();
    let mut without = sweep.clone();
    without.destinations = Some([house.here.clone()].into());
    let removed = without.plan(&house.catalog, &*house.clock, &|_, _| last(12)).await.unwrap();
    assert_eq!(removed.going().count(), 8, "the other destination is no more");
    let oldest = plan().await.versions.into_iter().find(|v| v.id == id(0)).unwrap();
    assert_eq!(oldest.reason, Reason::OnlyGood);
    let swept = sweep.carry_out(&before, &house.catalog, &house.backend).await.unwrap();
    assert_eq!((swept.deleted, swept.spared), (7, 1));
}

#[test]
fn suspect_versions_take_no_good_ones_place() {
    let mut versions: Vec<Version> = (0..10).map(|n| Version::new(id(n), at(n as i64 * DAY), 10)).collect();
    versions.extend((10..24).map(|n| {
        let mut cut = Version::new(id(n), at(n as i64 * DAY), 10);
        cut.suspect = true;
        cut
    }));
    let good = |wanted: &Retention| kept(&versions, wanted, at(24 * DAY)).into_iter().filter(|i| *i < id(10)).count();
    let mut wanted = Retention::default();
    for (count, size) in [(Some(10), None), (None, Some(100)), (Some(10), Some(100))] {
        (wanted.max_count, wanted.max_size) = (count, size);
        // The newest one, which is suspect, stays in any case.
        assert_eq!(good(&wanted), 9);
        assert_eq!(kept(&versions, &wanted, at(24 * DAY)).len(), 10);
    }
    assert_eq!(good(&last(10)), 10);
}

#[tokio::test]
async fn a_history_that_cannot_be_thinned_out_says_so() {
    let house = House::of(3).await;
    let sweep = Sweep::new(house.here.clone());
    let plan = sweep.plan(&house.catalog, &*house.clock, &|_, _| last(1)).await.unwrap();
    let git = MemoryBackend::new().without_delete();
    assert_eq!(sweep.carry_out(&plan, &house.catalog, &git).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

impl House {
    /// Where the copies are, the oldest first.
    async fn copies(&self) -> Vec<(BackupId, StorageRef)> {
        let mut found = self.catalog.find(&Query::default(), Page::first(1000)).await.unwrap().items;
        found.reverse();
        found.into_iter().map(|b| (b.id, b.copies[0].storage_ref.clone().unwrap())).collect()
    }

    async fn sweep(&self, keep: u32) -> Swept {
        let sweep = Sweep::new(self.here.clone());
        let plan = sweep.plan(&self.catalog, &*self.clock, &|_, _| last(keep)).await.unwrap();
        sweep.carry_out(&plan, &self.catalog, &self.backend).await.unwrap()
    }

    /// What still reads back as it was stored, of these.
    async fn whole(&self, copies: &[(BackupId, StorageRef)]) -> Vec<BackupId> {
        let mut whole = Vec::new();
        for (id, at) in copies {
            if self.backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good() {
                whole.push(*id);
            }
        }
        whole
    }
}

#[tokio::test]
async fn a_copy_that_all_else_would_go_for_is_looked_at_first() {
    for how in ["flipped", "cut", "gone"] {
        let house = House::of(20).await;
        let copies = house.copies().await;
        let newest = &copies[19].1;
        match how {
            "flipped" => assert!(house.backend.damage(newest, Damage::FlipBit)),
            "cut" => assert!(house.backend.damage(newest, Damage::Truncate)),
            _ => house.backend.delete_one(newest).await.unwrap(),
        }
        let swept = house.sweep(1).await;
        let lost: Vec<_> = swept.lost.iter().map(|l| (l.id, l.missing)).collect();
        assert_eq!(lost, [(id(19), how == "gone")], "{how}");
        assert_eq!((swept.deleted, swept.spared), (18, 1), "{how}");
        assert_eq!(house.whole(&copies).await, [id(18)], "{how}");
        // It is known now, and the next one finds nothing new.
        let again = house.sweep(1).await;
        assert_eq!((again.deleted, again.lost.len()), (0, 0), "{how}");
        let known = house.catalog.find(&Query::default(), Page::first(1)).await.unwrap().items.remove(0);
        assert_eq!((known.id, known.copies[0].status), (id(19), CopyStatus::Damaged));
    }
}

#[tokio::test]
async fn every_good_copy_that_is_to_stay_is_looked_at_by_its_size() {
    let house = House::of(20).await;
    let copies = house.copies().await;
    for at in [19, 18, 15] {
        house.backend.delete_one(&copies[at].1).await.unwrap();
    }
    let swept = house.sweep(5).await;
    assert_eq!(swept.lost.len(), 3);
    // Five that are good stay, and what may be repaired from elsewhere keeps its place as well.
    assert_eq!(house.whole(&copies).await, [12, 13, 14, 16, 17].map(id));
    assert_eq!((swept.deleted, swept.spared), (12, 3));
}

#[tokio::test]
async fn nothing_goes_where_nothing_good_is_left_or_nobody_can_look() {
    let house = House::of(20).await;
    let copies = house.copies().await;
    // All that a first look finds is bad, down to the oldest.
    for (_, at) in &copies {
        assert!(house.backend.damage(at, Damage::FlipBit));
    }
    let swept = house.sweep(1).await;
    assert_eq!((swept.deleted, swept.spared, swept.lost.len()), (0, 19, 20));
    assert_eq!(house.left().await, (20, 20));

    let house = House::of(20).await;
    let sweep = Sweep::new(house.here.clone());
    let plan = sweep.plan(&house.catalog, &*house.clock, &|_, _| last(12)).await.unwrap();
    for kind in [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::PermissionDenied] {
        let away = blind(&house, kind);
        assert_eq!(sweep.carry_out(&plan, &house.catalog, &away).await.unwrap_err().kind(), kind);
        assert_eq!(house.left().await, (20, 20));
    }
    let closed = blind(&house, ErrorKind::KeyUnavailable);
    let swept = sweep.carry_out(&plan, &house.catalog, &closed).await.unwrap();
    assert_eq!((swept.deleted, swept.spared, swept.unlooked.len(), swept.lost.len()), (0, 8, 1, 0));
    assert_eq!(house.left().await, (20, 20));
}

#[tokio::test]
async fn a_copy_that_moved_since_it_was_planned_is_looked_at_where_it_is() {
    let house = House::of(20).await;
    let sweep = Sweep::new(house.here.clone());
    let plan = sweep.plan(&house.catalog, &*house.clock, &|_, _| last(1)).await.unwrap();
    // Somebody else's retention is done with the newest meanwhile.
    let copies = house.copies().await;
    house.catalog.mark(&house.here, &[copies[19].1.clone()]).await.unwrap();
    house.backend.delete_one(&copies[19].1).await.unwrap();
    house.catalog.forget(&house.here, &[copies[19].1.clone()]).await.unwrap();
    let swept = sweep.carry_out(&plan, &house.catalog, &house.backend).await.unwrap();
    assert_eq!((swept.deleted, swept.lost.len()), (18, 0));
    assert_eq!(house.whole(&copies).await, [id(18)]);
}

/// The destination, where nothing can be looked at.
fn blind(house: &House, kind: ErrorKind) -> Faulty<MemoryBackend> {
    let faulty = Faulty::new(Arc::new(house.backend.clone()));
    let nobody = Error::new(kind, "verify backup", "nobody can look");
    faulty.plan().add(Fault::failing(Operation::Verify, nobody).for_ever());
    faulty
}
