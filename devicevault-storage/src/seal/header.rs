//! The header of a container: which key opens it, and how.

use devicevault_core::{Digest, Error, ErrorKind, Result};
use uuid::Uuid;

use super::crypto::{Key, TAG, random, same};
use super::keys::EpochId;

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 128;

const MAGIC: &[u8; 4] = b"DVO1";
const VERSION: u8 = 1;
const SUITE: u8 = 1;
/// Binary logarithm of the length of a segment.
const SEGMENT_LOG: u8 = 16;

/// How a payload is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    None,
    Zstd,
}

/// A header, as it stands at the beginning of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_LEN],
    codec: Codec,
}

/// What opens and makes the segments of one container.
#[derive(Debug)]
pub(crate) struct SegmentKey {
    pub(super) key: Key,
    pub(super) prefix: [u8; 7],
    pub(super) aad: [u8; 32],
}

impl Header {
    /// A header for a new container, and the key of its segments.
    pub(crate) fn create(epoch: EpochId, epoch_key: &Key, codec: Codec) -> Result<(Self, SegmentKey)> {
        let salt: [u8; 16] = random()?;
        let prefix: [u8; 7] = random()?;
        Self::assemble(epoch, epoch_key, codec, salt, prefix, &Key::generate()?)
    }

    /// The header that these parts make; [`create`](Header::create) draws them by chance.
    fn assemble(
        epoch: EpochId,
        epoch_key: &Key,
        codec: Codec,
        salt: [u8; 16],
        prefix: [u8; 7],
        data_key: &Key,
    ) -> Result<(Self, SegmentKey)> {
        let codec_byte = match codec {
            Codec::None => 0,
            Codec::Zstd => 1,
        };
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[VERSION, SUITE, codec_byte, SEGMENT_LOG]);
        bytes.extend_from_slice(epoch.0.as_bytes());
        bytes.extend_from_slice(&salt);
        let mut wrapped = data_key.expose().to_vec();
        wrapping_key(epoch_key, &bytes).cipher()?.seal([0; 12], &bytes, &mut wrapped)?;
        bytes.extend_from_slice(&wrapped);
        bytes.extend_from_slice(&prefix);
        bytes.push(0);
        let commitment = commitment(data_key, &bytes);
        bytes.extend_from_slice(&commitment);
        let bytes: [u8; HEADER_LEN] = bytes
            .try_into()
            .map_err(|_| Error::new(ErrorKind::Internal, "seal", "the header has not the length of a header"))?;
        let header = Self { bytes, codec };
        let key = header.segment_key(data_key);
        Ok((header, key))
    }

    /// Reads the first bytes of a container.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `Unsupported` when a newer release made it.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let corrupt = |why| Error::new(ErrorKind::Corrupt, "open sealed object", why);
        let bytes: [u8; HEADER_LEN] =
            bytes.try_into().map_err(|_| corrupt("it is shorter than a header").with("bytes", bytes.len()))?;
        let [m0, m1, m2, m3, version, suite, codec, segment, ..] = bytes;
        if [m0, m1, m2, m3] != *MAGIC {
            return Err(corrupt("it does not begin as a sealed object does"));
        }
        let codec = match codec {
            0 => Some(Codec::None),
            1 => Some(Codec::Zstd),
            _ => None,
        };
        let (Some(codec), VERSION, SUITE, SEGMENT_LOG, Some(0)) = (codec, version, suite, segment, bytes.get(95))
        else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "open sealed object",
                "this release does not know its form",
            )
            .with("version", version)
            .with("suite", suite)
            .hint("if the object is not damaged, a newer release of this program opens it"));
        };
        Ok(Self { bytes, codec })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; HEADER_LEN] {
        &self.bytes
    }

    /// Which epoch key opens it.
    #[must_use]
    pub fn epoch(&self) -> EpochId {
        EpochId(Uuid::from_bytes(self.part(8)))
    }

    /// Whether its payload is compressed.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.codec == Codec::Zstd
    }

    /// SHA-256 of its bytes: no other container has it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// Opens the data key with the epoch key that [`epoch`](Header::epoch) names.
    pub(super) fn open(&self, epoch_key: &Key) -> Result<SegmentKey> {
        let wrong = || {
            Error::new(
                ErrorKind::Corrupt,
                "open sealed object",
                "its key block does not open: the object, or the key of this id, is not the right one",
            )
            .with("key", self.epoch())
        };
        let bound: [u8; 40] = self.part(0);
        let mut wrapped = self.part::<{ 32 + TAG }>(40).to_vec();
        wrapping_key(epoch_key, &bound).cipher()?.open([0; 12], &bound, &mut wrapped).ok_or_else(wrong)?;
        let data_key = Key::from_slice(&wrapped).ok_or_else(wrong)?;
        zeroize::Zeroize::zeroize(&mut wrapped);
        let claimed: [u8; 32] = self.part(96);
        if !same(&claimed, &commitment(&data_key, &self.part::<96>(0))) {
            return Err(wrong());
        }
        Ok(self.segment_key(&data_key))
    }

    fn segment_key(&self, data_key: &Key) -> SegmentKey {
        SegmentKey {
            key: data_key.derive(&[b"devicevault dvo1 segments"]),
            prefix: self.part(88),
            aad: Digest::of(&self.bytes).0,
        }
    }

    /// `N` bytes from `at`, which lies within the header at every call.
    fn part<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.iter_mut().zip(self.bytes.iter().skip(at)).for_each(|(to, from)| *to = *from);
        out
    }
}

fn wrapping_key(epoch_key: &Key, bound: &[u8]) -> Key {
    epoch_key.derive(&[b"devicevault dvo1 wrap", bound])
}

fn commitment(data_key: &Key, head: &[u8]) -> [u8; 32] {
    data_key.mac(&[b"devicevault dvo1 commit", head])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_opens_with_its_key_and_with_no_other() {
        let (epoch, key) = (EpochId::generate(), Key::generate().unwrap());
        let (header, made) = Header::create(epoch, &key, Codec::Zstd).unwrap();
        let read = Header::parse(header.as_bytes()).unwrap();
        assert_eq!((read.epoch(), read.codec()), (epoch, Codec::Zstd));
        let opened = read.open(&key).unwrap();
        assert_eq!((opened.key.expose(), opened.prefix, opened.aad), (made.key.expose(), made.prefix, made.aad));
        assert_eq!(read.open(&Key::generate().unwrap()).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let key = Key::generate().unwrap();
        let (header, _) = Header::create(EpochId::generate(), &key, Codec::None).unwrap();
        for bit in 0..HEADER_LEN * 8 {
            let mut bytes = *header.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let opened = Header::parse(&bytes).and_then(|h| h.open(&key));
            // A changed id only asks for another key, which the keyring refuses; under the same key it fails as well.
            assert!(opened.is_err(), "bit {bit}");
        }
    }
}
