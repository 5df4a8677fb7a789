//! What the screen tells of an answer.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use super::{Answer, Candidate, MOST_PROMPTS};
use crate::platform::Echo;
use crate::session::screen::Rows;

impl Rows for Answer {
    fn wants_drawn(&self) -> bool {
        !self.echoed
    }

    fn drawn(&mut self, text: &[u8]) {
        self.drawn.clear();
        self.drawn.extend_from_slice(text);
    }

    fn erased(&mut self, text: &[u8]) {
        // While the command is typed, editors draw as they like.
        if self.echoed && !self.doubts.erased {
            let backwards: Vec<u8> = text.iter().rev().copied().collect();
            self.doubts.erased = !self.is_no_text(text) && !self.is_no_text(&backwards);
        }
    }

    fn above(&mut self, text: &[u8]) {
        self.doubts.above |= self.echoed && !self.is_no_text(text);
    }

    fn line(&mut self, line: &[u8]) {
        if !self.echoed && self.is_echo(line) {
            self.echoed = true;
            self.after_echo = true;
            self.candidate = None;
            self.before.clear();
            self.held.clear();
            self.behind.clear();
            self.last.clear();
            self.some_text = false;
            return;
        }
        let Some(line) = self.asked_of_us.without_question(line) else { return };
        if std::mem::take(&mut self.after_echo) {
            // Typed before the device's editor was ready, a command is echoed twice: by the terminal and by the editor.
            let again = line.strip_prefix(self.prompt.text().trim_ascii_end()).unwrap_or(line).trim_ascii_start();
            if again == self.command && !self.command.is_empty() {
                return;
            }
        }
        if self.some_text && !self.command.is_empty() {
            // A terminal had echoed it at once: the device was not at its prompt.
            let read = line.trim_ascii_end().strip_suffix(self.command.as_slice());
            self.doubts.read_late |= read.is_some_and(|before| !before.is_empty() && self.prompt.is(before));
        }
        if let Some(candidate) = &mut self.candidate {
            let expected = match candidate.lines.len() {
                0 => line.trim_ascii_end() == candidate.line.trim_ascii_end(),
                lines => self.prompt.follows(lines, line),
            };
            if expected && self.pending + self.perhaps > 0 && candidate.lines.len() < MOST_PROMPTS {
                candidate.lines.push(line.to_vec());
                return;
            }
            // The line ended where we typed ours: was that its own end, or the echo?
            if candidate.stood && !candidate.lines.is_empty() && self.pending > 0 && self.echo != Echo::WhenRead {
                self.doubts.line_end = true;
            }
            self.drop_candidate();
        }
        if self.pending + self.perhaps > 0 && self.prompt.is(line) {
            // The prompt at which our empty line was read, with the next prompt close behind: or a line of the text.
            let (line, lines) = (line.to_vec(), vec![line.to_vec()]);
            self.candidate = Some(Candidate { line, text: 0, lines, stood: false, seen_at: u64::MAX });
            return;
        }
        self.text(line);
    }

    fn part(&mut self, text: &[u8]) {
        self.drop_candidate();
        self.release();
        let out = if self.echoed { &mut self.out } else { &mut self.before };
        out.extend_from_slice(text);
        self.some_text = true;
    }
}
