//! Pages of a list that is sorted newest first.

use devicevault_core::catalog::{Page, Paged};
use devicevault_core::{Error, ErrorKind, Result, Timestamp};
use uuid::Uuid;

/// Where a record stands: newest first, ties by id.
pub(super) type Place = (Timestamp, Uuid);

/// The page of the records; `place` says where each stands.
pub(super) fn page<T>(records: impl Iterator<Item = T>, page: &Page, place: impl Fn(&T) -> Place) -> Result<Paged<T>> {
    let after = page.after.as_deref().map(read_cursor).transpose()?;
    let mut found: Vec<_> = records.filter(|r| after.is_none_or(|cursor| place(r) < cursor)).collect();
    found.sort_by_key(|r| std::cmp::Reverse(place(r)));
    let limit = page.limit.max(1) as usize;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| write_cursor(place(last)));
    Ok(Paged { items: found, next })
}

fn write_cursor((at, id): Place) -> String {
    format!("{}/{id}", at.as_microsecond())
}

fn read_cursor(text: &str) -> Result<Place> {
    let read = || {
        let (micros, id) = text.split_once('/')?;
        Some((Timestamp::from_microsecond(micros.parse().ok()?).ok()?, Uuid::parse_str(id).ok()?))
    };
    read().ok_or_else(|| {
        Error::new(ErrorKind::Config, "read cursor", "it is none of this catalog's").with("cursor", text.escape_debug())
    })
}
