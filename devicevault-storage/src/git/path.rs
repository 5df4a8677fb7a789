//! Where an artefact stands in the tree, and how a storage reference names a version of it.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use devicevault_core::{Error, ErrorKind, Manifest, Result, StorageRef};
use git2::Oid;

use crate::names::{component, hash_suffix};

/// Components from the root down: `[site/]device/artefact.ext`, or `artefact+suspect.ext` for a text that may not be
/// what the device holds and `artefact+quarantined.ext` for a file that broke a rule, so that it has a history of its own and never stands in the place of a good one.
/// An artefact's name cannot hold a plus sign: the two never meet.
///
/// Where the repository has a file of the name of a folder, or the reverse, that component ends in `~` and a hash of itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TreePath(String);

impl TreePath {
    /// The path of what this manifest describes.
    pub(super) fn of(m: &Manifest) -> Self {
        let mut path = String::new();
        if let Some(site) = m.source.site.as_deref().filter(|s| !s.is_empty()) {
            path.push_str(&component(site));
            path.push('/');
        }
        path.push_str(&component(&m.source.device_name));
        path.push('/');
        let suspect = match (m.quarantined, m.suspect.is_empty()) {
            (true, _) => "+quarantined",
            (false, false) => "+suspect",
            (false, true) => "",
        };
        let dot = if m.extension.is_empty() { "" } else { "." };
        path.push_str(&component(&format!("{}{suspect}{dot}{}", m.artefact, m.extension)));
        Self(path)
    }

    /// The same with another name for one of its components, which no component of a name has.
    pub(super) fn beside(&self, at: usize) -> Self {
        let other = |(i, part): (usize, &str)| {
            if i == at { format!("{part}{}", hash_suffix(part)) } else { part.to_owned() }
        };
        Self(self.components().enumerate().map(other).collect::<Vec<_>>().join("/"))
    }

    /// The path that a reference of ours names; `None` for one that no name of ours leads to.
    pub(super) fn named(path: &str) -> Option<Self> {
        let ours = |part: &str| !part.is_empty() && part.len() <= 255 && !part.starts_with('.') && part.is_ascii();
        path.split('/').all(ours).then(|| Self(path.to_owned()))
    }

    /// The device's folder: all but the file's name.
    pub(super) fn folder(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The path as Git shows it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Its components, from the root down.
    pub(super) fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

/// What `branch:path@commit` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// The branch it was stored to.
    pub(super) branch: String,
    /// Where in the tree.
    pub(super) path: String,
    /// Which commit.
    pub(super) commit: Oid,
}

impl Version {
    pub(super) fn new(branch: &str, path: &str, commit: Oid) -> Self {
        Self { branch: branch.to_owned(), path: path.to_owned(), commit }
    }

    pub(super) fn to_ref(&self) -> StorageRef {
        StorageRef(format!("{}:{}@{}", self.branch, self.path, self.commit))
    }

    /// Reads a reference.
    ///
    /// # Errors
    /// `NotFound` for a text that this backend did not make.
    pub(super) fn parse(at: &StorageRef) -> Result<Self> {
        let parts = || {
            let (branch, rest) = at.0.split_once(':')?;
            let (path, commit) = rest.rsplit_once('@')?;
            let oid = Oid::from_str(commit).ok().filter(|_| commit.len() == 40)?;
            (!branch.is_empty() && !path.is_empty()).then(|| Self::new(branch, path, oid))
        };
        parts().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "read storage reference", "a Git repository holds nothing of this name")
                .with("reference", at.0.escape_debug())
                .hint("a reference into Git reads branch:path@commit")
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use devicevault_core::{BackupId, Digest, Kind, ManifestSeed, RunId, Timestamp, View};
    use proptest::prelude::*;

    fn manifest(site: Option<&str>, name: &str, artefact: &str, extension: &str, suspect: &[&str]) -> Manifest {
        let mut m = Manifest::from(ManifestSeed {
            backup: BackupId::generate(),
            run: RunId::generate(),
            source: serde_json::from_value(serde_json::json!({
                "device": "d", "device_name": name, "host": "h", "platform": "p", "collector": "cli", "site": site
            }))
            .unwrap(),
            artefact: artefact.to_owned(),
            kind: Kind::Text,
            view: View::Redacted,
            taken_at: Timestamp::UNIX_EPOCH,
            size: 0,
            sha256: Digest::of(b""),
            content: Digest::of(b""),
        });
        extension.clone_into(&mut m.extension);
        m.suspect = suspect.iter().map(|s| (*s).to_owned()).collect();
        m
    }

    #[test]
    fn another_name_is_one_that_git_takes_too() {
        let long = "x".repeat(300);
        let path = TreePath::of(&manifest(Some("zurich"), &long, "running-config", "txt", &[]));
        for at in 0..3 {
            let beside = path.beside(at);
            let differ = path.components().zip(beside.components()).filter(|(a, b)| a != b).count();
            assert_eq!((differ, beside.components().count()), (1, 3));
            assert!(TreePath::named(beside.as_str()).is_some(), "{beside:?}");
        }
    }

    #[test]
    fn paths_read_well() {
        for (m, want) in [
            (manifest(None, "core-rtr1", "running-config", "txt", &[]), "core-rtr1/running-config.txt"),
            (manifest(Some("zurich"), "sw1", "inventory", "", &[]), "zurich/sw1/inventory"),
            (manifest(Some(""), "sw1", "full", "tar.gz", &[]), "sw1/full.tar.gz"),
            (manifest(None, "sw1", "running-config", "txt", &["short"]), "sw1/running-config+suspect.txt"),
            (manifest(Some(".git"), "../x", "a/b", "txt", &[]), "%2Egit/%2E.%2Fx/a%2Fb.txt"),
        ] {
            assert_eq!(TreePath::of(&m).as_str(), want);
        }
        let mut held = manifest(None, "sw1", "state", "gz", &["first bytes"]);
        held.quarantined = true;
        assert_eq!(TreePath::of(&held).as_str(), "sw1/state+quarantined.gz");
    }

    proptest! {
        #[test]
        fn a_path_is_one_that_git_takes(
            site in any::<Option<String>>(), name in any::<String>(), artefact in any::<String>(), ext in any::<String>()
        ) {
            let path = TreePath::of(&manifest(site.as_deref(), &name, &artefact, &ext, &[]));
            let parts: Vec<&str> = path.components().collect();
            prop_assert_eq!(parts.len(), 2 + usize::from(site.is_some_and(|s| !s.is_empty())));
            for part in parts {
                prop_assert!(!part.is_empty() && part.len() <= 255 && part.is_ascii());
                prop_assert!(!part.starts_with('.') && !part.contains(['\\', ':', '/', '\0', '\n']));
                prop_assert!(!part.to_ascii_lowercase().starts_with("git~"));
            }
        }

        #[test]
        fn a_reference_reads_back(branch in "[a-z/]{1,8}", name in any::<String>(), commit in any::<[u8; 20]>()) {
            let v = Version::new(&branch, &format!("{}/x.txt", component(&name)), Oid::from_bytes(&commit).unwrap());
            prop_assert_eq!(Version::parse(&v.to_ref()).unwrap(), v);
        }

        #[test]
        fn any_text_is_a_reference_or_not_found(text in any::<String>()) {
            if let Err(e) = Version::parse(&StorageRef(text)) {
                prop_assert_eq!(e.kind(), ErrorKind::NotFound);
            }
        }
    }
}
