//! A difference on paper: unified, or in two columns.

use devicevault_core::diff::{Change, Diff, DiffLine};

use crate::ui::paint::{Paint, Style};
use crate::ui::{Ui, escape};

/// Columns where there is no terminal to ask.
const DEFAULT_WIDTH: u16 = 160;

/// In the unified format: for a terminal coloured and escaped, else the bytes as they are, so that `patch` takes it.
pub(crate) fn unified(diff: &Diff<'_>, old: &str, new: &str, ui: &Ui) -> Vec<u8> {
    let (old, new) = (escape::text(old), escape::text(new));
    let plain = diff.unified(&old, &new);
    if !ui.is_terminal() {
        return plain;
    }
    let paint = ui.paint();
    let mut out = String::new();
    for (i, line) in plain.split(|b| *b == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let shown = escape::line(line);
        let style = match line.first() {
            Some(b'-' | b'+') if i < 2 => Some(Style::Bold),
            Some(b'-') => Some(Style::Bad),
            Some(b'+') => Some(Style::Good),
            Some(b'@') => Some(Style::Hint),
            Some(b'\\') => Some(Style::Dim),
            _ => None,
        };
        out.push_str(&style.map_or_else(|| shown.clone(), |s| paint.on(s, &shown)));
        out.push('\n');
    }
    out.into_bytes()
}

/// In two columns, each as wide as half the terminal; longer lines go on below.
pub(crate) fn side_by_side(diff: &Diff<'_>, old: &str, new: &str, ui: &Ui) -> Vec<u8> {
    let width = usize::from(ui.width().unwrap_or(DEFAULT_WIDTH)).max(20);
    two_columns(diff, old, new, width, ui.paint()).into_bytes()
}

fn two_columns(diff: &Diff<'_>, old: &str, new: &str, width: usize, paint: Paint) -> String {
    // A mark before each text, and a rule between the columns.
    let column = (width - 3) / 2;
    let text = column - 2;
    let mut out = String::new();
    let mut row = |left: (char, &str), right: (char, &str), styles: (Option<Style>, Option<Style>)| {
        let (left_lines, right_lines) = (wrap(left.1, text), wrap(right.1, text));
        for i in 0..left_lines.len().max(right_lines.len()) {
            let part = |mark: char, lines: &[String], style: Option<Style>| {
                let mark = if i == 0 { mark } else { ' ' };
                let body = lines.get(i).map_or("", String::as_str);
                let cell = format!("{mark} {body}");
                let pad = column.saturating_sub(cells(&cell));
                (style.map_or_else(|| cell.clone(), |s| paint.on(s, &cell)), pad)
            };
            let (l, pad) = part(left.0, &left_lines, styles.0);
            let (r, _) = part(right.0, &right_lines, styles.1);
            let line = format!("{l}{:pad$} │ {r}", "");
            out.push_str(line.trim_end());
            out.push('\n');
        }
    };
    row((' ', &escape::text(old)), (' ', &escape::text(new)), (Some(Style::Bold), Some(Style::Bold)));
    for hunk in &diff.hunks {
        let heading = hunk.heading.iter().map(|h| escape::line(h)).collect::<Vec<_>>().join(" / ");
        let position = format!("{} {heading}", hunk.position());
        row((' ', position.trim_end()), (' ', ""), (Some(Style::Hint), None));
        for (left, right) in hunk.side_by_side() {
            let shown = |l: Option<DiffLine<'_>>| l.map(|l| tabs(&escape::line(l.text))).unwrap_or_default();
            let mark = |l: Option<DiffLine<'_>>| match l.map(|l| l.change) {
                Some(Change::Removed) => ('-', Some(Style::Bad)),
                Some(Change::Added) => ('+', Some(Style::Good)),
                Some(Change::Same) | None => (' ', None),
            };
            let ((l, ls), (r, rs)) = (mark(left), mark(right));
            row((l, &shown(left)), (r, &shown(right)), (ls, rs));
        }
    }
    out
}

/// Columns keep their width only without tabs.
fn tabs(line: &str) -> String {
    line.replace('\t', "    ")
}

/// Cells of a terminal that a text takes.
fn cells(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// Cuts a line into parts of at most so many cells; there is at least one.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut used = 0;
    for c in line.chars() {
        let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if used + wide > width {
            parts.push(String::new());
            used = 0;
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
        used += wide;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use devicevault_core::diff::DiffOptions;
    use proptest::prelude::*;

    #[test]
    fn two_columns_show_a_change_beside_what_it_was() {
        let old = b"interface Gi1\n description up\n mtu 1500\n no shutdown\n";
        let new = b"interface Gi1\n description a much longer text\x1b[2J\n mtu 1500\n";
        let diff = Diff::new(old, new, &DiffOptions::default());
        insta::assert_snapshot!(two_columns(&diff, "old", "new", 60, Paint::plain()), @r"
          old                        │   new
          @@ -1,4 +1,3 @@            │
          interface Gi1              │   interface Gi1
        -  description up            │ +  description a much longer
                                     │    text\u{1b}[2J
           mtu 1500                  │    mtu 1500
        -  no shutdown               │
        ");
    }

    proptest! {
        #[test]
        fn wrapped_parts_are_the_line_and_fit(line in ".{0,60}", width in 2usize..20) {
            let line = escape::text(&line);
            let parts = wrap(&line, width);
            prop_assert_eq!(parts.concat(), &*line);
            prop_assert!(parts.iter().all(|p| cells(p) <= width + 1));
        }
    }
}
