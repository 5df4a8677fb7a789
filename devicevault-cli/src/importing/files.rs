//! The files of an import, as commits add and take them away.

use std::collections::{BTreeMap, HashMap};

/// Files that take so many turns both change: once, a device may have moved back.
const BOTH: usize = 2;

/// The files of an import. One that was taken away and came back counts as another.
#[derive(Default)]
pub(super) struct Files {
    /// Those that are there, by their paths, and their devices.
    numbers: HashMap<String, (usize, usize)>,
    /// The path of each, and the last commit that changed it.
    all: Vec<(String, usize)>,
    /// Those that are there, by their devices.
    there: HashMap<usize, Vec<usize>>,
    /// Of two files of one device that are there at the same time: how often the one changed after the other had.
    turns: HashMap<(usize, usize), usize>,
}

impl Files {
    pub(super) fn remove(&mut self, path: &str) {
        if let Some((number, device)) = self.numbers.remove(path) {
            self.there.entry(device).or_default().retain(|n| *n != number);
        }
    }

    /// A file that a commit added or changed. What it took away is removed before.
    pub(super) fn note(&mut self, path: String, device: usize, commit: usize) -> usize {
        let there = self.there.entry(device).or_default();
        let known = self.numbers.get(&path).map(|(number, _)| *number);
        let number = known.unwrap_or(self.all.len());
        let own = known.and_then(|n| self.all.get(n)).map(|(_, last)| *last);
        for other in there.iter().filter(|n| **n != number) {
            let Some((_, last)) = self.all.get(*other) else { continue };
            let turns = self.turns.entry((number.min(*other), number.max(*other))).or_default();
            if *last == commit {
                *turns = BOTH;
            } else if own.is_some_and(|own| own < *last) {
                *turns += 1;
            }
        }
        match self.all.get_mut(number) {
            Some((_, last)) => *last = commit,
            None => {
                self.all.push((path.clone(), commit));
                there.push(number);
                self.numbers.insert(path, (number, device));
            }
        }
        number
    }

    pub(super) fn path(&self, number: usize) -> String {
        self.all.get(number).map(|(path, _)| path.clone()).unwrap_or_default()
    }

    /// Files of one device that both changed while both were there, each with the one that is kept: a node in two groups, not
    /// one that moved, and perhaps moved back, of which the file in the other place stayed.
    pub(super) fn doubles(&self) -> BTreeMap<usize, usize> {
        let mut doubles = BTreeMap::new();
        let last = |number: usize| self.all.get(number).map(|(_, last)| *last);
        let mut both: Vec<_> = self.turns.iter().filter(|(_, turns)| **turns >= BOTH).map(|(pair, _)| *pair).collect();
        both.sort_unstable();
        for (first, second) in both {
            // The one that goes on is the one that is alive.
            let (kept, other) = if last(second) > last(first) { (second, first) } else { (first, second) };
            doubles.insert(other, kept);
        }
        doubles
    }
}
