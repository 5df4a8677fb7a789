//! Cursors: where a page ended, as text that a caller hands back.

use devicevault_core::{Error, ErrorKind, Result};
use uuid::Uuid;

/// No page is longer, whatever is asked for: a page is held in memory.
pub(super) const MAX_PAGE: u32 = 10_000;

/// The last row of a page in an order by time and id, newest first. Pages after it neither repeat nor skip a row,
/// whatever is added or removed between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) micros: i64,
    pub(super) id: Uuid,
}

impl Cursor {
    pub(super) fn encode(self) -> String {
        format!("{}.{}", self.micros, self.id.simple())
    }

    pub(super) fn decode(text: &str) -> Result<Self> {
        let parts = text.split_once('.').and_then(|(micros, id)| {
            let id = (id.len() == 32).then(|| Uuid::try_parse(id).ok())??;
            Some(Self { micros: micros.parse().ok()?, id })
        });
        parts.ok_or_else(|| {
            Error::new(ErrorKind::Config, "read page", "the cursor is not one that a page before returned")
                .with("cursor", text.chars().take(80).collect::<String>().escape_debug())
                .hint("ask for the first page")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back(micros: i64, id: u128) {
            let cursor = Cursor { micros, id: Uuid::from_u128(id) };
            prop_assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        }

        #[test]
        fn a_hostile_cursor_is_refused_or_read(text in "\\PC*|[0-9]*[.][0-9a-f]*") {
            match Cursor::decode(&text) {
                Ok(cursor) => prop_assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor),
                Err(e) => prop_assert_eq!(e.kind(), ErrorKind::Config),
            }
        }
    }

    #[test]
    fn cursors_that_are_none_are_refused() {
        for bad in [
            "",
            ".",
            "1",
            "1.",
            ".0190b5b1c0007000800000000000000a",
            "1.xyz",
            "9223372036854775808.0190b5b1c0007000800000000000000a",
        ] {
            assert_eq!(Cursor::decode(bad).unwrap_err().kind(), ErrorKind::Config, "{bad}");
        }
    }
}
