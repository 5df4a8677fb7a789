//! Packs and loose objects that are damaged: what can be read of them is written to a pack of its own, and they go.
//!
//! Git and libgit2 go on complaining of a damaged pack for as long as it lies there, although all that was in it is
//! elsewhere by now. What cannot be read anywhere is named; the file that it was in is put aside, not away.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use devicevault_core::Result;
use flate2::Compression;
use git2::{ObjectType, Oid, Repository};

use super::fault;
use super::index::Index;
use super::layout::{Layout, make_beneath, sync_folder};
use super::pack::{self, Pack};
use super::packfile::PackWriter;
use super::unpack::{self, Entry, Objects};
use super::{message, objects, repack, verify};

/// What was done about damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mended {
    /// Packs that were damaged.
    pub(super) packs: usize,
    /// Loose objects that were.
    pub(super) loose: usize,
    /// Objects of those that are in a new pack.
    pub(super) saved: usize,
    /// Objects that can be read nowhere.
    pub(super) lost: Vec<Oid>,
}

/// Looks through all of a repository and replaces what is damaged; `None` where nothing is. The caller holds the repack
/// lock.
///
/// # Errors
/// The file system refuses. Whatever the error, what could be read before can be read.
pub(super) fn mend(layout: &Layout) -> Result<Option<Mended>> {
    let (sound, damaged): (Vec<Pack>, Vec<Pack>) = pack::packs(layout)?.into_iter().partition(pack::is_intact);
    let mut loose: HashMap<Oid, PathBuf> = HashMap::new();
    let mut damaged_loose = Vec::new();
    for (id, path, _) in pack::loose(layout)? {
        let whole = unpack::loose(&path)
            .is_some_and(|(kind, data)| Oid::hash_object(kind, &data).is_ok_and(|found| found == id));
        if whole {
            loose.insert(id, path);
        } else {
            damaged_loose.push((id, path));
        }
    }
    if damaged.is_empty() && damaged_loose.is_empty() {
        return Ok(None);
    }
    let order: Vec<PathBuf> = damaged.iter().chain(&sound).map(|p| p.path.clone()).collect();
    let mut elsewhere: HashSet<Oid> = loose.keys().copied().collect();
    for pack in &sound {
        elsewhere.extend(pack::objects(&pack.path)?);
    }
    let mut objects = Objects::new(&order, loose)?;

    let (mut save, mut lost) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for pack in &damaged {
        // Of a pack whose index is damaged nothing is known but what other packs have.
        let mut places = pack::places(&pack.path).unwrap_or_default();
        places.sort_unstable_by_key(|(_, at)| *at);
        for (id, _) in places {
            if elsewhere.contains(&id) || !seen.insert(id) {
                continue;
            }
            if objects.read(id).is_some() { save.push(id) } else { lost.push(id) }
        }
    }
    for (id, _) in &damaged_loose {
        if !elsewhere.contains(id) && seen.insert(*id) {
            lost.push(*id);
        }
    }
    let mended = Mended { packs: damaged.len(), loose: damaged_loose.len(), saved: save.len(), lost };
    let new = if save.is_empty() { None } else { Some(write(layout, &mut objects, damaged.len(), &save)?) };
    for pack in damaged.iter().filter(|p| Some(&p.path) != new.as_ref()) {
        put_aside(layout, pack, mended.lost.is_empty())?;
    }
    for (_, path) in &damaged_loose {
        repack::remove(path)?;
    }
    Ok(Some(mended))
}

/// Writes a pack of these objects, looks through it, and puts it in its place. Deltas stay what they are, where what
/// they are made of comes before them.
fn write(layout: &Layout, objects: &mut Objects, packs: usize, ids: &[Oid]) -> Result<PathBuf> {
    let staging = layout.staging();
    repack::clear(&staging)?;
    make_beneath(&staging).map_err(|e| fault::io("mend packs", &staging, e))?;
    let mut writer = PackWriter::new(&staging.join("pack"), ids.len(), Compression::default())?;
    let mut written: HashSet<Oid> = HashSet::new();
    for id in ids {
        let delta = (0..packs).find_map(|n| objects.entry(n, *id));
        match delta {
            Some(Entry::Delta(base, delta)) if written.contains(&base) => writer.delta(*id, base, &delta)?,
            _ => {
                let (kind, data) = objects.read(*id).unwrap_or((ObjectType::Any, bytes::Bytes::new()));
                writer.whole(*id, kind, &data)?;
            }
        }
        written.insert(*id);
    }
    let staged = writer.finish()?;
    repack::read_through(&staging, ids, &|| true)?;
    repack::put_in_place(layout, &staged)
}

/// A damaged pack goes; where something of it is lost, its files are kept for whoever wants to look into them.
fn put_aside(layout: &Layout, pack: &Pack, everything_saved: bool) -> Result<()> {
    if everything_saved {
        return repack::remove_pack(layout, pack);
    }
    let folder = layout.damaged();
    make_beneath(&folder).map_err(|e| fault::io("put damaged pack aside", &folder, e))?;
    // The index goes first: a pack without one is not looked for.
    for extension in ["idx", "pack"] {
        let from = pack.path.with_extension(extension);
        let to = folder.join(from.file_name().unwrap_or_default());
        fs::rename(&from, &to).map_err(|e| fault::io("put damaged pack aside", &from, e))?;
    }
    repack::remove_pack(layout, pack)?;
    sync_folder(&folder)
}

/// The files that hold objects of which something is lost.
pub(super) fn kept(layout: &Layout) -> Vec<PathBuf> {
    let files = fs::read_dir(layout.damaged()).into_iter().flatten().filter_map(|f| Some(f.ok()?.path()));
    files.filter(|p| p.extension() == Some(Path::new("pack").as_os_str())).collect()
}

/// What is lost, by the versions that need it, a line each.
pub(super) fn names(repo: &Repository, index: &Index, lost: &[Oid]) -> Vec<String> {
    let lost: HashSet<Oid> = lost.iter().copied().collect();
    let mut lines = Vec::new();
    let mut named = HashSet::new();
    let mut before = None;
    for commit in index.records().iter().map(|r| r.commit) {
        if lost.is_empty() || before.replace(commit) == Some(commit) {
            continue;
        }
        let Ok(found) = objects::commit(repo, commit) else {
            named.insert(commit);
            lines.push(format!("lost: commit {commit}"));
            continue;
        };
        for path in message::trailers(found.message_raw_bytes()).into_iter().map(|t| t.path) {
            if let Some(id) = verify::first_lost(repo, found.tree_id(), path, &lost) {
                named.insert(id);
                lines.push(format!("lost: {path} at {commit} (object {id})"));
            }
        }
    }
    lines.extend(lost.difference(&named).map(|id| format!("lost: object {id}")));
    lines
}
