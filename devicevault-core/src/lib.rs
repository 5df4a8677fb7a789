//! Data, traits and the pipeline engine of DeviceVault.
//!
//! DeviceVault keeps safe copies of what network devices hold. A [`Collector`] takes artefacts out of a device as bytes;
//! the engine hashes them, makes the views of a text, compares them with the last backup and hands what is new to
//! every [`StorageBackend`]; a [`Catalog`] knows every run, every backup and every copy.
//!
//! This crate holds the traits, their data and the engine. It opens no socket, file or database, reads no environment,
//! and starts no runtime: of tokio it uses `sync`, `time` and `rt`.

mod artefact;
pub mod body;
pub mod catalog;
pub mod clock;
mod collector;
pub mod credential;
mod device;
pub mod diff;
pub mod engine;
mod error;
pub mod event;
pub mod file_rules;
mod id;
pub mod inventory;
pub mod key;
pub mod layer;
pub mod likeness;
mod manifest;
pub mod quota;
pub mod rebuild;
pub mod retention;
mod round;
pub mod run;
mod scrub;
pub mod sightings;
mod size;
pub mod spool;
pub mod statistics;
pub mod storage;
pub mod text;
mod turn;
pub mod verification;

pub use artefact::{ArtifactInfo, Kind, View};
pub use body::{Body, ByteStream};
pub use catalog::{Catalog, CatalogExt};
pub use clock::{Clock, SystemClock, Timestamp};
pub use collector::{Collector, CollectorInfo, Item, Note, NoteLevel, Sink, stream};
pub use device::{AgentAccess, Device, Hop, Login, LoginRef, SecretRef, StepLimits, Target};
pub use engine::Engine;
pub use error::{Error, ErrorKind, ErrorRecord, Result, Retry};
pub use event::{Event, EventSink};
pub use id::{
    BackupId, DestinationId, DeviceId, MAX_DEVICE_NAME, RunId, TaskId, check_artefact_name, check_device_name,
};
pub use inventory::Inventory;
pub use key::KeyProvider;
pub use manifest::{Digest, MANIFEST_FORMAT, Manifest, ManifestSeed, Source, Transform};
pub use round::Round;
pub use size::{parse_size, size_text};
pub use spool::Spool;
pub use storage::{Entry, StorageBackend, StorageBackendExt, StorageRef};
pub use turn::Turn;

/// Text that `Debug` and `Display` do not show, wiped from memory when it is dropped.
pub use secrecy::{ExposeSecret, SecretString};
