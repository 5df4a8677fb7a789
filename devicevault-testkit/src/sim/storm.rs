//! Escape sequences that change nothing of what a person would see.

/// Writes a line so that a terminal shows the same, with escape sequences in it.
pub(super) fn stormy(line: &[u8], number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(match number % 4 {
        0 => b"\x1b[0m\x1b[?25l".as_slice(),
        1 => b"-\x08\\\x08|\x08/\x08 ....\r\x1b[K",
        2 => b"\x1b[1;32m",
        _ => b"",
    });
    let half = line.len() / 2;
    // A cut through a character of several bytes would change it.
    let whole = line.get(half).is_none_or(u8::is_ascii) && line.get(half.wrapping_sub(1)).is_none_or(u8::is_ascii);
    let (left, right) = line.split_at(if whole { half } else { 0 });
    out.extend_from_slice(left);
    if right.iter().take(2).filter(|b| b.is_ascii_graphic()).count() == 2 {
        // Two wrong characters, and back over them.
        out.extend_from_slice(if number.is_multiple_of(2) { b"??\x1b[2D" } else { b"??\x08\x08" });
    }
    out.extend_from_slice(right);
    out.extend_from_slice(b"\x1b[K\x1b[0m");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a terminal shows of one line.
    fn shown(bytes: &[u8]) -> Vec<u8> {
        let (mut line, mut at, mut rest) = (Vec::new(), 0_usize, bytes);
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            match byte {
                b'\r' => at = 0,
                0x08 => at = at.saturating_sub(1),
                0x1b => {
                    let end = rest.iter().position(u8::is_ascii_alphabetic).map_or(rest.len(), |i| i + 1);
                    let (sequence, tail) = rest.split_at(end);
                    rest = tail;
                    match sequence {
                        b"[K" => line.truncate(at),
                        b"[2D" => at = at.saturating_sub(2),
                        _ => {}
                    }
                }
                other => {
                    line.splice(at..(at + 1).min(line.len()), [other]);
                    at += 1;
                }
            }
        }
        line
    }

    proptest! {
        #[test]
        fn a_terminal_shows_the_same_in_a_storm(line in "[^\\x00-\\x1f\\x7f]{0,60}", number in 0usize..8) {
            let mut out = Vec::new();
            stormy(line.as_bytes(), number, &mut out);
            prop_assert_eq!(shown(&out), line.as_bytes());
            prop_assert!(out.len() > line.len());
        }
    }
}
