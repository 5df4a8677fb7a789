//! Which version of a thing another one is made of.

use bytes::Bytes;
use git2::{ObjectType, Oid};

use super::delta;

/// Distance between the steps of one level of a [`Line`].
const STEP: usize = 64;

/// How many lines may begin one with the other.
const MAX_LINES: usize = 16;

/// Versions of one thing, newest first: what each is best made of.
///
/// The newest is made of the newest of the line before, which is often alike: two switches of one company. Every 64th is
/// made of the one 64 before it, every 4,096th of the one 4,096 before, all others of the one before: so that no version
/// is further than 64 steps for each factor of 64 from the newest, however long the line is.
#[derive(Debug, Default)]
pub(super) struct Line {
    count: usize,
    /// By level: the last one of this level.
    levels: [Option<Version>; 4],
    /// The newest.
    head: Option<Version>,
    /// The newest of the line before, and how many before that begin one with the other.
    before: Option<Version>,
    lines: usize,
}

#[derive(Debug, Clone)]
struct Version {
    id: Oid,
    kind: ObjectType,
    data: Bytes,
}

impl Line {
    /// The next line.
    pub(super) fn after(line: Self) -> Self {
        if line.count == 0 {
            return line;
        }
        let before = line.head.filter(|_| line.lines < MAX_LINES);
        let lines = if before.is_some() { line.lines + 1 } else { 0 };
        Self { before, lines, ..Self::default() }
    }

    fn level(&self) -> usize {
        let mut level = 0;
        let mut n = self.count;
        while n > 0 && n.is_multiple_of(STEP) {
            level += 1;
            n /= STEP;
        }
        level
    }

    /// What the next one is made of, where that saves something.
    pub(super) fn base(&self, kind: ObjectType, data: &[u8]) -> Option<(Oid, Vec<u8>)> {
        let base = if self.count == 0 { &self.before } else { self.levels.get(self.level())? };
        let base = base.as_ref().filter(|b| b.kind == kind)?;
        // What is not much smaller so is better read at once.
        Some((base.id, delta::encode(&base.data, data, data.len() * 2 / 3)?))
    }

    /// Adds the next one.
    pub(super) fn push(&mut self, id: Oid, kind: ObjectType, data: Bytes) {
        let version = Version { id, kind, data };
        if self.count == 0 {
            self.head = Some(version.clone());
        }
        let levels = if self.count == 0 { self.levels.len() } else { self.level() + 1 };
        for place in self.levels.iter_mut().take(levels) {
            *place = Some(version.clone());
        }
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_version_is_far_from_the_newest() {
        let mut depths = std::collections::HashMap::new();
        let mut line = Line::default();
        let text = |n: usize| format!("{}version {n}\n", "the same in all\n".repeat(20)).into_bytes();
        let mut deepest = 0;
        for n in 0..10_000 {
            let data = text(n);
            let id = Oid::hash_object(ObjectType::Blob, &data).unwrap();
            let depth = line.base(ObjectType::Blob, &data).map_or(0, |(base, _)| depths[&base] + 1);
            assert_eq!(depth == 0, n == 0, "every version but the first saves something");
            depths.insert(id, depth);
            deepest = deepest.max(depth);
            line.push(id, ObjectType::Blob, data.into());
        }
        assert!(deepest <= 3 * STEP, "{deepest}");
    }

    #[test]
    fn lines_that_are_alike_begin_one_with_the_other_for_a_while() {
        let mut line = Line::default();
        let mut whole = 0;
        for device in 0..100 {
            let data = format!("{}hostname {device}\n", "ntp server 192.0.2.1\n".repeat(20)).into_bytes();
            line = Line::after(line);
            whole += usize::from(line.base(ObjectType::Blob, &data).is_none());
            line.push(Oid::hash_object(ObjectType::Blob, &data).unwrap(), ObjectType::Blob, data.into());
        }
        assert_eq!(whole, 100_usize.div_ceil(MAX_LINES + 1));
        assert!(line.base(ObjectType::Tree, b"x").is_none(), "kinds are not mixed");
    }
}
