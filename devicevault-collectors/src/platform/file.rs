//! A platform file as it is written. Unknown keys are refused, expressions are compiled as they are read.
//!
//! The documentation of these types is what users read: the reference and the JSON Schema are made from it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use regex::bytes::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::transport::Transport;

/// A platform: what is known of a vendor's operating system.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlatformFile {
    /// What devices name it by: 1 to 64 of `a-z`, `0-9`, underscore, hyphen and dot.
    pub(crate) name: String,
    /// For people.
    pub(crate) title: String,
    /// Other names that find it, such as those of other tools.
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    /// How commands are given.
    #[serde(default)]
    pub(crate) channel: Channel,
    /// What the platform is reached by where a device does not say.
    #[serde(default)]
    pub(crate) transport: Option<Transport>,
    /// How the configuration's language begins a comment. Headings between the answers of several commands begin so.
    #[serde(default = "default_comment")]
    pub(crate) comment: String,
    /// Lines by which the device refuses a command: an answer that holds one is a refusal, not output.
    #[serde(default)]
    pub(crate) failure: Vec<Expression>,
    /// Lines by which the device says, within a text, that something of it could not be read. They refuse nothing; a text
    /// that holds one is kept as suspect.
    #[serde(default)]
    pub(crate) trouble: Vec<Expression>,
    /// What people wrote over several lines, such as a banner: lines of `failure` and `trouble` may stand in it.
    #[serde(default)]
    pub(crate) prose: Vec<TextOr<ProseSection>>,
    /// Values that go over several lines in this language, with every mark in them escaped: lines of `failure` and
    /// `trouble` may stand in them. Where a kind is not named, a value ends with its line, and a lone mark hides nothing.
    #[serde(default)]
    pub(crate) multiline: Vec<Multiline>,
    #[serde(default)]
    pub(crate) ssh: SshSection,
    #[serde(default)]
    pub(crate) session: Option<SessionSection>,
    #[serde(default)]
    pub(crate) exec: ExecSection,
    /// Questions between the connection and the first prompt, and how they are answered.
    #[serde(default)]
    pub(crate) login: Vec<QuestionSection>,
    #[serde(default)]
    pub(crate) enable: Option<EnableSection>,
    #[serde(default)]
    pub(crate) logout: LogoutSection,
    #[serde(default)]
    pub(crate) restore: RestoreSection,
    #[serde(default)]
    pub(crate) detect: DetectSection,
    /// What is collected, in this order.
    pub(crate) artefacts: Vec<ArtefactSection>,
    /// Lines from which follows what whoever reads the backup has to know: a warning of each run that meets one.
    #[serde(default)]
    pub(crate) remarks: Vec<RemarkSection>,
    /// Lines that change by themselves: ignored when versions are compared, kept in the original. A text stands for a
    /// table with `line` alone.
    #[serde(default)]
    pub(crate) volatile: Vec<TextOr<LineSection>>,
    /// Runs of lines that change by themselves.
    #[serde(default)]
    pub(crate) volatile_blocks: Vec<BlockSection>,
    /// Secrets within a line: masked in the redacted view. A text stands for a table with `line` alone.
    #[serde(default)]
    pub(crate) secrets: Vec<TextOr<SecretSection>>,
    /// Secrets that span lines, such as keys: masked in the redacted view.
    #[serde(default)]
    pub(crate) secret_blocks: Vec<BlockSection>,
    /// Lines in which no secret is looked for behind `password`, `key`, `token` and other names that secrets have on most
    /// platforms: in them such a name says something else. The rules above apply to them all the same.
    #[serde(default)]
    pub(crate) plain: Vec<Expression>,
    /// The end of a line that goes on in the next one, such as a backslash. What matches and the blanks that begin the
    /// next line are no part of the text; secrets are looked for in what is put together so.
    #[serde(default)]
    pub(crate) continued: Option<Expression>,
}

fn default_comment() -> String {
    "#".to_owned()
}

/// What stands around a value that goes over several lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Multiline {
    /// Double quotes.
    Quotes,
    /// The tags of an element, or the marks of a CDATA section.
    Elements,
}

/// How commands are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Confirm {
    /// An empty line is sent at the prompt, and exactly the prompt comes back.
    #[default]
    EmptyLine,
    /// For platforms of which it is not known what an empty line does: one is tried at login. Where exactly the prompt comes
    /// back, as `empty-line`; where it does not, as `quiet`.
    Learned,
    /// For platforms on which an empty line does something: nothing more comes for three times the longest gap seen, at
    /// least a second, and for two seconds more where an artefact ends. What comes after that all the same, before the
    /// device reads the next command, makes the text suspect.
    Quiet,
}

/// When typed characters appear on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Echo {
    /// Not known: an empty line that was typed while an answer still came may have left a mark in it.
    #[default]
    Unknown,
    /// When the device reads them: its own line editor shows them, at the prompt and never in an answer.
    WhenRead,
}

/// How SSH is spoken.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SshSection {
    /// Which algorithms are offered where the device's own options do not say: `modern` (also where nothing is said),
    /// `legacy` or `ancient`.
    pub(crate) profile: Option<String>,
}

/// The conversation at a prompt. A platform that is asked by shell needs it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionSection {
    /// What a prompt may look like, without the line's end. The exact one is learned at login, and again after
    /// `enable`. What groups named `varies`, `varies2` … match may differ from one prompt to the next.
    pub(crate) prompt: Expression,
    /// What asks for the next page; a blank answers it. Without it, the pagers of many vendors are known.
    #[serde(default)]
    pub(crate) pager: Option<Expression>,
    /// The device goes to the next line behind a pager that was answered, instead of erasing it.
    #[serde(default)]
    pub(crate) pager_ends_line: bool,
    /// Commands before the first artefact, such as those that turn paging off. A refusal does no harm.
    #[serde(default)]
    pub(crate) setup: Vec<TextOr<SetupSection>>,
    /// What is put behind the user name where a shell is opened: settings of the console. A user name that has such
    /// words of its own stays as it is.
    #[serde(default)]
    pub(crate) login_suffix: String,
    /// How it is made sure that an answer is complete.
    #[serde(default)]
    pub(crate) confirm: Confirm,
    /// When typed characters appear.
    #[serde(default)]
    pub(crate) echo: Echo,
    /// What ends a typed line: `"\n"`, `"\r"` or `"\r\n"`.
    #[serde(default = "default_line_end")]
    pub(crate) line_end: String,
    /// Width of the terminal, so that no line is wrapped. At most 10000.
    #[serde(default = "default_columns")]
    pub(crate) columns: u32,
    /// Height of the terminal, so that nothing is paged that pages by it. At most 10000.
    #[serde(default = "default_rows")]
    pub(crate) rows: u32,
}

/// A command that prepares the session, and what the device asks at that.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetupSection {
    /// What is typed.
    pub(crate) run: String,
    /// What the device asks before it answers.
    #[serde(default)]
    pub(crate) questions: Vec<QuestionSection>,
}

impl FromText for SetupSection {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { run: text.to_owned(), questions: Vec::new() })
    }
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

/// Commands without a terminal.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExecSection {
    /// An exit status other than 0 is a refusal, also where there was output.
    pub(crate) check_status: bool,
    /// Every answer ends with the end of a line: one that does not was cut off, whatever its status. Where one does not,
    /// a command of `[detect]` is asked besides: a device that leaves the line end out there too leaves it out everywhere.
    pub(crate) whole_lines: bool,
}

/// A line, and what follows from it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemarkSection {
    /// The line, without its line end; of any artefact.
    pub(crate) line: Expression,
    /// For people: what it means, and what to do.
    pub(crate) says: String,
}

/// A question, and exactly one kind of answer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuestionSection {
    /// The line that asks, without its line end.
    pub(crate) expect: Expression,
    /// Answered by this text and a line end.
    #[serde(default)]
    pub(crate) answer: Option<String>,
    /// Answered by this text alone.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// Answered by a part of the login and a line end. It is given once: asked again, it was rejected.
    #[serde(default)]
    pub(crate) credential: Option<Credential>,
}

/// Which part of a login answers a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Credential {
    /// The user name.
    Username,
    /// The password.
    Password,
    /// The user name that `enable` asks for.
    EnableUsername,
    /// The enable secret.
    Enable,
}

/// How privileges are raised, where the first prompt is not the privileged one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnableSection {
    /// What is typed.
    pub(crate) command: String,
    /// The prompt of a session that has the privileges: where the first prompt matches, nothing is typed.
    pub(crate) prompt: Expression,
    /// The line that asks for the enable secret.
    pub(crate) password: Expression,
    /// The line that asks for a user name first; what is usual, unless set.
    #[serde(default)]
    pub(crate) username: Option<Expression>,
}

/// How what was taken is put back. Nothing of it is done by itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RestoreSection {
    /// What a person does, in a sentence or two: told after `devicevault restore`.
    pub(crate) hint: Option<String>,
}

/// How a session is left.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogoutSection {
    /// What is typed, also several times where each leaves one level.
    pub(crate) command: Option<String>,
    /// What may be asked at that, and how it is answered.
    pub(crate) questions: Vec<QuestionSection>,
}

/// How a device of this platform is recognised. The weights of the signs that are seen are added up; from 80 on, and
/// with a lead of 30 over every other platform, it is sure.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DetectSection {
    /// Commands that change nothing and tell what the device is, the most telling first. Two are tried on a device, those
    /// that the likeliest platforms name; a third where two brought no sign at all.
    pub(crate) commands: Vec<String>,
    /// In the version line of its SSH server, such as `SSH-2.0-Cisco-1.25`. Weight 20 where none is said.
    pub(crate) ssh: Vec<TextOr<SignSection>>,
    /// In a line before the first prompt, or of the SSH server's banner. Weight 30 where none is said.
    pub(crate) banner: Vec<TextOr<SignSection>>,
    /// In its prompt. Weight 10 where none is said.
    pub(crate) prompt: Vec<TextOr<SignSection>>,
    /// In a line of what it answers to one of the commands. Weight 80 where none is said.
    pub(crate) answers: Vec<TextOr<SignSection>>,
}

/// A sign by which a platform is recognised. A text stands for a table with `line` alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignSection {
    /// Where it is seen.
    pub(crate) line: Expression,
    /// How much it says: from -100, which rules the platform out, to 100.
    #[serde(default)]
    pub(crate) weight: Option<i32>,
}

impl FromText for SignSection {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { line: Expression::compile(text)?, weight: None })
    }
}

/// Something that is collected: what one or several commands print.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArtefactSection {
    /// `running-config`, `startup-config`, `inventory`, or another name of 1 to 64 of `a-z`, `0-9` and hyphen.
    pub(crate) name: String,
    /// What is typed; the answers are put together. A text stands for a table with `run` alone.
    pub(crate) commands: Vec<TextOr<CommandSection>>,
    /// A device without it is still backed up well.
    #[serde(default)]
    pub(crate) optional: bool,
    /// Of the file that it is stored in.
    #[serde(default = "default_extension")]
    pub(crate) extension: String,
    /// In bytes; what is smaller is suspect.
    #[serde(default = "default_min_size")]
    pub(crate) min_size: u64,
    /// The last line of a whole text that is not blank. Where it is missing, the text is suspect; where it is seen, the
    /// prompt after it needs no confirmation.
    #[serde(default)]
    pub(crate) end_marker: Option<Expression>,
    /// The end marker is due only where a line before it matches this: for devices whose texts may be parts, without an end
    /// of their own.
    #[serde(default)]
    pub(crate) end_marker_after: Option<Expression>,
    /// Lines that every whole text has: for each of these, one has to match, or the text is suspect. What somebody without
    /// privileges is shown often lacks them.
    #[serde(default)]
    pub(crate) requires: Vec<Expression>,
    /// The line among the first ten by which the device says how many bytes follow: the number is its group `bytes`. A text
    /// that is a tenth shorter is told in the run, and suspect where it is that much shorter than the last good one, too.
    #[serde(default)]
    pub(crate) stated_length: Option<Expression>,
    /// Lines that change by themselves in this artefact, beside the platform's.
    #[serde(default)]
    pub(crate) volatile: Vec<TextOr<LineSection>>,
    /// Runs of lines that change by themselves in this artefact, beside the platform's.
    #[serde(default)]
    pub(crate) volatile_blocks: Vec<BlockSection>,
}

pub(super) fn default_extension() -> String {
    "txt".to_owned()
}

fn default_min_size() -> u64 {
    1
}

/// A command.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandSection {
    /// What is typed.
    pub(crate) run: String,
    /// What is tried, one after the other, where the device refuses it.
    #[serde(default)]
    pub(crate) otherwise: Vec<String>,
    /// That the device refuses all of them is noted and does no harm.
    #[serde(default)]
    pub(crate) optional: bool,
    /// What the device asks in the middle of its answer; the question is no part of the text.
    #[serde(default)]
    pub(crate) questions: Vec<QuestionSection>,
}

impl FromText for CommandSection {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { run: text.to_owned(), otherwise: Vec::new(), optional: false, questions: Vec::new() })
    }
}

/// A line that changes by itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineSection {
    /// Which lines.
    pub(crate) line: Expression,
    /// What matches is replaced by this (`$1` or `${name}` is a group), instead of the line being left out.
    #[serde(default)]
    pub(crate) replace: Option<String>,
    /// Only among the first so many lines of the text.
    #[serde(default)]
    pub(crate) head: Option<u64>,
}

impl FromText for LineSection {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { line: Expression::compile(text)?, replace: None, head: None })
    }
}

/// A secret within a line.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretSection {
    /// Which lines. Its groups `secret`, `secret2` … are masked; without one, its first group; without any, the whole
    /// match.
    pub(crate) line: Expression,
    /// Only below such a line, by indentation.
    #[serde(default)]
    pub(crate) within: Option<Expression>,
    /// The device shows it differently every time though nothing changed: a constant mask.
    #[serde(default)]
    pub(crate) resalted: bool,
}

impl FromText for SecretSection {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { line: Expression::compile(text)?, within: None, resalted: false })
    }
}

/// What people wrote over several lines.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProseSection {
    /// Its first line. A group `until` matches the mark that ends it: its last line is the next that holds the same.
    pub(crate) start: Expression,
    /// Its last line, where there is no such mark.
    #[serde(default)]
    pub(crate) end: Option<Expression>,
}

impl FromText for ProseSection {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { start: Expression::compile(text)?, end: None })
    }
}

/// A run of lines.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockSection {
    /// Its first line. In a secret, a group `keep` says what stays of that line; without one, all of it.
    pub(crate) start: Expression,
    /// Its last line, which may be the first.
    pub(crate) end: Expression,
    /// Whether a mask leaves the last line.
    #[serde(default = "yes")]
    pub(crate) keep_end: bool,
    /// The device shows it differently every time though nothing changed: a constant mask.
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

impl JsonSchema for Expression {
    fn schema_name() -> Cow<'static, str> {
        "Expression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An expression of Rust's `regex`, matched without Unicode against one line without its end.",
        })
    }
}

impl<T: JsonSchema> JsonSchema for TextOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("TextOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}
