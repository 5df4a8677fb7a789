//! A manifest file: the manifest in the clear, or sealed in an envelope that says what lies beside it.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use devicevault_core::{Digest, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{MAX_MANIFEST, OWN_HASH, Record, Stored, hash_of};

/// Version of the envelope that this release writes.
const FORMAT: u32 = 1;
/// The longest manifest file: a sealed manifest in hex takes twice its length, and a little.
pub(super) const MAX_FILE: u64 = 2 * MAX_MANIFEST + (64 << 10);

/// What a manifest file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ManifestFile {
    Clear(Box<Record>),
    Sealed(Envelope),
}

/// A sealed manifest, and in the clear what lies beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) stored: Stored,
    /// The container of the manifest.
    pub(super) container: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    readable_by: u32,
    stored: Stored,
    sealed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest_sha256: Option<Digest>,
}

impl ManifestFile {
    /// What lies beside it.
    pub(super) fn stored(&self) -> &Stored {
        match self {
            Self::Clear(record) => &record.stored,
            Self::Sealed(envelope) => &envelope.stored,
        }
    }

    /// Reads a file, and checks that it is what was written, as far as that can be told without a key.
    pub(super) fn from_json(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            sealed: Option<serde::de::IgnoredAny>,
        }
        let is_sealed = serde_json::from_slice::<Head>(json).is_ok_and(|head| head.sealed.is_some());
        if is_sealed {
            return Envelope::from_json(json).map(Self::Sealed);
        }
        if json.len() as u64 > MAX_MANIFEST {
            return Err(Error::new(ErrorKind::Corrupt, "read manifest", "it is too long to be one"));
        }
        Ok(Self::Clear(Box::new(Record::from_json(json)?)))
    }
}

impl Envelope {
    /// Indented JSON with a line end.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let defect = |e| Error::new(ErrorKind::Internal, "write manifest", "it does not serialise").because(e);
        let mut document = Document {
            format: FORMAT,
            readable_by: FORMAT,
            stored: self.stored.clone(),
            sealed: hex::encode(&self.container),
            manifest_sha256: None,
        };
        document.manifest_sha256 = Some(hash_of(&serde_json::to_value(&document).map_err(defect)?));
        let mut json = serde_json::to_vec_pretty(&document).map_err(defect)?;
        json.push(b'\n');
        Ok(json)
    }

    fn from_json(json: &[u8]) -> Result<Self> {
        let damaged = |message: &str| Error::new(ErrorKind::Corrupt, "read manifest", message.to_owned());
        let mut value: Value = serde_json::from_slice(json).map_err(|e| damaged("it is not JSON").because(e))?;
        let readable_by = value.get("readable_by").and_then(Value::as_u64);
        let told = value.as_object_mut().and_then(|fields| fields.remove(OWN_HASH));
        let told: Option<Digest> = told.and_then(|v| v.as_str().and_then(|s| s.parse().ok()));
        if told != Some(hash_of(&value)) {
            return Err(damaged("it was changed after it was written"));
        }
        if readable_by.is_some_and(|v| v > u64::from(FORMAT)) {
            return Err(Error::new(ErrorKind::Unsupported, "read manifest", "a newer release wrote it")
                .hint("upgrade this program"));
        }
        let document: Document =
            serde_json::from_value(value).map_err(|e| damaged("it is not a sealed manifest").because(e))?;
        let container = hex::decode(&document.sealed).map_err(|e| damaged("it is not a sealed manifest").because(e))?;
        Ok(Self { stored: document.stored, container })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    fn envelope() -> Envelope {
        let hash = Digest::of(b"xyz");
        let stored = Stored { object: "x.txt.dvo".to_owned(), size: 3, sha256: hash, header: Some(hash) };
        Envelope { stored, container: (0..=255).collect() }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found_or_says_the_same() {
        let good = ManifestFile::Sealed(envelope());
        let json = envelope().to_json().unwrap();
        assert_eq!(ManifestFile::from_json(&json).unwrap(), good);
        for i in 0..json.len() {
            for bit in 0..8 {
                let mut bad = json.clone();
                bad[i] ^= 1 << bit;
                match ManifestFile::from_json(&bad) {
                    Ok(same) => assert_eq!(same, good, "byte {i}"),
                    Err(e) => assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{e:?}"),
                }
            }
            if i + 1 < json.len() {
                assert!(ManifestFile::from_json(&json[..i]).is_err());
            }
        }
    }

    #[test]
    fn one_for_newer_readers_is_refused() {
        let mut value: Value = serde_json::from_slice(&envelope().to_json().unwrap()).unwrap();
        value["readable_by"] = 2.into();
        value.as_object_mut().unwrap().remove(OWN_HASH);
        value[OWN_HASH] = hash_of(&value).to_string().into();
        assert_eq!(ManifestFile::from_json(value.to_string().as_bytes()).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "\\{\"sealed\":[{}\\[\\]\":,a-z0-9 ]{0,60}") {
            let _ = ManifestFile::from_json(&bytes);
            let _ = ManifestFile::from_json(text.as_bytes());
        }
    }
}
