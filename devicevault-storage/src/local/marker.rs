//! The file that says which destination a folder is the home of.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::io::{self, Read as _};

use devicevault_core::{DestinationId, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::LocalStore;
use super::place::move_new;
use super::root::open_file;
use super::staging::StagedWriter;
use crate::fault;

/// Its name, in the root.
pub(super) const MARKER: &str = ".devicevault-destination";

/// The format that this release writes and reads.
const FORMAT: u32 = 1;

/// A marker is a line; more is not one.
const MAX_MARKER: u64 = 64 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
    readable_by: u32,
    destination: DestinationId,
}

/// Makes the marker, or checks the one that is there. Of two at once, both find the same.
pub(super) fn create(store: &LocalStore) -> Result<()> {
    if read(store)?.is_some() {
        return check(store);
    }
    let marker = Marker { format: FORMAT, readable_by: FORMAT, destination: store.destination().clone() };
    // Serialising plain data into memory has no way to fail.
    let mut json = serde_json::to_vec_pretty(&marker).unwrap_or_default();
    json.push(b'\n');
    let write = || {
        let mut writer = StagedWriter::create(store.area()?)?;
        writer.append(&json)?;
        let staged = writer.finish()?;
        let root = store.root.dir("")?;
        match move_new(staged.dir(), staged.name(), &root, MARKER) {
            Ok(()) => staged.named(),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        store.root.flush_dir("").map(drop)
    };
    write().map_err(|e| fault::of_io("mark destination folder", store.folder().display(), e))?;
    check(store)
}

/// Refuses a folder that is not this destination's.
pub(super) fn check(store: &LocalStore) -> Result<()> {
    let folder = store.folder().display();
    let Some(marker) = read(store)? else {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "open destination folder",
            format!("it holds no {MARKER}: the share may not be mounted"),
        )
        .with("path", folder)
        .with("destination", store.destination())
        .hint("mount the share; a folder that is to become a destination has to be made one first"));
    };
    if marker.destination != *store.destination() {
        return Err(Error::new(ErrorKind::Conflict, "open destination folder", "it belongs to another destination")
            .with("path", folder)
            .with("destination", store.destination())
            .with("found", marker.destination.as_str().escape_debug())
            .hint("use another folder, or the destination that it belongs to"));
    }
    Ok(())
}

/// The destination that the marker names, where there is one.
pub(super) fn found(store: &LocalStore) -> Result<Option<DestinationId>> {
    Ok(read(store)?.map(|marker| marker.destination))
}

fn read(store: &LocalStore) -> Result<Option<Marker>> {
    let folder = || store.folder().display();
    let broken = |why: &str| {
        Error::new(ErrorKind::Corrupt, "read destination marker", format!("{MARKER} {why}"))
            .with("path", folder())
            .hint("restore it from a backup of the folder; it names the destination")
    };
    let mut json = Vec::new();
    let mut open = || {
        let file = open_file(&store.root.dir("")?, MARKER)?;
        file.take(MAX_MARKER).read_to_end(&mut json)
    };
    match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| fault::of_io("read destination marker", folder(), e))?,
    };
    let marker: Marker = serde_json::from_slice(&json).map_err(|e| broken("is not a marker").because(e))?;
    if marker.readable_by > FORMAT {
        return Err(Error::new(ErrorKind::Unsupported, "open destination folder", "a newer release made it")
            .with("path", folder())
            .with("format", marker.format)
            .hint("upgrade this program"));
    }
    Ok(Some(marker))
}
