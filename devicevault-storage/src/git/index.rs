//! Which commit stored what: one small record per backup, in the order of history.
//!
//! Git answers "which commits changed this file" by walking all of them. The index answers it, and "was this entry
//! stored before", at once: in memory it is one array in which every record points to the device's previous one; on
//! disk it is a log of fixed-size records beside the objects. It is worth nothing by itself: what it lacks is read from
//! the commits again, what it says is checked against them, and it may be deleted at any time.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind as Io, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use devicevault_core::storage::EntryId;
use devicevault_core::{DeviceId, Digest, Manifest, Result};
use git2::Oid;

use super::fault;
use crate::regular;

/// Bytes of a record on disk: entry, device, time, size (8 each), commit (20), folder (4), check (8).
const RECORD: usize = 64;
/// A log of another format is no log: it is made again.
const MAGIC: &[u8; RECORD] = b"DeviceVault index of a Git branch, format 3; safe to delete.\n\0\0\0";
const NONE: u32 = u32::MAX;

/// One backup, or a commit without any (`entry` and `device` are zero).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Hash of run, artefact and view.
    pub(super) entry: u64,
    /// Hash of the device's identity.
    pub(super) device: u64,
    /// When it was taken, in microseconds since 1970.
    pub(super) taken: i64,
    /// Bytes of the view.
    pub(super) size: u64,
    /// The commit that holds it.
    pub(super) commit: Oid,
    /// Hash of the folder that it stands in. Zero where it was merged in: what others push does not decide whose a folder is.
    pub(super) folder: u32,
}

impl Record {
    /// The record of a backup that stands in this folder.
    pub(super) fn of(m: &Manifest, folder: &str, commit: Oid) -> Self {
        Self {
            entry: entry_of(m),
            device: device_key(&m.source.device),
            taken: m.taken_at.as_microsecond(),
            size: m.size,
            commit,
            folder: folder_key(folder),
        }
    }

    /// Whether it is of this backup.
    pub(super) fn is_of(&self, m: &Manifest) -> bool {
        (self.entry, self.device) == (entry_of(m), device_key(&m.source.device))
    }

    /// The same, where it came by the other side of a merge.
    pub(super) fn merged_in(self) -> Self {
        Self { folder: 0, ..self }
    }

    /// The record of a commit that holds no backup.
    pub(super) fn foreign(commit: Oid) -> Self {
        Self { entry: 0, device: 0, taken: 0, size: 0, commit, folder: 0 }
    }

    pub(super) fn is_backup(&self) -> bool {
        self.entry != 0
    }

    fn to_bytes(self) -> [u8; RECORD] {
        let mut out = [0; RECORD];
        let fields = [
            &self.entry.to_le_bytes()[..],
            &self.device.to_le_bytes(),
            &self.taken.to_le_bytes(),
            &self.size.to_le_bytes(),
            self.commit.as_bytes(),
            &self.folder.to_le_bytes(),
        ]
        .concat();
        let check = check(&fields);
        for (to, from) in out.iter_mut().zip(fields.into_iter().chain(check)) {
            *to = from;
        }
        out
    }

    /// `None`: torn, or not ours.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (fields, tail) = bytes.split_at_checked(RECORD - 8)?;
        if check(fields) != tail {
            return None;
        }
        let number = |at: usize| Some(u64::from_le_bytes(fields.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            entry: number(0)?,
            device: number(8)?,
            taken: number(16)?.cast_signed(),
            size: number(24)?,
            commit: Oid::from_bytes(fields.get(32..52)?).ok()?,
            folder: u32::from_le_bytes(fields.get(52..56)?.try_into().ok()?),
        })
    }
}

/// Tells a record that was torn by a power cut; nobody else is kept out by it.
fn check(fields: &[u8]) -> [u8; 8] {
    let mut crc = flate2::Crc::new();
    crc.update(fields);
    u64::from(crc.sum()).to_le_bytes()
}

fn first_eight(d: &Digest) -> u64 {
    let Digest([a, b, c, d, e, f, g, h, ..]) = *d;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// What an entry is found by. Two entries with one key are told apart by their manifests.
pub(super) fn entry_key(id: &EntryId) -> u64 {
    first_eight(&Digest::of(format!("{}\0{}\0{}", id.run, id.artefact, id.view).as_bytes())).max(1)
}

/// What a device is found by.
pub(super) fn device_key(device: &DeviceId) -> u64 {
    first_eight(&Digest::of(device.as_str().as_bytes()))
}

fn entry_of(m: &Manifest) -> u64 {
    entry_key(&EntryId { run: m.run, artefact: m.artefact.clone(), view: m.view })
}

/// What a folder of the tree is found by.
pub(super) fn folder_key(folder: &str) -> u32 {
    let Digest([a, b, c, d, ..]) = Digest::of(folder.as_bytes());
    u32::from_le_bytes([a, b, c, d]).max(1)
}

/// The records of a branch, oldest first.
#[derive(Debug, Default)]
pub(super) struct Index {
    records: Vec<Record>,
    /// For each record, the previous one of its device.
    previous: Vec<u32>,
    last: HashMap<u64, u32>,
    /// For each folder, the last record of a backup in it.
    holders: HashMap<u32, u32>,
    /// Counts how often it was begun anew; a reader that goes through it in pieces sees by it that history changed.
    generation: u64,
}

impl Index {
    /// Begins anew.
    pub(super) fn clear(&mut self) {
        let generation = self.generation + 1;
        *self = Self { generation, ..Self::default() };
    }

    pub(super) fn push(&mut self, record: Record) {
        // Four thousand million backups would be 200 GB of records: memory ends long before the number does.
        let at = u32::try_from(self.records.len()).unwrap_or(NONE);
        let previous = if record.is_backup() { self.last.insert(record.device, at).unwrap_or(NONE) } else { NONE };
        if record.is_backup() && record.folder != 0 {
            self.holders.insert(record.folder, at);
        }
        self.records.push(record);
        self.previous.push(previous);
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The newest commit that it knows.
    pub(super) fn tip(&self) -> Option<Oid> {
        self.records.last().map(|r| r.commit)
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// A device's backups, newest first.
    pub(super) fn of_device(&self, device: &DeviceId) -> impl Iterator<Item = Record> + '_ {
        self.of_device_key(device_key(device))
    }

    /// The same by what the device is found by.
    pub(super) fn of_device_key(&self, device: u64) -> impl Iterator<Item = Record> + '_ {
        let first = self.last.get(&device).copied();
        std::iter::successors(first, |at| self.previous.get(*at as usize).copied())
            .map_while(|at| self.records.get(at as usize).copied())
    }

    /// The last backup that was stored in a folder.
    pub(super) fn last_in(&self, folder: u32) -> Option<Record> {
        self.holders.get(&folder).and_then(|at| self.records.get(*at as usize)).copied()
    }

    /// The commits that may have stored this entry: one, but for a collision of keys.
    pub(super) fn stored(&self, device: &DeviceId, id: &EntryId) -> Vec<Oid> {
        let key = entry_key(id);
        self.of_device(device).filter(|r| r.entry == key).map(|r| r.commit).collect()
    }

    /// Reads the log, up to the first record that is not whole. Without a log, or with another's, it is empty.
    pub(super) fn load(path: &Path) -> Self {
        let mut index = Self::default();
        let Ok(bytes) = regular::read(path) else { return index };
        let Some(records) = bytes.strip_prefix(&MAGIC[..]) else { return index };
        for record in records.chunks(RECORD).map_while(Record::from_bytes) {
            index.push(record);
        }
        index
    }

    /// Brings the log up to date. The caller holds the writers' lock, so nobody else writes it.
    ///
    /// Not flushed: what a power cut takes is read from the commits.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let failed = |e| fault::io("write index", path, e);
        match self.append(path) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(e) if e.kind() == Io::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
        let staged = path.with_extension("new");
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.records.iter().flat_map(|r| r.to_bytes()));
        fs::write(&staged, bytes).map_err(failed)?;
        fs::rename(&staged, path).map_err(failed)
    }

    /// Writes what the log lacks. `false`: its end is not a record of ours, so that it must be written anew.
    fn append(&self, path: &Path) -> std::io::Result<bool> {
        let mut file = regular::open_with(fs::OpenOptions::new().read(true).write(true), path)?;
        let length = file.metadata()?.len();
        let whole = length / RECORD as u64;
        let Some(known) = usize::try_from(whole).ok().and_then(|n| n.checked_sub(1)) else { return Ok(false) };
        if length % RECORD as u64 != 0 || known > self.records.len() {
            return Ok(false);
        }
        let mut end = [0; RECORD];
        file.seek(SeekFrom::Start(known as u64 * RECORD as u64))?;
        file.read_exact(&mut end)?;
        let expected = match known.checked_sub(1).and_then(|at| self.records.get(at)) {
            Some(record) => record.to_bytes(),
            None => *MAGIC,
        };
        if end != expected {
            return Ok(false);
        }
        let new: Vec<u8> = self.records.iter().skip(known).flat_map(|r| r.to_bytes()).collect();
        if !new.is_empty() {
            file.seek(SeekFrom::Start(whole * RECORD as u64))?;
            file.write_all(&new)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = Record> {
        (1u64..50, 0u64..4, any::<i64>(), any::<u64>(), any::<[u8; 20]>(), any::<u32>()).prop_map(
            |(entry, device, taken, size, commit, folder)| Record {
                folder,
                entry,
                device,
                taken,
                size,
                commit: Oid::from_bytes(&commit).unwrap(),
            },
        )
    }

    fn filled(records: &[Record]) -> Index {
        let mut index = Index::default();
        records.iter().for_each(|r| index.push(*r));
        index
    }

    fn loaded(path: &Path) -> Vec<Record> {
        Index::load(path).records().to_vec()
    }

    proptest! {
        #[test]
        fn a_log_reads_back_and_grows(records in prop::collection::vec(record(), 0..20), cut in 0usize..20) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("index");
            let cut = cut.min(records.len());
            filled(&records[..cut]).save(&path).unwrap();
            prop_assert_eq!(loaded(&path), &records[..cut]);
            filled(&records).save(&path).unwrap();
            prop_assert_eq!(loaded(&path), &records[..]);
            // A shorter history than the log's: written anew.
            filled(&records[..cut]).save(&path).unwrap();
            prop_assert_eq!(loaded(&path), &records[..cut]);
        }

        #[test]
        fn a_torn_or_changed_log_reads_as_what_is_whole_before(
            records in prop::collection::vec(record(), 1..8), at in any::<prop::sample::Index>(), flip in 1u8..
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("index");
            let index = filled(&records);
            index.save(&path).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            fs::write(&path, &bytes).unwrap();
            let whole = (at / RECORD).saturating_sub(1);
            prop_assert_eq!(loaded(&path), &records[..whole]);
            fs::write(&path, &bytes[..at]).unwrap();
            prop_assert!(Index::load(&path).records().len() <= whole);
            index.save(&path).unwrap();
            prop_assert_eq!(loaded(&path), &records[..]);
        }

        #[test]
        fn any_file_is_read_without_harm(bytes in any::<Vec<u8>>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("index");
            fs::write(&path, &bytes).unwrap();
            prop_assert!(Index::load(&path).records().is_empty());
        }
    }

    #[test]
    fn the_history_of_a_device_is_a_chain() {
        let mut index = Index::default();
        let (a, b) = (DeviceId::from("a"), DeviceId::from("b"));
        for i in 0..10u64 {
            let device = device_key(if i % 3 == 0 { &a } else { &b });
            index.push(Record { entry: i + 1, device, taken: 0, size: i, commit: Oid::ZERO_SHA1, folder: 1 });
            index.push(Record::foreign(Oid::ZERO_SHA1));
        }
        assert_eq!(index.of_device(&a).map(|r| r.size).collect::<Vec<_>>(), [9, 6, 3, 0]);
        assert_eq!(index.of_device(&b).count(), 6);
        assert_eq!(index.of_device(&"c".into()).count(), 0);
    }
}
