//! Control lines of the copy protocol that `scp` inherited from `rcp`.
//!
//! There is no standard; this is what OpenSSH's `scp.c` says and takes. A source says `C<mode> <size> <name>`, a byte
//! each for modes and times before it, and answers every step with a byte: 0 for yes, 1 and 2 for no, with a line that
//! says why.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

/// The longest line that is taken, in bytes.
pub(super) const LONGEST_LINE: usize = 2048;

/// A line of the other side, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control<'a> {
    /// `C0644 1234 name`: a file of that size follows. Its name is of no interest: we asked for one.
    File { mode: u32, size: u64 },
    /// `D0755 0 name`: a folder.
    Folder,
    /// `T<modified> <µs> <accessed> <µs>`: times of what follows.
    Times { modified: u64 },
    /// Byte 1 or 2 and a text: no.
    Refusal(&'a [u8]),
}

/// Reads a line.
pub(super) fn control(line: &[u8]) -> Result<Control<'_>, &'static str> {
    let Some((kind, rest)) = line.split_first() else { return Err("an empty line") };
    match kind {
        b'C' => {
            let (mode, rest) = word(rest).ok_or("a file without a size")?;
            let (size, name) = word(rest).ok_or("a file without a name")?;
            let mode = number(mode, 8).filter(|m| *m <= 0o7777).ok_or("a mode that is none")?;
            // Signed on the other side.
            let size = number(size, 10).filter(|s| *s <= i64::MAX as u64).ok_or("a size that is none")?;
            if name.is_empty() {
                return Err("a file without a name");
            }
            Ok(Control::File { mode: mode as u32, size })
        }
        b'D' => Ok(Control::Folder),
        b'T' => {
            let (modified, _) = word(rest).ok_or("times that are none")?;
            Ok(Control::Times { modified: number(modified, 10).ok_or("times that are none")? })
        }
        1 | 2 => Ok(Control::Refusal(rest)),
        _ => Err("a line that is not of this protocol"),
    }
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = text.iter().position(|b| *b == b' ')?;
    let (word, rest) = text.split_at_checked(blank)?;
    Some((word, rest.split_first()?.1))
}

fn number(digits: &[u8], base: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, digit| {
        let digit = u64::from(digit.checked_sub(b'0')?);
        if digit >= base {
            return None;
        }
        n.checked_mul(base)?.checked_add(digit)
    })
}

/// The command for the other side. What a shell would take as more than a path is quoted for it; other paths stand as
/// they are, for devices that know no quotes.
pub(super) fn command(option: &str, path: &str) -> Result<String, &'static str> {
    if path.is_empty() {
        return Err("the path is empty");
    }
    if path.chars().any(char::is_control) {
        return Err("the path holds a control character");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._/:@%+=,-~".contains(&b) || !b.is_ascii();
    // As an option, a leading hyphen would be no path.
    let guard = if path.starts_with('-') { "-- " } else { "" };
    if path.bytes().all(plain) {
        return Ok(format!("scp {option} {guard}{path}"));
    }
    Ok(format!("scp {option} {guard}'{}'", path.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read() {
        assert_eq!(control(b"C0644 1234 a b.cfg"), Ok(Control::File { mode: 0o644, size: 1234 }));
        assert_eq!(control(b"C0600 0 x"), Ok(Control::File { mode: 0o600, size: 0 }));
        assert_eq!(control(b"D0755 0 etc"), Ok(Control::Folder));
        assert_eq!(control(b"T1700000000 0 1700000001 0"), Ok(Control::Times { modified: 1_700_000_000 }));
        assert_eq!(control(b"\x01scp: no"), Ok(Control::Refusal(b"scp: no")));
        assert_eq!(control(b"\x02"), Ok(Control::Refusal(b"")));
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            &b""[..],
            b"C0644 12",
            b"C0644 12 ",
            b"C0844 1 x",
            b"C17777 1 x",
            b"C0644 -1 x",
            b"C0644  1 x",
            b"C0644 9223372036854775808 x",
            b"C0644 99999999999999999999999999 x",
            b"C 1 x",
            b"T x",
            b"Welcome to router1",
            b"E",
        ] {
            assert!(control(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(control(b"C0644 9223372036854775807 x").is_ok());
    }

    #[test]
    fn paths_are_quoted_where_they_must() {
        assert_eq!(command("-f", "sys_config").unwrap(), "scp -f sys_config");
        assert_eq!(command("-f", "nvram:startup-config").unwrap(), "scp -f nvram:startup-config");
        assert_eq!(command("-f", "-rf").unwrap(), "scp -f -- -rf");
        assert_eq!(command("-t", "a b;$(id)'").unwrap(), r"scp -t 'a b;$(id)'\'''");
        assert!(command("-f", "").is_err());
        assert!(command("-f", "a\nreboot").is_err());
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(line: Vec<u8>) {
            let _ = control(&line);
        }

        #[test]
        fn what_a_source_says_is_understood(mode in 0u32..0o10000, size in 0u64..=i64::MAX as u64, name in "[^\n\0]{1,20}") {
            let line = format!("C{mode:04o} {size} {name}");
            prop_assert_eq!(control(line.as_bytes()), Ok(Control::File { mode, size }));
        }

        #[test]
        fn a_shell_sees_one_argument(path in "[^\\p{Cc}]{1,20}") {
            let text = command("-f", &path).unwrap();
            let rest = text.strip_prefix("scp -f ").unwrap();
            let rest = rest.strip_prefix("-- ").unwrap_or(rest);
            let unquoted = match rest.strip_prefix('\'') {
                Some(quoted) => quoted.strip_suffix('\'').unwrap().replace(r"'\''", "'"),
                None => rest.to_owned(),
            };
            prop_assert_eq!(unquoted, path);
        }
    }
}
