//! Rust source without what the compiler skips, so that a word found in it is a use of it.

/// The text with comments and the insides of string literals blanked out; lines stay where they are.
pub(super) fn without_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match &bytes[at..] {
            [b'/', b'/', ..] => line_end(bytes, at),
            [b'/', b'*', ..] => comment_end(bytes, at),
            [b'"', ..] => string_end(bytes, at),
            [b'r', b'"' | b'#', ..] if !(at > 0 && is_word(bytes[at - 1]) && bytes[at - 1] != b'b') => {
                raw_end(bytes, at)
            }
            [b'\'', ..] => char_end(bytes, at),
            _ => at + 1,
        };
        if end > at + 1 {
            out[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Blanks out the items under `#[cfg(test)]` in a text that is already without comments and strings.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code.as_bytes(), start);
        out[start..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Numbers, from 1, of the lines in which the word stands by itself.
pub(super) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let stands_alone = |line: &str| {
        line.match_indices(word).any(|(i, _)| {
            let before = line[..i].bytes().next_back();
            let after = line[i + word.len()..].bytes().next();
            !before.is_some_and(is_word) && (word.ends_with('!') || !after.is_some_and(is_word))
        })
    };
    code.lines().enumerate().filter(|(_, line)| stands_alone(line)).map(|(n, _)| n + 1).collect()
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n)
}

/// Block comments nest.
fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return at + 1; // a raw identifier
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let found = bytes[open + 1..].windows(close.len()).position(|w| w == close);
    found.map_or(bytes.len(), |n| open + 1 + n + close.len())
}

/// A character literal, or the tick of a lifetime.
fn char_end(bytes: &[u8], at: usize) -> usize {
    match &bytes[at + 1..] {
        [b'\\', _, rest @ ..] => at + 3 + rest.iter().position(|b| *b == b'\'').map_or(rest.len(), |n| n + 1),
        [first, rest @ ..] => {
            let width = match first {
                0..0x80 => 0,
                0x80..0xE0 => 1,
                0xE0..0xF0 => 2,
                _ => 3,
            };
            if rest.get(width) == Some(&b'\'') { at + width + 3 } else { at + 1 }
        }
        [] => bytes.len(),
    }
}

/// Where the item that begins here ends: after its block, or at its semicolon.
fn item_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0usize;
    for (n, b) in bytes.iter().enumerate().skip(at) {
        match b {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return n + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return n + 1,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blank() {
        let text =
            "a // println!\n/* x /* y */ println! */ b \"println! \\\" \" r#\"println! \" \"# 'p' '\\'' 'é' &'a str c";
        let code = without_comments_and_strings(text);
        assert!(!code.contains("println"), "{code}");
        assert_eq!(code.lines().count(), 2);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "&'a", "str", "c"]);
    }

    #[test]
    fn what_is_cut_off_ends_with_the_text() {
        for text in ["\"abc", "/* abc", "r#\"abc", "'", "'\\", "\"\\", "r", "r#", "#[cfg(test)] mod a {"] {
            without_tests(&without_comments_and_strings(text));
        }
    }

    #[test]
    fn tests_are_left_out() {
        let code =
            "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { std::env } }\nfn c() { std::env }\n#[cfg(test)]\nuse x;\nd";
        let rest = without_tests(code);
        assert_eq!(lines_with(&rest, "std::env"), [4]);
        assert!(rest.contains("fn a") && rest.ends_with('d') && !rest.contains("use x"));
    }

    #[test]
    fn a_word_is_not_a_part_of_one() {
        assert_eq!(lines_with("eprintln!()\nprintln!()\n", "println!"), [2]);
        assert_eq!(lines_with("russh_sftp\nx::russh::y\n", "russh"), [2]);
    }
}
