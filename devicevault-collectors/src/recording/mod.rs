//! Recorded sessions: what a device sent for each thing that was typed, as a text file that people can read and change.
//!
//! A recording is TOML:
//!
//! ```toml
//! recording = 1                        # the version of this format
//! platform = "cisco_ios"               # what it was recorded as; may be left out
//! version = "SSH-2.0-Cisco-1.25"       # how the SSH server named itself; may be left out
//! banner = "Authorised use only\n"     # what it showed before the login; may be left out
//! line_end = "\r\n"                    # what each line end in the texts stands for
//! opening = """
//!
//! sw1>"""                              # what came before anything was typed
//!
//! [[step]]
//! send = "enable\n"                    # what was typed, its line end too
//! receive = """
//! enable
//! Password: """                        # what came then: echo, answer, the next prompt
//!
//! [[step]]
//! send = "<enable>\n"                  # <username>, <password> and <enable> stand for parts of the login
//! receive = "\nsw1#"
//!
//! [[step]]
//! exec = "show version"                # a command without a terminal, in place of `send`
//! status = 0                           # how it ended; may be left out
//! receive = "…"
//! ```
//!
//! `after_ms` and `took_ms` of a step tell when its first byte came, and how long it took until the last; `ends` that
//! the device closed the session then. With `latin1 = true`, each character of a text stands for the byte of its number,
//! so that bytes that are no UTF-8 can be told. A key that answers a pager is a step of its own, `send = " "`.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod disguise;
mod finder;
mod read;
mod taken;
mod write;

use std::time::Duration;

use devicevault_core::{Device, Login, SecretString, StepLimits, Target};

pub use disguise::{Disguise, Suspicion};
pub(crate) use finder::without_secrets;
pub(crate) use taken::{Parts, last_line};

/// A recorded session, as `devicevault platform record` writes one and `platform check` reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recording {
    /// The platform that it was recorded as.
    pub platform: Option<String>,
    /// How the device's SSH server named itself.
    pub version: Option<String>,
    /// What the device showed before the login.
    pub banner: Option<String>,
    /// What came before anything was typed.
    pub opening: Vec<u8>,
    /// What was typed and came, in order.
    pub steps: Vec<Step>,
}

/// Something that was typed, and what came then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What was typed, with its line end; of a command without a terminal, the command.
    pub send: String,
    /// It is a command without a terminal.
    pub exec: bool,
    /// What came then.
    pub receive: Vec<u8>,
    /// How a command without a terminal ended.
    pub status: Option<u32>,
    /// When the first byte came.
    pub after: Option<Duration>,
    /// How long it took until the last byte.
    pub took: Option<Duration>,
    /// The device closed the session then.
    pub ends: bool,
}

/// A part of the login, as it stands in a recording.
pub(crate) const USERNAME: &str = "<username>";
pub(crate) const PASSWORD: &str = "<password>";
pub(crate) const ENABLE: &str = "<enable>";

impl Step {
    /// Something typed at a terminal.
    pub(crate) fn typed(send: impl Into<String>) -> Self {
        Self { send: send.into(), ..Self::default() }
    }

    /// What was typed, without its line end.
    #[must_use]
    pub fn line(&self) -> &str {
        self.send.trim_end_matches(['\r', '\n'])
    }

    /// Whether a part of the login was typed.
    pub(crate) fn is_credential(&self) -> bool {
        [USERNAME, PASSWORD, ENABLE].contains(&self.line())
    }
}

impl Recording {
    /// A target for the recorded device: it takes every login.
    #[must_use]
    pub fn target() -> Target {
        let mut login = Login::default();
        login.username = "recorded".to_owned();
        login.password = Some(SecretString::from("password"));
        login.enable = Some(SecretString::from("password"));
        // What does not answer at once has no answer.
        let mut limits = StepLimits::default();
        limits.login = Duration::from_secs(8);
        limits.inactivity = Duration::from_secs(3);
        Target::new(Device::new("recording", "recording", "recording", "recording"), login).with_limits(limits)
    }

    /// The commands that it knows the answers of, in order, each once.
    #[must_use]
    pub fn commands(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for step in self.steps.iter().filter(|s| !s.line().trim().is_empty() && !s.is_credential()) {
            if !all.contains(&step.line()) {
                all.push(step.line());
            }
        }
        all
    }
}
