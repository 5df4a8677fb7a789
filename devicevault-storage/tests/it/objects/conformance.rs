//! The public suite, over every cloud.

use std::sync::Arc;

use devicevault_core::StorageRef;
use devicevault_storage::objects::{self, StoreSettings};
use devicevault_storage::plain::PlainOptions;
use devicevault_testkit::cloud::Double;
use devicevault_testkit::conformance::{BackendSuite, Damage};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::{backend, servers};
use crate::plain::{OPAQUE, SEALED, Way, ZSTD, options};

async fn holds(way: Way, settings: impl Fn(&str) -> StoreSettings) {
    let options: PlainOptions = options(way);
    let open = async |place: &str| backend(&settings(place), options.clone()).await;
    let damage = async |place: &str, at: &StorageRef, how: Damage| {
        let store = objects::open(&settings(place)).await?;
        let path = Path::parse(at.as_str()).unwrap();
        let mut bytes = store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        match how {
            Damage::FlipBit => bytes[middle] ^= 1,
            Damage::Truncate => drop(bytes.pop()),
            _ => {
                store.delete(&path).await.unwrap();
                return Ok(true);
            }
        }
        store.put(&path, bytes.into()).await.unwrap();
        Ok(true)
    };
    BackendSuite::new(&open).with_damage(&damage).run().await.assert();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_s3_as_the_double_has_it() {
    for way in [ZSTD, OPAQUE] {
        let double = Double::start().await;
        holds(way, |place| servers::settings("s3", &double.endpoint(), place)).await;
        assert!(double.held().uploads.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_google_as_the_double_has_it() {
    for way in [ZSTD, OPAQUE] {
        let double = Double::start().await;
        holds(way, |place| servers::settings("gs", &double.endpoint(), place)).await;
        assert!(double.held().uploads.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_memory() {
    let places = std::sync::Mutex::new(std::collections::HashMap::<String, Arc<dyn object_store::ObjectStore>>::new());
    let open = async |place: &str| {
        let there = places.lock().unwrap().get(place).cloned();
        let url = "memory:".parse()?;
        let store = match there {
            Some(store) => store,
            None => objects::open(&StoreSettings::new(url)).await?,
        };
        places.lock().unwrap().insert(place.to_owned(), store.clone());
        let backend = devicevault_storage::plain::PlainBackend::over(store, options(SEALED));
        Ok(Arc::new(backend) as Arc<dyn devicevault_core::StorageBackend>)
    };
    BackendSuite::new(&open).run().await.assert();
}

/// In the clear and sealed at the same time: most of what a server takes is waiting.
async fn both_ways_over(server: &servers::Server) {
    let over = |way, folder| holds(way, move |place| server.settings(&format!("{folder}/{place}")));
    futures::join!(over(ZSTD, "clear"), over(OPAQUE, "sealed"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn over_s3_as_moto_has_it() {
    both_ways_over(&servers::moto()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs s3s-fs"]
async fn over_s3_as_s3s_has_it() {
    both_ways_over(&servers::s3s()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azurite"]
async fn over_azure_as_azurite_has_it() {
    both_ways_over(&servers::azurite()).await;
}
