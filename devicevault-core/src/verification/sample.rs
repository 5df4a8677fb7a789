//! Which copies a verification looks at when it is not to look at all of them: those that were verified, or stored, longest
//! ago, of every destination its share. They take turns: of 5 % a day, none waits for more than 20 days, however many come.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::look::may_be_looked_at;
use crate::catalog::{CatalogExt as _, CopyKey, Query};
use crate::run::{Backup, Copy, CopyStatus};
use crate::{BackupId, Catalog, DestinationId, Error, ErrorKind, Result, Timestamp};
use futures::TryStreamExt as _;

/// How much of what is stored a verification looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// This part of the copies at each destination, rounded up: more than 0, at most 100.
    Percent(f64),
    /// So many copies in all, at least one of every destination.
    Count(usize),
}

impl FromStr for Sample {
    type Err = Error;

    /// `5%`, `0.5%` or `1000`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(ErrorKind::Config, "read sample", "it is neither a part nor a number of copies")
                .with("value", text.escape_debug())
                .hint("write 5% or 1000")
        };
        match text.trim().strip_suffix('%') {
            Some(part) => match part.trim().parse::<f64>() {
                Ok(part) if part > 0.0 && part <= 100.0 => Ok(Self::Percent(part)),
                _ => Err(wrong()),
            },
            None => match text.trim().parse::<usize>() {
                Ok(count) if count > 0 => Ok(Self::Count(count)),
                _ => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(part) => write!(f, "{part}%"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// A copy that may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// When it was last known to be good: when it was verified, or else stored. Were new ones to come first, those that
    /// come every day would take the places of the others for ever.
    good: Timestamp,
    /// Of the same time, what was only stored comes first.
    verified: bool,
    backup: BackupId,
}

/// The copies to look at: of those that the queries find and `wanted` takes, the ones that were verified, or stored, longest ago.
/// What is known to be damaged is among them, whatever the sample's size: it is to be named until it is mended.
///
/// The choice depends on nothing but the records, so that a look that found a copy good puts it behind all others of its
/// destination. A destination that cannot be looked at takes no place of another. A time after `now`, of a clock that was
/// ahead, says nothing: such a copy counts as one that was never verified, and as the oldest if it was stored then.
///
/// # Errors
/// What the catalog answers.
pub async fn choose(
    catalog: &dyn Catalog,
    queries: &[Query],
    wanted: &(dyn Fn(&Backup, &Copy) -> bool + Sync),
    sample: Sample,
    now: Timestamp,
) -> Result<Vec<CopyKey>> {
    let mut places: BTreeMap<DestinationId, Vec<Candidate>> = BTreeMap::new();
    let mut chosen = Vec::new();
    for query in queries {
        let mut found = catalog.every(query);
        while let Some(backup) = found.try_next().await? {
            for copy in backup.copies.iter().filter(|c| may_be_looked_at(c) && wanted(&backup, c)) {
                if copy.status == CopyStatus::Damaged {
                    chosen.push(CopyKey { backup: backup.id, destination: copy.destination.clone() });
                    continue;
                }
                let verified = copy.verified_at.filter(|at| *at <= now);
                let good = verified.or(Some(copy.stored_at).filter(|at| *at <= now)).unwrap_or(Timestamp::MIN);
                let candidate = Candidate { good, verified: verified.is_some(), backup: backup.id };
                places.entry(copy.destination.clone()).or_default().push(candidate);
            }
        }
    }
    let sizes: Vec<usize> = places.values().map(Vec::len).collect();
    for ((destination, mut candidates), share) in places.into_iter().zip(shares(&sizes, sample)) {
        candidates.sort_unstable();
        candidates.dedup();
        let taken = candidates.into_iter().take(share);
        chosen.extend(taken.map(|c| CopyKey { backup: c.backup, destination: destination.clone() }));
    }
    Ok(chosen)
}

/// How many are taken of each of so many.
fn shares(sizes: &[usize], sample: Sample) -> Vec<usize> {
    match sample {
        // Sizes are far below what a float counts exactly.
        Sample::Percent(part) => sizes.iter().map(|n| ((*n as f64) * part / 100.0).ceil() as usize).collect(),
        Sample::Count(count) => {
            let all: usize = sizes.iter().sum();
            let of = |n: usize| (n as u128 * count as u128).div_ceil(all.max(1) as u128);
            sizes.iter().map(|n| usize::try_from(of(*n)).unwrap_or(*n).min(*n)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_are_read() {
        assert_eq!("5%".parse::<Sample>().unwrap(), Sample::Percent(5.0));
        assert_eq!(" 0.5 %".parse::<Sample>().unwrap(), Sample::Percent(0.5));
        assert_eq!("1000".parse::<Sample>().unwrap(), Sample::Count(1000));
        for bad in ["", "0", "0%", "101%", "-1", "NaN%", "inf%", "five", "5 percent"] {
            assert_eq!(bad.parse::<Sample>().unwrap_err().kind(), ErrorKind::Config, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_place_has_a_share_and_none_more_than_it_has(
            sizes in prop::collection::vec(0_usize..2000, 0..6),
            count in 1_usize..3000,
            part in 0.01_f64..100.0,
        ) {
            for sample in [Sample::Count(count), Sample::Percent(part)] {
                let shares = shares(&sizes, sample);
                prop_assert_eq!(shares.len(), sizes.len());
                for (share, size) in shares.iter().zip(&sizes) {
                    prop_assert!(share <= size && (*share > 0) == (*size > 0));
                }
            }
            let all: usize = sizes.iter().sum();
            let taken: usize = shares(&sizes, Sample::Count(count)).iter().sum();
            prop_assert!(taken >= count.min(all) && taken <= count + sizes.len());
        }
    }
}
