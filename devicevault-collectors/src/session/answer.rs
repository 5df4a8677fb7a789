//! When the answer to a command is complete, and which of its bytes are certain.
//!
//! A line that looks like the prompt ends nothing. The prompt has to stand at the very end of what has come, after the
//! echo of the command; then an empty line is typed, and only if exactly the prompt comes back was the answer complete.
//! If anything else comes, the line was part of the text: it is put back, and the answer to the empty line, which is
//! still to come, counts as the confirmation of the prompt that it follows.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod rows;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use regex::bytes::Regex;

use super::doubts::Doubts;
use super::prompt::Prompt;
use super::question::Asked;
use crate::platform::{Confirm, Echo};

/// What the session is to do now that nothing more has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for more.
    Wait,
    /// The prompt stands at the end: wait, and take the answer for complete when nothing more comes.
    WaitQuietly,
    /// Answer the pager, whose text begins there on the current line.
    Space(usize),
    /// Wait: the pager that begins there was answered.
    Answered(usize),
    /// Type an empty line.
    EmptyLine,
    /// A question of the answer's own stands there, and how often it has come.
    Reply { question: usize, times: u32 },
    /// The answer is complete.
    Complete,
}

/// Rules that hold for every answer of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) pager: &'a Regex,
    pub(crate) confirm: Confirm,
}

/// The answer to one command, while it comes.
#[derive(Debug)]
pub(crate) struct Answer {
    command: Vec<u8>,
    prompt: Prompt,
    echoed: bool,
    after_echo: bool,
    /// Lines before the echo: left over from an earlier answer, or the text of a device that does not echo.
    before: BytesMut,
    before_squeezed: Vec<u8>,
    drawn: Vec<u8>,
    before_prompts: usize,
    before_text: bool,
    late_prompts: usize,
    stray: bool,
    out: BytesMut,
    /// Lines that may be the first ones of a prompt of several.
    held: VecDeque<Vec<u8>>,
    /// A line that is the prompt, and what of the log stood behind it so far.
    behind: Vec<Vec<u8>>,
    /// An empty line was typed to see whether that prompt still stands.
    asked_behind: bool,
    /// And another one, at the prompt that came.
    made_sure: bool,
    some_text: bool,
    last: Vec<u8>,
    candidate: Option<Candidate>,
    /// Empty lines of ours that are still to be answered by a prompt each.
    pending: usize,
    /// Empty lines that a pager may have taken.
    perhaps: usize,
    asked: usize,
    unanswered: usize,
    spaces: usize,
    paged_at: Option<u64>,
    nudged_at: Option<u64>,
    doubts: Doubts,
    echo: Echo,
    /// An empty answer needs no confirmation.
    brief: bool,
    end_marker: Option<Arc<Regex>>,
    pager: Option<Arc<Regex>>,
    messages: Option<Arc<[Regex]>>,
    asked_of_us: Asked,
    /// How often the screen had been redrawn when the command was typed.
    typed_at: u64,
    complete: bool,
}

/// A prompt that may be the end of the answer.
#[derive(Debug)]
struct Candidate {
    /// The line as it stood.
    line: Vec<u8>,
    /// What of it is text: output without a line end at its end.
    text: usize,
    /// Those of the lines that are expected after it which have come, its own among them.
    lines: Vec<Vec<u8>>,
    /// It stood at the very end when our empty line was typed.
    stood: bool,
    /// How often the screen had been redrawn then.
    seen_at: u64,
}

/// How often an empty line is typed again that nothing came back for.
const MOST_ASKED: usize = 2;
/// More lines than these are not held back, whatever they say.
const MOST_PROMPTS: usize = 64;
/// And no more of a log behind a prompt.
const MOST_BEHIND: usize = 32;
/// Without an echo after so many bytes there is none.
const MOST_BEFORE_ECHO: usize = 64 * 1024;

impl Answer {
    /// The answer to `command`, which is being sent.
    pub(crate) fn new(command: &str, prompt: &Prompt, echo: Echo) -> Self {
        Self {
            command: command.as_bytes().to_vec(),
            prompt: prompt.clone(),
            // Where nothing is shown of what is typed, no echo is to be waited for.
            echoed: prompt.mute,
            after_echo: false,
            before: BytesMut::new(),
            before_squeezed: Vec::new(),
            drawn: Vec::new(),
            before_prompts: 0,
            before_text: false,
            late_prompts: 0,
            stray: false,
            out: BytesMut::new(),
            held: VecDeque::new(),
            behind: Vec::new(),
            asked_behind: false,
            made_sure: false,
            some_text: false,
            last: Vec::new(),
            candidate: None,
            pending: 0,
            perhaps: 0,
            asked: 0,
            unanswered: 0,
            spaces: 0,
            paged_at: None,
            nudged_at: None,
            doubts: Doubts { no_echo: prompt.mute, ..Doubts::default() },
            echo,
            brief: false,
            end_marker: None,
            pager: None,
            messages: None,
            asked_of_us: Asked::default(),
            typed_at: u64::MAX,
            complete: false,
        }
    }

    /// The command was typed when the screen had been redrawn so often.
    pub(crate) fn typed_at(mut self, redrawn: u64) -> Self {
        self.typed_at = redrawn;
        self
    }

    /// What the device may ask before it answers.
    pub(crate) fn asking(mut self, questions: Asked) -> Self {
        self.asked_of_us = questions;
        self
    }

    /// What the device may ask before it answers.
    pub(crate) fn questions(&self) -> &Asked {
        &self.asked_of_us
    }

    /// A last line that no text goes on after: where no empty line may be typed, the prompt after it is not waited at.
    pub(crate) fn ends_with(mut self, marker: Option<Arc<Regex>>) -> Self {
        self.end_marker = marker;
        self
    }

    /// What a pager looks like: the device may erase it before it was answered.
    pub(crate) fn paged_by(mut self, pager: Arc<Regex>) -> Self {
        self.pager = Some(pager);
        self
    }

    /// What lines of a log look like: they may come behind the prompt that ends the answer.
    pub(crate) fn logged_by(mut self, messages: Arc<[Regex]>) -> Self {
        self.messages = Some(messages);
        self
    }

    /// So many prompts may still come that answer empty lines of earlier on.
    pub(crate) fn after_prompts(mut self, count: usize) -> Self {
        self.late_prompts = count;
        self
    }

    /// How many prompts may still come after it is complete.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// An answer without text needs no confirmation.
    pub(crate) fn brief(mut self) -> Self {
        self.brief = true;
        self
    }

    /// Whether the echo has come, or it is clear that none will.
    pub(crate) fn has_begun(&self) -> bool {
        self.echoed || self.complete
    }

    /// Whether nothing more belongs to it.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether something other than the prompt stood before the echo.
    pub(crate) fn stray(&self) -> bool {
        self.stray
    }

    /// Text that is certain and was not taken yet.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        (self.has_begun() && !self.out.is_empty()).then(|| self.out.split().freeze())
    }

    /// Bytes that [`take`](Answer::take) would give.
    pub(crate) fn ready(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn doubts(&self) -> Doubts {
        self.doubts
    }

    /// Nothing more has come: what now? `current` is the line that the cursor stands on; how often the screen was redrawn
    /// and how many lines have ended tell whether it is the same as before.
    pub(crate) fn at_rest(&mut self, rules: Rules<'_>, current: &[u8], (redrawn, ended): (u64, u64)) -> Next {
        if let Some((question, times)) = self.asked_of_us.at(current, ended) {
            self.drop_candidate();
            return Next::Reply { question, times };
        }
        if let Some(found) = at_end(rules.pager, current) {
            // The same pager is answered once, even where its text comes in pieces.
            if self.paged_at == Some(redrawn) {
                return Next::Answered(found);
            }
            self.paged_at = Some(redrawn);
            self.spaces += 1;
            self.drop_candidate();
            self.perhaps += std::mem::take(&mut self.pending);
            return Next::Space(found);
        }
        let Some(text) = self.prompt_at_end(current) else {
            // The log may have pushed the prompt up, and it is not drawn anew: it comes again where an empty line is typed.
            let pushed_up = current.trim_ascii().is_empty() && self.logged_behind() && !self.asked_behind;
            if pushed_up && rules.confirm == Confirm::EmptyLine && self.pending + self.perhaps == 0 {
                self.asked_behind = true;
                self.pending += 1;
                return Next::EmptyLine;
            }
            return self.prompt_twice(current);
        };
        if let Some(candidate) = &self.candidate {
            let answered = !candidate.lines.is_empty() && candidate.lines.len() % (1 + self.prompt.between.len()) == 0;
            if text == 0 && (answered || (self.prompt.mute && candidate.stood)) {
                return self.completed();
            }
            if candidate.line.trim_ascii_end() == current.trim_ascii_end() && candidate.lines.is_empty() {
                let again = self.prompt.in_place && redrawn > candidate.seen_at;
                return if again || rules.confirm == Confirm::Quiet { Next::WaitQuietly } else { Next::Wait };
            }
            if text == 0 && !candidate.lines.is_empty() {
                // The lines between two prompts are still to come.
                return Next::Wait;
            }
            self.drop_candidate();
        }
        // A device that has nothing to say may draw its prompt anew over the command, without an echo.
        let anew = text == 0 && redrawn > self.typed_at && (self.brief || rules.confirm == Confirm::EmptyLine);
        let expected = self.echoed || !self.before.is_empty() || anew;
        if !expected {
            return Next::Wait;
        }
        // A marker and a prompt may both be lines of the text: where an empty line can tell, it is asked.
        let marked =
            rules.confirm == Confirm::Quiet && self.end_marker.as_ref().is_some_and(|m| m.is_match(&self.last));
        let nothing = self.brief && !self.some_text;
        if self.echoed && text == 0 && self.pending == 0 && (marked || nothing) {
            return self.completed();
        }
        // Behind the log one prompt answers the empty line that it was called by: the next one makes sure of it.
        let unsure = self.pending > 0 && self.logged_behind() && !std::mem::replace(&mut self.made_sure, true);
        let line = current.to_vec();
        self.candidate = Some(Candidate { line, text, lines: Vec::new(), stood: true, seen_at: redrawn });
        match rules.confirm {
            Confirm::Quiet => Next::WaitQuietly,
            _ if self.pending > 0 && !self.prompt.mute && !unsure => Next::Wait,
            Confirm::EmptyLine | Confirm::Learned => {
                self.pending += 1;
                Next::EmptyLine
            }
        }
    }

    /// Nothing more has come for a long time: whether a pager may have taken no notice of our space, or was not seen
    /// because the device went on drawing over it. Another space does no harm at a prompt either.
    pub(crate) fn page_again(&mut self, redrawn: u64) -> bool {
        let again = self.spaces > 0 && self.candidate.is_none() && self.nudged_at.replace(redrawn) != Some(redrawn);
        self.spaces += usize::from(again);
        again
    }

    /// Nothing more has come for a long time: whether that is so because the prompt was drawn anew and no echo, no text
    /// will come.
    pub(crate) fn is_over(&mut self, current: &[u8], redrawn: u64) -> bool {
        let anew = !self.has_begun() && self.before.is_empty() && redrawn > self.typed_at;
        let over = anew && self.candidate.is_none() && self.prompt.is(current);
        if over {
            self.completed();
        }
        over
    }

    /// Nothing more came for long enough after [`Next::WaitQuietly`].
    pub(crate) fn stayed_quiet(&mut self) {
        self.completed();
    }

    /// The device may have thrown our empty line away: another one does no harm. `false`: none is awaited.
    pub(crate) fn ask_again(&mut self, confirm: Confirm) -> bool {
        let again =
            self.candidate.is_some() && self.pending > 0 && confirm == Confirm::EmptyLine && self.asked < MOST_ASKED;
        if again {
            self.asked += 1;
            self.pending += 1;
        }
        again
    }

    /// Tells echo and text apart for good once the device is known not to echo.
    pub(crate) fn settle(&mut self) {
        if !self.echoed && (self.complete || self.before.len() > MOST_BEFORE_ECHO) {
            self.without_echo();
        }
    }

    fn completed(&mut self) -> Next {
        if !self.echoed {
            self.without_echo();
        }
        let typed = self.pending + self.perhaps;
        let mut answered = 0;
        if let Some(candidate) = self.candidate.take() {
            let each = 1 + self.prompt.between.len();
            let prompts = candidate.lines.len() / each;
            answered = prompts.min(typed);
            // More prompts than empty lines: the first ones were lines of the text.
            let surplus = (prompts - answered) * each;
            candidate.lines.iter().take(surplus).for_each(|line| self.text(line));
            self.doubts.line_end |= prompts > self.pending && self.perhaps > 0;
            if surplus == 0 && candidate.text == 0 && self.prompt.begins_with(&self.held) {
                self.held.clear();
            }
            if surplus == 0 && candidate.text == 0 && self.logged_behind() {
                self.behind.clear();
            }
            self.release();
            if surplus == 0 {
                // Output that ended without a line end stands before the prompt.
                self.out.extend_from_slice(candidate.line.get(..candidate.text).unwrap_or_default());
            }
        }
        self.release();
        self.unanswered = typed - answered;
        self.complete = true;
        Next::Complete
    }

    /// A terminal that echoed our empty line into the text at once shows the next two prompts side by side.
    fn prompt_twice(&mut self, current: &[u8]) -> Next {
        let first = self.prompt.at_end_of(current).filter(|text| *text > 0).and_then(|text| current.get(..text));
        let twice = first.is_some_and(|first| self.prompt.is(first));
        if self.pending + self.perhaps == 0 || !twice {
            return Next::Wait;
        }
        self.doubts.line_end = true;
        self.candidate = None;
        self.completed()
    }

    /// Where the prompt begins on a line that ends in it. Spaces that no pager took stand after it.
    fn prompt_at_end(&self, current: &[u8]) -> Option<usize> {
        let prompt = &self.prompt;
        let text = prompt.at_end_of(current)?;
        let typed = self.pending + self.perhaps > 0;
        let twice = text > 0 && typed && current.get(..text).is_some_and(|first| prompt.is(first));
        (!twice).then_some(text)
    }

    /// Whether what was erased is no text of the answer: a pager, the prompt, or the command behind it.
    fn is_no_text(&self, erased: &[u8]) -> bool {
        // It may stand behind the blanks that a line before it left.
        let pager = erased.trim_ascii_start();
        if self.pager.as_ref().is_some_and(|p| at_end(p, pager) == Some(0)) {
            return true;
        }
        let squeezed = |text: &[u8]| without_blanks(text);
        let (prompt, command) = (squeezed(self.prompt.text()), squeezed(&self.command));
        let mut rest = squeezed(erased);
        let behind = loop {
            match rest.strip_prefix(prompt.as_slice()).filter(|_| !prompt.is_empty()) {
                Some(next) => rest = next.to_vec(),
                None => break rest,
            }
        };
        self.prompt.is(erased) || (behind.len() < squeezed(erased).len() && command.starts_with(&behind))
    }

    fn is_echo(&mut self, line: &[u8]) -> bool {
        let squeezed = without_blanks;
        let drawn = std::mem::take(&mut self.drawn);
        self.before_squeezed.extend(squeezed(line));
        // Before the prompt that it was typed at, those may stand that answer empty lines of earlier on.
        if let Some(prompt) = line.trim_ascii_end().strip_suffix(self.command.as_slice())
            && (prompt.is_empty() || self.prompt.is(prompt))
        {
            self.stray = self.before_text || self.before_prompts > self.late_prompts;
            return true;
        }
        // Wrapped at the width of the terminal, or redrawn: without blanks it is the same.
        let command = squeezed(&self.command);
        for seen in [&self.before_squeezed, &drawn] {
            let Some(before) = seen.strip_suffix(command.as_slice()).filter(|_| !command.is_empty()) else { continue };
            let prompts = prompts(before, &squeezed(self.prompt.text()));
            self.stray = prompts.is_none_or(|n| n > 1 + self.late_prompts);
            return true;
        }
        let surplus = self.before_squeezed.len().saturating_sub(4096);
        self.before_squeezed.drain(..surplus);
        if self.prompt.is(line) {
            self.before_prompts += 1;
        } else {
            self.before_text |= !line.trim_ascii().is_empty();
        }
        false
    }

    /// The device does not echo: what came is all text, save the prompt that the command was typed at.
    fn without_echo(&mut self) {
        self.release();
        self.echoed = true;
        self.doubts.no_echo = true;
        let before = self.before.split();
        let text = match before.strip_prefix(self.prompt.text().trim_ascii_end()) {
            // The line that the command was typed on, with nothing to be seen of it.
            Some(text) => {
                let blanks = text.iter().take_while(|b| **b == b' ').count();
                text.get(blanks..).and_then(|t| t.strip_prefix(b"\n")).unwrap_or(text)
            }
            None => &before,
        };
        self.out.extend_from_slice(text);
    }

    /// The candidate was none: its line belongs to the text.
    fn drop_candidate(&mut self) {
        let Some(candidate) = self.candidate.take() else { return };
        candidate.lines.iter().for_each(|line| self.text(line));
    }

    /// Whether the last lines are the prompt and the log behind it.
    fn logged_behind(&self) -> bool {
        self.behind.iter().skip(1).any(|line| self.is_message(line))
    }

    fn is_message(&self, line: &[u8]) -> bool {
        self.messages.iter().flat_map(|m| m.iter()).any(|m| m.is_match(line))
    }

    /// Holds a line back that may be the prompt which ends the answer, or of the log behind it.
    fn holds_behind(&mut self, line: &[u8]) -> bool {
        let goes_on = !self.behind.is_empty()
            && self.behind.len() < MOST_BEHIND
            && (line.trim_ascii().is_empty() || self.is_message(line));
        if !goes_on {
            // The text goes on where an empty line was typed, which may have been echoed into it.
            self.doubts.line_end |= !self.behind.is_empty() && self.asked_behind && self.echo != Echo::WhenRead;
            self.release_behind();
        }
        let holds = goes_on || self.echoed && self.prompt.first_lines() == 0 && self.prompt.is(line);
        if holds {
            self.behind.push(line.to_vec());
        }
        holds
    }

    fn release_behind(&mut self) {
        for line in std::mem::take(&mut self.behind) {
            self.whole(&line);
            self.ends_in(&line);
        }
    }

    /// Lines that were held back are text.
    fn release(&mut self) {
        self.release_behind();
        while !self.held.is_empty() {
            self.release_one();
        }
    }

    fn release_one(&mut self) {
        if let Some(line) = self.held.pop_front() {
            self.whole(&line);
        }
    }

    fn whole(&mut self, line: &[u8]) {
        let out = if self.echoed { &mut self.out } else { &mut self.before };
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
    }

    fn text(&mut self, line: &[u8]) {
        self.some_text = true;
        if self.holds_behind(line) {
            return;
        }
        if self.prompt.first_lines() == 0 {
            self.whole(line);
        } else {
            self.held.push_back(line.to_vec());
            while self.held.len() > self.prompt.first_lines() {
                self.release_one();
            }
        }
        self.ends_in(line);
    }

    fn ends_in(&mut self, line: &[u8]) {
        if !line.trim_ascii().is_empty() {
            self.last.clear();
            self.last.extend_from_slice(line.get(..256).unwrap_or(line));
        }
    }
}

fn without_blanks(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect()
}

/// How many prompts squeezed text consists of; nothing where it is anything else.
fn prompts(mut text: &[u8], prompt: &[u8]) -> Option<usize> {
    let mut count = 0;
    while let Some(rest) = text.strip_prefix(prompt).filter(|_| !prompt.is_empty()) {
        text = rest;
        count += 1;
    }
    text.is_empty().then_some(count)
}

/// Whether a line is a pager and nothing else.
pub(crate) fn is_pager(pager: &Regex, line: &[u8]) -> bool {
    at_end(pager, line) == Some(0)
}

/// Where a pager begins that the line ends in.
pub(crate) fn at_end(pager: &Regex, line: &[u8]) -> Option<usize> {
    const LONGEST: usize = 200;
    let from = line.len().saturating_sub(LONGEST);
    let found = pager.find(line.get(from..)?)?;
    let start = from + found.start();
    // Blanks that a line begins with are the pager's own.
    let indented = line.get(..start)?.iter().all(|b| *b == b' ');
    Some(if indented { 0 } else { start })
}
