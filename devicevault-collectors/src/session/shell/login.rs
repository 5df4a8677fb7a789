//! From an open terminal to a prompt that takes commands.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::{Error, ErrorKind, Login, Result, Retry, StepLimits};
use tokio::time::{Instant, timeout};

use super::Shell;
use crate::platform::ShellRules;
use crate::session::answer::Answer;
use crate::session::dialogue::{Dialogue, Move, QUIET};
use crate::session::doubts::Doubts;
use crate::session::prompt::Prompt;
use crate::session::question::{Asked, Secret};
use crate::session::screen::Screen;
use crate::transport::Terminal;

/// After so much silence at login an empty line is typed: consoles wait for one.
const WAKE: Duration = Duration::from_secs(3);
const MOST_WAKES: u32 = 3;

/// How a login at a terminal goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoginBounds {
    /// What remains of the time for it.
    pub(crate) left: Duration,
    /// The terminal asks who we are: no protocol beneath has told it.
    pub(crate) by_prompts: bool,
}

impl Shell {
    /// Answers what is asked, finds the prompt, raises privileges and prepares the terminal, all in time.
    pub(crate) async fn open(
        terminal: Box<dyn Terminal>,
        rules: &Arc<ShellRules>,
        login: &Login,
        limits: &StepLimits,
        bounds: LoginBounds,
    ) -> Result<Self> {
        // Serial servers and half-duplex lines show what is typed, secrets too.
        Self::begin(terminal, rules, login, limits, bounds).await.map_err(|e| login.without_secrets(e))
    }

    async fn begin(
        terminal: Box<dyn Terminal>,
        rules: &Arc<ShellRules>,
        login: &Login,
        limits: &StepLimits,
        bounds: LoginBounds,
    ) -> Result<Self> {
        let LoginBounds { left, by_prompts } = bounds;
        let now = Instant::now();
        let mut shell = Self {
            terminal,
            rules: rules.clone(),
            login: login.clone(),
            limits: limits.clone(),
            screen: Screen::default(),
            prompt: Prompt::new(b"", &rules.prompt),
            command: String::new(),
            answer: None,
            doubts: Doubts::default(),
            mistaken_pagers: 0,
            followed_pagers: 0,
            ended_pagers: 0,
            overprinted_lines: 0,
            aside: 0,
            garbled: 0,
            stray: false,
            by_silence: false,
            late_prompts: 0,
            deadline: now + left,
            heard: now,
            longest_gap: Duration::ZERO,
            handed_on: None,
        };
        let questions = if by_prompts { &rules.prompted_login } else { &rules.login };
        shell.prompt = shell.converse("log in", Dialogue::new("log in", rules, questions, login)).await?;
        if let Some(enable) = rules.enable.as_ref().filter(|e| !e.prompt.is_match(shell.prompt.text())) {
            let operation = "raise privileges";
            shell.type_line(&enable.command).await?;
            let dialogue = Dialogue::new(operation, rules, &enable.questions, login).after_a_command();
            shell.prompt = shell.converse(operation, dialogue).await?;
            if !enable.prompt.is_match(shell.prompt.text()) {
                return Err(Error::new(ErrorKind::AuthRejected, operation, "the device did not raise our privileges")
                    .with("command", &enable.command)
                    .hint("check the enable secret of this device"));
            }
        }
        for setup in &rules.setup {
            let answer = Answer::new(&setup.run, &shell.prompt, rules.echo).asking(Asked::new(&setup.questions));
            shell.start(&setup.run, answer.brief()).await?;
            while shell.next().await?.is_some() {}
        }
        Ok(shell)
    }

    async fn converse(&mut self, operation: &'static str, mut dialogue: Dialogue<'_>) -> Result<Prompt> {
        let mut wakes = 0;
        let mut settled = None;
        loop {
            while let Some(bytes) = self.terminal.read_now()? {
                self.heard();
                self.screen.feed(&bytes, &mut dialogue);
            }
            // Some devices wait at login for what a terminal would say of itself.
            if let Some(answer) = self.screen.answer_due() {
                self.terminal.write(Bytes::from_static(answer)).await?;
            }
            let mut quiet = None;
            let now = |dialogue: &mut Dialogue<'_>| {
                dialogue.at_rest(&self.screen.current(), (self.screen.redrawn(), self.screen.ended()))
            };
            match settled.take().unwrap_or_else(|| now(&mut dialogue)) {
                Move::Wait => {}
                Move::WaitQuietly(least) => quiet = Some(least),
                Move::Space(start) => self.answer_pager(start).await?,
                Move::Answered(start) => self.screen.answered_pager(start),
                Move::EmptyLine => self.type_line("").await?,
                Move::Say(Secret(text)) => self.terminal.write(text.into()).await?,
                Move::Learned(prompt) => return Ok(prompt),
                Move::Fail(e) => return Err(e),
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            // Silence takes half of the time at most: what is typed after it is to be answered, too.
            let patience = quiet.map_or(WAKE, |least| self.quiet_time(least.min(left / 2).max(QUIET)));
            match timeout(patience.min(left), self.terminal.read()).await {
                Ok(Ok(Some(bytes))) => {
                    self.heard();
                    self.screen.feed(&bytes, &mut dialogue);
                }
                // Some devices say no by hanging up. To try again would only lock the account.
                Ok(Ok(None) | Err(_)) if dialogue.gave_credential() => {
                    let message = "the device closed the session after the login was answered";
                    let e = Error::new(ErrorKind::AuthRejected, operation, message);
                    return Err(e.with("last line", dialogue.last_words()));
                }
                Ok(Ok(None)) => {
                    let e = Error::new(
                        ErrorKind::Unavailable,
                        operation,
                        "the device closed the session before its prompt",
                    );
                    return Err(e.with("last line", self.shown_line()));
                }
                Ok(Err(e)) => return Err(e),
                // Some say no after a long while. To ask again would be one refusal more.
                Err(_) if patience >= left && (dialogue.gave_credential() || self.terminal.awaits_verdict()) => {
                    let message = "no prompt was found in time after the login was answered; it is not tried again";
                    let e = Error::new(ErrorKind::Timeout, operation, message).retry_advice(Retry::Never);
                    return Err(e
                        .with("last line", self.shown_line())
                        .hint("check the credential of this device, and that the device is of this platform; give the login more time where an AAA server is slow"));
                }
                Err(_) if patience >= left => {
                    let e = Error::new(ErrorKind::Timeout, operation, "no prompt was found in time");
                    return Err(e
                        .with("last line", self.shown_line())
                        .hint("check that the device is of this platform, and the prompt in its platform file"));
                }
                Err(_) if quiet.is_some() => settled = Some(dialogue.stayed_quiet(&self.screen.current())),
                Err(_) if wakes < MOST_WAKES => {
                    if let Some(prompt) = dialogue.unconfirmed(&self.screen.current()) {
                        self.late_prompts += 1;
                        return Ok(prompt);
                    }
                    wakes += 1;
                    self.late_prompts += 1;
                    dialogue.woken();
                    self.type_line("").await?;
                }
                Err(_) => {}
            }
        }
    }
}
