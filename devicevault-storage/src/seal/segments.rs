//! Segments: the payload in pieces of 64 KiB, each encrypted and bound to its place.

use bytes::{Bytes, BytesMut};
use devicevault_core::{Error, ErrorKind, Result};

use super::crypto::{Cipher, TAG};
use super::header::{HEADER_LEN, SegmentKey};

/// Bytes of payload in a segment.
pub(super) const SEGMENT: usize = 1 << 16;
/// Bytes of a whole segment in the container.
pub(super) const SEALED: usize = SEGMENT + TAG;

/// Encrypts a payload as it comes.
#[derive(Debug)]
pub(crate) struct Sealer {
    cipher: Cipher,
    key: SegmentKey,
    index: u32,
    pending: Vec<u8>,
}

/// Decrypts single segments.
#[derive(Debug)]
pub(super) struct Opener {
    cipher: Cipher,
    key: SegmentKey,
}

fn nonce(key: &SegmentKey, index: u32, last: bool) -> [u8; 12] {
    let [a, b, c, d, e, f, g] = key.prefix;
    let [h, i, j, k] = index.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, u8::from(last)]
}

impl Sealer {
    pub(crate) fn new(key: SegmentKey) -> Result<Self> {
        Ok(Self { cipher: key.key.cipher()?, key, index: 0, pending: Vec::with_capacity(SEALED) })
    }

    /// Takes payload; appends every segment that is full and surely not the last.
    pub(crate) fn push(&mut self, mut payload: &[u8], out: &mut BytesMut) -> Result<()> {
        while !payload.is_empty() {
            if self.pending.len() == SEGMENT {
                self.segment(false, out)?;
            }
            let (now, later) = payload.split_at(payload.len().min(SEGMENT - self.pending.len()));
            self.pending.extend_from_slice(now);
            payload = later;
        }
        Ok(())
    }

    /// Appends the last segment.
    pub(crate) fn finish(mut self, out: &mut BytesMut) -> Result<()> {
        self.segment(true, out)
    }

    fn segment(&mut self, last: bool, out: &mut BytesMut) -> Result<()> {
        self.cipher.seal(nonce(&self.key, self.index, last), &self.key.aad, &mut self.pending)?;
        out.extend_from_slice(&self.pending);
        self.pending.clear();
        if !last {
            let full = || Error::new(ErrorKind::TooLarge, "seal", "a sealed object holds at most 256 TiB");
            self.index = self.index.checked_add(1).ok_or_else(full)?;
        }
        Ok(())
    }
}

impl Opener {
    pub(super) fn new(key: SegmentKey) -> Result<Self> {
        Ok(Self { cipher: key.key.cipher()?, key })
    }

    /// Opens one segment of a container with `shape`.
    pub(super) fn open(&self, index: u64, sealed: &[u8], shape: &Shape) -> Result<Bytes> {
        let damaged = || {
            Error::new(ErrorKind::Corrupt, "open sealed object", "a segment is damaged, or not of this object")
                .with("segment", index)
        };
        let number = u32::try_from(index).map_err(|_| damaged())?;
        let mut text = sealed.to_vec();
        self.cipher
            .open(nonce(&self.key, number, index + 1 == shape.segments), &self.key.aad, &mut text)
            .ok_or_else(damaged)?;
        Ok(text.into())
    }
}

/// How long a container and its payload are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) payload: u64,
    pub(super) segments: u64,
}

impl Shape {
    /// From the length of a payload.
    pub(super) fn of_payload(payload: u64) -> Self {
        Self { payload, segments: payload.div_ceil(SEGMENT as u64).max(1) }
    }

    /// From the length of a container.
    pub(super) fn of_container(length: u64) -> Result<Self> {
        let cut = || {
            Error::new(
                ErrorKind::Corrupt,
                "open sealed object",
                "its length is not that of a sealed object: it was cut, or added to",
            )
            .with("bytes", length)
        };
        let body = length.checked_sub(HEADER_LEN as u64).ok_or_else(cut)?;
        let segments = body.div_ceil(SEALED as u64).max(1);
        let payload = body.checked_sub(segments * TAG as u64).ok_or_else(cut)?;
        let shape = Self { payload, segments };
        if Self::of_payload(payload) == shape { Ok(shape) } else { Err(cut()) }
    }

    /// Length of the container.
    pub(super) fn container(&self) -> u64 {
        HEADER_LEN as u64 + self.payload + self.segments * TAG as u64
    }

    /// Where segments stand in the container, from `first` to `last` with both.
    pub(super) fn bytes_of(&self, first: u64, last: u64) -> std::ops::Range<u64> {
        let at = |index: u64| HEADER_LEN as u64 + index * SEALED as u64;
        at(first)..at(last + 1).min(self.container())
    }
}

#[cfg(test)]
mod tests {
    use super::super::crypto::Key;
    use super::super::header::{Codec, Header};
    use super::super::keys::EpochId;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_shape_follows_from_either_length(payload in prop_oneof![0u64..400_000, any::<u32>().prop_map(u64::from)]) {
            let shape = Shape::of_payload(payload);
            prop_assert_eq!(Shape::of_container(shape.container()).unwrap(), shape);
        }

        #[test]
        fn a_length_that_no_payload_has_is_refused(length in 0u64..400_000) {
            if let Ok(shape) = Shape::of_container(length) {
                prop_assert_eq!(shape.container(), length);
            }
        }
    }

    #[test]
    fn segments_are_bound_to_their_place() {
        let (_, key) = Header::create(EpochId::generate(), &Key::generate().unwrap(), Codec::None).unwrap();
        let same = SegmentKey { key: key.key.clone(), prefix: key.prefix, aad: key.aad };
        let (mut sealer, mut out) = (Sealer::new(key).unwrap(), BytesMut::new());
        let payload: Vec<u8> = (0..SEGMENT * 2 + 5).map(|i| (i % 251) as u8).collect();
        for part in payload.chunks(1000) {
            sealer.push(part, &mut out).unwrap();
        }
        sealer.finish(&mut out).unwrap();
        let shape = Shape::of_payload(payload.len() as u64);
        assert_eq!(out.len() as u64 + HEADER_LEN as u64, shape.container());
        let opener = Opener::new(same).unwrap();
        let segments: Vec<&[u8]> = out.chunks(SEALED).collect();
        let opened: Vec<u8> = (0..3).flat_map(|i| opener.open(i, segments[i as usize], &shape).unwrap()).collect();
        assert_eq!(opened, payload);
        assert!(opener.open(0, segments[1], &shape).is_err());
        assert!(opener.open(1, segments[0], &shape).is_err());
        // The last flag: a container cut after its first segment does not open.
        assert!(opener.open(0, segments[0], &Shape::of_payload(SEGMENT as u64)).is_err());
    }
}
