//! The moments that grandfather-father-son and the Tower of Hanoi look back at.

use jiff::tz::TimeZone;
use jiff::{RoundMode, Span, Timestamp, ToSpan as _, Unit, Zoned, ZonedRound};

/// A length of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Period {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    /// When the period that holds this moment began. A week begins on Monday (ISO 8601).
    fn start(self, at: &Zoned) -> Option<Zoned> {
        let day = || at.start_of_day().ok();
        match self {
            Self::Hour => at.round(ZonedRound::new().smallest(Unit::Hour).mode(RoundMode::Trunc)).ok(),
            Self::Day => day(),
            Self::Week => {
                let since_monday = i64::from(at.weekday().to_monday_zero_offset());
                day()?.checked_sub(since_monday.days()).ok()?.start_of_day().ok()
            }
            Self::Month => at.first_of_month().ok()?.start_of_day().ok(),
            Self::Year => at.first_of_year().ok()?.start_of_day().ok(),
        }
    }

    fn span(self) -> Span {
        match self {
            Self::Hour => 1.hour(),
            Self::Day => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
            Self::Year => 1.year(),
        }
    }
}

/// The moments at which the last `count` periods ended, newest first; the one that is under way ends at `reference`.
pub(super) fn ends(period: Period, count: u32, reference: Timestamp, zone: &TimeZone) -> Vec<Timestamp> {
    let mut ends = Vec::new();
    if count == 0 {
        return ends;
    }
    ends.push(reference);
    let mut start = period.start(&reference.to_zoned(zone.clone()));
    while let Some(at) = start.take()
        && ends.len() < count as usize
    {
        // The moment before the next period began is still in this one.
        let Ok(end) = at.timestamp().checked_sub(1.nanosecond()) else { break };
        ends.push(end);
        start = at.checked_sub(period.span()).ok().and_then(|earlier| period.start(&earlier));
    }
    ends
}

/// The ends of the days that the Tower of Hanoi with so many levels keeps, with their level: of the days whose number
/// is divisible by 2^level and no higher power the newest, the top level taking all that is above it.
///
/// With n levels the oldest day kept is 2^(n-1) to 2^n days back, at the price of n versions.
pub(super) fn hanoi(levels: u32, reference: Timestamp, zone: &TimeZone) -> Vec<(u32, Timestamp)> {
    let today = reference.to_zoned(zone.clone());
    let number = today.date().duration_since(jiff::civil::date(1970, 1, 1)).as_hours() / 24;
    (0..levels.min(31))
        .filter_map(|level| {
            let step = 1_i64 << level;
            let top = level + 1 == levels.min(31);
            let mut day = number - number.rem_euclid(step);
            if !top && day.rem_euclid(step * 2) == 0 {
                day -= step;
            }
            if day == number {
                return Some((level, reference));
            }
            let back = Span::new().try_days(number - day - 1).ok()?;
            let next = today.checked_sub(back).ok()?.start_of_day().ok()?;
            Some((level, next.timestamp().checked_sub(1.nanosecond()).ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn days(found: &[Timestamp]) -> Vec<String> {
        found.iter().map(|t| t.to_string()[..10].to_owned()).collect()
    }

    #[test]
    fn periods_end_where_the_calendar_says() {
        let now = at("2026-11-21T10:30:00Z");
        let utc = TimeZone::UTC;
        assert_eq!(days(&ends(Period::Day, 3, now, &utc)), ["2026-11-21", "2026-11-20", "2026-11-19"]);
        assert_eq!(days(&ends(Period::Week, 3, now, &utc)), ["2026-11-21", "2026-11-15", "2026-11-08"]);
        assert_eq!(days(&ends(Period::Month, 3, now, &utc)), ["2026-11-21", "2026-10-31", "2026-09-30"]);
        assert_eq!(days(&ends(Period::Year, 2, now, &utc)), ["2026-11-21", "2025-12-31"]);
        assert_eq!(ends(Period::Hour, 2, now, &utc)[1], at("2026-11-21T09:59:59.999999999Z"));
        assert!(ends(Period::Day, 0, now, &utc).is_empty());
    }

    #[test]
    fn days_of_summer_time_are_days() {
        let zone = TimeZone::get("Europe/Zurich").unwrap();
        let found = ends(Period::Day, 4, at("2026-10-26T12:00:00Z"), &zone);
        let told: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(told[1], "2026-10-25T22:59:59.999999999Z");
        assert_eq!(told[2], "2026-10-24T21:59:59.999999999Z");
        let hours = ends(Period::Hour, 5, at("2026-10-25T02:30:00Z"), &zone);
        assert!(hours.windows(2).all(|w| w[0] > w[1]), "{hours:?}");
    }

    #[test]
    fn far_back_ends_where_time_does() {
        let found = ends(Period::Year, 100_000, at("2026-01-01T00:00:00Z"), &TimeZone::UTC);
        assert!(found.len() < 100_000);
        assert!(hanoi(64, at("2026-01-01T00:00:00Z"), &TimeZone::UTC).len() <= 31);
    }

    #[test]
    fn hanoi_keeps_each_level_once_and_reaches_back_by_powers_of_two() {
        // Day 20778 after 1970-01-01: 20778 = 2 * 10389.
        let now = at("2026-11-21T10:00:00Z");
        let found = hanoi(5, now, &TimeZone::UTC);
        assert_eq!(found.iter().map(|(l, _)| *l).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let back: Vec<i64> = found.iter().map(|(_, t)| (now.as_second() - t.as_second()) / 86_400).collect();
        assert_eq!(found[1].1, now, "an even day that is not divisible by four");
        assert!(back.iter().all(|d| *d < 32), "{back:?}");
    }
}
