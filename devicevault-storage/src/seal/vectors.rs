//! The frozen test vectors of `docs/format.md`, and the independent reader in Python.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::body::read_to_vec;
use devicevault_core::{Body, Digest, KeyProvider, SecretString};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::keys::{Kek, Passphrase, PassphraseKek};
use super::*;

#[derive(Serialize, Deserialize)]
struct Vectors {
    containers: Vec<Container>,
    epochs: Vec<Epoch>,
}

#[derive(Serialize, Deserialize)]
struct Container {
    file: String,
    epoch_key: String,
    length: u64,
    sha256: String,
    ranges: Vec<(u64, u64, String)>,
}

#[derive(Serialize, Deserialize)]
struct Epoch {
    id: EpochId,
    key: String,
    keks: Vec<String>,
    passphrase: Option<String>,
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn raw(key: Key) -> Arc<dyn KeyProvider> {
    Arc::new(Kek::raw(key))
}

fn key(hex: &str) -> Key {
    Key::from_slice(&hex::decode(hex).unwrap()).unwrap()
}

async fn check(folder: &Path) {
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(folder.join("vectors.json")).unwrap()).unwrap();
    for v in &vectors.containers {
        let container = Bytes::from(std::fs::read(folder.join(&v.file)).unwrap());
        let epoch = Header::parse(&container[..HEADER_LEN]).unwrap().epoch();
        let ring = Keyring::of_one(epoch, key(&v.epoch_key));
        let body: Arc<dyn Body> = Arc::new(container);
        let opened = Sealed::open(body, &ring).await.unwrap();
        let content = read_to_vec(opened.read(None), u64::MAX).await.unwrap();
        assert_eq!(
            (content.len() as u64, Digest::of(&content).to_string()),
            (v.length, v.sha256.clone()),
            "{}",
            v.file
        );
        for (from, to, digest) in &v.ranges {
            let part = read_to_vec(opened.read(Some(*from..*to)), u64::MAX).await.unwrap();
            assert_eq!(Digest::of(&part).to_string(), *digest, "{} {from}..{to}", v.file);
        }
    }
    for v in &vectors.epochs {
        let object = EpochObject::from_json(&std::fs::read(folder.join(format!("{}.json", v.id))).unwrap()).unwrap();
        let mut keks: Vec<Arc<dyn KeyProvider>> = v.keks.iter().map(|k| raw(key(k))).collect();
        if let Some(passphrase) = &v.passphrase {
            keks.push(Arc::new(PassphraseKek::new(SecretString::from(passphrase.clone()))));
        }
        assert_eq!(object.open(&keks).await.unwrap().expose(), key(&v.key).expose());
    }
}

/// Contents at the bounds of segments and frames, that compress and that do not.
fn contents() -> Vec<(&'static str, Vec<u8>, Option<i32>)> {
    let text = |lines: usize| -> Vec<u8> {
        (0..lines).flat_map(|i| format!("interface Vlan{i}\n description {}\n", i * 7919 % 1013).into_bytes()).collect()
    };
    // A simple generator: the vectors need bytes that do not compress, not chance.
    let noise = |len: usize| -> Vec<u8> {
        let mut x = 1_u32;
        (0..len)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            })
            .collect()
    };
    vec![
        ("empty.dvo", Vec::new(), Some(3)),
        ("one-byte.dvo", vec![b'x'], Some(3)),
        ("one-segment.dvo", noise(65_536), None),
        ("two-segments.dvo", noise(65_537), None),
        ("text.dvo", text(400), Some(3)),
        ("frames.dvo", text(100_000)[..2_500_000].to_vec(), Some(3)),
    ]
}

async fn write(folder: &Path) {
    let (first, second) = (Key::generate().unwrap(), Key::generate().unwrap());
    let parameters = Passphrase { memory_kib: 1024, passes: 1, ..Passphrase::generate().unwrap() };
    let phrase = PassphraseKek::new(SecretString::from("correct horse")).with_parameters(parameters);
    let ring = Keyring::default();
    let keks = [raw(first), raw(second.clone()), Arc::new(phrase)];
    let object = ring.create_epoch(&keks, "2026-11-21T10:11:12Z".parse().unwrap()).await.unwrap();
    let (epoch, epoch_key) = ring.current().await.unwrap();
    std::fs::write(folder.join(format!("{epoch}.json")), object.to_json()).unwrap();
    let epoch_hex = hex::encode(epoch_key.expose());
    let entry = |keks: Vec<String>, passphrase: Option<&str>| Epoch {
        id: epoch,
        key: epoch_hex.clone(),
        keks,
        passphrase: passphrase.map(str::to_owned),
    };
    let epochs = vec![entry(vec![hex::encode(second.expose())], None), entry(Vec::new(), Some("correct horse"))];
    let mut containers = Vec::new();
    for (file, content, level) in contents() {
        let input = futures::stream::iter([Ok(Bytes::from(content.clone()))]).boxed();
        let (_, stream) = seal(input, epoch, &epoch_key, &SealOptions::default().with_level(level)).await.unwrap();
        std::fs::write(folder.join(file), read_to_vec(stream, u64::MAX).await.unwrap()).unwrap();
        let len = content.len() as u64;
        let ranges =
            [(0, 1), (65_530, 65_540), (len / 3, len / 2), (1_048_570, 1_048_580), (len.saturating_sub(3), len)];
        let part = |a: u64, b: u64| &content[a.min(len) as usize..b.min(len).max(a.min(len)) as usize];
        containers.push(Container {
            file: file.to_owned(),
            epoch_key: epoch_hex.clone(),
            length: len,
            sha256: Digest::of(&content).to_string(),
            ranges: ranges.map(|(a, b)| (a, b, Digest::of(part(a, b)).to_string())).to_vec(),
        });
    }
    let vectors = Vectors { containers, epochs };
    std::fs::write(folder.join("vectors.json"), serde_json::to_vec_pretty(&vectors).unwrap()).unwrap();
}

fn python(folder: &Path) {
    let run =
        std::process::Command::new("python3").arg(docs().join("dvo1.py")).arg("vectors").arg(folder).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[tokio::test]
async fn the_frozen_vectors_open() {
    check(&docs().join("vectors")).await;
}

#[tokio::test]
#[ignore = "needs python3 with cryptography, zstandard and argon2-cffi"]
async fn the_independent_reader_opens_what_is_written_now_and_what_was_frozen() {
    let now = tempfile::tempdir().unwrap();
    write(now.path()).await;
    check(now.path()).await;
    python(now.path());
    python(&docs().join("vectors"));
}

/// Vectors are written once for a format and kept for ever; this makes those of a new one, where none are.
#[tokio::test]
#[ignore = "writes docs/vectors where there is none"]
async fn write_the_vectors() {
    let folder = docs().join("vectors");
    if folder.join("vectors.json").exists() {
        return;
    }
    std::fs::create_dir_all(&folder).unwrap();
    write(&folder).await;
}
