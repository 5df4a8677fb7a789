//! What servers say of files: the facts of `MLSD` and `MLST` (RFC 3659, section 7), and the lines of `LIST`, for which there
//! is no standard.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};

use crate::remote::{FileKind, Found};

/// A line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// `type=file;size=5;modify=20261121083000; name`: name and facts.
pub(super) fn facts(line: &str) -> Result<(String, Found), Unreadable> {
    let (facts, name) = line.trim_start_matches(' ').split_once(' ').ok_or(Unreadable)?;
    let mut found = Found::new(FileKind::Unknown, 0, None);
    for fact in facts.split(';').filter(|f| !f.is_empty()) {
        let (key, value) = fact.split_once('=').ok_or(Unreadable)?;
        match key.to_ascii_lowercase().as_str() {
            "type" => found.kind = kind(&value.to_ascii_lowercase()),
            "size" => found.size = value.parse().map_err(|_| Unreadable)?,
            "modify" => found.modified = Some(time(value).ok_or(Unreadable)?),
            _ => {}
        }
    }
    if name.is_empty() { Err(Unreadable) } else { Ok((name.to_owned(), found)) }
}

fn kind(fact: &str) -> FileKind {
    match fact {
        "file" => FileKind::File,
        "dir" | "cdir" | "pdir" => FileKind::Folder,
        link if link.starts_with("os.unix=slink") || link.starts_with("os.unix=symlink") => FileKind::Link,
        _ => FileKind::Other,
    }
}

/// `20261121083000`, perhaps with a fraction, in UTC (RFC 3659, section 2.3).
pub(super) fn time(digits: &str) -> Option<DateTime<Utc>> {
    let whole = digits.split('.').next().unwrap_or_default();
    if whole.len() != 14 || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    NaiveDateTime::parse_from_str(whole, "%Y%m%d%H%M%S").ok().map(|t| t.and_utc())
}

/// A line of `LIST`, as Unix or Windows would write it; `None` for one that names nothing. `now` tells the year where the
/// line does not.
pub(super) fn line(line: &str, now: DateTime<Utc>) -> Result<Option<(String, Found)>, Unreadable> {
    let line = line.trim_end_matches(['\r', '\n']);
    if line.trim().is_empty() || line.strip_prefix("total ").is_some_and(|n| n.trim().parse::<u64>().is_ok()) {
        return Ok(None);
    }
    let first = line.bytes().next().unwrap_or_default();
    let (name, found) = if first.is_ascii_digit() { windows(line) } else { unix(line, now) }.ok_or(Unreadable)?;
    Ok((!matches!(name.as_str(), "" | "." | "..")).then_some((name, found)))
}

/// Words, and where each ends.
fn words(line: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = line.get(from..)?;
        let begin = from + rest.find(|c| c != ' ')?;
        let word = line.get(begin..)?.split(' ').next()?;
        from = begin + word.len();
        Some((word, from))
    })
}

/// `-rw-r--r--   1 user group   4096 Nov 21 08:30 name`
fn unix(line: &str, now: DateTime<Utc>) -> Option<(String, Found)> {
    let all: Vec<(&str, usize)> = words(line).take(12).collect();
    let (mode, _) = all.first()?;
    let kind = match mode.chars().next()? {
        '-' => FileKind::File,
        'd' => FileKind::Folder,
        'l' => FileKind::Link,
        'b' | 'c' | 'p' | 's' => FileKind::Other,
        _ => return None,
    };
    if mode.len() < 10 {
        return None;
    }
    // Owner and group may be missing, or have blanks in them: the date is looked for.
    let at = (2..all.len()).find(|i| date_at(&all, *i, now).is_some())?;
    let modified = date_at(&all, at, now)?;
    let (size, _) = all.get(at - 1)?;
    // Devices have two numbers in place of a size.
    let size = match kind {
        FileKind::File => size.parse().ok()?,
        _ => size.parse().unwrap_or(0),
    };
    let (_, end) = all.get(at + 2)?;
    let mut name = line.get(end + 1..)?;
    if kind == FileKind::Link {
        name = name.split(" -> ").next()?;
    }
    Some((name.to_owned(), Found::new(kind, size, Some(modified))))
}

/// `Nov 21 08:30`, `Nov 21 2026`
fn date_at(all: &[(&str, usize)], at: usize, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (month, _) = all.get(at)?;
    let month = MONTHS.iter().position(|m| month.eq_ignore_ascii_case(m))?;
    let month = u32::try_from(month + 1).ok()?;
    let day: u32 = all.get(at + 1)?.0.parse().ok()?;
    let (last, _) = all.get(at + 2)?;
    match last.split_once(':') {
        None => {
            let date = NaiveDate::from_ymd_opt(last.parse().ok().filter(|y| (1970..=9999).contains(y))?, month, day)?;
            Some(date.and_time(NaiveTime::MIN).and_utc())
        }
        Some((hour, minute)) => {
            let time = NaiveTime::from_hms_opt(hour.parse().ok()?, minute.parse().ok()?, 0)?;
            // Of the last months; a day ahead is a matter of time zones.
            let of = |year| Some(NaiveDate::from_ymd_opt(year, month, day)?.and_time(time).and_utc());
            let latest = now.checked_add_signed(TimeDelta::days(1))?;
            of(now.year()).filter(|t| *t <= latest).or_else(|| of(now.year() - 1))
        }
    }
}

/// `11-21-26  08:30AM       <DIR>          name`
fn windows(line: &str) -> Option<(String, Found)> {
    let mut all = words(line);
    let (date, _) = all.next()?;
    let (clock, _) = all.next()?;
    let (size, end) = all.next()?;
    let mut parts = date.split(['-', '/']);
    let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
    let year: i32 = year.parse().ok()?;
    let year = match year {
        0..70 => 2000 + year,
        70..100 => 1900 + year,
        _ => year,
    };
    let date = NaiveDate::from_ymd_opt(year, month.parse().ok()?, day.parse().ok()?)?;
    let time = match clock.len() {
        5 => NaiveTime::parse_from_str(clock, "%H:%M"),
        _ => NaiveTime::parse_from_str(clock, "%I:%M%p"),
    };
    let modified = date.and_time(time.ok()?).and_utc();
    let name = line.get(end..)?.trim_start_matches(' ');
    let found = match size {
        "<DIR>" => Found::new(FileKind::Folder, 0, Some(modified)),
        size if size.starts_with('<') => Found::new(FileKind::Link, 0, Some(modified)),
        size => Found::new(FileKind::File, size.replace(',', "").parse().ok()?, Some(modified)),
    };
    (!name.is_empty()).then(|| (name.to_owned(), found))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T09:00:00Z".parse().unwrap()
    }

    fn found(kind: FileKind, size: u64, modified: &str) -> Found {
        Found::new(kind, size, Some(modified.parse().unwrap()))
    }

    #[test]
    fn facts_are_read() {
        let file = found(FileKind::File, 5, "2026-11-21T08:30:00Z");
        for text in [
            "type=file;size=5;modify=20261121083000; a b.txt",
            "Type=file;Size=5;Modify=20261121083000.123;UNIX.mode=0600;unique=1g2; a b.txt",
            " modify=20261121083000;size=5;type=FILE; a b.txt",
        ] {
            assert_eq!(facts(text), Ok(("a b.txt".to_owned(), file)), "{text}");
        }
        let folder = facts("type=dir;modify=20261121083000; x").unwrap().1;
        assert_eq!(folder.kind, FileKind::Folder);
        assert_eq!(facts("type=OS.unix=slink:/etc; x").unwrap().1.kind, FileKind::Link);
        assert_eq!(facts("type=OS.unix=chr-1/2; x").unwrap().1.kind, FileKind::Other);
        assert_eq!(facts("size=1; x").unwrap().1.kind, FileKind::Unknown);
        assert_eq!(facts("type=file;  leading").unwrap().0, " leading");
        for bad in ["", "type=file;", "type=file; ", "size=x; a", "modify=2026; a", "modify=20261321083000; a", "x a"] {
            assert_eq!(facts(bad), Err(Unreadable), "{bad}");
        }
    }

    #[test]
    fn lines_are_read() {
        for (text, name, want) in [
            (
                "-rw-------    1 0        0               5 Nov 21 08:30 a b.txt",
                "a b.txt",
                found(FileKind::File, 5, "2026-11-21T08:30:00Z"),
            ),
            (
                "-rw-r--r--   1 user  domain users 4294967296 Dec  1 23:59 big",
                "big",
                found(FileKind::File, 4_294_967_296, "2025-12-01T23:59:00Z"),
            ),
            ("drwx------ 2 u g 4096 Feb 29  2024 d", "d", found(FileKind::Folder, 4096, "2024-02-29T00:00:00Z")),
            ("-rw-rw-rw- 1 7 Nov 22 08:30  x ", " x ", found(FileKind::File, 7, "2026-11-22T08:30:00Z")),
            ("lrwxrwxrwx 1 u g 4 Nov 21 08:30 l -> /etc", "l", found(FileKind::Link, 4, "2026-11-21T08:30:00Z")),
            ("crw-rw-rw- 1 u g 1, 3 Nov 21 08:30 null", "null", found(FileKind::Other, 3, "2026-11-21T08:30:00Z")),
            ("11-21-26  08:30PM       <DIR>          a b", "a b", found(FileKind::Folder, 0, "2026-11-21T20:30:00Z")),
            ("11-21-2026  08:30             1,234 x", "x", found(FileKind::File, 1234, "2026-11-21T08:30:00Z")),
        ] {
            assert_eq!(line(text, now()), Ok(Some((name.to_owned(), want))), "{text}");
        }
        for nothing in
            ["total 12", "", "  ", "drwx------ 2 u g 4096 Nov 21 08:30 ..", "drwx------ 2 u g 4096 Nov 21 08:30 ."]
        {
            assert_eq!(line(nothing, now()), Ok(None), "{nothing}");
        }
        for bad in [
            "hello",
            "-rw",
            "-rw------- 1 u g x Nov 21 08:30 a",
            "-rw------- 1 u g 5 Nov 31 08:30 a",
            "11-21-26 x 5 a",
            "-rw------- 1 u g 5 Nov 21 08:30",
        ] {
            assert_eq!(line(bad, now()), Err(Unreadable), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(text in prop_oneof![".*", "[-dl]rwx------ +[0-9]* .{0,9} +[0-9]+ +(Nov|Feb) +[0-9]+ +[0-9:]+.*", "[0-9-]+ +[0-9:AP]+M? +(<DIR>|[0-9,]+) .*", "[a-z]*=[a-z0-9.]*;.*"]) {
            let _ = facts(&text);
            let _ = line(&text, now());
            let _ = time(&text);
        }

        #[test]
        fn names_come_out_as_they_went_in(name in "[ -~é]{1,40}", size: u64, seconds in 0i64..4_000_000_000) {
            let modified = DateTime::from_timestamp(seconds, 0).unwrap();
            let want = Found::new(FileKind::File, size, Some(modified));
            let text = format!("type=file;size={size};modify={}; {name}", modified.format("%Y%m%d%H%M%S"));
            prop_assert_eq!(facts(&text), Ok((name.clone(), want)));
            if !matches!(name.as_str(), "." | "..") {
                let text = format!("-rw------- 1 u g {size} {} {name}", modified.format("%b %e  %Y"));
                let day = modified.date_naive().and_time(NaiveTime::MIN).and_utc();
                prop_assert_eq!(line(&text, now()), Ok(Some((name, Found::new(FileKind::File, size, Some(day))))));
            }
        }
    }
}
