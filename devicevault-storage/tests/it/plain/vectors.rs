//! The frozen sealed store of `docs/vectors/`, and the independent reader in Python on a store that was written now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::{Digest, StorageBackend as _, StorageBackendExt as _};
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_storage::seal::keys::{Kek, key_of_text, kit_lines};
use devicevault_storage::seal::{Key, Keyring};
use devicevault_testkit::samples;

use super::{OPAQUE, SEALED, at, config, listed, options};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// What the store holds, by its manifest file.
type Expected = BTreeMap<String, Digest>;

/// Backups that compress and that do not, under names that show and that do not.
async fn write(store: &Path) -> Expected {
    let mut expected = Expected::new();
    for way in [SEALED, OPAQUE] {
        let backend = at(store, options(way)).await;
        let contents: [Bytes; 4] =
            [Bytes::new(), Bytes::from_static(b"hostname r1\n"), samples::text(1, 70_000), samples::noise(1, 5000)];
        for (i, content) in contents.into_iter().enumerate() {
            let (mut entry, body) = config(&format!("r\u{e9}seau-{i}"), content.clone());
            entry.manifest.metadata.insert("ticket\t\"\u{1f}".to_owned(), "\u{e9}\u{2028}\u{1f600}".to_owned());
            let at = backend.store_one(entry, body).await.unwrap();
            let manifest = at.as_str().replace(way.suffix(), ".manifest.json");
            expected.insert(manifest, Digest::of(&content));
        }
    }
    expected
}

async fn check(store: &Path, kit: &str, expected: &Expected) {
    // In a copy, so that nothing is written beside what is frozen.
    let copy = tempfile::tempdir().unwrap();
    let to = copy.path().join("store");
    assert!(Command::new("cp").arg("-r").arg(store).arg(&to).status().unwrap().success());
    let kek = Kek::raw(key_of_text(kit).unwrap());
    let folder = LocalStore::open(&to, &"main".into()).await.unwrap();
    let keyring = Keyring::new(vec![Arc::new(kek)]);
    let backend = PlainBackend::in_folder(folder, PlainOptions::default().with_keyring(keyring));
    let mut found = Expected::new();
    for at in listed(&backend).await.into_keys() {
        let content = backend.read_all(&at, 1 << 20).await.unwrap();
        assert_eq!(backend.stat(&at).await.unwrap().sha256, Digest::of(&content));
        found.insert(at.as_str().replace(".dvo", ".manifest.json"), Digest::of(&content));
    }
    assert_eq!(found, *expected);
}

fn kit() -> String {
    kit_lines(&Key::new([9; 32])).to_string()
}

#[tokio::test]
async fn the_frozen_store_opens() {
    let folder = docs().join("vectors");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    check(&folder.join("store"), &read("store-kit.txt"), &serde_json::from_str(&read("store.json")).unwrap()).await;
}

#[tokio::test]
#[ignore = "needs python3 with cryptography and zstandard"]
async fn the_independent_reader_opens_a_store_with_the_kit_alone() {
    let home = tempfile::tempdir().unwrap();
    let (store, to) = (home.path().join("store"), home.path().join("opened"));
    let expected = write(&store).await;
    check(&store, &kit(), &expected).await;
    let kit_file = home.path().join("kit.txt");
    std::fs::write(&kit_file, kit()).unwrap();
    let run = |to: &Path| {
        let mut command = Command::new("python3");
        command.arg(docs().join("dvo1.py")).arg("store").arg(&store).arg("--kek-file").arg(&kit_file);
        command.arg("--to").arg(to).output().unwrap()
    };
    let told = run(&to);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let mut opened: Vec<Digest> = super::files(&to).values().map(|content| Digest::of(content)).collect();
    let mut wanted: Vec<Digest> = expected.values().copied().collect();
    opened.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(opened, wanted);
    // It finds damage as we do.
    let damaged = super::files(&store).into_keys().find(|p| p.to_string_lossy().ends_with(".dvo")).unwrap();
    let mut bytes = std::fs::read(store.join(&damaged)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(store.join(&damaged), bytes).unwrap();
    let told = run(&home.path().join("again"));
    assert!(
        !told.status.success() && String::from_utf8_lossy(&told.stdout).contains("7 backups opened, 1 not"),
        "{told:?}"
    );
}

/// Vectors are written once for a format and kept for ever; this makes those of a new one, where none are.
#[tokio::test]
#[ignore = "writes docs/vectors/store where there is none"]
async fn write_the_store() {
    let folder = docs().join("vectors");
    if folder.join("store.json").exists() {
        return;
    }
    let expected = write(&folder.join("store")).await;
    std::fs::remove_dir_all(folder.join("store/.tmp")).ok();
    std::fs::write(folder.join("store-kit.txt"), kit()).unwrap();
    std::fs::write(folder.join("store.json"), serde_json::to_vec_pretty(&expected).unwrap()).unwrap();
}
