//! Bytes of a device as people may see them.

use std::fmt::Write as _;

/// Printable ASCII as it is, everything else escaped, at most `most` bytes of it.
pub(crate) fn shown(bytes: &[u8], most: usize) -> String {
    let bytes = bytes.trim_ascii();
    let mut text = String::new();
    for byte in bytes.iter().take(most) {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            other => {
                // Writing to a String has no way to fail.
                let _ = write!(text, "{}", other.escape_ascii());
            }
        }
    }
    if bytes.len() > most {
        text.push('…');
    }
    text
}

/// A command as an error names it: its beginning, where it is a whole script.
pub(crate) fn brief(command: &str) -> String {
    const MOST: usize = 80;
    shown(command.as_bytes(), MOST)
}

#[cfg(test)]
mod tests {
    use super::{brief, shown};

    #[test]
    fn nothing_reaches_a_terminal_unescaped() {
        assert_eq!(shown(b" it's \x1b[2J\xff ", 80), r"it's \x1b[2J\xff");
        assert_eq!(shown(b"abcdef", 3), "abc…");
    }
    #[test]
    fn a_script_is_named_by_its_beginning() {
        assert_eq!(brief("show version"), "show version");
        assert_eq!(brief(&format!("for f in {}", "x ".repeat(300))).chars().count(), 81);
    }
}
