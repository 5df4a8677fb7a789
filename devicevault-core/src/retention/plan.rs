//! What to keep of the versions of one artefact at one destination, and why.

use std::fmt;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::calendar::{self, Period};
use super::rules::Retention;
use crate::clock::Timestamp;
use crate::{BackupId, DestinationId, View, run};

/// What retention has to know of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// Which backup.
    pub id: BackupId,
    /// When its content was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Bytes of content at this destination.
    pub size: u64,
    /// It may not be what the device held.
    pub suspect: bool,
    /// Somebody wants it kept.
    pub pinned: bool,
    /// Its copy here is no longer what was stored.
    pub damaged: bool,
    /// Its copy here is whole, and one at another destination is damaged and could be repaired from it, or did not arrive and
    /// could be made from no other.
    pub needed: bool,
}

impl Version {
    /// A good version, seen once; the rest is set on the fields.
    #[must_use]
    pub fn new(id: BackupId, seen: Timestamp, size: u64) -> Self {
        Self {
            id,
            first_seen: seen,
            last_seen: seen,
            size,
            suspect: false,
            pinned: false,
            damaged: false,
            needed: false,
        }
    }

    /// Whether it is what the device held, and whole.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.suspect && !self.damaged
    }

    /// The version that this backup is at a destination; `None` where it has no stored copy there. `is_there` says which
    /// destinations there are: one that was removed can neither be repaired nor repair.
    #[must_use]
    pub fn of(backup: &run::Backup, copy: &run::Copy, is_there: impl Fn(&DestinationId) -> bool) -> Option<Self> {
        use run::CopyStatus::{Damaged, Extended, Failed, Marked, Pending, Stored};
        let damaged = match copy.status {
            Stored | Extended => false,
            Damaged => true,
            Pending | Failed | Marked => return None,
        };
        copy.storage_ref.as_ref()?;
        Some(Self {
            id: backup.id,
            first_seen: backup.first_seen,
            last_seen: backup.last_seen.max(copy.last_seen),
            size: copy.size,
            suspect: !backup.suspect.is_empty(),
            pinned: backup.pinned,
            damaged,
            needed: !damaged && is_needed(backup, copy, is_there),
        })
    }
}

/// Whether something elsewhere could be made from a copy: what is damaged there, until it was repaired, since what else is
/// believed to be good may be away or damaged as well; and an original that did not arrive there, as long as no other
/// destination has one. What waits in the spool is no copy yet.
fn is_needed(backup: &run::Backup, copy: &run::Copy, is_there: impl Fn(&DestinationId) -> bool) -> bool {
    use run::CopyStatus::{Damaged, Extended, Failed, Pending, Stored};
    let repairs = |other: &run::Copy| copy.view == other.view || copy.view == View::Original;
    let others = || backup.copies.iter().filter(|c| c.destination != copy.destination && is_there(&c.destination));
    let is_original = |c: &run::Copy| c.view == View::Original;
    let has_original =
        || others().any(|c| matches!(c.status, Stored | Extended) && c.storage_ref.is_some() && is_original(c));
    others().any(|c| match c.status {
        Damaged => repairs(c),
        Pending | Failed => repairs(c) && is_original(c) && !has_original(),
        _ => false,
    })
}

/// Why a version stays or goes. The first that applies is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Stays: it is pinned.
    Pinned,
    /// Stays: it is the newest.
    Newest,
    /// Stays: no newer one is known to be good and whole.
    LastGood,
    /// Stays: its copy elsewhere is damaged or did not arrive, and could be made from this one.
    OnlyGood,
    /// Stays: among the last so many.
    Last,
    /// Stays: valid within so many days.
    Days,
    /// Stays: in force at the end of an hour.
    Hourly,
    /// Stays: in force at the end of a day.
    Daily,
    /// Stays: in force at the end of a week.
    Weekly,
    /// Stays: in force at the end of a month.
    Monthly,
    /// Stays: in force at the end of a year.
    Yearly,
    /// Stays: picked by the Tower of Hanoi.
    Hanoi,
    /// Stays: no rule limits what is kept.
    Everything,
    /// Goes: no rule keeps it.
    NoRule,
    /// Goes: more than the greatest number.
    OverCount,
    /// Goes: more than the greatest size.
    OverSize,
    /// Goes: older than the greatest age.
    OverAge,
}

impl Reason {
    /// Whether the version stays.
    #[must_use]
    pub fn keeps(self) -> bool {
        !matches!(self, Self::NoRule | Self::OverCount | Self::OverSize | Self::OverAge)
    }

    /// Whether no limit can take it away.
    fn is_protected(self) -> bool {
        matches!(self, Self::Pinned | Self::Newest | Self::LastGood | Self::OnlyGood)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinned => "pinned",
            Self::Newest => "the newest",
            Self::LastGood => "the last good one",
            Self::OnlyGood => "a copy elsewhere is damaged or did not arrive",
            Self::Last => "among the last",
            Self::Days => "recent",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Hanoi => "Tower of Hanoi",
            Self::Everything => "everything is kept",
            Self::NoRule => "no rule keeps it",
            Self::OverCount => "above the greatest number",
            Self::OverSize => "above the greatest size",
            Self::OverAge => "above the greatest age",
        })
    }
}

/// What becomes of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Which.
    pub id: BackupId,
    /// Stays or goes, and why.
    pub reason: Reason,
}

const DAY: i64 = 86_400;

/// Decides for all versions of one artefact of one device at one destination; newest first, each with its reason.
///
/// Calendars are those of `zone`. Deciding again later, without what went, never wants back what an earlier decision
/// let go.
#[must_use]
pub fn plan(versions: &[Version], wanted: &Retention, now: Timestamp, zone: &TimeZone) -> Vec<Decision> {
    let mut all = versions.to_vec();
    all.sort_unstable_by_key(|v| std::cmp::Reverse((v.first_seen, v.id)));
    let Some(seen) = all.iter().map(|v| v.last_seen).max() else { return Vec::new() };
    let choice = Choice { wanted, reference: seen.min(now), zone };

    let mut reasons: Vec<Option<Reason>> = vec![None; all.len()];
    let mut keep = |at: usize, why: Reason| {
        reasons[at].get_or_insert(why);
    };
    for (at, version) in all.iter().enumerate() {
        if version.pinned {
            keep(at, Reason::Pinned);
        }
    }
    keep(0, Reason::Newest);
    if let Some(at) = all.iter().position(Version::is_good) {
        keep(at, Reason::LastGood);
    }
    for (at, _) in all.iter().enumerate().filter(|(_, v)| v.needed) {
        keep(at, Reason::OnlyGood);
    }
    if wanted.has_keep_rule() {
        // A damaged copy may be repaired from elsewhere: it takes nobody's place, and keeps its own.
        let good = |v: &Version| !v.suspect;
        let suspect = |v: &Version| v.suspect;
        choice.by_number(&all, Version::is_good, &mut keep);
        choice.by_number(&all, good, &mut keep);
        choice.by_number(&all, suspect, &mut keep);
        choice.by_days(&all, &mut keep);
        choice.by_calendar(&all, Version::is_good, &mut keep);
        choice.by_calendar(&all, good, &mut keep);
    } else {
        (0..all.len()).for_each(|at| keep(at, Reason::Everything));
    }
    let mut reasons: Vec<Reason> = reasons.into_iter().map(|r| r.unwrap_or(Reason::NoRule)).collect();
    limit(&all, &mut reasons, wanted, now);
    all.iter().zip(reasons).map(|(v, reason)| Decision { id: v.id, reason }).collect()
}

/// What the keep rules choose from.
struct Choice<'a> {
    wanted: &'a Retention,
    /// When the artefact was last seen.
    reference: Timestamp,
    zone: &'a TimeZone,
}

impl Choice<'_> {
    fn by_number(&self, all: &[Version], of: impl Fn(&Version) -> bool, keep: &mut impl FnMut(usize, Reason)) {
        let chosen = all.iter().enumerate().filter(|(_, v)| of(v)).take(self.wanted.last as usize);
        chosen.for_each(|(at, _)| keep(at, Reason::Last));
    }

    fn by_days(&self, all: &[Version], keep: &mut impl FnMut(usize, Reason)) {
        if self.wanted.days == 0 {
            return;
        }
        let oldest = self.reference.as_second().saturating_sub(i64::from(self.wanted.days) * DAY);
        for (at, _) in all.iter().enumerate().filter(|(_, v)| v.last_seen.as_second() >= oldest) {
            keep(at, Reason::Days);
        }
    }

    fn by_calendar(&self, all: &[Version], of: impl Fn(&Version) -> bool, keep: &mut impl FnMut(usize, Reason)) {
        let series: Vec<usize> = (0..all.len()).filter(|at| of(&all[*at])).collect();
        // Newest first, so the first that had begun by then was in force.
        let in_force = |moment: Timestamp| {
            let later = series.partition_point(|at| all[*at].first_seen > moment);
            series.get(later).copied()
        };
        let w = self.wanted;
        for (period, count, why) in [
            (Period::Hour, w.hourly, Reason::Hourly),
            (Period::Day, w.daily, Reason::Daily),
            (Period::Week, w.weekly, Reason::Weekly),
            (Period::Month, w.monthly, Reason::Monthly),
            (Period::Year, w.yearly, Reason::Yearly),
        ] {
            for at in calendar::ends(period, count, self.reference, self.zone).into_iter().map_while(in_force) {
                keep(at, why);
            }
        }
        for (_, moment) in calendar::hanoi(w.hanoi, self.reference, self.zone) {
            if let Some(at) = in_force(moment) {
                keep(at, Reason::Hanoi);
            }
        }
    }
}

/// Takes the oldest away again where there are limits. Suspect ones make room first: they take no good one's place.
fn limit(all: &[Version], reasons: &mut [Reason], wanted: &Retention, now: Timestamp) {
    let oldest = wanted.max_days.map(|days| now.as_second().saturating_sub(i64::from(days) * DAY));
    let (mut count, mut size) = (0_u32, 0_u64);
    let mut in_turn: Vec<(&Version, &mut Reason)> = all.iter().zip(reasons).filter(|(_, r)| r.keeps()).collect();
    // Within each, the newest first.
    let stands_out = |reason: Reason| matches!(reason, Reason::Newest | Reason::LastGood);
    in_turn.sort_by_key(|(version, reason)| (!stands_out(**reason), version.suspect));
    for (version, reason) in in_turn {
        let with = size.saturating_add(version.size);
        let over = if oldest.is_some_and(|t| version.last_seen.as_second() < t) {
            Some(Reason::OverAge)
        } else if wanted.max_count.is_some_and(|most| count >= most) {
            Some(Reason::OverCount)
        } else if wanted.max_size.is_some_and(|most| with > most) {
            Some(Reason::OverSize)
        } else {
            None
        };
        match over {
            Some(over) if !reason.is_protected() => *reason = over,
            _ => (count, size) = (count.saturating_add(1), with),
        }
    }
}
