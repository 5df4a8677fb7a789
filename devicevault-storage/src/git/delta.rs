//! What differs between two objects, in Git's delta format (`gitformat-pack`, "Deltified representation").
//!
//! What both begin and end with is found by comparing, which for two versions of a text is nearly all; the rest by
//! blocks of 16 bytes that the base has too.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

const BLOCK: usize = 16;

/// The most that one copy takes in packs of version 2.
const MAX_COPY: usize = 0x10000;

/// The most that one insertion takes.
const MAX_INSERT: usize = 127;

/// How `target` is made out of `base`; `None` when that takes more than `limit` bytes.
pub(super) fn encode(base: &[u8], target: &[u8], limit: usize) -> Option<Vec<u8>> {
    // Offsets are 32 bits wide.
    if base.len() > u32::MAX as usize || target.len() > u32::MAX as usize {
        return None;
    }
    let mut out = Delta { bytes: Vec::new(), limit };
    size(&mut out.bytes, base.len());
    size(&mut out.bytes, target.len());

    let prefix = base.iter().zip(target).take_while(|(a, b)| a == b).count();
    let (base_rest, rest) = (base.get(prefix..)?, target.get(prefix..)?);
    let suffix = base_rest.iter().rev().zip(rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let middle = rest.get(..rest.len() - suffix)?;
    let base_middle = base_rest.get(..base_rest.len() - suffix)?;

    out.copy(0, prefix);
    blocks(&mut out, base_middle, prefix, middle)?;
    out.copy(base.len() - suffix, suffix);
    (out.bytes.len() <= limit).then_some(out.bytes)
}

struct Delta {
    bytes: Vec<u8>,
    limit: usize,
}

impl Delta {
    fn copy(&mut self, mut from: usize, mut count: usize) {
        while count > 0 {
            let n = count.min(MAX_COPY);
            let at = self.bytes.len();
            self.bytes.push(0x80);
            let mut flags = 0x80;
            // A size of 0x10000 is written as none.
            let lengths = if n == MAX_COPY { 0 } else { n };
            let fields = (from as u64 & 0xffff_ffff) | (lengths as u64) << 32;
            for (bit, byte) in fields.to_le_bytes().into_iter().take(7).enumerate() {
                if byte != 0 {
                    flags |= 1 << bit;
                    self.bytes.push(byte);
                }
            }
            if let Some(head) = self.bytes.get_mut(at) {
                *head = flags;
            }
            from += n;
            count -= n;
        }
    }

    fn insert(&mut self, data: &[u8]) {
        for part in data.chunks(MAX_INSERT) {
            // At most 127, so it fits.
            self.bytes.push(part.len() as u8);
            self.bytes.extend_from_slice(part);
        }
    }
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn size(out: &mut Vec<u8>, mut n: usize) {
    while n > 0x7f {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Encodes what neither begins nor ends alike. `at` is where `base` begins in the whole of it.
fn blocks(out: &mut Delta, base: &[u8], at: usize, target: &[u8]) -> Option<()> {
    if base.len() < BLOCK || target.len() < BLOCK {
        out.insert(target);
        return Some(());
    }
    let bits = (base.len() / BLOCK).next_power_of_two().trailing_zeros() + 1;
    // Where in the base a block of this hash stands, counted from one.
    let mut table = vec![0_u32; 1 << bits];
    for (i, block) in base.chunks_exact(BLOCK).enumerate() {
        if let Some(slot) = table.get_mut(hash(block, bits)).filter(|slot| **slot == 0) {
            *slot = u32::try_from(i * BLOCK + 1).unwrap_or(0);
        }
    }
    let (mut done, mut here) = (0, 0);
    while let Some(block) = target.get(here..here + BLOCK) {
        let found = table.get(hash(block, bits)).and_then(|slot| slot.checked_sub(1)).map(|from| from as usize);
        let Some(from) = found.filter(|from| base.get(*from..from + BLOCK) == Some(block)) else {
            here += 1;
            continue;
        };
        let before = alike(base.get(..from)?.iter().rev(), target.get(done..here)?.iter().rev());
        let after = alike(base.get(from..)?.iter(), target.get(here..)?.iter());
        out.insert(target.get(done..here - before)?);
        out.copy(at + from - before, before + after);
        here += after;
        done = here;
        if out.bytes.len() > out.limit {
            return None;
        }
    }
    out.insert(target.get(done..)?);
    Some(())
}

fn alike<'a>(a: impl Iterator<Item = &'a u8>, b: impl Iterator<Item = &'a u8>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

fn hash(block: &[u8], bits: u32) -> usize {
    let word = |part: Option<&[u8]>| part.and_then(|p| p.try_into().ok()).map_or(0, u64::from_le_bytes);
    let (a, b) = (word(block.get(..8)), word(block.get(8..16)));
    let mixed = (a ^ b.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - bits)) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The way back, as the format's description has it.
    fn apply(base: &[u8], delta: &[u8]) -> Vec<u8> {
        let mut bytes = delta.iter().copied();
        let mut number = || {
            let (mut n, mut shift) = (0_usize, 0);
            loop {
                let b = bytes.next().unwrap();
                n |= usize::from(b & 0x7f) << shift;
                shift += 7;
                if b & 0x80 == 0 {
                    return n;
                }
            }
        };
        assert_eq!(number(), base.len());
        let length = number();
        let mut out = Vec::new();
        while let Some(op) = bytes.next() {
            if op & 0x80 == 0 {
                assert_ne!(op, 0, "reserved");
                out.extend(bytes.by_ref().take(op.into()));
                continue;
            }
            let mut field = |bits: std::ops::Range<u8>| {
                bits.clone()
                    .filter(|bit| op & (1 << bit) != 0)
                    .map(|bit| usize::from(bytes.next().unwrap()) << (8 * (bit - bits.start)))
                    .sum::<usize>()
            };
            let (from, mut count) = (field(0..4), field(4..7));
            if count == 0 {
                count = MAX_COPY;
            }
            out.extend_from_slice(&base[from..from + count]);
        }
        assert_eq!(out.len(), length);
        out
    }

    /// Pieces that both sides draw from, so that much is alike and in other places.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            (0_u8..6).prop_map(|n| vec![n; 40]),
            (0_u8..6).prop_map(|n| (0..100).map(|i| n.wrapping_mul(31).wrapping_add(i)).collect()),
            prop::collection::vec(any::<u8>(), 0..20),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|v| v.concat())
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_made_again(base in pieces(), target in pieces()) {
            let delta = encode(&base, &target, usize::MAX).unwrap();
            prop_assert_eq!(apply(&base, &delta), target.clone());
            prop_assert!(encode(&base, &target, delta.len() - 1).is_none());
            prop_assert_eq!(encode(&base, &target, delta.len()), Some(delta));
        }

        #[test]
        fn a_small_change_is_a_small_delta(base in prop::collection::vec(any::<u8>(), 1000..200_000), at in any::<prop::sample::Index>()) {
            let mut target = base.clone();
            let at = at.index(base.len());
            target.splice(at..at, *b"something new");
            let delta = encode(&base, &target, usize::MAX).unwrap();
            prop_assert_eq!(apply(&base, &delta), target);
            prop_assert!(delta.len() < 100, "{}", delta.len());
        }
    }

    #[test]
    fn what_moved_is_copied() {
        let lines: Vec<String> =
            (0..500).map(|i| format!("interface Ethernet1/{i} description {}\n", i * 7919)).collect();
        let base = lines.concat().into_bytes();
        let target = lines.iter().rev().map(String::as_str).collect::<String>().into_bytes();
        let delta = encode(&base, &target, usize::MAX).unwrap();
        assert_eq!(apply(&base, &delta), target);
        assert!(delta.len() < target.len() / 3, "{} of {}", delta.len(), target.len());
    }
}
