//! Backups as browsable files.

mod conformance;
pub(crate) mod crash;
mod damage;
mod faults;
mod files;
pub(crate) mod measure;
mod misplaced;
mod resealed;
mod rotated;
mod sealed;
mod vectors;
mod watched;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::storage::ListFilter;
use devicevault_core::{Body, Entry, KeyProvider, Manifest, StorageBackend as _, StorageRef, Timestamp};
use devicevault_storage::codec::Compression;
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_storage::seal::keys::Kek;
use devicevault_storage::seal::{EpochId, EpochObject, Key, Keyring};
use devicevault_testkit::samples;
use futures::TryStreamExt as _;
use tempfile::TempDir;

/// How a store is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Clear(Compression),
    Sealed { compression: Compression, opaque: bool },
}

const AS_IT_IS: Way = Way::Clear(Compression::None);
pub(crate) const ZSTD: Way = Way::Clear(Compression::Zstd);
const GZIP: Way = Way::Clear(Compression::Gzip);
pub(crate) const SEALED: Way = Way::Sealed { compression: Compression::Zstd, opaque: false };
const SEALED_AS_IT_IS: Way = Way::Sealed { compression: Compression::None, opaque: false };
pub(crate) const OPAQUE: Way = Way::Sealed { compression: Compression::Zstd, opaque: true };

const ALL: [Way; 6] = [AS_IT_IS, ZSTD, GZIP, SEALED, SEALED_AS_IT_IS, OPAQUE];

impl Way {
    fn suffix(self) -> &'static str {
        match self {
            Self::Clear(compression) => compression.suffix(),
            Self::Sealed { .. } => ".dvo",
        }
    }

    fn is_sealed(self) -> bool {
        matches!(self, Self::Sealed { .. })
    }
}

/// Runs tests that take a way, in the clear and sealed.
macro_rules! both_ways {
    ($($test:ident),* $(,)?) => {
        mod in_the_clear {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::super::ZSTD).await;
            })*
        }
        mod sealed {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::super::SEALED).await;
            })*
        }
    };
}
use both_ways;

/// The key-encryption key of all tests but those that try others.
fn kek() -> Arc<dyn KeyProvider> {
    Arc::new(Kek::raw(Key::new([9; 32])))
}

/// A keyring with the same epoch key in every process.
fn keyring() -> Keyring {
    let id = EpochId(uuid::Uuid::from_u128(0x0197_c2a0_6d5c_7000_8000_0000_0000_0001));
    let (key, providers) = (Key::new([5; 32]), vec![kek()]);
    let made = futures::executor::block_on(EpochObject::create(id, &key, &providers, Timestamp::UNIX_EPOCH));
    let ring = Keyring::new(providers);
    ring.add(made.unwrap());
    ring
}

pub(crate) fn options(way: Way) -> PlainOptions {
    match way {
        Way::Clear(compression) => PlainOptions::default().with_compression(compression),
        Way::Sealed { compression, opaque } => {
            PlainOptions::default().with_compression(compression).with_sealing(keyring()).with_opaque_names(opaque)
        }
    }
}

async fn at(folder: &Path, options: PlainOptions) -> PlainBackend {
    PlainBackend::in_folder(LocalStore::init(folder, &"main".into()).await.unwrap(), options)
}

async fn fresh(way: Way) -> (TempDir, PlainBackend) {
    let folder = tempfile::tempdir().unwrap();
    let backend = at(folder.path(), options(way)).await;
    (folder, backend)
}

pub(crate) async fn listed(backend: &PlainBackend) -> BTreeMap<StorageRef, Manifest> {
    backend.list(ListFilter::default()).try_collect().await.unwrap()
}

pub(crate) fn config(device: &str, content: impl Into<Bytes>) -> (Entry, Arc<dyn Body>) {
    samples::entry(device, content)
}

/// Every file of a destination but its own and its keys, by path.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                let own = [".tmp", ".devicevault-destination", "keys"];
                if !own.iter().any(|own| name.starts_with(own)) {
                    found.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

fn manifest_of(folder: &Path) -> PathBuf {
    let is_manifest = |p: &PathBuf| p.to_string_lossy().ends_with(".manifest.json");
    folder.join(files(folder).into_keys().find(is_manifest).unwrap())
}
