//! Leaving a session, with the questions that a device asks at that.

use std::time::Duration;

use devicevault_core::ErrorKind;
use devicevault_core::text::ShapeRule;
use tokio::time::timeout;

use super::Shell;
use crate::platform;
use crate::refusal::says_no;
use crate::session::answer::Answer;
use crate::session::prompt::Prompt;
use crate::session::screen::Rows;

/// How long a device may take to let us go.
const GOODBYE: Duration = Duration::from_secs(5);

impl Shell {
    /// Logs out. Returns why that did not work, where it did not. [`stray`](Shell::stray) tells of the last answer.
    pub(crate) async fn log_out(&mut self) -> Option<String> {
        let Some(command) = self.rules.logout.clone() else {
            self.stray = false;
            if self.take_late().is_err() {
                self.stray = true;
            }
            return None;
        };
        let unsure = self.by_silence;
        let mut left = Left { heard: false, said: false };
        match timeout(GOODBYE.min(self.limits.inactivity), self.leave(&command, unsure, &mut left)).await {
            Ok(true) => None,
            // A device that stands at its prompt shows what is typed there. One that does not was in the middle of its
            // answer, whatever prompts it drew meanwhile.
            _ if !left.heard && !self.prompt.mute => {
                self.stray = true;
                Some(format!("the device did not react to '{command}'"))
            }
            // Its terminal may have shown it, and nobody read it.
            late => {
                self.stray |= unsure && late.is_err() && !left.said;
                Some(format!("the device did not close the session after '{command}'"))
            }
        }
    }

    /// Whether what was typed last left no mark, and should have.
    fn is_unheard(&self) -> bool {
        !self.prompt.mute && self.answer.as_ref().is_some_and(|a| !a.has_begun())
    }

    /// Until the device closes the session: that is what is wanted, so that it is no error in any step. `false`: it did
    /// not. `unsure`: silence alone told that the last answer was complete.
    async fn leave(&mut self, command: &str, unsure: bool, left: &mut Left) -> bool {
        const MOST_LEVELS: usize = 4;
        for _ in 0..MOST_LEVELS {
            let first = self.stray;
            if let Err(e) = self.start(command, Answer::new(command, &self.prompt, self.rules.echo)).await {
                let unheard = !left.heard && e.kind() == ErrorKind::Timeout && self.is_unheard();
                self.stray |= first || unheard || self.answer.as_ref().is_some_and(Answer::stray);
                return true;
            }
            left.heard |= self.answer.as_ref().is_some_and(|a| !a.doubts().no_echo);
            let mut farewell = Farewell {
                shape: &self.rules.shape,
                prompt: &self.prompt,
                command,
                unsure,
                configuration: 0,
                lines: 0,
                prompts: 0,
            };
            while let Some(begun) = self.answer.as_mut().and_then(Answer::take) {
                begun.split(|b| *b == b'\n').for_each(|line| farewell.line(line));
            }
            loop {
                let current = self.screen.current();
                if let Some(question) = self.rules.logout_questions.iter().find(|q| q.expect.is_match(&current)) {
                    let text = match &question.answer {
                        platform::Answer::Key(text) => text.clone(),
                        platform::Answer::Line(text) => format!("{text}{}", self.rules.line_end),
                        platform::Answer::Credential(_) => return false,
                    };
                    if self.terminal.write(text.into()).await.is_err() {
                        return true;
                    }
                } else if self.prompt.is(&current) {
                    // One level up: privileges were left, not the session.
                    self.stray |= first || farewell.configuration > 0 || unsure && farewell.lines > 0;
                    break;
                }
                match self.terminal.read().await {
                    Ok(Some(bytes)) => {
                        left.said = true;
                        self.screen.feed(&bytes, &mut farewell);
                    }
                    _ => {
                        self.stray |= first || farewell.is_of_answer();
                        return true;
                    }
                }
            }
        }
        false
    }
}

/// How far the farewell came.
struct Left {
    /// The device has shown the command at least once.
    heard: bool,
    /// Something came after that.
    said: bool,
}

/// What is said at a farewell, and nobody reads: unless it is the rest of an answer. A terminal may have shown our command
/// at once, and the device only later have read it, at its prompt.
struct Farewell<'a> {
    shape: &'a ShapeRule,
    prompt: &'a Prompt,
    command: &'a str,
    /// Silence alone told that the answer was complete.
    unsure: bool,
    /// Lines that look like those of a configuration.
    configuration: usize,
    /// Other lines than prompts, and than those that refuse our command.
    lines: usize,
    prompts: usize,
}

/// So many lines of a farewell may look like those of a configuration, where no prompt comes after them.
const MOST_LIKE: usize = 10;

impl Farewell<'_> {
    fn is_of_answer(&self) -> bool {
        let again = self.unsure && self.prompts > 0 && self.lines > 0;
        again || self.configuration >= if self.prompts > 0 { 1 } else { MOST_LIKE }
    }
}

impl Rows for Farewell<'_> {
    fn line(&mut self, text: &[u8]) {
        // Our command behind it: the device read it only now.
        let read = text.trim_ascii_end().strip_suffix(self.command.as_bytes());
        let prompt = self.prompt.is(text) || read.is_some_and(|before| self.prompt.is(before));
        self.prompts += usize::from(prompt);
        // A device may not know the command, and point at it.
        let said = matches!(text.trim_ascii(), b"" | b"^") || says_no(text);
        self.lines += usize::from(!prompt && !said);
        self.configuration += usize::from(self.shape.is_match(text));
    }

    fn part(&mut self, _text: &[u8]) {
        self.configuration += MOST_LIKE;
    }
}
