//! Manifests in the place of others, and content that has none: each is told, so that no version goes without a word.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use devicevault_core::storage::{ListFilter, Verdict, VerifyDepth};
use devicevault_core::{Error, ErrorKind, StorageBackend as _, StorageBackendExt as _};
use devicevault_storage::plain::PlainBackend;
use futures::StreamExt as _;
use tempfile::TempDir;

use super::{OPAQUE, Way, both_ways, config, fresh};

/// Two versions of one artefact, and one of another device.
struct Stage {
    _folder: TempDir,
    backend: PlainBackend,
    older: PathBuf,
    newer: PathBuf,
    other: PathBuf,
}

impl Stage {
    async fn new(way: Way) -> Self {
        let (folder, backend) = fresh(way).await;
        let mut contents = Vec::new();
        for (device, content) in [("sw1", "older\n"), ("sw1", "newer\n"), ("sw2", "other\n")] {
            let (entry, body) = config(device, content);
            let at = backend.store_one(entry, body).await.unwrap();
            let path = folder.path().join(at.as_str());
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(UNIX_EPOCH).unwrap();
            contents.push(path);
        }
        let [older, newer, other] = contents.try_into().unwrap();
        Self { _folder: folder, backend, older, newer, other }
    }

    /// How many are listed, and what is told of the others.
    async fn listed(&self) -> (usize, Vec<Error>) {
        let (mut good, mut told) = (0, Vec::new());
        let mut list = self.backend.list(ListFilter::default());
        while let Some(one) = list.next().await {
            match one {
                Ok(_) => good += 1,
                Err(e) => told.push(e),
            }
        }
        let mut unopened = self.backend.verify_unopened(VerifyDepth::Size);
        let mut bad = 0;
        while let Some(one) = unopened.next().await {
            bad += usize::from(!matches!(one.unwrap().1, Verdict::Good(_)));
        }
        assert_eq!(bad, told.len(), "{told:?}");
        (good, told)
    }

    async fn tells(&self, good: usize, says: &str) {
        let (listed, told) = self.listed().await;
        assert_eq!(listed, good, "{told:?}");
        let [e] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert!(e.to_string().contains(says), "{e}");
    }
}

fn manifest(content: &Path) -> PathBuf {
    let name = content.to_string_lossy();
    let base = [".dvo", ".zst"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap();
    format!("{base}.manifest.json").into()
}

async fn a_manifest_in_the_place_of_another_is_told(way: Way) {
    let stage = Stage::new(way).await;
    assert_eq!(stage.listed().await.0, 3);
    let good = std::fs::read(manifest(&stage.newer)).unwrap();
    for from in [&stage.older, &stage.other] {
        std::fs::copy(manifest(from), manifest(&stage.newer)).unwrap();
        stage.tells(2, "that of another backup").await;
    }
    // Nor with its content beside it under the name of the other.
    let content = std::fs::read(&stage.newer).unwrap();
    std::fs::copy(&stage.older, &stage.newer).unwrap();
    stage.tells(2, "that of another backup").await;
    std::fs::write(&stage.newer, content).unwrap();
    std::fs::write(manifest(&stage.newer), good).unwrap();
    assert_eq!(stage.listed().await.0, 3);
}

async fn a_manifest_that_names_what_is_not_beside_it_is_told(way: Way) {
    let stage = Stage::new(way).await;
    let at = manifest(&stage.newer);
    let text = std::fs::read_to_string(&at).unwrap();
    let name = stage.newer.file_name().unwrap().to_string_lossy().into_owned();
    let older = stage.older.file_name().unwrap().to_string_lossy().into_owned();
    for object in [format!("../{name}"), older, String::new()] {
        let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
        document["stored"]["object"] = object.into();
        document.as_object_mut().unwrap().remove("manifest_sha256");
        let hash = devicevault_core::Digest::of(document.to_string().as_bytes());
        document["manifest_sha256"] = hash.to_string().into();
        std::fs::write(&at, document.to_string()).unwrap();
        stage.tells(2, "that of another backup").await;
    }
}

async fn content_without_a_manifest_is_told_once_it_cannot_be_on_its_way(way: Way) {
    let stage = Stage::new(way).await;
    std::fs::remove_file(manifest(&stage.newer)).unwrap();
    stage.tells(2, "its manifest is not").await;
    std::fs::write(&stage.newer, std::fs::read(&stage.newer).unwrap()).unwrap();
    let (good, told) = stage.listed().await;
    assert!(good == 2 && told.is_empty(), "{told:?}");
}

both_ways![
    a_manifest_in_the_place_of_another_is_told,
    a_manifest_that_names_what_is_not_beside_it_is_told,
    content_without_a_manifest_is_told_once_it_cannot_be_on_its_way,
];

#[tokio::test]
async fn names_that_show_nothing_do_not_matter() {
    a_manifest_in_the_place_of_another_is_told(OPAQUE).await;
    content_without_a_manifest_is_told_once_it_cannot_be_on_its_way(OPAQUE).await;
}
