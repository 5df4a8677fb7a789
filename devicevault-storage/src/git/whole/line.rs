//! The order of a history of which commits are lost: what came before one of those is told by the index of the branch,
//! or by the commit that nothing leads to since.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::{HashMap, HashSet};

use git2::{ObjectType, Oid};

use super::super::message;
use super::super::purge::Successors;
use super::super::unpack::Objects;
use super::raw::Raw;

/// The commits of a branch, those that are lost among them.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those before a commit stand before it.
    pub(super) order: Vec<Oid>,
    /// Of those that are lost, as far as that can be told.
    pub(super) parents: HashMap<Oid, Vec<Oid>>,
    pub(super) lost: HashSet<Oid>,
}

/// What is known of a branch besides its objects.
pub(super) struct Known<'a> {
    /// Its commits as the index has them, oldest first.
    pub(super) index: &'a [Oid],
    /// Commits that others took the place of.
    pub(super) purged: &'a Successors,
    /// Commits whose parents are elsewhere on purpose.
    pub(super) shallow: &'a HashSet<Oid>,
    /// Commits and files in them that somebody names, oldest first.
    pub(super) named: &'a [(Oid, &'a str)],
}

/// A commit that can be read.
pub(super) fn commit(objects: &mut Objects, id: Oid) -> Option<Raw> {
    let (kind, data) = objects.read(id)?;
    (kind == ObjectType::Commit).then(|| Raw::parse(&data)).flatten()
}

struct Walk<'a> {
    objects: &'a mut Objects,
    known: &'a Known<'a>,
    place: HashMap<Oid, usize>,
    line: Line,
    /// Lost, and not yet known what came before.
    gaps: Vec<Oid>,
    /// Commits of ours that no other names as its parent, with their time.
    ends: Option<Vec<(i64, Oid)>>,
}

/// The history that a commit ends.
pub(super) fn line(objects: &mut Objects, tip: Oid, known: &Known<'_>) -> Line {
    let place = known.index.iter().enumerate().map(|(n, id)| (*id, n)).collect();
    let mut walk = Walk { objects, known, place, line: Line::default(), gaps: Vec::new(), ends: None };
    walk.visit(tip);
    walk.bridge();
    walk.attach();
    walk.line.order = walk.ordered(tip);
    walk.name();
    walk.line
}

impl Walk<'_> {
    fn visit(&mut self, from: Oid) {
        let mut waiting = vec![from];
        while let Some(id) = waiting.pop() {
            if self.line.parents.contains_key(&id) {
                continue;
            }
            let parents = match commit(self.objects, id) {
                Some(found) => {
                    if !self.known.shallow.contains(&id) {
                        waiting.extend(&found.parents);
                    }
                    found.parents
                }
                None => {
                    self.line.lost.insert(id);
                    self.gaps.push(id);
                    Vec::new()
                }
            };
            self.line.parents.insert(id, parents);
        }
    }

    fn bridge(&mut self) {
        while let Some(gap) = self.gaps.pop() {
            if let Some(before) = self.before(gap) {
                self.line.parents.insert(gap, vec![before]);
                self.visit(before);
            }
        }
    }

    fn before(&mut self, gap: Oid) -> Option<Oid> {
        if let Some(at) = self.place.get(&gap) {
            return self.known.index.get(at.checked_sub(1)?).copied();
        }
        if self.ends.is_none() {
            self.ends = Some(self.ends());
        }
        let parents = &self.line.parents;
        let ends = self.ends.iter().flatten().filter(|(_, id)| !parents.contains_key(id));
        ends.max().map(|(_, id)| *id)
    }

    fn ends(&mut self) -> Vec<(i64, Oid)> {
        let (mut found, mut named) = (Vec::new(), HashSet::new());
        for id in self.objects.ids() {
            let Some(raw) = commit(self.objects, id) else { continue };
            named.extend(raw.parents);
            if !message::trailers(&raw.message).is_empty() && !self.known.purged.contains_key(&id) {
                found.push((raw.time, id));
            }
        }
        found.retain(|(_, id)| !named.contains(id));
        found
    }

    /// What the index has and nothing leads to now stood before a merge that is lost.
    fn attach(&mut self) {
        let newest = self.line.lost.iter().filter_map(|id| Some((*self.place.get(id)?, *id))).max();
        let Some((place, gap)) = newest else { return };
        for id in self.known.index.iter().take(place).rev() {
            if !self.line.parents.contains_key(id) && commit(self.objects, *id).is_some() {
                self.line.parents.entry(gap).or_default().push(*id);
                self.visit(*id);
                self.bridge();
            }
        }
    }

    /// Lost commits that only others name come before the next version of their file, or last.
    fn name(&mut self) {
        for (n, (id, path)) in self.known.named.iter().enumerate() {
            if self.line.parents.contains_key(id) || commit(self.objects, *id).is_some() {
                continue;
            }
            let line = &mut self.line;
            let later: HashSet<Oid> =
                self.known.named.iter().skip(n + 1).filter(|(_, p)| p == path).map(|(c, _)| *c).collect();
            let place = line.order.iter().position(|c| later.contains(c));
            let before = match place.and_then(|at| line.order.get(at)) {
                Some(next) => {
                    let parents = line.parents.entry(*next).or_default();
                    let first = parents.first().copied();
                    parents.splice(..parents.len().min(1), [*id]);
                    first
                }
                None => line.order.last().copied(),
            };
            line.order.insert(place.unwrap_or(line.order.len()), *id);
            line.parents.insert(*id, before.into_iter().collect());
            line.lost.insert(*id);
        }
    }

    fn ordered(&self, tip: Oid) -> Vec<Oid> {
        let (mut order, mut seen, mut waiting) = (Vec::new(), HashSet::new(), vec![(tip, false)]);
        while let Some((id, all_before)) = waiting.pop() {
            if all_before {
                order.push(id);
                continue;
            }
            let Some(parents) = self.line.parents.get(&id).filter(|_| seen.insert(id)) else { continue };
            waiting.push((id, true));
            waiting.extend(parents.iter().rev().map(|p| (*p, false)));
        }
        order
    }
}
