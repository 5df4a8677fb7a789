//! The records of sightings: files in a folder of ours, beside what is Git's, since no history is wanted of them.

use std::fs;
use std::io::{ErrorKind as Io, Read as _};
use std::path::{Path, PathBuf};

use devicevault_core::sightings::{MAX_RECORD, Sightings, check_period};
use devicevault_core::{Error, ErrorKind, Result};

use super::fault;
use super::layout::{make_beneath, sync_folder, write_new};
use crate::regular;

fn folder(own: &Path) -> PathBuf {
    own.join("sightings")
}

fn file(own: &Path, period: &str) -> Result<PathBuf> {
    check_period(period)?;
    Ok(folder(own).join(format!("{period}.json")))
}

/// Puts the record in the place of the one of the same month, beneath a folder of ours.
pub(super) fn note(own: &Path, record: &Sightings) -> Result<()> {
    let path = file(own, &record.period)?;
    let failed = |e| fault::io("write sightings", &path, e);
    make_beneath(&folder(own)).map_err(failed)?;
    let staged = folder(own).join(format!("{}.{}.new", record.period, std::process::id()));
    // One of a process that had this number before.
    match fs::remove_file(&staged) {
        Err(e) if e.kind() != Io::NotFound => return Err(failed(e)),
        _ => {}
    }
    write_new(&staged, &record.to_json()).map_err(failed)?;
    fs::rename(&staged, &path).map_err(failed)?;
    sync_folder(&folder(own))
}

/// The record of a month.
pub(super) fn read(own: &Path, period: &str) -> Result<Option<Sightings>> {
    let path = file(own, period)?;
    let file = match regular::open(&path) {
        Err(e) if e.kind() == Io::NotFound => return Ok(None),
        opened => opened.map_err(|e| fault::io("read sightings", &path, e))?,
    };
    let mut json = Vec::new();
    file.take(MAX_RECORD + 1).read_to_end(&mut json).map_err(|e| fault::io("read sightings", &path, e))?;
    let broken =
        |why: &str| Error::new(ErrorKind::Corrupt, "read sightings", why.to_owned()).with("path", path.display());
    if json.len() as u64 > MAX_RECORD {
        return Err(broken("it is too long to be a record of sightings"));
    }
    let record = Sightings::from_json(&json).map_err(|e| e.with("path", path.display()))?;
    if record.period != period {
        return Err(broken("it is the record of another month"));
    }
    Ok(Some(record))
}

/// The months of which there are records.
pub(super) fn periods(own: &Path) -> Result<Vec<String>> {
    let folder = folder(own);
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == Io::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| fault::io("list sightings", &folder, e))?,
    };
    let mut periods = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| fault::io("list sightings", &folder, e))?;
        let name = Path::new(&entry.file_name()).to_string_lossy().into_owned();
        let period = name.strip_suffix(".json").filter(|p| check_period(p).is_ok());
        periods.extend(period.map(str::to_owned));
    }
    periods.sort_unstable();
    Ok(periods)
}
