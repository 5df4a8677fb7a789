//! The public suite, over every kind of store and compression.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use devicevault_core::{StorageBackend, StorageRef};
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_testkit::conformance::{self, BackendSuite, Damage};
use object_store::memory::InMemory;

use super::{ALL, AS_IT_IS, GZIP, OPAQUE, SEALED, SEALED_AS_IT_IS, ZSTD, at, options};

async fn in_folder(options: PlainOptions) {
    let home = tempfile::tempdir().unwrap();
    let open = async |place: &str| {
        Ok(Arc::new(at(&home.path().join(place), options.clone()).await) as Arc<dyn StorageBackend>)
    };
    let damage = async |place: &str, at: &StorageRef, how: Damage| {
        let path = home.path().join(place).join(at.as_str());
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        match how {
            Damage::FlipBit => bytes[middle] ^= 1,
            Damage::Truncate => drop(bytes.pop()),
            _ => {
                std::fs::remove_file(path).unwrap();
                return Ok(true);
            }
        }
        std::fs::write(path, bytes).unwrap();
        Ok(true)
    };
    BackendSuite::new(&open).with_damage(&damage).run().await.assert();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_with_zstd() {
    in_folder(options(ZSTD)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_with_gzip() {
    in_folder(options(GZIP)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_as_it_is() {
    in_folder(options(AS_IT_IS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_sealed() {
    in_folder(options(SEALED)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_sealed_as_it_is() {
    in_folder(options(SEALED_AS_IT_IS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_sealed_with_opaque_names() {
    in_folder(options(OPAQUE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_of_one_level() {
    let flat = "{device}_{artefact}_{time}.{ext}".parse().unwrap();
    in_folder(options(ZSTD).with_template(flat)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_an_object_store() {
    for way in ALL {
        let places = Mutex::new(HashMap::<String, Arc<InMemory>>::new());
        let report = conformance::backend(async |place: &str| {
            let store = places.lock().unwrap().entry(place.to_owned()).or_default().clone();
            let backend = PlainBackend::over(store, options(way).with_durable(false));
            Ok(Arc::new(backend) as Arc<dyn StorageBackend>)
        })
        .await;
        report.assert();
    }
}
