//! A conversation at a prompt.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod login;
mod logout;

pub(crate) use login::LoginBounds;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::{Error, ErrorKind, Login, Result, StepLimits};
use regex::bytes::Regex;
use tokio::time::{Instant, timeout, timeout_at};

use crate::escape::shown;
use crate::platform::{Confirm, Echo, Question, ShellRules};
use crate::session::answer::{Answer, Next, Rules};
use crate::session::dialogue::QUIET;
use crate::session::doubts::Doubts;
use crate::session::prompt::Prompt;
use crate::session::question::{self, Asked, Secret};
use crate::session::screen::{Rows, Screen};
use crate::transport::Terminal;

/// A terminal on which we are logged in and know the prompt.
#[derive(Debug)]
pub(crate) struct Shell {
    terminal: Box<dyn Terminal>,
    rules: Arc<ShellRules>,
    login: Login,
    limits: StepLimits,
    screen: Screen,
    prompt: Prompt,
    command: String,
    answer: Option<Answer>,
    doubts: Doubts,
    mistaken_pagers: u64,
    followed_pagers: u64,
    ended_pagers: u64,
    overprinted_lines: u64,
    aside: u64,
    garbled: u64,
    stray: bool,
    /// Silence alone told that the last answer was complete.
    by_silence: bool,
    /// Prompts that may still come, for empty lines that were typed and perhaps not answered.
    late_prompts: usize,
    deadline: Instant,
    heard: Instant,
    longest_gap: Duration,
    /// When the last piece was handed on: how long whoever has it takes is not the device's silence.
    handed_on: Option<Instant>,
}

/// Text is handed on in pieces of about this size.
const PIECE: usize = 64 * 1024;
/// Where silence alone tells that an answer is complete.
const SILENCE: Duration = Duration::from_secs(1);
/// And where nothing comes after it any more: what is asked next would end the silence.
const SECOND_LOOK: Duration = Duration::from_secs(2);

impl Shell {
    /// Types a command and waits for its echo. After this, [`stray`](Shell::stray) tells whether anything but the prompt
    /// came between the last answer and this command: then that answer was not complete.
    pub(crate) async fn ask(
        &mut self,
        command: &str,
        questions: &[Question],
        end_marker: Option<Arc<Regex>>,
    ) -> Result<()> {
        let answer = Answer::new(command, &self.prompt, self.rules.echo).asking(Asked::new(questions));
        self.start(command, answer.ends_with(end_marker)).await
    }

    async fn start(&mut self, command: &str, answer: Answer) -> Result<()> {
        self.stray = false;
        self.by_silence = false;
        self.handed_on = None;
        self.take_late()?;
        command.clone_into(&mut self.command);
        self.doubts = Doubts::default();
        self.mistaken_pagers = self.screen.mistaken_pagers();
        self.followed_pagers = self.screen.followed_pagers();
        self.ended_pagers = self.screen.ended_pagers();
        self.overprinted_lines = self.screen.overprinted_lines();
        self.aside = self.terminal.aside();
        self.garbled = self.screen.garbled();
        let answer = answer.after_prompts(self.late_prompts).typed_at(self.screen.redrawn());
        self.answer = Some(answer.paged_by(self.rules.pager.clone()).logged_by(self.rules.messages.clone()));
        self.heard = Instant::now();
        self.deadline = self.heard + self.limits.command;
        self.longest_gap = Duration::ZERO;
        self.type_line(command).await?;
        while self.answer.as_ref().is_some_and(|a| !a.has_begun()) {
            self.advance().await?;
        }
        self.stray |= self.answer.as_ref().is_some_and(Answer::stray);
        Ok(())
    }

    /// The next bytes of the answer that are certain; `None` when it is complete.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(since) = self.handed_on.take() {
            let away = since.elapsed();
            self.heard += away;
            self.deadline += away;
        }
        loop {
            match &mut self.answer {
                None => return Ok(None),
                Some(answer) => {
                    if let Some(piece) = answer.take() {
                        self.handed_on = Some(Instant::now());
                        return Ok(Some(piece));
                    }
                    if answer.is_complete() {
                        self.doubts = answer.doubts();
                        self.late_prompts = answer.unanswered();
                        self.answer = None;
                        return Ok(None);
                    }
                }
            }
            self.advance().await?;
        }
    }

    /// Whether text came where only the prompt was to be.
    pub(crate) fn stray(&self) -> bool {
        self.stray || self.answer.as_ref().is_some_and(Answer::stray)
    }

    /// Where silence alone told that the last answer was complete: listens once more. Whether anything came.
    pub(crate) async fn goes_on(&mut self) -> bool {
        if !self.by_silence {
            return false;
        }
        let until = Instant::now() + SECOND_LOOK.min(self.limits.inactivity);
        let mut late = Late { prompt: &self.prompt, prompts: 0, text: false };
        while let Ok(Ok(Some(bytes))) = timeout_at(until, self.terminal.read()).await {
            self.screen.feed(&bytes, &mut late);
            if late.text || late.prompts > 0 || !self.prompt.is(&self.screen.current()) {
                return true;
            }
        }
        false
    }

    /// The prompt as it was seen last.
    pub(crate) fn prompt(&self) -> &[u8] {
        self.prompt.text()
    }

    /// Why the answer that just ended may differ from what the device meant.
    pub(crate) fn doubt(&self) -> Option<&'static str> {
        if self.rules.echo != Echo::WhenRead && self.screen.mistaken_pagers() > self.mistaken_pagers {
            return Some("the device paused at a line that looks like a pager; a blank in it may be ours");
        }
        if self.screen.followed_pagers() > self.followed_pagers {
            return Some("the device went on behind a line that looks like a pager, which may stand in the text");
        }
        if !self.rules.pager_ends_line && self.screen.ended_pagers() > self.ended_pagers {
            return Some("the device ended a line that looks like a pager without erasing it; it may have been text");
        }
        if self.screen.overprinted_lines() > self.overprinted_lines {
            return Some("the device wrote over text in a line; part of the line may be lost");
        }
        if self.terminal.aside() > self.aside {
            return Some("the device wrote an error into the answer");
        }
        let garbled = self.screen.garbled() > self.garbled;
        let garbled = garbled.then_some("a control sequence of the device has no end");
        self.doubts.text().or(garbled)
    }

    /// Takes what has come; where that is nothing, does what the answer asks for and waits.
    async fn advance(&mut self) -> Result<()> {
        let rules = Rules { pager: &self.rules.pager, confirm: self.confirm() };
        let Some(answer) = &mut self.answer else { return Ok(()) };
        let begun = answer.has_begun();
        while answer.ready() < PIECE {
            let bytes = match self.terminal.read_now() {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                // Told when what came before it has been used.
                Err(_) if answer.ready() > 0 => break,
                Err(e) => return self.received(Err(e)),
            };
            self.screen.feed(&bytes, answer);
            let now = Instant::now();
            self.longest_gap = self.longest_gap.max(now.saturating_duration_since(self.heard));
            self.heard = now;
        }
        answer.settle();
        if answer.has_begun() && (!begun || answer.ready() > 0) {
            return Ok(());
        }
        match answer.at_rest(rules, &self.screen.current(), (self.screen.redrawn(), self.screen.ended())) {
            Next::Complete => return Ok(()),
            Next::Wait => {}
            Next::WaitQuietly => return self.wait_quietly().await,
            Next::Space(start) => self.answer_pager(start).await?,
            Next::Answered(start) => self.screen.answered_pager(start),
            Next::EmptyLine => self.type_line("").await?,
            Next::Reply { question, times } => self.reply(question, times).await?,
        }
        self.wait().await
    }

    /// Waits for the next bytes. A device that throws away what is typed ahead never answers our empty line: after a
    /// third of the time of silence that is allowed, it is typed again.
    async fn wait(&mut self) -> Result<()> {
        let inactivity = self.limits.inactivity;
        let third = inactivity / 3;
        loop {
            let silent = Instant::now().saturating_duration_since(self.heard);
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self
                    .lost(ErrorKind::Timeout, "the answer is not complete in time")
                    .with("limit", format!("{} s", self.limits.command.as_secs_f32())));
            }
            if silent >= inactivity {
                return Err(self.nothing_more());
            }
            let until = [third, third * 2].into_iter().find(|t| *t > silent).unwrap_or(inactivity);
            match timeout((until - silent).min(left), self.terminal.read()).await {
                Ok(received) => return self.received(received),
                Err(_) => {
                    let confirm = self.confirm();
                    let (current, redrawn) = (self.screen.current(), self.screen.redrawn());
                    if self.answer.as_mut().is_some_and(|a| a.is_over(&current, redrawn)) {
                        return Ok(());
                    }
                    if until < inactivity && self.answer.as_mut().is_some_and(|a| a.page_again(redrawn)) {
                        drop(current);
                        self.terminal.write(Bytes::from_static(b" ")).await?;
                        continue;
                    }
                    if until < inactivity && self.answer.as_mut().is_some_and(|a| a.ask_again(confirm)) {
                        self.type_line("").await?;
                    }
                }
            }
        }
    }

    async fn wait_quietly(&mut self) -> Result<()> {
        let alone = self.confirm() == Confirm::Quiet;
        match timeout(self.quiet_time(if alone { SILENCE } else { QUIET }), self.terminal.read()).await {
            Ok(received) => self.received(received),
            Err(_) => {
                self.by_silence = alone;
                if let Some(answer) = &mut self.answer {
                    answer.stayed_quiet();
                }
                Ok(())
            }
        }
    }

    fn received(&mut self, bytes: Result<Option<Bytes>>) -> Result<()> {
        let bytes = match bytes {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                return Err(
                    self.lost(ErrorKind::Incomplete, "the device closed the session in the middle of the answer")
                );
            }
            Err(e) => return Err(self.lost(e.kind(), "the connection broke in the middle of the answer").because(e)),
        };
        let now = Instant::now();
        self.longest_gap = self.longest_gap.max(now.saturating_duration_since(self.heard));
        self.heard = now;
        if let Some(answer) = &mut self.answer {
            self.screen.feed(&bytes, answer);
        }
        Ok(())
    }

    /// How the end of an answer is made sure of in this session.
    fn confirm(&self) -> Confirm {
        match self.rules.confirm {
            Confirm::Learned if self.prompt.unconfirmed => Confirm::Quiet,
            Confirm::Learned => Confirm::EmptyLine,
            settled => settled,
        }
    }

    fn quiet_time(&self, least: Duration) -> Duration {
        (self.longest_gap * 3).max(least).min(self.limits.inactivity)
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Reads what came since the prompt that the last answer was taken to end with.
    fn take_late(&mut self) -> Result<()> {
        let mut late = Late { prompt: &self.prompt, prompts: 0, text: false };
        while let Some(bytes) = self.terminal.read_now()? {
            self.screen.feed(&bytes, &mut late);
        }
        self.stray = late.text || late.prompts > self.late_prompts;
        self.late_prompts = self.late_prompts.saturating_sub(late.prompts);
        Ok(())
    }

    async fn type_line(&mut self, text: &str) -> Result<()> {
        if self.prompt.mute {
            // What is typed leaves no mark, and the next prompt would stand behind this one.
            self.screen.forget_line();
        }
        self.terminal.write(format!("{text}{}", self.rules.line_end).into()).await
    }

    /// Answers what the device asks before it goes on with its answer.
    async fn reply(&mut self, question: usize, times: u32) -> Result<()> {
        let Some(question) = self.answer.as_ref().and_then(|a| a.questions().get(question)) else { return Ok(()) };
        let reply = question::reply(question, times, &self.login, &self.rules.line_end, "run command");
        let Secret(text) = reply.map_err(|e| e.with("command", &self.command))?;
        self.terminal.write(text.into()).await
    }

    /// The error for a device that has fallen silent before its prompt.
    fn nothing_more(&self) -> Error {
        let e = self
            .lost(ErrorKind::Timeout, "the device says nothing more")
            .with("after", format!("{} s", self.limits.inactivity.as_secs_f32()))
            .with("last line", self.shown_line());
        let current = self.screen.current();
        if matches!(current.trim_ascii_end().last(), Some(b'?' | b']' | b')' | b':')) {
            e.hint("if that is a question, the command's `questions` in the platform file can answer it")
        } else if self.rules.prompt.is_match(&current) && !self.prompt.is(&current) {
            e.with("prompt", shown(self.prompt.text(), 80)).hint(
                "that looks like a prompt, and is another one than the session's: it may have changed meanwhile, as by an edit \
                 or a failover; a part of it that may change is named `varies` in the platform file",
            )
        } else if current.is_empty() {
            e.hint("a device that takes longer is given more time by --timeout")
        } else {
            e
        }
    }

    async fn answer_pager(&mut self, start: usize) -> Result<()> {
        self.screen.answered_pager(start);
        self.terminal.write(Bytes::from_static(b" ")).await
    }

    fn lost(&self, kind: ErrorKind, message: &str) -> Error {
        Error::new(kind, "run command", message).with("command", &self.command)
    }

    /// The last line, for errors: of an answer only what looks like a prompt or a question, and never what may hold a
    /// secret of the configuration.
    fn shown_line(&self) -> String {
        const SECRET: [&str; 8] = ["pass", "secret", "key", "communit", "psk", "token", "auth", "credential"];
        let line = self.screen.current();
        let asks =
            matches!(line.trim_ascii_end().last(), Some(b'?' | b']' | b')' | b':' | b'>' | b'#' | b'$' | b'%' | b'-'));
        let lower = line.to_ascii_lowercase();
        let tells = SECRET.iter().any(|word| memchr::memmem::find(&lower, word.as_bytes()).is_some());
        if self.answer.is_some() && (!asks || tells) {
            return format!("{} bytes of its answer", line.len());
        }
        shown(&line, 80)
    }
}

/// What comes when nothing was asked.
struct Late<'a> {
    prompt: &'a Prompt,
    prompts: usize,
    text: bool,
}

impl Rows for Late<'_> {
    fn line(&mut self, text: &[u8]) {
        if self.prompt.is(text) {
            self.prompts += 1;
        } else {
            self.text |= !text.trim_ascii().is_empty();
        }
    }

    fn part(&mut self, _text: &[u8]) {
        self.text = true;
    }
}
