//! Git's tree objects as they are on disk, so that a commit rewrites only what it changes.
//!
//! An entry is `mode SP name NUL id`; entries are ordered by name, a folder's as if it ended in `/`
//! (Git's `Documentation/gitformat-*`, and `base_name_compare` in its `tree.c`).
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use devicevault_core::{Error, ErrorKind, Result};
use git2::Oid;

const FILE: &[u8] = b"100644";
const FOLDER: &[u8] = b"40000";

/// One line of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) mode: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) id: Oid,
}

impl Item {
    pub(super) fn is_folder(&self) -> bool {
        self.mode == FOLDER
    }

    /// Files and symbolic links are blobs; a submodule's commit is in another repository.
    pub(super) fn is_blob(&self) -> bool {
        self.mode.starts_with(b"10") || self.mode == b"120000"
    }

    fn key(&self) -> impl Iterator<Item = u8> + '_ {
        self.name.iter().copied().chain(self.is_folder().then_some(b'/'))
    }
}

/// A tree, in Git's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree {
    items: Vec<Item>,
}

impl Tree {
    /// Reads a tree object.
    pub(super) fn parse(mut data: &[u8]) -> Result<Self> {
        let mut items = Vec::with_capacity(data.len() / 36);
        while !data.is_empty() {
            let (item, rest) = item(data)
                .ok_or_else(|| Error::new(ErrorKind::Corrupt, "read tree", "a tree object is not what Git writes"))?;
            items.push(item);
            data = rest;
        }
        Ok(Self { items })
    }

    /// The tree object.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.items.len() * 48);
        for item in &self.items {
            out.extend_from_slice(&item.mode);
            out.push(b' ');
            out.extend_from_slice(&item.name);
            out.push(0);
            out.extend_from_slice(item.id.as_bytes());
        }
        out
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Its lines.
    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Its lines that are not the same in `old`, with the line of that name there. Both are in Git's order, so that most
    /// lines are compared in step.
    pub(super) fn differing<'t>(&'t self, old: &'t [Item]) -> impl Iterator<Item = (&'t Item, Option<&'t Item>)> {
        let mut rest = old;
        self.items.iter().filter_map(move |item| {
            if let Some((first, tail)) = rest.split_first()
                && first.name == item.name
            {
                rest = tail;
                return (first.id != item.id || first.mode != item.mode).then_some((item, Some(first)));
            }
            // Out of step: a line was added or taken away, or became a folder.
            let at = rest.iter().position(|o| o.name == item.name);
            let found = at.and_then(|at| rest.get(at)).or_else(|| old.iter().find(|o| o.name == item.name));
            if let Some(at) = at {
                rest = rest.get(at + 1..).unwrap_or_default();
            }
            found.is_none_or(|o| o.id != item.id || o.mode != item.mode).then_some((item, found))
        })
    }

    /// The line of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|i| i.name == name.as_bytes())
    }

    /// Sets a file.
    pub(super) fn set_file(&mut self, name: &str, id: Oid) -> Result<()> {
        self.set(name, FILE, id)
    }

    /// Sets a folder.
    pub(super) fn set_folder(&mut self, name: &str, id: Oid) -> Result<()> {
        self.set(name, FOLDER, id)
    }

    /// A tree of these lines.
    pub(super) fn of(mut items: Vec<Item>) -> Self {
        items.sort_by(|a, b| a.key().cmp(b.key()));
        Self { items }
    }

    /// Takes a line away, if it is there.
    pub(super) fn remove(&mut self, name: &str) {
        self.items.retain(|i| i.name != name.as_bytes());
    }

    /// Sets a line to what it was, of whatever sort.
    pub(super) fn put(&mut self, name: &str, mode: &[u8], id: Oid) {
        self.remove(name);
        let new = Item { mode: mode.to_vec(), name: name.as_bytes().to_vec(), id };
        let at = self.items.partition_point(|i| i.key().lt(new.key()));
        self.items.insert(at, new);
    }

    /// A file never takes the place of a folder, nor a folder that of a file: that would take a device's history out
    /// of sight because another one has an unlucky name.
    fn set(&mut self, name: &str, mode: &[u8], id: Oid) -> Result<()> {
        if let Some(found) = self.items.iter_mut().find(|i| i.name == name.as_bytes()) {
            if found.is_folder() != (mode == FOLDER) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "store backup",
                    "a file and a folder of the repository would have the same name",
                )
                .with("name", name)
                .hint("a device without a site has the name of a site: rename one of them"));
            }
            found.id = id;
            return Ok(());
        }
        let new = Item { mode: mode.to_vec(), name: name.as_bytes().to_vec(), id };
        let at = self.items.partition_point(|i| i.key().lt(new.key()));
        self.items.insert(at, new);
        Ok(())
    }
}

fn item(data: &[u8]) -> Option<(Item, &[u8])> {
    let space = data.iter().take(8).position(|b| *b == b' ')?;
    let (mode, rest) = (data.get(..space)?, data.get(space + 1..)?);
    let nul = rest.iter().position(|b| *b == 0)?;
    let (name, rest) = (rest.get(..nul)?, rest.get(nul + 1..)?);
    if mode.is_empty() || name.is_empty() {
        return None;
    }
    let id = Oid::from_bytes(rest.get(..20)?).ok()?;
    Some((Item { mode: mode.to_vec(), name: name.to_vec(), id }, rest.get(20..)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use git2::{ObjectType, Repository};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn trees_are_those_of_libgit2(names in prop::collection::btree_map("[a-c.+-]{1,3}", any::<bool>(), 0..20)) {
            let dir = tempfile::tempdir().unwrap();
            let repo = Repository::init_bare(dir.path()).unwrap();
            let blob = repo.blob(b"x").unwrap();
            let empty = repo.treebuilder(None).unwrap().write().unwrap();
            let (mut ours, mut theirs) = (Tree::default(), repo.treebuilder(None).unwrap());
            for (name, folder) in names.iter().filter(|(n, _)| !matches!(n.as_str(), "." | "..")) {
                if *folder {
                    ours.set_folder(name, empty).unwrap();
                    theirs.insert(name.as_str(), empty, 0o040_000).unwrap();
                } else {
                    ours.set_file(name, blob).unwrap();
                    theirs.insert(name.as_str(), blob, 0o100_644).unwrap();
                }
            }
            let want = theirs.write().unwrap();
            prop_assert_eq!(Oid::hash_object(ObjectType::Tree, &ours.to_bytes()).unwrap(), want);
            prop_assert_eq!(Tree::parse(repo.odb().unwrap().read(want).unwrap().data()).unwrap(), ours);
        }

        #[test]
        fn what_differs_is_found(
            a in prop::collection::btree_map("[a-c]{1,2}", 0_u8..3, 0..12), b in prop::collection::btree_map("[a-c]{1,2}", 0_u8..3, 0..12)
        ) {
            let tree = |names: &std::collections::BTreeMap<String, u8>| {
                let mut t = Tree::default();
                for (name, n) in names {
                    t.set_file(name, Oid::from_bytes(&[*n + 1; 20]).unwrap()).unwrap();
                }
                t
            };
            let (old, new) = (tree(&a), tree(&b));
            let got: Vec<_> = new.differing(old.items()).map(|(i, o)| (i.name.clone(), o.map(|o| o.id))).collect();
            let want: Vec<_> = b
                .iter()
                .filter(|(name, n)| a.get(*name) != Some(n))
                .map(|(name, _)| (name.clone().into_bytes(), old.get(name).map(|o| o.id)))
                .collect();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn hostile_trees_are_read_without_harm(data in any::<Vec<u8>>()) {
            if let Ok(tree) = Tree::parse(&data) {
                prop_assert_eq!(tree.to_bytes(), data);
            }
        }
    }

    #[test]
    fn a_file_never_replaces_a_folder() {
        let mut t = Tree::default();
        t.set_folder("a", Oid::ZERO_SHA1).unwrap();
        assert_eq!(t.set_file("a", Oid::ZERO_SHA1).unwrap_err().kind(), ErrorKind::Conflict);
        assert!(t.set_folder("a", Oid::ZERO_SHA1).is_ok());
    }
}
