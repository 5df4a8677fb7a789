//! Files that people write, TOML or JSON: what is wrong with one is told with its line and column, the line shown, and a
//! key that is not known is wrong.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod json;
mod place;
mod strict;
mod toml;

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use devicevault_core::{Error, ErrorKind, Result};
use devicevault_storage::regular;
use serde::de::DeserializeOwned;

use crate::files;

/// No file is longer.
const MAX_FILE: u64 = 64 << 20;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Document {
    path: PathBuf,
    text: String,
    pub(crate) root: Node,
}

/// A value and where it stands in the text, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

/// What TOML and JSON both can say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(Vec<(Key, Node)>),
}

/// A key of a table and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) span: Option<Range<usize>>,
}

impl Document {
    /// Reads a file; JSON by its extension, else TOML.
    ///
    /// # Errors
    /// It cannot be read; `Config` where its text is neither.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let cannot = |e: &std::io::Error| match e.kind() {
            // Whoever named it meant another one.
            std::io::ErrorKind::NotFound => {
                Error::new(ErrorKind::Config, "read file", "there is no such file").with("file", path.display())
            }
            _ if regular::is_no_file(e) => {
                files::failed(e, "read file", "it cannot be read", path).as_kind(ErrorKind::Config)
            }
            _ => files::failed(e, "read file", "it cannot be read", path),
        };
        if !regular::is_handed_over(path) {
            regular::check(path).map_err(|e| cannot(&e))?;
        }
        let file = File::open(path).map_err(|e| cannot(&e))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| cannot(&e))?;
        if bytes.len() as u64 > MAX_FILE {
            let e = Error::new(ErrorKind::TooLarge, "read file", "it is longer than such a file can be");
            return Err(e.with("file", path.display()));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(path, text),
            Err(e) => {
                let at = e.utf8_error().valid_up_to();
                let fault = Fault { message: "it is not UTF-8".to_owned(), span: Some(at..at) };
                Err(place::located(&fault, &String::from_utf8_lossy(e.as_bytes()), path))
            }
        }
    }

    /// The same of a text.
    ///
    /// # Errors
    /// `Config`.
    pub(crate) fn parse(path: &Path, text: String) -> Result<Self> {
        let is_json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let parsed = if is_json { json::parse(&text) } else { toml::parse(&text) };
        match parsed {
            Ok(root) => Ok(Self { path: path.to_owned(), text, root }),
            Err(fault) => Err(place::located(&fault, &text, path)),
        }
    }

    /// What a value of this document says, as a type whose keys are all that may be there.
    ///
    /// # Errors
    /// `Config` with the place.
    pub(crate) fn get<T: DeserializeOwned>(&self, node: &Node) -> Result<T> {
        strict::from_node(node).map_err(|fault| self.error(&fault))
    }

    /// The error of something that is wrong with this document.
    pub(crate) fn error(&self, fault: &Fault) -> Error {
        place::located(fault, &self.text, &self.path)
    }

    /// Where a value stands, for people: file and line.
    pub(crate) fn line_of(&self, node: &Node) -> String {
        let before = self.text.get(..node.span.start).unwrap_or(&self.text);
        format!("{}:{}", self.path.display(), before.matches('\n').count() + 1)
    }

    /// An error that was found with a value, told with its place.
    pub(crate) fn locate(&self, node: &Node, error: Error) -> Error {
        place::at(error, &self.text, node.span.start, &self.path)
    }
}

impl Node {
    /// A value that stands nowhere: in place of one that is left out here.
    pub(crate) fn made(text: impl Into<String>, near: &Range<usize>) -> Self {
        Self { span: near.clone(), value: Value::Text(text.into()) }
    }

    /// The value of a key.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Sets a key that is not there.
    pub(crate) fn fill(&mut self, name: &str, text: impl Into<String>) {
        let (near, known) = (self.span.clone(), self.get(name).is_some());
        if let (Value::Table(entries), false) = (&mut self.value, known) {
            let key = Key { name: name.to_owned(), span: near.clone() };
            entries.push((key, Self::made(text, &near)));
        }
    }

    /// The text, where it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}
