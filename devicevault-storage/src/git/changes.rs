//! What a commit changed, file by file.

use std::collections::{BTreeMap, BTreeSet};

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

/// Every file that is another in two trees.
pub(super) fn differences(
    repo: &Repository,
    a: Option<Oid>,
    b: Option<Oid>,
    path: &str,
    out: &mut Vec<Change>,
) -> Result<()> {
    if a == b {
        return Ok(());
    }
    let items = |id: Option<Oid>| -> Result<BTreeMap<Vec<u8>, Item>> {
        let Some(id) = id else { return Ok(BTreeMap::new()) };
        let tree = objects::tree(repo, id).map_err(|e| if path.is_empty() { e } else { e.with("folder", path) })?;
        Ok(tree.items().iter().map(|i| (i.name.clone(), i.clone())).collect())
    };
    let (old, new) = (items(a)?, items(b)?);
    let names: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (o, n) = (old.get(name), new.get(name));
        if o == n {
            continue;
        }
        let inner = format!("{path}{}", String::from_utf8_lossy(name));
        let folder = |i: Option<&Item>| i.filter(|i| i.is_folder()).map(|i| i.id);
        let file = |i: Option<&Item>| i.filter(|i| !i.is_folder()).cloned();
        differences(repo, folder(o), folder(n), &format!("{inner}/"), out)?;
        let (before, after) = (file(o), file(n));
        if before != after {
            out.push(Change { path: inner, before, after });
        }
    }
    Ok(())
}
