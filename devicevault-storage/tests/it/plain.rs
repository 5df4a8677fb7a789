//! Backups as browsable files.

mod conformance;
mod crash;
mod damage;
mod faults;
mod files;
mod measure;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::storage::ListFilter;
use devicevault_core::{Body, Entry, Manifest, StorageBackend as _, StorageRef};
use devicevault_storage::codec::Compression;
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_testkit::samples;
use futures::TryStreamExt as _;
use tempfile::TempDir;

const ALL: [Compression; 3] = [Compression::None, Compression::Zstd, Compression::Gzip];

fn options(compression: Compression) -> PlainOptions {
    PlainOptions::default().with_compression(compression)
}

async fn at(folder: &Path, options: PlainOptions) -> PlainBackend {
    PlainBackend::in_folder(LocalStore::init(folder, &"main".into()).await.unwrap(), options)
}

async fn fresh(compression: Compression) -> (TempDir, PlainBackend) {
    let folder = tempfile::tempdir().unwrap();
    let backend = at(folder.path(), options(compression)).await;
    (folder, backend)
}

async fn listed(backend: &PlainBackend) -> BTreeMap<StorageRef, Manifest> {
    backend.list(ListFilter::default()).try_collect().await.unwrap()
}

fn config(device: &str, content: impl Into<Bytes>) -> (Entry, Arc<dyn Body>) {
    samples::entry(device, content)
}

/// Every file of a destination but its own, by path.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                if !name.starts_with(".tmp") && !name.starts_with(".devicevault-destination") {
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
