//! Data that tests need and do not care about.

use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::run::{Backup, Copy, CopyStatus};
use devicevault_core::text::InstanceKey;
use devicevault_core::{
    BackupId, Body, DestinationId, Device, DeviceId, Digest, Entry, Kind, Manifest, ManifestSeed, RunId, Source,
    StorageRef, Timestamp, View,
};

/// The beginning of 2026 in UTC: when samples are taken unless told otherwise.
pub const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// A device whose id is its name, at an address for documentation (RFC 5737).
#[must_use]
pub fn device(name: &str) -> Device {
    Device::new(DeviceId::from(name), name, "192.0.2.1", "cisco_ios")
}

/// The manifest of the original view of a text of this device, of a backup and a run of its own.
#[must_use]
pub fn manifest(device: &Device, artefact: &str, content: &[u8]) -> Manifest {
    let sha256 = Digest::of(content);
    Manifest::from(ManifestSeed {
        backup: BackupId::generate(),
        run: RunId::generate(),
        source: Source::of(device, "sample"),
        artefact: artefact.to_owned(),
        kind: Kind::Text,
        view: View::Original,
        taken_at: BEGINNING,
        size: content.len() as u64,
        sha256,
        content: InstanceKey::new([1; 32]).content(&sha256),
    })
}

/// An entry and its body: a `running-config` of the device of this name.
#[must_use]
pub fn entry(device_name: &str, content: impl Into<Bytes>) -> (Entry, Arc<dyn Body>) {
    let content = content.into();
    (Entry::new(manifest(&device(device_name), "running-config", &content)), Arc::new(content))
}

/// The record of a text that was seen once and is stored at these destinations.
#[must_use]
pub fn backup(device: &str, artefact: &str, run: RunId, seen: Timestamp, destinations: &[&str]) -> Backup {
    let id = BackupId::generate();
    let digest = Digest::of(id.0.as_bytes());
    let mut backup = Backup::new(id, run, device.into(), artefact, digest, seen);
    backup.size = 42;
    backup.copies = destinations.iter().map(|d| copy(d, &format!("{id}@{d}"), seen)).collect();
    backup
}

/// The record of a copy that is stored at this destination under this reference.
#[must_use]
pub fn copy(destination: &str, storage_ref: &str, stored_at: Timestamp) -> Copy {
    let digest = Digest::of(storage_ref.as_bytes());
    let mut copy = Copy::new(DestinationId::from(destination), View::Original, 42, digest, stored_at);
    copy.status = CopyStatus::Stored;
    copy.storage_ref = Some(StorageRef(storage_ref.to_owned()));
    copy.attempts = 1;
    copy
}

/// Text like a configuration's: lines that repeat and differ, the same for the same seed.
#[must_use]
pub fn text(seed: u64, bytes: usize) -> Bytes {
    use std::fmt::Write as _;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut out = String::with_capacity(bytes + 80);
    while out.len() < bytes {
        let (port, host) = (rng.u32(0..48), rng.u32(..));
        // Writing to a string has no way to fail.
        let _ = writeln!(out, "interface Ethernet1/{port}\n description link to host-{host:08x}\n!");
    }
    out.truncate(bytes);
    out.into()
}

/// Bytes without any pattern, the same for the same seed.
#[must_use]
pub fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut out = vec![0; bytes];
    fastrand::Rng::with_seed(seed).fill(&mut out);
    out.into()
}
