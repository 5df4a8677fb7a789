//! A terminal of one line: applies what devices send to redraw it, and hands over each line as it stood when it ended.
//!
//! Lines above the current one cannot be changed any more, as on paper; what moves the cursor moves it within the line.
//! Control sequences are those of ECMA-48 and the VT100; they may be cut at any byte.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use crate::session::sequence::{Action, Fed, Sequence, WIDEST};

/// Where lines go.
pub(crate) trait Rows {
    /// A line that has ended, without its line end.
    fn line(&mut self, text: &[u8]);
    /// The beginning of a line that is too long to be held; the rest follows.
    fn part(&mut self, text: &[u8]);
    /// Whether [`drawn`](Rows::drawn) is of use.
    fn wants_drawn(&self) -> bool {
        false
    }
    /// Before [`line`](Rows::line): all that was written on it in the order of writing, without blanks, whatever was
    /// moved and erased. An echo that is wrapped or redrawn can be told by it.
    fn drawn(&mut self, _text: &[u8]) {}
    /// Letters or digits, with what stood between them, were shown on the line and taken away: in the order in which they
    /// went, which is backwards where the cursor went back over each.
    fn erased(&mut self, _text: &[u8]) {}
    /// Before [`line`](Rows::line): it was written, or something erased, in the place of a line that was handed over.
    fn above(&mut self, _text: &[u8]) {}
}

/// The current line and the state of the control sequence that is being read.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    line: Vec<u8>,
    cursor: usize,
    saved: usize,
    sequence: Option<Sequence>,
    redrawn: u64,
    garbled: u64,
    ended: u64,
    asked: Option<&'static [u8]>,
    /// A line was taken out of the screen, and nothing was written since.
    scrolled: bool,
    pager: Option<Pager>,
    /// The pager was taken away, and nothing was written since.
    pager_gone: bool,
    /// The pager was taken away, and nothing but blanks was written since: they are part of its erasing.
    erasing: bool,
    /// Something was written behind the pager that was answered, which began there.
    doubtful_pager: Option<usize>,
    mistaken_pagers: u64,
    /// Those of them that a line began with.
    followed_pagers: u64,
    /// Pagers that were answered, and then neither erased nor written over: the line ended behind them.
    ended_pagers: u64,
    /// A letter of the line was written over by something else than itself or a blank.
    overprinted: bool,
    overprinted_lines: u64,
    /// What was written on the line, where that is wanted.
    drawn: Option<Vec<u8>>,
    /// What was taken away since something was last written.
    erased: Vec<u8>,
    above: Above,
}

/// Whether the cursor went to a line above, which is gone from here.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Above {
    #[default]
    No,
    Moved,
    /// And something was written or erased there.
    Changed,
}

/// In a line: a blank by which the device took away what stood there. It shows as a blank where text follows and as
/// nothing at the end of a line. (A NUL that the device sends leaves nothing on a screen and never enters a line.)
const ERASED: u8 = 0;

/// A pager's text that was answered and goes away with the next movement.
#[derive(Debug)]
struct Pager {
    start: usize,
    text: Vec<u8>,
}

const NUL: u8 = 0;
const BEL: u8 = 7;
const BS: u8 = 8;
const LF: u8 = b'\n';
const CR: u8 = b'\r';
const SO: u8 = 14;
const SI: u8 = 15;
const ESC: u8 = 27;

/// The cursor stands in the first line and column.
const POSITION: &[u8] = b"\x1b[1;1R";
/// A VT102.
const KIND: &[u8] = b"\x1b[?6c";

/// A longer line is handed over in parts; what could still be a prompt, a pager or an echo is shorter.
const HELD: usize = 16 * 1024;
const KEPT: usize = 2 * 1024;

impl Screen {
    /// The current line as a terminal shows it.
    pub(crate) fn current(&self) -> Cow<'_, [u8]> {
        let shown = self.line.iter().rposition(|b| *b != ERASED).map_or(0, |last| last + 1).max(self.cursor);
        let line = self.line.get(..shown).unwrap_or(&self.line);
        if memchr(ERASED, line).is_none() {
            return Cow::Borrowed(line);
        }
        Cow::Owned(line.iter().map(|b| if *b == ERASED { b' ' } else { *b }).collect())
    }

    /// Grows with everything that is not merely appended to the line: the line has ended, or was redrawn.
    pub(crate) fn redrawn(&self) -> u64 {
        self.redrawn
    }

    /// What a terminal would answer to what the device has asked it since the last time.
    pub(crate) fn answer_due(&mut self) -> Option<&'static [u8]> {
        self.asked.take()
    }

    /// How many lines have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// How often something was read that cannot have been meant.
    pub(crate) fn garbled(&self) -> u64 {
        self.garbled
    }

    /// Forgets the current line: it was dealt with.
    pub(crate) fn forget_line(&mut self) {
        self.line.clear();
        self.cursor = 0;
        self.redrawn += 1;
        self.overprinted = false;
        self.erased.clear();
    }

    /// How many lines were answered as pagers and turned out to be text.
    pub(crate) fn mistaken_pagers(&self) -> u64 {
        self.mistaken_pagers
    }

    /// How many of them had the pager at their beginning: no line of a text begins so.
    pub(crate) fn followed_pagers(&self) -> u64 {
        self.followed_pagers
    }

    /// How many lines were answered as pagers, taken away, and may have been text: the device did not.
    pub(crate) fn ended_pagers(&self) -> u64 {
        self.ended_pagers
    }

    /// How many lines ended of which letters had been written over: on paper both would stand there, and which of them
    /// the device meant is a guess. Counters and dials that turn in their place are not among them.
    pub(crate) fn overprinted_lines(&self) -> u64 {
        self.overprinted_lines
    }

    /// The text from `start` to the end of the current line is a pager that has been answered.
    pub(crate) fn answered_pager(&mut self, start: usize) {
        self.doubtful_pager = None;
        let text = self.line.get(start..).unwrap_or_default().to_vec();
        self.pager = Some(Pager { start, text });
    }

    /// Bytes as they come from the device.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], rows: &mut impl Rows) {
        match rows.wants_drawn() {
            true if self.drawn.is_none() => self.drawn = Some(without_blanks(&self.line).collect()),
            true => {}
            false => self.drawn = None,
        }
        while let Some(&byte) = bytes.first() {
            if let Some(sequence) = self.sequence.take() {
                match sequence.feed(byte) {
                    Fed::More(sequence) => self.sequence = Some(sequence),
                    Fed::Done(action) => self.apply(action, rows),
                    Fed::Garbled => self.garbled += 1,
                    Fed::Foreign { garbled } => {
                        // It does not belong to the sequence and is read again, as text.
                        self.garbled += u64::from(garbled);
                        continue;
                    }
                }
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            if self.line.is_empty()
                && self.cursor == 0
                && self.pager.is_none()
                && !self.pager_gone
                && self.drawn.is_none()
                && self.erased.is_empty()
                && self.above == Above::No
            {
                bytes = self.whole_lines(bytes, rows);
            }
            let run = bytes.iter().position(|b| is_control(*b)).unwrap_or(bytes.len());
            let (text, rest) = bytes.split_at_checked(run).unwrap_or((bytes, &[]));
            self.write(text, rows);
            bytes = rest;
            if let Some((&control, rest)) = bytes.split_first() {
                self.control(control, rows);
                bytes = rest;
            }
        }
    }

    /// The fast way: lines that are in the chunk from end to end and hold nothing to apply.
    fn whole_lines<'a>(&mut self, mut bytes: &'a [u8], rows: &mut impl Rows) -> &'a [u8] {
        while let Some(end) = memchr(LF, bytes) {
            let Some((line, rest)) = bytes.split_at_checked(end) else { break };
            let mut text = line;
            while let Some(shorter) = text.strip_suffix(b"\r") {
                text = shorter;
            }
            if !is_plain(text) {
                break;
            }
            rows.line(text);
            self.redrawn += 1;
            self.ended += 1;
            bytes = rest.get(1..).unwrap_or_default();
        }
        bytes
    }

    fn write(&mut self, text: &[u8], rows: &mut impl Rows) {
        if text.is_empty() {
            return;
        }
        self.scrolled = false;
        self.change_above();
        if let Some(drawn) = self.drawn.as_mut().filter(|d| d.len() < HELD) {
            drawn.extend(without_blanks(text));
        }
        if !text.iter().all(|b| *b == b' ') {
            self.tell_erased(rows);
        }
        if self.cursor > self.line.len() {
            self.line.resize(self.cursor, b' ');
        }
        if self.cursor == self.line.len() {
            self.pager_gone = false;
            match &mut self.pager {
                Some(pager) if text.iter().all(|b| *b == b' ') => pager.text.extend_from_slice(text),
                // More of it, or a line that goes on behind it: then it was no pager.
                Some(pager) => {
                    self.doubtful_pager = Some(pager.start);
                    self.pager = None;
                }
                None => {}
            }
            if self.erasing && text.iter().all(|b| *b == b' ') {
                self.line.resize(self.line.len() + text.len(), ERASED);
            } else {
                self.erasing = false;
                self.line.extend_from_slice(text);
            }
            self.cursor = self.line.len();
            if self.line.len() > HELD {
                let part = self.line.len() - KEPT;
                let mut begun: Vec<u8> = self.line.drain(..part).collect();
                show(&mut begun);
                rows.part(&begun);
                self.cursor = self.line.len();
                self.saved = self.saved.saturating_sub(part);
                self.pager = None;
            }
            return;
        }
        self.pager_gone = false;
        self.erasing &= text.iter().all(|b| *b == b' ');
        for byte in text {
            self.overwrite(*byte);
        }
    }

    /// One byte over what stands at the cursor: a character goes as a whole, whatever its length in UTF-8.
    fn overwrite(&mut self, byte: u8) {
        if byte & 0xC0 == 0x80 && self.unfinished_before_cursor() {
            self.line.insert(self.cursor.min(self.line.len()), byte);
        } else {
            let here = character(self.line.get(self.cursor..).unwrap_or_default());
            let byte = if byte == b' ' && (here > 0 || self.erasing) { ERASED } else { byte };
            let was = self.line.get(self.cursor).copied().unwrap_or(ERASED);
            self.overprinted |= byte != ERASED && byte != was && (was.is_ascii_alphabetic() || here > 1);
            if byte == ERASED {
                self.take_away(self.cursor..self.cursor + here);
            }
            match here {
                0 => self.line.push(byte),
                1 => {
                    if let Some(cell) = self.line.get_mut(self.cursor) {
                        *cell = byte;
                    }
                }
                n => {
                    let end = (self.cursor + n).min(self.line.len());
                    self.line.splice(self.cursor..end, [byte]);
                }
            }
        }
        self.cursor += 1;
    }

    /// Whether the bytes before the cursor begin a UTF-8 character that the next byte goes on with.
    fn unfinished_before_cursor(&self) -> bool {
        let before = self.line.get(..self.cursor).unwrap_or_default();
        let tail = before.iter().rev().take_while(|b| **b & 0xC0 == 0x80).count();
        let lead = before.iter().rev().nth(tail).copied().unwrap_or(0);
        tail < 3 && length_by_lead(lead) > tail + 1
    }

    fn control(&mut self, byte: u8, rows: &mut impl Rows) {
        match byte {
            LF => self.end_line(rows),
            CR => self.move_to(0),
            BS => self.back(1),
            ESC => self.sequence = Some(Sequence::default()),
            // Bell, character set shifts and padding leave nothing on a screen.
            NUL | BEL | SO | SI => {}
            _ => {}
        }
    }

    fn end_line(&mut self, rows: &mut impl Rows) {
        self.tell_erased(rows);
        self.redrawn += 1;
        self.ended += 1;
        if let Some(start) = self.doubtful_pager.take() {
            self.mistaken_pagers += 1;
            self.followed_pagers += u64::from(start == 0);
        }
        if std::mem::take(&mut self.above) == Above::Changed {
            rows.above(&self.line);
        }
        if let Some(pager) = self.pager.take() {
            let end = pager.start + pager.text.len();
            if self.line.get(pager.start..end) == Some(pager.text.as_slice()) {
                self.line.drain(pager.start..end);
                self.pager_gone = true;
            }
        }
        self.erasing = false;
        let end = self.line.iter().rposition(|b| *b != ERASED).map_or(0, |last| last + 1);
        self.line.truncate(end);
        // What is typed is redrawn as it comes.
        self.overprinted_lines += u64::from(std::mem::take(&mut self.overprinted) && self.drawn.is_none());
        let pager_ended = std::mem::take(&mut self.pager_gone);
        self.ended_pagers += u64::from(pager_ended);
        // A pager on a line of its own is no line of the text.
        if !(pager_ended && self.line.is_empty()) {
            show(&mut self.line);
            if let Some(drawn) = &self.drawn {
                rows.drawn(drawn);
            }
            rows.line(&self.line);
        }
        self.drawn = rows.wants_drawn().then(Vec::new);
        self.line.clear();
        self.cursor = 0;
    }

    fn move_to(&mut self, column: usize) {
        self.redrawn += 1;
        if let Some(pager) = self.pager.take() {
            // Its place stays: what the device writes there to erase it is no text either.
            self.line.iter_mut().skip(pager.start).for_each(|b| *b = ERASED);
            self.pager_gone = true;
            self.erasing = true;
        }
        self.cursor = column.min(self.line.len().max(WIDEST));
    }

    fn back(&mut self, characters: usize) {
        let mut at = self.cursor;
        for _ in 0..characters.min(WIDEST) {
            let before = self.line.get(..at).unwrap_or_default();
            let tail = before.iter().rev().take(3).take_while(|b| **b & 0xC0 == 0x80).count();
            let start = before.len().saturating_sub(tail + 1);
            let whole =
                at <= self.line.len() && tail > 0 && character(before.get(start..).unwrap_or_default()) == tail + 1;
            at = at.saturating_sub(if whole { tail + 1 } else { 1 });
        }
        self.move_to(at);
    }

    fn forward(&mut self, characters: usize) {
        let mut at = self.cursor;
        for _ in 0..characters.min(WIDEST) {
            at += character(self.line.get(at..).unwrap_or_default()).max(1);
        }
        self.move_to(at);
    }

    fn apply(&mut self, action: Action, rows: &mut impl Rows) {
        match action {
            Action::Nothing => {}
            Action::Back(characters) => self.back(characters),
            Action::Forward(characters) => self.forward(characters),
            Action::Column(column) => self.move_to(column),
            Action::Erase(which) => self.erase(which),
            Action::Delete(characters) => self.delete(characters),
            Action::NextLine => self.end_line(rows),
            Action::DeleteLine => self.scrolled = true,
            // Out with the top line, in with one at the bottom: what a line feed does there.
            Action::InsertLine => {
                if std::mem::take(&mut self.scrolled) && !self.line.is_empty() {
                    self.end_line(rows);
                }
            }
            Action::Up => {
                self.redrawn += 1;
                self.above = Above::Moved;
            }
            Action::Save => self.saved = self.cursor,
            Action::Restore => self.move_to(self.saved),
            Action::AskPosition => self.asked = Some(POSITION),
            Action::AskKind => self.asked = Some(KIND),
        }
    }

    /// To the end of the line (0), from its beginning (1), all of it (2, 3).
    fn erase(&mut self, which: usize) {
        self.change_above();
        let at = self.cursor;
        self.move_to(at);
        self.pager_gone = false;
        self.overprinted &= which == 0;
        match which {
            0 => {
                self.take_away(self.cursor..self.line.len());
                self.line.truncate(self.cursor);
            }
            1 => {
                let end = (self.cursor + 1).min(self.line.len());
                self.take_away(0..end);
                if let Some(cells) = self.line.get_mut(..end) {
                    cells.fill(ERASED);
                }
            }
            _ => {
                self.take_away(0..self.line.len());
                self.line.clear();
            }
        }
    }

    fn change_above(&mut self) {
        if self.above == Above::Moved {
            self.above = Above::Changed;
        }
    }

    /// These cells are about to be erased.
    fn take_away(&mut self, cells: Range<usize>) {
        let text = self.line.get(cells).unwrap_or_default().iter().filter(|b| **b != ERASED);
        let room = HELD.saturating_sub(self.erased.len());
        self.erased.extend(text.take(room));
    }

    fn tell_erased(&mut self, rows: &mut impl Rows) {
        if self.erased.is_empty() {
            return;
        }
        // Dials that turn, and marks of the terminal's, are no text.
        if self.erased.iter().any(|b| b.is_ascii_alphanumeric() || *b >= 0x80) {
            rows.erased(&self.erased);
        }
        self.erased.clear();
    }

    fn delete(&mut self, count: usize) {
        self.redrawn += 1;
        let end = (self.cursor.saturating_add(count)).min(self.line.len());
        if self.cursor < end {
            self.take_away(self.cursor..end);
            self.line.drain(self.cursor..end);
        }
    }
}

/// The line that the cursor stands on when all this was sent.
pub(crate) fn last_line(sent: &[u8]) -> Vec<u8> {
    struct Nowhere;
    impl Rows for Nowhere {
        fn line(&mut self, _text: &[u8]) {}
        fn part(&mut self, _text: &[u8]) {}
    }
    let mut screen = Screen::default();
    screen.feed(sent, &mut Nowhere);
    screen.current().into_owned()
}

/// Turns blanks that erased something into blanks.
fn show(line: &mut [u8]) {
    line.iter_mut().filter(|b| **b == ERASED).for_each(|b| *b = b' ');
}

fn without_blanks(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().copied().filter(|b| !matches!(*b, b' ' | b'\t' | ERASED))
}

fn is_control(byte: u8) -> bool {
    matches!(byte, NUL | BEL | BS | LF | CR | SO | SI | ESC)
}

/// Whether nothing in it is to be applied. Written so that it is compared many bytes at a time.
fn is_plain(text: &[u8]) -> bool {
    let printable = text.iter().fold(true, |all, b| all & (*b >= b' '));
    printable || !text.iter().any(|b| is_control(*b))
}

/// Length in bytes of the character at the beginning: of UTF-8 where it is, else one byte.
fn character(text: &[u8]) -> usize {
    let Some(&lead) = text.first() else { return 0 };
    let length = length_by_lead(lead);
    let whole = text.get(1..length).is_some_and(|tail| tail.iter().all(|b| b & 0xC0 == 0x80));
    if whole { length } else { 1 }
}

fn length_by_lead(lead: u8) -> usize {
    match lead {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
