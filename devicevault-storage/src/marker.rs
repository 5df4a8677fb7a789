//! The record that says which destination a place is the home of.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt;

use devicevault_core::{DestinationId, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// Its name, in the root of the place.
pub(crate) const MARKER: &str = ".devicevault-destination";

/// A marker is a line; more is not one.
pub(crate) const MAX_MARKER: u64 = 64 * 1024;

/// The format that this release writes and reads.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Marker {
    format: u32,
    readable_by: u32,
    pub(crate) destination: DestinationId,
}

impl Marker {
    pub(crate) fn of(destination: &DestinationId) -> Self {
        Self { format: FORMAT, readable_by: FORMAT, destination: destination.clone() }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Serialising plain data into memory has no way to fail.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// Reads a marker that was found at a place.
    pub(crate) fn from_json(json: &[u8], place: impl fmt::Display) -> Result<Self> {
        let read: serde_json::Result<Self> = serde_json::from_slice(json);
        let marker = read.map_err(|e| {
            Error::new(ErrorKind::Corrupt, "read destination marker", format!("{MARKER} is not a marker"))
                .with("path", &place)
                .hint(
                    "restore it from a backup of that place; or remove it, and `devicevault destination test NAME --repair` \
                     lays it there anew",
                )
                .because(e)
        })?;
        if marker.readable_by > FORMAT {
            return Err(Error::new(ErrorKind::Unsupported, "open destination", "a newer release made it")
                .with("path", place)
                .with("format", marker.format)
                .hint("upgrade this program"));
        }
        Ok(marker)
    }

    /// Refuses a place that is another destination's.
    pub(crate) fn check(&self, destination: &DestinationId, place: impl fmt::Display) -> Result<()> {
        if self.destination == *destination {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "open destination", "it belongs to another destination")
            .with("path", place)
            .with("destination", destination)
            .with("found", self.destination.as_str().escape_debug())
            .hint("use another place, or the destination that it belongs to"))
    }
}
