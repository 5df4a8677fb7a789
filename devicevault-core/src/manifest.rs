//! What is stored beside every backup: enough to check it, and to rebuild the catalog's record of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::run::Trigger;
use crate::{BackupId, DeviceId, Error, ErrorKind, Kind, Result, RunId, TaskId, View};

/// The manifest format that this release writes.
pub const MANIFEST_FORMAT: u32 = 1;

/// A SHA-256 digest (FIPS 180-4), written in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(Sha256::digest(bytes).into())
    }

    /// HMAC-SHA-256 (RFC 2104) of the parts, each preceded by its length so that parts cannot run together.
    #[must_use]
    pub fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> Self {
        // A key shorter than the hash's block is padded with zeros (RFC 2104, section 2).
        let mut block = [0; 64];
        block[..32].copy_from_slice(key);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Self(mac.finalize().into_bytes().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let mut out = [0; 32];
        hex::decode_to_slice(s, &mut out)
            .map_err(|e| Error::new(ErrorKind::Corrupt, "read digest", "not 64 hexadecimal digits").because(e))?;
        Ok(Self(out))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where an artefact came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Source {
    /// Identity of the device.
    pub device: DeviceId,
    /// Its name when this was taken.
    pub device_name: String,
    /// Host name or address that was asked.
    pub host: String,
    /// Its platform.
    pub platform: String,
    /// Its site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Key of the collector.
    pub collector: String,
}

impl Source {
    /// The source that this device is, asked through this collector.
    #[must_use]
    pub fn of(device: &crate::Device, collector: &str) -> Self {
        Self {
            device: device.id.clone(),
            device_name: device.name.clone(),
            host: device.host.clone(),
            platform: device.platform.clone(),
            site: device.site.clone(),
            group: device.group.clone(),
            collector: collector.to_owned(),
        }
    }
}

/// What was done to the bytes between the device and the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
#[non_exhaustive]
pub enum Transform {
    /// Line ends became LF.
    LineEnds,
    /// Volatile lines were left out.
    Volatile,
    /// Secrets were masked.
    Masked,
    /// Compressed by this codec (`zstd`, `gzip`).
    Compressed {
        /// Name of the codec.
        codec: String,
    },
    /// Encrypted under this key.
    Sealed {
        /// Which key opens it.
        key_id: String,
    },
}

/// The record beside one view of one artefact at one destination.
///
/// It holds the hash of that view alone: a hash of the original beside a redacted text would let anybody test guesses
/// at the secrets. [`content`](Manifest::content) ties the views together under the instance's key instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// The oldest format version whose readers understand this one.
    pub readable_by: u32,
    /// The backup that this is a copy of.
    pub backup: BackupId,
    /// The run that took it.
    pub run: RunId,
    /// The attempt.
    pub task_id: TaskId,
    /// The job that attempts share.
    pub task_identifier: String,
    /// Where it came from.
    pub source: Source,
    /// `running-config`, …
    pub artefact: String,
    /// Text or binary.
    pub kind: Kind,
    /// Which view the bytes are.
    pub view: View,
    /// File name extension without the dot.
    pub extension: String,
    /// Length of the view, in bytes, before compression and encryption.
    pub size: u64,
    /// SHA-256 of the view, before compression and encryption.
    pub sha256: Digest,
    /// Keyed hash of the clean view (of the bytes, for a binary): equal when nothing but volatile lines differ.
    pub content: Digest,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Since when the version was known, where a copy was made of it later from what the device still said: at a destination
    /// that was away before, or instead of a copy that was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_since: Option<Timestamp>,
    /// What asked for it.
    pub triggered_by: Trigger,
    /// The instance that took it.
    pub instance: String,
    /// Version of the program that took it.
    pub program: String,
    /// What was done to the bytes, in order.
    #[serde(default)]
    pub transforms: Vec<Transform>,
    /// Why it is suspect; empty when it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspect: Vec<String>,
    /// Why it was suspect before a person took it, or the same in the version before it, for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<String>,
    /// It broke a file rule, which is among the reasons to be suspect: quarantined, unless a person released it since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quarantined: bool,
    /// The user's own keys and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// The parts of a [`Manifest`] that have no default, for code that makes one outside the engine (tests, importers).
#[derive(Debug, Clone)]
pub struct ManifestSeed {
    /// The backup.
    pub backup: BackupId,
    /// The run.
    pub run: RunId,
    /// Where it came from.
    pub source: Source,
    /// Name of the artefact.
    pub artefact: String,
    /// Text or binary.
    pub kind: Kind,
    /// Which view.
    pub view: View,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The view's bytes' length.
    pub size: u64,
    /// The view's bytes' hash.
    pub sha256: Digest,
    /// The keyed hash of the clean view.
    pub content: Digest,
}

impl From<ManifestSeed> for Manifest {
    fn from(s: ManifestSeed) -> Self {
        let task_id = TaskId(s.run.0);
        Self {
            format: MANIFEST_FORMAT,
            readable_by: MANIFEST_FORMAT,
            backup: s.backup,
            run: s.run,
            task_id,
            task_identifier: task_id.to_string(),
            source: s.source,
            artefact: s.artefact,
            kind: s.kind,
            view: s.view,
            extension: if s.kind == Kind::Text { "txt".to_owned() } else { "bin".to_owned() },
            size: s.size,
            sha256: s.sha256,
            content: s.content,
            taken_at: s.taken_at,
            known_since: None,
            triggered_by: Trigger::Manual,
            instance: String::new(),
            program: format!("devicevault {}", env!("CARGO_PKG_VERSION")),
            transforms: Vec::new(),
            suspect: Vec::new(),
            accepted: Vec::new(),
            quarantined: false,
            metadata: BTreeMap::new(),
        }
    }
}

impl Manifest {
    /// Reads a manifest, refusing one that a newer release wrote for newer readers only.
    ///
    /// # Errors
    /// `Corrupt` when it is not a manifest, `Unsupported` when this release cannot read it.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            readable_by: u32,
        }
        let broken = |e| Error::new(ErrorKind::Corrupt, "read manifest", "it is not a manifest").because(e);
        let head: Head = serde_json::from_slice(json).map_err(broken)?;
        if head.readable_by > MANIFEST_FORMAT {
            return Err(Error::new(ErrorKind::Unsupported, "read manifest", "a newer release wrote it")
                .with("format", head.format)
                .with("readable by", head.readable_by)
                .hint("upgrade this program"));
        }
        serde_json::from_slice(json).map_err(broken)
    }

    /// When the version was seen first: it is valid from then on.
    #[must_use]
    pub fn first_seen(&self) -> Timestamp {
        self.known_since.map_or(self.taken_at, |t| t.min(self.taken_at))
    }

    /// The manifest as indented JSON with a line end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Serialising plain data into memory has no way to fail.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_standard_ones() {
        assert_eq!(Digest::of(b"abc").to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_ne!(Digest::keyed(&[1; 32], &[b"ab", b"c"]), Digest::keyed(&[1; 32], &[b"a", b"bc"]));
        let d = Digest::of(b"x");
        assert_eq!(d.to_string().parse::<Digest>().unwrap(), d);
        assert!("zz".parse::<Digest>().is_err());
    }

    #[test]
    fn a_manifest_for_newer_readers_is_refused() {
        let e = Manifest::from_json(br#"{"format": 9, "readable_by": 9}"#).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        assert_eq!(Manifest::from_json(b"nonsense").unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
