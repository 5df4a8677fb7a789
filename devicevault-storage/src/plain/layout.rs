//! Names of a backup's files: its content, its manifest, and how ours are known.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use devicevault_core::{Digest, Error, ErrorKind, Manifest, Result, StorageRef, Timestamp};
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use super::Template;
use super::chain::{Form, SEALED_SUFFIX};
use crate::codec::Compression;
use crate::seal::EpochId;

/// What a manifest's name ends in.
const MANIFEST: &str = ".manifest.json";

/// The form of a stamp: `0` is a decimal digit, `f` one of hexadecimal, the rest is itself.
const STAMP: &[u8] = b"0000-00-00T00-00-00Z-ffffffff";

/// What stands for a time that has no stamp.
const NO_TIME: &str = "0000-00-00T00-00-00Z";

/// The form of the mark of one of several contents of a backup: each is sealed under a key of its own.
const MARK: &str = "ffffffff";

/// Time, and identity of the entry: `2026-11-21T01-24-44Z-3f2a9c1d`.
pub(super) fn stamp(m: &Manifest) -> String {
    let mut hash = Sha256::new();
    for part in
        [m.run.0.as_bytes().as_slice(), m.view.as_str().as_bytes(), m.artefact.as_bytes(), m.source.device.0.as_bytes()]
    {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let id = hex::encode(hash.finalize());
    // Years of another length than four digits do not occur; a file name that is not ours must not come of them.
    format!("{}-{}", stamped(m.taken_at), id.get(..8).unwrap_or_default())
}

/// A time as a stamp has it.
fn stamped(at: Timestamp) -> String {
    let time = at.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    if time.len() == NO_TIME.len() { time } else { NO_TIME.to_owned() }
}

/// The day: `2026-11-21`.
pub(super) fn date(m: &Manifest) -> String {
    m.taken_at.strftime("%Y-%m-%d").to_string()
}

/// Whether the file name of a path holds a stamp: only such files are ours.
pub(super) fn has_stamp(path: &str) -> bool {
    stamps(path.rsplit('/').next().unwrap_or_default()).next().is_some()
}

/// What of a file name reads like a stamp.
fn stamps(name: &str) -> impl Iterator<Item = &str> {
    let fits = |(form, byte): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b'f' => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        other => other == byte,
    };
    let windows = name.as_bytes().windows(STAMP.len());
    windows.filter(move |window| STAMP.iter().zip(*window).all(fits)).filter_map(|w| std::str::from_utf8(w).ok())
}

/// Whether a backup of this name may have been taken at this time or later: its stamp tells, to the second.
pub(super) fn may_be_since(path: &str, since: Timestamp) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let earliest = stamped(since);
    // Of several that a name may hold, any counts; so does one of a year that none of ours has.
    stamps(name).any(|stamp| stamp.starts_with(NO_TIME) || stamp.get(..earliest.len()) >= Some(earliest.as_str()))
        || earliest == NO_TIME
}

/// Where the files of a backup are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) content: Path,
    pub(super) manifest: Path,
}

impl Place {
    /// Where a new backup goes.
    pub(super) fn of(template: &Template, m: &Manifest, form: &Form) -> Result<Self> {
        let names = match form {
            Form::Sealed(sealing) => sealing.names.as_ref(),
            Form::Clear(_) => None,
        };
        let base = template.render(m, names);
        let content = format!("{base}{}", form.suffix());
        // A body must not look like a manifest.
        let content = match content.strip_suffix(MANIFEST) {
            Some(stem) => format!("{stem}.manifest%2Ejson"),
            None => content,
        };
        Ok(Self { content: path(&content)?, manifest: path(&format!("{base}{MANIFEST}"))? })
    }

    /// The reference of the backup.
    pub(super) fn reference(&self) -> StorageRef {
        StorageRef(self.content.to_string())
    }
}

/// The path that a reference is. `NotFound` when it is none of ours.
pub(super) fn content_path(at: &StorageRef) -> Result<Path> {
    let ours = has_stamp(at.as_str()) && !is_manifest(at.as_str());
    let parsed = ours.then(|| Path::parse(at.as_str()).ok()).flatten();
    // Parsing forgives slashes at either end; a reference has none.
    parsed.filter(|p| p.as_ref() == at.as_str()).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find backup", "there is no such backup")
            .with("reference", at.as_str().chars().take(200).collect::<String>().escape_debug())
    })
}

/// Where the manifest of this content may be: the suffix of a compression or a container does not count, nor its
/// mark, unless it was the content's own.
pub(super) fn manifest_paths(content: &Path) -> impl Iterator<Item = Path> {
    let name = content.as_ref();
    let suffixes = [Compression::Zstd.suffix(), Compression::Gzip.suffix(), SEALED_SUFFIX];
    let stripped = suffixes.into_iter().find_map(|suffix| name.strip_suffix(suffix));
    let first = name.strip_suffix(SEALED_SUFFIX).and_then(unmarked);
    let restored = name.strip_suffix(".manifest%2Ejson").map(|stem| format!("{stem}{MANIFEST}"));
    let bases = [first.map(str::to_owned), stripped.map(str::to_owned), restored, Some(name.to_owned())];
    bases.into_iter().flatten().filter_map(|base| path(&format!("{base}{MANIFEST}")).ok())
}

/// The name of sealed content that takes the place of other content of the same backup, under this epoch key.
pub(super) fn resealed(content: &Path, epoch: EpochId) -> Result<Path> {
    let id = epoch.to_string();
    // The end of an identifier is its random part.
    marked(content, id.get(id.len() - MARK.len()..).unwrap_or_default())
}

/// The name of one of the sealed contents of a backup that there may be.
pub(super) fn marked(content: &Path, mark: &str) -> Result<Path> {
    path(&format!("{}.r{mark}{SEALED_SUFFIX}", family(content.as_ref()).unwrap_or(content.as_ref())))
}

/// What all sealed contents of one backup have in common: the name without its suffix, and without its mark. `None` for what is not the name of sealed content.
pub(super) fn family(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(SEALED_SUFFIX)?;
    Some(unmarked(stem).unwrap_or(stem))
}

fn unmarked(stem: &str) -> Option<&str> {
    let (rest, mark) = stem.rsplit_once(".r")?;
    let is_mark = mark.len() == MARK.len() && mark.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_mark.then_some(rest)
}

/// Whether this is the name of a manifest.
pub(super) fn is_manifest(path: &str) -> bool {
    path.ends_with(MANIFEST)
}

/// Where the content of a manifest is, by the name that it tells: beside it, under the manifest's own name.
///
/// # Errors
/// `Corrupt`: it tells another name, which is that of another backup or of none.
pub(super) fn content_of(manifest: &Path, object: &str) -> Result<Path> {
    let content = sibling(manifest, object);
    content.filter(|c| manifest_paths(c).any(|m| m == *manifest)).ok_or_else(|| of_another(manifest))
}

/// Whether the name of this manifest file is one that these words of it make: one that was laid in the place of another
/// is good in itself.
pub(super) fn is_named_after(manifest: &Path, m: &Manifest) -> bool {
    manifest.filename().is_some_and(|name| name.contains(&stamp(m)))
}

/// What is said of a manifest that lies where another one belongs.
pub(super) fn of_another(manifest: &Path) -> Error {
    let why = "the manifest is that of another backup: the one that was here may be lost";
    Error::new(ErrorKind::Corrupt, "read manifest", why).with("path", manifest)
}

/// Where a manifest is kept that lies in the place of this one.
pub(super) fn aside(manifest: &Path, bytes: &Digest) -> Result<Path> {
    path(&format!("{manifest}.foreign-{}", bytes.to_string().get(..8).unwrap_or_default()))
}

/// The file of this name in the folder of another.
pub(super) fn sibling(of: &Path, name: &str) -> Option<Path> {
    if name.contains('/') || name.is_empty() {
        return None;
    }
    let folder = of.as_ref().rsplit_once('/').map(|(folder, _)| folder);
    path(&folder.map_or_else(|| name.to_owned(), |f| format!("{f}/{name}"))).ok()
}

fn path(text: &str) -> Result<Path> {
    Path::parse(text).map_err(|e| {
        Error::new(ErrorKind::Internal, "name backup", "the path is not one")
            .with("path", text.escape_debug())
            .because(e)
    })
}

#[cfg(test)]
mod tests {
    use devicevault_testkit::samples;

    use super::*;
    use crate::plain::sealing::Sealing;
    use crate::seal::{Key, SealOptions};

    fn forms() -> Vec<Form> {
        let clear = [Compression::None, Compression::Zstd, Compression::Gzip].map(Form::Clear);
        let key = || Key::generate().unwrap();
        let sealed = [None, Some(key())].map(|names| {
            let (epoch, options) = (EpochId::generate(), SealOptions::default());
            Form::Sealed(Box::new(Sealing { epoch, key: key(), options, names }))
        });
        clear.into_iter().chain(sealed).collect()
    }

    #[test]
    fn content_and_manifest_find_each_other() {
        for extension in ["txt", "tar.gz", "zst", "manifest.json", "conf", "dvo"] {
            for form in forms() {
                let mut m = samples::manifest(&samples::device("sw1"), "running-config", b"x");
                m.extension = extension.to_owned();
                let place = Place::of(&Template::default(), &m, &form).unwrap();
                assert!(has_stamp(place.content.as_ref()) && !is_manifest(place.content.as_ref()), "{place:?}");
                assert!(is_manifest(place.manifest.as_ref()));
                assert!(manifest_paths(&place.content).any(|p| p == place.manifest), "{place:?}");
                assert_eq!(content_path(&place.reference()).unwrap(), place.content);
                let name = place.content.filename().unwrap();
                assert_eq!(sibling(&place.manifest, name), Some(place.content));
            }
        }
        assert_eq!(sibling(&Path::from("a/b"), "../c"), None);
    }

    #[test]
    fn content_that_was_sealed_anew_keeps_its_manifest() {
        let first = Path::from("a/2026-11-21T01-24-44Z-3f2a9c1d.txt.dvo");
        let manifest = Path::from("a/2026-11-21T01-24-44Z-3f2a9c1d.txt.manifest.json");
        let mut last = first.clone();
        for _ in 0..3 {
            last = resealed(&last, EpochId::generate()).unwrap();
            assert_ne!(last, first);
            assert!(manifest_paths(&last).any(|p| p == manifest), "{last}");
            assert_eq!(family(last.as_ref()), family(first.as_ref()));
            assert_eq!(last.as_ref().len(), first.as_ref().len() + ".r01234567".len());
            assert!(has_stamp(last.as_ref()) && !is_manifest(last.as_ref()));
        }
        for other in ["a/x.txt", "a/2026-11-21T01-24-44Z-3f2a9c1d.txt.zst"] {
            assert_eq!(family(other), None);
        }
        assert_ne!(
            family("a/2026-11-21T01-24-44Z-3f2a9c1d.rABCDEF01.dvo"),
            family("a/2026-11-21T01-24-44Z-3f2a9c1d.dvo")
        );
    }

    #[test]
    fn what_was_taken_before_is_known_by_its_name() {
        let since: Timestamp = "2026-11-21T01:24:44.7Z".parse().unwrap();
        let name = |stamp: &str| format!("a/{stamp}.txt.manifest.json");
        for (stamp, may_be) in [
            ("2026-11-21T01-24-44Z-3f2a9c1d", true),
            ("2026-11-21T01-24-43Z-3f2a9c1d", false),
            ("2025-12-31T23-59-59Z-3f2a9c1d", false),
            ("2027-01-01T00-00-00Z-3f2a9c1d", true),
            ("0000-00-00T00-00-00Z-3f2a9c1d", true),
        ] {
            assert_eq!(may_be_since(&name(stamp), since), may_be, "{stamp}");
        }
        assert!(may_be_since(&name("2026-11-21T01-24-44Z-3f2a9c1d"), Timestamp::MIN));
    }

    #[test]
    fn other_files_are_not_ours() {
        for name in [
            "",
            "known_hosts",
            "README.md",
            "x.manifest.json",
            "2026-11-21T01-24-44Z.txt",
            "2026-11-21T01-24-44Z-3F2A9C1D",
        ] {
            assert!(!has_stamp(name), "{name}");
        }
        assert!(has_stamp("a/b/x2026-11-21T01-24-44Z-3f2a9c1dx"));
        assert!(!has_stamp("2026-11-21T01-24-44Z-3f2a9c1d/x"));
        for at in [
            "",
            "/",
            "../x",
            "a//2026-11-21T01-24-44Z-3f2a9c1d",
            "/2026-11-21T01-24-44Z-3f2a9c1d",
            "2026-11-21T01-24-44Z-3f2a9c1d.manifest.json",
        ] {
            assert_eq!(content_path(&StorageRef(at.to_owned())).unwrap_err().kind(), ErrorKind::NotFound, "{at}");
        }
    }
}
