//! What a policy or a destination wants kept.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result, parse_size};

/// How long versions of an artefact are kept at a destination. Keep rules add up; limits take away from what they kept.
///
/// ```
/// use devicevault_core::retention::Retention;
///
/// let options = [("retention.last", "5"), ("retention.daily", "14"), ("retention.max_size", "2GiB")];
/// let options = options.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
/// let wanted = Retention::from_options(&options)?.expect("there are some");
/// assert_eq!(wanted.to_string(), "last 5, daily 14, at most 2147483648 bytes");
/// assert_eq!(Retention::default().to_string(), "last 10, 30 days");
/// # Ok::<(), devicevault_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Retention {
    /// The newest so many.
    pub last: u32,
    /// Those that were valid within so many days before the artefact was last seen.
    pub days: u32,
    /// What was in force at the end of each of the last so many hours.
    pub hourly: u32,
    /// … days.
    pub daily: u32,
    /// … weeks, Monday to Sunday.
    pub weekly: u32,
    /// … months.
    pub monthly: u32,
    /// … years.
    pub yearly: u32,
    /// Levels of the Tower of Hanoi over days; up to 31.
    pub hanoi: u32,
    /// No more than so many.
    pub max_count: Option<u32>,
    /// No more than so many bytes of content.
    pub max_size: Option<u64>,
    /// Nothing whose validity ended more than so many days ago.
    pub max_days: Option<u32>,
}

impl Default for Retention {
    /// The last 10, and 30 days.
    fn default() -> Self {
        Self { last: 10, days: 30, ..Self::forever() }
    }
}

/// What the options of a policy or destination begin with.
const PREFIX: &str = "retention.";
/// Calendars look at most so far back, in periods.
const MOST: u32 = 10_000;

impl Retention {
    /// Everything.
    #[must_use]
    pub fn forever() -> Self {
        Self {
            last: 0,
            days: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            hanoi: 0,
            max_count: None,
            max_size: None,
            max_days: None,
        }
    }

    /// Whether any rule says what to keep; without one everything is kept, within the limits.
    #[must_use]
    pub fn has_keep_rule(&self) -> bool {
        [self.last, self.days, self.hourly, self.daily, self.weekly, self.monthly, self.yearly, self.hanoi]
            .iter()
            .any(|n| *n > 0)
    }

    /// Reads the options that begin with `retention.`: `last`, `days`, `hourly`, `daily`, `weekly`, `monthly`,
    /// `yearly`, `hanoi`, `max_count`, `max_size` (as [`parse_size`] reads it), `max_days`, or `forever = true`
    /// alone. `None`: there are none of them.
    ///
    /// # Errors
    /// `Config` that names an unknown option or a value that is no number.
    pub fn from_options(options: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let mut found = None;
        for (key, value) in options {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let wanted = found.get_or_insert_with(Self::forever);
            wanted.set(name, value).map_err(|e| e.with("option", key.escape_debug()))?;
        }
        if options.contains_key("retention.forever") && found.is_some_and(|r| r != Self::forever()) {
            return Err(refused("`forever` stands alone: what else is set would take away from it"));
        }
        Ok(found)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let whole = || {
            value
                .parse::<u32>()
                .map_err(|e| refused("the value is not a whole number").with("value", value.escape_debug()).because(e))
        };
        let bounded = |n: u32| {
            if n > MOST { Err(refused(format!("the value is above {MOST}"))) } else { Ok(n) }
        };
        match name {
            "last" => self.last = whole()?,
            "days" => self.days = whole()?,
            "hourly" => self.hourly = bounded(whole()?)?,
            "daily" => self.daily = bounded(whole()?)?,
            "weekly" => self.weekly = bounded(whole()?)?,
            "monthly" => self.monthly = bounded(whole()?)?,
            "yearly" => self.yearly = bounded(whole()?)?,
            "hanoi" => self.hanoi = bounded(whole()?)?.min(31),
            "max_count" => self.max_count = Some(at_least_one(whole()?)?),
            "max_days" => self.max_days = Some(at_least_one(whole()?)?),
            "max_size" => self.max_size = Some(bytes(value)?),
            "forever" if value == "true" => {}
            "forever" => return Err(refused("`forever` is `true` or not there")),
            _ => {
                return Err(refused("there is no such retention rule").hint(
                    "it has: last, days, hourly, daily, weekly, monthly, yearly, hanoi, max_count, max_size, max_days, forever",
                ));
            }
        }
        Ok(())
    }

    /// What both together keep, for a device that two policies select: each keep rule at its larger value, each limit at
    /// its looser one.
    #[must_use]
    pub fn with_all_of(self, other: Self) -> Self {
        fn looser<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            Some(a?.max(b?))
        }
        let limits = Self {
            max_count: looser(self.max_count, other.max_count),
            max_size: looser(self.max_size, other.max_size),
            max_days: looser(self.max_days, other.max_days),
            ..Self::forever()
        };
        if !self.has_keep_rule() || !other.has_keep_rule() {
            return limits;
        }
        Self {
            last: self.last.max(other.last),
            days: self.days.max(other.days),
            hourly: self.hourly.max(other.hourly),
            daily: self.daily.max(other.daily),
            weekly: self.weekly.max(other.weekly),
            monthly: self.monthly.max(other.monthly),
            yearly: self.yearly.max(other.yearly),
            hanoi: self.hanoi.max(other.hanoi),
            ..limits
        }
    }
}

fn refused(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "read retention", why)
}

fn at_least_one(n: u32) -> Result<u32> {
    if n == 0 { Err(refused("the value is 0: the newest version always stays")) } else { Ok(n) }
}

fn bytes(value: &str) -> Result<u64> {
    parse_size(value).filter(|n| *n > 0).ok_or_else(|| {
        refused("the value is not a size above 0 and below 2^64")
            .with("value", value.escape_debug())
            .hint("write 500000, 200 MB or 10 GiB")
    })
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = Vec::new();
        let counted = [
            ("last", self.last),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
            ("Hanoi", self.hanoi),
        ];
        for (name, n) in counted.into_iter().filter(|(_, n)| *n > 0) {
            told.push(format!("{name} {n}"));
        }
        if self.days > 0 {
            told.push(format!("{} days", self.days));
        }
        if told.is_empty() {
            told.push("everything".to_owned());
        }
        if let Some(n) = self.max_count {
            told.push(format!("at most {n} versions"));
        }
        if let Some(n) = self.max_size {
            told.push(format!("at most {n} bytes"));
        }
        if let Some(n) = self.max_days {
            told.push(format!("nothing older than {n} days"));
        }
        f.write_str(&told.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Option<Retention>> {
        Retention::from_options(&options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn options_are_read_and_others_left() {
        assert_eq!(read(&[("path", "/x")]).unwrap(), None);
        assert_eq!(read(&[("retention.forever", "true")]).unwrap(), Some(Retention::forever()));
        assert_eq!(read(&[("retention.max_size", "2 GB")]).unwrap().unwrap().max_size, Some(2_000_000_000));
        let r = read(&[("retention.max_size", "3 MiB"), ("retention.hanoi", "99")]).unwrap().unwrap();
        assert_eq!((r.max_size, r.hanoi, r.last), (Some(3 << 20), 31, 0));
    }

    #[test]
    fn nonsense_is_refused() {
        for (key, value) in [
            ("retention.lst", "1"),
            ("retention.last", "-1"),
            ("retention.last", "many"),
            ("retention.daily", "10001"),
            ("retention.max_count", "0"),
            ("retention.max_size", "0"),
            ("retention.max_size", "5 parsecs"),
            ("retention.max_size", "99999999999 GiB"),
            ("retention.forever", "perhaps"),
        ] {
            let e = read(&[(key, value)]).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config, "{key}={value}");
            assert!(format!("{e:?}").contains(key), "{e:?}");
        }
        assert!(read(&[("retention.forever", "true"), ("retention.last", "3")]).is_err());
    }

    #[test]
    fn two_policies_together_keep_what_either_keeps() {
        let few = Retention { last: 3, max_count: Some(5), ..Retention::forever() };
        let many = Retention { days: 90, max_count: Some(50), ..Retention::forever() };
        let both = few.with_all_of(many);
        assert_eq!((both.last, both.days, both.max_count), (3, 90, Some(50)));
        assert!(!few.with_all_of(Retention::forever()).has_keep_rule());
        assert_eq!(few.with_all_of(Retention::forever()).max_count, None);
    }
}
