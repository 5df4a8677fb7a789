//! The emulator against what devices send, a naive model of itself, and cuts anywhere.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests may panic")]

use super::*;
use proptest::prelude::*;

#[derive(Debug, Default, PartialEq, Eq)]
struct Paper(Vec<u8>);

impl Rows for Paper {
    fn line(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
        self.0.push(b'\n');
    }
    fn part(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }
}

fn run<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
    let (mut screen, mut paper) = (Screen::default(), Paper::default());
    for chunk in chunks {
        screen.feed(chunk, &mut paper);
    }
    paper.0.extend_from_slice(&screen.current());
    String::from_utf8_lossy(&paper.0).into_owned()
}

fn at_once(text: &str) -> String {
    run([text.as_bytes()])
}

#[test]
fn devices_redraw_as_on_a_terminal() {
    for (sent, seen) in [
        ("a\r\nb\r\r\nc\n\rd", "a\nb\nc\nd"),
        (
            "a --More-- \x08\x08\x08\x08\x08\x08\x08\x08\x08\x08          \x08\x08\x08\x08\x08\x08\x08\x08\x08\x08b\n",
            "ab\n",
        ),
        ("--More-- \r         \rend\r\n", "end\n"),
        ("--More-- \r         \r\r\n", "\n"),
        ("\x1b[7mlines 1-23\x1b[m\r\x1b[Knext\n", "next\n"),
        ("\x1b[4m\rrtr#\x1b[m ", "rtr# "),
        ("\r\x1b[K\x1b[?1l\x1b>\r [standalone: master] > ", " [standalone: master] > "),
        ("\x1b[?2004hvyos@r:~$ \x1b[?2004l\r\n", "vyos@r:~$ \n"),
        ("show\x1b[4D\x1b[Jexit\n", "exit\n"),
        ("\x1b]0;title\x07rtr#\x1b]2;t\x1b\\ ", "rtr# "),
        ("\x1b7abc\x1b8d\n", "dbc\n"),
        ("\x1b(B\x0e\x0fa\0b\x07\n", "ab\n"),
        ("old\x1b[H\x1b[Jnew", "new"),
        ("\x1b[24;1Hpro# \x1b[24;1H\x1b[24;6H\x1b[?25h", "pro# "),
        ("trailing  \nblanks\t\n", "trailing  \nblanks\t\n"),
        ("one\x1bEtwo\x1bE", "one\ntwo\n"),
        ("sw# show\x1b[1;0H\x1b[1M\x1b[24;1H\x1b[1L\x1b[24;9H\x1b[24;1H\x1b[2Kanswer\n", "sw# show\nanswer\n"),
        ("a\x1b[1Mb\x1b[1Lc\n", "abc\n"),
        ("abc\rX\n", "Xbc\n"),
        ("aé\x08b\n", "ab\n"),
        ("é\rab\n", "ab\n"),
        ("ab\x1b[Cc\n", "ab c\n"),
        ("a\x1b[2Kb\n", " b\n"),
        ("\x1b[31mred\x1b[0m \x03 ctrl-c\n", "red \x03 ctrl-c\n"),
    ] {
        assert_eq!(at_once(sent), seen, "{sent:?}");
    }
}

#[test]
fn an_answered_pager_leaves_nothing_however_it_is_erased() {
    let back = "\x08".repeat(10);
    let erased = format!("{back}          {back}");
    for erase in ["\r\n", "\n", "\r          \r", &erased, &back, "\r\x1b[K", "\r"] {
        let (mut screen, mut paper) = (Screen::default(), Paper::default());
        screen.feed(b"one\r\n --More-- ", &mut paper);
        screen.answered_pager(0);
        screen.feed(format!("{erase}two\r\n").as_bytes(), &mut paper);
        let seen = String::from_utf8_lossy(&paper.0).into_owned();
        assert!(!seen.contains("More"), "{erase:?} left {seen:?}");
        assert_eq!(
            seen.trim_end_matches(' ').replace("\n ", "\n").trim_end(),
            "one\ntwo".to_owned().replace("\n ", "\n"),
            "{erase:?}: {seen:?}"
        );
    }
}

#[test]
fn a_title_that_never_ends_takes_no_lines_with_it() {
    let (mut screen, mut paper) = (Screen::default(), Paper::default());
    screen.feed(b"\x1b]0;title\nline\n", &mut paper);
    assert!(paper.0.ends_with(b"line\n") && screen.garbled() == 1);
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let (mut screen, mut paper) = (Screen::default(), Paper::default());
    let chunk = vec![b'x'; 10_000];
    for _ in 0..100 {
        screen.feed(&chunk, &mut paper);
        assert!(screen.line.len() <= HELD + chunk.len());
    }
    screen.feed(b"\n", &mut paper);
    assert_eq!(paper.0.len(), 1_000_001);
}

/// A device's text: words, line ends, and what redraws.
fn device_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "[a-z #>é-]{1,12}".prop_map(String::into_bytes),
        3 => Just(b"\r\n".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"\x08".to_vec()),
        1 => Just(b"\0".to_vec()),
        1 => Just(b"\x1b[K".to_vec()),
        1 => Just(b"\x1b[2J".to_vec()),
        1 => (1u8..9).prop_map(|n| format!("\x1b[{n}D").into_bytes()),
        1 => (1u8..9).prop_map(|n| format!("\x1b[{n}C").into_bytes()),
        1 => (1u8..9, 1u8..30).prop_map(|(r, c)| format!("\x1b[{r};{c}H").into_bytes()),
        1 => Just(b"\x1b[1;31m".to_vec()),
        1 => Just(b"\x1b[?2004h".to_vec()),
        1 => Just(b"\x1b]0;t\x07".to_vec()),
        1 => Just(b"\x1b7".to_vec()),
        1 => Just(b"\x1b8".to_vec()),
        1 => Just(b"\x1b(B".to_vec()),
        1 => any::<[u8; 3]>().prop_map(|b| b.to_vec()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|p| p.concat())
}

/// The same, one character at a time over a row of characters: slow, and easy to see through.
fn naive(text: &str) -> String {
    let (mut row, mut at, mut saved, mut out) = (Vec::<char>::new(), 0usize, 0usize, String::new());
    let mut chars = text.chars().peekable();
    let flush = |row: &mut Vec<char>, at: &mut usize, out: &mut String, keep: usize| {
        while row.len() > keep && row.last() == Some(&'\0') {
            row.pop();
        }
        out.extend(row.drain(..).map(|c| if c == '\0' { ' ' } else { c }));
        *at = 0;
    };
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                flush(&mut row, &mut at, &mut out, 0);
                out.push('\n');
            }
            '\r' => at = 0,
            '\x08' => at = at.saturating_sub(1),
            '\0' | '\x07' | '\x0e' | '\x0f' => {}
            '\x1b' => match chars.next() {
                Some('7') => saved = at,
                Some('8') => at = saved,
                Some('(') => drop(chars.next()),
                Some(']') => while chars.next().is_some_and(|c| c != '\x07') {},
                Some('[') => {
                    let mut digits = String::new();
                    let letter = loop {
                        match chars.next() {
                            Some(c) if c.is_ascii_digit() || c == ';' || c == '?' => digits.push(c),
                            other => break other.unwrap_or('m'),
                        }
                    };
                    let number = |s: &str| s.parse::<usize>().unwrap_or(0);
                    let n = number(&digits).max(1);
                    match letter {
                        'D' => at = at.saturating_sub(n),
                        'C' => at += n,
                        'H' => at = number(digits.split(';').nth(1).unwrap_or("1")).max(1) - 1,
                        'K' => row.truncate(at),
                        'J' => row.clear(),
                        _ => {}
                    }
                }
                _ => {}
            },
            c => {
                while row.len() < at {
                    row.push(' ');
                }
                match row.get_mut(at) {
                    Some(cell) => *cell = if c == ' ' { '\0' } else { c },
                    None => row.push(c),
                }
                at += 1;
            }
        }
    }
    let keep = at;
    flush(&mut row, &mut at, &mut out, keep);
    out
}

proptest! {
    #[test]
    fn chunks_may_be_cut_anywhere(text in device_text(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let mut at: Vec<usize> = cuts.iter().map(|i| i.index(text.len() + 1)).collect();
        at.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for to in at.into_iter().chain([text.len()]) {
            chunks.push(&text[from..to]);
            from = to;
        }
        prop_assert_eq!(run(chunks), run([&text[..]]));
    }

    #[test]
    fn the_screen_agrees_with_a_naive_one(pieces in proptest::collection::vec(prop_oneof![
        4 => "[a-z ]{1,6}".prop_map(|s| s),
        2 => Just("\r\n".to_owned()), 1 => Just("\r".to_owned()), 1 => Just("\x08".to_owned()),
        1 => Just("\x1b[K".to_owned()), 1 => Just("\x1b[2J".to_owned()), 1 => Just("\x1b[32m".to_owned()),
        1 => (1u8..9).prop_map(|n| format!("\x1b[{n}D")), 1 => (1u8..9).prop_map(|n| format!("\x1b[{n}C")),
        1 => (1u8..30).prop_map(|n| format!("\x1b[1;{n}H")), 1 => Just("\x1b7".to_owned()), 1 => Just("\x1b8".to_owned()),
        1 => Just("\x1b]0;x\x07".to_owned()), 1 => Just("\x1b(B".to_owned()), 1 => Just("\0".to_owned()),
    ], 0..30)) {
        let text = pieces.concat();
        prop_assert_eq!(at_once(&text), naive(&text));
    }

    #[test]
    fn plain_text_is_not_altered(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>().prop_filter("printable", |b| !is_control(*b)), 0..80), 0..20)) {
        let mut sent = Vec::new();
        let mut want = Vec::new();
        for line in &lines {
            sent.extend_from_slice(line);
            sent.extend_from_slice(b"\r\n");
            want.extend_from_slice(line);
            want.push(b'\n');
        }
        let (mut screen, mut paper) = (Screen::default(), Paper::default());
        screen.feed(&sent, &mut paper);
        prop_assert_eq!(paper.0, want);
    }
}

#[test]
fn text_that_is_written_over_is_counted_and_what_turns_in_its_place_is_not() {
    for (sent, lines) in [
        ("left\rRIGHT\r\n", 1),
        (" description a word\rthat wraps\r\nend\r\n", 1),
        ("abc\x1b[2Dxy\n", 1),
        ("é\rab\n", 1),
        ("10%\r20%\r100%\r\n", 0),
        ("|\x08/\x08-\x08\\\x08 \r\n", 0),
        ("same\rsame\r\n", 0),
        ("gone\r    \rtext\r\n", 0),
        ("gone\x1b[2K\rtext\r\n", 0),
        ("ab\r\r\ncd\n\ref\r\n", 0),
    ] {
        let (mut screen, mut paper) = (Screen::default(), Paper::default());
        screen.feed(sent.as_bytes(), &mut paper);
        assert_eq!(screen.overprinted_lines(), lines, "{sent:?}");
    }
}

#[test]
fn a_pager_that_nobody_erased_is_in_doubt_behind_text_too() {
    for end in ["\r\n", "\n"] {
        let (mut screen, mut paper) = (Screen::default(), Paper::default());
        screen.feed(b" description foo --More--", &mut paper);
        screen.answered_pager(17);
        screen.feed(end.as_bytes(), &mut paper);
        assert_eq!((screen.ended_pagers(), paper.0.as_slice()), (1, b" description foo \n".as_slice()));
    }
}

/// What the screen told to have been erased.
#[derive(Debug, Default)]
struct Erased(Vec<String>);

impl Rows for Erased {
    fn line(&mut self, _text: &[u8]) {}
    fn part(&mut self, _text: &[u8]) {}
    fn erased(&mut self, text: &[u8]) {
        self.0.push(String::from_utf8_lossy(text).into_owned());
    }
}

#[test]
fn text_that_is_erased_is_told_and_an_answered_pager_is_not() {
    for (sent, told) in [
        ("port three\x1b[2Jrest\n", "port three"),
        ("port three\x1b[1Krest\n", "port three"),
        ("port three\x1b[2Krest\n", "port three"),
        ("port three\r\x1b[Krest\n", "port three"),
        ("port 3\x08 \x08\x08 \x08X\n", "3 "),
        ("gone\r    \rtext\n", "gone"),
        ("gone\x1b[2K\n", "gone"),
        ("one two\r\x1b[4Prest\n", "one "),
        ("é\x08 \n", "é"),
        ("text\x1b[K\n", ""),
        ("text\r\ntext\r\n\x1b[K", ""),
        ("|\x08/\x08-\x08\\\x08 \n", ""),
        ("   \r\x1b[2Ktext\n", ""),
    ] {
        for chunk in [1, 2, 5, usize::MAX] {
            let (mut screen, mut seen) = (Screen::default(), Erased::default());
            sent.as_bytes().chunks(chunk.min(sent.len())).for_each(|piece| screen.feed(piece, &mut seen));
            let want: Vec<&str> = Some(told).filter(|t| !t.is_empty()).into_iter().collect();
            assert!(seen.0 == want, "{sent:?} in {chunk}: {:?}", seen.0);
        }
    }
    let back = "\x08".repeat(9);
    for erase in ["\r         \r", &format!("{back}         {back}"), "\r\x1b[K", "\x1b[2K\r", "\x1b[2J"] {
        let (mut screen, mut seen) = (Screen::default(), Erased::default());
        screen.feed(b" --More--", &mut seen);
        screen.answered_pager(0);
        screen.feed(format!("{erase}text\r\n").as_bytes(), &mut seen);
        assert_eq!(seen.0, Vec::<String>::new(), "{erase:?}");
    }
}
