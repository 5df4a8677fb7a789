//! Objects of a batch, until they are a pack.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use devicevault_core::Result;
use flate2::Compression;
use git2::{ObjectType, Oid};

use super::delta;
use super::fault;
use super::layout::Layout;
use super::packfile::PackWriter;

/// A store is in a hurry; a merge compresses better.
const COMPRESSION: u32 = 3;

/// How many deltas may stand on one another in a pack of a batch: reading the last applies all of them.
const MAX_DEPTH: u32 = 32;

/// Objects that are not on disk yet.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    objects: Vec<Object>,
    known: HashSet<Oid>,
    /// How many of them are in the repository, unreadable.
    replaced: usize,
    /// The newest tree of each path, and how many deltas it stands on.
    trees: HashMap<String, (Oid, Vec<u8>, u32)>,
}

#[derive(Debug)]
struct Object {
    id: Oid,
    kind: ObjectType,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Whole(Bytes),
    Delta { base: Oid, bytes: Vec<u8> },
}

impl Fresh {
    /// Adds an object.
    pub(super) fn add(&mut self, kind: ObjectType, data: impl Into<Bytes>) -> Result<Oid> {
        let data = data.into();
        let id = Oid::hash_object(kind, &data).map_err(|e| fault::git("hash object", e))?;
        if self.known.insert(id) {
            self.objects.push(Object { id, kind, content: Content::Whole(data) });
        }
        Ok(id)
    }

    /// Adds an object that the repository has and cannot read.
    pub(super) fn replace(&mut self, kind: ObjectType, data: impl Into<Bytes>) -> Result<()> {
        self.add(kind, data)?;
        self.replaced += 1;
        Ok(())
    }

    /// How many objects take the place of unreadable ones.
    pub(super) fn replaced(&self) -> usize {
        self.replaced
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.objects.len()
    }

    /// Whether this object is among them.
    pub(super) fn has(&self, id: &Oid) -> bool {
        self.known.contains(id)
    }

    /// Adds the tree of this path. From one commit to the next it differs by one line: so does what is written.
    pub(super) fn add_tree(&mut self, path: &str, data: Vec<u8>) -> Result<Oid> {
        let kind = ObjectType::Tree;
        let id = Oid::hash_object(kind, &data).map_err(|e| fault::git("hash object", e))?;
        if !self.known.insert(id) {
            return Ok(id);
        }
        let base = self.trees.get(path).filter(|(_, _, depth)| *depth < MAX_DEPTH);
        let delta =
            base.and_then(|(base, old, depth)| Some((*base, delta::encode(old, &data, data.len() / 2)?, *depth)));
        let (content, depth) = match delta {
            Some((base, bytes, depth)) => (Content::Delta { base, bytes }, depth + 1),
            None => (Content::Whole(data.clone().into()), 0),
        };
        self.objects.push(Object { id, kind, content });
        self.trees.insert(path.to_owned(), (id, data, depth));
        Ok(id)
    }

    /// Writes all of them as one pack, flushed with its name.
    pub(super) fn flush(&self, layout: &Layout) -> Result<()> {
        let mut pack = PackWriter::new(&layout.packs(), self.objects.len(), Compression::new(COMPRESSION))?;
        for object in &self.objects {
            match &object.content {
                Content::Whole(data) => pack.whole(object.id, object.kind, data)?,
                Content::Delta { base, bytes } => pack.delta(object.id, *base, bytes)?,
            }
        }
        pack.finish().map(drop)
    }
}
