//! Which objects are versions of one another.
//!
//! Git guesses it from names and sizes. Here every commit tells which trees and files it brought, and where they stand:
//! objects of one path are a family, newest first, and so are the commits that brought a file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use devicevault_core::{Error, ErrorKind, Result};
use git2::{ObjectType, Oid};

use super::repack::Reader;
use super::tree::Tree;

/// Kinds in the order in which they stand in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Commit,
    Folder,
    File,
    Unknown,
}

/// Families of objects.
#[derive(Debug, Default)]
pub(super) struct Kinship {
    /// Oldest first.
    families: BTreeMap<(Rank, Rc<str>), Vec<Oid>>,
    /// What the commits that were named as live need of these objects.
    needed: HashSet<Oid>,
}

/// Of a commit: when, itself, its tree, its first parent.
type Link = (i64, Oid, Oid, Option<Oid>);

impl Kinship {
    /// Sorts objects into families. `live` are the commits whose objects are [needed](Self::needs); with every parent
    /// that they have. `pause` is called now and then, and may end it.
    ///
    /// # Errors
    /// An object cannot be read; or what `pause` says.
    pub(super) fn of(
        reader: &mut Reader<'_>,
        ids: &HashSet<Oid>,
        live: &HashSet<Oid>,
        pause: &dyn Fn() -> Result<()>,
    ) -> Result<Self> {
        let mut links = Vec::new();
        for id in ids {
            if reader.kind(*id)? == ObjectType::Commit {
                pause()?;
                let (_, data) = reader.read(*id)?;
                links.push(link(*id, &data)?);
            }
        }
        let trees: HashMap<Oid, Oid> = links.iter().map(|(_, id, tree, _)| (*id, *tree)).collect();
        let mut this = Self::default();
        let mut walk = Walk { reader, last: HashMap::new(), found: Vec::new() };
        let mut placed: HashSet<Oid> = HashSet::with_capacity(ids.len());
        for (_, id, tree, parent) in in_order(links) {
            pause()?;
            let base = match parent {
                Some(parent) => trees.get(&parent).copied().or_else(|| walk.tree_of(parent)),
                None => None,
            };
            match walk.brought(tree, base, "") {
                // What nothing leads to may name what was lost: it is kept as it is.
                Err(e) if !live.contains(&id) && e.kind() == ErrorKind::NotFound => walk.found.clear(),
                brought => brought?,
            }
            // A commit belongs to the file that it brought, which was found last.
            let path = walk.found.last().map_or_else(|| Rc::from(""), |(_, _, path)| path.clone());
            let found = std::mem::take(&mut walk.found);
            for (oid, rank, path) in std::iter::once((id, Rank::Commit, path)).chain(found) {
                // Brought before by a commit that nothing leads to, it is needed all the same.
                if live.contains(&id) {
                    this.needed.insert(oid);
                }
                // What a commit brought may stand in a pack that is not merged, or have been brought before.
                if ids.contains(&oid) && placed.insert(oid) {
                    this.families.entry((rank, path)).or_default().push(oid);
                }
            }
        }
        // Nothing is known of the others that would make one a version of another.
        for id in ids.iter().filter(|id| !placed.contains(id)) {
            this.families.insert((Rank::Unknown, id.to_string().into()), vec![*id]);
        }
        Ok(this)
    }

    /// Whether a live commit needs it.
    pub(super) fn needs(&self, id: &Oid) -> bool {
        self.needed.contains(id)
    }

    /// The families, each newest first.
    pub(super) fn families(self) -> impl Iterator<Item = Vec<Oid>> {
        self.families.into_values().map(|mut family| {
            family.reverse();
            family
        })
    }
}

/// Commits, parents before children where both are there; times may lie.
fn in_order(mut links: Vec<Link>) -> Vec<Link> {
    links.sort_unstable_by_key(|(time, id, _, _)| (*time, *id));
    let place: HashMap<Oid, usize> = links.iter().enumerate().map(|(i, (_, id, _, _))| (*id, i)).collect();
    let mut done = vec![false; links.len()];
    let mut order = Vec::with_capacity(links.len());
    for start in 0..links.len() {
        // From each commit back to what was placed before, and then forward again.
        let mut line = Vec::new();
        let mut at = Some(start);
        while let Some(i) = at.filter(|i| !done[*i]) {
            done[i] = true;
            line.push(i);
            at = links[i].3.and_then(|parent| place.get(&parent).copied());
        }
        order.extend(line.into_iter().rev().map(|i| links[i]));
    }
    order
}

/// What a commit object begins with: its tree, its parents, its author, its committer.
fn link(id: Oid, data: &[u8]) -> Result<Link> {
    let parse = || {
        let head =
            data.split(|b| *b == b'\n').map_while(|line| std::str::from_utf8(line).ok().filter(|l| !l.is_empty()));
        let (mut tree, mut parent, mut time) = (None, None, None);
        for line in head {
            match line.split_once(' ')? {
                ("tree", value) => tree = Oid::from_str(value).ok(),
                ("parent", value) if parent.is_none() => parent = Oid::from_str(value).ok(),
                ("committer", value) => {
                    time = value.rsplit(' ').nth(1)?.parse().ok();
                    break;
                }
                _ => {}
            }
        }
        Some((time.unwrap_or(0), id, tree?, parent))
    };
    parse().ok_or_else(|| Error::new(ErrorKind::Corrupt, "merge packs", "a commit names no tree").with("commit", id))
}

/// Compares trees, and keeps the last one of each path: the next commit's base.
struct Walk<'a, 'l> {
    reader: &'a mut Reader<'l>,
    last: HashMap<Rc<str>, (Oid, Rc<Tree>)>,
    found: Vec<(Oid, Rank, Rc<str>)>,
}

impl Walk<'_, '_> {
    /// The tree of a commit that is not merged; none where it is not here at all (a shallow clone).
    fn tree_of(&mut self, commit: Oid) -> Option<Oid> {
        let (_, data) = self.reader.read(commit).ok()?;
        link(commit, &data).ok().map(|(_, _, tree, _)| tree)
    }

    fn tree(&mut self, id: Oid, path: &Rc<str>) -> Result<Rc<Tree>> {
        if let Some((known, tree)) = self.last.get(path)
            && *known == id
        {
            return Ok(tree.clone());
        }
        let tree = Rc::new(Tree::parse(&self.reader.read(id)?.1).map_err(|e| e.with("tree", id))?);
        self.last.insert(path.clone(), (id, tree.clone()));
        Ok(tree)
    }

    /// Finds the objects in `tree` that `base` has not; files after their folders.
    fn brought(&mut self, tree: Oid, base: Option<Oid>, path: &str) -> Result<()> {
        if base == Some(tree) {
            return Ok(());
        }
        let path: Rc<str> = self.last.get_key_value(path).map_or_else(|| path.into(), |(known, _)| known.clone());
        let old = base.map(|b| self.tree(b, &path)).transpose()?;
        let new = self.tree(tree, &path)?;
        self.found.push((tree, Rank::Folder, path.clone()));
        let old = old.as_ref().map_or(&[][..], |t| t.items());
        for (item, before) in new.differing(old) {
            let inner = format!("{path}{}", String::from_utf8_lossy(&item.name));
            if item.is_folder() {
                let base = before.filter(|b| b.is_folder()).map(|b| b.id);
                self.brought(item.id, base, &format!("{inner}/"))?;
            } else if item.is_blob() {
                self.found.push((item.id, Rank::File, inner.into()));
            }
        }
        Ok(())
    }
}
