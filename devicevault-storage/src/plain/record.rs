//! The manifest as it is stored: with what the stored bytes are, and its own hash.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use devicevault_core::{Digest, Error, ErrorKind, Manifest, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest manifest that is written or read, in bytes: nearly all of it may be the user's own metadata.
pub(super) const MAX_MANIFEST: u64 = 1024 * 1024;

/// The field that holds the manifest's own hash.
pub(super) const OWN_HASH: &str = "manifest_sha256";

/// What lies in the store for a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// File name, in the folder of the manifest.
    pub(super) object: String,
    /// Its length in bytes.
    pub(super) size: u64,
    /// SHA-256 of its bytes.
    pub(super) sha256: Digest,
    /// SHA-256 of the header of a sealed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) header: Option<Digest>,
}

/// A manifest with what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) manifest: Manifest,
    pub(super) stored: Stored,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    stored: &'a Stored,
    #[serde(rename = "manifest_sha256", skip_serializing_if = "Option::is_none")]
    own_hash: Option<Digest>,
}

impl Record {
    /// Indented JSON with a line end.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let defect = |e| Error::new(ErrorKind::Internal, "write manifest", "it does not serialise").because(e);
        let mut document = Document { manifest: &self.manifest, stored: &self.stored, own_hash: None };
        document.own_hash = Some(hash_of(&serde_json::to_value(&document).map_err(defect)?));
        let mut json = serde_json::to_vec_pretty(&document).map_err(defect)?;
        json.push(b'\n');
        if json.len() as u64 > MAX_MANIFEST {
            return Err(Error::new(ErrorKind::TooLarge, "write manifest", "it is longer than 1 MiB")
                .with("size", json.len())
                .hint("attach less metadata"));
        }
        Ok(json)
    }

    /// Reads it back, and checks that it is what was written. Fields that a newer release added are part of the hash and
    /// otherwise passed over.
    pub(super) fn from_json(json: &[u8]) -> Result<Self> {
        let damaged = |message: &str| Error::new(ErrorKind::Corrupt, "read manifest", message);
        let manifest = Manifest::from_json(json)?;
        let mut document: Value = serde_json::from_slice(json).map_err(|e| damaged("it is not JSON").because(e))?;
        let told = document.as_object_mut().and_then(|fields| fields.remove(OWN_HASH));
        let told: Option<Digest> = told.and_then(|v| v.as_str().and_then(|s| s.parse().ok()));
        if told != Some(hash_of(&document)) {
            return Err(damaged("it was changed after it was written"));
        }
        let stored = document.get("stored").cloned().ok_or_else(|| damaged("it does not say what is stored"))?;
        let stored =
            serde_json::from_value(stored).map_err(|e| damaged("it does not say what is stored").because(e))?;
        Ok(Self { manifest, stored })
    }
}

/// Of the JSON without blanks and with keys in the order of their bytes (as in RFC 8785): how the file is indented does
/// not matter, what it says does.
pub(super) fn hash_of(document: &Value) -> Digest {
    let mut text = String::new();
    write_canonical(document, &mut text);
    Digest::of(text.as_bytes())
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (i, (name, value)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use devicevault_testkit::samples;
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        let mut manifest = samples::manifest(&samples::device("sw1"), "running-config", b"abc");
        manifest.metadata.insert("ticket \"1\"\n".to_owned(), "é\u{202e}".to_owned());
        let stored = Stored { object: "x.txt.zst".to_owned(), size: 3, sha256: Digest::of(b"xyz"), header: None };
        Record { manifest, stored }
    }

    #[test]
    fn it_reads_back_however_it_is_indented() {
        let record = record();
        let json = record.to_json().unwrap();
        assert_eq!(Record::from_json(&json).unwrap(), record);
        assert_eq!(Manifest::from_json(&json).unwrap(), record.manifest);
        let mut value: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(Record::from_json(value.to_string().as_bytes()).unwrap(), record);
        value["source"]["host"] = "192.0.2.66".into();
        assert_eq!(Record::from_json(value.to_string().as_bytes()).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn fields_of_a_newer_release_are_passed_over() {
        let record = record();
        let mut value: Value = serde_json::from_slice(&record.to_json().unwrap()).unwrap();
        value["validity"] = serde_json::json!({"z": [1, null], "a": true});
        value.as_object_mut().unwrap().remove(OWN_HASH);
        let hash = hash_of(&value);
        value[OWN_HASH] = hash.to_string().into();
        assert_eq!(Record::from_json(value.to_string().as_bytes()).unwrap(), record);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found_or_says_the_same() {
        let record = record();
        let json = record.to_json().unwrap();
        for i in 0..json.len() {
            for bit in 0..8 {
                let mut bad = json.clone();
                bad[i] ^= 1 << bit;
                match Record::from_json(&bad) {
                    Ok(same) => assert_eq!(same, record, "byte {i}"),
                    Err(e) => assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{e:?}"),
                }
            }
            if i + 1 < json.len() {
                assert!(Record::from_json(&json[..i]).is_err());
            }
        }
    }

    #[test]
    fn too_much_metadata_is_refused() {
        let mut record = record();
        record.manifest.metadata.insert("x".to_owned(), "y".repeat(MAX_MANIFEST as usize));
        assert_eq!(record.to_json().unwrap_err().kind(), ErrorKind::TooLarge);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "[{}\\[\\]\":,a-z0-9 ]{0,60}") {
            let _ = Record::from_json(&bytes);
            let _ = Record::from_json(text.as_bytes());
        }
    }
}
