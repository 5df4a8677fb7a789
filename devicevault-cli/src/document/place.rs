//! Where in a file something is wrong: line, column, and the line itself.

use std::fmt;
use std::path::Path;

use devicevault_core::{Error, ErrorKind};

use super::Fault;

/// The error of a fault.
pub(super) fn located(fault: &Fault, text: &str, path: &Path) -> Error {
    let error = Error::new(ErrorKind::Config, "read file", &fault.message);
    match &fault.span {
        Some(span) => at(error, text, span.start, path),
        None => error.with("file", path.display()),
    }
}

/// An error with the place in a file.
pub(super) fn at(error: Error, text: &str, offset: usize, path: &Path) -> Error {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let error = error.with("file", path.display()).with("line", line + 1).with("column", column + 1);
    let shown = text.lines().nth(line).filter(|l| !l.trim().is_empty());
    match shown {
        // What an error has as its cause already says more than the line.
        Some(shown) if std::error::Error::source(&error).is_none() => {
            error.because(Excerpt { line: line + 1, text: shown.to_owned() })
        }
        _ => error,
    }
}

/// The line that is wrong, as it stands in the file.
#[derive(Debug)]
struct Excerpt {
    line: usize,
    text: String,
}

/// What follows one of these is perhaps a secret that somebody wrote where only its place should stand.
const TELLING: [&str; 7] = ["password", "passphrase", "secret", "private_key", "enable", "community", "token"];

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 160;
        let lower = self.text.to_ascii_lowercase();
        let telling = TELLING.iter().filter_map(|word| Some(lower.find(word)? + word.len())).min();
        let (shown, more) = match telling.and_then(|end| self.text.get(..end)) {
            Some(beginning) => (beginning, "…"),
            None => (self.text.trim_end(), ""),
        };
        let shown: String = shown.chars().take(LONGEST).collect();
        write!(f, "line {} is: {shown}{more}", self.line)
    }
}

impl std::error::Error for Excerpt {}
