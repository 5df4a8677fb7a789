//! Whether the clock has leapt ahead lately: days and calendars then say of everything that it is old.

use futures::{StreamExt as _, TryStreamExt as _};

use crate::catalog::{CatalogExt as _, RunQuery};
use crate::clock::Timestamp;
use crate::{Catalog, DeviceId, Result};

const DAY: i64 = 86_400;
/// A time in which nothing at all was backed up is a leap from so many seconds on.
const GAP: i64 = 60 * DAY;
/// … and is told for so long after: by then it is clear which time it is.
const TOLD: i64 = 31 * DAY;
/// More runs than these are not looked at.
const MOST_RUNS: usize = 100_000;

/// Looks for a leap: from when to when nothing was backed up. `times` are those that are known without asking for runs;
/// of a place where nothing changes there are few, so that runs are asked for where they leave a gap.
///
/// # Errors
/// What the catalog answers.
pub(super) async fn find(
    catalog: &dyn Catalog,
    device: Option<&DeviceId>,
    times: impl Iterator<Item = Timestamp>,
) -> Result<Option<(Timestamp, Timestamp)>> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    if Gaps::default().find(times).is_none() {
        return Ok(None);
    }
    let query = RunQuery { device: device.cloned(), ..RunQuery::default() };
    let (mut gaps, mut runs) = (Gaps::default(), catalog.every_run(&query).take(MOST_RUNS));
    while let Some(run) = runs.try_next().await? {
        let gap = gaps.find([run.start.started_at]);
        if gap.is_some() || gaps.is_over() {
            return Ok(gap);
        }
    }
    Ok(None)
}

/// A walk from the newest time back.
#[derive(Debug, Default)]
struct Gaps {
    newest: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Gaps {
    fn find(&mut self, times: impl IntoIterator<Item = Timestamp>) -> Option<(Timestamp, Timestamp)> {
        for at in times {
            self.newest.get_or_insert(at);
            if self.is_over() {
                return None;
            }
            match self.last.replace(at) {
                Some(later) if later.as_second() - at.as_second() > GAP => return Some((at, later)),
                _ => {}
            }
        }
        None
    }

    /// Whether what comes next is too long ago to be told.
    fn is_over(&self) -> bool {
        let (Some(newest), Some(last)) = (self.newest, self.last) else { return false };
        newest.as_second() - last.as_second() > TOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(days: &[i64]) -> Option<(i64, i64)> {
        let times = days.iter().map(|d| Timestamp::from_second(d * DAY).unwrap());
        Gaps::default().find(times).map(|(a, b)| (a.as_second() / DAY, b.as_second() / DAY))
    }

    #[test]
    fn a_gap_is_told_as_long_as_it_is_near() {
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[5000]), None);
        assert_eq!(found(&[5000, 4999, 4940]), None, "two months without a backup may be");
        assert_eq!(found(&[5000, 4999, 4930]), Some((4930, 4999)));
        assert_eq!(found(&[5031, 5000, 1000]), Some((1000, 5000)));
        assert_eq!(found(&[5032, 5000, 1000]), None, "it was a month ago");
    }
}
