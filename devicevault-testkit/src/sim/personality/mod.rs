//! The command lines of platforms.

mod cisco_ios;
mod frr;
mod juniper_junos;
mod linux;
mod mikrotik_routeros;

use std::fmt::Debug;

use bytes::Bytes;

pub(super) use cisco_ios::CiscoIos;
pub(super) use frr::Frr;
pub(super) use juniper_junos::JuniperJunos;
pub(super) use linux::Linux;
pub(super) use mikrotik_routeros::MikrotikRouteros;

use super::config::Generated;

/// What a device knows of itself when it answers.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) username: String,
    pub(super) enable: Option<String>,
    /// The configuration, and the one that a restart would take.
    pub(super) config: Bytes,
    pub(super) startup: Bytes,
    /// How often the configuration was changed.
    pub(super) changes: u64,
    /// Moves on with every answer where the device is volatile, and stands otherwise.
    pub(super) tick: u64,
}

impl Facts {
    /// Time of day, as volatile lines show it.
    pub(super) fn time(&self) -> String {
        let at = self.tick % 86_400;
        format!("{:02}:{:02}:{:02}", at / 3600 % 24, at / 60 % 60, at % 60)
    }
}

/// Where a session stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Mode {
    pub(super) privileged: bool,
    pub(super) configuring: bool,
    /// Lines of a page; 0 does not page.
    pub(super) page: u32,
}

/// What a command comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    Text(Bytes),
    /// Ask for the enable secret.
    AskEnable,
    Leave,
}

impl Answer {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Bytes::from(text.into()))
    }
}

/// How long texts are paged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pager {
    pub(super) marker: &'static str,
    /// Takes the marker off the screen.
    pub(super) erase: &'static str,
}

/// A platform's command line.
pub(super) trait Personality: Debug + Send + Sync {
    /// The name that platform files know it by.
    fn platform(&self) -> &'static str;
    /// Makes a configuration of at least this many bytes.
    fn generate(&self, name: &str, seed: u64, size: usize) -> Generated;
    /// What stands before the first prompt.
    fn greeting(&self, facts: &Facts) -> String;
    fn prompt(&self, facts: &Facts, mode: &Mode) -> String;
    /// What a command in a shell answers; it may change the mode.
    fn answer(&self, facts: &Facts, mode: &mut Mode, command: &str) -> Answer;
    /// What an unknown command answers.
    fn unknown(&self, command: &str) -> String;
    /// Which mode a session begins in.
    fn begin(&self, facts: &Facts, page: u32) -> Mode;
    /// Answer and exit status of a command without a shell; `None` where a shell is needed.
    fn exec(&self, facts: &Facts, command: &str) -> Option<(Answer, u32)>;
    /// Commands whose answer is the configuration.
    fn shows_config(&self, command: &str) -> bool;
    fn pager(&self) -> Option<Pager>;
    /// How lines end where no terminal turns LF into CR LF.
    fn line_end(&self) -> &'static [u8] {
        b"\n"
    }
}

/// Whether a person means this command: every word is the beginning of its word.
pub(super) fn is(typed: &str, command: &str) -> bool {
    let (mut typed, mut full) = (typed.split_whitespace(), command.split_whitespace());
    loop {
        match (typed.next(), full.next()) {
            (None, None) => return true,
            (Some(t), Some(f)) if f == t || (t.len() > 1 && f.starts_with(t)) => {}
            _ => return false,
        }
    }
}

/// The number that follows these words.
pub(super) fn number_after(typed: &str, words: &str) -> Option<u32> {
    let (rest, number) = typed.trim().rsplit_once(' ')?;
    if is(rest, words) { number.parse().ok() } else { None }
}

/// Texts one after the other.
pub(super) fn joined(parts: &[&[u8]]) -> Answer {
    Answer::Text(parts.concat().into())
}
