//! What a commit changed, file by file.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use devicevault_core::Result;
use git2::{Oid, Repository};

use super::objects;
use super::tree::Item;

/// A file that a commit changed: what it was, and what it is.
pub(super) struct Change {
    pub(super) path: String,
    pub(super) before: Option<Item>,
    pub(super) after: Option<Item>,
}

/// What is another in two trees.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) files: Vec<Change>,
    /// Names in folders that changed which no file can have, or two have in one folder: what they stand for is left out.
    pub(super) odd: BTreeSet<String>,
}

/// Every file that is another in two trees.
pub(super) fn differences(repo: &Repository, a: Option<Oid>, b: Option<Oid>) -> Result<Changes> {
    let mut found = Changes::default();
    found.add(repo, a, b, "")?;
    Ok(found)
}

impl Changes {
    fn add(&mut self, repo: &Repository, a: Option<Oid>, b: Option<Oid>, path: &str) -> Result<()> {
        if a == b {
            return Ok(());
        }
        let ((old, _), (new, odd)) = (items(repo, a, path)?, items(repo, b, path)?);
        self.odd.extend(odd);
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (o, n) = (old.get(name), new.get(name));
            if o == n {
                continue;
            }
            let inner = format!("{path}{name}");
            let folder = |i: Option<&Item>| i.filter(|i| i.is_folder()).map(|i| i.id);
            let file = |i: Option<&Item>| i.filter(|i| !i.is_folder()).cloned();
            self.add(repo, folder(o), folder(n), &format!("{inner}/"))?;
            let (before, after) = (file(o), file(n));
            if before != after {
                self.files.push(Change { path: inner, before, after });
            }
        }
        Ok(())
    }
}

/// The lines of a tree by their names, and the names that cannot be told from others.
fn items(repo: &Repository, id: Option<Oid>, path: &str) -> Result<(BTreeMap<String, Item>, BTreeSet<String>)> {
    let (mut items, mut odd) = (BTreeMap::new(), BTreeSet::new());
    let Some(id) = id else { return Ok((items, odd)) };
    let tree = objects::tree(repo, id).map_err(|e| if path.is_empty() { e } else { e.with("folder", path) })?;
    let mut twice = BTreeSet::new();
    for item in tree.items() {
        match std::str::from_utf8(&item.name).ok().filter(|name| !is_odd(name)) {
            None => drop(odd.insert(format!("{path}{}", item.name.escape_ascii()))),
            Some(name) => match items.entry(name.to_owned()) {
                Entry::Occupied(_) => drop(twice.insert(name.to_owned())),
                Entry::Vacant(place) => drop(place.insert(item.clone())),
            },
        }
    }
    for name in twice {
        items.remove(&name);
        odd.insert(format!("{path}{name}"));
    }
    Ok((items, odd))
}

/// A name that leads elsewhere, or that Git refuses to check out.
fn is_odd(name: &str) -> bool {
    let bare = name.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    name.contains('/') || matches!(bare.as_str(), "" | ".git" | "git~1")
}
