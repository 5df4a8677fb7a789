//! The one public error type: what kind, while doing what, to what, why, and what to do next.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a program has to tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, a platform file or an argument is wrong.
    Config,
    /// The other side, or this build, cannot do that.
    Unsupported,
    /// No connection could be made.
    Unreachable,
    /// A step took longer than it may.
    Timeout,
    /// The other side is there and cannot serve now.
    Unavailable,
    /// The other side asked for fewer requests.
    RateLimited,
    /// User name, password, key or token was not accepted. Never retried.
    AuthRejected,
    /// The server's key is unknown, or not the one recorded. Never retried.
    HostKeyRejected,
    /// The credentials are good, and do not allow this.
    PermissionDenied,
    /// The device answered a command with an error text.
    Refused,
    /// The session no longer knows where it stands in the dialogue.
    PromptLost,
    /// Something ended before it was whole.
    Incomplete,
    /// A limit on size was exceeded.
    TooLarge,
    /// A file type rule refused the content.
    Quarantined,
    /// It is not there.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// Somebody else changed, holds or locks it.
    Conflict,
    /// A limit that somebody set is reached: a quota, or space that is to stay free.
    QuotaExceeded,
    /// The disk or the store has no room left.
    StorageFull,
    /// Stored bytes are not the bytes that were written.
    Corrupt,
    /// A key that opens the data is not at hand.
    KeyUnavailable,
    /// It was cancelled.
    Cancelled,
    /// A defect of this program. What a later release calls otherwise is read as this.
    #[serde(other)]
    Internal,
}

impl ErrorKind {
    /// The name used in records and JSON, such as `auth_rejected`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unsupported => "unsupported",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
            Self::AuthRejected => "auth_rejected",
            Self::HostKeyRejected => "host_key_rejected",
            Self::PermissionDenied => "permission_denied",
            Self::Refused => "refused",
            Self::PromptLost => "prompt_lost",
            Self::Incomplete => "incomplete",
            Self::TooLarge => "too_large",
            Self::Quarantined => "quarantined",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::QuotaExceeded => "quota_exceeded",
            Self::StorageFull => "storage_full",
            Self::Corrupt => "corrupt",
            Self::KeyUnavailable => "key_unavailable",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    fn default_retry(self) -> Retry {
        match self {
            Self::Unreachable | Self::Timeout | Self::Unavailable | Self::PromptLost | Self::Incomplete => {
                Retry::After(Duration::ZERO)
            }
            Self::RateLimited => Retry::After(Duration::from_secs(10)),
            _ => Retry::Never,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the same attempt may succeed later; set where the fault is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will fail in the same way.
    Never,
    /// It may pass; wait at least this long, where that is longer than the policy's own first wait.
    After(Duration),
}

/// What failed, while doing what, and why.
///
/// `{}` is one line without the source; `{:?}` is a report with context and every cause.
/// Cloning is cheap: a batch that fails as a whole hands the same error to each of its entries.
///
/// ```
/// use devicevault_core::{Error, ErrorKind, Retry};
///
/// let e = Error::new(ErrorKind::AuthRejected, "log in", "the device rejected the password")
///     .with("device", "core-rtr1")
///     .hint("check the credential of this device");
/// assert_eq!(e.to_string(), "log in: the device rejected the password (device: core-rtr1)");
/// assert_eq!(e.retry(), Retry::Never);
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    operation: Cow<'static, str>,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    retry: Retry,
    source: Option<Arc<dyn StdError + Send + Sync + 'static>>,
}

impl Error {
    /// An error of `kind` while doing `operation` (a verb and its object: `read manifest`).
    pub fn new(kind: ErrorKind, operation: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            operation: operation.into(),
            message: message.into(),
            context: Vec::new(),
            hint: None,
            retry: kind.default_retry(),
            source: None,
        }))
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Adds a name and value that say which thing it was. A name that is present already is kept.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl fmt::Display) -> Self {
        if self.0.context.iter().any(|(n, _)| *n == name) {
            return self;
        }
        self.edit(|e| e.context.push((name, value.to_string())))
    }

    /// Says what the person can do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        self.edit(|e| e.hint = Some(hint))
    }

    /// Keeps the underlying error; it is told by [`std::error::Error::source`], not repeated in the text.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source: Box<dyn StdError + Send + Sync> = source.into();
        self.edit(|e| e.source = Some(Arc::from(source)))
    }

    /// Sets the advice on retrying, where it is known better than the kind tells.
    #[must_use]
    pub fn retry_advice(self, retry: Retry) -> Self {
        self.edit(|e| e.retry = retry)
    }

    /// The same as one of another kind, with that kind's advice on retrying: what is missing is a mistake of the file that
    /// names it.
    #[must_use]
    pub fn as_kind(self, kind: ErrorKind) -> Self {
        self.edit(|e| (e.kind, e.retry) = (kind, kind.default_retry()))
    }

    /// Changes the texts, causes included, for which `change` has another one. It is told the name of a value.
    #[must_use]
    pub(crate) fn map_texts(self, change: &dyn Fn(Option<&'static str>, &str) -> Option<String>) -> Self {
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        let changed = causes.iter().any(|text| change(None, text).is_some());
        self.edit(|e| {
            let texts = [Some(&mut e.message), e.hint.as_mut()].into_iter().flatten().map(|text| (None, text));
            for (name, text) in texts.chain(e.context.iter_mut().map(|(name, value)| (Some(*name), value))) {
                if let Some(other) = change(name, text) {
                    *text = other;
                }
            }
            if changed {
                let texts = causes.into_iter().map(|text| change(None, &text).unwrap_or(text));
                let told = texts.rev().fold(None, |source, text| Some(Told { text, source: source.map(Box::new) }));
                e.source = told.map(|t| Arc::new(t) as Arc<dyn StdError + Send + Sync>);
            }
        })
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// Why it failed, without operation and context.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Names and values of the things concerned.
    pub fn context(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.context.iter().map(|(n, v)| (*n, v.as_str()))
    }

    /// What the person can do next.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether the same attempt may succeed later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Everything that a record keeps of it: one line with all causes.
    #[must_use]
    pub fn to_record(&self) -> ErrorRecord {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(c) = cause {
            text.push_str(": ");
            text.push_str(&c.to_string());
            cause = c.source();
        }
        ErrorRecord { kind: self.kind(), message: text, hint: self.0.hint.clone() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.operation, self.0.message)?;
        for (i, (name, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{name}: {value}", if i == 0 { " (" } else { ", " })?;
        }
        if self.0.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self, self.0.kind)?;
        let mut cause = self.source();
        while let Some(c) = cause {
            write!(f, "\nCaused by: {c}")?;
            cause = c.source();
        }
        match &self.0.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

/// The text of a cause, and of its own cause.
#[derive(Debug)]
struct Told {
    text: String,
    source: Option<Box<Told>>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Told {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|t| t as &(dyn StdError + 'static))
    }
}

/// What is kept of an [`Error`] in a run, a copy or an answer of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// The kind.
    pub kind: ErrorKind,
    /// One line, with all causes.
    pub message: String,
    /// What the person can do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Error> for ErrorRecord {
    fn from(e: &Error) -> Self {
        e.to_record()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_and_leaves_the_source_out() {
        let io = std::io::Error::other("disk on fire");
        let e = Error::new(ErrorKind::Unavailable, "store backup", "the folder cannot be written")
            .with("destination", "main")
            .with("destination", "outer")
            .because(io)
            .hint("free some space");
        assert_eq!(e.to_string(), "store backup: the folder cannot be written (destination: main)");
        assert_eq!(
            format!("{e:?}"),
            "store backup: the folder cannot be written (destination: main) [unavailable]\nCaused by: disk on fire\nhint: free some space"
        );
        assert!(e.to_record().message.ends_with("(destination: main): disk on fire"));
    }

    #[test]
    fn a_kind_of_a_later_release_can_be_read() {
        let record: ErrorRecord = serde_json::from_str(r#"{"kind":"moon_phase","message":"x"}"#).unwrap();
        assert_eq!(record.kind, ErrorKind::Internal);
        for kind in [ErrorKind::StorageFull, ErrorKind::Internal, ErrorKind::AuthRejected] {
            let text = serde_json::to_string(&kind).unwrap();
            assert_eq!(text, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<ErrorKind>(&text).unwrap(), kind);
        }
    }

    #[test]
    fn rejected_credentials_and_host_keys_are_never_retried() {
        for kind in [ErrorKind::AuthRejected, ErrorKind::HostKeyRejected, ErrorKind::Config] {
            assert_eq!(Error::new(kind, "x", "y").retry(), Retry::Never);
        }
        assert_ne!(Error::new(ErrorKind::Timeout, "x", "y").retry(), Retry::Never);
    }
}
