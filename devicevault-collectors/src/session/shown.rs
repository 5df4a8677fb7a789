//! A text as it stands on a screen in the end.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use super::screen::{Rows, Screen};

/// The lines of a text that was sent, as a terminal shows them, each with a line end; the last one as it stands.
pub(crate) fn shown_text(sent: &[u8]) -> Vec<u8> {
    let mut all = Kept::default();
    let mut screen = Screen::default();
    screen.feed(sent, &mut all);
    all.0.extend_from_slice(&screen.current());
    all.0
}

#[derive(Default)]
struct Kept(Vec<u8>);

impl Rows for Kept {
    fn line(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
        self.0.push(b'\n');
    }

    fn part(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }
}
