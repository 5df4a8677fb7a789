//! The tree of the next commit, of which only what changes is read and written.

use std::collections::BTreeMap;

use devicevault_core::Result;
use git2::{Oid, Repository};

use super::fresh::Fresh;
use super::objects;
use super::tree::{Item, Tree};

/// Part of the tree that is being changed; folders are read when something in them is touched.
#[derive(Debug, Default)]
pub(super) struct Folder {
    tree: Tree,
    inner: BTreeMap<String, Folder>,
    /// Its object, while that is true to it.
    id: Option<Oid>,
}

impl Folder {
    /// The tree of a commit; empty before the first.
    pub(super) fn root(repo: &Repository, tip: Option<Oid>) -> Result<Self> {
        let Some(tip) = tip else { return Ok(Self::default()) };
        let commit = objects::commit(repo, tip).map_err(|e| objects::lost(e, "commit", tip))?;
        Self::load(repo, commit.tree_id())
    }

    fn load(repo: &Repository, id: Oid) -> Result<Self> {
        Ok(Self { tree: objects::tree(repo, id)?, inner: BTreeMap::new(), id: Some(id) })
    }

    /// The folder of this name, read or made.
    fn enter(&mut self, repo: &Repository, name: &str) -> Result<&mut Self> {
        if !self.inner.contains_key(name) {
            let folder = match self.tree.get(name) {
                Some(item) if item.is_folder() && !item.id.is_zero() => Self::load(repo, item.id)?,
                _ => Self::default(),
            };
            self.inner.insert(name.to_owned(), folder);
        }
        Ok(self.inner.entry(name.to_owned()).or_default())
    }

    /// The file at a path.
    pub(super) fn find(&mut self, repo: &Repository, path: &[&str]) -> Result<Option<Oid>> {
        match path {
            [] => Ok(None),
            [file] => Ok(self.tree.get(file).filter(|i| i.is_blob()).map(|i| i.id)),
            [folder, rest @ ..] => match self.tree.get(folder) {
                Some(item) if item.is_folder() => self.enter(repo, folder)?.find(repo, rest),
                _ => Ok(None),
            },
        }
    }

    /// Sets a file; nothing is changed when it cannot be.
    pub(super) fn set(&mut self, repo: &Repository, path: &[&str], id: Oid) -> Result<()> {
        match path {
            [] => Ok(()),
            [file] => {
                self.tree.set_file(file, id)?;
                self.id = None;
                Ok(())
            }
            [folder, rest @ ..] => {
                if self.tree.get(folder).is_none_or(|i| !i.is_folder()) {
                    // Claims the name, so that a file of that name is found out before anything is written.
                    self.tree.set_folder(folder, Oid::ZERO_SHA1)?;
                }
                self.enter(repo, folder)?.set(repo, rest, id)?;
                self.id = None;
                Ok(())
            }
        }
    }

    /// Which part of a path has the name of something of another sort: a file where a folder is to be, or the reverse.
    pub(super) fn in_the_way(&mut self, repo: &Repository, path: &[&str]) -> Result<Option<usize>> {
        let Some((name, rest)) = path.split_first() else { return Ok(None) };
        match self.tree.get(name) {
            None => Ok(None),
            Some(item) if rest.is_empty() => Ok(item.is_folder().then_some(0)),
            Some(item) if item.is_folder() => Ok(self.enter(repo, name)?.in_the_way(repo, rest)?.map(|at| at + 1)),
            Some(_) => Ok(Some(0)),
        }
    }

    /// The line of a file.
    pub(super) fn item(&mut self, repo: &Repository, path: &[&str]) -> Result<Option<Item>> {
        match path {
            [] => Ok(None),
            [file] => Ok(self.tree.get(file).filter(|i| !i.is_folder()).cloned()),
            [folder, rest @ ..] => match self.tree.get(folder) {
                Some(item) if item.is_folder() => self.enter(repo, folder)?.item(repo, rest),
                _ => Ok(None),
            },
        }
    }

    /// Sets a file as it was in another tree; whatever has a name on its way goes.
    pub(super) fn set_item(&mut self, repo: &Repository, path: &[&str], mode: &[u8], id: Oid) -> Result<()> {
        self.id = None;
        match path {
            [] => {}
            [file] => {
                self.inner.remove(*file);
                self.tree.put(file, mode, id);
            }
            [folder, rest @ ..] => {
                if self.tree.get(folder).is_none_or(|i| !i.is_folder()) {
                    self.tree.remove(folder);
                    self.tree.set_folder(folder, Oid::ZERO_SHA1)?;
                }
                self.enter(repo, folder)?.set_item(repo, rest, mode, id)?;
            }
        }
        Ok(())
    }

    /// Takes a file or a folder away, and the folders that it leaves empty. What is not there stays so.
    pub(super) fn remove(&mut self, repo: &Repository, path: &[&str]) -> Result<()> {
        match path {
            [] => {}
            [name] => {
                self.tree.remove(name);
                self.inner.remove(*name);
                self.id = None;
            }
            [folder, rest @ ..] => {
                if self.tree.get(folder).is_none_or(|i| !i.is_folder()) {
                    return Ok(());
                }
                let inner = self.enter(repo, folder)?;
                inner.remove(repo, rest)?;
                if inner.tree.is_empty() {
                    self.inner.remove(*folder);
                    self.tree.remove(folder);
                }
                self.id = None;
            }
        }
        Ok(())
    }

    /// The files right in a folder.
    pub(super) fn files(&mut self, repo: &Repository, path: &[&str]) -> Result<Vec<(String, Oid)>> {
        match path {
            [] => {
                let name = |i: &Item| String::from_utf8(i.name.clone()).ok();
                Ok(self.tree.items().iter().filter(|i| i.is_blob()).filter_map(|i| Some((name(i)?, i.id))).collect())
            }
            [folder, rest @ ..] => match self.tree.get(folder) {
                Some(item) if item.is_folder() => self.enter(repo, folder)?.files(repo, rest),
                _ => Ok(Vec::new()),
            },
        }
    }

    /// Writes what changed, from the leaves up.
    pub(super) fn write(&mut self, fresh: &mut Fresh, path: &str) -> Result<Oid> {
        if let Some(id) = self.id {
            return Ok(id);
        }
        for (name, folder) in &mut self.inner {
            let id = folder.write(fresh, &format!("{path}{name}/"))?;
            self.tree.set_folder(name, id)?;
        }
        let id = fresh.add_tree(path, self.tree.to_bytes())?;
        self.id = Some(id);
        Ok(id)
    }
}
