//! Control sequences: ECMA-48, section 5.4, and what of the VT100 came before it.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

/// What a sequence does to the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Colours, modes, titles, scrolling.
    Nothing,
    /// Moves left by so many characters.
    Back(usize),
    /// Moves right by so many characters.
    Forward(usize),
    /// Moves to this column, counted from 0.
    Column(usize),
    /// To the end of the line (0), from its beginning (1), all of it (2, 3).
    Erase(usize),
    /// Takes so many characters out.
    Delete(usize),
    /// To the beginning of the next line.
    NextLine,
    /// Takes a line out, wherever the cursor is.
    DeleteLine,
    /// Makes room for a line, wherever the cursor is.
    InsertLine,
    /// To a line above.
    Up,
    /// Remembers where the cursor is.
    Save,
    /// Goes back there.
    Restore,
    /// Asks where the cursor is.
    AskPosition,
    /// Asks what terminal this is.
    AskKind,
}

/// What became of a byte.
#[derive(Debug)]
pub(crate) enum Fed {
    /// The sequence goes on.
    More(Sequence),
    /// It is complete.
    Done(Action),
    /// It is too long to be one; the byte is gone with it.
    Garbled,
    /// The byte is no part of it, and the sequence is over.
    Foreign { garbled: bool },
}

/// A sequence that has begun: an escape was read.
#[derive(Debug, Default)]
pub(crate) enum Sequence {
    /// `ESC`
    #[default]
    Escape,
    /// `ESC (` and the like: one more byte names the character set.
    Designate,
    /// `ESC [` … a letter.
    Control(Control),
    /// Text for the terminal itself, such as a window title, up to BEL or `ESC \`.
    Text { length: usize, escape: bool },
}

/// The parameters so far.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Control {
    /// The first two parameters; no more are of use.
    first: usize,
    second: usize,
    separators: usize,
    private: bool,
    length: usize,
}

const BEL: u8 = 7;
const LF: u8 = b'\n';
const CR: u8 = b'\r';
const ESC: u8 = 27;

/// A longer sequence or title is not one.
const LONGEST: usize = 1024;
/// A cursor is not moved further to the right than this.
pub(crate) const WIDEST: usize = 4096;

impl Sequence {
    /// The next byte.
    pub(crate) fn feed(self, byte: u8) -> Fed {
        match self {
            Self::Escape => escape(byte),
            Self::Designate => Fed::Done(Action::Nothing),
            Self::Control(control) => control.feed(byte),
            Self::Text { length, escape } => match byte {
                BEL => Fed::Done(Action::Nothing),
                b'\\' if escape => Fed::Done(Action::Nothing),
                // No title spans lines: its end was lost.
                LF => Fed::Foreign { garbled: true },
                _ if length > LONGEST => Fed::Garbled,
                _ => Fed::More(Self::Text { length: length + 1, escape: byte == ESC }),
            },
        }
    }
}

fn escape(byte: u8) -> Fed {
    match byte {
        b'[' => Fed::More(Sequence::Control(Control::default())),
        b']' | b'P' | b'X' | b'^' | b'_' => Fed::More(Sequence::Text { length: 0, escape: false }),
        b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/' | b'#' | b'%' | b' ' => Fed::More(Sequence::Designate),
        b'7' => Fed::Done(Action::Save),
        b'8' => Fed::Done(Action::Restore),
        b'E' => Fed::Done(Action::NextLine),
        b'M' => Fed::Done(Action::Up),
        b'Z' => Fed::Done(Action::AskKind),
        ESC => Fed::More(Sequence::Escape),
        // A line end is never part of a sequence.
        LF | CR => Fed::Foreign { garbled: false },
        _ => Fed::Done(Action::Nothing),
    }
}

impl Control {
    fn feed(mut self, byte: u8) -> Fed {
        self.length += 1;
        match byte {
            b'0'..=b'9' if self.separators < 2 => {
                let number = if self.separators == 0 { &mut self.first } else { &mut self.second };
                *number = number.saturating_mul(10).saturating_add(usize::from(byte - b'0')).min(WIDEST);
            }
            b'0'..=b'9' => {}
            b';' | b':' => self.separators += 1,
            b'<'..=b'?' | b' '..=b'/' => self.private = true,
            b'@'..=b'~' if self.private => return Fed::Done(Action::Nothing),
            b'@'..=b'~' => return Fed::Done(self.action(byte)),
            // Not a control sequence after all.
            _ => return Fed::Foreign { garbled: false },
        }
        if self.length < LONGEST { Fed::More(Sequence::Control(self)) } else { Fed::Garbled }
    }

    fn action(self, letter: u8) -> Action {
        let count = self.first.max(1);
        match letter {
            b'D' => Action::Back(count),
            b'C' => Action::Forward(count),
            b'G' | b'`' => Action::Column(count - 1),
            // Of a position the column alone is of use: there is one line.
            b'H' | b'f' => Action::Column(self.second.max(1) - 1),
            b'K' | b'J' => Action::Erase(self.first),
            b'P' => Action::Delete(count),
            b'M' => Action::DeleteLine,
            b'L' => Action::InsertLine,
            b'A' | b'F' => Action::Up,
            b's' => Action::Save,
            b'u' => Action::Restore,
            b'n' if self.first == 6 => Action::AskPosition,
            b'c' if self.first == 0 => Action::AskKind,
            _ => Action::Nothing,
        }
    }
}
