//! Damage to what is stored: every flipped byte, every length.

use std::path::{Path, PathBuf};

use devicevault_core::storage::{ListFilter, Verdict, VerifyDepth};
use devicevault_core::{ErrorKind, StorageBackend as _, StorageBackendExt as _, StorageRef};
use devicevault_storage::plain::PlainBackend;
use futures::StreamExt as _;

use super::{ALL, AS_IT_IS, Way, ZSTD, config, fresh, listed, manifest_of, options};

const CONTENT: &[u8] = b"hostname sw1\ninterface Loopback0\n ip address 192.0.2.1 255.255.255.255\n!\nend\n";

#[tokio::test]
async fn every_flipped_byte_is_found() {
    let mut flipped = 0;
    for way in ALL {
        let (folder, backend) = fresh(way).await;
        let (entry, body) = config("sw1", CONTENT);
        let manifest = entry.manifest.clone();
        let at = backend.store_one(entry, body).await.unwrap();
        let path = folder.path().join(at.as_str());
        let good = std::fs::read(&path).unwrap();
        for i in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[i] ^= flip;
                std::fs::write(&path, &bad).unwrap();
                for depth in [VerifyDepth::Stored, VerifyDepth::Content] {
                    let verdict = backend.verify(&at, Some(&manifest), depth).await.unwrap();
                    assert!(matches!(verdict, Verdict::Damaged(_)), "{way:?}, byte {i}: {verdict:?}");
                }
                match backend.read_all(&at, 1 << 20).await {
                    // A time stamp or the like, in the header of the compression.
                    Ok(same) => assert!(same == CONTENT && way != AS_IT_IS && !way.is_sealed(), "{way:?}, byte {i}"),
                    Err(e) => assert_eq!(e.kind(), ErrorKind::Corrupt, "{e:?}"),
                }
                flipped += 1;
            }
        }
    }
    eprintln!("{flipped} files with a byte that was flipped: all found");
}

#[tokio::test]
async fn every_length_but_the_right_one_is_found() {
    let mut lengths = 0;
    for way in ALL {
        let (folder, backend) = fresh(way).await;
        let (entry, body) = config("sw1", CONTENT);
        let at = backend.store_one(entry, body).await.unwrap();
        let path = folder.path().join(at.as_str());
        let good = std::fs::read(&path).unwrap();
        let longer = [good.as_slice(), b"x"].concat();
        for bad in (0..good.len()).map(|len| &good[..len]).chain([longer.as_slice()]) {
            std::fs::write(&path, bad).unwrap();
            for depth in [VerifyDepth::Size, VerifyDepth::Stored, VerifyDepth::Content] {
                let verdict = backend.verify(&at, None, depth).await.unwrap();
                assert!(matches!(verdict, Verdict::Damaged(_)), "{way:?}, {}: {verdict:?}", bad.len());
            }
            assert_eq!(backend.read_all(&at, 1 << 20).await.unwrap_err().kind(), ErrorKind::Corrupt);
            let part = backend.read(&at, Some(0..1)).await;
            assert_eq!(part.err().unwrap().kind(), ErrorKind::Corrupt, "{way:?}, {}", bad.len());
            lengths += 1;
        }
    }
    eprintln!("{lengths} files of another length: all found");
}

async fn a_damaged_manifest_is_found_and_the_rest_is_listed(way: Way) {
    let (folder, backend) = fresh(way).await;
    let (entry, body) = config("sw1", CONTENT);
    let at = backend.store_one(entry, body).await.unwrap();
    let path = manifest_of(folder.path());
    let (entry, body) = config("sw2", CONTENT);
    let other = backend.store_one(entry, body).await.unwrap();
    let good = std::fs::read(&path).unwrap();
    for i in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[i] ^= 0x04;
        std::fs::write(&path, &bad).unwrap();
        let verdict = backend.verify(&at, None, VerifyDepth::Size).await;
        let blank = good[i].is_ascii_whitespace();
        assert!(matches!(verdict, Ok(Verdict::Damaged(_)) | Err(_)) || blank, "byte {i}: {verdict:?}");
        let found: Vec<_> = backend.list(ListFilter::default()).collect().await;
        assert_eq!(found.len(), 2);
        assert!(found.iter().flatten().any(|(at, _)| *at == other));
    }
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert_eq!(backend.stat(&at).await.unwrap_err().kind(), ErrorKind::Corrupt);
    std::fs::write(&path, vec![b' '; 3 << 20]).unwrap();
    assert_eq!(backend.stat(&at).await.unwrap_err().kind(), ErrorKind::Corrupt);
    backend.delete_one(&at).await.unwrap();
    assert_eq!(listed(&backend).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn content_without_its_manifest_is_told_at_once_in_a_copy() {
    let (folder, backend) = fresh(ZSTD).await;
    let (entry, body) = config("sw1", CONTENT);
    let at = backend.store_one(entry, body).await.unwrap();
    std::fs::remove_file(manifest_of(folder.path())).unwrap();
    let told = async |backend: &PlainBackend| {
        let all: Vec<_> = backend.list(ListFilter::default()).collect().await;
        all.into_iter().filter_map(Result::err).any(|e| e.message().contains("its manifest is not"))
    };
    // It may be on its way, where the time of the file is its own.
    assert!(!told(&backend).await);
    let copied = super::at(folder.path(), options(ZSTD).without_times()).await;
    assert!(told(&copied).await);
    let file = std::fs::File::options().write(true).open(folder.path().join(at.as_str())).unwrap();
    let ahead = file.metadata().unwrap().modified().unwrap() + std::time::Duration::from_secs(86400);
    file.set_modified(ahead).unwrap();
    assert!(told(&backend).await, "nothing is on its way from the future");
}

async fn what_cannot_be_read_is_told_and_the_rest_is_listed(way: Way) {
    let (folder, backend) = fresh(way).await;
    let (entry, body) = config("sw1", CONTENT);
    let lost = backend.store_one(entry, body).await.unwrap();
    let manifest = manifest_of(folder.path());
    let (entry, body) = config("sw2", CONTENT);
    let other = backend.store_one(entry, body).await.unwrap();
    let (elsewhere, content) = (tempfile::tempdir().unwrap(), folder.path().join(lost.as_str()));
    let moved = elsewhere.path().join("moved");
    let device = content.parent().unwrap();
    for gone in [device.parent().unwrap(), device, &manifest, &content] {
        std::fs::rename(gone, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, gone).unwrap();
        let (good, bad): (Vec<_>, Vec<_>) =
            backend.list(ListFilter::default()).collect::<Vec<_>>().await.into_iter().partition(Result::is_ok);
        let good: Vec<_> = good.into_iter().flatten().map(|(at, _)| at).collect();
        assert_eq!(good, std::slice::from_ref(&other), "{}", gone.display());
        let bad: Vec<_> = bad.into_iter().filter_map(Result::err).collect();
        let told = |e: &devicevault_core::Error| e.message().contains("symbolic link");
        assert!(bad.iter().all(|e| e.kind() == ErrorKind::Corrupt) && bad.iter().any(told), "{bad:?}");
        assert!(gone != &*content || bad.len() == 1, "one backup is told once: {bad:?}");
        std::fs::remove_file(gone).unwrap();
        std::fs::rename(&moved, gone).unwrap();
    }
    assert_eq!(listed(&backend).await.len(), 2);
}

/// The manifest of each backup.
async fn manifests(folder: &Path, backend: &PlainBackend) -> Vec<(StorageRef, PathBuf)> {
    let mut all = Vec::new();
    for (at, _) in listed(backend).await {
        let stem = at.as_str().split_once(".txt").unwrap().0;
        all.push((at.clone(), folder.join(format!("{stem}.txt.manifest.json"))));
    }
    all
}

async fn a_foreign_manifest_makes_room_and_is_not_lost(way: Way) {
    for own_is_there in [true, false] {
        let (folder, backend) = fresh(way).await;
        let entries = [config("sw1", CONTENT), config("sw2", CONTENT)];
        for (entry, body) in entries.clone() {
            backend.store_one(entry, body).await.unwrap();
        }
        let all = manifests(folder.path(), &backend).await;
        let [(at, place), (_, other)] = &all[..] else { panic!("{all:?}") };
        let (sw1, body) = entries.iter().find(|(e, _)| at.as_str().contains(&*e.manifest.source.device_name)).unwrap();
        let foreign = std::fs::read(other).unwrap();
        std::fs::write(place, &foreign).unwrap();
        if !own_is_there {
            std::fs::remove_file(other).unwrap();
        }
        let verdict = backend.verify(at, None, VerifyDepth::Size).await.unwrap();
        assert!(matches!(&verdict, Verdict::Damaged(what) if what[0].contains("another backup")), "{verdict:?}");
        let again = backend.store_one(sw1.clone(), body.clone()).await.unwrap();
        assert!(backend.verify(&again, Some(&sw1.manifest), VerifyDepth::Content).await.unwrap().is_good());
        assert_eq!(backend.read_all(&again, 1000).await.unwrap(), CONTENT);
        let parent = place.parent().unwrap();
        let kept: Vec<_> = std::fs::read_dir(parent)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.to_string_lossy().contains(".foreign-"))
            .collect();
        assert_eq!(kept.len(), usize::from(!own_is_there), "{kept:?}");
        for file in &kept {
            assert_eq!(std::fs::read(file).unwrap(), foreign);
        }
        if !own_is_there {
            std::fs::rename(&kept[0], other).unwrap();
        }
        assert_eq!(listed(&backend).await.len(), 2, "and both are there again");
    }
}

#[tokio::test]
async fn a_stored_bomb_is_refused() {
    let (folder, backend) = fresh(ZSTD).await;
    let (entry, body) = config("sw1", CONTENT);
    let at = backend.store_one(entry, body).await.unwrap();
    let path = folder.path().join(at.as_str());
    let bomb = zstd::stream::encode_all(&vec![0; 50 << 20][..], 3).unwrap();
    // The manifest says that these bytes are stored; it cannot make them open to more than the view's size.
    let json = manifest_of(folder.path());
    let mut told: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    told["stored"]["size"] = bomb.len().into();
    std::fs::write(&path, &bomb).unwrap();
    let text = told.to_string();
    std::fs::write(&json, text).unwrap();
    assert_eq!(backend.read_all(&at, 1 << 30).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

super::both_ways! {
    a_damaged_manifest_is_found_and_the_rest_is_listed,
    what_cannot_be_read_is_told_and_the_rest_is_listed,
    a_foreign_manifest_makes_room_and_is_not_lost,
}
