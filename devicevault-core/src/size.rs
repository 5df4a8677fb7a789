//! Sizes as people read and write them.

/// A size in bytes, with three digits that count: `500 B`, `7.89 KiB`.
///
/// ```
/// assert_eq!(devicevault_core::size_text(15_333_769_216), "14.3 GiB");
/// ```
#[must_use]
pub fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A size in bytes as people write it: a whole number, and perhaps `k`, `M`, `G` or `T`, with or without `B` (thousands are
/// 1000) or `iB` (1024). `None`: it is no size, or one of 2^64 and above.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let (prefix, base) = match unit.strip_suffix("ib") {
        Some("") => return None,
        Some(prefix) => (prefix, 1024_u64),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 1000),
    };
    let power = match prefix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(base.pow(power))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_size_or_none(text: String) {
            let _ = parse_size(&text);
        }
    }

    #[test]
    fn sizes_are_read() {
        let cases =
            [("0", Some(0)), ("12 b", Some(12)), ("2KiB", Some(2048)), ("2kb", Some(2000)), ("1 GiB", Some(1 << 30))];
        let short = [
            ("1k", Some(1000)),
            ("3 T", Some(3_000_000_000_000)),
            ("16 TiB", Some(16 << 40)),
            ("200MB", Some(200_000_000)),
        ];
        for (text, want) in cases.into_iter().chain(short) {
            assert_eq!(parse_size(text), want, "{text}");
        }
        for bad in [
            "",
            "KiB",
            "1.5MB",
            "-1",
            "10 XB",
            "1 iib",
            "1iB",
            "1 b b",
            "99999999999 TiB",
            "18446744073709551616",
            "18446744073709551615KB",
            "1MiB2",
        ] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
