//! A key as people keep it: 64 hexadecimal digits, or the lines of a recovery kit.

use devicevault_core::{Digest, Error, ErrorKind, Result};
use zeroize::Zeroizing;

use super::super::crypto::Key;

/// Lines of a kit that hold the key.
const LINES: usize = 4;
/// Bytes of the key in each.
const BYTES: usize = 8;

/// Number of a line, from 0, and its bytes.
type KitLine = (usize, Zeroizing<[u8; BYTES]>);

/// The lines of a key in a recovery kit, each with a check of its own.
#[must_use]
pub fn kit_lines(key: &Key) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(200));
    for (i, bytes) in key.expose().chunks(BYTES).enumerate() {
        let groups: Vec<_> = bytes.chunks(2).map(hex::encode).collect();
        let number = i + 1;
        out.push_str(&format!("KEY {number}  {}  check {}\n", groups.join(" "), hex::encode(check(number, bytes))));
    }
    out
}

/// Two bytes that tell a slip in a line.
fn check(number: usize, bytes: &[u8]) -> [u8; 2] {
    let number = u8::try_from(number).unwrap_or_default();
    let digest = Digest::of(&[&b"devicevault recovery kit v1"[..], &[number], bytes].concat());
    let [a, b, ..] = digest.0;
    [a, b]
}

/// The key in a text: 64 hexadecimal digits and nothing else, or the four lines of a kit.
///
/// # Errors
/// `Config` that names the line of a kit that was mistyped, or says that there is no key.
pub fn key_of_text(text: &str) -> Result<Key> {
    let mut bytes = Zeroizing::new([0; 32]);
    if hex::decode_to_slice(text.trim(), &mut bytes[..]).is_ok() {
        return Ok(Key::new(*bytes));
    }
    let wrong = |why: String| Error::new(ErrorKind::Config, "read key", why);
    let mut found = [false; LINES];
    for line in text.lines() {
        let Some((number, part)) = kit_line(line).map_err(wrong)? else { continue };
        let place = number * BYTES..(number + 1) * BYTES;
        let (Some(slot), Some(seen)) = (bytes.get_mut(place), found.get_mut(number)) else { continue };
        if *seen && *slot != part[..] {
            return Err(wrong(format!("line KEY {} is there twice, and differs", number + 1)));
        }
        slot.copy_from_slice(&part[..]);
        *seen = true;
    }
    match found.iter().position(|f| !f) {
        None => Ok(Key::new(*bytes)),
        Some(missing) if found.contains(&true) => Err(wrong(format!("line KEY {} is missing", missing + 1))),
        Some(_) => Err(wrong("it is neither 64 hexadecimal digits nor a recovery kit".to_owned())),
    }
}

/// The number of a key line, from 0, and its bytes. `None` for any other line; what is wrong with a key line that was
/// mistyped.
fn kit_line(line: &str) -> std::result::Result<Option<KitLine>, String> {
    let upper = Zeroizing::new(line.to_ascii_uppercase());
    let Some((_, rest)) = upper.split_once("KEY ") else { return Ok(None) };
    let Some((digits, told)) = rest.split_once("CHECK") else { return Ok(None) };
    let compact = |s: &str| Zeroizing::new(s.chars().filter(|c| !c.is_whitespace()).collect::<String>());
    let digits = compact(digits);
    let Some(number) = digits.chars().next().and_then(|c| c.to_digit(10)).map(|n| n as usize) else { return Ok(None) };
    if !(1..=LINES).contains(&number) {
        return Ok(None);
    }
    let mistyped = || format!("line KEY {number} was mistyped: its check does not fit");
    let mut part = Zeroizing::new([0; BYTES]);
    let hex_digits = digits.get(1..).unwrap_or_default();
    hex::decode_to_slice(hex_digits, &mut part[..]).map_err(|_| mistyped())?;
    if compact(told).as_str() != hex::encode_upper(check(number, &part[..])) {
        return Err(mistyped());
    }
    Ok(Some((number - 1, part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_reads_back_from_digits_and_from_a_kit(key: [u8; 32], upper: bool) {
            let lines = kit_lines(&Key::new(key));
            let kit = format!("DeviceVault recovery kit\n\nstores: /KEY 9/x\n{}\nkeep it safe\n", lines.as_str());
            let kit = if upper { kit.to_uppercase() } else { kit };
            prop_assert_eq!(*key_of_text(&kit).unwrap().expose(), key);
            prop_assert_eq!(*key_of_text(&format!(" {}\n", hex::encode(key))).unwrap().expose(), key);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}|(KEY [0-9] [0-9a-f ]{0,20} check [0-9a-f]{0,4}\n){0,6}") {
            let _ = key_of_text(&text);
        }
    }

    #[test]
    fn a_slip_is_found_in_its_line() {
        let lines = kit_lines(&Key::new([0x5a; 32]));
        let third = lines.lines().nth(2).unwrap();
        let e = key_of_text(&lines.replace(third, &third.replacen("5a5a", "5b5a", 1))).unwrap_err();
        assert!(e.message().contains("KEY 3"), "{e}");
        let e = key_of_text(&lines.replace(third, "")).unwrap_err();
        assert!(e.message().contains("KEY 3 is missing"), "{e}");
        let e = key_of_text("hunter2").unwrap_err();
        assert!(!format!("{e:?}").contains("hunter2"));
    }
}
