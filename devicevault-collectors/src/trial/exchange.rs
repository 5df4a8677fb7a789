//! What was typed and what came, told step by step.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt;
use std::time::Duration;

use devicevault_core::Login;

use crate::escape::shown;
use crate::platform::{Confirm, Platform};
use crate::recording::{Parts, without_secrets};
use crate::session::shown_text;
use crate::transport::{Moment, Tape, Wire};

/// How it was known that an answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndedBy {
    /// An empty line was typed, and the prompt came back alone.
    EmptyLine,
    /// The platform's end marker stood before the prompt.
    EndMarker,
    /// Nothing came but the prompt.
    Prompt,
    /// Nothing more came for a while.
    Quiet,
    /// The device closed the command's channel, or the session.
    Closed,
    /// A part of the login is no command: the next prompt or question followed.
    Question,
    /// It was not.
    Nothing,
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLine => "confirmed by an empty line",
            Self::EndMarker => "by its end marker and the prompt",
            Self::Prompt => "by the prompt, with nothing before it",
            Self::Quiet => "by the prompt and silence",
            Self::Closed => "by the device, which closed the channel",
            Self::Question => "by what the device asked or showed next",
            Self::Nothing => "not seen",
        })
    }
}

/// Something that was typed, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchange {
    /// What was typed; empty for what came before anything was. Parts of the login are placeholders.
    pub typed: String,
    /// Without a terminal.
    pub exec: bool,
    /// What the platform calls it.
    pub role: &'static str,
    /// When it was typed, from the beginning.
    pub at: Duration,
    /// When the first byte came, from when it was typed.
    pub first: Option<Duration>,
    /// When the last byte came, from when it was typed.
    pub last: Option<Duration>,
    /// How many bytes came.
    pub bytes: usize,
    /// Pager pages that were answered.
    pub pages: usize,
    /// Empty lines that were typed to make sure of the prompt, or to wake the device.
    pub empty_lines: usize,
    /// How it ended.
    pub ended: EndedBy,
    /// The first line of the answer, escaped.
    pub first_line: String,
    /// Its last line before the prompt, escaped.
    pub last_line: String,
    /// The line that the cursor stood on in the end, escaped.
    pub prompt: String,
}

/// One that is going on.
struct Open {
    exchange: Exchange,
    received: Vec<u8>,
    closed: bool,
}

const LONGEST: usize = 100;

impl Exchange {
    /// All that is on a tape.
    pub(super) fn all(tape: &Tape, platform: &Platform, login: &Login) -> Vec<Self> {
        let parts = Parts::of(login);
        let mut all = vec![Open::new("", false, Duration::ZERO)];
        for Moment { at, what } in tape.moments() {
            let Some(current) = all.last_mut() else { break };
            match what {
                Wire::Sent(bytes) if bytes.as_ref() == b" " => current.exchange.pages += 1,
                Wire::Sent(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => current.exchange.empty_lines += 1,
                Wire::Sent(bytes) => {
                    let typed = parts.named(&String::from_utf8_lossy(&bytes));
                    all.push(Open::new(typed.trim_end_matches(['\r', '\n']), false, at));
                }
                Wire::Exec(command) => all.push(Open::new(&parts.without(&command), true, at)),
                Wire::Received(bytes) => {
                    let since = at.saturating_sub(current.exchange.at);
                    current.exchange.first.get_or_insert(since);
                    current.exchange.last = Some(since);
                    current.exchange.bytes += bytes.len();
                    current.received.extend_from_slice(&bytes);
                }
                Wire::Shell(..) => current.exchange.at = at,
                Wire::Ended(_) | Wire::Closed => current.closed = true,
                Wire::Connected(_) => {}
            }
        }
        all.into_iter().map(|open| open.told(platform, &parts)).collect()
    }
}

impl Open {
    fn new(typed: &str, exec: bool, at: Duration) -> Self {
        let exchange = Exchange {
            typed: typed.to_owned(),
            exec,
            role: "",
            at,
            first: None,
            last: None,
            bytes: 0,
            pages: 0,
            empty_lines: 0,
            ended: EndedBy::Nothing,
            first_line: String::new(),
            last_line: String::new(),
            prompt: String::new(),
        };
        Self { exchange, received: Vec::new(), closed: false }
    }

    fn told(self, platform: &Platform, parts: &Parts) -> Exchange {
        let Self { mut exchange, received, closed } = self;
        let role = Role::of(&exchange, platform);
        exchange.role = role.name;
        let text = parts.without_bytes(&shown_text(&received));
        let mut lines: Vec<&[u8]> = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end).collect();
        if !exchange.exec {
            exchange.prompt = shown(lines.pop().unwrap_or_default(), LONGEST);
            if lines.first().is_some_and(|l| !exchange.typed.is_empty() && l.ends_with(exchange.typed.as_bytes())) {
                lines.remove(0);
            }
            // What answers our empty lines is no part of the answer.
            let prompt = exchange.prompt.clone();
            while exchange.empty_lines > 0 && lines.last().is_some_and(|l| l.is_empty() || shown(l, LONGEST) == prompt)
            {
                lines.pop();
            }
        }
        let mut some = lines.iter().filter(|l| !l.is_empty());
        let without = |l: &&[u8]| shown(&without_secrets(l, platform.text_rules()), LONGEST);
        exchange.first_line = some.next().map(without).unwrap_or_default();
        exchange.last_line = some.next_back().map(without).unwrap_or_default();
        let quiet = platform.shell.as_ref().is_some_and(|s| s.confirm != Confirm::EmptyLine);
        exchange.ended = match () {
            () if closed => EndedBy::Closed,
            () if received.is_empty() => EndedBy::Nothing,
            () if role.is_credential => EndedBy::Question,
            () if exchange.empty_lines > 0 => EndedBy::EmptyLine,
            () if quiet => EndedBy::Quiet,
            () if role.has_marker => EndedBy::EndMarker,
            () if exchange.first_line.is_empty() => EndedBy::Prompt,
            () => EndedBy::Question,
        };
        exchange
    }
}

/// What a thing that was typed is to the platform.
#[derive(Default)]
struct Role {
    name: &'static str,
    is_credential: bool,
    has_marker: bool,
}

impl Role {
    fn of(exchange: &Exchange, platform: &Platform) -> Self {
        let typed = exchange.typed.as_str();
        let named = |name| Self { name, ..Self::default() };
        let shell = platform.shell.as_ref();
        if typed.is_empty() {
            return named("greeting");
        }
        if typed.starts_with('<') && typed.ends_with('>') {
            return Self { name: "login", is_credential: true, has_marker: false };
        }
        let of_artefact =
            platform.artefacts.iter().find(|a| a.commands.iter().any(|c| c.spellings.iter().any(|s| s == typed)));
        if let Some(artefact) = of_artefact {
            return Self { name: "command", is_credential: false, has_marker: artefact.end_marker.is_some() };
        }
        match shell {
            Some(s) if s.enable.as_ref().is_some_and(|e| e.command == typed) => named("enable"),
            Some(s) if s.setup.iter().any(|c| c.run == typed) => named("setup"),
            Some(s) if s.logout.as_deref() == Some(typed) => named("logout"),
            _ => named("answer"),
        }
    }
}
