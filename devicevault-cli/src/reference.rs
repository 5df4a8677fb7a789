//! Naming one of the versions of an artefact: by its identifier, its place in the order, or a time.

use std::collections::BTreeMap;
use std::time::Duration;

use devicevault_core::run::Backup;
use devicevault_core::{DeviceId, Error, ErrorKind, Result, Timestamp};
use jiff::tz::TimeZone;

use crate::ui::human;

/// What a reference may be, for help texts.
pub(crate) const FORMS: &str =
    "an identifier or its beginning, `latest`, `latest~1` (the one before), or a date or time (what was valid then)";

/// The shortest beginning of an identifier that is taken for one.
const SHORTEST: usize = 4;

/// So much of an identifier is shown at least.
const SHOWN: usize = 8;

/// Finds the version that a reference names among those of one artefact, newest first. `latest` and times pass over
/// suspect versions as long as there is one that is not suspect.
///
/// # Errors
/// `NotFound`, `Conflict` where several identifiers begin so, or `Config` where it is no reference.
pub(crate) fn resolve<'a>(reference: &str, versions: &'a [Backup], zone: &TimeZone) -> Result<&'a Backup> {
    let fail =
        |kind, why: String| Err(Error::new(kind, "find version", why).with("reference", reference.escape_debug()));
    let good = good(versions);
    if let Some(back) = steps_back(reference) {
        let Some(found) = good.get(back) else {
            let are = if good.len() == 1 { "is" } else { "are" };
            return fail(ErrorKind::NotFound, format!("there {are} only {}", human::count(good.len(), "version")));
        };
        return Ok(found);
    }
    let prefix = reference.to_ascii_lowercase();
    if let Some(prefix) = identifier(reference) {
        let mut found = versions.iter().filter(|b| b.id.to_string().starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(one), None) => return Ok(one),
            (Some(_), Some(_)) => return fail(ErrorKind::Conflict, "several versions begin so".to_owned()),
            _ => {}
        }
    }
    if let Some(at) = human::parse_time(reference, zone) {
        let Some(found) = good.iter().find(|b| b.first_seen <= at) else {
            // To the next whole second: the time that is told names the version.
            let next = |at: Timestamp| at.checked_add(Duration::from_nanos(999_999_999)).unwrap_or(at);
            let first = good.iter().map(|b| next(b.first_seen)).min();
            let e = fail(ErrorKind::NotFound, "there was no version yet".to_owned());
            return e.map_err(|e| match first {
                Some(at) => {
                    e.hint(format!("the first version is of {}: name that time or a later one", human::time(at)))
                }
                None => e,
            });
        };
        return Ok(found);
    }
    // No identifier has a dash there.
    if prefix.get(..5).is_some_and(|p| p.ends_with('-') && p.bytes().take(4).all(|b| b.is_ascii_digit())) {
        let why = "there is no such date or time".to_owned();
        return fail(ErrorKind::Config, why).map_err(|e| e.hint("write 2026-11-20, or '2026-11-20 10:30'"));
    }
    if prefix.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') && !prefix.is_empty() {
        return fail(ErrorKind::NotFound, "no version has this identifier".to_owned());
    }
    fail(ErrorKind::Config, "it is no reference to a version".to_owned()).map_err(|e| e.hint(format!("write {FORMS}")))
}

/// What of a reference may begin an identifier.
pub(crate) fn identifier(reference: &str) -> Option<String> {
    let prefix = reference.to_ascii_lowercase();
    let is_one = prefix.len() >= SHORTEST && prefix.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_one.then_some(prefix)
}

/// The versions that `latest` counts: those that are not suspect; where all are, those that are not in quarantine; where
/// all are that, all.
pub(crate) fn good(versions: &[Backup]) -> Vec<&Backup> {
    let only = |wanted: fn(&Backup) -> bool| {
        let found: Vec<_> = versions.iter().filter(|b| wanted(b)).collect();
        (!found.is_empty()).then_some(found)
    };
    let good = only(|b| b.suspect.is_empty()).or_else(|| only(|b| !b.is_quarantined()));
    good.unwrap_or_else(|| versions.iter().collect())
}

fn steps_back(reference: &str) -> Option<usize> {
    match reference.strip_prefix("latest")? {
        "" => Some(0),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

/// Up to here an identifier tells when it was made; what begins together differs only behind it.
const TIME: usize = "01a1fdfa-9785".len();

/// The shortest beginnings, of at least eight characters, that tell these identifiers apart. Of those that were made in
/// the same moment, their ends: they are drawn by chance.
pub(crate) fn short_ids<T: ToString>(ids: &[T]) -> Vec<String> {
    let all: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let whole = || all.iter().map(String::as_str).collect::<Vec<_>>();
    let first = needed(whole());
    if first <= TIME {
        return all.iter().map(|id| id.get(..first).unwrap_or(id).to_owned()).collect();
    }
    let reversed: Vec<String> = all.iter().map(|id| id.chars().rev().collect()).collect();
    let last = needed(reversed.iter().map(String::as_str).collect());
    all.iter().map(|id| id.get(id.len().saturating_sub(last)..).unwrap_or(id).to_owned()).collect()
}

/// Beginnings that tell versions of one artefact apart: among those a reference is looked for. Versions that one run
/// took begin alike for long.
pub(crate) fn short_versions(versions: &[Backup]) -> Vec<String> {
    let mut artefacts: BTreeMap<(&DeviceId, &str), Vec<String>> = BTreeMap::new();
    for b in versions {
        artefacts.entry((&b.device, &b.artefact)).or_default().push(b.id.to_string());
    }
    let needed = artefacts.values().map(|ids| needed(ids.iter().map(String::as_str).collect())).max().unwrap_or(SHOWN);
    let short = |b: &Backup| b.id.to_string().get(..needed).unwrap_or_default().to_owned();
    versions.iter().map(short).collect()
}

/// How long a beginning has to be.
fn needed(mut ids: Vec<&str>) -> usize {
    ids.sort_unstable();
    ids.dedup();
    let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let most = ids.iter().zip(ids.iter().skip(1)).map(|(a, b)| common(a, b) + 1).max();
    most.unwrap_or(0).max(SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use devicevault_core::{BackupId, Digest, RunId};
    use proptest::prelude::*;

    fn version(id: &str, seen: &str, suspect: bool) -> Backup {
        let id: BackupId = id.parse().unwrap();
        let seen: Timestamp = seen.parse().unwrap();
        let mut b = Backup::new(id, RunId(id.0), "d".into(), "running-config", Digest::of(b""), seen);
        if suspect {
            b.suspect.push("short".to_owned());
        }
        b
    }

    fn versions() -> Vec<Backup> {
        vec![
            version("019a0003-0000-7000-8000-000000000000", "2026-11-22T10:00:00Z", true),
            version("019a0002-0000-7000-8000-000000000000", "2026-11-21T10:00:00Z", false),
            version("019a0001-0000-7000-8000-000000000000", "2026-11-20T10:00:00Z", false),
        ]
    }

    #[test]
    fn references_find_what_they_name() {
        let all = versions();
        let find = |r: &str| resolve(r, &all, &TimeZone::UTC).map(|b| b.id.to_string()[..8].to_owned());
        assert_eq!(find("latest").unwrap(), "019a0002");
        assert_eq!(find("latest~1").unwrap(), "019a0001");
        assert_eq!(find("019A0003").unwrap(), "019a0003");
        assert_eq!(find("2026-11-20").unwrap(), "019a0001");
        assert_eq!(find("2026-11-23").unwrap(), "019a0002");
        let kind = |r: &str| find(r).unwrap_err().kind();
        assert_eq!(kind("latest~2"), ErrorKind::NotFound);
        assert_eq!(kind("019a"), ErrorKind::Conflict);
        assert_eq!(kind("019b"), ErrorKind::NotFound);
        assert_eq!(kind("2026-11-19"), ErrorKind::NotFound);
        let hint = find("2026-11-19").unwrap_err().hint_text().unwrap_or_default().to_owned();
        assert!(hint.contains("the first version is of 2026-11-2"), "{hint}");
        assert_eq!(kind("yesterday-ish"), ErrorKind::Config);
        for never in ["2026-02-30", "2026-13-01", "2026-02-30 10:30", "2026-1-1"] {
            let e = find(never).unwrap_err();
            assert_eq!((e.kind(), e.message()), (ErrorKind::Config, "there is no such date or time"), "{never}");
        }
        assert_eq!(kind(""), ErrorKind::Config);
    }

    #[test]
    fn where_all_are_suspect_the_newest_counts() {
        let all = vec![version("019a0003-0000-7000-8000-000000000000", "2026-11-22T10:00:00Z", true)];
        assert_eq!(resolve("latest", &all, &TimeZone::UTC).unwrap().id, all[0].id);
    }

    proptest! {
        #[test]
        fn short_ids_tell_their_versions_apart(n in 1usize..20) {
            let ids: Vec<BackupId> = (0..n).map(|_| BackupId::generate()).collect();
            let short = short_ids(&ids);
            for (i, s) in short.iter().enumerate() {
                let is_meant = |id: &String| id.starts_with(s.as_str()) || id.ends_with(s.as_str());
                let hits = ids.iter().filter(|id| is_meant(&id.to_string())).count();
                prop_assert_eq!(hits, 1, "{} of {:?}", i, ids);
            }
        }

        #[test]
        fn no_reference_makes_it_panic(r in ".{0,40}") {
            let _ = resolve(&r, &versions(), &TimeZone::UTC);
        }
    }
}
