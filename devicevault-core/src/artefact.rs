//! What a device yields: artefacts, their kinds and views.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::text::TextRules;
use crate::{Error, ErrorKind, Result};

/// Whether an artefact can be read as lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Lines of text, in whatever encoding the device uses.
    Text,
    /// Anything else.
    Binary,
}

impl Kind {
    /// `text` or `binary`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which form of a text is meant. A binary artefact has only [`View::Original`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Complete: what a restore takes.
    Original,
    /// Without volatile lines: what comparison looks at.
    Clean,
    /// Clean, with secrets masked.
    Redacted,
}

impl View {
    /// Whether this view holds what the other one leaves out.
    #[must_use]
    pub fn tells_more_than(self, other: Self) -> bool {
        let left_out = |view| match view {
            Self::Original => 0,
            Self::Clean => 1,
            Self::Redacted => 2,
        };
        left_out(self) < left_out(other)
    }

    /// `original`, `clean` or `redacted`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Clean => "clean",
            Self::Redacted => "redacted",
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for View {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "original" => Ok(Self::Original),
            "clean" => Ok(Self::Clean),
            "redacted" => Ok(Self::Redacted),
            _ => Err(Error::new(ErrorKind::Config, "read view", "a view is original, clean or redacted")
                .with("value", s.escape_debug())),
        }
    }
}

/// What a collector says of one artefact before its bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ArtifactInfo {
    /// `running-config`, `inventory`, …; see [`check_artefact_name`](crate::check_artefact_name).
    pub name: String,
    /// Text or binary.
    pub kind: Kind,
    /// Whether a run without it is not a success.
    pub mandatory: bool,
    /// File name extension without the dot.
    pub extension: String,
    /// Fewer bytes than this make it suspect.
    pub min_size: u64,
    /// How its views are made; without rules, `clean` equals `original` and only what every text may hold is masked.
    pub rules: Arc<TextRules>,
}

impl ArtifactInfo {
    /// A mandatory text artefact with extension `txt`.
    pub fn text(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Text,
            mandatory: true,
            extension: "txt".to_owned(),
            min_size: 1,
            rules: Arc::default(),
        }
    }

    /// A mandatory binary artefact with extension `bin`.
    pub fn binary(name: impl Into<String>) -> Self {
        Self { kind: Kind::Binary, extension: "bin".to_owned(), ..Self::text(name) }
    }

    /// Sets the extension.
    #[must_use]
    pub fn with_extension(mut self, extension: impl Into<String>) -> Self {
        self.extension = extension.into();
        self
    }

    /// Sets how views are made.
    #[must_use]
    pub fn with_rules(mut self, rules: Arc<TextRules>) -> Self {
        self.rules = rules;
        self
    }

    /// Sets the least plausible size in bytes.
    #[must_use]
    pub fn with_min_size(mut self, bytes: u64) -> Self {
        self.min_size = bytes;
        self
    }

    /// A run without it can be a success.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.mandatory = false;
        self
    }
}
