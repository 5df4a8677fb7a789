//! A visit that finds out what a device is.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result, StepLimits, Target};
use tokio::time::timeout;

use super::evidence::{Evidence, Recognition};
use crate::platform::{DetectRules, Platform, PlatformSet, PlatformSource, ShellRules};
use crate::session::{LoginBounds, Shell};
use crate::transport::{Dialer, Link, Tape, TapeDialer, Wire};

/// How a device is talked to of which nothing is known: no paging is turned off, no empty line is typed.
const UNKNOWN: &str = r#"
name = "unknown"
title = "A device that is not known yet"

[session]
prompt = '^ ?(?:\S.{0,120})?(?:[>#$%]|\]) ?$'
confirm = "quiet"

[[login]]
expect = '(?i)\b(?:login|user ?name): ?$'
credential = "username"
[[login]]
expect = '(?i)\bpassword: ?$'
credential = "password"
[[login]]
expect = "Press 'a' to accept"
key = "a"

[logout]
command = "exit"

[[artefacts]]
name = "answer"
commands = ["?"]
"#;

const ENABLE: &str = r#"
[enable]
command = "enable"
prompt = '# ?$'
password = '(?i)^(?:enable )?password: ?$'
"#;

/// A device of which nothing is known; `enable` raises privileges as many systems do.
pub(crate) fn unknown_device(enable: bool) -> Result<Arc<Platform>> {
    let text = if enable { format!("{UNKNOWN}{ENABLE}") } else { UNKNOWN.to_owned() };
    Platform::parse(&text, &PlatformSource::BuiltIn)
}

/// The most commands that a device is asked. A third is given only where two said nothing at all.
const MOST_COMMANDS: usize = 2;
const MOST_WITHOUT_SIGN: usize = 3;
/// So much of an answer is looked at.
const MOST_OF_ANSWER: usize = 64 * 1024;
/// So much of what comes before the prompt is looked at.
const MOST_OF_BANNER: usize = 64 * 1024;
/// A device without a prompt in this time is asked without a terminal.
const PROMPT_TIME: Duration = Duration::from_secs(12);
/// What says nothing for so long will not answer.
const SILENCE: Duration = Duration::from_secs(8);
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// Recognises devices.
#[derive(Debug)]
pub struct Detector {
    platforms: Arc<PlatformSet>,
    dialer: Arc<dyn Dialer>,
}

/// What a visit knows so far.
struct Visit<'a> {
    signs: &'a [(String, String, DetectRules)],
    seen: Evidence,
}

impl Detector {
    /// By the signs of these platforms, reaching devices by this dialer.
    #[must_use]
    pub fn new(platforms: Arc<PlatformSet>, dialer: Arc<dyn Dialer>) -> Self {
        Self { platforms, dialer }
    }

    /// Logs in, looks, gives up to two commands that change nothing, and logs out. The target's platform is not looked
    /// at.
    ///
    /// # Errors
    /// What keeps from talking to the device. That it is not recognised is no error: see
    /// [`Recognition::into_platform`].
    pub async fn detect(&self, target: &Target) -> Result<Recognition> {
        let unknown = unknown_device(false)?;
        let signs = self.platforms.signs()?;
        let mut visit = Visit { signs: &signs, seen: Evidence::default() };
        let tape = Tape::new(MOST_OF_BANNER);
        let dialer = TapeDialer::new(self.dialer.clone(), tape.clone());
        let mut link = dialer.dial(target, &unknown).await?;
        let greeting = link.greeting();
        visit.seen.version = greeting.version;
        visit.seen.banner = greeting.banner.unwrap_or_default().into_bytes();
        let limits = patience(&target.limits);
        let opened = match &unknown.shell {
            Some(rules) => open_shell(link.as_mut(), rules, target, &limits).await,
            None => return Err(Error::new(ErrorKind::Internal, "recognise device", "there is no session for it")),
        };
        // Also what came in vain may be a sign.
        visit.seen.banner.push(b'\n');
        visit.seen.banner.extend(received(&tape));
        let by_shell = match opened {
            Ok(mut shell) => {
                visit.seen.prompt = shell.prompt().to_vec();
                let asked = visit.by_shell(&mut shell).await;
                if shell.log_out().await.is_some() {
                    tracing::debug!(device = %target.device.name, "the device did not close the session");
                }
                asked
            }
            Err(e) => Err(e),
        };
        link.close().await;
        match by_shell {
            Ok(()) => {}
            Err(e) if fatal(&e) => return Err(e),
            // Some devices have no shell that a program can use, and take commands without one.
            Err(e) => {
                tracing::debug!(device = %target.device.name, error = %e, "no shell to recognise it by");
                if !visit.by_exec(&dialer, target, &unknown, &limits).await && visit.seen.says_nothing(visit.signs) {
                    return Err(e);
                }
            }
        }
        Ok(visit.seen.judge(visit.signs))
    }
}

/// Nothing is gained by asking again in another way.
fn fatal(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::AuthRejected | ErrorKind::HostKeyRejected | ErrorKind::Config)
}

fn patience(limits: &StepLimits) -> StepLimits {
    let mut limits = limits.clone();
    limits.inactivity = limits.inactivity.min(SILENCE);
    limits.command = limits.command.min(ANSWER_TIME);
    limits.login = limits.login.min(PROMPT_TIME);
    limits
}

/// Opens a shell, whatever it is.
pub(crate) async fn open_shell(
    link: &mut dyn Link,
    rules: &Arc<ShellRules>,
    target: &Target,
    limits: &StepLimits,
) -> Result<Shell> {
    let late = || Error::new(ErrorKind::Timeout, "open shell", "the device opens no shell in time");
    let patience = limits.login + link.reach_time();
    let terminal = timeout(patience, link.shell(rules.columns, rules.rows)).await.map_err(|_| late())??;
    let bounds = LoginBounds { left: limits.login, by_prompts: !link.is_logged_in() };
    Shell::open(terminal, rules, &target.login, limits, bounds).await
}

fn received(tape: &Tape) -> Vec<u8> {
    let pieces = tape.moments().into_iter().filter_map(|m| match m.what {
        Wire::Received(bytes) => Some(bytes),
        _ => None,
    });
    pieces.flatten().collect()
}

impl Visit<'_> {
    /// The next command that is worth asking.
    fn next(&self) -> Option<String> {
        let asked = self.seen.answers.len();
        let enough = asked >= MOST_WITHOUT_SIGN || (asked >= MOST_COMMANDS && !self.seen.says_nothing(self.signs));
        if enough || self.seen.judge(self.signs).sure {
            return None;
        }
        self.seen.next_command(self.signs)
    }

    async fn by_shell(&mut self, shell: &mut Shell) -> Result<()> {
        while let Some(command) = self.next() {
            let mut answer = Vec::new();
            let asked = read(shell, &command, &mut answer).await;
            self.seen.answers.push((command, answer));
            if let Err(e) = asked {
                // What was said so far may be enough.
                return if self.seen.judge(self.signs).sure { Ok(()) } else { Err(e) };
            }
        }
        Ok(())
    }

    /// Whether anything was answered.
    async fn by_exec(&mut self, dialer: &TapeDialer, target: &Target, unknown: &Platform, limits: &StepLimits) -> bool {
        // What the shell did not answer is asked again.
        self.seen.answers.retain(|(_, answer)| !answer.is_empty());
        let mut some = false;
        while let Some(command) = self.next() {
            // Some devices end the connection with the first command.
            let Ok(mut link) = dialer.dial(target, unknown).await else { return some };
            let answer = timeout(limits.command, run(link.as_mut(), &command)).await;
            link.close().await;
            let Ok(Ok(answer)) = answer else { return some };
            some |= !answer.is_empty();
            self.seen.answers.push((command, answer));
        }
        some
    }
}

async fn read(shell: &mut Shell, command: &str, answer: &mut Vec<u8>) -> Result<()> {
    shell.ask(command, &[], None).await?;
    while let Some(piece) = shell.next().await? {
        let room = MOST_OF_ANSWER.saturating_sub(answer.len());
        answer.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
    }
    Ok(())
}

async fn run(link: &mut dyn Link, command: &str) -> Result<Vec<u8>> {
    let mut running = link.exec(command).await?;
    let mut answer = Vec::new();
    while let Some(piece) = running.read().await? {
        answer.extend_from_slice(&piece);
        if answer.len() > MOST_OF_ANSWER {
            break;
        }
    }
    Ok(answer)
}
