//! From a platform file's text to a platform, with errors that say where.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::sync::Arc;

use devicevault_core::text::{BlockRule, LineRule, Prefilter, ProseRule, SecretRule, TextRules};
use devicevault_core::{ArtifactInfo, Result, check_artefact_name};
use regex::bytes::Regex;

use super::file::{
    ArtefactSection, BlockSection, CommandSection, Confirm, DetectSection, EnableSection, Expression, LineSection,
    Multiline, PlatformFile, ProseSection, QuestionSection, SecretSection, SetupSection, SignSection, TextOr,
};
use super::general::{self, built_in};
use super::place::{Fault, OPERATION, located, wrong};
use super::{
    Answer, ArtefactRules, Channel, CommandRules, Credential, DetectRules, EnableRules, Platform, PlatformSource,
    Question, Remark, SetupRules, ShellRules, Sign,
};

/// Pagers of many vendors. It is looked for at the end of a line that stands at the very end of what has come.
/// What asks for the next page: Cisco's and its followers', Juniper's, Huawei's and H3C's, ProCurve's, EXOS's and SR OS's,
/// `less`; Aruba's with its keys, D-Link's, Eltex ESR's, Zhone's, ISAM's, Alteon's, Infinera's.
const PAGER: &str = concat!(
    r"(?i)(?:-{2,4} ?\(?more\)?[^-]{0,60}-{2,4}(?: ?or \(q\)uit|, next page: .*| \(q\) ?quit .*| <space> = next page.*)?",
    r"|<-+ ?more ?-+>|\bmore: ?<space>.*|^ ?more\? enter - next line; .*|^ ?lines \d+-\d+.*",
    r"|(?:press|hit) ?(?:any ?key|<?space(?:bar)?>?|<?enter>?|<?return>?)(?: key)? ?to ?continue.*",
    r"|press <space>\\?<n> to page.*|^<space> for next page, <cr> for next line, .*|^ ?ctrl\+c esc q quit space n next page .*",
    r"|press q to quit, any other key to continue.*|^enter 'q' to quit; any other key for more.*)\s*$",
);

/// The artefact that tells what a device is made of; it is no configuration.
const INVENTORY: &str = "inventory";
/// The artefact that many devices do not have, and say so.
const STARTUP: &str = "startup-config";
/// How platforms that follow Cisco show a banner: between two marks.
const BANNER: &str = r"^\s*banner \S+ (?<until>\^C)";
/// A comment over several lines.
const COMMENT: (&str, &str) = (r"^\s*/\*(?:[^*]|\*[^/])*$", r"\*/");
/// A banner whose mark is a quote.
const QUOTED_BANNER: &str = r#"^\s*banner \S+ "(?:[^"\\]|\\.)*\\?$"#;
/// A value over several lines in quotes: the last one of a line that stands where a value begins and is not closed.
/// In a comment it is none.
const QUOTED: &str = r#"^\s*(?:(?:[^\s"\\/#!]|\\.|"(?:[^"\\]|\\.)*")(?:[^"\\]|\\.|"(?:[^"\\]|\\.)*")*?)?(?:^|[\s=(:{\[,])"(?:[^"\\]|\\.)*\\?$"#;
/// The line in which it is closed.
const UNQUOTED: &str = r#"^(?:[^"\\]|\\.)*"(?:(?:[^"\\]|\\.)*"(?:[^"\\]|\\.)*")*(?:[^"\\]|\\.)*\\?$"#;
const CDATA: (&str, &str) = (r"<!\[CDATA\[(?:[^\]]|\][^\]])*\]?$", r"\]\]>");
/// The text of an element, up to its name.
const ELEMENT: &str = r"^\s*<(?<until>[A-Za-z_][\w\-.:]*)(?:\s[^<>]*)?>[^<]*[^<\s][^<]*$";

pub(super) fn platform(text: &str, source: &PlatformSource) -> Result<Platform> {
    let file: PlatformFile = toml::from_str(text).map_err(|e| located(OPERATION, &e, text, source))?;
    compile(file, text, source).map_err(|fault| fault.located(text, source))
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

/// Who asks for a user name on a terminal: `login:`, `Username:`, `switch1 login:`, `Please enter login name:`.
const USERNAME: &str =
    r"(?i)(?:^|[^\w])(?:user ?name|user ?id|user|login(?: name| as)?|account)(?: for [\w.\-]{1,64})? ?: *$";
/// And for a password: `Password:`, `backup's password:`, `Enter password for backup:`, `Passcode:`.
const PASSWORD: &str = r"(?i)(?:^|[^\w])(?:pass ?word|passwd|pass ?code|pass ?phrase)(?: for [^:]{1,80})? ?: *$";
/// What is asked of somebody whose password is to be changed. A text that ends in a question; no password is given.
const PASSWORD_CHANGE: &str = r"(?i)\b(?:new|old|current|retype|re-?enter|repeat|confirm|verify|change|changing|update|expired)\b.{0,60}\b(?:pass ?word|passwd)\b.{0,60}[:?>\]\)] *$|\b(?:pass ?word|passwd)\b.{0,80}\b(?:expired|be changed|change it|change now|be updated)\b.{0,80}[:?>\]\)] *$|\b(?:pass ?word|passwd) (?:again|\(again\)|confirmation) ?: *$";

/// Name, title and the signs by which a platform is recognised: the rest is not compiled.
pub(super) fn signs(text: &str) -> Option<(String, String, DetectRules)> {
    #[derive(serde::Deserialize)]
    struct Signs {
        name: String,
        title: String,
        #[serde(default)]
        detect: DetectSection,
    }
    let signs: Signs = toml::from_str(text).ok()?;
    Some((signs.name, signs.title, detect(signs.detect).ok()?))
}

fn compile(file: PlatformFile, text: &str, source: &PlatformSource) -> Result<Platform, Fault> {
    check_name("name", &file.name)?;
    for (i, alias) in file.aliases.iter().enumerate() {
        check_name(&format!("aliases.{i}"), alias)?;
    }
    if let Some(profile) = &file.ssh.profile {
        profile.parse::<devicevault_ssh::Profile>().map_err(|e| wrong("ssh.profile", e.to_string()))?;
    }
    if file.channel == Channel::Shell && file.session.is_none() {
        return Err(wrong("session", "a platform that is asked by shell needs [session] with its prompt"));
    }
    let short = detect(file.detect)?.commands;
    let failure: Vec<Regex> = file.failure.into_iter().map(|e| e.0).collect();
    let mut rules = TextRules::default();
    rules.volatile = lines("volatile", file.volatile)?;
    rules.volatile_blocks = file.volatile_blocks.into_iter().map(block).collect();
    rules.secrets = file.secrets.into_iter().map(|s| secret(s.0)).collect();
    rules.secret_blocks = file.secret_blocks.into_iter().map(block).collect();
    rules.plain = file.plain.into_iter().map(|e| e.0).collect();
    rules.continued = file.continued.map(|e| e.0);
    rules.suspect.failure = failure.iter().cloned().chain(file.trouble.into_iter().map(|e| e.0)).collect();
    rules.suspect.failure.push(general::trouble()?);
    rules.suspect.prose = prose(file.prose)?;
    rules.suspect.prose.push(ProseRule::until_its_mark(built_in(BANNER)?));
    // Where a comment begins so, it ends with its line.
    if file.comment != "/*" {
        rules.suspect.prose.push(ProseRule::new(built_in(COMMENT.0)?, built_in(COMMENT.1)?));
    }
    let value = |start, end| Ok::<_, Fault>(ProseRule::new(built_in(start)?, built_in(end)?).quoted());
    rules.suspect.prose.push(value(QUOTED_BANNER, UNQUOTED)?);
    // A backslash that continues a line does so in a value, too.
    if file.multiline.contains(&Multiline::Quotes) || rules.continued.is_some() {
        rules.suspect.prose.push(value(QUOTED, UNQUOTED)?);
    }
    if file.multiline.contains(&Multiline::Elements) {
        rules.suspect.prose.push(value(CDATA.0, CDATA.1)?);
        rules.suspect.prose.push(ProseRule::until_its_mark(built_in(ELEMENT)?).quoted());
    }
    if file.artefacts.is_empty() {
        return Err(wrong("artefacts", "a platform has at least one artefact"));
    }
    let mut artefacts: Vec<ArtefactRules> = Vec::new();
    for (i, section) in file.artefacts.into_iter().enumerate() {
        let at = format!("artefacts.{i}");
        if artefacts.iter().any(|a| a.info.name == section.name) {
            return Err(wrong(&format!("{at}.name"), "two artefacts have this name").with("artefact", &section.name));
        }
        artefacts.push(artefact(&at, section, &rules)?);
    }
    let shell = match file.session {
        None => None,
        // Silence proves nothing: that the device reads the logout tells that it had come to its prompt.
        Some(s) if s.confirm != Confirm::EmptyLine && file.logout.command.is_none() => {
            return Err(wrong(
                "session.confirm",
                "a confirmation by silence needs a logout: `[logout]` with its `command`",
            ));
        }
        Some(s) => Some(Arc::new(ShellRules {
            prompt: s.prompt.0,
            pager: Arc::new(match s.pager {
                Some(own) => own.0,
                None => built_in(PAGER)?,
            }),
            pager_ends_line: s.pager_ends_line,
            setup: s.setup.into_iter().enumerate().map(|(i, c)| setup(i, c.0)).collect::<Result<_, Fault>>()?,
            login_suffix: s.login_suffix,
            confirm: s.confirm,
            echo: s.echo,
            line_end: line_end(s.line_end)?,
            columns: within("session.columns", s.columns)?,
            rows: within("session.rows", s.rows)?,
            prompted_login: prompted(questions("login", file.login.clone())?)?,
            password_change: built_in(PASSWORD_CHANGE)?,
            login: questions("login", file.login)?,
            enable: file.enable.map(enable).transpose()?,
            logout: file.logout.command,
            logout_questions: questions("logout.questions", file.logout.questions)?,
            shape: general::shape()?,
            messages: general::messages()?.into(),
        })),
    };
    Ok(Platform {
        restore_hint: file.restore.hint,
        name: file.name,
        title: file.title,
        aliases: file.aliases,
        source: source.clone(),
        text: text.to_owned(),
        channel: file.channel,
        transport: file.transport,
        comment: file.comment,
        ssh_profile: file.ssh.profile,
        check_status: file.exec.check_status,
        whole_lines: file.exec.whole_lines,
        short,
        shell,
        failure,
        remarks: file.remarks.into_iter().map(|r| Remark { line: r.line.0, says: r.says }).collect(),
        artefacts,
    })
}

/// The platform's own questions go before the usual ones.
fn prompted(mut own: Vec<Question>) -> Result<Vec<Question>, Fault> {
    for (text, part) in [(USERNAME, Credential::Username), (PASSWORD, Credential::Password)] {
        own.push(Question { expect: built_in(text)?, answer: Answer::Credential(part) });
    }
    Ok(own)
}

fn enable(section: EnableSection) -> Result<EnableRules, Fault> {
    let username = section.username.map_or_else(|| built_in(USERNAME), |e| Ok(e.0))?;
    let question = |expect, part| Question { expect, answer: Answer::Credential(part) };
    Ok(EnableRules {
        command: section.command,
        prompt: section.prompt.0,
        questions: [question(username, Credential::EnableUsername), question(section.password.0, Credential::Enable)],
    })
}

fn check_name(at: &str, name: &str) -> Result<(), Fault> {
    let ok = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b))
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if ok {
        return Ok(());
    }
    Err(wrong(at, "a platform's name is 1 to 64 of a-z, 0-9, underscore, hyphen and dot")
        .with("name", name.escape_debug()))
}

fn line_end(text: String) -> Result<String, Fault> {
    if ["\n", "\r", "\r\n"].contains(&text.as_str()) {
        return Ok(text);
    }
    Err(wrong("session.line_end", r#"a line ends in "\n", "\r" or "\r\n""#))
}

fn within(key: &'static str, characters: u32) -> Result<u32, Fault> {
    if characters <= 10_000 { Ok(characters) } else { Err(wrong(key, "a terminal has at most 10000 of them")) }
}

/// A command with a line end in it would be two commands.
fn commands(key: &str, list: Vec<String>) -> Result<Vec<String>, Fault> {
    match list.iter().find(|c| c.trim().is_empty() || c.contains(['\r', '\n', '\0'])) {
        Some(bad) => Err(wrong(key, "a command is one line that is not blank").with("command", bad.escape_debug())),
        None => Ok(list),
    }
}

fn questions(key: &str, list: Vec<QuestionSection>) -> Result<Vec<Question>, Fault> {
    let one = |(i, q): (usize, QuestionSection)| {
        let answer = match (q.answer, q.key, q.credential) {
            (Some(text), None, None) => Answer::Line(text),
            (None, Some(text), None) => Answer::Key(text),
            (None, None, Some(part)) => Answer::Credential(part),
            _ => return Err(wrong(&format!("{key}.{i}"), "a question has one of `answer`, `key` and `credential`")),
        };
        Ok(Question { expect: q.expect.0, answer })
    };
    list.into_iter().enumerate().map(one).collect()
}

fn artefact(at: &str, section: ArtefactSection, shared: &TextRules) -> Result<ArtefactRules, Fault> {
    check_artefact_name(&section.name)
        .map_err(|e| wrong(&format!("{at}.name"), e.message()).with("artefact", section.name.escape_debug()))?;
    if section.commands.is_empty() {
        return Err(wrong(&format!("{at}.commands"), "an artefact needs a command").with("artefact", &section.name));
    }
    let mut rules = shared.clone();
    rules.volatile.extend(lines(&format!("{at}.volatile"), section.volatile)?);
    rules.volatile_blocks.extend(section.volatile_blocks.into_iter().map(block));
    if !section.commands.iter().any(|c| shows_log(&c.0.run)) {
        rules.suspect.intrusions = general::messages()?;
    }
    rules.suspect.end_marker = section.end_marker.as_ref().map(|e| e.0.clone());
    rules.suspect.end_marker_after = section.end_marker_after.map(|e| e.0);
    if rules.suspect.end_marker_after.is_some() && rules.suspect.end_marker.is_none() {
        let message = "there is no `end_marker` that could be due";
        return Err(wrong(&format!("{at}.end_marker_after"), message).with("artefact", &section.name));
    }
    rules.suspect.required = section.requires.into_iter().map(|e| e.0).collect();
    if section.name != INVENTORY {
        rules.suspect.failure.extend(general::restarts()?);
    }
    if !section.optional && section.name != INVENTORY {
        rules.suspect.failure.push(general::error()?);
        // What every whole text has tells more.
        rules.suspect.shape = rules.suspect.required.is_empty().then(general::shape).transpose()?;
    } else if section.name == STARTUP {
        rules.suspect.shape = Some(general::shape()?);
    }
    rules.suspect.stated_length = section.stated_length.map(|e| e.0);
    if rules.suspect.stated_length.as_ref().is_some_and(|r| r.capture_names().flatten().all(|n| n != "bytes")) {
        let message = "the number of bytes is told by a group `bytes`";
        return Err(wrong(&format!("{at}.stated_length"), message).with("artefact", &section.name));
    }
    let mut info = ArtifactInfo::text(&section.name)
        .with_extension(section.extension)
        .with_min_size(section.min_size)
        .with_rules(Arc::new(prefiltered(rules)?));
    if section.optional {
        info = info.optional();
    }
    let own = section.commands.into_iter().enumerate();
    let own = own.map(|(i, c)| command(&format!("{at}.commands.{i}"), c.0)).collect::<Result<_, Fault>>();
    let commands = own.map_err(|e| e.with("artefact", &section.name))?;
    Ok(ArtefactRules { info, commands, end_marker: section.end_marker.map(|e| Arc::new(e.0)) })
}

fn prose(list: Vec<TextOr<ProseSection>>) -> Result<Vec<ProseRule>, Fault> {
    let one = |(i, TextOr(section)): (usize, TextOr<ProseSection>)| {
        let Expression(start) = section.start;
        match (section.end, start.capture_names().flatten().any(|n| n == "until")) {
            (Some(end), false) => Ok(ProseRule::new(start, end.0)),
            (None, true) => Ok(ProseRule::until_its_mark(start)),
            _ => Err(wrong(&format!("prose.{i}"), "what ends it is told by a group `until` or by `end`")),
        }
    };
    list.into_iter().enumerate().map(one).collect()
}

/// Whether what a command shows is a log: messages are what it consists of.
fn shows_log(command: &str) -> bool {
    let mut words = command.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|w| w.starts_with("log") && !w.starts_with("login") && w != "logout")
}

/// Most lines concern no rule: one automaton, compiled with the same flag as the rules, says so in one pass.
fn prefiltered(rules: TextRules) -> Result<TextRules, Fault> {
    let any = Prefilter::new(rules.expressions().map(Regex::as_str), false);
    let any = any.map_err(|e| wrong("secrets", "the rules are too large to be matched together").because(e))?;
    Ok(rules.with_prefilter(any))
}

fn command(at: &str, section: CommandSection) -> Result<CommandRules, Fault> {
    let mut spellings = vec![section.run];
    spellings.extend(section.otherwise);
    let questions = questions(&format!("{at}.questions"), section.questions)?;
    Ok(CommandRules { spellings: commands(at, spellings)?, optional: section.optional, questions })
}

fn setup(index: usize, section: SetupSection) -> Result<SetupRules, Fault> {
    let at = format!("session.setup.{index}");
    let questions = questions(&format!("{at}.questions"), section.questions)?;
    let run = commands(&at, vec![section.run])?.pop().unwrap_or_default();
    Ok(SetupRules { run, questions })
}

fn lines(at: &str, list: Vec<TextOr<LineSection>>) -> Result<Vec<LineRule>, Fault> {
    list.into_iter().enumerate().map(|(i, l)| line(&format!("{at}.{i}"), l.0)).collect()
}

fn line(at: &str, section: LineSection) -> Result<LineRule, Fault> {
    let Expression(expression) = section.line;
    let rule = match section.replace {
        Some(by) => {
            if let Some(group) = unknown_group(&expression, by.as_bytes()) {
                let message = "the expression has no group of this name or number";
                return Err(wrong(&format!("{at}.replace"), message)
                    .with("group", group.escape_debug())
                    .hint("write ${name}x where letters follow a group, and $$ for a dollar sign"));
            }
            LineRule::replace(expression, by)
        }
        None => LineRule::drop(expression),
    };
    Ok(match section.head {
        Some(lines) => rule.in_head(lines),
        None => rule,
    })
}

/// A group that a replacement speaks of and the expression does not have: it would stand for nothing.
fn unknown_group(expression: &Regex, by: &[u8]) -> Option<String> {
    let mut rest = String::from_utf8_lossy(by).into_owned();
    while let Some((_, after)) = rest.split_once('$') {
        let (group, left) = if let Some(left) = after.strip_prefix('$') {
            (String::new(), left)
        } else if let Some((name, left)) = after.strip_prefix('{').and_then(|a| a.split_once('}')) {
            (name.to_owned(), left)
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, left) = after.split_at_checked(end)?;
            (name.to_owned(), left)
        };
        let known = match group.parse::<usize>() {
            Ok(number) => number < expression.captures_len(),
            Err(_) => group.is_empty() || expression.capture_names().flatten().any(|n| n == group),
        };
        if !known {
            return Some(group);
        }
        rest = left.to_owned();
    }
    None
}

fn detect(section: DetectSection) -> Result<DetectRules, Fault> {
    let signs = |list: Vec<TextOr<SignSection>>, key: &str, usual: i32| {
        let one = |(i, TextOr(sign)): (usize, TextOr<SignSection>)| {
            let weight = sign.weight.unwrap_or(usual);
            if (-100..=100).contains(&weight) {
                return Ok(Sign { line: sign.line.0, weight });
            }
            Err(wrong(&format!("detect.{key}.{i}.weight"), "a weight is from -100 to 100"))
        };
        list.into_iter().enumerate().map(one).collect::<Result<Vec<_>, Fault>>()
    };
    Ok(DetectRules {
        commands: commands("detect.commands", section.commands)?,
        ssh: signs(section.ssh, "ssh", 20)?,
        banner: signs(section.banner, "banner", 30)?,
        prompt: signs(section.prompt, "prompt", 10)?,
        answers: signs(section.answers, "answers", 80)?,
    })
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
