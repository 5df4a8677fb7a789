//! Tables for people.

use comfy_table::{Attribute, Cell as Inner, CellAlignment, Color, ContentArrangement, presets};

use super::escape;

/// A cell, escaped when it is made.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

/// What a cell says by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing.
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
    /// Of little weight.
    Dim,
}

impl Cell {
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self { text: escape::text(text.as_ref()).into_owned(), tone: Tone::Plain, right: false }
    }

    /// A dash where there is nothing.
    pub(crate) fn opt(text: Option<impl AsRef<str>>) -> Self {
        text.map_or_else(|| Self::new("-").tone(Tone::Dim), Self::new)
    }

    /// A number or size, aligned to the right.
    pub(crate) fn number(text: impl std::fmt::Display) -> Self {
        Self { right: true, ..Self::new(format!("{text}")) }
    }

    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// Rows under a header, without rules around them: easy to read and to cut apart.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(Vec::from(cells));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text; `width` in columns wraps long cells, `color` lets tones show.
    pub(crate) fn render(self, width: Option<u16>, color: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        if color {
            table.enforce_styling();
        }
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        let right: Vec<bool> = self.rows.first().map(|row| row.iter().map(|c| c.right).collect()).unwrap_or_default();
        let heading = |(i, name): (usize, &&str)| {
            let cell = Inner::new(name.to_uppercase());
            let right = right.get(i).is_some_and(|r| *r);
            let cell = if right { cell.set_alignment(CellAlignment::Right) } else { cell };
            if color { cell.add_attribute(Attribute::Bold) } else { cell }
        };
        table.set_header(self.header.iter().enumerate().map(heading));
        for row in self.rows {
            table.add_row(row.into_iter().map(|cell| {
                let inner = Inner::new(cell.text);
                let inner = if cell.right { inner.set_alignment(CellAlignment::Right) } else { inner };
                match cell.tone {
                    _ if !color => inner,
                    Tone::Plain => inner,
                    Tone::Good => inner.fg(Color::Green),
                    Tone::Warning => inner.fg(Color::Yellow),
                    Tone::Bad => inner.fg(Color::Red),
                    Tone::Dim => inner.add_attribute(Attribute::Dim),
                }
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_plain_without_colour_and_never_lets_control_codes_through() {
        let mut table = Table::new(["device", "size"]);
        table.row([Cell::new("r1\x1b[2J"), Cell::number(5)]);
        table.row([Cell::opt(None::<&str>), Cell::number(12_345)]);
        let plain = table.render(None, false);
        assert_eq!(plain, "DEVICE        SIZE\nr1\\u{1b}[2J      5\n-            12345");
    }
}
