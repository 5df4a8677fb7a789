//! Reading objects out of packs by ourselves, so that damage to one of them costs no other.
//!
//! libgit2 gives up on an object when any that it is made of cannot be read from the same pack. Here each of those is
//! looked for wherever it is: in this pack, in another one, among loose objects.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use devicevault_core::Result;
use flate2::read::ZlibDecoder;
use git2::{ObjectType, Oid};

use super::{fault, pack};
use crate::regular;

/// No object that anybody put here is larger.
const MAX_OBJECT: u64 = 4 << 30;

/// How many deltas may stand on one another.
const MAX_DEPTH: usize = 1000;

/// Bytes of objects that are kept at hand as what others are made of.
const CACHE: usize = 64 << 20;

/// A pack, its objects by name and by place.
struct Source {
    file: BufReader<File>,
    offsets: HashMap<Oid, u64>,
    ids: HashMap<u64, Oid>,
}

/// What stands at a place of a pack.
pub(super) enum Entry {
    Whole(ObjectType, Vec<u8>),
    /// The object that it is made of, and how.
    Delta(Oid, Vec<u8>),
}

/// Objects in packs and loose ones.
pub(super) struct Objects {
    packs: Vec<Source>,
    loose: HashMap<Oid, PathBuf>,
    /// Known to be nowhere in a state to be read.
    lost: HashSet<Oid>,
    cache: HashMap<Oid, (ObjectType, Bytes)>,
    cached: usize,
}

impl Objects {
    /// Over these packs, the first ones preferred, and loose objects. A pack whose index cannot be read is left out.
    pub(super) fn new(packs: &[PathBuf], loose: HashMap<Oid, PathBuf>) -> Result<Self> {
        let mut sources = Vec::new();
        for path in packs {
            let Ok(places) = pack::places(path) else { continue };
            let file = regular::open(path).map_err(|e| fault::io("read pack", path, e))?;
            let ids = places.iter().map(|(id, at)| (*at, *id)).collect();
            let offsets = places.into_iter().collect();
            sources.push(Source { file: BufReader::new(file), offsets, ids });
        }
        Ok(Self { packs: sources, loose, lost: HashSet::new(), cache: HashMap::new(), cached: 0 })
    }

    /// The names of all that it is over.
    pub(super) fn ids(&self) -> Vec<Oid> {
        let all = self.packs.iter().flat_map(|p| p.offsets.keys()).chain(self.loose.keys());
        all.copied().collect::<HashSet<_>>().into_iter().collect()
    }

    /// An object, if it can be read anywhere: its bytes hash to its name.
    pub(super) fn read(&mut self, id: Oid) -> Option<(ObjectType, Bytes)> {
        self.find(id, 0)
    }

    fn find(&mut self, id: Oid, depth: usize) -> Option<(ObjectType, Bytes)> {
        if let Some(known) = self.cache.get(&id) {
            return Some(known.clone());
        }
        // Named as lost while it is looked for: what is made of itself ends here.
        if depth > MAX_DEPTH || !self.lost.insert(id) {
            return None;
        }
        let found = (0..self.packs.len()).find_map(|n| self.in_pack(n, id, depth)).or_else(|| self.loose(id))?;
        self.lost.remove(&id);
        self.keep(id, found.clone());
        Some(found)
    }

    fn in_pack(&mut self, n: usize, id: Oid, depth: usize) -> Option<(ObjectType, Bytes)> {
        let (kind, data) = match self.entry(n, id)? {
            Entry::Whole(kind, data) => (kind, data),
            Entry::Delta(base, delta) => {
                let (kind, base) = self.find(base, depth + 1)?;
                (kind, apply(&base, &delta)?)
            }
        };
        is_it(id, kind, &data).then(|| (kind, data.into()))
    }

    /// How this pack holds an object; `None` where it does not, or it cannot be read there.
    pub(super) fn entry(&mut self, n: usize, id: Oid) -> Option<Entry> {
        let source = self.packs.get_mut(n)?;
        let at = *source.offsets.get(&id)?;
        source.file.seek(SeekFrom::Start(at)).ok()?;
        entry(&mut source.file, at, |at| source.ids.get(&at).copied())
    }

    fn loose(&self, id: Oid) -> Option<(ObjectType, Bytes)> {
        let (kind, data) = loose(self.loose.get(&id)?)?;
        is_it(id, kind, &data).then(|| (kind, data.into()))
    }

    fn keep(&mut self, id: Oid, object: (ObjectType, Bytes)) {
        if self.cached > CACHE {
            self.cache.clear();
            self.cached = 0;
        }
        self.cached += object.1.len() + 64;
        self.cache.insert(id, object);
    }
}

fn is_it(id: Oid, kind: ObjectType, data: &[u8]) -> bool {
    Oid::hash_object(kind, data).is_ok_and(|found| found == id)
}

/// A loose object: `kind SP length NUL data`, compressed.
pub(super) fn loose(path: &Path) -> Option<(ObjectType, Vec<u8>)> {
    let data = inflated(regular::open(path).ok()?, None)?;
    let end = data.iter().take(32).position(|b| *b == 0)?;
    let (kind, length) = std::str::from_utf8(data.get(..end)?).ok()?.split_once(' ')?;
    let body = data.get(end + 1..)?.to_vec();
    (length.parse() == Ok(body.len())).then_some((ObjectType::from_str(kind)?, body))
}

fn inflated(from: impl std::io::Read, length: Option<u64>) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let most = length.unwrap_or(MAX_OBJECT);
    // One byte more, so that what is longer than announced is seen, and the check value at the end is read.
    ZlibDecoder::new(from).take(most.min(MAX_OBJECT) + 1).read_to_end(&mut data).ok()?;
    (length.unwrap_or(data.len() as u64) == data.len() as u64).then_some(data)
}

/// Reads what stands at `at` (`gitformat-pack`, "Pack file entries"). `base` tells which object stands at a place.
fn entry(file: &mut impl std::io::Read, at: u64, base: impl Fn(u64) -> Option<Oid>) -> Option<Entry> {
    let mut next = || {
        let mut byte = [0];
        file.read_exact(&mut byte).ok().map(|()| u64::from(byte[0]))
    };
    let first = next()?;
    let (number, mut length, mut shift) = (first >> 4 & 7, first & 0xf, 4);
    let mut more = first & 0x80 != 0;
    while more {
        let byte = next()?;
        length |= (byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        more = byte & 0x80 != 0 && shift < 60;
    }
    let of = match number {
        6 => {
            let mut byte = next()?;
            let mut distance = byte & 0x7f;
            while byte & 0x80 != 0 {
                byte = next()?;
                distance = (distance.checked_add(1)? << 7) | (byte & 0x7f);
                if distance > at {
                    return None;
                }
            }
            Some(base(at.checked_sub(distance)?)?)
        }
        7 => {
            let mut id = [0; 20];
            file.read_exact(&mut id).ok()?;
            Some(Oid::from_bytes(&id).ok()?)
        }
        _ => None,
    };
    let data = inflated(file, Some(length))?;
    let kind = match number {
        1 => ObjectType::Commit,
        2 => ObjectType::Tree,
        3 => ObjectType::Blob,
        4 => ObjectType::Tag,
        6 | 7 => return Some(Entry::Delta(of?, data)),
        _ => return None,
    };
    Some(Entry::Whole(kind, data))
}

/// Makes an object out of what it is a delta of (`gitformat-pack`, "Deltified representation").
fn apply(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = delta.iter().copied();
    let (from, length) = (number(&mut bytes)?, number(&mut bytes)?);
    if from != base.len() as u64 || length > MAX_OBJECT {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    let mut out = Vec::new();
    while let Some(op) = bytes.next() {
        if op & 0x80 == 0 {
            let before = out.len();
            out.extend(bytes.by_ref().take(op.into()));
            if op == 0 || out.len() - before != usize::from(op) {
                return None;
            }
        } else {
            let mut field = |bits: std::ops::Range<u8>| {
                let mut value = 0_usize;
                for bit in bits.clone().filter(|bit| op & (1 << bit) != 0) {
                    value |= usize::from(bytes.next()?) << (8 * (bit - bits.start));
                }
                Some(value)
            };
            let (at, count) = (field(0..4)?, field(4..7)?);
            let count = if count == 0 { 0x10000 } else { count };
            out.extend_from_slice(base.get(at..at.checked_add(count)?)?);
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

/// Seven bits a byte, the lowest first.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use super::super::delta;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_made_again(base in any::<Vec<u8>>(), target in any::<Vec<u8>>()) {
            let encoded = delta::encode(&base, &target, usize::MAX).unwrap();
            prop_assert_eq!(apply(&base, &encoded), Some(target));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in any::<Vec<u8>>(), base in any::<Vec<u8>>(), at in any::<u64>()) {
            let _ = apply(&base, &bytes);
            let _ = entry(&mut &bytes[..], at, |_| Some(Oid::ZERO_SHA1));
        }
    }
}
