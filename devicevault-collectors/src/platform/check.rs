//! From a platform file's text to a platform, with errors that say where.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::sync::Arc;

use devicevault_core::text::{BlockRule, LineRule, SecretRule, SuspectRules, TextRules};
use devicevault_core::{ArtifactInfo, Error, ErrorKind, Result, check_artefact_name};
use regex::bytes::{Regex, RegexSetBuilder};

use super::file::{
    ArtefactSection, BlockSection, CommandSection, Expression, LineSection, PlatformFile, QuestionSection,
    SecretSection,
};
use super::{
    Answer, ArtefactRules, Channel, CommandRules, Credential, EnableRules, Platform, PlatformSource, Question,
    ShellRules,
};

/// Pagers of many vendors. It is looked for at the end of a line that stands at the very end of what has come.
const PAGER: &str = r"(?i)(?:-{2,4} ?\(?more\)?[^-]{0,60}-{2,4}(?: ?or \(q\)uit|, next page: .*)?|<-+ ?more ?-+>|\bmore: ?<space>.*|^ ?lines \d+-\d+.*|(?:press|hit) (?:any key|<?space(?:bar)?>?|<?enter>?|<?return>?)(?: key)? to continue.*)\s*$";

pub(super) fn platform(text: &str, source: &PlatformSource) -> Result<Platform> {
    let file: PlatformFile = toml::from_str(text).map_err(|e| located(&e, text, source))?;
    compile(file, text, source).map_err(|e| with_file(e, source))
}

/// Names, aliases and title alone: enough for a list.
pub(super) fn names(text: &str) -> Option<(String, Vec<String>)> {
    #[derive(serde::Deserialize)]
    struct Names {
        name: String,
        #[serde(default)]
        aliases: Vec<String>,
    }
    toml::from_str::<Names>(text).ok().map(|n| (n.name, n.aliases))
}

fn wrong(key: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "read platform file", message).with("key", key)
}

fn with_file(e: Error, source: &PlatformSource) -> Error {
    match source {
        PlatformSource::BuiltIn => e,
        PlatformSource::File(path) => e.with("file", path.display()),
    }
}

/// A fault of the text, with line, column and the key that stands there.
fn located(e: &toml::de::Error, text: &str, source: &PlatformSource) -> Error {
    let mut error = Error::new(ErrorKind::Config, "read platform file", e.message().trim().replace('\n', " "));
    if let Some(span) = e.span() {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        if let Some(key) = key_at(text, line) {
            error = error.with("key", key);
        }
        error = error.with("line", line + 1).with("column", column + 1);
    }
    with_file(error, source)
}

/// `section.key` of a line, by what stands on it and above it.
fn key_at(text: &str, line: usize) -> Option<String> {
    let above: Vec<&str> = text.lines().take(line + 1).collect();
    let is_header = |l: &&&str| l.trim_start().starts_with('[') && !l.contains('=');
    let key = above
        .iter()
        .rev()
        .find_map(|l| l.split_once('=').map(|(k, _)| k.trim()))
        .filter(|k| !k.is_empty() && k.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-\"".contains(&b)));
    let header = above.iter().rev().find(is_header).map(|h| h.trim().trim_matches(['[', ']']));
    match (header, key) {
        (Some(h), Some(k)) => Some(format!("{h}.{k}")),
        (None, Some(k)) => Some(k.to_owned()),
        (h, None) => h.map(str::to_owned),
    }
}

fn compile(file: PlatformFile, text: &str, source: &PlatformSource) -> Result<Platform> {
    for name in std::iter::once(&file.name).chain(&file.aliases) {
        check_name(name)?;
    }
    if let Some(profile) = &file.ssh.profile {
        profile.parse::<devicevault_ssh::Profile>().map_err(|e| wrong("ssh.profile", e.to_string()))?;
    }
    if file.channel == Channel::Shell && file.session.is_none() {
        return Err(wrong("session", "a platform that is asked by shell needs [session] with its prompt"));
    }
    let failure: Vec<Regex> = file.failure.into_iter().map(|e| e.0).collect();
    let mut rules = TextRules::default();
    rules.volatile = file.volatile.into_iter().map(|v| line(v.0)).collect();
    rules.volatile_blocks = file.volatile_blocks.into_iter().map(block).collect();
    rules.secrets = file.secrets.into_iter().map(|s| secret(s.0)).collect();
    rules.secret_blocks = file.secret_blocks.into_iter().map(block).collect();
    rules.suspect.failure.clone_from(&failure);
    if file.artefacts.is_empty() {
        return Err(wrong("artefacts", "a platform has at least one artefact"));
    }
    let mut artefacts: Vec<ArtefactRules> = Vec::new();
    for section in file.artefacts {
        if artefacts.iter().any(|a| a.info.name == section.name) {
            return Err(wrong("artefacts.name", "two artefacts have this name").with("artefact", &section.name));
        }
        artefacts.push(artefact(section, &rules)?);
    }
    let shell = match file.session {
        None => None,
        Some(s) => Some(ShellRules {
            prompt: s.prompt.0,
            pager: match s.pager {
                Some(own) => own.0,
                None => default_pager()?,
            },
            pager_ends_line: s.pager_ends_line,
            setup: commands("session.setup", s.setup)?,
            confirm: s.confirm,
            echo: s.echo,
            line_end: line_end(s.line_end)?,
            columns: within("session.columns", s.columns)?,
            rows: within("session.rows", s.rows)?,
            login: questions("login", file.login)?,
            enable: file.enable.map(|e| EnableRules {
                command: e.command,
                prompt: e.prompt.0,
                question: Question { expect: e.password.0, answer: Answer::Credential(Credential::Enable) },
            }),
            logout: file.logout.command,
            logout_questions: questions("logout.questions", file.logout.questions)?,
        }),
    };
    Ok(Platform {
        name: file.name,
        title: file.title,
        aliases: file.aliases,
        source: source.clone(),
        text: text.to_owned(),
        channel: file.channel,
        comment: file.comment,
        ssh_profile: file.ssh.profile,
        check_status: file.exec.check_status,
        shell,
        failure,
        artefacts,
    })
}

fn default_pager() -> Result<Regex> {
    let built = regex::bytes::RegexBuilder::new(PAGER).unicode(false).build();
    built.map_err(|e| Error::new(ErrorKind::Internal, "compile pagers", "the built-in expression is wrong").because(e))
}

fn check_name(name: &str) -> Result<()> {
    let ok = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b))
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if ok {
        return Ok(());
    }
    Err(wrong("name", "a platform's name is 1 to 64 of a-z, 0-9, underscore, hyphen and dot")
        .with("name", name.escape_debug()))
}

fn line_end(text: String) -> Result<String> {
    if ["\n", "\r", "\r\n"].contains(&text.as_str()) {
        return Ok(text);
    }
    Err(wrong("session.line_end", r#"a line ends in "\n", "\r" or "\r\n""#))
}

fn within(key: &'static str, characters: u32) -> Result<u32> {
    if characters <= 10_000 { Ok(characters) } else { Err(wrong(key, "a terminal has at most 10000 of them")) }
}

/// A command with a line end in it would be two commands.
fn commands(key: &str, list: Vec<String>) -> Result<Vec<String>> {
    match list.iter().find(|c| c.trim().is_empty() || c.contains(['\r', '\n', '\0'])) {
        Some(bad) => Err(wrong(key, "a command is one line that is not blank").with("command", bad.escape_debug())),
        None => Ok(list),
    }
}

fn questions(key: &str, list: Vec<QuestionSection>) -> Result<Vec<Question>> {
    let one = |q: QuestionSection| {
        let answer = match (q.answer, q.key, q.credential) {
            (Some(text), None, None) => Answer::Line(text),
            (None, Some(text), None) => Answer::Key(text),
            (None, None, Some(part)) => Answer::Credential(part),
            _ => return Err(wrong(key, "a question has one of `answer`, `key` and `credential`")),
        };
        Ok(Question { expect: q.expect.0, answer })
    };
    list.into_iter().map(one).collect()
}

fn artefact(section: ArtefactSection, shared: &TextRules) -> Result<ArtefactRules> {
    check_artefact_name(&section.name)
        .map_err(|e| wrong("artefacts.name", e.message()).with("artefact", section.name.escape_debug()))?;
    if section.commands.is_empty() {
        return Err(wrong("artefacts.commands", "an artefact needs a command").with("artefact", &section.name));
    }
    let mut rules = shared.clone();
    rules.volatile.extend(section.volatile.into_iter().map(|v| line(v.0)));
    rules.volatile_blocks.extend(section.volatile_blocks.into_iter().map(block));
    let mut suspect = SuspectRules::default();
    suspect.failure.clone_from(&shared.suspect.failure);
    suspect.end_marker = section.end_marker.as_ref().map(|e| e.0.clone());
    rules.suspect = suspect;
    let mut info = ArtifactInfo::text(&section.name)
        .with_extension(section.extension)
        .with_min_size(section.min_size)
        .with_rules(Arc::new(prefiltered(rules)?));
    if section.optional {
        info = info.optional();
    }
    let own = section.commands.into_iter().map(|c| command(c.0)).collect::<Result<_>>();
    let commands = own.map_err(|e| e.with("artefact", &section.name))?;
    Ok(ArtefactRules { info, commands, end_marker: section.end_marker.map(|e| e.0) })
}

/// Most lines concern no rule: one automaton, compiled with the same flag as the rules, says so in one pass.
fn prefiltered(rules: TextRules) -> Result<TextRules> {
    const SIZE: usize = 64 << 20;
    let patterns: Vec<_> = rules.expressions().map(|r| r.as_str().to_owned()).collect();
    let set = RegexSetBuilder::new(patterns).unicode(false).size_limit(SIZE).dfa_size_limit(SIZE).build();
    let set = set.map_err(|e| wrong("secrets", "the rules are too large to be matched together").because(e))?;
    Ok(rules.with_prefilter(set))
}

fn command(section: CommandSection) -> Result<CommandRules> {
    let mut spellings = vec![section.run];
    spellings.extend(section.otherwise);
    Ok(CommandRules { spellings: commands("artefacts.commands", spellings)?, optional: section.optional })
}

fn line(section: LineSection) -> LineRule {
    let Expression(expression) = section.line;
    let rule = match section.replace {
        Some(by) => LineRule::replace(expression, by),
        None => LineRule::drop(expression),
    };
    match section.head {
        Some(lines) => rule.in_head(lines),
        None => rule,
    }
}

fn secret(section: SecretSection) -> SecretRule {
    let rule = SecretRule::new(section.line.0).resalted(section.resalted);
    match section.within {
        Some(header) => rule.within(header.0),
        None => rule,
    }
}

fn block(section: BlockSection) -> BlockRule {
    BlockRule::new(section.start.0, section.end.0).keep_end(section.keep_end).resalted(section.resalted)
}
