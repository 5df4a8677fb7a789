//! Text from devices, made harmless for a terminal.
//!
//! A configuration may hold escape sequences, or marks that turn the direction of writing: shown as they are, they would
//! let whoever wrote them move the cursor, recolour a diff or make one line look like another.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal shows this as itself: printable, and no mark that reorders or hides other characters.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line or cell: everything that is not plain is written as an escape, line ends included.
#[must_use]
pub(crate) fn text(s: &str) -> Cow<'_, str> {
    if s.chars().all(is_plain) {
        return Cow::Borrowed(s);
    }
    let mut out = String::with_capacity(s.len() + 16);
    push(&mut out, s, false);
    Cow::Owned(out)
}

/// One line of a text, as bytes: tabs stay, what is not UTF-8 is written as `\xNN`.
#[must_use]
pub(crate) fn line(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        push(&mut out, chunk.valid(), true);
        for b in chunk.invalid() {
            // Writing into a String has no way to fail.
            let _ = write!(out, "\\x{b:02x}");
        }
    }
    out
}

/// A whole text for the terminal: its line ends stay, each line is escaped.
#[must_use]
pub(crate) fn lines(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for part in bytes.split_inclusive(|b| *b == b'\n') {
        match part.strip_suffix(b"\n") {
            Some(whole) => {
                out.push_str(&line(whole));
                out.push('\n');
            }
            None => out.push_str(&line(part)),
        }
    }
    out
}

fn push(out: &mut String, s: &str, keep_tabs: bool) {
    for c in s.chars() {
        if is_plain(c) || (keep_tabs && c == '\t') {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_steers_a_terminal_is_shown_instead() {
        assert_eq!(text("core-rtr1 Zürich"), "core-rtr1 Zürich");
        assert_eq!(text("a\x1b[31mb\r\nc"), "a\\u{1b}[31mb\\r\\nc");
        assert_eq!(text("user\u{202e}nimda"), "user\\u{202e}nimda");
        assert_eq!(line(b"\thost\xff\x07"), "\thost\\xff\\u{7}");
        assert_eq!(lines(b"a\nb\x1b\n"), "a\nb\\u{1b}\n");
        assert_eq!(lines(b"no end"), "no end");
    }

    proptest! {
        #[test]
        fn nothing_but_plain_characters_comes_out(bytes: Vec<u8>) {
            prop_assert!(line(&bytes).chars().all(|c| is_plain(c) || c == '\t'));
            prop_assert!(lines(&bytes).chars().all(|c| is_plain(c) || c == '\t' || c == '\n'));
            prop_assert!(text(&String::from_utf8_lossy(&bytes)).chars().all(is_plain));
        }
    }
}
