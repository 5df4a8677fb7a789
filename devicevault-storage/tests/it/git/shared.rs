//! A repository that others use too, and an index that is lost.

use devicevault_core::storage::ListFilter;
use devicevault_core::{StorageBackend as _, StorageBackendExt as _};
use futures::TryStreamExt as _;

use super::{assert_sound, config, git, listed, open, store};

#[tokio::test]
async fn two_handles_see_what_the_other_stored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.git");
    let (a, b) = (open(&path).await, open(&path).await);
    for i in 0..10 {
        let (entry, body) = config("sw1", format!("{i}\n"));
        let at = a.store_one(entry.clone(), body.clone()).await.unwrap();
        assert_eq!(b.store_one(entry.clone(), body.clone()).await.unwrap(), at, "idempotent across handles");
        assert_eq!(b.read_all(&at, 100).await.unwrap(), format!("{i}\n").as_bytes());
        let at = store(&b, "sw2", format!("{i}\n")).await;
        assert_eq!(a.stat(&at).await.unwrap().source.device_name, "sw2");
    }
    assert_eq!(listed(&a).await, listed(&b).await);
    assert_eq!(listed(&a).await.len(), 20);
}

#[tokio::test]
async fn the_index_is_made_again_when_it_is_lost_or_broken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.git");
    let backend = open(&path).await;
    let (entry, body) = config("sw1", "first\n");
    let first = backend.store_one(entry.clone(), body.clone()).await.unwrap();
    for i in 0..20 {
        store(&backend, &format!("sw{}", i % 4), format!("{i}\n")).await;
    }
    let want = listed(&backend).await;
    drop(backend);
    let index = std::fs::read_dir(path.join("devicevault"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.file_name().unwrap().to_string_lossy().starts_with("index-"))
        .unwrap();
    let bytes = std::fs::read(&index).unwrap();
    let half = bytes[..bytes.len() / 2 + 7].to_vec();
    let mut torn = bytes.clone();
    torn[bytes.len() / 2] ^= 1;
    for broken in [None, Some(half), Some(torn), Some(b"nonsense".to_vec()), Some(Vec::new())] {
        match broken {
            None => std::fs::remove_file(&index).unwrap(),
            Some(bytes) => std::fs::write(&index, bytes).unwrap(),
        }
        let backend = open(&path).await;
        assert_eq!(listed(&backend).await, want);
        assert_eq!(backend.store_one(entry.clone(), body.clone()).await.unwrap(), first);
        drop(backend);
    }
    let backend = open(&path).await;
    store(&backend, "sw1", "last\n").await;
    assert_eq!(std::fs::read(&index).unwrap().len(), bytes.len() + 64, "written out again by the next store");
}

#[tokio::test]
#[ignore = "needs git"]
async fn other_programs_may_commit_merge_and_rewrite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.git");
    let backend = open(&path).await;
    let first = store(&backend, "sw1", "1\n").await;
    let base = git(&path, &["rev-parse", "main"]).trim().to_owned();
    let commit = |parents: &[&str], text: &str| {
        let tree = format!("{}^{{tree}}", parents[0]);
        let mut args = vec!["commit-tree", &tree, "-m", text];
        parents.iter().for_each(|p| args.extend(["-p", p]));
        git(&path, &args).trim().to_owned()
    };
    // A person's commit; a forged trailer in its subject is none.
    let theirs = commit(&[&base], "DeviceVault-Manifest: {}");
    git(&path, &["update-ref", "refs/heads/main", &theirs]);
    let second = store(&backend, "sw1", "2\n").await;
    assert_eq!(listed(&backend).await.len(), 2);

    // A merge of a side branch.
    let ours = git(&path, &["rev-parse", "main"]).trim().to_owned();
    let side = commit(&[&base], "side");
    let merge = commit(&[&ours, &side], "merge");
    git(&path, &["update-ref", "refs/heads/main", &merge]);
    assert_eq!(listed(&backend).await.len(), 2);
    let third = store(&backend, "sw1", "3\n").await;
    let refs: Vec<_> = listed(&backend).await.into_iter().map(|(at, _)| at).collect();
    assert_eq!(refs, [first.clone(), second, third]);

    // History was cut off.
    git(&path, &["update-ref", "refs/heads/main", &base]);
    assert_eq!(listed(&backend).await.len(), 1);
    let fourth = store(&backend, "sw1", "4\n").await;
    let mut filter = ListFilter::default();
    filter.device = Some("sw1".into());
    let mine: Vec<_> = backend.list(filter).map_ok(|(at, _)| at).try_collect().await.unwrap();
    assert_eq!(mine, [first, fourth]);
    drop(backend);
    assert_eq!(listed(&open(&path).await).await.len(), 2);
    assert_sound(&path);
}

#[tokio::test]
#[ignore = "needs git"]
async fn a_clone_serves_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.git");
    let backend = open(&path).await;
    for i in 0..5 {
        store(&backend, "sw1", format!("{i}\n")).await;
    }
    let copy = dir.path().join("copy.git");
    git(&path, &["clone", "-q", "--bare", path.to_str().unwrap(), copy.to_str().unwrap()]);
    let clone = open(&copy).await;
    assert_eq!(listed(&clone).await, listed(&backend).await);
    // Its branch is a packed ref.
    store(&clone, "sw1", "more\n").await;
    assert_eq!(listed(&clone).await.len(), 6);
    assert_sound(&copy);
}
