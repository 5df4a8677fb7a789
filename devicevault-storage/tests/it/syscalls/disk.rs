//! A disk that is told calls: what it holds while the machine runs, and what of that is left when the power is cut.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::line::{Arg, Call};

/// Below one folder.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: String,
    nodes: Vec<Node>,
    /// Where the next byte of a descriptor goes; `None`: to the end.
    at: HashMap<usize, Option<usize>>,
}

#[derive(Debug, Clone)]
enum Node {
    Folder { now: BTreeMap<String, usize>, flushed: BTreeMap<String, usize> },
    File { now: Vec<u8>, flushed: Vec<u8> },
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The process is killed: all that it did is there.
    Killed,
    /// The power is cut: of a file what was flushed, of a folder the names that were.
    PowerCut,
}

impl Disk {
    /// As a folder holds it, flushed.
    pub(super) fn of(root: &Path) -> Self {
        let mut disk = Self { root: root.display().to_string(), nodes: Vec::new(), at: HashMap::new() };
        disk.read(root);
        disk
    }

    fn read(&mut self, path: &Path) -> usize {
        let number = self.nodes.len();
        if !path.is_dir() {
            let bytes = std::fs::read(path).unwrap();
            self.nodes.push(Node::File { now: bytes.clone(), flushed: bytes });
            return number;
        }
        self.nodes.push(Node::Folder { now: BTreeMap::new(), flushed: BTreeMap::new() });
        let entries = std::fs::read_dir(path).unwrap().map(|e| e.unwrap());
        let held: BTreeMap<_, _> =
            entries.map(|e| (e.file_name().to_string_lossy().into_owned(), self.read(&e.path()))).collect();
        self.nodes[number] = Node::Folder { now: held.clone(), flushed: held };
        number
    }

    /// Writes down what is there then.
    pub(super) fn write(&self, when: When, to: &Path) {
        self.write_node(0, when, to);
    }

    fn write_node(&self, number: usize, when: When, to: &Path) {
        match &self.nodes[number] {
            Node::File { now, flushed } => {
                std::fs::write(to, if when == When::Killed { now } else { flushed }).unwrap();
            }
            Node::Folder { now, flushed } => {
                std::fs::create_dir_all(to).unwrap();
                for (name, held) in if when == When::Killed { now } else { flushed } {
                    self.write_node(*held, when, &to.join(name));
                }
            }
        }
    }

    /// The parts of a path below the folder; `None` for one elsewhere.
    fn below<'a>(&self, path: &'a str) -> Option<Vec<&'a str>> {
        let rest = path.strip_prefix(&self.root)?;
        (rest.is_empty() || rest.starts_with('/'))
            .then(|| rest.split('/').filter(|p| !p.is_empty() && *p != ".").collect())
    }

    fn find(&self, parts: &[&str]) -> Option<usize> {
        parts.iter().try_fold(0, |at, part| match &self.nodes[at] {
            Node::Folder { now, .. } => now.get(*part).copied(),
            Node::File { .. } => None,
        })
    }

    fn names(&mut self, parts: &[&str]) -> Option<(&mut BTreeMap<String, usize>, String)> {
        let (last, above) = parts.split_last()?;
        let folder = self.find(above)?;
        match &mut self.nodes[folder] {
            Node::Folder { now, .. } => Some((now, (*last).to_owned())),
            Node::File { .. } => None,
        }
    }

    fn add(&mut self, parts: &[&str], node: Node) {
        let number = self.nodes.len();
        self.nodes.push(node);
        let (names, last) = self.names(parts).unwrap_or_else(|| panic!("no folder for {parts:?}"));
        names.insert(last, number);
    }

    /// Tells the disk of a call. Whether it changed something, or made it durable.
    pub(super) fn apply(&mut self, call: &Call) -> bool {
        if call.result.word.starts_with('-') {
            return false;
        }
        let args = &call.args;
        let path = |at: usize| of_arg(&args[at]);
        let two = |at: usize| joined(&args[at], &args[at + 1]);
        match call.name.as_str() {
            "openat" | "openat2" => self.opened(call),
            "write" => path(0).is_some_and(|p| self.wrote(&p, args[0].number(), &args[1], None)),
            "pwrite64" => path(0).is_some_and(|p| self.wrote(&p, None, &args[1], args[3].number())),
            "ftruncate" => path(0).is_some_and(|p| self.truncated(&p, args[1].number().unwrap())),
            "fsync" | "fdatasync" => path(0).is_some_and(|p| self.flushed(&p)),
            "rename" | "link" => self.moved(&plain(&args[0]), &plain(&args[1]), call.name == "rename"),
            "renameat" | "renameat2" => self.moved(&two(0), &two(2), true),
            "linkat" => self.moved(&two(0), &two(2), false),
            "unlink" | "rmdir" => self.removed(&plain(&args[0])),
            "unlinkat" => self.removed(&two(0)),
            "mkdir" => self.made(&plain(&args[0])),
            "mkdirat" => self.made(&two(0)),
            other => {
                let here = args.iter().filter_map(of_arg).any(|p| self.below(&p).is_some());
                assert!(!here, "{other} is not known: {call:?}");
                false
            }
        }
    }

    fn opened(&mut self, call: &Call) -> bool {
        let (Some(path), Some(descriptor)) = (&call.result.path, call.result.number()) else { return false };
        let Some(parts) = self.below(path) else { return false };
        let has = |flag: &str| call.args.iter().any(|a| a.word.contains(flag));
        self.at.insert(descriptor, (!has("O_APPEND")).then_some(0));
        if has("O_CREAT") && self.find(&parts).is_none() {
            self.add(&parts, Node::File { now: Vec::new(), flushed: Vec::new() });
            return true;
        }
        has("O_TRUNC") && self.truncated(path, 0)
    }

    fn file(&mut self, path: &str) -> Option<&mut Vec<u8>> {
        let parts = self.below(path)?;
        let number = self.find(&parts)?;
        match &mut self.nodes[number] {
            Node::File { now, .. } => Some(now),
            Node::Folder { .. } => None,
        }
    }

    fn wrote(&mut self, path: &str, descriptor: Option<usize>, what: &Arg, at: Option<usize>) -> bool {
        let from = descriptor.and_then(|d| self.at.get(&d).copied());
        let Some(file) = self.file(path) else { return false };
        let bytes = what.text.as_deref().unwrap_or_default();
        let start = at.or(from.flatten()).unwrap_or(file.len());
        let end = start + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[start..end].copy_from_slice(bytes);
        if let (Some(descriptor), Some(Some(_))) = (descriptor, from) {
            self.at.insert(descriptor, Some(end));
        }
        true
    }

    fn truncated(&mut self, path: &str, length: usize) -> bool {
        self.file(path).map(|file| file.resize(length, 0)).is_some()
    }

    fn flushed(&mut self, path: &str) -> bool {
        let Some(number) = self.below(path).and_then(|parts| self.find(&parts)) else { return false };
        match &mut self.nodes[number] {
            Node::File { now, flushed } => flushed.clone_from(now),
            Node::Folder { now, flushed } => flushed.clone_from(now),
        }
        true
    }

    fn moved(&mut self, from: &str, to: &str, away: bool) -> bool {
        let (Some(from), Some(to)) = (self.below(from), self.below(to)) else { return false };
        let number = self.find(&from).unwrap_or_else(|| panic!("{from:?} is not there"));
        let (names, last) = self.names(&to).unwrap();
        names.insert(last, number);
        if away {
            let (names, last) = self.names(&from).unwrap();
            names.remove(&last);
        }
        true
    }

    fn removed(&mut self, path: &str) -> bool {
        let Some(parts) = self.below(path) else { return false };
        self.names(&parts).is_some_and(|(names, last)| names.remove(&last).is_some())
    }

    fn made(&mut self, path: &str) -> bool {
        let Some(parts) = self.below(path) else { return false };
        self.add(&parts, Node::Folder { now: BTreeMap::new(), flushed: BTreeMap::new() });
        true
    }
}

/// What a descriptor stands for.
fn of_arg(arg: &Arg) -> Option<String> {
    arg.path.clone()
}

/// A path that is given as a text.
fn plain(arg: &Arg) -> String {
    String::from_utf8_lossy(arg.text.as_deref().unwrap_or_default()).into_owned()
}

/// A path below a descriptor's, unless it begins at the root.
fn joined(folder: &Arg, name: &Arg) -> String {
    let name = plain(name);
    if name.starts_with('/') { name } else { format!("{}/{name}", folder.path.as_deref().unwrap_or_default()) }
}
