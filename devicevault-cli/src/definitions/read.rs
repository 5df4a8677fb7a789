//! Reading the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use devicevault_core::inventory::{Credential, DestinationConfig, Policy};
use devicevault_core::{Device, Error, ErrorKind, Result, Timestamp};

use super::{Defined, Definitions};
use crate::document::{Document, Fault, Node, Value};
use crate::{files, settings, wiring};

/// Folders below the one that was named are read this deep.
const DEEPEST: usize = 16;

/// What files define: of each kind that they speak of.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) credentials: Option<Vec<Located<Credential>>>,
    pub(crate) destinations: Option<Vec<Located<DestinationConfig>>>,
    pub(crate) devices: Option<Vec<Located<Device>>>,
    pub(crate) policies: Option<Vec<Located<Policy>>>,
    documents: Vec<Document>,
}

/// A definition and where it stands.
#[derive(Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    document: usize,
    node: Node,
}

/// Reads a file, or every `.toml` and `.json` of a folder and those below it, hidden ones and `devicevault.toml` apart.
/// What files leave out is taken from what is there.
///
/// # Errors
/// `Config` with file, line and column.
pub(crate) fn read(path: &Path, there: &Definitions, now: Timestamp) -> Result<Wanted> {
    let mut paths = Vec::new();
    if path.is_dir() {
        collect(path, DEEPEST, &mut paths)?;
    } else {
        paths.push(path.to_owned());
    }
    if paths.is_empty() {
        return Err(Error::new(ErrorKind::Config, "read definitions", "the folder holds no .toml or .json file")
            .with("folder", path.display()));
    }
    let mut wanted = Wanted::default();
    for path in paths {
        let document = Document::read(&path)?;
        wanted.take(document, there, now)?;
    }
    Ok(wanted)
}

fn collect(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<()> {
    for path in files::entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = path.symlink_metadata().map_err(|e| files::failed(&e, "read folder", "it cannot be read", &path))?;
        if name.starts_with('.') || name == settings::FILE {
            continue;
        }
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, paths)?;
        } else if !kind.is_dir() && (extension == "toml" || extension == "json") {
            paths.push(path);
        }
    }
    Ok(())
}

impl Wanted {
    fn take(&mut self, document: Document, there: &Definitions, now: Timestamp) -> Result<()> {
        let Value::Table(entries) = &document.root.value else {
            let message = "it has to be a table of lists: device, destination, policy, credential".to_owned();
            return Err(document.error(&Fault { message, span: Some(document.root.span.clone()) }));
        };
        let at = self.documents.len();
        for (key, node) in entries {
            match key.name.as_str() {
                Device::KIND => add(&mut self.devices, &document, at, node, |node, name| {
                    let known = there.devices.iter().find(|d| d.name == name).map(|d| d.id.to_string());
                    node.fill("id", known.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()));
                })?,
                DestinationConfig::KIND => add(&mut self.destinations, &document, at, node, |node, name| {
                    let known = there.destinations.iter().find(|d| d.name == name).map(|d| d.id.to_string());
                    node.fill("id", known.unwrap_or_else(|| name.to_owned()));
                })?,
                Policy::KIND => add(&mut self.policies, &document, at, node, |_, _| {})?,
                Credential::KIND => add(&mut self.credentials, &document, at, node, |node, _| {
                    ["created_at", "rotated_at"].iter().for_each(|field| node.fill(field, now.to_string()));
                })?,
                other => {
                    let message = format!(
                        "`{}` is not known here; there are: device, destination, policy, credential",
                        other.escape_debug()
                    );
                    return Err(document.error(&Fault { message, span: Some(key.span.clone()) }));
                }
            }
        }
        self.documents.push(document);
        self.keep(there);
        for one in self.destinations.iter_mut().flatten() {
            let before = there.destinations.iter().find(|d| d.id == one.value.id);
            wiring::fill_defaults(&mut one.value, before);
        }
        Ok(())
    }

    fn keep(&mut self, there: &Definitions) {
        keep(&mut self.credentials, &there.credentials);
        keep(&mut self.destinations, &there.destinations);
    }

    /// An error that was found with a definition, told with its place. Where it names what is not there, the file is wrong.
    pub(crate) fn locate<T>(&self, at: &Located<T>, e: Error) -> Error {
        let e = if e.kind() == ErrorKind::NotFound { e.as_kind(ErrorKind::Config) } else { e };
        match self.documents.get(at.document) {
            Some(document) => document.locate(&at.node, e),
            None => e,
        }
    }

    /// Refuses two definitions of one thing.
    ///
    /// # Errors
    /// `Config` with the place of the second.
    pub(crate) fn refuse_twice(&self) -> Result<()> {
        self.unique(&self.credentials, |c| c.name.clone(), "name")?;
        self.unique(&self.destinations, |d| d.name.clone(), "name")?;
        self.unique(&self.destinations, |d| d.id.to_string(), "id")?;
        self.unique(&self.devices, |d| d.name.clone(), "name")?;
        self.unique(&self.devices, |d| d.id.to_string(), "id")?;
        self.unique(&self.policies, |p| p.name.clone(), "name")
    }

    fn unique<T: Defined>(
        &self,
        all: &Option<Vec<Located<T>>>,
        key: impl Fn(&T) -> String,
        what: &'static str,
    ) -> Result<()> {
        let mut seen = BTreeMap::new();
        for one in all.iter().flatten() {
            let key = key(&one.value);
            if let Some(first) = seen.insert(key.clone(), one) {
                let place = self.documents.get(first.document).map(|d| d.line_of(&first.node)).unwrap_or_default();
                let e = Error::new(
                    ErrorKind::Config,
                    "read definitions",
                    format!("there is a {} of this {what} already", T::KIND),
                );
                return Err(self.locate(one, e.with(what, key.escape_debug()).with("first", place)));
            }
        }
        Ok(())
    }
}

fn keep<T: Defined>(wanted: &mut Option<Vec<Located<T>>>, there: &[T]) {
    for one in wanted.iter_mut().flatten() {
        if let Some(before) = there.iter().find(|t| t.name() == one.value.name()) {
            one.value.keep(before);
        }
    }
}

fn add<T: Defined>(
    to: &mut Option<Vec<Located<T>>>,
    document: &Document,
    at: usize,
    list: &Node,
    fill: impl Fn(&mut Node, &str),
) -> Result<()> {
    let wrong = |message: String, span| Err(document.error(&Fault { message, span: Some(span) }));
    let Value::List(all) = &list.value else {
        return wrong(format!("it has to be a list: write [[{}]]", T::KIND), list.span.clone());
    };
    let to = to.get_or_insert_default();
    for node in all {
        let mut node = node.clone();
        for hidden in T::HIDDEN {
            if let Some(own) = node.get(hidden) {
                return wrong(format!("`{hidden}` is the home's own record, and not in files"), own.span.clone());
            }
        }
        let name = node.get("name").and_then(Node::as_text).unwrap_or_default().to_owned();
        fill(&mut node, &name);
        let value: T = document.get(&node)?;
        if value.name().is_empty() {
            return wrong(format!("a {} needs a name", T::KIND), node.span.clone());
        }
        to.push(Located { value, document: at, node });
    }
    Ok(())
}
