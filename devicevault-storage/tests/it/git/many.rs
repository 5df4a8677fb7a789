//! Several repositories, one for each site.

use std::path::Path;
use std::sync::Arc;

use devicevault_core::sightings::{Sighting, Sightings};
use devicevault_core::storage::{Budget, ListFilter, VerifyDepth};
use devicevault_core::{
    Body, Clock as _, DeviceId, Entry, ErrorKind, StorageBackend, StorageBackendExt as _, StorageRef, SystemClock,
};
use devicevault_storage::git::{GitOptions, GitRepositories, Remote};
use devicevault_testkit::conformance::BackendSuite;
use futures::TryStreamExt as _;

use super::{assert_sound, config, git};

fn open(folder: &Path, options: GitOptions) -> devicevault_core::Result<GitRepositories> {
    GitRepositories::open(folder, "{site}".parse().unwrap(), options, Arc::new(SystemClock))
}

fn at_site(device: &str, site: Option<&str>, text: &str) -> (Entry, Arc<dyn Body>) {
    let (mut entry, body) = config(device, text.to_owned());
    entry.manifest.source.site = site.map(str::to_owned);
    (entry, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes() {
    let places = tempfile::tempdir().unwrap();
    let opener = async |place: &str| {
        let folder = places.path().join(place);
        GitRepositories::set_up(&folder, &"{site}".parse().unwrap())?;
        Ok(Arc::new(open(&folder, GitOptions::default())?) as Arc<dyn StorageBackend>)
    };
    BackendSuite::new(&opener).run().await.assert();
}

#[tokio::test]
#[ignore = "needs git"]
async fn each_site_has_a_repository_and_a_remote() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("repositories");
    let e = open(&folder, GitOptions::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "a share that is not mounted is not filled underneath");
    GitRepositories::set_up(&folder, &"{site}".parse().unwrap()).unwrap();
    for name in ["zurich", "default"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        git(&dir.path().join(name), &["init", "-q", "--bare", "-b", "main"]);
    }
    let url = format!("{}/{{repository}}", dir.path().display());
    let backend = open(&folder, GitOptions::default().with_remote(Remote::new(url.parse().unwrap()))).unwrap();
    let batch =
        vec![at_site("a", Some("zurich"), "a\n"), at_site("b", None, "b\n"), at_site("c", Some("zurich"), "c\n")];
    let refs: Vec<StorageRef> = backend.store(batch).await.into_iter().map(Result::unwrap).collect();
    assert!(refs[0].as_str().starts_with("[zurich]main:zurich/a/"), "{refs:?}");
    assert!(refs[1].as_str().starts_with("[default]main:b/"), "{refs:?}");
    for (at, text) in refs.iter().zip(["a\n", "b\n", "c\n"]) {
        assert_eq!(backend.read_all(at, 100).await.unwrap(), text.as_bytes());
        assert!(backend.verify(at, None, VerifyDepth::Content).await.unwrap().is_good());
    }
    let mut filter = ListFilter::default();
    filter.device = Some(DeviceId::from("c"));
    let listed: Vec<_> = backend.list(filter).try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|(at, _)| at).collect::<Vec<_>>(), [&refs[2]]);
    assert_eq!(backend.list(ListFilter::default()).try_collect::<Vec<_>>().await.unwrap().len(), 3);
    for bad in ["[../zurich]main:x@y", "[nowhere]main:x@y", "main:x@y", "[zurich"] {
        assert_eq!(backend.stat(&StorageRef(bad.to_owned())).await.unwrap_err().kind(), ErrorKind::NotFound, "{bad}");
    }
    assert!(backend.push().await.unwrap().pushed);
    for name in ["zurich", "default"] {
        let (ours, theirs) = (folder.join(format!("{name}.git")), dir.path().join(name));
        assert_eq!(git(&ours, &["rev-parse", "main"]), git(&theirs, &["rev-parse", "main"]));
        assert_sound(&ours);
    }
    // A site whose repository is nowhere to be pushed to: the others are.
    let (entry, body) = at_site("d", Some("geneva"), "d\n");
    backend.store_one(entry, body).await.unwrap();
    let (entry, body) = at_site("a", Some("zurich"), "a 2\n");
    backend.store_one(entry, body).await.unwrap();
    assert_eq!(backend.push().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(backend.remote_state().await.unwrap().error.is_some());
    let zurich = git(&folder.join("zurich.git"), &["rev-parse", "main"]);
    assert_eq!(zurich, git(&dir.path().join("zurich"), &["rev-parse", "main"]));
    backend.maintain(Budget::default()).await.unwrap();
    assert_eq!(backend.usage(devicevault_core::storage::UsageFilter::default()).await.unwrap().backups, 5);
    drop(backend);
    let again = open(&folder, GitOptions::default()).unwrap();
    assert_eq!(again.list(ListFilter::default()).try_collect::<Vec<_>>().await.unwrap().len(), 5);
}

#[tokio::test]
async fn how_long_versions_were_valid_and_the_template_stand_beside_the_repositories() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, other) = (dir.path().join("repositories"), dir.path().join("other"));
    std::fs::create_dir(&other).unwrap();
    assert_eq!(GitRepositories::template_of(&other).unwrap(), None);
    GitRepositories::set_up(&folder, &"{site}".parse().unwrap()).unwrap();
    let backend = open(&folder, GitOptions::default()).unwrap();
    assert!(backend.sighting_periods().await.unwrap().is_empty());
    let (entry, body) = at_site("a", Some("zurich"), "a\n");
    let seen = Sighting {
        backup: entry.manifest.backup,
        last_seen: entry.manifest.taken_at,
        here: None,
        pinned: true,
        suspect: false,
    };
    backend.store_one(entry, body).await.unwrap();
    let mut record = Sightings::new("2026-11", SystemClock.now());
    record.seen.push(seen);
    for _ in 0..2 {
        assert!(backend.note_sightings(&record).await.unwrap());
    }
    assert!(backend.note_sightings(&Sightings::new("../11", SystemClock.now())).await.is_err());
    drop(backend);
    // Another one opens it by another template: what is there stays, and the folder tells the new one.
    let by_group = "{group}-{platform}".parse().unwrap();
    let again = GitRepositories::open(&folder, by_group, GitOptions::default(), Arc::new(SystemClock)).unwrap();
    assert_eq!(again.sighting_periods().await.unwrap(), ["2026-11"]);
    assert_eq!(again.sightings("2026-11").await.unwrap(), Some(record));
    assert_eq!(again.sightings("2026-10").await.unwrap(), None);
    let told = GitRepositories::template_of(&folder).unwrap().unwrap();
    assert_eq!(told.to_string(), "{group}-{platform}");
    assert_eq!(again.list(ListFilter::default()).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    let foretold = again.foretell(Budget::default()).await.unwrap().unwrap();
    assert!(foretold.done.iter().all(|line| line.starts_with("zurich.git: ")), "{foretold:?}");
    // As an earlier release made it.
    std::fs::write(folder.join("devicevault-repositories"), "A folder of Git repositories of DeviceVault, format 1\n")
        .unwrap();
    assert_eq!(GitRepositories::template_of(&folder).unwrap().unwrap().to_string(), "{site}");
}
