//! Where in a platform file something is wrong: line, column, key, and the line itself.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt;
use std::ops::Range;

use devicevault_core::{Error, ErrorKind};
use toml::de::{DeTable, DeValue};

use super::PlatformSource;

pub(super) const OPERATION: &str = "read platform file";

/// What is wrong with a file that can be read, and the path of the value that it is wrong with, such as
/// `artefacts.1.commands.0`.
#[derive(Debug)]
pub(super) struct Fault {
    at: String,
    error: Error,
}

/// A fault of the value at this path.
pub(super) fn wrong(at: &str, message: impl Into<String>) -> Fault {
    let names: Vec<&str> = at.split('.').filter(|step| step.parse::<usize>().is_err()).collect();
    let error = Error::new(ErrorKind::Config, OPERATION, message).with("key", names.join("."));
    Fault { at: at.to_owned(), error }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { at: String::new(), error }
    }
}

impl Fault {
    pub(super) fn with(self, name: &'static str, value: impl fmt::Display) -> Self {
        Self { at: self.at, error: self.error.with(name, value) }
    }

    pub(super) fn hint(self, hint: &str) -> Self {
        Self { at: self.at, error: self.error.hint(hint) }
    }

    pub(super) fn because(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { at: self.at, error: self.error.because(source) }
    }

    /// The error, with the place in the file.
    pub(super) fn located(self, text: &str, source: &PlatformSource) -> Error {
        match span_of(text, &self.at) {
            Some(span) => at(self.error, text, span.start, source),
            None => with_file(self.error, source),
        }
    }
}

/// A fault that the reader of TOML found.
pub(crate) fn located(operation: &'static str, e: &toml::de::Error, text: &str, source: &PlatformSource) -> Error {
    let mut error = Error::new(ErrorKind::Config, operation, e.message().trim().replace('\n', " "));
    let Some(span) = e.span() else { return with_file(error, source) };
    let before = text.get(..span.start).unwrap_or(text);
    if let Some(key) = key_at(text, before.matches('\n').count()) {
        error = error.with("key", key);
    }
    at(error, text, span.start, source)
}

fn at(error: Error, text: &str, offset: usize, source: &PlatformSource) -> Error {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let error = with_file(error.with("line", line + 1).with("column", column + 1), source);
    match text.lines().nth(line).filter(|l| !l.trim().is_empty()) {
        Some(shown) => error.because(Excerpt { line: line + 1, text: shown.to_owned() }),
        None => error,
    }
}

fn with_file(e: Error, source: &PlatformSource) -> Error {
    match source {
        PlatformSource::BuiltIn => e,
        PlatformSource::File(path) => e.with("file", path.display()),
    }
}

/// The line that is wrong, as it stands in the file.
#[derive(Debug)]
struct Excerpt {
    line: usize,
    text: String,
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 160;
        let shown: String = self.text.trim_end().chars().take(LONGEST).collect();
        write!(f, "line {} is: {shown}", self.line)
    }
}

impl std::error::Error for Excerpt {}

/// Where the value of a path stands, or the nearest that there is above it.
fn span_of(text: &str, path: &str) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    let mut steps = path.split('.');
    let first = table.get_ref().get(steps.next()?)?;
    let (mut value, mut span): (&DeValue<'_>, _) = (first.get_ref(), first.span());
    for step in steps {
        let below = match step.parse::<usize>() {
            Ok(number) => value.get(number),
            Err(_) => value.get(step),
        };
        let Some(below) = below else { break };
        (value, span) = (below.get_ref(), below.span());
    }
    Some(span)
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
