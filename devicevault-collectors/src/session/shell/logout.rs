//! Leaving a session, with the questions that a device asks at that.

use std::time::Duration;

use tokio::time::timeout;

use super::Shell;
use crate::platform;
use crate::session::answer::Answer;
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
        match timeout(GOODBYE.min(self.limits.inactivity), self.leave(&command)).await {
            Ok(true) => None,
            _ => Some(format!("the device did not close the session after '{command}'")),
        }
    }

    /// Until the device closes the session: that is what is wanted, so that it is no error in any step. `false`: it did
    /// not.
    async fn leave(&mut self, command: &str) -> bool {
        const MOST_LEVELS: usize = 4;
        for _ in 0..MOST_LEVELS {
            let first = self.stray;
            if self.start(command, Answer::new(command, &self.prompt, self.rules.echo)).await.is_err() {
                self.stray |= first || self.answer.as_ref().is_some_and(Answer::stray);
                return true;
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
                    break;
                }
                match self.terminal.read().await {
                    Ok(Some(bytes)) => self.screen.feed(&bytes, &mut Nowhere),
                    _ => return true,
                }
            }
        }
        false
    }
}

/// For what nobody reads.
struct Nowhere;

impl Rows for Nowhere {
    fn line(&mut self, _text: &[u8]) {}
    fn part(&mut self, _text: &[u8]) {}
}
