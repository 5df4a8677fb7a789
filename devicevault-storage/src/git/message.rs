//! Commit messages: a subject for people, and the manifests as trailers.
//!
//! ```text
//! core-rtr1: running-config changed
//!
//! DeviceVault-Path: zurich/core-rtr1/running-config.txt
//! DeviceVault-Manifest: {"format":1, …}
//! ```
//!
//! A manifest is one line of JSON: JSON escapes every line end inside its strings, a path is encoded, and a summary is
//! freed of control characters, so that no name, metadata or summary can begin a line. Only the last paragraph is read.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use devicevault_core::{DeviceId, Entry, Error, ErrorKind, Manifest, Result};

use super::path::TreePath;

const PATH: &str = "DeviceVault-Path: ";
const MANIFEST: &str = "DeviceVault-Manifest: ";

/// The longest subject, in characters.
const MAX_SUBJECT: usize = 200;

/// The message of a commit that stores these entries.
pub(super) fn write(entries: &[(&Entry, &TreePath)]) -> Result<String> {
    let mut out = match entries {
        [(one, _)] => subject(&one.summary),
        many => {
            let summaries: Vec<String> = many.iter().map(|(e, _)| subject(&e.summary)).collect();
            let summaries: Vec<&str> = summaries.iter().map(String::as_str).collect();
            list(&summaries, many.iter().map(|(e, _)| e.manifest.source.device.clone()))
        }
    };
    out.push_str("\n\n");
    for (entry, path) in entries {
        let json = to_json(&entry.manifest)?;
        out.push_str(&format!("{PATH}{}\n{MANIFEST}{json}\n", path.as_str()));
    }
    Ok(out)
}

/// The message of a commit that moves the files of a device: no backup.
pub(super) fn moved(device: &str, from: &str, to: &str) -> String {
    format!("{}\n", subject(&format!("{device}: moved from {from} to {to}")))
}

/// What becomes of one of the backups in a message.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    Remove,
    /// It has this manifest now.
    Replace(Box<Manifest>),
}

/// A message with some of its backups taken out or changed, by their paths.
pub(super) fn edited(message: &str, edits: &BTreeMap<String, Edit>) -> Result<String> {
    if edits.is_empty() {
        return Ok(message.to_owned());
    }
    let Some((head, _)) = message.trim_end_matches('\n').rsplit_once("\n\n") else { return Ok(message.to_owned()) };
    let all = trailers(message.as_bytes());
    let removed = |t: &Trailer<'_>| matches!(edits.get(t.path), Some(Edit::Remove));
    let bullets: Vec<&str> = head.lines().skip(1).filter_map(|l| l.strip_prefix("- ")).collect();
    let left: Vec<&Trailer<'_>> = all.iter().filter(|t| !removed(t)).collect();
    let mut out = if left.len() == all.len() || bullets.len() != all.len() {
        head.to_owned()
    } else {
        let kept = all.iter().zip(&bullets).filter(|(t, _)| !removed(t)).map(|(_, bullet)| *bullet);
        list(&kept.collect::<Vec<_>>(), left.iter().filter_map(|t| Some(t.manifest().ok()?.source.device)))
    };
    out.push_str("\n\n");
    for t in left {
        let json = match edits.get(t.path) {
            Some(Edit::Replace(m)) => to_json(m)?,
            _ => t.json.to_owned(),
        };
        out.push_str(&format!("{PATH}{}\n{MANIFEST}{json}\n", t.path));
    }
    Ok(out)
}

fn to_json(manifest: &Manifest) -> Result<String> {
    serde_json::to_string(manifest)
        .map_err(|e| Error::new(ErrorKind::Internal, "write manifest", "it cannot be made JSON").because(e))
}

/// The subject of several backups, and a line for each.
fn list(summaries: &[&str], devices: impl Iterator<Item = DeviceId>) -> String {
    if let [one] = summaries {
        return (*one).to_owned();
    }
    let devices: BTreeSet<DeviceId> = devices.collect();
    let mut text = format!("{} backups of {} devices\n", summaries.len(), devices.len());
    summaries.iter().for_each(|s| text.push_str(&format!("\n- {s}")));
    text
}

/// A summary as one line of harmless text.
fn subject(summary: &str) -> String {
    let line: String = summary.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line: String = line.trim().chars().take(MAX_SUBJECT).collect();
    if line.trim().is_empty() { "Backup".to_owned() } else { line.trim().to_owned() }
}

/// One manifest of a commit, not yet read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer<'a> {
    /// Where in the tree.
    pub(super) path: &'a str,
    json: &'a str,
}

impl Trailer<'_> {
    /// Whether this text stands in it: cheaper than reading it.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.json.contains(text)
    }

    /// Reads it.
    ///
    /// # Errors
    /// `Corrupt`, or `Unsupported` when a newer release wrote it.
    pub(super) fn manifest(&self) -> Result<Manifest> {
        Manifest::from_json(self.json.as_bytes())
    }
}

/// The trailers of a message; none in a commit that somebody else made.
pub(super) fn trailers(message: &[u8]) -> Vec<Trailer<'_>> {
    let Ok(text) = std::str::from_utf8(message) else { return Vec::new() };
    let text = text.trim_end_matches('\n');
    let Some((_, last)) = text.rsplit_once("\n\n") else { return Vec::new() };
    let mut found = Vec::new();
    let mut path = None;
    for line in last.split('\n') {
        if let Some(p) = line.strip_prefix(PATH) {
            path = Some(p);
        } else if let Some(json) = line.strip_prefix(MANIFEST)
            && let Some(path) = path.take()
        {
            found.push(Trailer { path, json });
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use super::*;
    use devicevault_core::{BackupId, DeviceId, Digest, Kind, ManifestSeed, RunId, Source, Timestamp, View};
    use proptest::prelude::*;

    fn entry(device: &str, name: &str, summary: &str, metadata: Vec<(String, String)>, suspect: Vec<String>) -> Entry {
        let source: Source = serde_json::from_value(serde_json::json!({
            "device": device, "device_name": name, "host": name, "platform": name, "collector": "cli", "group": summary
        }))
        .unwrap();
        let mut manifest = Manifest::from(ManifestSeed {
            backup: BackupId::generate(),
            run: RunId::generate(),
            source,
            artefact: "running-config".to_owned(),
            kind: Kind::Text,
            view: View::Redacted,
            taken_at: Timestamp::UNIX_EPOCH,
            size: 3,
            sha256: Digest::of(b"abc"),
            content: Digest::of(b"x"),
        });
        manifest.metadata = metadata.into_iter().collect();
        manifest.suspect = suspect;
        assert_eq!(manifest.source.device, DeviceId::from(device));
        let mut entry = Entry::new(manifest);
        entry.summary = summary.to_owned();
        entry
    }

    /// Text in which line ends and our own keywords are frequent.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\n".to_owned()),
            Just("\n\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("\u{2028}".to_owned()),
            Just(PATH.to_owned()),
            Just(MANIFEST.to_owned()),
            Just("{\"format\":1}".to_owned()),
            any::<String>(),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|v| v.concat())
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_nothing_is_forged(
            texts in prop::collection::vec((hostile(), hostile(), hostile(), hostile(), hostile()), 1..4)
        ) {
            let entries: Vec<Entry> = texts
                .iter()
                .map(|(d, n, s, k, v)| entry(d, n, s, vec![(k.clone(), v.clone())], vec![v.clone()]))
                .collect();
            let paths: Vec<TreePath> = entries.iter().map(|e| TreePath::of(&e.manifest)).collect();
            let pairs: Vec<_> = entries.iter().zip(&paths).collect();
            let message = write(&pairs).unwrap();
            let read = trailers(message.as_bytes());
            prop_assert_eq!(read.len(), entries.len());
            for ((t, e), p) in read.iter().zip(&entries).zip(&paths) {
                prop_assert_eq!(t.path, p.as_str());
                prop_assert_eq!(&t.manifest().unwrap(), &e.manifest);
            }
            prop_assert_eq!(message.matches("\n\nDeviceVault-").count(), 1);
        }

        #[test]
        fn any_message_is_read_without_harm(message in any::<Vec<u8>>(), text in hostile()) {
            for t in trailers(&message).into_iter().chain(trailers(text.as_bytes())) {
                let _ = t.manifest();
            }
        }
    }

    #[test]
    fn the_subject_is_the_summary() {
        let e = entry("d", "d", "core-rtr1: running-config\nchanged", vec![], vec![]);
        let p = TreePath::of(&e.manifest);
        let m = write(&[(&e, &p)]).unwrap();
        assert!(m.starts_with("core-rtr1: running-config changed\n\nDeviceVault-Path: d/running-config.txt\n"), "{m}");
        let both = write(&[(&e, &p), (&e, &p)]).unwrap();
        assert!(both.starts_with("2 backups of 1 devices\n\n- core-rtr1: running-config changed\n- "), "{both}");
        assert_eq!(subject(" \n\t "), "Backup");
    }
}
