//! Sizes as people write them.

/// A size in bytes: a whole number, with a unit of 1000 (`KB`, `MB`, `GB`) or of 1024 (`KiB`, `MiB`, `GiB`) where it has
/// one. `None`: it is no size, or one of 2^64 and above.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let cases =
            [("0", Some(0)), ("12 b", Some(12)), ("2KiB", Some(2048)), ("2kb", Some(2000)), ("1 GiB", Some(1 << 30))];
        for (text, want) in cases {
            assert_eq!(parse_size(text), want, "{text}");
        }
        for bad in ["", "KiB", "1.5MB", "-1", "1TB", "18446744073709551616", "18446744073709551615KB", "1MiB2"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
