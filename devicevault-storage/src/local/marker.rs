//! The file that says which destination a folder is the home of.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::io::{self, Read as _};

use devicevault_core::{DestinationId, Error, ErrorKind, Result};

use super::LocalStore;
use super::place::move_new;
use super::root::open_file;
use super::staging::StagedWriter;
use crate::fault;
pub(super) use crate::marker::MARKER;
use crate::marker::{MAX_MARKER, Marker};

/// Makes the marker, or checks the one that is there. Of two at once, both find the same.
pub(super) fn create(store: &LocalStore) -> Result<()> {
    if read(store)?.is_some() {
        return check(store);
    }
    let json = Marker::of(store.destination()).to_json();
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
        .hint(
            "mount the share; where its marker was lost, `devicevault destination test NAME --repair` lays it there again; a \
             folder that is to become a destination has to be made one first",
        ));
    };
    marker.check(store.destination(), folder)
}

/// The destination that the marker names, where there is one.
pub(super) fn found(store: &LocalStore) -> Result<Option<DestinationId>> {
    Ok(read(store)?.map(|marker| marker.destination))
}

fn read(store: &LocalStore) -> Result<Option<Marker>> {
    let folder = || store.folder().display();
    let mut json = Vec::new();
    let mut open = || {
        let file = open_file(&store.root.dir("")?, MARKER)?;
        file.take(MAX_MARKER).read_to_end(&mut json)
    };
    match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| fault::of_io("read destination marker", folder(), e))?,
    };
    Marker::from_json(&json, folder()).map(Some)
}
