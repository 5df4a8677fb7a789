//! Numbers and times as people read and write them.

use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result, Timestamp};
use jiff::civil;
use jiff::tz::TimeZone;

/// A size in bytes.
pub(crate) use devicevault_core::size_text as size;

/// A length of time.
pub(crate) fn duration(d: Duration) -> String {
    let ms = d.as_millis();
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", d.as_secs_f64()),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A time in the reader's own time zone, to the second.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `1 device`, `2 devices`.
pub(crate) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Reads a length of time: `30`, `30s`, `5m`, `1h 30m`, `500ms`.
///
/// # Errors
/// `Config`.
pub(crate) fn parse_duration(s: &str) -> Result<Duration> {
    let wrong = || {
        Error::new(ErrorKind::Config, "read duration", "it is no length of time")
            .with("value", s.escape_debug())
            .hint("write 30s, 5m or 1h")
    };
    if let Ok(seconds) = s.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let signed: jiff::SignedDuration = s.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// Units of sizes that are written.
pub(crate) const SIZE_UNITS: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads a length of time that is longer than nothing, for clap.
///
/// # Errors
/// What a person is to write instead.
pub(crate) fn positive_duration(s: &str) -> std::result::Result<Duration, String> {
    match parse_duration(s) {
        Ok(d) if !d.is_zero() => Ok(d),
        Ok(_) => Err("it has to be longer than nothing".to_owned()),
        Err(e) => Err(format!("{}; {}", e.message(), e.hint_text().unwrap_or_default())),
    }
}

/// Reads a point in time: RFC 3339, or a date with or without a time in the reader's own time zone. A date alone means
/// the end of that day, so that it names what was valid after all that happened on it.
pub(crate) fn parse_time(s: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(at) = s.parse::<Timestamp>() {
        return Some(at);
    }
    if let Some(date) = parse_date(s) {
        let end = date.tomorrow().ok()?.to_zoned(zone.clone()).ok()?.timestamp();
        return Timestamp::from_microsecond(end.as_microsecond() - 1).ok();
    }
    let at = s.parse::<civil::DateTime>().ok()?;
    Some(at.to_zoned(zone.clone()).ok()?.timestamp())
}

/// Reads a date without a time.
pub(crate) fn parse_date(s: &str) -> Option<civil::Date> {
    // A text with a time would be read as its date alone.
    s.bytes().all(|b| b.is_ascii_digit() || b == b'-').then(|| s.parse().ok()).flatten()
}

/// `1 copy`, `2 copies`.
pub(crate) fn copies(n: usize) -> String {
    if n == 1 { "1 copy".to_owned() } else { format!("{n} copies") }
}

/// `1 copy waits`, `2 copies wait`.
pub(crate) fn copies_wait(n: usize) -> String {
    format!("{} {}", copies(n), if n == 1 { "waits" } else { "wait" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_well() {
        let sizes = [0, 1023, 1024, 20_480, 1_048_575, 5 << 20, 250 << 20, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.00 KiB", "20.0 KiB", "1.00 MiB", "5.00 MiB", "250 MiB", "16.0 EiB"]);
        let ms = |n| duration(Duration::from_millis(n));
        assert_eq!([ms(5), ms(1500), ms(65_000), ms(3_720_000)], ["5 ms", "1.5 s", "1 min 5 s", "1 h 2 min"]);
        assert_eq!(count(1, "device"), "1 device");
        assert_eq!(count(0, "device"), "0 devices");
    }

    #[test]
    fn durations_read_back() {
        let ms = |s| parse_duration(s).map(|d| d.as_millis()).ok();
        assert_eq!(
            [ms("30"), ms("30s"), ms("5m"), ms("1h 30m"), ms("500ms")].map(Option::unwrap),
            [30_000, 30_000, 300_000, 5_400_000, 500]
        );
        for bad in ["", "x", "-5s", "5 parsecs", "99999999999999999999"] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_date_means_the_end_of_that_day() {
        let at = |s| parse_time(s, &TimeZone::UTC).map(|t| t.to_string());
        assert_eq!(at("2026-11-20").unwrap(), "2026-11-20T23:59:59.999999Z");
        assert_eq!(at("2026-11-20 10:30").unwrap(), "2026-11-20T10:30:00Z");
        assert_eq!(at("2026-11-20T10:30:00+01:00").unwrap(), "2026-11-20T09:30:00Z");
        for bad in ["latest", "", "0190", "2026-13-01"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
