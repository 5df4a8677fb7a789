//! Pages of a list that is sorted newest first.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pages_are_the_whole_cut_into_pieces(times in proptest::collection::vec(0i64..5, 0..40), limit in 0u32..9) {
            let records: Vec<Place> = times.iter().enumerate()
                .map(|(i, t)| (Timestamp::from_microsecond(*t).unwrap_or_default(), Uuid::from_u128(i as u128)))
                .collect();
            let mut whole = records.clone();
            whole.sort_by(|a, b| b.cmp(a));
            let (mut paged, mut which) = (Vec::new(), Page::first(limit));
            loop {
                let Ok(part) = page(records.iter().copied(), &which, |r| *r) else { return Err(TestCaseError::fail("refused")) };
                paged.extend(part.items);
                let Some(next) = part.next else { break };
                which = Page::after(limit, next);
            }
            prop_assert_eq!(paged, whole);
        }

        #[test]
        fn any_text_is_a_cursor_or_refused(text: String) {
            if let Ok(place) = read_cursor(&text) {
                prop_assert_eq!(read_cursor(&write_cursor(place)).ok(), Some(place));
            }
        }
    }
}
