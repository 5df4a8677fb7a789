//! Platforms: what is known of a vendor's operating system, as data.

mod builtin;
mod check;
mod file;
mod general;
mod outline;
mod place;
mod schema;
mod set;

use std::path::PathBuf;
use std::sync::Arc;

use devicevault_core::ArtifactInfo;
use devicevault_core::text::{ShapeRule, TextRules};
use regex::bytes::Regex;

use crate::transport::Transport;

pub(crate) use file::Credential;
pub use file::{Channel, Confirm, Echo};
pub use outline::{ArtefactOutline, PlatformOutline};
pub(crate) use place::located;
pub use schema::{platform_reference, platform_schema};
pub use set::PlatformSet;

/// Where a platform's file came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlatformSource {
    /// It is part of this program.
    BuiltIn,
    /// A user's file.
    File(PathBuf),
}

/// A platform, checked and compiled.
#[derive(Debug)]
pub struct Platform {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) restore_hint: Option<String>,
    pub(crate) aliases: Vec<String>,
    pub(crate) source: PlatformSource,
    pub(crate) text: String,
    pub(crate) channel: Channel,
    /// What it prefers to be reached by.
    pub(crate) transport: Option<Transport>,
    pub(crate) comment: String,
    pub(crate) ssh_profile: Option<String>,
    pub(crate) check_status: bool,
    pub(crate) whole_lines: bool,
    /// Harmless commands with short answers: those that recognise it.
    pub(crate) short: Vec<String>,
    pub(crate) shell: Option<Arc<ShellRules>>,
    pub(crate) failure: Vec<Regex>,
    pub(crate) remarks: Vec<Remark>,
    pub(crate) artefacts: Vec<ArtefactRules>,
}

/// How a terminal session with the platform goes.
#[derive(Debug, Clone)]
pub(crate) struct ShellRules {
    pub(crate) prompt: Regex,
    pub(crate) pager: Arc<Regex>,
    pub(crate) pager_ends_line: bool,
    pub(crate) setup: Vec<SetupRules>,
    pub(crate) login_suffix: String,
    pub(crate) confirm: Confirm,
    pub(crate) echo: Echo,
    pub(crate) line_end: String,
    pub(crate) columns: u32,
    pub(crate) rows: u32,
    pub(crate) login: Vec<Question>,
    /// Where the terminal itself asks who we are: the platform's questions, and those that are usual.
    pub(crate) prompted_login: Vec<Question>,
    /// A question that belongs to changing a password.
    pub(crate) password_change: Regex,
    pub(crate) enable: Option<EnableRules>,
    pub(crate) logout: Option<String>,
    pub(crate) logout_questions: Vec<Question>,
    /// What lines of a configuration look like.
    pub(crate) shape: ShapeRule,
    /// Lines of a log, which may come at any time.
    pub(crate) messages: Arc<[Regex]>,
}

/// A line of an answer, and what it means to people.
#[derive(Debug, Clone)]
pub(crate) struct Remark {
    pub(crate) line: Regex,
    pub(crate) says: String,
}

/// A command that prepares the session.
#[derive(Debug, Clone)]
pub(crate) struct SetupRules {
    pub(crate) run: String,
    pub(crate) questions: Vec<Question>,
}

/// A question of the device and what is answered.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) expect: Regex,
    pub(crate) answer: Answer,
}

/// What a question is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// This text and a line end.
    Line(String),
    /// This text alone.
    Key(String),
    /// A part of the login, and a line end. It is given once.
    Credential(Credential),
}

/// How privileges are raised.
#[derive(Debug, Clone)]
pub(crate) struct EnableRules {
    pub(crate) command: String,
    pub(crate) prompt: Regex,
    /// For a user name, and for the secret.
    pub(crate) questions: [Question; 2],
}

/// How a device of the platform is recognised.
#[derive(Debug, Default)]
pub(crate) struct DetectRules {
    pub(crate) commands: Vec<String>,
    pub(crate) ssh: Vec<Sign>,
    pub(crate) banner: Vec<Sign>,
    pub(crate) prompt: Vec<Sign>,
    pub(crate) answers: Vec<Sign>,
}

impl DetectRules {
    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        [&self.ssh, &self.banner, &self.prompt, &self.answers].iter().all(|signs| signs.is_empty())
    }
}

/// What is said by a line that matches.
#[derive(Debug)]
pub(crate) struct Sign {
    pub(crate) line: Regex,
    pub(crate) weight: i32,
}

/// An artefact and how it is asked for.
#[derive(Debug)]
pub(crate) struct ArtefactRules {
    pub(crate) info: ArtifactInfo,
    pub(crate) commands: Vec<CommandRules>,
    pub(crate) end_marker: Option<Arc<Regex>>,
}

/// A command, and what is tried when the device refuses it.
#[derive(Debug)]
pub(crate) struct CommandRules {
    /// In the order in which they are tried; never empty.
    pub(crate) spellings: Vec<String>,
    pub(crate) optional: bool,
    /// What the device asks before it answers.
    pub(crate) questions: Vec<Question>,
}

impl Platform {
    /// Reads and checks a platform file's text.
    ///
    /// # Errors
    /// `Config` with file, key, line and column.
    pub fn parse(text: &str, source: &PlatformSource) -> devicevault_core::Result<Arc<Self>> {
        check::platform(text, source).map(Arc::new)
    }

    /// The name that devices are given, such as `cisco_ios`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What a person does to put back what was taken, where the file says it.
    #[must_use]
    pub fn restore_hint(&self) -> Option<&str> {
        self.restore_hint.as_deref()
    }

    /// Other names for it.
    #[must_use]
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// Where its file came from.
    #[must_use]
    pub fn source(&self) -> &PlatformSource {
        &self.source
    }

    /// The file's text: the whole of what is known.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it prefers to be reached by; `None`: SSH.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        self.transport
    }

    /// How commands are given.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// What a device of this platform has.
    pub fn artefacts(&self) -> impl Iterator<Item = &ArtifactInfo> {
        self.artefacts.iter().map(|a| &a.info)
    }

    /// Whether a line would be taken for a prompt of this platform, sent as it is: with the control sequences that draw it.
    #[must_use]
    pub fn takes_for_prompt(&self, sent: &[u8]) -> bool {
        let line = crate::session::last_line(sent);
        self.shell.as_ref().is_some_and(|s| !line.is_empty() && s.prompt.is_match(&line))
    }

    /// Whether a line would be taken for a pager of this platform, from its beginning to its end.
    #[must_use]
    pub fn takes_for_pager(&self, line: &[u8]) -> bool {
        self.shell.as_ref().is_some_and(|s| crate::session::is_pager(&s.pager, line))
    }

    /// The rules for its texts; secrets are the same for all artefacts.
    pub(crate) fn text_rules(&self) -> Option<&TextRules> {
        self.artefacts.first().map(|a| a.info.rules.as_ref())
    }

    /// The commands that an artefact is made from, the first spelling of each.
    pub fn commands(&self, artefact: &str) -> impl Iterator<Item = &str> {
        let rules = self.artefacts.iter().find(move |a| a.info.name == artefact);
        rules.into_iter().flat_map(|a| &a.commands).filter_map(|c| c.spellings.first().map(String::as_str))
    }

    /// The commands that an artefact is made from, in every spelling that is tried.
    pub fn spellings(&self, artefact: &str) -> impl Iterator<Item = &str> {
        let rules = self.artefacts.iter().find(move |a| a.info.name == artefact);
        rules.into_iter().flat_map(|a| &a.commands).flat_map(|c| &c.spellings).map(String::as_str)
    }
}
