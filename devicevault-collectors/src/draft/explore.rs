//! Trying what many systems understand.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result, StepLimits, Target};
use regex::bytes::Regex;

use crate::detect::{open_shell, unknown_device};
use crate::platform::Platform;
use crate::session::Shell;
use crate::transport::{Dialer, Link};

/// What turns paging off for a session, on one system or another. None of them changes a configuration.
const PAGING: [&str; 17] = [
    "terminal length 0",
    "screen-length 0 temporary",
    "screen-length disable",
    "terminal pager 0",
    "no page",
    "no paging",
    "set cli screen-length 0",
    "set cli pager off",
    "terminal datadump",
    "environment no more",
    "environment more false",
    "skip-page-display",
    "no cli session paging enable",
    "disable clipaging session",
    "set clienv rows 0",
    "set terminal length 0",
    "set length 0",
];
/// What prints a configuration.
const CONFIGURATION: [&str; 10] = [
    "show running-config",
    "display current-configuration",
    "show configuration",
    "show config",
    "/export",
    "admin display-config",
    "show configuration running",
    "show run",
    "write terminal",
    "show",
];
/// What tells of hardware and software.
const INVENTORY: [&str; 8] = [
    "show version",
    "display version",
    "show inventory",
    "display device",
    "show system",
    "/system resource print",
    "get system status",
    "uname -a",
];
/// What no device understands.
const NONSENSE: &str = "devicevault-asks-for-nothing";
/// A shorter text is no configuration.
const FEWEST_LINES: usize = 6;
const MOST: usize = 8 << 20;
/// A device that says nothing for so long was asked something else than was meant.
const SILENCE: Duration = Duration::from_secs(8);

/// Lines by which systems refuse.
const REFUSALS: &str = r"(?i)^\s*(?:%+ ?\S|\^\s*$|(?:syntax |cli syntax |parse )?error\b|unknown (?:command|action)|invalid (?:input|command|syntax|parameter)|unrecognized|bad command|incomplete command|ambiguous|command (?:not found|fail)|.*: (?:command )?not found|expected end of command|no such command|wrong parameter)";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) prompt: String,
    pub(super) enabled: bool,
    pub(super) paging: Option<String>,
    pub(super) configuration: Option<(String, Vec<u8>)>,
    pub(super) inventory: Vec<String>,
    pub(super) refusal: Option<String>,
    tried_paging: bool,
}

impl Found {
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.configuration.is_none() {
            all.push("no command was found that prints the configuration: name it in [[artefacts]]".to_owned());
        }
        if self.paging.is_none() && self.tried_paging {
            all.push("no command was found that turns paging off; pagers are answered as they come".to_owned());
        }
        if self.refusal.is_none() {
            all.push("it is not known how the device refuses a command: add it to `failure`".to_owned());
        }
        if self.prompt.trim_end().ends_with('>') && !self.enabled {
            all.push("the prompt ends in '>': if privileges have to be raised, add [enable]".to_owned());
        }
        all
    }
}

/// Visits a device of which nothing is known.
pub(super) struct Explorer<'a> {
    dialer: Arc<dyn Dialer>,
    target: &'a Target,
    /// The commands that may be tried; `None`: all.
    known: Option<Vec<String>>,
}

impl<'a> Explorer<'a> {
    pub(super) fn new(dialer: Arc<dyn Dialer>, target: &'a Target, known: Option<Vec<String>>) -> Self {
        Self { dialer, target, known }
    }

    fn may(&self, command: &str) -> bool {
        self.known.as_ref().is_none_or(|k| k.iter().any(|c| c == command))
    }

    pub(super) async fn explore(&self) -> Result<Found> {
        let enable = self.target.login.enable.is_some() && self.may("enable");
        let (mut link, mut shell, enabled) = match self.open(enable).await {
            Ok((link, shell)) => (link, shell, enable),
            // What has no `enable` may do without.
            Err(e) if enable && e.kind() != ErrorKind::Unreachable => {
                let (link, shell) = self.open(false).await?;
                (link, shell, false)
            }
            Err(e) => return Err(e),
        };
        let mut found =
            Found { prompt: String::from_utf8_lossy(shell.prompt()).into_owned(), enabled, ..Found::default() };
        let refused = regex::bytes::RegexBuilder::new(REFUSALS).unicode(false).multi_line(true).build();
        let refused = refused.map_err(|e| {
            Error::new(ErrorKind::Internal, "compile expressions", "a built-in expression is wrong").because(e)
        })?;
        let explored = self.commands(&mut shell, &refused, &mut found).await;
        let _ = shell.log_out().await;
        link.close().await;
        // What was found before something went wrong is worth a draft.
        if found.configuration.is_none() && found.inventory.is_empty() {
            explored?;
        }
        Ok(found)
    }

    async fn open(&self, enable: bool) -> Result<(Box<dyn Link>, Shell)> {
        let unknown: Arc<Platform> = unknown_device(enable)?;
        let mut link = self.dialer.dial(self.target, &unknown).await?;
        let none = || Error::new(ErrorKind::Internal, "explore device", "there is no session for it");
        let rules = unknown.shell.as_ref().ok_or_else(none)?;
        let limits = self.limits();
        let shell = open_shell(link.as_mut(), rules, self.target, &limits).await?;
        Ok((link, shell))
    }

    fn limits(&self) -> StepLimits {
        let mut limits = self.target.limits.clone();
        limits.inactivity = limits.inactivity.min(SILENCE);
        limits
    }

    async fn commands(&self, shell: &mut Shell, refused: &Regex, found: &mut Found) -> Result<()> {
        if self.may(NONSENSE) {
            let answer = ask(shell, NONSENSE).await?;
            found.refusal = refusal_of(&answer, refused);
        }
        for command in PAGING.into_iter().filter(|c| self.may(c)) {
            found.tried_paging = true;
            let answer = ask(shell, command).await?;
            if answer.trim_ascii().is_empty() {
                found.paging = Some(command.to_owned());
                break;
            }
            found.refusal = found.refusal.take().or_else(|| refusal_of(&answer, refused));
        }
        for command in CONFIGURATION.into_iter().filter(|c| self.may(c)) {
            let answer = ask(shell, command).await?;
            let lines = answer.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty()).count();
            if lines >= FEWEST_LINES && !refuses(&answer, refused) {
                found.configuration = Some((command.to_owned(), answer));
                break;
            }
            found.refusal = found.refusal.take().or_else(|| refusal_of(&answer, refused));
        }
        for command in INVENTORY.into_iter().filter(|c| self.may(c)) {
            let answer = ask(shell, command).await?;
            if !answer.trim_ascii().is_empty() && !refuses(&answer, refused) {
                found.inventory.push(command.to_owned());
            }
            if found.inventory.len() == 2 {
                break;
            }
        }
        Ok(())
    }
}

/// A long text may hold such a line; a refusal is short.
fn refuses(answer: &[u8], refused: &Regex) -> bool {
    const LONGEST: usize = 400;
    answer.len() <= LONGEST && refused.is_match(answer)
}

/// An expression for the line that refuses: its beginning, up to what may differ.
fn refusal_of(answer: &[u8], refused: &Regex) -> Option<String> {
    if !refuses(answer, refused) {
        return None;
    }
    let mut lines = answer.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end);
    let line = lines.find(|l| refused.is_match(l) && l.trim_ascii() != b"^")?;
    let line = String::from_utf8_lossy(line).into_owned();
    let fixed = line.split(['\'', '"', ':', '(']).next().unwrap_or_default().split(NONSENSE).next().unwrap_or_default();
    let fixed = fixed.trim_end();
    (fixed.trim().len() >= 4).then(|| format!("^{}", regex::escape(fixed).replace("\\ ", " ")))
}

async fn ask(shell: &mut Shell, command: &str) -> Result<Vec<u8>> {
    shell.ask(command, &[], None).await?;
    let mut answer = Vec::new();
    while let Some(piece) = shell.next().await? {
        if answer.len() < MOST {
            answer.extend_from_slice(&piece);
        }
    }
    Ok(answer)
}
