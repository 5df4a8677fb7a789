//! Commands and their answers, by whichever channel.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::{Error, ErrorKind, Note, Result, Retry, Sink, StepLimits, Target};
use regex::bytes::Regex;
use tokio::time::{Instant, timeout};

use crate::escape::{brief, shown};
use crate::platform::{Channel, Platform, Question, ShellRules};
use crate::session::{LoginBounds, Shell};
use crate::transport::{Link, RunEnd, Running};

/// An open conversation with a device.
#[derive(Debug)]
pub(crate) struct Conversation<'a> {
    link: Box<dyn Link>,
    platform: &'a Platform,
    target: &'a Target,
    channel: Current,
    /// Whether this device ends answers with a line end, once that was asked.
    ends_lines: Option<bool>,
}

#[derive(Debug)]
enum Current {
    Shell(Box<Shell>),
    Exec(Option<Command>),
}

/// A command that runs without a terminal.
#[derive(Debug)]
struct Command {
    running: Box<dyn Running>,
    text: String,
    deadline: Instant,
    /// When the last bytes were handed on: how long whoever has them takes is not the device's time.
    handed_on: Option<Instant>,
    end: Option<RunEnd>,
    written: u64,
    /// The last byte of the answer.
    last: Option<u8>,
}

impl<'a> Conversation<'a> {
    /// Begins on an open connection. `left` is what remains of the time to log in.
    pub(crate) async fn begin(
        mut link: Box<dyn Link>,
        platform: &'a Platform,
        target: &'a Target,
        channel: Channel,
        left: Duration,
    ) -> Result<Self> {
        let channel = match channel {
            Channel::Exec => Current::Exec(None),
            Channel::Shell => Current::Shell(Box::new(open_shell(link.as_mut(), platform, target, left).await?)),
        };
        Ok(Self { link, platform, target, channel, ends_lines: None })
    }

    /// Gives a command. After this, [`stray`](Conversation::stray) tells whether the answer before it was whole.
    pub(crate) async fn ask(
        &mut self,
        command: &str,
        questions: &[Question],
        marker: Option<&Arc<Regex>>,
        out: &mut dyn Sink,
    ) -> Result<()> {
        let limits = &self.target.limits;
        if let Current::Exec(current) = &mut self.channel {
            match within(limits.inactivity + self.link.reach_time(), command, self.link.exec(command)).await? {
                Ok(running) => {
                    *current = Some(Command::new(running, command, limits));
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Unsupported && self.platform.shell.is_some() => {
                    out.note(Note::info("the device runs no commands without a terminal; a shell is used instead"));
                    let shell = open_shell(self.link.as_mut(), self.platform, self.target, limits.login).await?;
                    self.channel = Current::Shell(Box::new(shell));
                }
                Err(e) => return Err(e.with("command", brief(command))),
            }
        }
        match &mut self.channel {
            Current::Shell(shell) => shell.ask(command, questions, marker.cloned()).await,
            Current::Exec(_) => Ok(()),
        }
    }

    /// The next bytes of the answer that are certain; `None` when it is complete.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        match &mut self.channel {
            Current::Shell(shell) => shell.next().await,
            Current::Exec(None) => Ok(None),
            Current::Exec(Some(command)) => command.next(&self.target.limits).await,
        }
    }

    /// Whether the command that just ended wrote an answer and ended by itself, whatever it says of its success.
    pub(crate) fn has_answered(&self) -> bool {
        let Current::Exec(Some(command)) = &self.channel else { return false };
        command.written > 0 && command.end.as_ref().is_some_and(|end| end.status.is_some() && end.signal.is_none())
    }

    /// Why the answer that just ended is no answer: the device says that the command failed.
    pub(crate) fn failed(&self) -> Option<String> {
        let Current::Exec(Some(command)) = &self.channel else { return None };
        let end = command.end.as_ref()?;
        let said = said(end);
        match (&end.signal, end.status) {
            // RFC 4254, section 6.10: a status should be sent. Who always sends one was cut off.
            (None, None) if self.platform.check_status || command.written == 0 => {
                Some(format!("the device ended the command without saying how{said}"))
            }
            (Some(signal), _) => Some(format!("the command was ended by signal {signal}{said}")),
            (None, Some(status)) if status != 0 && (self.platform.check_status || command.written == 0) => {
                Some(format!("the command ended with status {status}{said}"))
            }
            _ => None,
        }
    }

    /// Why the answer that just ended may differ from what the device meant.
    pub(crate) fn doubt(&self) -> Option<Cow<'static, str>> {
        match &self.channel {
            Current::Shell(shell) => shell.doubt().map(Cow::from),
            Current::Exec(command) => match command.as_ref()?.end.as_ref()? {
                // Where the status can be relied upon, it says what to think of warnings.
                end if end.status == Some(0)
                    && (end.errors.trim_ascii().is_empty()
                        || self.platform.check_status && !end.errors.split(|b| *b == b'\n').any(tells_of_loss)) =>
                {
                    let cut = self.platform.whole_lines && self.ends_amid_a_line() && self.ends_lines != Some(false);
                    cut.then(|| "its last line has no end: the answer may be cut off".into())
                }
                end @ RunEnd { status: Some(0), .. } => {
                    Some(format!("the device wrote an error beside the answer{}", said(end)).into())
                }
                // The text may be whole but for a file; what failed is told by an error of its own.
                end @ RunEnd { status: Some(status), .. } => {
                    Some(format!("it answered, and the command ended with status {status}{}", said(end)).into())
                }
                RunEnd { status: None, .. } => {
                    Some("the device ended the command without saying how: the answer may be cut off".into())
                }
            },
        }
    }

    fn ends_amid_a_line(&self) -> bool {
        let Current::Exec(Some(command)) = &self.channel else { return false };
        command.last.is_some_and(|byte| byte != b'\n')
    }

    /// Where an answer that ended well has no line end on a platform whose answers have one: asks for something short. A
    /// device or a gateway that leaves the last line end out everywhere did not cut the answer off.
    pub(crate) async fn compare_ends(&mut self) {
        let ended =
            matches!(&self.channel, Current::Exec(Some(c)) if c.end.as_ref().is_some_and(|e| e.status == Some(0)));
        if !ended || !self.platform.whole_lines || self.ends_lines.is_some() || !self.ends_amid_a_line() {
            return;
        }
        for text in &self.platform.short {
            if let Some(byte) = self.last_of(text).await {
                self.ends_lines = Some(byte == b'\n');
                return;
            }
        }
    }

    /// The last byte of the answer to a command that the device takes.
    async fn last_of(&mut self, text: &str) -> Option<u8> {
        let limits = &self.target.limits;
        let running = within(limits.inactivity, text, self.link.exec(text)).await.ok()?.ok()?;
        let mut command = Command::new(running, text, limits);
        while command.next(limits).await.ok()?.is_some() {}
        command.last.filter(|_| command.end.is_some_and(|end| end.status == Some(0)))
    }

    /// Whether text came where only the prompt was to be: then the answer before was not whole.
    pub(crate) fn stray(&self) -> bool {
        match &self.channel {
            Current::Shell(shell) => shell.stray(),
            Current::Exec(_) => false,
        }
    }

    /// Listens once more where nothing but silence told that the last answer was complete. Whether anything came.
    pub(crate) async fn goes_on(&mut self) -> bool {
        match &mut self.channel {
            Current::Shell(shell) => shell.goes_on().await,
            Current::Exec(_) => false,
        }
    }

    /// Logs out. Returns why that did not work, where it did not.
    pub(crate) async fn log_out(&mut self) -> Option<String> {
        match &mut self.channel {
            Current::Shell(shell) => shell.log_out().await,
            Current::Exec(_) => None,
        }
    }

    /// Closes the connection.
    pub(crate) async fn close(mut self) {
        self.link.close().await;
    }
}

/// What was said beside an answer, for the end of a sentence.
fn said(end: &RunEnd) -> String {
    let first_line = end.errors.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).find(|l| !l.is_empty());
    first_line.map(|l| format!(": {}", shown(l, 200))).unwrap_or_default()
}

/// Whether what was said beside an answer is more than a warning, whatever the status says: a loop over files may have
/// lost it.
fn tells_of_loss(line: &[u8]) -> bool {
    const LOSSES: [&[u8]; 4] = [b"i/o error", b"input/output error", b"stale file handle", b"stale nfs file handle"];
    let line = line.trim_ascii().to_ascii_lowercase();
    line.starts_with(b"error:") || LOSSES.iter().any(|loss| line.ends_with(loss))
}

async fn open_shell(link: &mut dyn Link, platform: &Platform, target: &Target, left: Duration) -> Result<Shell> {
    let none = || {
        Error::new(ErrorKind::Config, "open shell", "the platform says nothing of a session")
            .with("platform", &platform.name)
            .hint("the platform is asked by exec; leave cli.channel unset")
    };
    let rules: &Arc<ShellRules> = platform.shell.as_ref().ok_or_else(none)?;
    let started = Instant::now();
    let late = || Error::new(ErrorKind::Timeout, "open shell", "the device opens no shell in time");
    let reach = link.reach_time();
    let opened = timeout(left + reach, link.shell(rules.columns, rules.rows)).await.map_err(|_| late())??;
    let left = left.saturating_sub(started.elapsed().saturating_sub(reach));
    let bounds = LoginBounds { left, by_prompts: !link.is_logged_in() };
    Shell::open(opened, rules, &target.login, &target.limits, bounds).await
}

async fn within<T>(limit: Duration, command: &str, work: impl Future<Output = T>) -> Result<T> {
    timeout(limit, work).await.map_err(|_| silent(limit, command))
}

fn silent(limit: Duration, command: &str) -> Error {
    Error::new(ErrorKind::Timeout, "run command", "the device says nothing more")
        .with("command", brief(command))
        .with("after", format!("{} s", limit.as_secs_f32()))
        .hint("a device that takes longer is given more time by --timeout")
}

impl Command {
    fn new(running: Box<dyn Running>, text: &str, limits: &StepLimits) -> Self {
        let deadline = Instant::now() + limits.command;
        Self { running, text: text.to_owned(), deadline, handed_on: None, end: None, written: 0, last: None }
    }

    async fn next(&mut self, limits: &StepLimits) -> Result<Option<Bytes>> {
        if self.end.is_some() {
            return Ok(None);
        }
        self.deadline += self.handed_on.take().map(|since| since.elapsed()).unwrap_or_default();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let read = match timeout(limits.inactivity.min(left), self.running.read()).await {
            Ok(read) => read.map_err(|e| e.with("command", brief(&self.text)))?,
            // Some say no after a long while. To ask again would be one refusal more.
            Err(_) if self.running.awaits_verdict() => {
                let message = "the device did not say in time whether it accepts the password; it is not tried again";
                return Err(Error::new(ErrorKind::Timeout, "log in", message)
                    .with("after", format!("{} s", limits.inactivity.min(left).as_secs_f32()))
                    .hint("check the credential of this device, and give it more time by --timeout where an AAA server behind it is slow")
                    .retry_advice(Retry::Never));
            }
            Err(_) if limits.inactivity <= left => return Err(silent(limits.inactivity, &self.text)),
            Err(_) => {
                return Err(Error::new(ErrorKind::Timeout, "run command", "the answer is not complete in time")
                    .with("command", brief(&self.text))
                    .with("limit", format!("{} s", limits.command.as_secs_f32())));
            }
        };
        match &read {
            Some(bytes) => {
                self.handed_on = Some(Instant::now());
                self.written += bytes.len() as u64;
                self.last = bytes.last().copied().or(self.last);
            }
            None => self.end = Some(self.running.end()),
        }
        Ok(read)
    }
}
