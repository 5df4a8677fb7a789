//! How a simulated device misbehaves.

use std::time::Duration;

/// One way to misbehave. A device may have several.
///
/// Commands are named as a person would type them in full; a quirk is for every command that begins so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quirk {
    /// Thinks so long before each answer.
    ThinkTime(Duration),
    /// Waits so long between an answer and the prompt.
    SlowPrompt(Duration),
    /// Takes so long to accept a password.
    SlowLogin(Duration),
    /// Writes in pieces of so many bytes, with a pause after each.
    Pieces {
        /// At least one.
        bytes: usize,
        /// May be zero.
        pause: Duration,
    },
    /// Pages even after it was told not to.
    PagerAlways,
    /// Lines that look like prompts, pagers and questions of other devices stand in the middle of the configuration.
    PromptLookalikes,
    /// The device's own prompt stands alone on a line in the middle of the configuration, and the text pauses behind it,
    /// before the line's end.
    OwnPromptInText(Duration),
    /// Bytes that are no UTF-8, and NUL, stand in the middle of the configuration.
    InvalidUtf8,
    /// What is typed is not echoed.
    NoEcho,
    /// What is typed is echoed as it arrives, in the middle of an answer too, as a Unix terminal does.
    EchoAtOnce,
    /// The echo is broken at this column, whatever width was asked for.
    EchoWrapped(u16),
    /// Escape sequences everywhere, that change nothing of what a person would see.
    AnsiStorm,
    /// The connection is cut once so many bytes of the answer were written.
    CutOff {
        /// Which command.
        command: String,
        /// How many bytes, line ends as sent.
        after: u64,
    },
    /// The connection is cut once the device has sent so many bytes, whatever they were: in the negotiation, at the login,
    /// in an answer.
    CutOffAfter(u64),
    /// Nothing comes any more once the device has sent so many bytes, whatever they were.
    StallsAfter(u64),
    /// The password has to be changed: a new one is asked for before the first prompt.
    AsksNewPassword,
    /// The prompt is another one from the first answer on.
    PromptChanges,
    /// Nothing comes any more once so many bytes of the answer were written.
    Stall {
        /// Which command.
        command: String,
        /// How many bytes, line ends as sent.
        after: u64,
    },
    /// The answer has no end.
    Endless {
        /// Which command.
        command: String,
    },
    /// The command is refused as unknown.
    Refuses {
        /// Which command.
        command: String,
    },
    /// Passwords are taken by keyboard-interactive alone.
    KeyboardInteractiveOnly,
    /// Key exchange by ML-KEM and X25519 alone (`mlkem768x25519-sha256`): servers of OpenSSH 10.
    PostQuantum,
    /// Only SHA-1 key exchange of group 14, `ssh-rsa`, CBC and HMAC-SHA-1: firmware of ten years ago.
    LegacyAlgorithms,
    /// Only SHA-1 key exchange of group 1, `ssh-rsa`, Triple DES and HMAC-SHA-1: firmware of twenty years ago.
    AncientAlgorithms,
    /// `exit` asks whether to save first.
    AsksAtLogout,
    /// `exit` is not answered, and the connection stays open.
    NeverLogsOut,
}

/// What the quirks of a device come to for one command.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate {
    pub(super) cut_off: Option<u64>,
    pub(super) stall: Option<u64>,
    pub(super) endless: bool,
    pub(super) refused: bool,
}

/// What the quirks of a device come to for a whole session.
#[derive(Debug, Clone, Default)]
pub(super) struct Manners {
    pub(super) think: Duration,
    pub(super) slow_prompt: Duration,
    pub(super) pieces: Option<(usize, Duration)>,
    pub(super) pager_always: bool,
    pub(super) own_prompt: Option<Duration>,
    pub(super) no_echo: bool,
    pub(super) echo_at_once: bool,
    pub(super) echo_wrapped: Option<u16>,
    pub(super) ansi: bool,
    pub(super) asks_at_logout: bool,
    pub(super) never_logs_out: bool,
    pub(super) asks_new_password: bool,
    pub(super) prompt_changes: bool,
}

impl Manners {
    pub(super) fn of(quirks: &[Quirk]) -> Self {
        let mut m = Self::default();
        for quirk in quirks {
            match quirk {
                Quirk::ThinkTime(time) => m.think = *time,
                Quirk::SlowPrompt(time) => m.slow_prompt = *time,
                Quirk::Pieces { bytes, pause } => m.pieces = Some(((*bytes).max(1), *pause)),
                Quirk::PagerAlways => m.pager_always = true,
                Quirk::OwnPromptInText(pause) => m.own_prompt = Some(*pause),
                Quirk::NoEcho => m.no_echo = true,
                Quirk::EchoAtOnce => m.echo_at_once = true,
                Quirk::EchoWrapped(columns) => m.echo_wrapped = Some((*columns).max(2)),
                Quirk::AnsiStorm => m.ansi = true,
                Quirk::AsksAtLogout => m.asks_at_logout = true,
                Quirk::NeverLogsOut => m.never_logs_out = true,
                Quirk::AsksNewPassword => m.asks_new_password = true,
                Quirk::PromptChanges => m.prompt_changes = true,
                _ => {}
            }
        }
        m
    }
}

impl Fate {
    pub(super) fn of(quirks: &[Quirk], command: &str) -> Self {
        let mut fate = Self::default();
        for quirk in quirks {
            match quirk {
                Quirk::CutOff { command: c, after } if meant(c, command) => fate.cut_off = Some(*after),
                Quirk::Stall { command: c, after } if meant(c, command) => fate.stall = Some(*after),
                Quirk::Endless { command: c } if meant(c, command) => fate.endless = true,
                Quirk::Refuses { command: c } if meant(c, command) => fate.refused = true,
                _ => {}
            }
        }
        fate
    }
}

fn meant(quirk: &str, command: &str) -> bool {
    let mut given = command.split_whitespace();
    quirk.split_whitespace().all(|word| given.next().is_some_and(|g| word == g || (g.len() > 1 && word.starts_with(g))))
}

/// When a connection ends, by the bytes that were sent on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lifetime {
    pub(super) cut: Option<u64>,
    pub(super) stall: Option<u64>,
}

impl Lifetime {
    pub(super) fn of(quirks: &[Quirk]) -> Self {
        let mut lifetime = Self::default();
        for quirk in quirks {
            match quirk {
                Quirk::CutOffAfter(bytes) => lifetime.cut = Some(*bytes),
                Quirk::StallsAfter(bytes) => lifetime.stall = Some(*bytes),
                _ => {}
            }
        }
        lifetime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quirk_is_for_the_commands_that_begin_so() {
        for (command, yes) in [
            ("show running-config", true),
            ("sh run", true),
            ("show running-config view full", true),
            ("show", false),
            ("show version", false),
            ("", false),
        ] {
            assert_eq!(meant("show running-config", command), yes, "{command}");
        }
    }
}
