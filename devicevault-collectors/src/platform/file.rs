//! A platform file as it is written. Unknown keys are refused, expressions are compiled as they are read.

use std::fmt;
use std::marker::PhantomData;

use regex::bytes::{Regex, RegexBuilder};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Everything that a file may hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlatformFile {
    pub(crate) name: String,
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    #[serde(default)]
    pub(crate) channel: Channel,
    #[serde(default = "default_comment")]
    pub(crate) comment: String,
    #[serde(default)]
    pub(crate) failure: Vec<Expression>,
    #[serde(default)]
    pub(crate) ssh: SshSection,
    #[serde(default)]
    pub(crate) session: Option<SessionSection>,
    #[serde(default)]
    pub(crate) exec: ExecSection,
    #[serde(default)]
    pub(crate) login: Vec<QuestionSection>,
    #[serde(default)]
    pub(crate) enable: Option<EnableSection>,
    #[serde(default)]
    pub(crate) logout: LogoutSection,
    pub(crate) artefacts: Vec<ArtefactSection>,
    #[serde(default)]
    pub(crate) volatile: Vec<TextOr<LineSection>>,
    #[serde(default)]
    pub(crate) volatile_blocks: Vec<BlockSection>,
    #[serde(default)]
    pub(crate) secrets: Vec<TextOr<SecretSection>>,
    #[serde(default)]
    pub(crate) secret_blocks: Vec<BlockSection>,
}

fn default_comment() -> String {
    "#".to_owned()
}

/// How commands are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Channel {
    /// Typed at a prompt, on a terminal.
    #[default]
    Shell,
    /// Each on a channel of its own, without terminal, prompt and pager.
    Exec,
}

/// How it is known that an answer is complete, where no end marker tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Confirm {
    /// An empty line is sent at the prompt, and exactly the prompt comes back.
    #[default]
    EmptyLine,
    /// For platforms on which an empty line does something: nothing more comes for three times the longest gap seen,
    /// at least 250 ms.
    Quiet,
}

/// When typed characters appear on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Echo {
    /// Not known: an empty line that was typed while an answer still came may have left a mark in it.
    #[default]
    Unknown,
    /// When the device reads them: its own line editor shows them, at the prompt and never in an answer.
    WhenRead,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SshSection {
    pub(crate) profile: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionSection {
    pub(crate) prompt: Expression,
    #[serde(default)]
    pub(crate) pager: Option<Expression>,
    /// The device goes to the next line behind a pager that was answered, instead of erasing it.
    #[serde(default)]
    pub(crate) pager_ends_line: bool,
    #[serde(default)]
    pub(crate) setup: Vec<String>,
    #[serde(default)]
    pub(crate) confirm: Confirm,
    #[serde(default)]
    pub(crate) echo: Echo,
    #[serde(default = "default_line_end")]
    pub(crate) line_end: String,
    #[serde(default = "default_columns")]
    pub(crate) columns: u32,
    #[serde(default = "default_rows")]
    pub(crate) rows: u32,
}

fn default_line_end() -> String {
    "\n".to_owned()
}

fn default_columns() -> u32 {
    512
}

fn default_rows() -> u32 {
    1000
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExecSection {
    pub(crate) check_status: bool,
}

/// A question, and exactly one kind of answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuestionSection {
    pub(crate) expect: Expression,
    /// This text and a line end.
    #[serde(default)]
    pub(crate) answer: Option<String>,
    /// This text alone.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// A part of the login, and a line end.
    #[serde(default)]
    pub(crate) credential: Option<Credential>,
}

/// Which part of a login answers a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Credential {
    Username,
    Password,
    Enable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnableSection {
    pub(crate) command: String,
    pub(crate) prompt: Expression,
    pub(crate) password: Expression,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogoutSection {
    pub(crate) command: Option<String>,
    pub(crate) questions: Vec<QuestionSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArtefactSection {
    pub(crate) name: String,
    pub(crate) commands: Vec<TextOr<CommandSection>>,
    #[serde(default)]
    pub(crate) optional: bool,
    #[serde(default = "default_extension")]
    pub(crate) extension: String,
    #[serde(default = "default_min_size")]
    pub(crate) min_size: u64,
    #[serde(default)]
    pub(crate) end_marker: Option<Expression>,
    #[serde(default)]
    pub(crate) volatile: Vec<TextOr<LineSection>>,
    #[serde(default)]
    pub(crate) volatile_blocks: Vec<BlockSection>,
}

fn default_extension() -> String {
    "txt".to_owned()
}

fn default_min_size() -> u64 {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandSection {
    pub(crate) run: String,
    #[serde(default)]
    pub(crate) otherwise: Vec<String>,
    #[serde(default)]
    pub(crate) optional: bool,
}

impl FromText for CommandSection {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { run: text.to_owned(), otherwise: Vec::new(), optional: false })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineSection {
    pub(crate) line: Expression,
    #[serde(default)]
    pub(crate) replace: Option<String>,
    #[serde(default)]
    pub(crate) head: Option<u64>,
}

impl FromText for LineSection {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { line: Expression::compile(text)?, replace: None, head: None })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretSection {
    pub(crate) line: Expression,
    #[serde(default)]
    pub(crate) within: Option<Expression>,
    #[serde(default)]
    pub(crate) resalted: bool,
}

impl FromText for SecretSection {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { line: Expression::compile(text)?, within: None, resalted: false })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockSection {
    pub(crate) start: Expression,
    pub(crate) end: Expression,
    #[serde(default = "yes")]
    pub(crate) keep_end: bool,
    #[serde(default)]
    pub(crate) resalted: bool,
}

fn yes() -> bool {
    true
}

/// An expression over the bytes of one line. It is matched without Unicode, because a device's text need not be UTF-8:
/// `.` is any byte, `\w` and `\d` are those of ASCII.
#[derive(Debug, Clone)]
pub(crate) struct Expression(pub(crate) Regex);

impl Expression {
    fn compile(text: &str) -> Result<Self, String> {
        RegexBuilder::new(text).unicode(false).build().map(Self).map_err(|e| e.to_string())
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::compile(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

/// A table, or a text that stands for one with nothing but its first key.
#[derive(Debug)]
pub(crate) struct TextOr<T>(pub(crate) T);

pub(crate) trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self, String>;
}

impl<'de, T: FromText + Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: FromText + Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a table")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
                T::from_text(text).map_err(E::custom)
            }
            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        d.deserialize_any(Either(PhantomData)).map(Self)
    }
}
