//! The pack files of a repository, and which objects each holds.
//!
//! libgit2 finds an object in any pack, and does not tell which objects a pack has. Its index does: version 2 of the
//! format in Git's `gitformat-pack`.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind as Io, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devicevault_core::{Error, ErrorKind, Result};
use git2::Oid;
use sha1::{Digest as _, Sha1};

use super::fault;
use super::layout::Layout;
use crate::regular;

const INDEX_MAGIC: [u8; 8] = [0xff, b't', b'O', b'c', 0, 0, 0, 2];

/// Magic, version, and the table of 256 counts.
const INDEX_HEAD: u64 = 8 + 256 * 4;

/// A pack and its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pack {
    /// The `.pack` file.
    pub(super) path: PathBuf,
    /// Bytes of the pack and its index.
    pub(super) size: u64,
    /// When it was written.
    pub(super) modified: Option<SystemTime>,
    /// Git was told to leave it alone (`.keep`, `.promisor`, `.mtimes`).
    pub(super) kept: bool,
    /// Objects in it.
    pub(super) objects: u64,
}

/// The packs of a repository, by name. One whose index cannot be read is left out.
pub(super) fn packs(layout: &Layout) -> Result<Vec<Pack>> {
    let dir = layout.packs();
    let failed = |e| fault::io("list packs", &dir, e);
    let mut names = BTreeSet::new();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == Io::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    for entry in entries {
        names.insert(entry.map_err(failed)?.file_name());
    }
    let mut found = Vec::new();
    for name in &names {
        let path = dir.join(name);
        let pack = path.with_extension("pack");
        if path.extension().is_none_or(|e| e != "idx") || pack.file_name().is_none_or(|n| !names.contains(n)) {
            continue;
        }
        let (Ok(meta), Ok(index_meta)) = (fs::metadata(&pack), fs::metadata(&path)) else { continue };
        let Ok(objects) = count(&path) else { continue };
        let marked = |mark| path.with_extension(mark).file_name().is_some_and(|n| names.contains(n));
        found.push(Pack {
            size: meta.len() + index_meta.len(),
            modified: meta.modified().ok(),
            kept: ["keep", "promisor", "mtimes"].into_iter().any(marked),
            objects,
            path: pack,
        });
    }
    Ok(found)
}

fn broken(path: &Path) -> Error {
    Error::new(ErrorKind::Corrupt, "read pack index", "it is not a version 2 index of a pack")
        .with("path", path.display())
}

/// The number of objects that an index lists, without reading them.
fn count(index: &Path) -> Result<u64> {
    let failed = |e| fault::io("read pack index", index, e);
    let mut file = regular::open(index).map_err(failed)?;
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(failed)?;
    if magic != INDEX_MAGIC {
        return Err(broken(index));
    }
    let mut last = [0; 4];
    file.seek(SeekFrom::Start(INDEX_HEAD - 4)).map_err(failed)?;
    file.read_exact(&mut last).map_err(failed)?;
    Ok(u64::from(u32::from_be_bytes(last)))
}

/// The objects in a pack, in the order of their ids.
pub(super) fn objects(pack: &Path) -> Result<Vec<Oid>> {
    let index = pack.with_extension("idx");
    let bytes = regular::read(&index).map_err(|e| fault::io("read pack index", &index, e))?;
    parse(&bytes).ok_or_else(|| broken(&index))
}

fn parse(bytes: &[u8]) -> Option<Vec<Oid>> {
    let (head, names) = bytes.split_at_checked(INDEX_HEAD as usize)?;
    let rest = head.strip_prefix(&INDEX_MAGIC)?;
    let last = rest.get(rest.len() - 4..)?;
    let count = u32::from_be_bytes(last.try_into().ok()?) as usize;
    let names = names.get(..count.checked_mul(20)?)?;
    names.chunks(20).map(|name| Oid::from_bytes(name).ok()).collect()
}

/// The objects in a pack and where each begins.
pub(super) fn places(pack: &Path) -> Result<Vec<(Oid, u64)>> {
    let index = pack.with_extension("idx");
    let bytes = regular::read(&index).map_err(|e| fault::io("read pack index", &index, e))?;
    let ids = parse(&bytes).ok_or_else(|| broken(&index))?;
    let offsets = offsets(&bytes, ids.len()).ok_or_else(|| broken(&index))?;
    Ok(ids.into_iter().zip(offsets).collect())
}

/// Behind the names stand as many check values (4 bytes each), then as many places: of 4 bytes, or, with the top bit
/// set, the number of one of 8 bytes in the table behind.
fn offsets(bytes: &[u8], count: usize) -> Option<Vec<u64>> {
    let table = (INDEX_HEAD as usize).checked_add(count.checked_mul(24)?)?;
    let large = table.checked_add(count.checked_mul(4)?)?;
    let places = bytes.get(table..large)?.chunks(4).map(|at| at.try_into().map(u32::from_be_bytes));
    let wide = |n: usize| {
        let at = large.checked_add(n.checked_mul(8)?)?;
        Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
    };
    let resolve = |at: u32| if at < 1 << 31 { Some(u64::from(at)) } else { wide((at & !(1 << 31)) as usize) };
    places.map(|at| resolve(at.ok()?)).collect()
}

/// Whether a pack and its index are, to the last byte, what was written: both end in their hash, and the index knows the
/// pack's.
pub(super) fn is_intact(pack: &Pack) -> bool {
    let read = || -> Option<bool> {
        let index = regular::read(&pack.path.with_extension("idx")).ok()?;
        let (body, own) = index.split_at_checked(index.len().checked_sub(20)?)?;
        let (_, of_pack) = body.split_at_checked(body.len().checked_sub(20)?)?;
        if Sha1::digest(body).as_slice() != own {
            return Some(false);
        }
        let mut file = regular::open(&pack.path).ok()?;
        let length = file.metadata().ok()?.len().checked_sub(20)?;
        let mut hash = Sha1::new();
        let mut part = vec![0; 256 << 10];
        let mut rest = length;
        while rest > 0 {
            let most = part.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            let n = file.read(part.get_mut(..most)?).ok().filter(|n| *n > 0)?;
            hash.update(part.get(..n)?);
            rest -= n as u64;
        }
        let mut end = [0; 20];
        file.read_exact(&mut end).ok()?;
        Some(hash.finalize().as_slice() == end && end == of_pack)
    };
    read().unwrap_or(false)
}

/// Whether a pack's head and length agree with its index: what can be told without reading it.
pub(super) fn plausible(pack: &Pack) -> bool {
    let read = || -> std::io::Result<bool> {
        let mut head = [0; 12];
        regular::open(&pack.path)?.read_exact(&mut head)?;
        let [b'P', b'A', b'C', b'K', 0, 0, 0, 2 | 3, count @ ..] = head else { return Ok(false) };
        Ok(u64::from(u32::from_be_bytes(count)) == pack.objects)
    };
    read().unwrap_or(false)
}

/// Loose objects, with their files and bytes.
pub(super) fn loose(layout: &Layout) -> Result<Vec<(Oid, PathBuf, u64)>> {
    let dir = layout.objects();
    let failed = |e| fault::io("list loose objects", &dir, e);
    let mut found = Vec::new();
    for folder in fs::read_dir(&dir).map_err(failed)? {
        let folder = folder.map_err(failed)?;
        let prefix = folder.file_name();
        let Some(prefix) = prefix.to_str().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit())) else {
            continue;
        };
        for file in fs::read_dir(folder.path()).map_err(failed)? {
            let file = file.map_err(failed)?;
            let name = format!("{prefix}{}", file.file_name().to_string_lossy());
            if let Some(oid) = Oid::from_str(&name).ok().filter(|_| name.len() == 40) {
                let size = file.metadata().map_err(failed)?.len();
                found.push((oid, file.path(), size));
            }
        }
    }
    Ok(found)
}

/// Bytes of all packs and loose objects.
pub(super) fn stored(layout: &Layout) -> Result<u64> {
    let packs: u64 = packs(layout)?.iter().map(|p| p.size).sum();
    Ok(packs + loose(layout)?.iter().map(|(_, _, size)| size).sum::<u64>())
}

/// What is left when somebody is killed while writing a pack.
pub(super) fn leftovers(layout: &Layout) -> Result<Vec<(PathBuf, u64, Option<SystemTime>)>> {
    let dir = layout.packs();
    let failed = |e| fault::io("list packs", &dir, e);
    let mut found = Vec::new();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == Io::NotFound => return Ok(found),
        Err(e) => return Err(failed(e)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let orphan = name.strip_suffix(".idx").is_some_and(|n| !dir.join(format!("{n}.pack")).exists());
        if name.starts_with("tmp_") || name.starts_with("pack_git2_") || (name.starts_with("pack-") && orphan) {
            let meta = entry.metadata().map_err(failed)?;
            found.push((entry.path(), meta.len(), meta.modified().ok()));
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_index_is_read_without_harm(
            tail in any::<Vec<u8>>(), count in prop_oneof![any::<u32>(), 0u32..4], keep_magic: bool
        ) {
            let mut bytes = if keep_magic { INDEX_MAGIC.to_vec() } else { vec![1; 8] };
            bytes.extend([0; 255 * 4]);
            bytes.extend(count.to_be_bytes());
            bytes.extend(&tail);
            let got = parse(&bytes);
            prop_assert_eq!(got.is_some(), keep_magic && tail.len() / 20 >= count as usize);
            prop_assert!(parse(&tail).is_none() || tail.starts_with(&INDEX_MAGIC));
            let _ = (offsets(&bytes, count as usize), offsets(&tail, tail.len()));
        }
    }
}
