//! The one normalisation that stands between a recorded answer and a stored text, and a reader of it that has nothing in
//! common with the program's own.
//!
//! 1. Each line is what a terminal shows of it when it ends: carriage return, backspace, erasing and movements within the
//!    line are applied, colours, modes and NUL leave nothing.
//! 2. The line with the echo of the command, where there is one, and the last line, the prompt, are no part of an answer.
//! 3. Blanks at the ends of lines, and blank lines at the beginning and the end, do not count.

/// The lines of a recorded answer.
pub(super) fn answer(raw: &str, command: &str, shell: bool) -> Vec<String> {
    let mut lines = shown(raw);
    if lines.first().is_some_and(|first| first.contains(command)) {
        lines.remove(0);
    }
    if shell {
        lines.pop();
    }
    trimmed(lines)
}

/// The lines of a stored text.
pub(super) fn stored(text: &str) -> Vec<String> {
    trimmed(shown(text))
}

fn trimmed(lines: Vec<String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.into_iter().map(|l| l.trim_end().to_owned()).collect();
    lines.truncate(lines.iter().rposition(|l| !l.is_empty()).map_or(0, |last| last + 1));
    let blank = lines.iter().take_while(|l| l.is_empty()).count();
    lines.split_off(blank)
}

fn shown(text: &str) -> Vec<String> {
    text.split('\n').map(line).collect()
}

fn line(text: &str) -> String {
    let text: Vec<char> = text.chars().collect();
    let (mut cells, mut at, mut i): (Vec<char>, usize, usize) = (Vec::new(), 0, 0);
    while let Some(&c) = text.get(i) {
        i += 1;
        match c {
            '\r' => at = 0,
            '\x08' => at = at.saturating_sub(1),
            '\0' | '\x07' => {}
            '\x1b' => i = escape(&text, i, &mut cells, &mut at),
            c => {
                while cells.len() < at {
                    cells.push(' ');
                }
                if at < cells.len() {
                    cells[at] = c;
                } else {
                    cells.push(c);
                }
                at += 1;
            }
        }
    }
    cells.into_iter().collect()
}

/// Applies the sequence whose escape was read; returns where the text goes on.
fn escape(text: &[char], start: usize, cells: &mut Vec<char>, at: &mut usize) -> usize {
    match text.get(start) {
        Some('[') => {
            let end = text[start + 1..].iter().position(char::is_ascii_alphabetic);
            let Some(end) = end.map(|e| start + 1 + e) else { return text.len() };
            let digits: String = text[start + 1..end].iter().collect();
            let count = digits.parse().unwrap_or(1);
            match text[end] {
                'K' | 'J' if digits != "1" => cells.truncate(if digits == "2" { 0 } else { *at }),
                'D' => *at = at.saturating_sub(count),
                'C' => *at += count,
                _ => {}
            }
            end + 1
        }
        Some(']') => text[start..].iter().position(|c| *c == '\x07').map_or(text.len(), |e| start + e + 1),
        Some(_) => start + 1,
        None => start,
    }
}

#[test]
fn lines_are_what_a_terminal_shows() {
    let raw = "show run\r\n\x1b[?1h\x1b=\rone  \n --More-- \r         \rtwo\x08\x08\x08three\n\n\x1b[7msw# \x1b[m";
    assert_eq!(answer(raw, "show run", true), ["one", "three"]);
    assert_eq!(stored("\none\nthree \n\n"), ["one", "three"]);
}
